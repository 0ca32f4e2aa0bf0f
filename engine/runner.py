"""Steps the running poems of one checkpoint: states and numbers in, next characters out.

The rows themselves are `engine.rows`. On a CPU a step is `engine.kernel_step`, in the precision
that was asked for; elsewhere, and for beam search, it is what stands here, in torch's operations.
Either gives the same poems, but for rounding.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from engine.cell import Folded
from engine.checkpoint import Checkpoint
from engine.graph_step import GraphStep
from engine.kernel_step import KernelStep
from engine.linear import Precision
from engine.rows import Rows, Words
from engine.sequence import Sequence
from engine.tensor_step import Outlook, TensorStep
from engine.theme import ThemeEncoder

__all__ = ["THEME_MOST", "THEME_WEIGHT", "Outlook", "Runner", "Words"]

THEME_WEIGHT = 2.0
"""What a nat of PPMI with the theme adds to a character's logit (decision 15)."""
THEME_MOST = 1.2
"""Nats of PPMI beyond which company counts no more, or the theme's own words would fill a poem."""


class Runner:
    """Steps up to `slots` poems of one checkpoint side by side."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        slots: int,
        device: str = "cpu",
        precision: Precision = Precision.FP32,
    ) -> None:
        """Put the checkpoint's weights on `device`, to be multiplied in `precision`."""
        self.checkpoint = checkpoint
        self.device = torch.device(device)
        with torch.inference_mode():
            exact, half = precision is Precision.FP32, torch.bfloat16
            self._rows = Rows(checkpoint, slots=slots, device=self.device)
            self._folded = Folded(
                checkpoint.model().to(self.device),
                # On a CPU `KernelStep` packs weights of its own.
                dtype=torch.float32 if exact or self.device.type == "cpu" else half,
                tables=torch.float32 if exact else half,
                order=self._rows.order,
            )
            self._encoder = _encoder(checkpoint, self.device)
            self._by_tensors = TensorStep(self._folded, self._rows)
            self._step = self._stepper(precision)

    def _stepper(self, precision: Precision) -> Callable[[], None]:
        if self.device.type == "cpu":
            return KernelStep(self._folded, self._rows, precision)
        if self.device.type == "cuda":
            return GraphStep(self._by_tensors, self._rows)
        return self._by_tensors

    @property
    def count(self) -> int:
        """How many poems are running."""
        return self._rows.count

    @torch.inference_mode()
    def join(self, sequence: Sequence) -> int:
        """Give a poem the next free row and return its number."""
        state = bias = None
        if sequence.theme:
            bias = self._theme_bias(sequence)
            if self._encoder is not None:
                theme = self._folded.characters[self._rows.here(sequence.theme)]
                state = self._encoder.begin(theme)
        return self._rows.join(sequence, state=state, bias=bias)

    def _theme_bias(self, sequence: Sequence) -> Tensor:
        """What is added to a row's logits so that it seeks its theme's company, (V,)."""
        company = self.checkpoint.tradition.company(sequence.theme)
        return torch.from_numpy(company).to(self.device).clamp_max(THEME_MOST) * THEME_WEIGHT

    @torch.inference_mode()
    def leave(self, row: int) -> int:
        """Free a row by moving the last one into it; the number of the row that was moved."""
        return self._rows.leave(row)

    @torch.inference_mode()
    def words(self, row: int, length: int) -> Words:
        """Read a complete poem of `length` characters off the device."""
        return self._rows.words(row, length)

    @torch.inference_mode()
    def step(self) -> None:
        """Write one character of every running poem."""
        self._rows.upload()
        self._step()

    @torch.inference_mode()
    def look(self) -> Outlook:
        """What the model expects at the next place of every row; the state moves on."""
        self._rows.upload()
        return self._by_tensors.look(self.count)

    @torch.inference_mode()
    def branch(self, outlook: Outlook, parents: Tensor, chosen: Tensor) -> None:
        """Go on with one row for each of `parents`, (K,), which gets the character in `chosen`.

        For beam search: a row may have several children, or none.
        """
        self._rows.branch(parents)
        self._by_tensors.write(outlook.of(parents), chosen)


def _encoder(checkpoint: Checkpoint, device: torch.device) -> ThemeEncoder | None:
    """What reads themes, if the checkpoint has it."""
    if checkpoint.theme is None:
        return None
    return ThemeEncoder.of(checkpoint.shape, checkpoint.theme).to(device)
