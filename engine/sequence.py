"""One poem on its way: what was asked, what is planned, how far it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from engine.jobs import Job
from engine.verse.forms import Form, FormName
from engine.verse.plan import Plan, Priors, make_plan
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
    position: int = 0
    """The place to be written next."""

    @property
    def form(self) -> Form:
        """Its form."""
        return self.plan.form

    @property
    def length(self) -> int:
        """How many steps it takes: known before the first."""
        return self.form.length

    @property
    def is_complete(self) -> bool:
        """Whether every place is written."""
        return self.position >= self.length

    def expired(self, now_ms: int) -> bool:
        """Whether nobody waits for it any more."""
        return self.job.deadline_ms is not None and now_ms > self.job.deadline_ms


def make_sequence(
    job: Job, vocabulary: Vocabulary, priors: Mapping[FormName, Priors], *, attempt: int = 0
) -> Sequence:
    """Plan one poem for a job. The same job and `attempt` give the same sequence.

    Raises:
        NoTemplateError: no template of the form admits what was asked.
    """
    random = Random(f"{job.seed}/{attempt}")
    glyphs = job.glyphs
    plan = make_plan(
        job.form,
        {place: readings(glyph) for place, glyph in glyphs.items()},
        priors[job.form],
        random,
        rhyme=job.rhyme,
    )
    return Sequence(
        job=job,
        plan=plan,
        given={
            place: Given(glyph=glyph, index=vocabulary.index_as_typed(glyph))
            for place, glyph in glyphs.items()
        },
        uniforms=tuple(random.random() for _ in range(plan.form.length)),
        forbidden={
            place: vocabulary.index_as_typed(glyph)
            for place, glyph in enumerate(job.unlike)
            if place not in glyphs
        },
        theme=tuple(
            index for char in job.theme if (index := vocabulary.index_as_typed(char)) != UNKNOWN
        ),
    )
