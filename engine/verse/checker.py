"""Does a poem keep the form it claims? And if not: which rule fails, and where.

The checker reads the same table (`templates`) and the same readings (`tones`) as the mask. It is
permissive about polyphones: a character satisfies a rule if any of its readings does.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Glyph:
    """What a check asks of a character, looked up once."""

    readings: Readings
    folded: str


@cache
def _glyph(char: str) -> _Glyph:
    return _Glyph(readings=readings(char), folded=fold(char))


Line = tuple[_Glyph, ...]


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
    return "".join([readings(char).mark for char in line])


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
    read = [tuple(map(_glyph, line)) for line in lines]
    fits = list(map(_fits, read))
    best = _closest(templates(form.name), fits, read)
    rhyme, rhyme_violations = _rhyme(best, read)
    violations = [
        *_opening(lines, opening),
        *_tones(best, read, fits),
        *rhyme_violations,
        *_repetitions(best, read),
    ]
    return Verdict(
        form=form.name,
        template=best,
        rhyme=rhyme,
        tones=tuple("".join([glyph.readings.mark for glyph in line]) for line in read),
        violations=tuple(sorted(violations, key=lambda found: (found.line or 0, found.place or 0))),
    )


def _form(lines: Sequence[str]) -> Form | None:
    lengths = {len(line) for line in lines}
    if len(lengths) != 1 or not all(map(is_han, "".join(lines))):
        return None
    return form_of(len(lines), lengths.pop())


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """How a line fits a kind: by the pattern that it misses at the fewest places."""

    pattern: Pattern
    missed: int
    """Those places, as bits."""

    @property
    def places(self) -> tuple[int, ...]:
        return tuple(place for place in range(len(self.pattern)) if self.missed >> place & 1)


_Fits = Mapping[LineKind, _Fit]
"""How a line fits each kind."""


def _wanted(kind: LineKind, line_length: int) -> tuple[tuple[Pattern, int, int], ...]:
    """Each pattern of a kind, with the places where it wants level and oblique, as bits."""

    def bits(pattern: Pattern, tone: Tone) -> int:
        return sum(1 << place for place, wanted in enumerate(pattern) if wanted is tone)

    return tuple(
        (pattern, bits(pattern, Tone.LEVEL), bits(pattern, Tone.OBLIQUE))
        for pattern in patterns(kind, line_length)
    )


def _fits(line: Line) -> _Fits:
    """How a line fits each kind."""
    level = oblique = 0
    for place, glyph in enumerate(line):
        only = glyph.readings.only
        if only is Tone.LEVEL:
            level |= 1 << place
        elif only is Tone.OBLIQUE:
            oblique |= 1 << place
    return _fits_of(len(line), level, oblique)


@cache
def _fits_of(length: int, only_level: int, only_oblique: int) -> _Fits:
    """The same by the places, as bits, of characters of one tone class: 3^7 cases at the most."""
    found: dict[LineKind, _Fit] = {}
    for kind in LineKind:
        missed = [
            (level & only_oblique | oblique & only_level, pattern)
            for pattern, level, oblique in _wanted(kind, length)
        ]
        bits, pattern = min(missed, key=lambda option: option[0].bit_count())
        found[kind] = _Fit(pattern=pattern, missed=bits)
    return found


def _closest(options: Sequence[Template], fits: Sequence[_Fits], read: Sequence[Line]) -> Template:
    """The template with the fewest misplaced characters; of those, then lines without rhyme."""
    misplaced = [
        sum(fit[kind].missed.bit_count() for kind, fit in zip(option.kinds, fits, strict=True))
        for option in options
    ]
    fewest = min(misplaced)
    best = [option for option, count in zip(options, misplaced, strict=True) if count == fewest]
    return best[0] if len(best) == 1 else min(best, key=lambda option: len(_rhyme(option, read)[1]))


def _rhyme(template: Template, read: Sequence[Line]) -> tuple[str | None, list[Violation]]:
    """The group most of the rhyming lines share, and the lines that are not in it."""
    ends = {index: read[index][-1].readings.rhymes for index in template.rhyming_lines}
    counts = Counter(group for groups in ends.values() for group in sorted(groups))
    if not counts:
        return None, [Violation(rule=Rule.RHYME, line=index + 1) for index in ends]
    rhyme = max(counts, key=lambda group: counts[group])
    broken = [
        Violation(rule=Rule.RHYME, line=index + 1, place=len(read[index]))
        for index, groups in ends.items()
        if rhyme not in groups and read[index][-1].readings.known
    ]
    return rhyme, broken


def _tones(template: Template, read: Sequence[Line], fits: Sequence[_Fits]) -> list[Violation]:
    return [
        violation
        for index, kind in enumerate(template.kinds)
        if fits[index][kind].missed
        for violation in _explain(index, kind, read[index], fits[index])
    ]


def _explain(index: int, kind: LineKind, line: Line, fits: _Fits) -> list[Violation]:
    """Name the rule that a line breaks: a named fault if it is one, else each misplaced tone."""
    number = index + 1
    named: Rule | None = None
    ending = [glyph.readings for glyph in line[-5:]]
    if all(entry.tones == {Tone.LEVEL} for entry in ending[-3:]):
        named = Rule.LEVEL_ENDING
    elif kind is LineKind.B and mismatches(_LONE_LEVEL, ending) == ():
        named = Rule.LONE_LEVEL
    elif index and any(not fit.missed for fit in fits.values()):
        named = Rule.OPPOSITION if index % 2 else Rule.ADHESION
    if named is not None:
        return [Violation(rule=named, line=number)]
    fit = fits[kind]
    return [
        Violation(rule=Rule.TONE, line=number, place=place + 1, wanted=fit.pattern[place])
        for place in fit.places
    ]


_LONE_LEVEL: Pattern = (Tone.OBLIQUE, Tone.LEVEL, Tone.OBLIQUE, Tone.OBLIQUE, Tone.LEVEL)


def _opening(lines: Sequence[str], opening: str) -> list[Violation]:
    if not opening:
        return []
    wanted = [char for char in clean(opening) if is_han(char)]
    written = list("".join(lines))[: len(wanted)]
    same = len(written) == len(wanted) and all(
        set(traditional(a)) & set(traditional(b)) for a, b in zip(wanted, written, strict=True)
    )
    return [] if same else [Violation(rule=Rule.OPENING, line=1)]


def _repetitions(template: Template, read: Sequence[Line]) -> list[Violation]:
    folded = ["".join([glyph.folded for glyph in line]) for line in read]
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
