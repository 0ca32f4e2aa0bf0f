"""What a checkpoint thinks of whole poems: its critic and what it learnt of its readers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from engine.checkpoint import Checkpoint
from engine.critic import Critic
from engine.preference import Preference
from engine.rerank import Features
from engine.verse.forms import FormName


@dataclass(frozen=True, kw_only=True)
class Taste:
    """Judges of whole poems; those that a checkpoint lacks are silent."""

    critic: Critic | None
    """How likely a poet wrote it."""
    preference: Preference | None
    """How much readers would like it."""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """The judges that a checkpoint holds."""
        critic, preference = checkpoint.critic, checkpoint.preference
        return cls(
            critic=Critic.of(critic) if critic is not None else None,
            preference=Preference.of(preference) if preference is not None else None,
        )

    def complete(
        self,
        poems: Sequence[Sequence[int]],
        asked: Sequence[Collection[int]],
        features: Sequence[Features],
        form: FormName,
    ) -> tuple[list[Features], Tensor | None]:
        """The features of poems of one form, with what critic and preference say of them.

        With them what the critic sees in each poem, (B, `READING`), if there is a critic.

        Args:
            poems: the characters of each, as indices.
            asked: of each, the characters that were asked for.
            features: of each, what can be told without these judges.
            form: the form of all.
        """
        found, reading = list(features), None
        if self.critic is not None:
            reading, odds = self.critic.hear(poems, form)
            found = [replace(each, odds=its) for each, its in zip(found, odds, strict=True)]
        if self.preference is not None:
            liking = self.preference.liking(poems, asked, found, reading)
            found = [replace(each, liking=its) for each, its in zip(found, liking, strict=True)]
        return found, reading
