"""The picture of /stats: ratings a day, what they say of each cell, and which checkpoints wrote.

All that is written in it are numbers, dates and names of models, which need no Chinese font; the
text beside it says in the person's language what they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import ClassVar, Self

from PIL import Image, ImageDraw, ImageFont
from pydantic import ConfigDict, TypeAdapter

from bot.cards.card import Theme
from bot.cards.drawing import PALETTES

WIDTH = HEIGHT = 1080
"""Pixels across and down."""

_COLOURS = PALETTES[Theme.PAPER]
_EDGE, _RIGHT = 60, WIDTH - 60
# Names of cells stand to the left of it.
_LEFT = 170
# From the top: the days, the cells, the checkpoints.
_DAYS = (110, 440)
_CELLS = (560, 740)
_TERMS = (820, 1020)
_NUMBERS = 220
_TEXT = 26
_BAR = 40
_GAP = 0.25


@dataclass(frozen=True, kw_only=True)
class Day:
    """One day."""

    label: str
    """Its date, short."""
    ratings: int
    """How many there were."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """What people think of one cell."""

    cell: str
    """The cell."""
    worth: float
    """The mean of its ratings, 0 to 1."""
    ratings: int
    """How many they are."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """The time in which a checkpoint wrote for its cell."""

    cell: str
    """The cell."""
    label: str
    """The checkpoint, short."""
    begins: float
    """When it began, from 0 for the first of the days to 1 for the end of the last."""
    ends: float
    """When the next one took over, or 1."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture; `dataclasses.asdict` makes it JSON and `from_fields` reads it again."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    days: tuple[Day, ...]
    """The days, the oldest first."""
    means: tuple[Mean, ...]
    """The cells."""
    terms: tuple[Term, ...]
    """Who wrote when, the oldest first."""

    @classmethod
    def from_fields(cls, fields: object) -> Self:
        """Read what `dataclasses.asdict` and JSON made of a chart; ValueError if it is none."""
        return TypeAdapter(cls).validate_python(fields)


def draw_chart(chart: Chart) -> bytes:
    """The picture of `chart` as PNG."""
    image = Image.new("RGB", (WIDTH, HEIGHT), _COLOURS.paper)
    pen = ImageDraw.Draw(image)
    _draw_days(pen, chart.days)
    _draw_means(pen, chart.means)
    _draw_terms(pen, chart.terms)
    png = BytesIO()
    image.save(png, "PNG", optimize=True)
    return png.getvalue()


def _draw_days(pen: ImageDraw.ImageDraw, days: Sequence[Day]) -> None:
    """A column for each day, of which the highest takes the whole height."""
    top, bottom = _DAYS
    most = max((day.ratings for day in days), default=0) or 1
    width = (_RIGHT - _LEFT) / max(len(days), 1)
    for place, day in enumerate(days):
        left, middle = _LEFT + place * width, _LEFT + (place + 0.5) * width
        height = (bottom - top) * day.ratings / most
        if day.ratings:
            _bar(pen, left + _GAP * width, bottom - height, left + width * (1 - _GAP), bottom)
            _write(pen, middle, bottom - height - 8, str(day.ratings), anchor="ms")
        _write(pen, middle, bottom + 12, day.label, anchor="mt", faint=True)
    pen.line((_LEFT, bottom, _RIGHT, bottom), fill=_COLOURS.rule, width=2)


def _draw_means(pen: ImageDraw.ImageDraw, means: Sequence[Mean]) -> None:
    """A bar for each cell, in a frame that it would fill if everybody liked everything."""
    top, bottom = _CELLS
    right = _RIGHT - _NUMBERS
    for place, mean in enumerate(means):
        middle = top + (place + 0.5) * (bottom - top) / len(means)
        upper, lower = middle - _BAR / 2, middle + _BAR / 2
        _write(pen, _EDGE, middle, mean.cell, anchor="lm")
        pen.rectangle((_LEFT, upper, right, lower), outline=_COLOURS.rule, width=2)
        if mean.worth > 0:
            _bar(pen, _LEFT, upper, _LEFT + (right - _LEFT) * mean.worth, lower)
        _write(pen, _RIGHT, middle, f"{mean.worth:.2f} ({mean.ratings})", anchor="rm")


def _draw_terms(pen: ImageDraw.ImageDraw, terms: Sequence[Term]) -> None:
    """A line for each cell below the days, and a mark where another checkpoint took over."""
    top, bottom = _TERMS
    cells = list(dict.fromkeys(term.cell for term in terms))
    heights = {
        cell: top + (place + 0.5) * (bottom - top) / len(cells) for place, cell in enumerate(cells)
    }
    for cell, middle in heights.items():
        _write(pen, _EDGE, middle, cell, anchor="lm")
    for term in terms:
        middle = heights[term.cell]
        begins, ends = (_LEFT + (_RIGHT - _LEFT) * moment for moment in (term.begins, term.ends))
        pen.line((begins, middle, ends, middle), fill=_COLOURS.rule, width=6)
        pen.line((begins, middle - 14, begins, middle + 14), fill=_COLOURS.paste, width=6)
        # Near the right edge there is room to the left only.
        outside = term.begins > 0.5
        _write(pen, begins, middle - 18, term.label, anchor="rs" if outside else "ls", faint=True)


def _bar(pen: ImageDraw.ImageDraw, left: float, upper: float, right: float, lower: float) -> None:
    pen.rectangle((left, upper, right, lower), fill=_COLOURS.paste)


def _write(
    pen: ImageDraw.ImageDraw, x: float, y: float, text: str, *, anchor: str, faint: bool = False
) -> None:
    colour = _COLOURS.faint if faint else _COLOURS.ink
    pen.text((x, y), text, fill=colour, font=_font(), anchor=anchor)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The one that Pillow brings: Latin letters and digits."""
    return ImageFont.load_default(_TEXT)
