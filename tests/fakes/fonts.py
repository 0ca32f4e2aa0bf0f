"""Tiny fonts, made when a test needs them: a character is a box, and so easy to find again."""

from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont
from fontTools.ttLib.tables.TupleVariation import TupleVariation

SMALL = range(400, 600)
"""Where a usual character has ink, of 1000 units in both directions."""
LARGE = range(20, 980)
"""Where a heavy one has."""


def make_font(path: Path, characters: str, *, heavy: str = "") -> Path:
    """Write a font with `characters`, those in `heavy` filling their square, to `path`."""
    _build(characters, heavy=heavy).save(path)
    return path


def make_collection(path: Path, faces: dict[str, str], *, weights: dict[str, int]) -> Path:
    """Write a collection: each face by its full name, with its characters."""
    collection = TTCollection()
    collection.fonts = [
        _build(characters, name=name, weight=weights.get(name, 400))
        for name, characters in faces.items()
    ]
    collection.save(path)
    return path


def make_variable_font(path: Path, character: str) -> Path:
    """Write a font of one character that is small by default and fills its square when regular."""
    builder = _builder(character, heavy="", name="Test", weight=200)
    builder.setupFvar(
        [("wght", 200, 200, 400, "Weight")],
        [{"stylename": "Regular", "location": {"wght": 400}}],
    )
    grow = LARGE.stop - SMALL.stop
    corners = [(-grow, -grow), (-grow, grow), (grow, grow), (grow, -grow)]
    phantoms = [(0, 0)] * 4
    builder.setupGvar({"c0": [TupleVariation({"wght": (0, 1, 1)}, corners + phantoms)]})
    builder.font.save(path)
    return path


def _build(
    characters: str, *, heavy: str = "", name: str = "Test Regular", weight: int = 400
) -> TTFont:
    return _builder(characters, heavy=heavy, name=name, weight=weight).font


def _builder(characters: str, *, heavy: str, name: str, weight: int) -> FontBuilder:
    names = {ord(char): f"c{index}" for index, char in enumerate(dict.fromkeys(characters))}
    glyphs = {names[code]: _box(LARGE if chr(code) in heavy else SMALL) for code in names}
    glyphs[".notdef"] = _box(LARGE)
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap(names)
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
    # The em square of a Chinese font: 880 above the baseline, 120 below.
    builder.setupHorizontalHeader(ascent=880, descent=-120)
    builder.setupNameTable({"familyName": name, "styleName": "Regular", "fullName": name})
    builder.setupOS2(sTypoAscender=880, sTypoDescender=-120, usWeightClass=weight)
    builder.setupPost()
    return builder


def _box(extent: range) -> object:
    """A filled square in the middle of the em."""
    low, high = extent.start, extent.stop
    pen = TTGlyphPen(None)
    corners = [(low, low - 120), (low, high - 120), (high, high - 120), (high, low - 120)]
    pen.moveTo(corners[0])
    for corner in corners[1:]:
        pen.lineTo(corner)
    pen.closePath()
    return pen.glyph()
