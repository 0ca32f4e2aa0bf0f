"""The picture of /stats."""

from datetime import UTC, date, datetime, timedelta
from io import BytesIO

import pytest
from PIL import Image

from bot.anthology.curation import CellFigures, Debut, Figures
from bot.cards.card import Theme
from bot.cards.chart import HEIGHT, WIDTH, Chart, draw_chart
from bot.cards.drawing import PALETTES
from bot.clerks.curation import picture
from bot.message import Address, Message
from engine.jobs import Cell

FIRST = date(2026, 11, 8)
BEGAN = datetime(2026, 11, 8, tzinfo=UTC)
RED = PALETTES[Theme.PAPER].paste


def figures_of(*ratings, worth=0.5):
    return Figures(
        by_day=[(FIRST + timedelta(days=place), number) for place, number in enumerate(ratings)],
        by_cell=[CellFigures(cell=Cell.GRU, ratings=9, worth=worth)],
        debuts=[
            Debut(cell=Cell.GRU, checkpoint="gru-20261108T000000Z-aaaaaaaa", at=BEGAN),
            Debut(cell=Cell.LSTM, checkpoint="lstm-test", at=BEGAN + timedelta(hours=12)),
            Debut(
                cell=Cell.GRU,
                checkpoint="gru-20261109T000000Z-bbbbbbbb",
                at=BEGAN + timedelta(days=1),
            ),
        ],
        starred={},
        consents=0,
    )


def red_in(chart, top, bottom):
    """How much is red between two heights."""
    image = Image.open(BytesIO(draw_chart(chart))).convert("RGB")
    assert image.size == (WIDTH, HEIGHT)
    colours = image.crop((0, top, WIDTH, bottom)).getcolors(WIDTH * HEIGHT)
    assert colours is not None
    return {colour: count for count, colour in colours}.get(RED, 0)


def test_a_day_has_a_column_as_high_as_its_ratings():
    whole = red_in(picture(figures_of(4, 4)), 0, 480)
    assert red_in(picture(figures_of(4, 2)), 0, 480) == pytest.approx(0.75 * whole, rel=0.02)
    assert red_in(picture(figures_of(0, 0)), 0, 480) == 0


def test_a_cell_has_a_bar_as_long_as_its_mean():
    half, whole = (red_in(picture(figures_of(1, worth=worth)), 540, 760) for worth in (0.5, 1.0))
    assert half == pytest.approx(whole / 2, rel=0.02)


def test_a_checkpoint_writes_until_the_next_of_its_cell_takes_over():
    terms = [
        (term.cell, term.label, term.begins, term.ends) for term in picture(figures_of(1, 1)).terms
    ]
    assert terms == [
        ("gru", "aaaaaaaa", 0.0, 0.5),
        ("lstm", "test", 0.25, 1.0),
        ("gru", "bbbbbbbb", 0.5, 1.0),
    ]


def test_where_there_is_nothing_yet_the_picture_is_empty():
    assert red_in(Chart(days=(), means=(), terms=()), 0, HEIGHT) == 0


def test_a_chart_travels_with_its_message():
    chart = picture(figures_of(1, 2))
    message = Message(id="t:1", address=Address(chat="test:1"), text="so", chart=chart)
    assert Message.from_json(message.to_json()) == message
