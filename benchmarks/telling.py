"""What telling the model of the rules is worth.

A mask alone clips what the model wanted to say; a model that is told tones and rhyme beforehand
can plan for them. Poems are written three ways (no rules; masks, the model not told; masks, the
model told) and judged by the same model, not told of anything (nats a character), and by the critic
(log odds that a poet wrote them).

    python -m benchmarks.telling lstm
"""

import json
from collections.abc import Sequence as Many
from typing import Annotated

import torch
import typer

from engine.bench import planned, write
from engine.checkpoint import Checkpoint, load
from engine.critic import Critic
from engine.model import places, shift
from engine.registry import Registry
from engine.rows import RHYME, TONE
from engine.runner import Runner
from engine.sequence import Sequence
from engine.settings import EngineSettings, load_settings
from engine.verse.checker import Rule, check
from engine.verse.forms import FORMS, FormName, cut_lines

_SLOTS = 64
_LEFT_IN_THE_DARK = 0  # row 0 of tones and of rhymes: not told


class _Untold(Runner):
    """Masks apply, but the model does not know of them."""

    @torch.inference_mode()
    def join(self, sequence: Sequence) -> int:
        row = super().join(sequence)
        told = self._rows.numbers[row]
        told[TONE : TONE + sequence.length] = _LEFT_IN_THE_DARK
        told[RHYME] = _LEFT_IN_THE_DARK
        return row


class _Free(_Untold):
    """No rules at all, but those of the form."""

    def __init__(self, checkpoint: Checkpoint, *, slots: int) -> None:
        super().__init__(checkpoint, slots=slots)
        with torch.inference_mode():
            self._rows.masks.fill_(True)
            self._rows.masks[:, 0] = False  # <unk> is no character


def write_all(runner: Runner, poems: Many[Sequence]) -> list[tuple[int, ...]]:
    """Some poems of one form, as indices."""
    parties = (poems[first : first + _SLOTS] for first in range(0, len(poems), _SLOTS))
    return [words.indices for party in parties for words in write(runner, party)]


@torch.inference_mode()
def nats(checkpoint: Checkpoint, form: FormName, poems: Many[tuple[int, ...]]) -> float:
    """Mean negative log probability a character, the model told the form only."""
    model, tokens = checkpoint.model(), torch.tensor(poems)
    before, above = shift(tokens, FORMS[form].line_length, model.shape.vocabulary)
    dark = torch.zeros_like(tokens)
    features = model(before, above, torch.tensor(places(form)), dark, dark[:, 0])
    logits = model.logits(features).flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(logits, tokens.flatten()))


def main(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder, id, or a cell's name.")],
    form: Annotated[FormName, typer.Option()] = FormName.QIJUE,
    count: Annotated[int, typer.Option(help="Poems of each kind.")] = 512,
    temperature: Annotated[float, typer.Option()] = 0.8,
) -> None:
    """Print the figures of each way as one JSON object."""
    loaded = load(Registry.at(load_settings(EngineSettings)).find(checkpoint))
    sequences = planned(loaded, count, form=form, temperature=temperature)
    critic = Critic.of(loaded.critic) if loaded.critic is not None else None
    ways = {"free": _Free, "masked": _Untold, "masked and told": Runner}
    figures: dict[str, object] = {"checkpoint": loaded.id, "form": form, "poems": count}
    for name, kind in ways.items():
        poems = write_all(kind(loaded, slots=_SLOTS), sequences)
        length = FORMS[form].line_length
        texts = [loaded.vocabulary.decode(poem) for poem in poems]
        verdicts = [check(cut_lines(text, length)) for text in texts]
        figures[name] = {
            "nats": round(nats(loaded, form, poems), 3),
            "odds": sum(critic.hear(poems, form)[1]) / count if critic is not None else None,
            "rhyme": sum(Rule.RHYME not in v.broken() for v in verdicts) / count,
            "all_rules": sum(v.ok for v in verdicts) / count,
        }
    typer.echo(json.dumps(figures, ensure_ascii=False))


if __name__ == "__main__":
    typer.run(main)
