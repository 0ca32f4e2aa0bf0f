"""A writer turns jobs into poems with one checkpoint: scheduler and runner under one roof.

For each job it writes several candidates side by side, throws out those that break a rule or
repeat a line of the corpus, and hands over the one that the reranker likes best. It knows neither
Redis nor the clock of an event loop, so `compose`, the benchmarks and `serve` drive the same code.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import structlog
from torch import OutOfMemoryError

from engine.beam import search
from engine.checkpoint import Checkpoint
from engine.jobs import Failure, Job, Outcome, Poem, Reason, cause_of
from engine.linear import Precision
from engine.rerank import Candidate, Weights, describe, order, score
from engine.runner import Runner, Words
from engine.scheduler import Party, Scheduler
from engine.sequence import Draft, Planner, Sequence
from engine.taste import Taste
from engine.verse.checker import Rule, Violation, check
from engine.verse.forms import cut_lines
from engine.verse.plan import NoTemplateError

ROUNDS = 4
"""How often candidates are written before a job fails, should none of them pass."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Passed:
    """A candidate that may be shown."""

    poem: Poem
    words: Words
    candidate: Candidate


@dataclass(eq=False, kw_only=True)
class _Request:
    """A job and its candidates so far."""

    job: Job
    candidates: Iterator[Sequence]
    """Those to come."""
    owed: int
    """Candidates of one round, at the least."""
    most: int
    """And at the most, where there are rows to spare."""
    rounds: int = 0
    written: int = 0
    """Candidates that are complete."""
    passed: list[_Passed] = field(default_factory=list)
    unsound: int = 0
    """Candidates whose logits were not finite."""
    broken: set[str] = field(default_factory=set)
    """What the others failed by."""


class Writer:
    """Writes up to `slots` candidates at a time, `candidates` of a job that names no number.

    Where jobs share the rows it is at the least `fewest`, and more as long as rows are to spare.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        slots: int,
        candidates: int = 1,
        fewest: int | None = None,
        device: str = "cpu",
        precision: Precision = Precision.FP32,
    ) -> None:
        self.checkpoint = checkpoint
        self.candidates = candidates
        self.fewest = candidates if fewest is None else min(fewest, candidates)
        self.scheduler = Scheduler(slots)
        self.runner = Runner(checkpoint, slots=slots, device=device, precision=precision)
        self.rows = 0
        """Rows that the last step wrote in."""
        self.weights = Weights()
        self.taste = Taste.of(checkpoint)
        self._planner = Planner(checkpoint.vocabulary, checkpoint.priors)
        self._requests: dict[str, _Request] = {}
        self._refused: list[Outcome] = []

    @property
    def idle(self) -> bool:
        """Whether a step would do nothing."""
        return self.scheduler.idle and not self._refused

    def rows_of(self, job: Job) -> int:
        """How many rows a job is owed."""
        return self._rows(job, self.fewest)

    def _rows(self, job: Job, usual: int) -> int:
        return min(max(job.candidates or usual, job.count, 1), self.scheduler.slots)

    def add(self, job: Job) -> None:
        """Take on a job; its outcome comes from a later `step`."""
        try:
            draft = self._planner.draft(job)
        except NoTemplateError as error:
            self._refused.append(failure(job, Reason.NO_TEMPLATE, str(error)))
            return
        if _strays(draft, len(self.checkpoint.vocabulary)):
            self._refused.append(failure(job, Reason.INTERNAL, "an index beyond the vocabulary"))
            return
        request = self._requests[job.id] = _Request(
            job=job,
            candidates=map(draft.candidate, count()),
            owed=self.rows_of(job),
            most=self._rows(job, self.candidates),
        )
        self._begin(request)

    def drop(self, job_id: str) -> bool:
        """Free the rows of a job that nobody wants any more; False if it is not here."""
        for row in self.scheduler.drop(job_id):
            self.runner.leave(row)
        return self._requests.pop(job_id, None) is not None

    def step(self, *, spare: int | None = None) -> list[Outcome]:
        """Write one character of every running poem; the outcomes that are now ready.

        Of the rows that are owed to nobody `spare` may be used, or all if that is not said. Where
        the device's memory is full, all begin again with half as many rows.

        Raises:
            torch.OutOfMemoryError: the memory does not suffice for one row.
        """
        outcomes, self._refused = self._refused, []
        try:
            outcomes += self._schedule(spare)
            self.rows = len(self.scheduler.running)
            if self.rows:
                self.runner.step()
        except OutOfMemoryError:
            _log.error("! out of memory", action="engine.memory", slots=self.scheduler.slots)
            if self.scheduler.slots == 1:
                raise
            self._begin_anew(slots=self.scheduler.slots // 2)
        return [*outcomes, *self._complete()]

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

    def _begin_anew(self, *, slots: int) -> None:
        """Write all that waits or runs from its beginning, in the order in which it came.

        A poem depends on its seed and on how many candidates it has, not on when it is written.
        """
        while self.runner.count:
            self.runner.leave(self.runner.count - 1)
        jobs = [request.job for request in self._requests.values()]
        self.scheduler, self._requests = Scheduler(slots), {}
        for job in jobs:
            self.add(job)

    def _begin(self, request: _Request) -> None:
        """Let one round of candidates wait for their rows."""
        request.rounds += 1
        party = Party(
            job=request.job,
            candidates=request.candidates,
            owed=request.owed,
            most=request.most,
        )
        self.scheduler.add(party)

    def _schedule(self, spare: int | None) -> list[Outcome]:
        """Give the rows to whose turn it is; the jobs that came too late."""
        shift = self.scheduler.schedule(time.time_ns() // 1_000_000, spare=spare)
        for row in shift.leaving:
            self.runner.leave(row)
        for sequence in shift.joining:
            self.runner.join(sequence)
        for job in shift.expired:
            del self._requests[job.id]
        return [failure(job, Reason.EXPIRED) for job in shift.expired]

    def _complete(self) -> Iterator[Outcome]:
        for row in self.scheduler.advance():
            words = self.runner.words(row, self.scheduler.running[row].length)
            self.runner.leave(row)
            sequence = self.scheduler.leave(row)
            request = self._requests[sequence.job.id]
            self._judge(request, sequence, words)
            if self.scheduler.holds(request.job.id):
                continue
            if (outcome := self._conclude(request)) is not None:
                del self._requests[request.job.id]
                yield outcome

    def _judge(self, request: _Request, sequence: Sequence, words: Words) -> None:
        """Keep a complete candidate if it may be shown."""
        request.written += 1
        if not words.sound:
            request.unsound += 1
            return
        poem, faults = self._poem(sequence, words)
        if faults:
            request.broken |= faults
            return
        request.passed.append(
            _Passed(poem=poem, words=words, candidate=_candidate(sequence, words))
        )

    def _conclude(self, request: _Request) -> Outcome | None:
        """The outcome of a job whose candidates are complete; None if a new round begins."""
        job, passed = request.job, request.passed
        if request.unsound == request.written:
            return failure(job, Reason.INTERNAL, "the model's logits were not finite")
        if len(passed) < job.count and request.rounds < ROUNDS:
            # One candidate in sixty is refused; that all of several are is worth a word.
            tell = _log.debug if request.most == 1 else _log.info
            tell(
                "↻ again",
                action="poem.refused",
                round=request.rounds,
                broken=sorted(request.broken),
                cause=cause_of(job.id),
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
        known = self.checkpoint
        features, _ = self.taste.complete(
            [one.words.indices for one in passed],
            [frozenset(one.candidate.opening) for one in passed],
            [
                describe(one.candidate, known.vocabulary, known.tradition, known.wear)
                for one in passed
            ],
            job.form,
        )
        return order([score(each, self.weights) for each in features])

    def _repeats_the_corpus(self, sequence: Sequence, lines: Collection[str]) -> bool:
        """Whether a line that is not wholly given stands in the corpus."""
        length = sequence.form.line_length
        given, tradition = sequence.given, self.checkpoint.tradition
        return any(
            tradition.holds(line)
            for first, line in zip(range(0, sequence.length, length), lines, strict=True)
            if not (given and all(place in given for place in range(first, first + length)))
        )

    def _poem(self, sequence: Sequence, words: Words) -> tuple[Poem, set[str]]:
        """A complete poem, and the names of the rules it breaks."""
        job, length = sequence.job, sequence.form.line_length
        chars = [self.checkpoint.vocabulary.chars[index] for index in words.indices]
        folded = ["".join(chars[first : first + length]) for first in range(0, len(chars), length)]
        for place, given in sequence.given.items():
            chars[place] = given.glyph
        lines = cut_lines("".join(chars), length)
        verdict = check(lines, opening=job.opening)
        faults = {fault.rule.value for fault in verdict.violations if _ours(fault, sequence)}
        if self._repeats_the_corpus(sequence, folded):
            faults.add("old_line")
        poem = Poem(
            job_id=job.id,
            lines=lines,
            form=sequence.form.name,
            rhyme=sequence.plan.rhyme,
            tones=verdict.tones,
            cell=self.checkpoint.shape.cell,
            checkpoint=self.checkpoint.id,
            seed=job.seed,
            logprob=words.logprob,
        )
        return poem, faults


def _strays(draft: Draft, vocabulary: int) -> bool:
    """Whether an index is named that the model does not have: it would stop the step for all."""
    given = [one.index for one in draft.given.values()]
    named = (*given, *draft.forbidden.values(), *draft.theme)
    return not all(0 <= index < vocabulary for index in named)


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
