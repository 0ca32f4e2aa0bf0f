"""Which poem is written next: policy without tensors.

Poems wait in two lanes, people before machines, and within a lane the chats take turns, so that
one that asks for a hundred does not stand before one that asks for its first. A poem joins as soon
as a slot is free and leaves as soon as it is complete; the others are not disturbed.
"""

from collections import OrderedDict, deque

from engine.jobs import Lane
from engine.sequence import Sequence, State


class Scheduler:
    """Waiting sequences and the rows of the running ones."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running: list[Sequence] = []
        """The running sequences by row: index and row are the same."""
        self._lanes: dict[Lane, OrderedDict[str, deque[Sequence]]] = {
            lane: OrderedDict() for lane in Lane
        }

    @property
    def waiting(self) -> int:
        """How many sequences wait."""
        return sum(len(queue) for lane in self._lanes.values() for queue in lane.values())

    @property
    def free(self) -> int:
        """How many more sequences would run at once."""
        return max(0, self.slots - len(self.running) - self.waiting)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.running and not self.waiting

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait behind the others of its chat."""
        lane = self._lanes[sequence.job.lane]
        lane.setdefault(sequence.job.chat, deque()).append(sequence)

    def schedule(self, now_ms: int) -> tuple[list[Sequence], list[Sequence]]:
        """Take from the waiting as many as there are free slots.

        Returns:
            The sequences that join, in the order of their rows, and those that expired waiting.
        """
        joining: list[Sequence] = []
        expired: list[Sequence] = []
        while len(self.running) < self.slots and (sequence := self._next()) is not None:
            if sequence.expired(now_ms):
                expired.append(sequence)
                continue
            sequence.state = State.RUNNING
            self.running.append(sequence)
            joining.append(sequence)
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

    def _next(self) -> Sequence | None:
        for lane in self._lanes.values():
            if lane:
                chat, queue = lane.popitem(last=False)
                sequence = queue.popleft()
                if queue:
                    lane[chat] = queue  # at the end: the other chats come first
                return sequence
        return None
