"""The tone patterns of regulated verse: one table that the mask and the checker both read.

A line of regulated verse is one of four kinds, told apart by where it is level and how it ends
(王力《詩詞格律》 ch. 2). The table lists, for five characters, every pattern a kind admits:
`-` level, `|` oblique, `*` either. A seven-character line puts two characters before it, the
second of which opposes the class of the five's second.

    kind  five        its canonical form
    A     *|*-|       仄仄平平仄   ends oblique, does not rhyme
    B     --*|-       平平仄仄平   ends level, rhymes; also ||--|- in seven: the rescue of 孤平
    C     *--||       平平平仄仄   ends oblique; also --|-| (the special form) and --||| (三仄尾)
    D     *||--       仄仄仄平平   ends level, rhymes; a third level would make 三平尾

Leaving B's first character level, unless its third is level too, is the rule against 孤平 (one
level character alone beside the rhyme); D's third being oblique is the rule against 三平尾.
A couplet is A B or C D, so its lines oppose each other (对); couplets alternate, so each opens in
the class in which the one before closed (粘). If the first line rhymes, D stands for A, B for C.

三仄尾 is admitted because Tang poets wrote it freely: without it a strict check accepts 64 % of
the clean Tang wulu, with it 73 %.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property

from engine.verse.forms import FORMS, Form, FormName
from engine.verse.tones import Readings, Tone


class LineKind(StrEnum):
    """The four kinds of line."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"

    @property
    def rhymes(self) -> bool:
        """Whether a line of this kind ends in a level tone, and so rhymes."""
        return self in (LineKind.B, LineKind.D)


_FIVE: dict[LineKind, tuple[str, ...]] = {
    LineKind.A: ("*|*-|",),
    LineKind.B: ("--*|-", "|--|-"),
    LineKind.C: ("*--||", "--|-|", "--|||"),
    LineKind.D: ("*||--",),
}
# What stands before the five in a line of seven: its second character opposes the five's second.
_PREFIX: dict[LineKind, str] = {
    LineKind.A: "*-",
    LineKind.B: "*|",
    LineKind.C: "*|",
    LineKind.D: "*-",
}
_COUPLETS: dict[LineKind, tuple[LineKind, LineKind]] = {
    LineKind.A: (LineKind.A, LineKind.B),
    LineKind.C: (LineKind.C, LineKind.D),
}
# The four ways a poem opens: its first line, and the couplet that this line belongs to.
_OPENINGS: dict[LineKind, LineKind] = {
    LineKind.A: LineKind.A,
    LineKind.D: LineKind.A,
    LineKind.C: LineKind.C,
    LineKind.B: LineKind.C,
}
_CLASS_OF_MARK: dict[str, Tone | None] = {"-": Tone.LEVEL, "|": Tone.OBLIQUE, "*": None}

Pattern = tuple[Tone | None, ...]
"""The tone class wanted at each place of a line; None where either will do."""


@cache
def patterns(kind: LineKind, line_length: int) -> tuple[Pattern, ...]:
    """Every pattern that a line of `kind` admits; `line_length` is 5 or 7.

    The canonical pattern comes first, the rescued or special one after it.
    """
    prefix = _PREFIX[kind] if line_length == 7 else ""
    return tuple(tuple(_CLASS_OF_MARK[mark] for mark in prefix + five) for five in _FIVE[kind])


@dataclass(frozen=True, kw_only=True)
class Template:
    """One of the four ways in which a poem of some form runs through the kinds of line."""

    form: Form
    """The form it is a template of."""
    kinds: tuple[LineKind, ...]
    """The kind of each line."""

    @cached_property
    def rhyming_lines(self) -> tuple[int, ...]:
        """Indices of the lines that rhyme: every second one, and the first where it ends level."""
        return tuple(index for index, kind in enumerate(self.kinds) if kind.rhymes)


@cache
def templates(form_name: FormName) -> tuple[Template, ...]:
    """The four templates of a form, one for each kind of first line."""
    form = FORMS[form_name]
    return tuple(Template(form=form, kinds=tuple(_kinds(first, form.lines))) for first in _OPENINGS)


def _kinds(first: LineKind, lines: int) -> Iterator[LineKind]:
    couplet = _OPENINGS[first]
    for index in range(0, lines, 2):
        opening, closing = _COUPLETS[couplet]
        yield first if index == 0 else opening
        yield closing
        couplet = LineKind.C if couplet is LineKind.A else LineKind.A


def mismatches(pattern: Pattern, line: Sequence[Readings]) -> tuple[int, ...]:
    """The places of `line` that the `pattern` does not admit, counted from 0."""
    return tuple(
        place
        for place, (tone, readings) in enumerate(zip(pattern, line, strict=True))
        if not readings.admits(tone)
    )
