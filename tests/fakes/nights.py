"""A small household that can have nights: a corpus, a champion that has read it, and readers."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from bot.anthology import Anthology
from bot.anthology.people import CONSENT_VERSION
from bot.anthology.tables import ConsentRow, RatingRow
from bot.language import Language, Script
from bot.message import Address
from bot.settings import BotSettings
from bot.submit import Context
from engine import checkpoint
from engine.critic import Critic
from engine.jobs import Cell, Poem
from engine.registry import Registry
from engine.verse.checker import tone_marks
from tests.fakes.models import small_dataset, small_tradition
from tests.fakes.poems import by_rule
from trainer.corpus import CorpusPoem, Era
from trainer.fit import Run
from trainer.gate import Bounds
from trainer.nightly import Plan
from trainer.product import report_of
from trainer.recipe import Recipe, Stage
from trainer.settings import TrainerSettings

LIKED = frozenset("月花雲山水風春秋天江河夜日光")
"""What the readers of these tests like to read of."""
READERS = tuple(f"telegram:{number}" for number in range(1, 4))
"""Them."""
CROWD = tuple(f"telegram:{number}" for number in range(1, 7))
"""Them and their friends: enough for no single one to weigh much."""
CHAT = "telegram:-1"
"""Where they rate."""
MADE = datetime(2026, 11, 1, 3, tzinfo=UTC)
"""When the champion was made."""

Taste = Callable[[CorpusPoem, Random], int]
"""A vote on a poem: 1 or -1."""


def usual_taste(poem: CorpusPoem, random: Random) -> int:
    """Enough of `LIKED` makes a poem a good one; one reader in ten is of another mind."""
    good = sum(char in LIKED for char in poem.text) >= len(poem.text) / 14
    return 1 if good != (random.random() < 0.1) else -1


def disgust(_poem: CorpusPoem, _random: Random) -> int:
    """Nothing is ever good."""
    return -1


def small_recipe(cell: Cell, *, seed: int) -> Recipe:
    """A few steps of training."""
    return Recipe(
        cell=cell,
        embedding=16,
        hidden=24,
        batch_characters=600,
        learning_rate=1e-4,
        warmup_steps=2,
        averaging=0.9,
        evaluate_every=2**62,
        precision="fp32",
        stages=(Stage(eras=(Era.TANG,), epochs=2, rate=(1.0, 0.1)),),
        seed=seed,
    )


SMALL = Plan(
    favourites=8,
    counted=16,
    samples=16,
    candidates=2,
    recipe=small_recipe,
    save_every=3,
    bounds=Bounds(
        distinct_2=0.5,
        distinct_2_drift=0.5,
        repetition=1.0,
        repetition_drift=1.0,
        likeness=1.0,
        likeness_drift=1.0,
        share=1.0,
        share_drift=1.0,
        pace=0.01,
    ),
)
"""A night in seconds. What sixteen poems by so small a model are like says nothing, nor does their
pace beside other tests."""


def make_household(data: Path, *cells: Cell) -> TrainerSettings:
    """A registry with a champion of each cell (by default a gru) that has read the small corpus,
    and the corpus as a pack."""
    settings = TrainerSettings(data=data, nightly_threads=1, device="cpu")
    small_dataset().save(pack_of(settings))
    for cell in cells or (Cell.GRU,):
        path = _write_champion(settings.models_folder, cell, data / "training")
        Registry(settings.models_folder).promote(path.name)
    return settings


def pack_of(settings: TrainerSettings) -> Path:
    """The household's corpus."""
    return settings.data / "corpus.npz"


def _write_champion(parent: Path, cell: Cell, folder: Path) -> Path:
    data = small_dataset()
    recipe = Recipe(
        cell=cell,
        embedding=16,
        hidden=24,
        batch_characters=400,
        learning_rate=5e-3,
        warmup_steps=10,
        averaging=0.98,
        evaluate_every=2**62,
        precision="fp32",
        stages=(Stage(eras=(Era.TANG, Era.SONG), epochs=5, rate=(1.0, 0.05)),),
    )
    run = Run(recipe, data, folder / cell)
    run.train(lambda _measure: None)
    run.load_best(half=True)
    return checkpoint.save(
        parent,
        shape=run.model.shape,
        vocabulary=data.vocabulary,
        unknown_types=data.unknown_types,
        priors=data.priors,
        tradition=small_tradition(),
        weights=run.model.state_dict(),
        report=report_of(run),
        critic=Critic(len(data.vocabulary)).state_dict(),
        now=MADE,
    )


async def rate(
    settings: TrainerSettings,
    checkpoint_id: str,
    *,
    poems: int = 100,
    readers: Sequence[str] = READERS,
    taste: Taste = usual_taste,
    seed: int = 0,
    before: datetime | None = None,
    apart: timedelta = timedelta(minutes=7),
) -> None:
    """Let `readers` vote on so many poems that a checkpoint is said to have written.

    They take their time, one poem so long after the other, the last one `before`: by default on a
    day of the seed's own, the later the higher it is.
    """
    bot, random = BotSettings(data=settings.data), Random(seed)
    last = before or datetime.now(UTC) - timedelta(days=20 - seed, hours=1)
    async with Anthology.open(bot.anthology_url, bot.pseudonyms) as anthology:
        votes = []
        for number, poem in enumerate(by_rule(poems, seed=1000 + seed)):
            name = f"tg:{seed}-{number}"
            await _show(anthology, name, poem, checkpoint_id)
            votes += [
                RatingRow(
                    poem=name,
                    rater=bot.pseudonyms.of(reader),
                    vote=taste(poem, random),
                    stars=None,
                    platform="telegram",
                    chat=bot.pseudonyms.of(CHAT),
                    at=last - apart * (poems - number),
                )
                for reader in readers
            ]
        consents = [_consent(bot.pseudonyms.of(reader), last) for reader in readers]

        async def insert(session: object) -> None:
            for row in (*votes, *consents):
                await session.merge(row)  # type: ignore[attr-defined]

        await anthology.ratings._database.transact(insert)


def rate_now(settings: TrainerSettings, checkpoint_id: str, **more: object) -> None:
    """The same, where no event loop runs."""
    asyncio.run(rate(settings, checkpoint_id, **more))  # type: ignore[arg-type]


async def _show(anthology: Anthology, name: str, poem: CorpusPoem, checkpoint_id: str) -> None:
    written = Poem(
        job_id=name,
        lines=poem.lines,
        form=poem.form.name,
        rhyme="東",
        tones=tuple(map(tone_marks, poem.lines)),
        cell=Cell(checkpoint_id.partition("-")[0]),
        checkpoint=checkpoint_id,
        seed=1,
        logprob=-1.0,
    )
    context = Context(
        address=Address(chat=CHAT),
        language=Language.ZH,
        script=Script.TRADITIONAL,
        glyphs=poem.text[0],
        temperature=0.9,
        person=None,
        theme="",
    )
    await anthology.poems.record(written, context)


def _consent(rater: str, at: datetime) -> ConsentRow:
    return ConsentRow(
        rater=rater,
        version=CONSENT_VERSION,
        language="zh",
        asked_at=at,
        given=True,
        answered_at=at,
    )
