"""Does a poem keep the form it claims? And if not: which rule fails, and where.

The checker reads the same table (`templates`) and the same readings (`tones`) as the mask. It is
permissive about polyphones: a character satisfies a rule if any of its readings does.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.verse.forms import Form, FormName, form_of
from engine.verse.script import clean, fold, is_han, traditional
from engine.verse.templates import (
    LineKind,
    Pattern,
    Template,
    mismatches,
    patterns,
    templates,
)
from engine.verse.tones import Readings, Tone, readings

Line = tuple[Readings, ...]

_SEPARATORS = re.compile(r"[，。！？；：、,.!?;:\s/|]+")


class Rule(StrEnum):
    """The rules of regulated verse, and Yuefu's own, that a poem can break."""

    FORMAT = "format"
    """Line count or line length is that of no form."""
    OPENING = "opening"
    """The poem does not begin as asked."""
    RHYME = "rhyme"
    """The rhyming lines do not end in level tones of one 平水韵 group."""
    TONE = "tone"
    """A character's tone class is not the template's (平仄)."""
    OPPOSITION = "opposition"
    """The closing line of a couplet does not oppose its opening line (失對)."""
    ADHESION = "adhesion"
    """A couplet does not open in the class in which the one before closed (失粘)."""
    LONE_LEVEL = "lone_level"
    """A rhyming line has one level character alone beside its rhyme (孤平)."""
    LEVEL_ENDING = "level_ending"
    """A line ends in three level tones (三平尾)."""
    REPEATED_LINE = "repeated_line"
    """Two lines are the same."""
    REPEATED_RHYME = "repeated_rhyme"
    """Two lines rhyme on the same character."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One rule, broken at one place."""

    rule: Rule
    """The rule that is broken."""
    line: int | None = None
    """The line, counted from 1; None where the poem as a whole is meant."""
    place: int | None = None
    """The character in that line, counted from 1; None where the whole line is meant."""
    wanted: Tone | None = None
    """The tone class that the template wants there, for `Rule.TONE`."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the checker found."""

    form: FormName | None
    """The form of the poem, None if it has that of none."""
    template: Template | None
    """The template that fits best; the first line's kind names it."""
    rhyme: str | None
    """The group in which the poem rhymes."""
    tones: tuple[str, ...]
    """Each line's tone classes: 平, 仄, 中 for a polyphone, ？ for a character not known."""
    violations: tuple[Violation, ...]
    """Every rule broken, in the order of the lines."""

    @property
    def ok(self) -> bool:
        """Whether the poem keeps every rule."""
        return not self.violations

    def broken(self) -> frozenset[Rule]:
        """The rules that are broken, places left aside."""
        return frozenset(violation.rule for violation in self.violations)


def split_lines(text: str) -> tuple[str, ...]:
    """The lines of a poem as people write it, cut at punctuation, spaces and line breaks."""
    return tuple(line for line in _SEPARATORS.split(text.strip()) if line)


def tone_marks(line: str) -> str:
    """The tone classes of `line`: 平, 仄, 中 where both are possible, ？ where none is known."""
    return "".join(_mark(readings(char)) for char in line)


def _mark(entry: Readings) -> str:
    if not entry.known:
        return "？"
    if len(entry.tones) == 2:
        return "中"
    return "平" if Tone.LEVEL in entry.tones else "仄"


def check(lines: Sequence[str], *, opening: str = "") -> Verdict:
    """Check a poem, given as its `lines` without punctuation, against every rule.

    Either script will do. `opening` is what the poem was asked to begin with, if anything.
    """
    form = _form(lines)
    if form is None:
        return Verdict(
            form=None,
            template=None,
            rhyme=None,
            tones=tuple(map(tone_marks, lines)),
            violations=(Violation(rule=Rule.FORMAT),),
        )
    read = [tuple(map(readings, line)) for line in lines]
    best = min(templates(form.name), key=lambda template: _distance(template, read))
    rhyme, rhyme_violations = _rhyme(best, read)
    violations = [
        *_opening(lines, opening),
        *_tones(best, read),
        *rhyme_violations,
        *_repetitions(best, lines),
    ]
    return Verdict(
        form=form.name,
        template=best,
        rhyme=rhyme,
        tones=tuple(map(tone_marks, lines)),
        violations=tuple(sorted(violations, key=lambda found: (found.line or 0, found.place or 0))),
    )


def _form(lines: Sequence[str]) -> Form | None:
    lengths = {len(line) for line in lines}
    if len(lengths) != 1 or not all(is_han(char) for line in lines for char in line):
        return None
    return form_of(len(lines), lengths.pop())


def _closest(kind: LineKind, line: Line) -> tuple[Pattern, tuple[int, ...]]:
    """The pattern of `kind` that `line` misses at the fewest places, and those places."""
    options = ((pattern, mismatches(pattern, line)) for pattern in patterns(kind, len(line)))
    return min(options, key=lambda option: len(option[1]))


def _distance(template: Template, read: Sequence[Line]) -> tuple[int, int]:
    """How far a poem is from a template: misplaced characters, then lines that do not rhyme."""
    misplaced = sum(
        len(_closest(kind, line)[1]) for kind, line in zip(template.kinds, read, strict=True)
    )
    return misplaced, len(_rhyme(template, read)[1])


def _rhyme(template: Template, read: Sequence[Line]) -> tuple[str | None, list[Violation]]:
    """The group most of the rhyming lines share, and the lines that are not in it."""
    ends = {index: read[index][-1].rhymes for index in template.rhyming_lines}
    counts = Counter(group for groups in ends.values() for group in sorted(groups))
    if not counts:
        return None, [Violation(rule=Rule.RHYME, line=index + 1) for index in ends]
    rhyme = max(counts, key=lambda group: counts[group])
    broken = [
        Violation(rule=Rule.RHYME, line=index + 1, place=len(read[index]))
        for index, groups in ends.items()
        if rhyme not in groups and read[index][-1].known
    ]
    return rhyme, broken


def _tones(template: Template, read: Sequence[Line]) -> list[Violation]:
    found: list[Violation] = []
    for index, (kind, line) in enumerate(zip(template.kinds, read, strict=True)):
        pattern, places = _closest(kind, line)
        if places:
            found += _explain(index, kind, line, pattern, places)
    return found


def _explain(
    index: int, kind: LineKind, line: Line, pattern: Pattern, places: tuple[int, ...]
) -> list[Violation]:
    """Name the rule that a line breaks: a named fault if it is one, else each misplaced tone."""
    number = index + 1
    named: Rule | None = None
    if all(entry.tones == {Tone.LEVEL} for entry in line[-3:]):
        named = Rule.LEVEL_ENDING
    elif kind is LineKind.B and mismatches(_LONE_LEVEL, line[-5:]) == ():
        named = Rule.LONE_LEVEL
    elif index and _fits_another_kind(kind, line):
        named = Rule.OPPOSITION if index % 2 else Rule.ADHESION
    if named is not None:
        return [Violation(rule=named, line=number)]
    return [
        Violation(rule=Rule.TONE, line=number, place=place + 1, wanted=pattern[place])
        for place in places
    ]


_LONE_LEVEL: Pattern = (Tone.OBLIQUE, Tone.LEVEL, Tone.OBLIQUE, Tone.OBLIQUE, Tone.LEVEL)


def _fits_another_kind(kind: LineKind, line: Line) -> bool:
    return any(not _closest(other, line)[1] for other in LineKind if other is not kind)


def _opening(lines: Sequence[str], opening: str) -> list[Violation]:
    wanted = [char for char in clean(opening) if is_han(char)]
    written = list("".join(lines))[: len(wanted)]
    same = len(written) == len(wanted) and all(
        set(traditional(a)) & set(traditional(b)) for a, b in zip(wanted, written, strict=True)
    )
    return [] if same else [Violation(rule=Rule.OPENING, line=1)]


def _repetitions(template: Template, lines: Sequence[str]) -> list[Violation]:
    folded = ["".join(map(fold, line)) for line in lines]
    found = [
        Violation(rule=Rule.REPEATED_LINE, line=index + 1)
        for index, line in enumerate(folded)
        if line in folded[:index]
    ]
    rhymes = [(index, folded[index][-1]) for index in template.rhyming_lines]
    found += [
        Violation(rule=Rule.REPEATED_RHYME, line=index + 1, place=len(folded[index]))
        for order, (index, char) in enumerate(rhymes)
        if any(char == earlier for _, earlier in rhymes[:order])
    ]
    return found
