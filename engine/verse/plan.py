"""The plan of a poem, made before its first character is written.

Template, pattern of every line and rhyme group are fixed in advance, within what the given
characters (an opening) admit. So the length of a poem and the constraint at each of its places
are known when it starts, and the step that writes it never has to look back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from random import Random
from typing import Generic, Self, TypeVar

from engine.verse.forms import FORMS, Form, FormName
from engine.verse.rhymes import NARROW_GROUPS, RHYME_GROUPS
from engine.verse.templates import (
    LineKind,
    Pattern,
    Template,
    mismatches,
    patterns,
    templates,
)
from engine.verse.tones import Readings, Tone

Option = TypeVar("Option")

Given = Mapping[int, Readings]
"""Characters fixed by the request: place in the poem, counted from 0, to what it can be read as."""


class Fault(StrEnum):
    """Why nothing can be written as asked."""

    TONE = "tone"
    """A character's tone class stands against every template."""
    RHYME = "rhyme"
    """A character that must rhyme is not in the group, or two of them share none."""
    NARROW = "narrow"
    """The rhyme group has too few characters for so many rhymes."""


class NoTemplateError(ValueError):
    """No template of the form admits what was asked."""

    def __init__(
        self, *, form: Form, fault: Fault, place: int | None = None, wanted: Tone | None = None
    ) -> None:
        where = "" if place is None else f" at place {place + 1}"
        super().__init__(f"no {form.name} can be written so: {fault}{where}")
        self.form = form
        """The form asked for."""
        self.fault = fault
        """What stands against it."""
        self.place = place
        """The place, counted from 0, where the closest template fails; None for `NARROW`."""
        self.wanted = wanted
        """The tone class that this template wants there, for `TONE`."""


@dataclass(frozen=True, kw_only=True)
class Priors:
    """How often poets chose each template, pattern and rhyme group: relative weights, any scale."""

    openings: Mapping[str, float]
    """Weight by the kind of the first line (`LineKind` value)."""
    patterns: Mapping[str, tuple[float, ...]]
    """Weight of each pattern of a kind, in the table's order."""
    rhymes: Mapping[str, float]
    """Weight by rhyme group; a group that is absent is not chosen unless asked for."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything about a poem but its words."""

    template: Template
    """The kinds of line, in order."""
    patterns: tuple[Pattern, ...]
    """The pattern chosen for each line."""
    rhyme: str
    """The rhyme group."""

    @property
    def form(self) -> Form:
        """The form of the poem."""
        return self.template.form

    def tone_at(self, place: int) -> Tone | None:
        """The tone class wanted at `place`, counted from 0 through the poem; None for either."""
        line, column = divmod(place, self.form.line_length)
        return self.patterns[line][column]

    def rhymes_at(self, place: int) -> bool:
        """Whether the character at `place` must rhyme."""
        line, column = divmod(place, self.form.line_length)
        return column == self.form.line_length - 1 and self.template.kinds[line].rhymes


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Every plan that admits what was asked, to draw from by `Priors`.

    Made once for a request, however many plans are drawn.
    """

    openings: "Weighted[_Course]"
    """The templates, with what goes with each."""

    @classmethod
    def of(
        cls, form_name: FormName, given: Given, priors: Priors, *, rhyme: str | None = None
    ) -> Self:
        """The plans that admit `given`, in `rhyme` if one is asked for.

        Raises:
            NoTemplateError: no template admits the given characters, or none in that rhyme.
        """
        found = list(_admissible(FORMS[form_name], given, rhyme))
        if not found:
            raise explain_refusal(form_name, given, rhyme=rhyme)
        courses = [
            _Course(template=template, lines=lines, groups=groups, priors=priors)
            for template, groups, lines in found
        ]
        kinds = [course.template.kinds[0] for course in courses]
        return cls(
            openings=Weighted.of(courses, [priors.openings.get(kind, 0.0) for kind in kinds])
        )

    def draw(self, random: Random) -> Plan:
        """One of them, by chance."""
        course = self.openings.draw(random)
        patterns = tuple(line.draw(random) for line in course.patterns)
        return Plan(template=course.template, patterns=patterns, rhyme=course.rhymes.draw(random))


@dataclass(frozen=True, kw_only=True)
class Weighted(Generic[Option]):
    """Options, and how often each is to be drawn."""

    options: tuple[Option, ...]
    """At least one."""
    sums: tuple[float, ...]
    """The weights of the options up to each."""

    @classmethod
    def of(cls, options: Sequence[Option], weights: Sequence[float]) -> Self:
        """These options; one of weight 0 is drawn where there is nothing else."""
        return cls(
            options=tuple(options), sums=tuple(accumulate(weight + 1e-9 for weight in weights))
        )

    def draw(self, random: Random) -> Option:
        """One of them, by chance."""
        return random.choices(self.options, cum_weights=self.sums)[0]


@dataclass(frozen=True, kw_only=True)
class _Course:
    """One template, with what it admits; weighed only if it is drawn."""

    template: Template
    lines: "list[_Patterns]"
    groups: list[str]
    priors: Priors

    @cached_property
    def patterns(self) -> tuple[Weighted[Pattern], ...]:
        """Those of each line."""
        weights = self.priors.patterns
        return tuple(
            Weighted.of(
                [pattern for _, pattern in options], [weights[kind][order] for order, _ in options]
            )
            for kind, options in zip(self.template.kinds, self.lines, strict=True)
        )

    @cached_property
    def rhymes(self) -> Weighted[str]:
        """The rhyme groups."""
        return Weighted.of(
            self.groups, [self.priors.rhymes.get(group, 0.0) for group in self.groups]
        )


def make_plan(
    form_name: FormName,
    given: Given,
    priors: Priors,
    random: Random,
    *,
    rhyme: str | None = None,
) -> Plan:
    """Choose template, patterns and rhyme group by `priors`, among those that admit `given`.

    Raises:
        NoTemplateError: no template admits the given characters, or none in the rhyme asked for.
    """
    return Choices.of(form_name, given, priors, rhyme=rhyme).draw(random)


def admits(form_name: FormName, given: Given, *, rhyme: str | None = None) -> bool:
    """Whether some template of the form admits the given characters, in `rhyme` if one is asked."""
    return next(_admissible(FORMS[form_name], given, rhyme), None) is not None


def explain_refusal(
    form_name: FormName, given: Given, *, rhyme: str | None = None
) -> NoTemplateError:
    """What stands against a request that `admits` refuses, as an error to show."""
    form = FORMS[form_name]
    if rhyme is not None and is_narrow(rhyme, form):
        return NoTemplateError(form=form, fault=Fault.NARROW)
    if any(True for _ in _admissible(form, _without_rhymes(given), None)):
        return NoTemplateError(
            form=form, fault=Fault.RHYME, place=_unrhymed_place(form, given, rhyme)
        )
    return _tone_refusal(form, given)


def is_narrow(rhyme: str, form: Form) -> bool:
    """Whether a rhyme group is too thin for the form: a lushi needs five rhymes, a jueju three."""
    return form.lines == 8 and rhyme in NARROW_GROUPS


def _without_rhymes(given: Given) -> Given:
    """The same characters, free to rhyme with anything."""
    every = frozenset(RHYME_GROUPS)
    return {
        place: replace(entry, rhymes=every) if entry.rhymes else entry
        for place, entry in given.items()
    }


def _unrhymed_place(form: Form, given: Given, rhyme: str | None) -> int | None:
    """The first place at a couplet's end that does not rhyme with the group or those before it."""
    groups = frozenset(RHYME_GROUPS) if rhyme is None else frozenset({rhyme})
    for place in range(2 * form.line_length - 1, form.length, 2 * form.line_length):
        entry = given.get(place)
        if entry is not None and entry.known:
            groups &= entry.rhymes
            if not groups:
                return place
    return None


_Patterns = list[tuple[int, Pattern]]


def _admissible(
    form: Form, given: Given, rhyme: str | None
) -> Iterator[tuple[Template, list[str], list[_Patterns]]]:
    """Each template that admits `given`, with its rhyme groups and every line's patterns."""
    if rhyme is not None and is_narrow(rhyme, form):
        return
    for template in templates(form.name):
        choices = [
            _line_choices(kind, form.line_length, index, given)
            for index, kind in enumerate(template.kinds)
        ]
        groups = _groups(template, given, rhyme)
        if groups and all(choices):
            yield template, groups, choices


def _line_choices(kind: LineKind, line_length: int, index: int, given: Given) -> _Patterns:
    fixed = _given_in_line(index, line_length, given)
    return [
        (order, pattern)
        for order, pattern in enumerate(patterns(kind, line_length))
        if all(entry.admits(pattern[column]) for column, entry in fixed.items())
    ]


def _given_in_line(index: int, line_length: int, given: Given) -> dict[int, Readings]:
    return {
        place - index * line_length: entry
        for place, entry in given.items()
        if place // line_length == index
    }


def _groups(template: Template, given: Given, rhyme: str | None) -> list[str]:
    groups = [rhyme] if rhyme is not None else list(RHYME_GROUPS)
    for index in template.rhyming_lines:
        end = given.get((index + 1) * template.form.line_length - 1)
        if end is not None and end.known:
            groups = [group for group in groups if group in end.rhymes]
    return groups


def _tone_refusal(form: Form, given: Given) -> NoTemplateError:
    """Among all templates and patterns, the one that `given` follows the longest."""
    quarrels: list[tuple[int, Tone | None]] = [(-1, None)]
    for template in templates(form.name):
        for index, kind in enumerate(template.kinds):
            fixed = _given_in_line(index, form.line_length, given)
            if not fixed or _line_choices(kind, form.line_length, index, given):
                continue
            for pattern in patterns(kind, form.line_length):
                wanted = [pattern[column] for column in fixed]
                column = list(fixed)[mismatches(tuple(wanted), tuple(fixed.values()))[0]]
                quarrels.append((index * form.line_length + column, pattern[column]))
    place, wanted_tone = max(quarrels, key=lambda quarrel: quarrel[0])
    return NoTemplateError(form=form, fault=Fault.TONE, place=max(place, 0), wanted=wanted_tone)
