"""What training makes small: the loss of a batch, the model told a part of what is wanted."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.model import Model, places, shift
from engine.verse.forms import FORMS, FormName
from engine.vocabulary import Vocabulary
from trainer.evaluate import polyphones, tone_labels
from trainer.loss import full_cross_entropy, sampled_cross_entropy
from trainer.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Poems of one form, on the training device."""

    form: FormName
    """Their form."""
    tokens: Tensor
    """(B, T)"""
    rhymes: Tensor
    """(B,)"""

    def rows(self, which: slice) -> "Batch":
        """Some of the poems."""
        return Batch(form=self.form, tokens=self.tokens[which], rhymes=self.rhymes[which])


class Objective(nn.Module):
    """The loss as a module around the model, softmax and all: one call, from poems to nats.

    It must be one: what `DistributedDataParallel` wraps has to use every weight inside `forward`,
    and the embedding is used by the first layer and by the softmax.
    """

    def __init__(
        self, model: Model, vocabulary: Vocabulary, recipe: Recipe, frequencies: Tensor
    ) -> None:
        """The loss of `model`, on its device; `frequencies` (V,) sum to 1."""
        super().__init__()
        self.model, self.recipe = model, recipe
        device = model.bias.device
        self._frequencies = frequencies
        self._tones = tone_labels(vocabulary).to(device)
        self._polyphones = polyphones(vocabulary).to(device)

    def forward(self, batch: Batch, negatives: int | None) -> Tensor:
        """Mean cross entropy of a batch, in nats a character; sampled if there are `negatives`."""
        model = self.model
        before, above = shift(batch.tokens, FORMS[batch.form].line_length, model.shape.vocabulary)
        tone, rhyme = self._tell(batch)
        place = torch.tensor(places(batch.form), device=batch.tokens.device)
        features = model(before, above, place, tone, rhyme).flatten(0, 1)  # (N, E)
        weight, targets = model.characters.weight[:-1], batch.tokens.flatten()
        if negatives is None:
            return full_cross_entropy(features, weight, model.bias, targets)
        return sampled_cross_entropy(
            features,
            weight,
            model.bias,
            targets,
            frequencies=self._frequencies,
            negatives=negatives,
        )

    def _tell(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The tones (B, T) and rhymes (B,) the model is told of; 0 where it is left in the dark."""
        rows, length = batch.tokens.shape
        device = batch.tokens.device
        told = torch.rand(rows, device=device) < self.recipe.told  # (B,)
        places_told = torch.rand(rows, length, device=device) < self.recipe.told_tone
        # A polyphone is told as the one or the other: left untold, "not told" would mean polyphone.
        either = torch.randint(1, 3, (rows, length), device=device)
        tone = torch.where(self._polyphones[batch.tokens], either, self._tones[batch.tokens])
        tone = tone * (told[:, None] & places_told)
        return tone, batch.rhymes * told
