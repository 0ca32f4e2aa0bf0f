"""The running poems as dense rows of tensors.

The rows of running poems are always the first ones: a poem that leaves has its row filled with
the last. Everything about a poem but its words is put on the device when it joins, so a step
reads nothing back; the host learns the words of a poem once, when it is complete.

A character is a number by its sound here (`Vocabulary.by_sound`), for what may stand in a place is
then in few pieces of the vocabulary, and a step leaves out the others.

What of a row is a number stands in one matrix, so that joining and leaving are one copy each.
Letters: S slots, T places of the longest poem, P parts of a cell's state, H hidden, V vocabulary.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.model import LAYERS, places
from engine.preference import Preference
from engine.sequence import Sequence
from engine.verse.forms import FORMS
from engine.verse.plan import Plan
from engine.vocabulary import RHYME_INDEX, TONE_INDEX

LONGEST = max(form.length for form in FORMS.values())
"""T."""
MOST_RHYMES = 5
"""Of a lushi whose first line rhymes."""
NOT_GIVEN = -1
"""Stands where no character was asked for."""

# The columns of the matrix of numbers: single ones first, then those of T and other widths.
POSITION, PREVIOUS, RHYME, LINE_LENGTH, BIAS = range(5)
_widths = {
    # Tokens stand behind T starts, so the character above the first line is a start too.
    "tokens": 2 * LONGEST,
    # The rhyme words so far, by slot; slot 0 takes what does not rhyme.
    "rhymed": MOST_RHYMES + 1,
    **dict.fromkeys(("place", "tone", "mask", "given", "forbidden", "rhyme_slot"), LONGEST),
}
_first = {name: 5 + sum(list(_widths.values())[:order]) for order, name in enumerate(_widths)}
TOKENS, RHYMED = _first["tokens"], _first["rhymed"]
PLACE, TONE, MASK = _first["place"], _first["tone"], _first["mask"]
GIVEN, FORBIDDEN, RHYME_SLOT = _first["given"], _first["forbidden"], _first["rhyme_slot"]
WIDTH = 5 + sum(_widths.values())
"""Columns of the matrix."""

_FEW = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a complete poem is made of, on the host."""

    indices: tuple[int, ...]
    """The character at each place."""
    logprob: float
    """Natural log of the probability of the characters that the model chose, among those that the
    rules admit at each place."""
    sound: bool
    """Whether every step's logits were finite and admitted something."""


class Rows:
    """Up to `slots` poems of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, *, slots: int, device: torch.device) -> None:
        shape = checkpoint.shape
        self.slots = slots
        self.count = 0
        """How many rows are in use."""
        self.start = shape.vocabulary
        """The index read before the first character."""
        self.numbers = torch.zeros(slots, WIDTH, dtype=torch.long, device=device)
        """Whatever of a row is a whole number, (S, WIDTH)."""
        self.uniforms = torch.zeros(slots, LONGEST, device=device)
        """The random number of each place, (S, T)."""
        self.temperature = torch.ones(slots, device=device)
        """(S,)"""
        self.state = torch.zeros(LAYERS * shape.parts, slots, shape.hidden, device=device)
        """(P, S, H)"""
        self.logprob = torch.zeros(slots, device=device)
        """Of the characters chosen so far, (S,)."""
        self.sound = torch.ones(slots, dtype=torch.bool, device=device)
        """Whether all logits so far were finite and admitted something, (S,)."""
        self.biases = torch.zeros(1 + len(FORMS) + slots, shape.vocabulary, device=device)
        """What is added to the logits of the rows that refer to it, (1 + forms + S, V): nothing,
        what readers taught it by form, and what the themes of single rows call for."""
        self._order = checkpoint.vocabulary.by_sound
        self._here = np.argsort(self._order)
        self.order = torch.from_numpy(self._order).to(device)
        """The index in the vocabulary of each character here, (V,)."""
        self.masks = torch.from_numpy(checkpoint.vocabulary.mask_table).to(device)[:, self.order]
        """What may stand where each tone, then each rhyme group, is wanted, (3 + 31, V), bool."""
        self.batches = _batches(slots)
        """The batches that a step may compute in, the smallest first."""
        self._leaning = _fill_leaning(checkpoint, self.biases, self.order)
        self._own_biases = list(range(1 + len(FORMS), len(self.biases)))
        self._own: list[int | None] = []
        # On a CPU the tensors' own memory; else rows wait here, and a step takes them along.
        on_host = is_host(device)
        self._waiting = tuple(
            t if on_host else torch.empty_like(t, device="cpu") for t in self._told
        )
        self._host = tuple(tensor.numpy() for tensor in self._waiting)
        self._uploaded = 0
        # By single rows NumPy is several times as fast as torch.
        self._row_wise = tuple(t.numpy() if on_host else t for t in self._by_row)

    @property
    def _told(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is known of a poem before it starts."""
        return self.numbers, self.uniforms, self.temperature

    @property
    def _by_row(self) -> tuple[Tensor, ...]:
        """All that a poem takes along where its row changes; the rows come first."""
        return (*self._told, *self.state, self.logprob, self.sound)

    @property
    def batch(self) -> int:
        """The smallest batch that holds all rows in use."""
        return self.batches[bisect_left(self.batches, self.count)]

    def join(self, sequence: Sequence, *, state: Tensor | None, bias: Tensor | None) -> int:
        """Give a poem the next free row and return its number.

        Args:
            sequence: the poem.
            state: what it starts from, (P, H); None for zeros.
            bias: what its theme adds to its logits, in the order of the vocabulary, (V,); None
                for nothing.
        """
        row = self.count
        self.count += 1
        numbers, uniforms, temperature = self._host
        numbers[row] = _numbers(sequence, self.start, self._here)
        numbers[row, BIAS] = self._leaning.get(sequence.length, 0)
        uniforms[row, : sequence.length] = sequence.uniforms
        temperature[row] = sequence.job.temperature
        _, _, _, *parts, logprob, sound = self._row_wise
        for number, part in enumerate(parts):
            part[row] = 0.0 if state is None else state[number]
        logprob[row] = 0.0
        sound[row] = True
        own = None
        if bias is not None:
            own = self._own_biases.pop()
            ours = bias[self.order]
            torch.add(self.biases[int(numbers[row, BIAS])], ours, out=self.biases[own])
            numbers[row, BIAS] = own
        self._own.append(own)
        return row

    def leave(self, row: int) -> int:
        """Free a row by moving the last one into it; the number of the row that was moved."""
        self.upload()
        own, last = self._own[row], self._own.pop()
        if own is not None:
            self._own_biases.append(own)
        self.count -= 1
        self._uploaded = self.count
        if row != self.count:
            self._own[row] = last
            for one in self._row_wise:
                one[row] = one[self.count]
        return self.count

    def branch(self, parents: Tensor) -> None:
        """Have one row for each of `parents`, (K,): a row may have several children, or none.

        For rows without a theme of their own.
        """
        self.upload()
        self.count = self._uploaded = len(parents)
        self._own = [None] * self.count
        for tensor in self._by_row:
            tensor[: self.count] = tensor[parents]

    def upload(self) -> None:
        """Put the rows that joined since the last step on the device."""
        new = slice(self._uploaded, self.count)
        for tensor, waiting in zip(self._told, self._waiting, strict=True):
            if waiting is not tensor:
                tensor[new] = waiting[new].to(tensor.device)
        self._uploaded = self.count

    def here(self, indices: Iterable[int]) -> Tensor:
        """The numbers here of characters that the vocabulary has at `indices`."""
        return torch.from_numpy(self._here[list(indices)]).to(self.order.device)

    def words(self, row: int, length: int) -> Words:
        """Read a complete poem of `length` characters off the device."""
        first = TOKENS + LONGEST
        numbers, *_, logprob, sound = self._row_wise
        return Words(
            indices=tuple(self._order[numbers[row, first : first + length].tolist()].tolist()),
            logprob=float(logprob[row]),
            sound=bool(sound[row]),
        )


def is_host(device: torch.device) -> bool:
    """Whether a device's memory is the host's own."""
    return device.type == "cpu"


def _batches(slots: int) -> list[int]:
    """The batches that a library's products are computed in: oneDNN makes code for each it meets.

    A batch is filled up with rows that nobody uses to the next of these.
    """
    many = range(96, slots + 32, 32)
    return [*(few for few in _FEW if few < slots), *(more for more in many if more < slots), slots]


def _numbers(sequence: Sequence, start: int, here: Numbers) -> Numbers:
    """The row of a poem that has not begun, (WIDTH,); `here` is each index's number, (V,)."""
    numbers = _row_of(sequence.plan).copy()
    numbers[PREVIOUS] = start
    numbers[TOKENS : TOKENS + 2 * LONGEST] = start
    for place, given in sequence.given.items():
        numbers[GIVEN + place] = here[given.index]
        # A rhyme word that is fixed in advance: no line before it may rhyme on it either.
        if slot := numbers[RHYME_SLOT + place]:
            numbers[RHYMED + slot] = here[given.index]
    for place, index in sequence.forbidden.items():
        numbers[FORBIDDEN + place] = here[index]
    return numbers


@lru_cache(maxsize=4096)
def _row_of(plan: Plan) -> Numbers:
    """What a plan says of a row: what the model is told at each place and which mask applies."""
    numbers = np.zeros(WIDTH, dtype=np.int64)
    numbers[RHYME] = RHYME_INDEX[plan.rhyme]
    numbers[LINE_LENGTH] = plan.form.line_length
    numbers[GIVEN : GIVEN + LONGEST] = NOT_GIVEN
    rhymes = 0
    for place, number in enumerate(places(plan.form.name)):
        tone = TONE_INDEX[plan.tone_at(place)]
        numbers[[PLACE + place, TONE + place, MASK + place]] = number, tone, tone
        if plan.rhymes_at(place):
            # Slot 0 stays <unk>, which forbids nothing.
            rhymes += 1
            numbers[MASK + place] = len(TONE_INDEX) + numbers[RHYME]
            numbers[RHYME_SLOT + place] = rhymes
    numbers.flags.writeable = False
    return numbers


def _fill_leaning(checkpoint: Checkpoint, biases: Tensor, order: Tensor) -> dict[int, int]:
    """Enter what readers taught a checkpoint; the row of `biases` by length of a poem, if any.

    `<unk>` is left as it is: the masks forbid it.
    """
    if checkpoint.preference is None:
        return {}
    preference = Preference.of(checkpoint.preference)
    rows = {form.length: 1 + order for order, form in enumerate(FORMS.values())}
    for length, row in rows.items():
        biases[row] = preference.leaning(length).to(order.device)[order]
    return rows
