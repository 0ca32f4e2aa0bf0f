"""A writer turns jobs into poems with one checkpoint: scheduler and runner under one roof.

It knows neither Redis nor the clock of an event loop, so `compose`, the benchmarks and `serve`
drive the same code.
"""

import time
from collections.abc import Iterator

import structlog

from engine.checkpoint import Checkpoint
from engine.jobs import Failure, Job, Outcome, Poem, Reason
from engine.runner import Runner, Words
from engine.scheduler import Scheduler
from engine.sequence import Sequence, make_sequence
from engine.verse.checker import Verdict, check, tone_marks
from engine.verse.plan import NoTemplateError

ATTEMPTS = 4
"""How often a poem is begun anew before its job fails, should the checker refuse it."""

_log = structlog.get_logger(__name__)


class Writer:
    """Writes up to `slots` poems at a time."""

    def __init__(self, checkpoint: Checkpoint, *, slots: int, device: str = "cpu") -> None:
        self.checkpoint = checkpoint
        self.scheduler = Scheduler(slots)
        self.runner = Runner(checkpoint, slots=slots, device=device)
        self._attempts: dict[str, int] = {}
        self._refused: list[Outcome] = []

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return self.scheduler.idle and not self._refused

    def add(self, job: Job) -> None:
        """Take on a job; its outcome comes from a later `step`."""
        try:
            sequence = make_sequence(
                job,
                self.checkpoint.vocabulary,
                self.checkpoint.priors,
                attempt=self._attempts.get(job.id, 0),
            )
        except NoTemplateError as error:
            self._refused.append(failure(job, Reason.NO_TEMPLATE, str(error)))
        else:
            self.scheduler.add(sequence)

    def step(self) -> list[Outcome]:
        """Write one character of every running poem; the outcomes that are now ready."""
        joining, expired = self.scheduler.schedule(now_ms=time.time_ns() // 1_000_000)
        for sequence in joining:
            self.runner.join(sequence)
        if self.scheduler.running:
            self.runner.step()
        outcomes, self._refused = self._refused, []
        outcomes += [failure(sequence.job, Reason.EXPIRED) for sequence in expired]
        outcomes += self._complete()
        return outcomes

    def _complete(self) -> Iterator[Outcome]:
        for row in self.scheduler.advance():
            words = self.runner.words(row, self.scheduler.running[row].length)
            self.runner.leave(row)
            outcome = self._postprocess(self.scheduler.leave(row), words)
            if outcome is not None:
                yield outcome

    def _postprocess(self, sequence: Sequence, words: Words) -> Outcome | None:
        """The outcome of a complete sequence; None if it is begun anew."""
        job = sequence.job
        if not words.sound:
            self._attempts.pop(job.id, None)
            return failure(job, Reason.INTERNAL, "the model's logits were not finite")
        poem, verdict = self._poem(sequence, words)
        attempt = self._attempts.pop(job.id, 0) + 1
        if verdict.ok:
            return poem
        broken = sorted(verdict.broken())
        _log.info("↻ again", action="poem.refused", attempt=attempt, broken=broken, job=job.id)
        if attempt >= ATTEMPTS:
            return failure(job, Reason.INTERNAL, f"broke {broken} {attempt} times")
        self._attempts[job.id] = attempt
        self.add(job)
        return None

    def _poem(self, sequence: Sequence, words: Words) -> tuple[Poem, Verdict]:
        chars = [self.checkpoint.vocabulary.chars[index] for index in words.indices]
        for place, given in sequence.given.items():
            chars[place] = given.glyph
        text, length = "".join(chars), sequence.form.line_length
        lines = tuple(text[first : first + length] for first in range(0, len(text), length))
        verdict = check(lines, opening=sequence.job.opening)
        poem = Poem(
            job_id=sequence.job.id,
            lines=lines,
            form=sequence.form.name,
            rhyme=sequence.plan.rhyme,
            tones=tuple(map(tone_marks, lines)),
            cell=self.checkpoint.shape.cell,
            checkpoint=self.checkpoint.id,
            seed=sequence.job.seed,
            logprob=words.logprob,
            context=sequence.job.context,
        )
        return poem, verdict


def failure(job: Job, reason: Reason, detail: str = "") -> Failure:
    """The outcome of a job that could not become a poem."""
    return Failure(job_id=job.id, reason=reason, detail=detail, context=job.context)
