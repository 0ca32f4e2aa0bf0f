"""A card is drawn: ruled letter paper, columns from right to left, and the seal below the last.

Every character stands in the middle of its own cell of a grid, as type does, so the vertical
layout is ours and needs nothing of the font but its glyphs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFont

from bot.cards.card import Card, Ratio, Theme
from bot.cards.fonts import CardFont, Face
from bot.errors import NoFontError

WIDTH = 1080
"""Pixels across a card."""
HEIGHTS = {Ratio.SQUARE: 1080, Ratio.PORTRAIT: 1440}
"""Pixels down a card."""

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The colours of a theme."""

    paper: Colour
    """The ground."""
    shade: Colour
    """What the ground turns to at the corners, and the fibres in it."""
    ink: Colour
    """The poem and its title."""
    faint: Colour
    """What stands at the foot."""
    rule: Colour
    """The frame and the rules between columns."""
    paste: Colour
    """The red of the seal."""
    carved: Colour
    """The characters that are cut out of it."""


PALETTES = {
    Theme.PAPER: Palette(
        paper=(248, 242, 229),
        shade=(228, 214, 188),
        ink=(36, 32, 29),
        faint=(122, 108, 92),
        rule=(178, 128, 104),
        paste=(176, 40, 32),
        carved=(250, 243, 230),
    ),
    Theme.INK: Palette(
        paper=(30, 32, 36),
        shade=(14, 15, 18),
        ink=(236, 230, 216),
        faint=(150, 144, 132),
        rule=(98, 92, 82),
        paste=(178, 46, 38),
        carved=(246, 236, 218),
    ),
}
"""The colours by theme."""

# The paper around the frame, and below it.
_MARGIN = 56
_FOOT = 128
# The baseline of the foot, above the lower edge.
_FOOTING = 46
# The frame: a bold line, a gap, a fine line.
_FRAME, _GAP, _HAIR = 5, 8, 2
_INSET = _MARGIN + _FRAME + _GAP + _HAIR
# Between the frame and the first and last characters.
_PAD = 46
# The em of a Chinese font reaches from 0.12 below the baseline to 0.88 above it.
_BASELINE = 0.38
# What parts the two lines of a couplet in one column, in cells.
_CAESURA = 0.5
_TITLE_PITCH = 1.25
# A twentieth of the shorter side: what the Chinese standard on labels (GB 45438-2025) asks for.
_LABEL = WIDTH // 20
_COLOPHON = 32
_SEAL = 108
_FIBRES = 260
_PAPER_SEED = 8
# Against zlib's usual 6: a quarter less time, a tenth more bytes.
_COMPRESSION = 3


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the characters of one card are, in pixels."""

    left: float
    """The left end of the leftmost column."""
    right: float
    """The right end of the rightmost column."""
    top: float
    """The upper end of the columns."""
    bottom: float
    """The lower end of the columns."""
    lines: int
    """Lines of the poem."""
    length: int
    """Characters in the longest of them."""
    together: int
    """Lines in one column: 1, or 2 for a couplet."""

    @property
    def columns(self) -> int:
        """How many columns there are: the title, the poem, the seal."""
        return -(-self.lines // self.together) + 2

    @property
    def column(self) -> float:
        """The width of a column."""
        return (self.right - self.left) / self.columns

    @property
    def room(self) -> float:
        """What a column has for its characters."""
        return self.bottom - self.top - 2 * _PAD

    @property
    def head(self) -> float:
        """The upper edge of every first character."""
        return self.top + _PAD

    @property
    def size(self) -> int:
        """The em of the poem's characters."""
        return round(min(0.68 * self.column, 0.84 * self.room / self._cells))

    @property
    def pitch(self) -> float:
        """From one character down to the next."""
        return min((self.room - self.size) / max(1, self._cells - 1), 1.7 * self.size)

    def centre(self, column: int) -> float:
        """The middle of a column, counted from the right, from 0."""
        return self.right - (column + 0.5) * self.column

    def place(self, line: int, char: int) -> tuple[float, float]:
        """The middle of a character of the poem: its line and its place there, from 0."""
        column, above = divmod(line, self.together)
        row = above * (self.length + _CAESURA) + char
        return self.centre(column + 1), self.head + row * self.pitch + self.size / 2

    @property
    def _cells(self) -> float:
        return self.together * self.length + (self.together - 1) * _CAESURA


def grid_of(card: Card) -> Grid:
    """The grid of `card`: a line or a couplet a column, whichever makes larger characters."""
    single = Grid(
        left=_INSET,
        right=WIDTH - _INSET,
        top=_INSET,
        bottom=HEIGHTS[card.ratio] - _FOOT - _INSET + _MARGIN,
        lines=len(card.lines),
        length=max(map(len, card.lines)),
        together=1,
    )
    return max(single, replace(single, together=2), key=lambda grid: grid.size)


def draw(card: Card, font: CardFont) -> bytes:
    """The picture of `card` as PNG; the same bytes whenever card, font and libraries are the same.

    It takes some 50 ms of one core: `bot.cards.easel` draws beside the event loop.

    Raises:
        GlyphsMissingError: the font lacks characters of the card.
        NoFontError: the font's file cannot be read any more.
    """
    face = font.faces[card.script]
    face.check(card.characters)
    try:
        image = _draw(card, face)
    except OSError as error:
        raise NoFontError(f"the font {face.path} cannot be read any more: {error}") from None
    file = BytesIO()
    image.save(file, "PNG", compress_level=_COMPRESSION)
    return file.getvalue()


def _draw(card: Card, face: Face) -> Image.Image:
    image = _paper(card.theme, card.ratio).copy()
    sheet = _Sheet(
        image=image,
        pen=ImageDraw.Draw(image),
        grid=grid_of(card),
        face=face,
        palette=PALETTES[card.theme],
    )
    sheet.rule()
    sheet.write_title(card.title)
    sheet.write_lines(card.lines)
    sheet.write_foot(card.label, card.colophon)
    sheet.press_seal(card.seal)
    return image


@dataclass(frozen=True, kw_only=True)
class _Sheet:
    """A card while it is being drawn."""

    image: Image.Image
    pen: ImageDraw.ImageDraw
    grid: Grid
    face: Face
    palette: Palette

    def rule(self) -> None:
        """Draw the frame, a bold line around a fine one, and the rules between the columns."""
        grid, colour = self.grid, self.palette.rule
        for outside, width in ((_HAIR, _HAIR), (_INSET - _MARGIN, _FRAME)):
            box = (grid.left - outside, grid.top - outside)
            end = (grid.right + outside, grid.bottom + outside)
            self.pen.rectangle((*box, *end), outline=colour, width=width)
        for column in range(1, grid.columns):
            x = round(grid.right - column * grid.column)
            self.pen.line((x, grid.top, x, grid.bottom), fill=colour)

    def write_title(self, title: str) -> None:
        """Write the first column, smaller than the poem, and smaller still where it is long."""
        grid = self.grid
        size = round(min(0.74 * grid.size, grid.room / (_TITLE_PITCH * max(1, len(title)))))
        font = self.face.at(size)
        for row, char in enumerate(title):
            self._set(char, font, (grid.centre(0), grid.head + (row * _TITLE_PITCH + 0.5) * size))

    def write_lines(self, lines: Sequence[str]) -> None:
        """Write the poem."""
        font = self.face.at(self.grid.size)
        for line, chars in enumerate(lines):
            for row, char in enumerate(chars):
                self._set(char, font, self.grid.place(line, row))

    def write_foot(self, label: str, colophon: str) -> None:
        """Write below the frame, from left to right: what wrote the poem, and what it is."""
        y = self.image.height - _FOOTING
        for x, anchor, text, size in (
            (_MARGIN, "ls", label, _LABEL),
            (WIDTH - _MARGIN, "rs", colophon, _COLOPHON),
        ):
            font = self.face.at(size)
            self.pen.text((x, y), text, fill=self.palette.faint, font=font, anchor=anchor)

    def press_seal(self, seal: str) -> None:
        """Press the seal at the lower end of the last column."""
        grid = self.grid
        side = round(min(0.78 * grid.column, _SEAL))
        corner = round(grid.centre(grid.columns - 1) - side / 2), round(grid.bottom - _PAD - side)
        print_ = _seal(seal, self.face, self.palette).resize((side, side), Image.Resampling.LANCZOS)
        self.image.paste(print_, corner, print_)

    def _set(self, char: str, font: ImageFont.FreeTypeFont, centre: tuple[float, float]) -> None:
        """Draw one character with the middle of its em square at `centre`."""
        x, y = centre
        baseline = y + _BASELINE * font.size
        self.pen.text((x, baseline), char, fill=self.palette.ink, font=font, anchor="ms")


@cache
def _paper(theme: Theme, ratio: Ratio) -> Image.Image:
    """The ground, a little darker towards the corners, with fibres in it. Not to be drawn on."""
    size = WIDTH, HEIGHTS[ratio]
    palette = PALETTES[theme]
    corners = Image.radial_gradient("L").point([max(0, far - 90) // 2 for far in range(256)])
    fibres = Image.new("L", size)
    pen = ImageDraw.Draw(fibres)
    random = Random(_PAPER_SEED)
    for _ in range(_FIBRES):
        x, y = random.randrange(size[0]), random.randrange(size[1])
        end = x + random.randint(-26, 26), y + random.randint(-9, 9)
        pen.line((x, y, *end), fill=random.randint(20, 70))
    ground = Image.new("RGB", size, palette.paper)
    ground.paste(palette.shade, mask=ImageChops.add(corners.resize(size), fibres))
    return ground


def _seal(text: str, face: Face, palette: Palette) -> Image.Image:
    """A large print of the seal: a red square, its characters cut out of the paste.

    They stand as on any seal, each stretched to its share of the square: two below each other,
    more of them in two columns from right to left.
    """
    side, border, gap = 480, 44, 22
    print_ = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(print_)
    pen.rounded_rectangle((0, 0, side - 1, side - 1), radius=40, fill=palette.paste)
    columns = [text] if len(text) <= 2 else [text[:2], text[2:]]
    font = face.at(side)
    width = (side - 2 * border + gap) // len(columns) - gap
    for column, chars in enumerate(columns, start=1):
        height = (side - 2 * border + gap) // len(chars) - gap
        for row, char in enumerate(chars):
            glyph = _ink_of(char, font).resize((width, height), Image.Resampling.LANCZOS)
            corner = side - border + gap - column * (width + gap), border + row * (height + gap)
            print_.paste(palette.carved, corner, glyph)
    return print_


def _ink_of(char: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """A character, somewhat bolder, cropped to its strokes."""
    size = round(font.size)
    glyph = Image.new("L", (2 * size, 2 * size))
    pen = ImageDraw.Draw(glyph)
    pen.text((size, size), char, fill=255, font=font, anchor="mm", stroke_width=size // 80)
    return glyph.crop(glyph.getbbox())
