"""Trains the critic: poems of Tang poets against poems that our models wrote.

Both sides keep every rule, stand in the same vocabulary and begin with the same characters, so
that the critic has nothing to go by but how a poem reads.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.checkpoint import Checkpoint
from engine.critic import Critic
from engine.jobs import Job, Poem
from engine.verse.checker import check
from engine.verse.forms import FORMS, FormName, cut_lines
from engine.vocabulary import UNKNOWN, Vocabulary
from engine.writer import Writer
from trainer.corpus import Era, Split
from trainer.dataset import Dataset

Poems = Mapping[FormName, npt.NDArray[np.uint16]]
"""Poems as indices by form, (N, T) each."""

TEMPERATURES = (0.6, 0.8, 1.0)
"""Those at which our side is written, in turn."""
EPOCHS = 4
"""How often it reads both sides: a critic that reads more learns them by heart."""
_SLOTS = 128
_BATCH_CHARACTERS = 4096
_RATE = 2e-3
_DROPOUT = 0.3


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """How well a critic tells the sides apart on poems that it did not learn from."""

    area: float
    """Area under the ROC curve: 0.5 where it cannot, 1 where it always does."""
    loss: float
    """Mean cross entropy, nats."""


def hold_hearing(
    dataset: Dataset, checkpoints: Sequence[Checkpoint], *, every: int = 1, epochs: int = EPOCHS
) -> tuple[Critic, Hearing]:
    """Train a critic on one in `every` poems, and try it on the poems of dev."""
    poets = {form: rows[::every] for form, rows in of_poets(dataset, Split.TRAIN).items()}
    unread = of_poets(dataset, Split.DEV)
    ours, unread_ours = (
        of_ours(checkpoints, side, seed=seed) for seed, side in ((1, poets), (2, unread))
    )
    critic = train_critic(poets, ours, dataset.vocabulary, epochs=epochs, seed=1)
    return critic, hear(critic, unread, unread_ours)


def of_poets(dataset: Dataset, split: Split) -> dict[FormName, npt.NDArray[np.uint16]]:
    """The Tang poems of a split that keep every rule and hold no unknown character."""
    chars = dataset.vocabulary.chars
    found: dict[FormName, npt.NDArray[np.uint16]] = {}
    for form, verses in dataset.select(split, [Era.TANG]).items():
        length = FORMS[form].line_length
        known = verses.tokens[(verses.tokens != UNKNOWN).all(axis=1)]
        texts = ["".join(chars[index] for index in row) for row in known.tolist()]
        kept = [check(cut_lines(text, length)).ok for text in texts]
        found[form] = known[np.array(kept, dtype=bool)]
    return found


def of_ours(
    checkpoints: Sequence[Checkpoint], poets: Poems, *, seed: int
) -> dict[FormName, npt.NDArray[np.uint16]]:
    """As many poems of ours as poets', written in turn by the checkpoints.

    Each begins with the first character of one of theirs.
    """
    found: dict[FormName, list[list[int]]] = {form: [] for form in poets}
    for number, checkpoint in enumerate(checkpoints):
        writer = Writer(checkpoint, slots=_SLOTS)
        vocabulary = checkpoint.vocabulary
        for form, theirs in poets.items():
            openings = [vocabulary.chars[index] for index in theirs[number :: len(checkpoints), 0]]
            jobs = _jobs(checkpoint, form, openings, seed=seed * 1_000_003 + number)
            found[form] += [vocabulary.encode("".join(p.lines)) for p in _write(writer, jobs)]
    return {form: np.array(rows, dtype=np.uint16) for form, rows in found.items()}


def _jobs(
    checkpoint: Checkpoint, form: FormName, openings: Sequence[str], *, seed: int
) -> Iterator[Job]:
    random = Random(f"{seed}/{form}")
    for number, opening in enumerate(openings):
        yield Job(
            id=f"{form}:{number}",
            client="critic",
            chat="critic",
            form=form,
            cell=checkpoint.shape.cell,
            temperature=TEMPERATURES[number % len(TEMPERATURES)],
            seed=random.randrange(2**31),
            opening=opening,
            candidates=1,
        )


def _write(writer: Writer, jobs: Iterator[Job]) -> Iterator[Poem]:
    """The poems of jobs, whichever is done first; jobs that fail are passed over."""
    for job in jobs:
        while not writer.scheduler.free:
            yield from (found for found in writer.step() if isinstance(found, Poem))
        writer.add(job)
    while not writer.idle:
        yield from (found for found in writer.step() if isinstance(found, Poem))


def train_critic(
    poets: Poems, ours: Poems, vocabulary: Vocabulary, *, epochs: int, seed: int
) -> Critic:
    """A critic that has read both sides `epochs` times."""
    torch.manual_seed(seed)
    critic = Critic(len(vocabulary), dropout=_DROPOUT)
    optimizer = torch.optim.AdamW(critic.parameters(), lr=_RATE, weight_decay=0.05)
    steps = epochs * sum(1 for _ in _batches(poets, ours, seed))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_RATE, total_steps=steps)
    critic.train()
    for epoch in range(epochs):
        for form, tokens, poet in _batches(poets, ours, seed + epoch):
            loss = nn.functional.binary_cross_entropy_with_logits(critic(tokens, form), poet)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(critic.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return critic.eval()


@torch.inference_mode()
def hear(critic: Critic, poets: Poems, ours: Poems) -> Hearing:
    """Try a critic on poems that it has not read."""
    odds = {
        poet: torch.cat([critic(_tokens(rows), form) for form, rows in side.items() if len(rows)])
        for poet, side in ((1.0, poets), (0.0, ours))
    }
    both = torch.cat([odds[1.0], odds[0.0]])
    poet = torch.cat([torch.ones_like(odds[1.0]), torch.zeros_like(odds[0.0])])
    ranks = both.argsort().argsort().double() + 1
    n, m = len(odds[1.0]), len(odds[0.0])
    area = (float(ranks[:n].sum()) - n * (n + 1) / 2) / max(1, n * m)  # Mann & Whitney 1947
    loss = float(nn.functional.binary_cross_entropy_with_logits(both, poet))
    return Hearing(area=area, loss=loss if math.isfinite(loss) else math.inf)


def _batches(poets: Poems, ours: Poems, seed: int) -> Iterator[tuple[FormName, Tensor, Tensor]]:
    """Both sides mixed: form, tokens (B, T), and 1 for a poet's, (B,)."""
    random = np.random.default_rng(seed)
    pieces = []
    for form in poets:
        rows = max(1, _BATCH_CHARACTERS // FORMS[form].length)
        tokens = np.concatenate([poets[form], ours[form]])
        poet = np.concatenate([np.ones(len(poets[form])), np.zeros(len(ours[form]))])
        shuffled = random.permutation(len(tokens))
        pieces += [
            (form, _tokens(tokens[part]), torch.from_numpy(poet[part]).float())
            for part in np.array_split(shuffled, max(1, len(tokens) // rows))
        ]
    for index in random.permutation(len(pieces)):
        yield pieces[index]


def _tokens(rows: npt.NDArray[np.uint16]) -> Tensor:
    return torch.from_numpy(rows.astype("int64"))
