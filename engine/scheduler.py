"""Who is written next, and in which row: policy without a tensor.

What waits is a party: the candidates of one job, which join together, so that no job holds rows
while it waits for the rest of its own. Chats take turns: one that asks for a hundred poems does
not stand before one that asks for its first. A party joins as soon as there is room for it, a
poem leaves as soon as it is complete; the others are not disturbed.
"""

from collections import OrderedDict, deque

from engine.jobs import Lane
from engine.sequence import Sequence, State

Party = list[Sequence]
"""The candidates of one job."""


class Scheduler:
    """Waiting parties and the rows of the running sequences."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running: list[Sequence] = []
        """The running sequences by row: index and row are the same."""
        self._lanes: dict[Lane, OrderedDict[str, deque[Party]]] = {
            lane: OrderedDict() for lane in Lane
        }

    @property
    def waiting(self) -> int:
        """How many sequences wait."""
        return sum(
            len(party)
            for lane in self._lanes.values()
            for queue in lane.values()
            for party in queue
        )

    @property
    def free(self) -> int:
        """How many more sequences would run at once."""
        return max(0, self.slots - len(self.running) - self.waiting)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.running and not any(self._lanes.values())

    def add(self, party: Party) -> None:
        """Let a party, of no more sequences than there are slots, wait behind those of its chat."""
        lane = self._lanes[party[0].job.lane]
        lane.setdefault(party[0].job.chat, deque()).append(party)

    def schedule(self, now_ms: int) -> tuple[list[Sequence], list[Party]]:
        """Take from the waiting whom there is room for.

        Returns:
            The sequences that join, in the order of their rows, and the parties that expired
            waiting.
        """
        joining: list[Sequence] = []
        expired: list[Party] = []
        while (party := self._next()) is not None:
            if party[0].expired(now_ms):
                self._drop(party)
                expired.append(party)
                continue
            if len(party) > self.slots - len(self.running):
                break
            self._drop(party)
            for sequence in party:
                sequence.state = State.RUNNING
            self.running += party
            joining += party
        return joining, expired

    def advance(self) -> list[int]:
        """Count one step for every running sequence; the rows that are complete, last one first."""
        for sequence in self.running:
            sequence.position += 1
        rows = range(len(self.running) - 1, -1, -1)
        return [row for row in rows if self.running[row].is_complete]

    def leave(self, row: int) -> Sequence:
        """Take the sequence out of `row`; the last one moves there, as it does in the runner."""
        sequence, last = self.running[row], self.running.pop()
        if last is not sequence:
            self.running[row] = last
        sequence.state = State.FINISHED
        return sequence

    def _next(self) -> Party | None:
        """The party whose turn it is; none may overtake it, or a large one would never join."""
        for lane in self._lanes.values():
            for queue in lane.values():
                return queue[0]
        return None

    def _drop(self, party: Party) -> None:
        """Take the party whose turn it is off its queue; its chat goes behind the others."""
        lane = self._lanes[party[0].job.lane]
        chat, queue = lane.popitem(last=False)
        queue.popleft()
        if queue:
            lane[chat] = queue
