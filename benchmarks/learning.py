"""Does it learn from its readers, and can they spoil it? Nights on a real checkpoint, sped up.

Readers who do not exist (`benchmarks.tastes`) are shown poems and rate them, and every night the
nightly job itself (`trainer.nightly.Night`) runs on a registry of its own. After each night the
champion writes poems for the same wishes, and it is counted how many of them the hidden tastes
like. Beside it stand the same readers without anybody malicious, and a control whose ratings say
nothing: its weights are trained as often, on the corpus alone.

    python -m benchmarks.learning --data .pack/dataset.npz

runs all arms, two at a time, and goes on where it was stopped; picture and table come last. With
`--crowds 5` it does so for five crowds of readers, which tells what they teach from chance.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import tastes
from benchmarks.chart import draw_learning, learning_table
from benchmarks.settings import BenchmarkSettings
from bot.anthology.ratings import TrainingRating
from engine import checkpoint as checkpoints
from engine.files import replace_file
from engine.jobs import USUAL_TEMPERATURE, Cell, Job, Poem
from engine.linear import available
from engine.registry import Registry
from engine.routes import is_tried
from engine.settings import USUAL_CANDIDATES, USUAL_SLOTS, load_settings
from engine.verse.forms import FormName
from engine.writer import Writer
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, openings
from trainer.evaluate import score_forms, total
from trainer.metrics import distinct
from trainer.nightly import Night, Plan
from trainer.record import NightRecord, Nights

READERS = 20
ERROR = 0.12
"""How often a reader errs."""
HEADS = 200
"""Frequent characters that people ask poems to begin with; every other poem is on nothing."""
_FIGURES = ("liked", *tastes.TASTES, "distinct_2", "perplexity")
_FIRST = datetime(2026, 1, 1, 6, tzinfo=UTC)
_BETWEEN = timedelta(minutes=20)
_CROWDS_APART = 1000
"""Days by which the chance of one crowd is apart from that of the next."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One course of the simulation."""

    title: str
    """In the table and the picture."""
    malicious: float = 0.15
    """Share of the readers who say the opposite."""
    learns: bool = True
    """Whether ratings are heeded."""
    trial_share: float = 0.1
    """Share of the poems that a challenger with other weights writes; 0: the gate alone decides."""


ARMS = {
    "learning": Arm(title="learning"),
    "honest": Arm(title="learning, nobody malicious", malicious=0.0),
    "control": Arm(title="corpus alone", learns=False, trial_share=0.0),
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large the simulation is."""

    nights: int
    ratings: int
    """A day; each is of another poem."""
    asks: int
    """Poems by which each night's champion is measured."""
    samples: int
    """Poems that the gate looks at."""
    favourites: int
    """Poems of its own that a fit reads."""
    counted: int
    """Poems by which it is told what a challenger writes too often."""
    ends: int
    """Poems by which the first and the last champion are measured once more."""


@dataclass
class State:
    """Where an arm stands."""

    ratings: list[dict[str, Any]] = field(default_factory=list)
    nights: list[dict[str, Any]] = field(default_factory=list)
    """The figures of every night; the first are those of the start."""
    ends: dict[str, dict[str, float]] = field(default_factory=dict)
    """The figures of the first and the last champion by more poems, by the champion's id."""


class Course:
    """One arm, night by night, in a folder of its own."""

    def __init__(
        self, arm: Arm, scale: Scale, cell: Cell, data: Dataset, folder: Path, *, crowd: int = 0
    ) -> None:
        """Go on after the folder's last whole night, or begin.

        `crowd` is which readers, wishes and slips of all that chance may give; what a champion is
        measured by is the same for all.
        """
        self.arm, self.scale, self.cell, self.data, self.folder = arm, scale, cell, data, folder
        self.crowd = crowd
        self.readers = tastes.readers(READERS, malicious=arm.malicious, error=ERROR, seed=1 + crowd)
        self.heads = openings(data, HEADS)
        self.nights = Nights(folder / "nights")
        self.state = State()
        folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self.state = State(**json.loads(self._file.read_text(encoding="utf-8")))

    def run(self) -> State:
        """All nights, then both ends more exactly."""
        if not self.state.nights:
            self._note({})
        while len(self.state.nights) <= self.scale.nights:
            number = len(self.state.nights)
            self.state.ratings += self._day(number)
            record = self._night(number)
            its = record.cells.get(self.cell)
            told: dict[str, Any] = {"error": record.error} if record.error else {}
            if its is not None:
                outcome = str(its.outcome)
                told |= {"outcome": outcome, "why": list(its.why), "trial": its.trial}
            self._note(told)
        for night in (self.state.nights[0], self.state.nights[-1]):
            self._measure_end(night["champion"])
        return self.state

    def _measure_end(self, champion: str) -> None:
        """Measure a champion by other poems than every night, and more; the same in all arms."""
        if self.state.ends.get(champion, {}).get("poems") == self.scale.ends:
            return
        registry = self._registry(self.scale.nights)
        jobs = self._jobs("ends", self.scale.ends, Random("ends"))
        poems = [poem.lines for poem in write(registry.find(champion), jobs).values()]
        likes = list(map(tastes.liked, poems))
        self.state.ends[champion] = {
            "poems": len(poems),
            "liked": fmean(likes),
            "error": stdev(likes) / len(likes) ** 0.5,
            "distinct_2": distinct(poems, 2),
        }
        self._keep()

    @property
    def _file(self) -> Path:
        return self.folder / "state.json"

    def _moment(self, number: int) -> datetime:
        return _FIRST + timedelta(days=number)

    def _registry(self, number: int) -> Registry:
        night = self._moment(number) + timedelta(hours=20)
        return Registry(self.folder / "models", clock=lambda: night)

    # --- a day ---

    def _day(self, number: int) -> list[dict[str, Any]]:
        """Poems are asked for, written, and rated by one reader each."""
        random = Random(f"day/{_CROWDS_APART * self.crowd + number}")
        jobs = self._jobs(f"{number}", self.scale.ratings, random)
        registry = self._registry(number)
        challenger = registry.challenger(self.cell)
        tried = [job for job in jobs if challenger and is_tried(job.id, self.arm.trial_share)]
        poems = write(registry.champion(self.cell), [job for job in jobs if job not in tried])
        if challenger is not None:
            poems |= write(challenger, tried)
        return [
            self._rated(job, poems[job.id], self._moment(number) + place * _BETWEEN, random)
            for place, job in enumerate(jobs)
        ]

    def _rated(self, job: Job, poem: Poem, at: datetime, random: Random) -> dict[str, Any]:
        reader = random.choice(self.readers)
        return {
            "poem": job.id,
            "lines": poem.lines,
            "form": poem.form,
            "rhyme": poem.rhyme,
            "checkpoint": poem.checkpoint,
            "seed": poem.seed,
            "opening": job.opening,
            "vote": 1 if reader.likes(poem.lines, random) else -1,
            "rater": reader.name,
            "chat": reader.chat,
            "at": at.isoformat(),
        }

    def _jobs(self, name: str, count: int, random: Random) -> list[Job]:
        forms = list(FormName)
        return [
            Job(
                id=f"{name}/{number}",
                client="learning",
                chat="learning",
                form=forms[number % len(forms)],
                cell=self.cell,
                temperature=USUAL_TEMPERATURE,
                seed=random.randrange(2**31),
                opening=random.choice(self.heads) if number % 8 < len(forms) else "",
            )
            for number in range(count)
        ]

    # --- a night ---

    def _night(self, number: int) -> NightRecord:
        """The nightly job, on this arm's registry and at the time of the simulation."""
        began = self._moment(number) + timedelta(hours=20)
        book = self.nights.open(
            began.date(), wanted=(self.cell,), guard=_no_guard, clock=lambda: began
        )
        if book is None:
            raise RuntimeError(f"{self.folder} holds nights that its state knows nothing of")
        plan = Plan(
            hours=24.0,
            trial_share=self.arm.trial_share,
            samples=self.scale.samples,
            favourites=self.scale.favourites,
            counted=self.scale.counted,
        )
        night = (Night if self.arm.learns else _DeafNight)(
            book,
            self.nights,
            self._registry(number),
            ratings=lambda: [self._rating(fields) for fields in self.state.ratings],
            corpus=lambda: self.data,
            plan=plan,
            fence=number,
            check=_no_guard,
            lost=lambda: False,
            tell=lambda _progress: None,
        )
        return night.run()

    def _rating(self, fields: Mapping[str, Any]) -> TrainingRating:
        typed = {
            "lines": tuple(fields["lines"]),
            "form": FormName(fields["form"]),
            "at": datetime.fromisoformat(fields["at"]),
        }
        return TrainingRating(
            **{**fields, **typed},
            cell=self.cell,
            temperature=USUAL_TEMPERATURE,
            theme="",
            stars=None,
            curator=False,
        )

    # --- what came of it ---

    def _note(self, told: Mapping[str, Any]) -> None:
        """Let the champion write the same poems every night, count, and keep the figures."""
        number = len(self.state.nights)
        champion = self._registry(number).champion(self.cell)
        known = [night for night in self.state.nights if night["champion"] == champion.name]
        figures = {name: known[-1][name] for name in _FIGURES} if known else self._count(champion)
        self.state.nights.append({"night": number, "champion": champion.name, **figures, **told})
        self._keep()

    def _keep(self) -> None:
        replace_file(self._file, json.dumps(asdict(self.state), ensure_ascii=False))

    def _count(self, champion: Path) -> dict[str, float]:
        jobs = self._jobs("measure", self.scale.asks, Random("measure"))
        poems = [poem.lines for poem in write(champion, jobs).values()]
        return {
            "liked": fmean(map(tastes.liked, poems)),
            **{name: fmean(map(taste, poems)) for name, taste in tastes.TASTES.items()},
            "distinct_2": distinct(poems, 2),
            "perplexity": self._perplexity(champion),
        }

    def _perplexity(self, champion: Path) -> float:
        """Of the frozen test poems, told the form only; known while the weights stay."""
        weights = checkpoints.weights_of(champion.name)
        for night in self.state.nights:
            if checkpoints.weights_of(night["champion"]) == weights:
                found: float = night["perplexity"]
                return found
        of, test = checkpoints.load(champion), self.data.select(Split.TEST, [Era.TANG])
        return total(score_forms(of.model(), test, unknown_types=of.unknown_types)).perplexity


class _DeafNight(Night):
    """The nightly job, but for what readers say: poets' poems stand in for favourites."""

    def _learn_preference(self, cell: Cell) -> None:
        """Learn nothing of readers."""

    def _write_favourites(self, cell: Cell) -> None:
        random = np.random.default_rng(self.book.record.seed)
        each = self.plan.favourites // len(FormName)
        chosen = {}
        for form in FormName:
            tokens = self._dataset.verses[form, Era.TANG, Split.TRAIN].tokens
            chosen[str(form)] = tokens[random.permutation(len(tokens))[:each]]
        np.savez(self._folder(cell) / "favourites.npz", allow_pickle=False, **chosen)


def write(champion: Path, jobs: Sequence[Job]) -> dict[str, Poem]:
    """Poems as people get them, by the id of their job."""
    writer = Writer(
        checkpoints.load(champion),
        slots=USUAL_SLOTS,
        candidates=USUAL_CANDIDATES,
        precision=available()[0],
    )
    outcomes = writer.write(jobs)
    poems = {name: poem for name, poem in outcomes.items() if isinstance(poem, Poem)}
    return {job.id: poems[job.id] for job in jobs}


def _no_guard() -> None:
    """Nobody else is at work in a simulation."""


def run(which: tuple[str, int], *, scale: Scale, cell: Cell, data: Path, folder: Path) -> State:
    """One arm with one crowd, on one core."""
    torch.set_num_threads(1)
    name, crowd = which
    home = folder / f"{crowd}" / name
    return Course(ARMS[name], scale, cell, Dataset.load(data), home, crowd=crowd).run()


def main(
    *,
    data: Annotated[Path, typer.Option(help="A file of `corpus pack`.")],
    cell: Annotated[Cell, typer.Option(help="The bundled checkpoint to begin from.")] = Cell.LSTM,
    nights: Annotated[int, typer.Option(min=1)] = 30,
    ratings: Annotated[int, typer.Option(min=1, help="A day.")] = 50,
    asks: Annotated[int, typer.Option(min=1, help="Poems to measure a champion by.")] = 100,
    samples: Annotated[int, typer.Option(min=16, help="Poems that the gate looks at.")] = 64,
    favourites: Annotated[int, typer.Option(min=1, help="Poems of its own in a fit.")] = 200,
    counted: Annotated[int, typer.Option(min=1, help="Poems that tell what wears out.")] = (
        Plan.counted
    ),
    arms: Annotated[list[str] | None, typer.Option("--arm", help="Only these arms.")] = None,
    ends: Annotated[int, typer.Option(min=2, help="Poems to measure both ends by.")] = 1000,
    crowds: Annotated[int, typer.Option(min=1, help="Of other readers and other chance.")] = 1,
    state: Annotated[Path | None, typer.Option(help="Where the courses are kept.")] = None,
    again: Annotated[bool, typer.Option(help="Forget what was run before.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Arms side by side.")] = 2,
) -> None:
    """Run every arm and print what came of it."""
    folder = state or load_settings(BenchmarkSettings).state_folder / "learning"
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    scale = Scale(
        nights=nights,
        ratings=ratings,
        asks=asks,
        samples=samples,
        favourites=favourites,
        counted=counted,
        ends=ends,
    )
    # Who hears nobody is the same with every crowd.
    which = [
        (name, crowd)
        for crowd in range(crowds)
        for name in arms or ARMS
        if ARMS[name].learns or crowd == 0
    ]
    course = partial(run, scale=scale, cell=cell, data=data, folder=folder)
    found: defaultdict[str, list[State]] = defaultdict(list)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for (name, _), state_of in zip(which, pool.map(course, which), strict=True):
            found[ARMS[name].title].append(state_of)
    nights_of = {title: [one.nights for one in its] for title, its in found.items()}
    draw_learning(nights_of, folder / "learning.svg")
    typer.echo(learning_table(nights_of, {t: [one.ends for one in of] for t, of in found.items()}))
    typer.echo(f"\n{folder / 'learning.svg'}", err=True)


if __name__ == "__main__":
    typer.run(main)
