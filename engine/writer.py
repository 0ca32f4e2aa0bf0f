"""A writer turns jobs into poems with one checkpoint: scheduler and runner under one roof.

For each job it writes several candidates side by side, throws out those that break a rule or
repeat a line of the corpus, and hands over the one that the reranker likes best. It knows neither
Redis nor the clock of an event loop, so `compose`, the benchmarks and `serve` drive the same code.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import structlog

from engine.beam import search
from engine.checkpoint import Checkpoint
from engine.jobs import Failure, Job, Outcome, Poem, Reason
from engine.linear import Precision
from engine.rerank import Candidate, Features, Weights, describe, order, score
from engine.runner import Runner, Words
from engine.scheduler import Scheduler
from engine.sequence import Sequence, make_sequence
from engine.taste import Taste
from engine.verse.checker import Rule, Violation, check, tone_marks
from engine.verse.forms import cut_lines
from engine.verse.plan import NoTemplateError

ROUNDS = 4
"""How often candidates are written before a job fails, should none of them pass."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """A candidate that may be shown."""

    poem: Poem
    indices: tuple[int, ...]
    asked: frozenset[int]
    features: Features


@dataclass(eq=False)
class _Request:
    """A job and its candidates so far."""

    job: Job
    wanted: int
    """Candidates of one round."""
    rounds: int = 0
    running: int = 0
    passed: list[_Passed] = field(default_factory=list)
    unsound: int = 0
    """Candidates whose logits were not finite."""
    broken: set[str] = field(default_factory=set)
    """What the others failed by."""


class Writer:
    """Writes up to `slots` candidates at a time, `candidates` of a job that names no number."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        slots: int,
        candidates: int = 1,
        device: str = "cpu",
        precision: Precision = Precision.FP32,
    ) -> None:
        self.checkpoint = checkpoint
        self.candidates = candidates
        self.scheduler = Scheduler(slots)
        self.runner = Runner(checkpoint, slots=slots, device=device, precision=precision)
        self.weights = Weights()
        self.taste = Taste.of(checkpoint)
        self._requests: dict[str, _Request] = {}
        self._refused: list[Outcome] = []

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return self.scheduler.idle and not self._refused

    def rows_of(self, job: Job) -> int:
        """How many rows a job takes."""
        wanted = max(job.candidates or self.candidates, job.count, 1)
        return min(wanted, self.scheduler.slots)

    def add(self, job: Job) -> None:
        """Take on a job; its outcome comes from a later `step`."""
        request = _Request(job=job, wanted=self.rows_of(job))
        try:
            self._begin(request)
        except NoTemplateError as error:
            self._refused.append(failure(job, Reason.NO_TEMPLATE, str(error)))
        else:
            self._requests[job.id] = request

    def step(self) -> list[Outcome]:
        """Write one character of every running poem; the outcomes that are now ready."""
        joining, expired = self.scheduler.schedule(now_ms=time.time_ns() // 1_000_000)
        for sequence in joining:
            self.runner.join(sequence)
        if self.scheduler.running:
            self.runner.step()
        outcomes, self._refused = self._refused, []
        outcomes += [self._expire(party[0].job) for party in expired]
        outcomes += self._complete()
        return outcomes

    def write(self, jobs: Iterable[Job]) -> dict[str, Outcome]:
        """The outcomes of `jobs`, written side by side, by the id of each in their order."""
        wanted = list(jobs)
        for job in wanted:
            self.add(job)
        found: dict[str, Outcome] = {}
        while not self.idle:
            found.update({outcome.job_id: outcome for outcome in self.step()})
        return {job.id: found[job.id] for job in wanted}

    def likeliest(self, job: Job, *, beams: int) -> Poem | None:
        """The likeliest poem that beam search finds for a job and that breaks no rule, if any.

        Raises:
            NoTemplateError: no template of the form admits what was asked.
        """
        sequence, found = search(self.checkpoint, job, beams=beams)
        poems = (self._poem(sequence, words) for words in found)
        return next((poem for poem, faults in poems if not faults), None)

    def _begin(self, request: _Request) -> None:
        """Let one round of candidates wait for their rows."""
        first = request.rounds * request.wanted
        party = [
            make_sequence(
                request.job,
                self.checkpoint.vocabulary,
                self.checkpoint.priors,
                attempt=first + number,
            )
            for number in range(request.wanted)
        ]
        request.rounds += 1
        request.running = len(party)
        self.scheduler.add(party)

    def _expire(self, job: Job) -> Failure:
        del self._requests[job.id]
        return failure(job, Reason.EXPIRED)

    def _complete(self) -> Iterator[Outcome]:
        for row in self.scheduler.advance():
            words = self.runner.words(row, self.scheduler.running[row].length)
            self.runner.leave(row)
            sequence = self.scheduler.leave(row)
            request = self._requests[sequence.job.id]
            self._judge(request, sequence, words)
            request.running -= 1
            if not request.running and (outcome := self._conclude(request)) is not None:
                del self._requests[request.job.id]
                yield outcome

    def _judge(self, request: _Request, sequence: Sequence, words: Words) -> None:
        """Keep a complete candidate if it may be shown."""
        if not words.sound:
            request.unsound += 1
            return
        poem, faults = self._poem(sequence, words)
        if faults:
            request.broken |= faults
            return
        candidate = _candidate(sequence, words)
        features = describe(candidate, self.checkpoint.vocabulary, self.checkpoint.tradition)
        request.passed.append(
            _Passed(
                poem=poem,
                indices=words.indices,
                asked=frozenset(candidate.opening),
                features=features,
            )
        )

    def _conclude(self, request: _Request) -> Outcome | None:
        """The outcome of a job whose candidates are complete; None if a new round begins."""
        job, passed = request.job, request.passed
        if request.unsound == request.wanted * request.rounds:
            return failure(job, Reason.INTERNAL, "the model's logits were not finite")
        if len(passed) < job.count and request.rounds < ROUNDS:
            _log.info(
                "↻ again",
                action="poem.refused",
                round=request.rounds,
                broken=sorted(request.broken),
                job=job.id,
            )
            self._begin(request)
            return None
        if not passed:
            broken = sorted(request.broken)
            return failure(job, Reason.INTERNAL, f"broke {broken} {request.rounds} times")
        best, *others = (passed[index].poem for index in self._ranking(job, passed)[: job.count])
        return replace(best, others=tuple(others), context=job.context)

    def _ranking(self, job: Job, passed: list[_Passed]) -> list[int]:
        """The candidates that may be shown, from the best to the worst."""
        if len(passed) == 1:
            return [0]
        features, _ = self.taste.complete(
            [one.indices for one in passed],
            [one.asked for one in passed],
            [one.features for one in passed],
            job.form,
        )
        return order([score(each, self.weights) for each in features])

    def _repeats_the_corpus(self, sequence: Sequence, words: Words) -> bool:
        """Whether a line that is not wholly given stands in the corpus."""
        vocabulary, length = self.checkpoint.vocabulary, sequence.form.line_length
        return any(
            not all(place in sequence.given for place in range(first, first + length))
            and self.checkpoint.tradition.holds(
                "".join(vocabulary.chars[index] for index in words.indices[first : first + length])
            )
            for first in range(0, sequence.length, length)
        )

    def _poem(self, sequence: Sequence, words: Words) -> tuple[Poem, set[str]]:
        """A complete poem, and the names of the rules it breaks."""
        job = sequence.job
        chars = [self.checkpoint.vocabulary.chars[index] for index in words.indices]
        for place, given in sequence.given.items():
            chars[place] = given.glyph
        lines = cut_lines("".join(chars), sequence.form.line_length)
        verdict = check(lines, opening=job.opening)
        faults = {fault.rule.value for fault in verdict.violations if _ours(fault, sequence)}
        if self._repeats_the_corpus(sequence, words):
            faults.add("old_line")
        poem = Poem(
            job_id=job.id,
            lines=lines,
            form=sequence.form.name,
            rhyme=sequence.plan.rhyme,
            tones=tuple(map(tone_marks, lines)),
            cell=self.checkpoint.shape.cell,
            checkpoint=self.checkpoint.id,
            seed=job.seed,
            logprob=words.logprob,
        )
        return poem, faults


def _candidate(sequence: Sequence, words: Words) -> Candidate:
    chosen = max(1, sequence.length - len(sequence.given))
    return Candidate(
        lines=cut_lines(words.indices, sequence.form.line_length),
        nats=-words.logprob / chosen,
        opening=tuple(given.index for given in sequence.given.values()),
        theme=sequence.theme,
    )


def _ours(fault: Violation, sequence: Sequence) -> bool:
    """Whether a fault is the writer's, not one of the text that was asked to be kept."""
    if fault.line is None or fault.rule is Rule.OPENING:
        return True
    length = sequence.form.line_length
    first = (fault.line - 1) * length
    places = [first + fault.place - 1] if fault.place else range(first, first + length)
    return not all(place in sequence.given for place in places)


def failure(job: Job, reason: Reason, detail: str = "") -> Failure:
    """The outcome of a job that could not become a poem."""
    return Failure(job_id=job.id, reason=reason, detail=detail, context=job.context)
