"""One step of all rows in torch's operations: on a GPU, for beam search, and as the reference.

`engine.kernel_step` does the same on a CPU, many times as fast. Nothing here waits for the device,
and shapes depend on the number of rows only, so a GPU may record a step once and replay it.

Letters: B batch, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.cell import Folded, Told
from engine.rows import (
    BIAS,
    FORBIDDEN,
    GIVEN,
    LINE_LENGTH,
    LONGEST,
    MASK,
    MOST_RHYMES,
    NOT_GIVEN,
    PLACE,
    POSITION,
    PREVIOUS,
    RHYME,
    RHYME_SLOT,
    RHYMED,
    TOKENS,
    TONE,
    Rows,
)
from engine.sampler import restrict, sample, sound
from engine.vocabulary import UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The next place of every row."""

    at: Tensor
    """The place, (B,)."""
    given: Tensor
    """The character that was asked for there, or `NOT_GIVEN`, (B,)."""
    logits: Tensor
    """What the model expects, (B, V)."""
    admitted: Tensor
    """What the rules admit, bool, (B, V)."""
    restricted: Tensor
    """The same under the rules and at the row's temperature, the forbidden at -inf, (B, V)."""

    @property
    def is_given(self) -> Tensor:
        """Rows whose next character was asked for, bool, (B,)."""
        return self.given != NOT_GIVEN

    def of(self, rows: Tensor) -> "Outlook":
        """The outlook of some rows, (K,)."""
        return Outlook(
            at=self.at[rows],
            given=self.given[rows],
            logits=self.logits[rows],
            admitted=self.admitted[rows],
            restricted=self.restricted[rows],
        )


class TensorStep:
    """Writes one character of every row. Keeps no state of its own."""

    def __init__(self, folded: Folded, rows: Rows) -> None:
        self._folded = folded
        self._rows = rows

    def __call__(self) -> None:
        """Write one character of every row in use."""
        self.advance(self._rows.count)

    def advance(self, batch: int) -> None:
        """Write one character of the first `batch` rows, of which the last may be unused."""
        outlook = self.look(batch)
        uniforms = self._rows.uniforms[:batch].gather(1, outlook.at[:, None])[:, 0]
        chosen = sample(outlook.restricted, uniforms)
        self.write(outlook, torch.where(outlook.is_given, outlook.given, chosen))

    def look(self, batch: int) -> Outlook:
        """What the model expects at the next place of every row; the state moves on."""
        b = slice(0, batch)
        numbers, state = self._rows.numbers[b], self._rows.state
        # Rows that nobody uses may have gone beyond the last place.
        at = numbers[:, POSITION].clamp_max(LONGEST - 1)
        told = Told(
            previous=numbers[:, PREVIOUS],
            above=_at(numbers, TOKENS + LONGEST, at - numbers[:, LINE_LENGTH]),
            place=_at(numbers, PLACE, at),
            tone=_at(numbers, TONE, at),
            rhyme=numbers[:, RHYME],
        )
        logits, state[:, b] = self._folded.step(state[:, b], told)
        tokens = numbers[:, TOKENS + LONGEST : TOKENS + 2 * LONGEST]
        rhymed = numbers[:, RHYMED : RHYMED + MOST_RHYMES + 1]
        admitted = self._rows.masks[_at(numbers, MASK, at)]
        restricted = restrict(
            logits + self._rows.biases[numbers[:, BIAS]],
            admitted,
            tokens.where(tokens != self._rows.start, UNKNOWN),
            torch.cat([rhymed, _at(numbers, FORBIDDEN, at)[:, None]], 1),
            self._rows.temperature[b],
        )
        return Outlook(
            at=at,
            given=_at(numbers, GIVEN, at),
            logits=logits,
            admitted=admitted,
            restricted=restricted,
        )

    def write(self, outlook: "Outlook", chosen: Tensor) -> None:
        """Enter the chosen characters, (B,), and book how likely the model thought them."""
        b = slice(0, len(chosen))
        logits, numbers = outlook.logits, self._rows.numbers[b]
        mass = logits.where(outlook.admitted, -torch.inf).logsumexp(1)
        logprob = logits.gather(1, chosen[:, None])[:, 0] - mass
        self._rows.logprob[b] += torch.where(outlook.is_given, 0.0, logprob)
        self._rows.sound[b] &= sound(logits, outlook.restricted) | outlook.is_given
        slot = _at(numbers, RHYME_SLOT, outlook.at)
        rhymed = torch.where(slot > 0, chosen, UNKNOWN)
        numbers.scatter_(1, RHYMED + slot[:, None], rhymed[:, None])
        numbers.scatter_(1, TOKENS + LONGEST + outlook.at[:, None], chosen[:, None])
        numbers[:, PREVIOUS] = chosen
        numbers[:, POSITION] += 1


def _at(numbers: Tensor, first: int, offset: Tensor) -> Tensor:
    """The number of each row that stands `offset`, (B,), after column `first`, (B,)."""
    return numbers.gather(1, first + offset[:, None])[:, 0]
