"""One poem on its way: what was asked, what is planned, how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from engine.jobs import Job
from engine.verse.forms import Form, FormName
from engine.verse.plan import Choices, Plan, Priors
from engine.verse.tones import readings
from engine.vocabulary import UNKNOWN, Vocabulary


class State(StrEnum):
    """Where a sequence stands."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, kw_only=True)
class Given:
    """One character fixed by the request."""

    glyph: str
    """The character as the person wrote it, which is how the poem shows it."""
    index: int
    """What the model reads in its place; `UNKNOWN` if the vocabulary lacks it."""


@dataclass(eq=False)
class Sequence:
    """A poem that is waiting, running or finished. Holds no tensor."""

    job: Job
    """What was asked."""
    plan: Plan
    """Template, patterns and rhyme."""
    given: Mapping[int, Given]
    """The characters fixed in advance, by place."""
    uniforms: tuple[float, ...]
    """The random number of each place, in [0, 1): all the chance there is in this poem."""
    forbidden: Mapping[int, int] = field(default_factory=dict)
    """By place, what may not stand there again: the poem that is being rewritten."""
    theme: tuple[int, ...] = ()
    """The characters, as indices, whose company the poem shall seek."""
    state: State = State.WAITING
    """Where it stands."""
    row: int = -1
    """The row it has while it runs."""
    begun: int = 0
    """The step, by the scheduler's count, before which it got that row."""

    @property
    def form(self) -> Form:
        """Its form."""
        return self.plan.form

    @property
    def length(self) -> int:
        """How many steps it takes: known before the first."""
        return self.form.length


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What the candidates of one job have in common."""

    job: Job
    """What was asked."""
    choices: Choices
    """The plans that admit what was asked."""
    given: Mapping[int, Given]
    """As in `Sequence`."""
    forbidden: Mapping[int, int]
    """As in `Sequence`."""
    theme: tuple[int, ...]
    """As in `Sequence`."""

    def candidate(self, attempt: int) -> Sequence:
        """Plan one poem. The same job and `attempt` give the same one."""
        random = Random(f"{self.job.seed}/{attempt}")
        plan = self.choices.draw(random)
        return Sequence(
            job=self.job,
            plan=plan,
            given=self.given,
            uniforms=tuple(random.random() for _ in range(plan.form.length)),
            forbidden=self.forbidden,
            theme=self.theme,
        )


class Planner:
    """Understands jobs, for one model."""

    def __init__(self, vocabulary: Vocabulary, priors: Mapping[FormName, Priors]) -> None:
        self._vocabulary = vocabulary
        self._priors = priors
        self._free: dict[tuple[FormName, str | None], Choices] = {}

    def draft(self, job: Job) -> Draft:
        """What all candidates for a job have in common.

        Raises:
            NoTemplateError: no template of the form admits what was asked.
        """
        glyphs, index = job.glyphs, self._vocabulary.index_as_typed
        return Draft(
            job=job,
            choices=self._choices(job, glyphs),
            given={place: Given(glyph=one, index=index(one)) for place, one in glyphs.items()},
            forbidden={
                place: index(one) for place, one in enumerate(job.unlike) if place not in glyphs
            },
            theme=tuple(found for char in job.theme if (found := index(char)) != UNKNOWN),
        )

    def _choices(self, job: Job, glyphs: Mapping[int, str]) -> Choices:
        """The plans that admit what was asked; where no character was, they are found once."""
        free, key = not glyphs, (job.form, job.rhyme)
        if free and key in self._free:
            return self._free[key]
        read = {place: readings(glyph) for place, glyph in glyphs.items()}
        found = Choices.of(job.form, read, self._priors[job.form], rhyme=job.rhyme)
        if free:
            self._free[key] = found
        return found


def make_sequence(
    job: Job, vocabulary: Vocabulary, priors: Mapping[FormName, Priors], *, attempt: int = 0
) -> Sequence:
    """Plan one poem for a job. The same job and `attempt` give the same sequence.

    Raises:
        NoTemplateError: no template of the form admits what was asked.
    """
    return Planner(vocabulary, priors).draft(job).candidate(attempt)
