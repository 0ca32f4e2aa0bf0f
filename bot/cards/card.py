"""What stands on a card: it travels in the outbox, and is drawn when it is sent."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import ConfigDict, Field, TypeAdapter

from bot import texts
from bot.language import Language, Script
from bot.render import colophon, show_lines
from engine.jobs import Poem
from engine.verse.forms import FORMS
from engine.verse.script import simplified

EDITION = 1
"""The edition of the drawing, part of every key: raise it whenever cards come to look different."""
SEALS = {Script.SIMPLIFIED: "乐府", Script.TRADITIONAL: "樂府"}
"""What the seal says where nobody says otherwise."""


class Theme(StrEnum):
    """What a card is written on."""

    PAPER = "paper"
    """Black ink on light paper."""
    INK = "ink"
    """Light characters on dark paper."""


class Ratio(StrEnum):
    """Width to height."""

    SQUARE = "1:1"
    PORTRAIT = "3:4"


@dataclass(frozen=True, kw_only=True)
class Card:
    """One card; `dataclasses.asdict` makes it JSON and `from_fields` reads it again."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    lines: Annotated[tuple[str, ...], Field(min_length=1)]
    """The poem as it is shown, without punctuation: a column each."""
    script: Script
    """The script of the poem, which chooses among the regional faces of a font."""
    title: str
    """Chinese characters for the first column: the opening, a theme or the form."""
    colophon: str
    """Form, rhyme and cell, for the foot."""
    label: str
    """That a machine wrote it, for the foot; empty where the label is switched off."""
    seal: Annotated[str, Field(min_length=1, max_length=4)]
    """One to four Chinese characters, carved into the seal."""
    theme: Theme
    """What it is written on."""
    ratio: Ratio
    """Width to height."""

    @property
    def key(self) -> str:
        """The same for the same picture, in every process: what a platform may file it under."""
        fields = json.dumps([EDITION, asdict(self)], sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()[:32]

    @property
    def characters(self) -> str:
        """Every character that a font must have."""
        return "".join((*self.lines, self.title, self.colophon, self.label, self.seal))

    @classmethod
    def from_fields(cls, fields: object) -> Self:
        """Read what `dataclasses.asdict` and JSON made of a card; ValueError if it is none."""
        return TypeAdapter(cls).validate_python(fields)


def card_of(
    poem: Poem,
    *,
    glyphs: str,
    script: Script,
    language: Language,
    title: str = "",
    labelled: bool = True,
    theme: Theme = Theme.PAPER,
    ratio: Ratio = Ratio.PORTRAIT,
) -> Card:
    """The card of `poem`, shown as `bot.render.render_poem` shows it.

    `title` stands as it is; without one the form is the title. `labelled` is the operator's
    setting `card_label`.
    """
    form = FORMS[poem.form].title
    return Card(
        lines=show_lines(poem.lines, glyphs=glyphs, script=script),
        script=script,
        title=title or (simplified(form) if script is Script.SIMPLIFIED else form),
        colophon=colophon([poem], language),
        label=texts.CARD_LABEL.say(language) if labelled else "",
        seal=SEALS[script],
        theme=theme,
        ratio=ratio,
    )
