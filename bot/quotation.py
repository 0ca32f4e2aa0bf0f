"""A poem is found in what people quote or paste, whoever wrote it.

Only runs of Chinese characters count, so that any punctuation and layout will do. What print and
chats put around a poem is told apart by its shape: Yuefu's own colophon and tone marks, a title,
the poet's name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from engine.verse.forms import FORMS, Form, cut_lines
from engine.verse.script import clean, is_han

TEXT_MAX = 4096
"""Characters that are looked at: all that a message of Telegram holds."""

_NUMBERED = re.compile(r"\s*\d{1,2}[.．、]\s*")
_MARKS = re.compile(r"\s*[平仄中？]{5,7}\s*")
_ENDINGS = frozenset("，。！？；,.!?;")


@dataclass(frozen=True, kw_only=True)
class Quoted:
    """A poem as somebody wrote it."""

    form: Form
    """Its form."""
    glyphs: tuple[str, ...]
    """Its lines without punctuation, exactly as they were written."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Its lines, in the characters under which Unicode unites their glyphs."""
        return tuple("".join(map(clean, line)) for line in self.glyphs)


@dataclass(frozen=True, kw_only=True)
class Unread:
    """No one poem of the four forms."""

    several: bool = False
    """Whether it holds numbered poems, of which none is picked yet."""
    lengths: tuple[int, ...] = ()
    """The length of each line that was found instead."""


def read_poem(text: str) -> Quoted | Unread:
    """The poem in `text`, or what was found there instead."""
    rows = [row for row in text[:TEXT_MAX].splitlines() if row.strip()]
    if sum(1 for row in rows if _NUMBERED.fullmatch(row)) > 1:
        return Unread(several=True)
    rows = [row for row in rows if not _is_colophon(row) and not _MARKS.fullmatch(row)]
    whole = [run for row in rows for run in _runs(row)]
    # A title or a name stands on a row of its own, which no punctuation closes.
    closed = [run for row in rows if _ENDINGS & set(row) for run in _runs(row)]
    for runs in (whole, closed, _longest_even(whole)):
        form = _form_of(runs)
        if form is not None:
            return Quoted(form=form, glyphs=cut_lines("".join(runs), form.line_length))
    return Unread(lengths=tuple(map(len, closed or whole)))


def _is_colophon(row: str) -> bool:
    """五绝 · 尤韵 · gru, or a dynasty and a poet: 唐·李白."""
    return "·" in row and not _ENDINGS & set(row)


def _runs(row: str) -> list[str]:
    """The runs of Chinese characters in `row`, as typed; what cannot be seen parts nothing."""
    runs = [""]
    for glyph in row:
        seen = clean(glyph)
        if is_han(seen):
            runs[-1] += glyph
        elif seen or glyph.isspace():
            runs.append("")
    return [run for run in runs if run]


def _longest_even(runs: Sequence[str]) -> list[str]:
    """The one stretch of `runs` that are equally long and as many as a form has lines."""
    stretches = [list(stretch) for _, stretch in groupby(runs, key=len)]
    fitting = [stretch for stretch in stretches if _form_of(stretch) is not None]
    return fitting[0] if len(fitting) == 1 else []


def _form_of(runs: Sequence[str]) -> Form | None:
    """The form whose lines fill `runs`, each of them one line or several."""
    length = sum(map(len, runs))
    for form in FORMS.values():
        if form.length == length and all(len(run) % form.line_length == 0 for run in runs):
            return form
    return None
