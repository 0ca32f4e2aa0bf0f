"""The four forms of regulated verse that Yuefu writes.

A jueju (绝句) has four lines and a lushi (律诗) eight; a line has five characters (wuyan, 五言) or
seven (qiyan, 七言). Every second line ends a couplet and carries the rhyme.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

Chars = TypeVar("Chars", str, tuple[int, ...])
"""Characters, or their indices."""


class FormName(StrEnum):
    """The name of a form, as it is written in commands, checkpoints and reports."""

    WUJUE = "wujue"
    QIJUE = "qijue"
    WULU = "wulu"
    QILU = "qilu"


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form: how many lines, and how long each is."""

    name: FormName
    """The name used in every contract."""
    title: str
    """The Chinese name, traditional."""
    lines: int
    """Lines in the poem, 4 or 8."""
    line_length: int
    """Characters in a line, 5 or 7."""

    @property
    def length(self) -> int:
        """Characters in the whole poem, punctuation excluded."""
        return self.lines * self.line_length

    def punctuate(self, lines: tuple[str, ...]) -> str:
        """Join `lines` as print does: a comma inside each couplet and a full stop at its end."""
        return "".join(line + ("，", "。")[index % 2] for index, line in enumerate(lines))


FORMS: dict[FormName, Form] = {
    form.name: form
    for form in (
        Form(name=FormName.WUJUE, title="五言絕句", lines=4, line_length=5),
        Form(name=FormName.QIJUE, title="七言絕句", lines=4, line_length=7),
        Form(name=FormName.WULU, title="五言律詩", lines=8, line_length=5),
        Form(name=FormName.QILU, title="七言律詩", lines=8, line_length=7),
    )
}


def form_of(lines: int, line_length: int) -> Form | None:
    """The form with this many `lines` of this length, or None where Yuefu knows none."""
    return next(
        (
            form
            for form in FORMS.values()
            if form.lines == lines and form.line_length == line_length
        ),
        None,
    )


def cut_lines(chars: Chars, line_length: int) -> tuple[Chars, ...]:
    """A poem given as one run of characters, cut into its lines."""
    return tuple(chars[first : first + line_length] for first in range(0, len(chars), line_length))
