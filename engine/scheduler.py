"""Who is written next, and in which row: policy without a tensor.

What waits is a party: the candidates of one job, which join together, so that no job holds rows
while it waits for the rest of its own. Chats take turns: one that asks for a hundred poems does
not stand before one that asks for its first. A party joins at the next step once there is room for
what it is owed, a poem leaves as soon as it is complete, and so does one that nobody waits for any
more; the others are not disturbed.

Rows that are owed to nobody are lent to parties that have just begun, for more candidates to choose
from. They are called back as soon as somebody is owed them, so that the best of many costs nobody
a wait.
"""

import heapq
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.jobs import Job, Lane
from engine.sequence import Sequence, State

BULK_TURN = 8
"""Where people keep coming, every so many-th party is one of bulk: late, but never for ever."""
YOUNG = 4
"""A party is lent rows until its first candidate has written one in so many of its characters: the
candidates that join then delay its poem by that part at the most."""


@dataclass(eq=False, kw_only=True)
class Party:
    """The candidates of one job."""

    job: Job
    """What was asked."""
    candidates: Iterator[Sequence]
    """One after another, as many as there are rows for."""
    owed: int
    """Rows that it gets together and keeps."""
    most: int
    """Rows that it has at the most, those included that are lent to it."""
    rows: int = 0
    """Rows that it has."""
    grows_until: int = 0
    """The last step before which candidates may still be added."""

    def may_grow(self, step: int) -> bool:
        """Whether it has use for one more candidate now."""
        return 0 < self.rows < self.most and step <= self.grows_until


@dataclass(kw_only=True)
class Shift:
    """What changes before a step, to be done in this order."""

    expired: list[Job] = field(default_factory=list)
    """Those that nobody waits for any more."""
    leaving: list[int] = field(default_factory=list)
    """Rows that are freed one after another; into each moves the last, as in `Runner.leave`."""
    joining: list[Sequence] = field(default_factory=list)
    """Who gets the next free rows."""


class Scheduler:
    """Waiting parties and the rows of the running sequences."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running: list[Sequence] = []
        """The running sequences by row: index and row are the same."""
        self.waiting = 0
        """Rows that those who wait are owed."""
        self.lent = 0
        """Of the rows that are taken, those that nobody is owed."""
        self._parties: dict[str, Party] = {}
        self._lanes: dict[Lane, OrderedDict[str, deque[Party]]] = {
            lane: OrderedDict() for lane in Lane
        }
        self._passed_over = 0
        self._deadlines: list[tuple[int, str]] = []
        self._young: list[Party] = []
        self._step = 0
        self._due: defaultdict[int, list[Sequence]] = defaultdict(list)

    @property
    def owed(self) -> int:
        """Rows that somebody has or waits for, those that are lent left out."""
        return len(self.running) - self.lent + self.waiting

    @property
    def free(self) -> int:
        """How many more rows could be owed at once."""
        return max(0, self.slots - self.owed)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._parties

    def holds(self, job_id: str) -> bool:
        """Whether candidates of a job wait or run."""
        return job_id in self._parties

    def add(self, party: Party) -> None:
        """Let a party that is owed no more rows than there are wait behind those of its chat."""
        job = party.job
        self._parties[job.id] = party
        self._lanes[job.lane].setdefault(job.chat, deque()).append(party)
        self.waiting += party.owed
        if job.deadline_ms is not None:
            heapq.heappush(self._deadlines, (job.deadline_ms, job.id))

    def schedule(self, now_ms: int, *, spare: int | None = None) -> Shift:
        """Send away whom nobody waits for, and let in whom there is room for.

        At most `spare` rows are lent; unless said otherwise, all that are owed to nobody.
        """
        shift = Shift()
        while self._deadlines and self._deadlines[0][0] < now_ms:
            _, job_id = heapq.heappop(self._deadlines)
            if (late := self._parties.get(job_id)) is not None:
                shift.expired.append(late.job)
                shift.leaving += self.drop(job_id)
        spare = max(0, self.slots - self.owed if spare is None else spare)
        shift.leaving += self._call_back(self.lent - spare)
        while (waits := self._next()) and waits.owed <= self.slots - len(self.running):
            self._count_turn(waits)
            self._leave_lane(waits)
            shift.joining += self._give(waits, waits.owed)
            self._young.append(waits)
        shift.joining += self._lend(min(spare - self.lent, self.slots - len(self.running)))
        return shift

    def advance(self) -> list[int]:
        """Count one step for every running sequence; the rows that are complete, last one first."""
        self._step += 1
        due = self._due.pop(self._step, ())
        return sorted((one.row for one in due if one.state is State.RUNNING), reverse=True)

    def leave(self, row: int) -> Sequence:
        """Take the sequence out of `row`; the last one moves there, as it does in the runner."""
        sequence, last = self.running[row], self.running.pop()
        if last is not sequence:
            self.running[row] = last
            last.row = row
        sequence.state = State.FINISHED
        party = self._parties[sequence.job.id]
        self.lent -= party.rows > party.owed
        party.rows -= 1
        if not party.rows:
            del self._parties[sequence.job.id]
        return sequence

    def drop(self, job_id: str) -> list[int]:
        """Send a job away, wherever it stands; the rows that it frees, in their order."""
        party = self._parties.get(job_id)
        if party is None:
            return []
        if not party.rows:
            self._leave_lane(party)
            del self._parties[job_id]
        rows = [one.row for one in reversed(self.running) if one.job is party.job]
        for row in rows:
            self.leave(row)
        return rows

    def _next(self) -> Party | None:
        """The party whose turn it is; none may overtake it, or a large one would never join."""
        chat, bulk = (self._head(lane) for lane in (Lane.CHAT, Lane.BULK))
        if chat is None or bulk is None:
            return chat or bulk
        return bulk if self._passed_over >= BULK_TURN - 1 else chat

    def _head(self, lane: Lane) -> Party | None:
        return next((queue[0] for queue in self._lanes[lane].values()), None)

    def _count_turn(self, party: Party) -> None:
        """Count how many parties of people went before one of bulk that waits."""
        bulk_waits = party.job.lane is Lane.CHAT and self._head(Lane.BULK) is not None
        self._passed_over = self._passed_over + 1 if bulk_waits else 0

    def _leave_lane(self, party: Party) -> None:
        """Take a waiting party off its queue; its chat goes behind the others."""
        lane, chat = self._lanes[party.job.lane], party.job.chat
        queue = lane.pop(chat)
        queue.remove(party)
        if queue:
            lane[chat] = queue
        self.waiting -= party.owed

    def _give(self, party: Party, rows: int) -> list[Sequence]:
        """Let so many more candidates of a party begin in the next free rows."""
        joining = [next(party.candidates) for _ in range(rows)]
        for sequence in joining:
            sequence.state, sequence.row = State.RUNNING, len(self.running)
            sequence.begun = self._step
            self.running.append(sequence)
            self._due[self._step + sequence.length].append(sequence)
        if not party.rows:
            party.grows_until = self._step + joining[0].length // YOUNG
        party.rows += rows
        return joining

    def _lend(self, rows: int) -> list[Sequence]:
        """Lend so many rows to those who can use them, first to those who have the fewest."""
        joining: list[Sequence] = []
        self._young = [party for party in self._young if party.may_grow(self._step)]
        while rows > len(joining) and self._young:
            party = min(self._young, key=lambda one: one.rows)
            joining += self._give(party, 1)
            self.lent += party.rows > party.owed
            if party.rows == party.most:
                self._young.remove(party)
        return joining

    def _call_back(self, rows: int) -> list[int]:
        """Take so many lent rows back, first those in which the least is lost; which they are."""
        freed: list[int] = []
        youngest_first = sorted(self.running, key=lambda one: -one.begun) if rows > 0 else ()
        for sequence in youngest_first:
            party = self._parties[sequence.job.id]
            if len(freed) < rows and party.rows > party.owed:
                freed.append(sequence.row)
                self.leave(sequence.row)
        return freed
