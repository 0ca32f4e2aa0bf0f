"""Rejection sampling: what the model writes and its readers would like, mixed into verse of poets.

Ratings choose among our own poems. The champion, with what it learnt of its readers, writes many
candidates for each poem as it does in service, and the best of them are its favourites; training
further on those moves the weights towards what is chosen (Dong et al. 2023, RAFT). Nobody asked
for these poems, so no word of a person is in them. They are a tenth of what a night reads; the
rest are poems of Tang poets, so that the language stays theirs.
"""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import numpy as np

from engine.checkpoint import Checkpoint
from engine.jobs import USUAL_TEMPERATURE, Job, Poem
from engine.settings import USUAL_CANDIDATES, USUAL_SLOTS
from engine.verse.forms import FormName
from engine.wear import Wear
from engine.writer import Writer
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, Indices, verses_of

_PARTS = 9  # of poets' poems to one of ours


def write_favourites(
    checkpoint: Checkpoint, count: int, *, seed: int, candidates: int = USUAL_CANDIDATES
) -> dict[FormName, Indices]:
    """About `count` poems on nothing in particular, by form: the best of `candidates` each.

    Deterministic. A poem that cannot be written is passed over.
    """
    found: dict[FormName, list[list[int]]] = {}
    for poem in _write(checkpoint, count, seed=f"favourites/{seed}", candidates=candidates):
        indices = checkpoint.vocabulary.encode("".join(poem.lines))
        found.setdefault(poem.form, []).append(indices)
    return {form: np.array(rows, dtype=np.uint16) for form, rows in found.items()}


def count_wear(checkpoint: Checkpoint, count: int, *, seed: int) -> Wear:
    """What a checkpoint writes too often, told by about `count` poems; nobody chooses among them.

    Deterministic.
    """
    poems = _write(checkpoint, count, seed=f"wear/{seed}", candidates=1)
    return Wear.of(poem.lines for poem in poems)


def _write(checkpoint: Checkpoint, count: int, *, seed: str, candidates: int) -> list[Poem]:
    """Poems of all forms in turn, on nothing in particular, without those that failed."""
    writer = Writer(checkpoint, slots=USUAL_SLOTS, candidates=candidates)
    forms = list(FormName)
    random = Random(seed)
    jobs = [
        Job(
            id=str(number),
            client="night",
            chat="night",
            form=forms[number % len(forms)],
            cell=checkpoint.shape.cell,
            temperature=USUAL_TEMPERATURE,
            seed=random.randrange(2**31),
        )
        for number in range(count)
    ]
    return [outcome for outcome in writer.write(jobs).values() if isinstance(outcome, Poem)]


def mix(dataset: Dataset, favourites: Mapping[FormName, Indices], *, seed: int) -> Dataset:
    """What a night reads: favourites, and nine times as many Tang poems of each form, by chance.

    They stand where a dataset has its Tang poems for training; dev and test are the corpus's. Of a
    form with too few Tang poems there are fewer favourites too.
    """
    random = np.random.default_rng(seed)
    mixed = dict(dataset.verses)
    for form in FormName:
        ours = favourites.get(form, np.zeros((0, 0), dtype=np.uint16))
        theirs = dataset.verses[form, Era.TANG, Split.TRAIN].tokens
        replay = theirs[np.sort(random.permutation(len(theirs))[: _PARTS * len(ours)])]
        tokens = np.concatenate([replay, ours[: len(replay) // _PARTS]]) if len(ours) else replay
        mixed[form, Era.TANG, Split.TRAIN] = verses_of(form, tokens, dataset.vocabulary)
    return replace(dataset, verses=mixed)
