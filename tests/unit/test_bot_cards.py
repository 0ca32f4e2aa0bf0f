"""A card shows the whole poem in columns from right to left, or says why it cannot be drawn.

The fonts are made here, so that nothing depends on what is installed: every character is a small
box in the middle of its square, and 山 a large one, which is how a place on the card is found.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from threading import Event, current_thread

import pytest
from PIL import Image, ImageChops, ImageFont

from bot import texts
from bot.cards.card import Card, Ratio, Theme, card_of
from bot.cards.drawing import HEIGHTS, PALETTES, WIDTH, draw, grid_of
from bot.cards.easel import Easel, excuse
from bot.cards.fonts import USUAL_FONTS, CardFont, find_font
from bot.errors import CardError, GlyphsMissingError, NoFontError
from bot.language import Language, Script
from bot.settings import BotSettings
from engine.settings import load_settings
from engine.verse.forms import FORMS, FormName
from tests.fakes.fonts import make_collection, make_font, make_variable_font
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.waiting import until

POEM = a_poem(a_job())
CHARACTERS = "人山樂府乐" + "".join(map(chr, range(0x21, 0x7F)))
Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def font(tmp_path_factory) -> CardFont:
    return find_font(
        make_font(tmp_path_factory.mktemp("fonts") / "test.ttf", CHARACTERS, heavy="山")
    )


def a_card(form=FormName.WUJUE, **changes) -> Card:
    """A card of small boxes."""
    lines = ("人" * FORMS[form].line_length,) * FORMS[form].lines
    blank = Card(
        lines=lines,
        script=Script.TRADITIONAL,
        title="人人",
        colophon="lstm",
        label="AI",
        seal="樂府",
        theme=Theme.PAPER,
        ratio=Ratio.PORTRAIT,
    )
    return replace(blank, **changes)


def with_heavy(card: Card, line: int, place: int) -> Card:
    """`card` with the one character of that place filling its square."""
    lines = list(card.lines)
    lines[line] = lines[line][:place] + "山" + lines[line][place + 1 :]
    return replace(card, lines=tuple(lines))


def picture(card: Card, font: CardFont) -> Image.Image:
    return Image.open(BytesIO(draw(card, font))).convert("RGB")


def where(card: Card, changes: Sequence[Card], font: CardFont) -> list[Box]:
    """The box in which each of `changes` looks different from `card`."""
    usual = picture(card, font)
    boxes = [ImageChops.difference(picture(change, font), usual).getbbox() for change in changes]
    assert None not in boxes
    return [box for box in boxes if box is not None]


# --- what is on a card ---------------------------------------------------------------------


def card_for(language=Language.ZH, script=Script.SIMPLIFIED, glyphs="", **choices) -> Card:
    return card_of(POEM, glyphs=glyphs, script=script, language=language, **choices)


def test_a_card_has_the_poem_in_the_readers_script_with_form_rhyme_cell_and_label():
    card = card_for()
    assert card.lines == ("月落空江夜", "风吹远树秋", "故人千里外", "一叶下汀洲")
    assert (card.title, card.seal) == ("五言绝句", "乐府")
    assert (card.colophon, card.label) == ("五绝 · 尤韵 · gru", "AI 生成")


def test_traditional_readers_have_title_and_seal_in_their_script():
    card = card_for(Language.ZH_HANT, Script.TRADITIONAL)
    assert (card.title, card.seal, card.colophon) == ("五言絕句", "樂府", "五絕 · 尤韻 · gru")


def test_title_and_opening_stay_as_they_were_typed():
    card = card_for(Language.EN, glyphs="⽉", title="⽉")
    assert card.title == "⽉"
    assert card.lines[0] == "⽉落空江夜"


def test_the_label_can_be_switched_off():
    assert card_for(labelled=False).label == ""


def test_a_card_survives_the_way_through_json():
    card = card_for(theme=Theme.INK, ratio=Ratio.SQUARE)
    assert Card.from_fields(json.loads(json.dumps(asdict(card)))) == card


@pytest.mark.parametrize("wrong", [{"theme": "gold"}, {"lines": []}, {"seal": ""}, {"more": 1}])
def test_what_is_no_card_is_refused(wrong):
    with pytest.raises(ValueError, match="validation error"):
        Card.from_fields(asdict(card_for()) | wrong)


def test_a_key_is_the_same_for_the_same_card_and_another_for_any_other():
    card = card_for()
    others = [
        replace(card, lines=card.lines[::-1]),
        replace(card, script=Script.TRADITIONAL),
        replace(card, title="月"),
        replace(card, colophon=""),
        replace(card, label=""),
        replace(card, seal="詩"),
        replace(card, theme=Theme.INK),
        replace(card, ratio=Ratio.SQUARE),
    ]
    assert len(others) == len(asdict(card))
    assert Card.from_fields(json.loads(json.dumps(asdict(card)))).key == card.key
    assert len({card.key, *(other.key for other in others)}) == len(others) + 1


# --- how it is drawn -----------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "size"), [("1:1", (1080, 1080)), ("3:4", (1080, 1440))])
def test_a_card_is_a_png_of_its_ratio(font, ratio, size):
    image = Image.open(BytesIO(draw(a_card(ratio=Ratio(ratio)), font)))
    assert (image.format, image.size) == ("PNG", size)


def test_the_same_card_is_the_same_bytes(font):
    assert draw(a_card(), font) == draw(a_card(), font)


def test_columns_go_from_right_to_left_between_the_title_and_the_seal(font):
    card = a_card()
    title, seal = replace(card, title="山人"), replace(card, seal="府樂山")
    lines = [with_heavy(card, line, 0) for line in range(4)]
    columns = where(card, [title, *lines, seal], font)
    assert all(after[2] <= before[0] for before, after in pairwise(columns))


def test_a_column_goes_from_above_to_below(font):
    card = a_card()
    rows = where(card, [with_heavy(card, 1, place) for place in (0, 2, 4)], font)
    assert all(before[3] <= after[1] for before, after in pairwise(rows))
    assert len({(row[0], row[2]) for row in rows}) == 1


def test_a_lushi_has_a_couplet_a_column_where_that_makes_larger_characters(font):
    card = a_card(FormName.WULU)
    heads = [with_heavy(card, line, 0) for line in range(3)]
    first, second, third = where(card, heads, font)
    assert (second[0], second[2]) == (first[0], first[2])
    assert second[1] > first[3]
    assert third[2] <= first[0]
    assert third[1] == first[1]


def test_a_lushi_has_a_line_a_column_where_a_couplet_would_not_fit(font):
    card = a_card(FormName.QILU, ratio=Ratio.SQUARE)
    first, second = where(card, [with_heavy(card, line, 0) for line in range(2)], font)
    assert second[2] <= first[0]
    assert second[1] == first[1]


@pytest.mark.parametrize("ratio", Ratio)
@pytest.mark.parametrize("form", FormName)
def test_every_character_has_its_own_place_inside_the_frame(form, ratio):
    grid = grid_of(a_card(form, ratio=ratio))
    places = [
        grid.place(line, char)
        for line in range(FORMS[form].lines)
        for char in range(FORMS[form].line_length)
    ]
    half = grid.size / 2
    assert grid.size >= 60
    assert grid.size < min(grid.column, grid.pitch)
    assert len(set(places)) == FORMS[form].length
    assert all(grid.left < x - half and x + half < grid.right for x, _ in places)
    assert all(grid.top < y - half and y + half < grid.bottom for _, y in places)


@pytest.mark.parametrize("title", ["", "人" * 8, "人" * 40])
def test_a_title_of_any_length_stays_above_the_foot(font, title):
    card = a_card(title=title)
    [box] = where(card, [replace(card, title="山")], font)
    assert box[3] < grid_of(card).bottom


def test_without_a_label_the_foot_is_empty_on_that_side(font):
    [box] = where(a_card(), [a_card(label="")], font)
    assert box[1] > grid_of(a_card()).bottom
    assert box[2] < WIDTH / 2


def test_the_seal_is_red_with_its_characters_left_light(font):
    card = a_card(theme=Theme.INK)
    palette = PALETTES[Theme.INK]
    grid = grid_of(card)
    corner = (round(grid.left), round(grid.bottom - 200))
    pressed = picture(card, font).crop(
        (*corner, round(grid.left + grid.column), round(grid.bottom))
    )
    colours = {colour for _, colour in pressed.getcolors(pressed.width * pressed.height) or ()}
    assert {palette.paste, palette.carved} <= colours


@pytest.mark.parametrize("seal", ["樂", "樂府", "樂府人", "樂府人人"])
def test_a_seal_has_up_to_four_characters(font, seal):
    assert draw(a_card(seal=seal), font)


def test_paper_is_light_and_ink_is_dark(font):
    corner = (WIDTH // 2, 20)
    shades = [
        sum(picture(a_card(theme=theme), font).getpixel(corner))  # type: ignore[arg-type]
        for theme in (Theme.PAPER, Theme.INK)
    ]
    assert shades[0] > 600
    assert shades[1] < 150


def test_threads_draw_the_same_as_one_alone(font):
    cards = [a_card(theme=theme, ratio=ratio) for theme in Theme for ratio in Ratio]
    alone = [draw(card, font) for card in cards]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda card: draw(card, font), cards)) == alone


# --- fonts ---------------------------------------------------------------------------------


def test_a_character_that_the_font_lacks_is_refused_and_not_quoted_in_the_log(font):
    with pytest.raises(GlyphsMissingError) as raised:
        draw(a_card(title="龘人𰻝"), font)
    assert raised.value.missing == "龘𰻝"
    assert not set(str(raised.value)) & {"龘", "𰻝"}
    assert "龘𰻝" in excuse(raised.value, Language.ZH)


@pytest.mark.parametrize("part", ["lines", "colophon", "label", "seal"])
def test_every_part_of_a_card_is_looked_up_in_the_font(font, part):
    with pytest.raises(GlyphsMissingError):
        draw(a_card(**{part: ("龘",) if part == "lines" else "龘"}), font)


def test_where_no_font_is_installed_the_operator_is_told_which_and_how(monkeypatch):
    monkeypatch.setattr("bot.cards.fonts.USUAL_FONTS", ("no-such-font-anywhere.ttf",))
    with pytest.raises(NoFontError) as raised:
        find_font(None)
    for hint in ("fonts-lxgw-wenkai", "YUEFU_CARD_FONT"):
        assert hint in str(raised.value)
        assert all(hint in version for version in texts.CARD_NO_FONT.versions().values())
    assert excuse(raised.value, Language.EN) == texts.CARD_NO_FONT.en


@pytest.fixture
def system_fonts(tmp_path, monkeypatch) -> Path:
    """The only folder in which this system has fonts."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    folder: Path = tmp_path / "share" / "fonts" / "truetype"
    folder.mkdir(parents=True)
    return folder


def test_the_most_fitting_of_the_installed_fonts_is_taken(system_fonts):
    (system_fonts / USUAL_FONTS[0]).write_bytes(b"broken")
    make_font(system_fonts / USUAL_FONTS[4], "人")
    best = make_font(system_fonts / USUAL_FONTS[1], "人")
    assert {face.path for face in find_font(None).faces.values()} == {best}


def test_a_font_named_by_the_setting_is_taken_before_any_other(system_fonts, tmp_path):
    make_font(system_fonts / USUAL_FONTS[0], "人")
    own = make_font(tmp_path / "own.ttf", "人")
    assert find_font(own).faces[Script.SIMPLIFIED].path == own


def no_file(path: Path) -> None:
    pass


def a_text(path: Path) -> None:
    path.write_text("no font")


def half_a_font(path: Path) -> None:
    make_font(path, "人")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("spoil", [no_file, a_text, half_a_font, Path.mkdir])
def test_a_setting_that_names_no_font_is_said_to_be_wrong(tmp_path, spoil: Callable[[Path], None]):
    spoil(tmp_path / "own.ttf")
    with pytest.raises(NoFontError, match=r"YUEFU_CARD_FONT: .*own\.ttf is no font"):
        find_font(tmp_path / "own.ttf")


def test_of_a_collection_each_script_has_the_regular_face_of_its_region(tmp_path):
    faces = {"Test JP": "人", "Test SC Black": "人乐", "Test SC": "人乐", "Test TC": "人樂"}
    path = make_collection(tmp_path / "all.ttc", faces, weights={"Test SC Black": 900})
    found = find_font(path).faces
    assert {script: face.index for script, face in found.items()} == {
        Script.SIMPLIFIED: 2,
        Script.TRADITIONAL: 3,
    }
    found[Script.TRADITIONAL].check("人樂")
    with pytest.raises(GlyphsMissingError):
        found[Script.SIMPLIFIED].check("人樂")


def test_a_variable_font_is_drawn_regular(tmp_path):
    path = make_variable_font(tmp_path / "variable.ttf", "人")
    box = find_font(path).faces[Script.SIMPLIFIED].at(100).getmask("人").getbbox()
    thin = ImageFont.truetype(path, 100, layout_engine=ImageFont.Layout.BASIC)
    assert thin.getmask("人").getbbox()[2] < 30
    assert box[2] - box[0] > 90


def test_no_card_needs_raqm(font):
    """Its wheels look for a fribidi on the system: without one there is no vertical text."""
    assert font.faces[Script.SIMPLIFIED].at(20).layout_engine == ImageFont.Layout.BASIC


def test_settings_name_the_font_and_switch_the_label(monkeypatch):
    settings = load_settings(BotSettings)
    assert (settings.card_font, settings.card_label) == (None, True)
    monkeypatch.setenv("YUEFU_CARD_FONT", "/fonts/own.ttf")
    monkeypatch.setenv("YUEFU_CARD_LABEL", "off")
    settings = load_settings(BotSettings)
    assert (settings.card_font, settings.card_label) == (Path("/fonts/own.ttf"), False)


# --- drawing beside the event loop ---------------------------------------------------------


class SlowDrawing:
    """Stands in for `draw` until it is let go, and knows who is at it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.threads: set[str] = set()
        self.go = Event()

    def __call__(self, card: Card, font: CardFont) -> bytes:
        self.threads.add(current_thread().name)
        self.begun.append(card.title)
        assert self.go.wait(30)
        return card.title.encode()

    async def until_begun(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.begun) == count

        await until(enough)


@pytest.fixture
def slow(monkeypatch) -> SlowDrawing:
    drawing = SlowDrawing()
    monkeypatch.setattr("bot.cards.easel.draw", drawing)
    return drawing


@pytest.fixture
def font_file(tmp_path) -> Path:
    return make_font(tmp_path / "test.ttf", CHARACTERS)


async def test_an_easel_draws_what_draw_does(font_file):
    with Easel(font_file) as easel:
        assert await easel.draw(a_card()) == draw(a_card(), find_font(font_file))


async def test_an_easel_draws_so_many_at_once_and_the_loop_goes_on(slow, font_file):
    with Easel(font_file, at_once=2) as easel:
        tasks = [asyncio.create_task(easel.draw(a_card(title=title))) for title in "一二三四"]
        await slow.until_begun(2)
        slow.go.set()
        assert [image.decode() for image in await asyncio.gather(*tasks)] == list("一二三四")
    assert len(slow.threads) == 2
    assert current_thread().name not in slow.threads


async def test_a_card_nobody_waits_for_any_more_is_not_drawn(slow, font_file):
    with Easel(font_file, at_once=1) as easel:
        tasks = [asyncio.create_task(easel.draw(a_card(title=title))) for title in "一二三"]
        await slow.until_begun(1)
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        slow.go.set()
        await asyncio.gather(tasks[0], tasks[2])
    assert slow.begun == ["一", "三"]


async def test_a_font_that_is_installed_later_is_found(system_fonts):
    with Easel() as easel:
        with pytest.raises(CardError):
            await easel.draw(a_card())
        installed = make_font(system_fonts / USUAL_FONTS[0], CHARACTERS)
        assert await easel.draw(a_card()) == draw(a_card(), find_font(installed))


async def test_a_font_that_is_taken_away_is_missed_and_another_one_found(system_fonts):
    with Easel() as easel:
        gone = make_font(system_fonts / USUAL_FONTS[0], CHARACTERS)
        await easel.draw(a_card())
        gone.unlink()
        make_font(system_fonts / USUAL_FONTS[1], CHARACTERS)
        with pytest.raises(NoFontError):
            await easel.draw(a_card())
        assert await easel.draw(a_card())


def test_heights_are_as_the_ratios_say():
    assert {ratio: f"{WIDTH / height:.2f}" for ratio, height in HEIGHTS.items()} == {
        Ratio.SQUARE: "1.00",
        Ratio.PORTRAIT: "0.75",
    }
