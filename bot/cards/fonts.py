"""The font of the cards: found by setting or in the usual places, and asked what it can show.

Which characters a font has is read from its cmap by fontTools. Pillow has no such question: it
draws a box for what is missing and says nothing.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fontTools.ttLib import TTCollection, TTFont, TTLibError
from PIL import ImageFont

from bot.errors import GlyphsMissingError, NoFontError
from bot.language import Script

USUAL_FONTS = (
    "LXGWWenKai-Regular.ttf",
    "LXGWWenKaiGB-Regular.ttf",
    "NotoSerifCJK-Regular.ttc",
    "SourceHanSerif-Regular.ttc",
    "SourceHanSerif.ttc",
    "SourceHanSerifSC-Regular.otf",
    "NotoSerifCJKsc-Regular.otf",
    "NotoSerifCJK-VF.ttc",
    "Songti.ttc",
    "ukai.ttc",
    "uming.ttc",
    "STSONG.TTF",
    "simkai.ttf",
    "simsun.ttc",
    "NotoSansCJK-Regular.ttc",
)
"""Fonts with both scripts by file name, the most fitting first: of the brush, then of the press.

Those of Debian, Fedora, Arch and Alpine, of macOS and of Windows.
"""

# What fontTools raises where a table is missing, cut short or makes no sense.
_BROKEN = (TTLibError, KeyError, ValueError, TypeError, AssertionError, struct.error)
_REGULAR = 400
_TRIAL_SIZE = 20
_REGIONS = {Script.SIMPLIFIED: {"SC", "CN"}, Script.TRADITIONAL: {"TC", "TW"}}


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face of a font file."""

    path: Path
    """The file."""
    index: int
    """Which face of the file, from 0; a collection has several."""
    codes: frozenset[int]
    """The code points that it has glyphs for."""
    axes: tuple[float, ...] = ()
    """Where a variable font is of regular weight, on each of its axes."""

    def check(self, characters: str) -> None:
        """See that it has every one of `characters`, spaces aside.

        Raises:
            GlyphsMissingError: it has not; says which.
        """
        missing = dict.fromkeys(
            char for char in characters if ord(char) not in self.codes and not char.isspace()
        )
        if missing:
            raise GlyphsMissingError("".join(missing))

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The face at `size` pixels to the em, for one thread.

        Pillow's basic layout: raqm, its other one, needs a fribidi that its wheels do not bring.

        Raises:
            OSError: the file cannot be read.
        """
        font = ImageFont.truetype(
            self.path, size, index=self.index, layout_engine=ImageFont.Layout.BASIC
        )
        if self.axes:
            font.set_variation_by_axes(list(self.axes))
        return font


@dataclass(frozen=True, kw_only=True)
class CardFont:
    """The face for each script; in most files they are the same one."""

    faces: dict[Script, Face]
    """The faces."""


def find_font(path: Path | None) -> CardFont:
    """The font at `path`, else the first of `USUAL_FONTS` that is installed. It reads files.

    Raises:
        NoFontError: the file is no font, or none is installed; says what to do.
    """
    if path is not None:
        return _read(path)
    for name in USUAL_FONTS:
        try:
            return _read(_installed(name))
        except (OSError, NoFontError):
            continue
    raise NoFontError


def _installed(name: str) -> Path:
    """Where Pillow finds a font by its file name, in the folders of this system."""
    return Path(str(ImageFont.truetype(name).path))


def _read(path: Path) -> CardFont:
    """Open a font file and choose its faces; any way in which it is broken is a NoFontError."""
    try:
        with path.open("rb") as file:
            tables = _faces_in(file)
            chosen = {script: _choose(tables, script) for script in Script}
            faces = {index: _face(path, index, tables[index]) for index in chosen.values()}
    except (OSError, *_BROKEN) as error:
        raise NoFontError(f"YUEFU_CARD_FONT: {path} is no font ({error})") from None
    return CardFont(faces={script: faces[index] for script, index in chosen.items()})


def _face(path: Path, index: int, tables: TTFont) -> Face:
    codes = frozenset(tables.getBestCmap())
    face = Face(path=path, index=index, codes=codes, axes=_regular_axes(tables))
    face.at(_TRIAL_SIZE)  # what fontTools can read, FreeType may not
    return face


def _faces_in(file: BinaryIO) -> list[TTFont]:
    magic = file.read(4)
    file.seek(0)
    if magic == b"ttcf":
        return list(TTCollection(file, lazy=True).fonts)
    return [TTFont(file, lazy=True)]


def _choose(faces: list[TTFont], script: Script) -> int:
    """The face for `script`: of its region where there is one, and of regular weight."""

    def strangeness(index: int) -> tuple[bool, int, int]:
        name = faces[index]["name"].getBestFullName() or ""
        weight = faces[index]["OS/2"].usWeightClass
        return not _REGIONS[script] & set(name.split()), abs(weight - _REGULAR), index

    return min(range(len(faces)), key=strangeness)


def _regular_axes(face: TTFont) -> tuple[float, ...]:
    """Where a variable font is of regular weight, on each of its axes; nothing for any other.

    Its default may be hairline thin. Pillow could go by the names of its instances too, but
    crashes where two names are one entry of the font's name table.
    """
    if "fvar" not in face:
        return ()
    return tuple(
        min(max(_REGULAR, axis.minValue), axis.maxValue)
        if axis.axisTag == "wght"
        else axis.defaultValue
        for axis in face["fvar"].axes
    )
