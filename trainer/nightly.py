"""One night: corpus and ratings become a better model of each cell, or the models stay as they are.

    ratings ─ snapshot ─┐
    corpus  ─ dataset ──┤   once
                        │
    trial ─ preference ─┴─ [favourites ─ fit] ─ challenger ─ examination ─ outcome   of each cell

Each phase leaves what it made in the night's folder before the next begins, and the next ones read
it from there, so a night that was killed goes on where it was: what is done is not done again,
what was under way is repeated from its inputs, the fit from its last state. Whatever is random
stems from the night's record, so the challenger is the same to the bit, however often it was cut
off. Only the phases trial and outcome change what is in service (`Night._change`): they ask first
whether this trainer still has the lock, and hand over its fencing number and the champion that they
know of.

Whatever goes wrong ends the night of that cell and changes nothing; what is told of it is one line.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file

from bot.anthology.ratings import TrainingRating
from bot.errors import AnthologyError
from engine import checkpoint
from engine.bulletin import NightOutcome, Phase
from engine.checkpoint import Checkpoint, Sign, weights_of
from engine.errors import CheckpointError
from engine.files import replace_file, sync_folder
from engine.jobs import Cell
from engine.registry import NoModelError, Registry, StaleAliasError
from engine.settings import USUAL_CANDIDATES
from engine.verse.forms import FormName
from trainer.corpus import CorpusError, Era, Split
from trainer.dataset import Dataset, DatasetError
from trainer.evaluate import score_forms, total
from trainer.examine import POEMS, ask, look, material_of
from trainer.favourites import count_wear, mix, write_favourites
from trainer.feedback import Example, Rules, Snapshot, SnapshotError, prune, take_snapshot
from trainer.fit import Measure, Run, TrainingError
from trainer.gate import Bounds, Report, Verdict, judge, orders_as_well
from trainer.lock import LockLostError
from trainer.picture import draw_curve, draw_gate
from trainer.preference import fit_preference
from trainer.product import report_of, write_again
from trainer.recipe import Recipe
from trainer.recipes import for_night
from trainer.record import (
    DATASET,
    Book,
    CellNight,
    NightRecord,
    Nights,
    RecordError,
    State,
)
from trainer.trial import Ruling, arm, disappoints, p_better, recent, rule

EXAMINATION_SEED = 5
"""Of the samples that the gate asks for; the same every night, so that nights can be compared."""
POLL = Rules(rater_share=1.0, chat_share=1.0)
"""How ratings count where they decide between two checkpoints."""
DIVERGED = 1.2
"""A fit that ends at so many times the perplexity that it began with has gone astray."""
SUSPECT_SHARE = 0.95
"""Of the new ratings, the share of lowest ones from which a night does not learn."""
SUSPECT_FEWEST = 20
"""With fewer new ratings than that, any share of low ones may be chance."""

KEPT = 7
"""Checkpoints of each cell that are kept, besides those with a role: a week's."""
STRENGTHS = (1.0, 0.7, 0.5, 0.35, 0.25)
"""How much of what was learnt of readers is tried, one after the other, until the gate agrees: the
more they are pleased, the more poems are alike."""

_UNITS = {
    Phase.SNAPSHOT: 1,
    Phase.DATASET: 2,
    Phase.TRIAL: 1,
    Phase.PREFERENCE: 1,
    Phase.FAVOURITES: 5,
    Phase.FIT: 20,
    Phase.CHALLENGER: 2,
    Phase.EXAMINATION: 8,
    Phase.OUTCOME: 1,
}
"""About how long each phase takes beside the others, to tell how far a night is."""
ONCE = (Phase.SNAPSHOT, Phase.DATASET)
"""The phases that are for no single cell."""

_REPORT = TypeAdapter(Report)
_REPORT_FILE = ".report.json"

_log = structlog.get_logger(__name__)


class NightRecipe(Protocol):
    """How the weights of a cell are trained."""

    def __call__(self, cell: Cell, *, seed: int) -> Recipe:
        """The recipe for a cell and a night."""


class NightError(RuntimeError):
    """A night cannot go on; nothing was changed."""


_EXPECTED = (
    AnthologyError,
    CheckpointError,
    CorpusError,
    DatasetError,
    NightError,
    OSError,
    RecordError,
    SnapshotError,
    TrainingError,
)
"""What speaks for itself in one line; anything else is a fault of ours, and its traceback told."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of each thing a night does."""

    hours: float = 3.0
    """How long it may take."""
    trial_share: float = 0.1
    """What share of the poems a challenger writes; without any there are no trials."""
    fit_from: int = 200
    """Ratings from which on weights are trained; with fewer only the preference moves."""
    fit_again: int = 100
    """Ratings that must be new since the weights were trained last."""
    favourites: int = 600
    """Poems that the champion writes to learn from."""
    counted: int = 2400
    """Poems that a challenger writes to tell what it writes too often."""
    samples: int = POEMS
    """Poems that the examination has a checkpoint write."""
    candidates: int = USUAL_CANDIDATES
    """Candidates for each of these and of the favourites."""
    recipe: NightRecipe = for_night
    """How weights are trained."""
    bounds: Bounds = field(default_factory=Bounds)
    """How much worse than the champion is too much."""
    device: str = "cpu"
    """Where."""
    save_every: int = 100
    """Steps of a fit between two saves of its state."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a night is."""

    phase: Phase
    """What is done now."""
    cell: Cell | None
    """For which cell."""
    share: float
    """About how much of the night is done, 0 to 1."""


class Night:
    """One night, as far as it has come."""

    def __init__(
        self,
        book: Book,
        nights: Nights,
        registry: Registry,
        *,
        ratings: Callable[[], Sequence[TrainingRating]],
        corpus: Callable[[], Dataset],
        plan: Plan,
        fence: int,
        check: Callable[[], None],
        lost: Callable[[], bool],
        tell: Callable[[Progress], None],
        sign: Sign | None = None,
    ) -> None:
        """Nothing is done yet.

        Args:
            book: The night's record.
            nights: All nights.
            registry: The checkpoints.
            ratings: Reads what may be learnt from, as it is now.
            corpus: Reads the corpus.
            plan: How much to do.
            fence: The fencing number of this trainer's lock.
            check: Asks whether the lock is still ours, and raises LockLostError if not.
            lost: Whether we know already that it is not; asks nobody.
            tell: Hears how far it is.
            sign: Signs what is put into the registry; None where nobody asks for that.
        """
        self.book, self.nights, self.registry = book, nights, registry
        self.plan, self.fence = plan, fence
        self._ratings, self._corpus = ratings, corpus
        self._check, self._lost, self._tell, self._sign = check, lost, tell, sign
        self._surprise: Exception | None = None
        # A checkpoint never changes, and every phase asks for the champion.
        self._loaded = lru_cache(maxsize=3)(registry.load)
        self._deadline = time.monotonic() + plan.hours * 3600 - book.record.spent_s

    def run(self) -> NightRecord:
        """Go on to the end; the record as it then is.

        Raises:
            LockLostError: another trainer has taken over; the night is its own by now.
        """
        try:
            self._go_on()
        except LockLostError:
            raise
        except Exception as error:
            self._note_surprise(error)
            self._end(_line(error))
        else:
            wrong = [f"{cell}: {'; '.join(its.why)}" for cell, its in self._failed()]
            self._end(" · ".join(wrong) or None)
        return self.book.record

    def fail(self, why: str) -> NightRecord:
        """Give the night up; the record as it then is."""
        self._end(why)
        return self.book.record

    def _go_on(self) -> None:
        self._phase(Phase.SNAPSHOT, self._take_snapshot)
        self._phase(Phase.DATASET, self._read_corpus)
        for cell in self.cells:
            try:
                self._teach(cell)
            except LockLostError:
                raise
            except Exception as error:
                # The other cells need not suffer; what went wrong is told when the night ends.
                self._note_surprise(error)
                self._conclude(cell, NightOutcome.FAILED, _line(error))

    def _teach(self, cell: Cell) -> None:
        if self._outcome(cell) is not None:
            return
        self._phase(Phase.TRIAL, partial(self._judge_trial, cell), cell)
        if self._outcome(cell) is not None or self._learnt_all(cell):
            return
        self._check_mood()
        self._check_corpus(cell)
        self._phase(Phase.PREFERENCE, partial(self._learn_preference, cell), cell)
        if self._wants_fit(cell):
            self._phase(Phase.FAVOURITES, partial(self._write_favourites, cell), cell)
            self._phase(Phase.FIT, partial(self._fit, cell), cell)
        elif not self._preference_file(cell).exists():
            self._conclude(cell, NightOutcome.NOTHING_NEW, "too few ratings to learn from")
            return
        self._phase(Phase.CHALLENGER, partial(self._write_first_challenger, cell), cell)
        self._phase(Phase.EXAMINATION, partial(self._examine, cell), cell)
        self._phase(Phase.OUTCOME, partial(self._announce, cell), cell)

    @cached_property
    def cells(self) -> list[Cell]:
        """The cells that are taught."""
        champions = self.registry.champions()
        wanted = self.book.record.wanted
        if missing := [cell for cell in wanted if cell not in champions]:
            raise NoModelError(f"no {missing[0]} model is installed to go on from")
        return [cell for cell in champions if cell in wanted or not wanted]

    # --- what is done once -------------------------------------------------------------------

    def _take_snapshot(self) -> None:
        ratings = self._all_ratings
        snapshot = take_snapshot(ratings)
        path = snapshot.save(self.nights.snapshots)
        last = self._last_done()
        fresh = [one for one in ratings if last is None or one.at >= last.begun]
        self.book.note(
            snapshot=snapshot.digest,
            snapshot_file=path.name,
            ratings=len(snapshot.examples),
            fresh=len(fresh),
            lowest=sum(one.worth == 0 for one in fresh),
        )

    def _read_corpus(self) -> None:
        dataset = self._corpus()
        if not dataset.select(Split.TRAIN, Era):
            raise NightError("the corpus holds no poem to train on: see «corpus stats»")
        draft = self.book.folder / ".dataset.npz"
        dataset.save(draft)
        _put(draft, self.book.folder / DATASET)

    @cached_property
    def _all_ratings(self) -> Sequence[TrainingRating]:
        return self._ratings()

    @cached_property
    def _poll(self) -> Sequence[Example]:
        """All ratings as votes: what came too fast is left out, but nobody's share is capped.

        Caps keep a few from teaching the model. Applied here, they would leave a household of one
        chat without a say; `trainer.trial` has its own.
        """
        return take_snapshot(self._all_ratings, POLL).examples

    @cached_property
    def _dataset(self) -> Dataset:
        return Dataset.load(self.book.folder / DATASET)

    @cached_property
    def _snapshot(self) -> Snapshot:
        return Snapshot.load(self.nights.snapshots / self.book.record.snapshot_file)

    @property
    def _digest(self) -> str:
        return self.book.record.snapshot or ""

    def _last_done(self) -> NightRecord | None:
        done = [record for record in self._earlier if record.state is State.DONE]
        return done[-1] if done else None

    @cached_property
    def _earlier(self) -> list[NightRecord]:
        present = self.book.record.name
        return [record for record in self.nights.records() if record.name != present]

    # --- whether there is anything to learn -----------------------------------------------------

    def _learnt_all(self, cell: Cell) -> bool:
        """Whether this champion has learnt from these very ratings, or has tried to."""
        champion = self._champion(cell)
        tried = any(
            record.snapshot == self._digest
            and (its := record.cells.get(cell)) is not None
            and (its.champion, its.outcome) == (champion.id, NightOutcome.REFUSED)
            for record in self._earlier
        )
        if tried or champion.report.get("snapshot") == self._digest:
            self._conclude(cell, NightOutcome.NOTHING_NEW, "no new ratings")
            return True
        return False

    def _check_mood(self) -> None:
        """Refuse to learn from a night of nothing but blame: the model is ill, or a mob came."""
        fresh, lowest = self.book.record.fresh, self.book.record.lowest
        if fresh >= SUSPECT_FEWEST and lowest >= SUSPECT_SHARE * fresh:
            raise NightError(
                f"{lowest} of {fresh} new ratings are the lowest there is: look at the poems, "
                "and at who rated («python -m bot ratings undo»)"
            )

    def _check_corpus(self, cell: Cell) -> None:
        """Refuse a corpus in whose arrays this champion would read other characters."""
        champion = self._champion(cell)
        if champion.vocabulary.chars != self._dataset.vocabulary.chars:
            raise NightError(
                f"{champion.id} was made from another corpus than the one here, so its "
                "characters are others: see «corpus fetch»"
            )

    def _wants_fit(self, cell: Cell) -> bool:
        """Whether there is enough to learn from, and no trial that other weights would disturb."""
        if self._its(cell).on_trial is not None:
            return False
        count = self.book.record.ratings or 0
        fits = [
            record.ratings or 0
            for record in self._earlier
            if (its := record.cells.get(cell)) is not None and its.fitted
        ]
        return count >= self.plan.fit_from and count - max(fits[-1:], default=0) >= (
            self.plan.fit_again
        )

    # --- the phases of a cell -------------------------------------------------------------------

    def _judge_trial(self, cell: Cell) -> None:
        aliases = self.registry.aliases(cell)
        told, goes_on = "", False
        if aliases.challenger is not None:
            told, goes_on = self._rule_on_challenger(cell, aliases.challenger)
        elif aliases.previous is not None:
            told = self._rule_on_champion(cell, aliases.previous)
        champion = self.registry.champion(cell).name
        on_trial = aliases.challenger if goes_on else None
        self.book.note_cell(cell, CellNight(champion=champion, trial=told, on_trial=on_trial))

    def _rule_on_challenger(self, cell: Cell, challenger: str) -> tuple[str, bool]:
        """End a trial that readers have decided; what is told of it, and whether it goes on."""
        champion, began = self.registry.champion(cell).name, self.registry.aliases(cell).trial_since
        since = datetime.fromisoformat(began) if began else self.book.record.begun
        heard = recent(self._poll, self._all_ratings, since=since)
        ours, theirs = (
            arm(heard, _with_weights_of(name, heard)) for name in (challenger, champion)
        )
        ruling = rule(ours, theirs, nights=(self.book.record.begun - since).days)
        told = f"{challenger} on trial: P(better) {p_better(ours, theirs):.3f}: {ruling}"
        if ruling is Ruling.PROMOTE:
            why = self._change(
                partial(self.registry.promote, challenger, expected=champion, fence=self.fence)
            )
        elif ruling is Ruling.DROP:
            why = self._change(partial(self.registry.drop_challenger, cell, fence=self.fence))
        else:
            return told, True
        return why or told, False

    def _rule_on_champion(self, cell: Cell, previous: str) -> str:
        """Go back to the previous champion where readers clearly liked it better."""
        champion = self.registry.champion(cell).name
        ours, theirs = (arm(self._poll, {name}) for name in (champion, previous))
        if not disappoints(ours, theirs):
            return ""
        told = f"{champion}: P(better than {previous}) {p_better(ours, theirs):.3f}: rolled back"
        act = partial(self.registry.rollback, cell, expected=champion, fence=self.fence)
        return self._change(act) or told

    def _learn_preference(self, cell: Cell) -> None:
        learnt = fit_preference(self._champion(cell), self._snapshot.examples)
        if learnt is None:
            return
        draft = self._folder(cell) / ".preference"
        save_file(learnt.preference.state_dict(), draft)
        _put(draft, self._preference_file(cell))

    def _write_favourites(self, cell: Cell) -> None:
        favourites = write_favourites(
            self._with_preference(cell),
            self.plan.favourites,
            seed=self.book.record.seed,
            candidates=self.plan.candidates,
        )
        draft = self._folder(cell) / ".favourites.npz"
        np.savez(draft, allow_pickle=False, **favourites)
        _put(draft, self._folder(cell) / "favourites.npz")

    def _fit(self, cell: Cell) -> None:
        run = self._run(cell)

        def step(number: int) -> None:
            if self._lost():
                raise LockLostError("another trainer has taken over")
            self._check_time()
            self._report(Phase.FIT, cell, number / max(1, run.steps))

        def measure(found: Measure) -> None:
            _log.info("→", action="night.fit", cell=cell, of=run.steps, **asdict(found))

        run.train(measure, on_step=step, save_every=self.plan.save_every)
        self._refuse_divergence(run, self._champion(cell))
        draw_curve(run.progress.measures, self._folder(cell) / "loss.svg", title=f"{cell} loss")
        self.book.note_cell(cell, replace(self.book.record.cells[cell], fitted=True))

    def _makes(self, cell: Cell) -> list[tuple[bool, float]]:
        """What is tried in turn: whether with trained weights, and how much of what was learnt."""
        trained = [(True, STRENGTHS[0])] if self._its(cell).fitted else []
        if not self._preference_file(cell).exists():
            return trained
        return trained + [(False, strength) for strength in STRENGTHS]

    def _write_first_challenger(self, cell: Cell) -> None:
        self._write_challenger(cell, *self._makes(cell)[0])

    def _write_challenger(self, cell: Cell, trained: bool, strength: float) -> None:
        made = self._with_preference(cell, strength)
        report = dict(made.report)
        if trained:
            run = self._run(cell)
            run.load_best(half=True)
            made, report = replace(made, weights=run.model.state_dict()), report_of(run)
        wear = count_wear(made, self.plan.counted, seed=self.book.record.seed)
        champion = self._champion(cell)
        lineage = {
            "night": self.book.record.name,
            "start": champion.id,
            "origin": _origin(champion.id, champion.report),
            "dataset": self._dataset.fingerprint,
            "ratings": self.book.record.ratings,
        }
        parent = self._folder(cell) / "challenger"
        shutil.rmtree(parent, ignore_errors=True)
        report = {**report, "snapshot": self._digest, "lineage": lineage}
        made = replace(made, wear=wear, report=report)
        # What learnt less boldly bears another time, or it would have the same name.
        path = write_again(made, parent, now=self._time_of(STRENGTHS.index(strength)))
        its = replace(self._its(cell), challenger=path.name, trained=trained, strength=strength)
        self.book.note_cell(cell, its)

    def _examine(self, cell: Cell) -> None:
        """Let the gate look at the challenger; where it says no, at one that dares less."""
        self._report_on_rivals(cell)
        its, makes = self._its(cell), self._makes(cell)
        for trained, strength in makes[makes.index((its.trained, its.strength)) :]:
            if (trained, strength) != (its.trained, its.strength):
                self._write_challenger(cell, trained, strength)
            self._report(Phase.EXAMINATION, cell, 0.5)
            self._report_on(cell, "challenger", self._challenger(cell))
            if self._judge(cell).passed or not (trained or self._knows_better(cell)):
                break
        ids = {report.checkpoint for report in self._reports(cell).values()}
        self.nights.forget_reports(cell, keep=ids)

    def _knows_better(self, cell: Cell) -> bool:
        """Whether it orders held-out poems as readers do, as often as the champion."""
        reports = self._reports(cell)
        return orders_as_well(reports["challenger"], reports["champion"], bounds=self.plan.bounds)

    def _report_on_rivals(self, cell: Cell) -> None:
        """What the challenger is compared with, which is the same however much it dares."""
        champion = self._champion(cell)
        self._report_on(cell, "champion", champion)
        with suppress(NoModelError):  # an origin that is gone is compared with no more
            origin = self._loaded(self.registry.find(_origin(champion.id, champion.report)))
            if origin.id != champion.id:
                self._report_on(cell, "origin", origin)

    def _report_on(self, cell: Cell, role: str, one: Checkpoint) -> None:
        looked = self._look(one, self._champion(cell), self._reports(cell).get("champion"))
        held_out = [example for example in self._snapshot.examples if example.held_out]
        report = ask(looked, one, self._dataset, held_out, candidates=self.plan.candidates)
        replace_file(self._folder(cell) / f"{role}{_REPORT_FILE}", _json_of(report))

    def _judge(self, cell: Cell) -> Verdict:
        reports = self._reports(cell)
        champion, challenger = reports["champion"], reports["challenger"]
        return judge(champion, challenger, reports.get("origin"), bounds=self.plan.bounds)

    def _reports(self, cell: Cell) -> dict[str, Report]:
        """What was written of those that are compared, by role."""
        return {
            path.name.removesuffix(_REPORT_FILE): _REPORT.validate_json(path.read_bytes())
            for path in sorted(self._folder(cell).glob(f"*{_REPORT_FILE}"))
        }

    def _look(self, one: Checkpoint, champion: Checkpoint, known: Report | None) -> Report:
        """A look at a checkpoint, from an earlier night where it was the same look.

        What is `known` of the champion holds for one with the same weights as far as it goes.
        """
        is_like = weights_of(one.id) == weights_of(champion.id)
        of, critic = self._dataset, champion.critic
        seed, poems, candidates = EXAMINATION_SEED, self.plan.samples, self.plan.candidates
        path = self.nights.report_of(one.id)
        material = material_of(of, critic, seed=seed, poems=poems, candidates=candidates)
        with suppress(FileNotFoundError, ValidationError):
            kept = _REPORT.validate_json(path.read_bytes())
            if (kept.checkpoint, kept.material) == (one.id, material):
                return kept
        report = look(
            one,
            of,
            critic=critic,
            seed=seed,
            poems=poems,
            candidates=candidates,
            scored=known if is_like else None,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, _json_of(report))
        return report

    def _announce(self, cell: Cell) -> None:
        verdict = self._judge(cell)
        figures = {role: _figures(one) for role, one in self._reports(cell).items()}
        its = replace(self._its(cell), figures={**figures, "gate": verdict.figures})
        self.book.note_cell(cell, its)
        draw_gate(its.figures, self._folder(cell) / "gate.svg", title=its.challenger or "")
        if not verdict.passed:
            self._conclude(cell, NightOutcome.REFUSED, *verdict.reasons)
            return
        self._put_in_service(cell)

    # --- what the registry is told --------------------------------------------------------------

    def _put_in_service(self, cell: Cell) -> None:
        """Promote what only chooses otherwise among the same candidates; try out the rest."""
        its, challenger = self._its(cell), self._challenger(cell)
        self._enter(challenger, later_s=STRENGTHS.index(its.strength))
        on_trial = its.trained and self.plan.trial_share > 0
        tell, outcome = (
            (self.registry.challenge, NightOutcome.ON_TRIAL)
            if on_trial
            else (self.registry.promote, NightOutcome.PROMOTED)
        )
        aliases = self.registry.aliases(cell)
        why = None
        if challenger.id != (aliases.challenger if on_trial else aliases.champion):
            why = self._change(
                partial(tell, challenger.id, expected=its.champion, fence=self.fence)
            )
        if why is None:
            if its.on_trial is not None:
                self._go_on_with_trial(cell, its.on_trial, challenger)
            self._conclude(cell, outcome)
        else:
            self._conclude(cell, NightOutcome.REFUSED, why)

    def _go_on_with_trial(self, cell: Cell, on_trial: str, promoted: Checkpoint) -> None:
        """Let the one on trial learn the same of its readers: what is tried are its weights."""
        tried = self.registry.load(self.registry.find(on_trial))
        report = {**tried.report, "snapshot": self._digest}
        taught = replace(tried, preference=promoted.preference, wear=promoted.wear, report=report)
        path = self._enter(taught)
        since = self.registry.aliases(cell).trial_since
        act = partial(
            self.registry.challenge, path.name, expected=promoted.id, fence=self.fence, since=since
        )
        self._change(act)

    def _change(self, act: Callable[[], object]) -> str | None:
        """Change the registry; why that could not be, where somebody else was faster."""
        self._check()
        try:
            act()
        except StaleAliasError as error:
            # A fencing number that is too low means that the lock is another's.
            self._check()
            return str(error)
        return None

    # --- where things are -----------------------------------------------------------------------

    def _its(self, cell: Cell) -> CellNight:
        return self.book.record.cells.get(cell, CellNight())

    def _outcome(self, cell: Cell) -> NightOutcome | None:
        return self._its(cell).outcome

    def _conclude(self, cell: Cell, outcome: NightOutcome, *why: str) -> None:
        if outcome is NightOutcome.NOTHING_NEW and self._its(cell).on_trial is not None:
            outcome = NightOutcome.TRIAL_GOES_ON
        _log.info("←", action="night.outcome", cell=cell, outcome=outcome.value, why=list(why))
        self.book.note_cell(cell, replace(self._its(cell), outcome=outcome, why=why))

    def _folder(self, cell: Cell) -> Path:
        folder = self.book.folder / cell
        folder.mkdir(exist_ok=True)
        return folder

    def _preference_file(self, cell: Cell) -> Path:
        return self._folder(cell) / "preference.safetensors"

    def _champion(self, cell: Cell) -> Checkpoint:
        return self._loaded(self.registry.find(self._its(cell).champion))

    def _with_preference(self, cell: Cell, strength: float = STRENGTHS[0]) -> Checkpoint:
        """The champion with what was learnt this night, or else what it has."""
        champion, path = self._champion(cell), self._preference_file(cell)
        if not path.exists():
            return champion
        learnt = {name: p * strength for name, p in load_file(path).items()}
        return replace(champion, preference=learnt)

    def _challenger(self, cell: Cell) -> Checkpoint:
        name = self._its(cell).challenger or ""
        return checkpoint.load(self._folder(cell) / "challenger" / name)

    def _run(self, cell: Cell) -> Run:
        """The fit, as far as it has come."""
        champion, seed = self._champion(cell), self.book.record.seed
        with np.load(self._folder(cell) / "favourites.npz", allow_pickle=False) as contents:
            favourites = {FormName(form): contents[form] for form in contents}
        shape = {name: getattr(champion.shape, name) for name in ("embedding", "hidden")}
        return Run(
            replace(self.plan.recipe(cell, seed=seed), **shape),
            mix(self._dataset, favourites, seed=seed),
            self._folder(cell) / "fit",
            start=champion,
            device=self.plan.device,
        )

    def _enter(self, made: Checkpoint, *, later_s: int = 0) -> Path:
        """Write a checkpoint into the registry, signed: it has passed the gate."""
        now = self._time_of(later_s)
        return write_again(made, self.registry.folder, now=now, sign=self._sign)

    def _time_of(self, later_s: int) -> datetime:
        """What time a checkpoint bears: that of the night, or some seconds later."""
        return self.book.record.begun + timedelta(seconds=later_s)

    # --- time, and what is told -------------------------------------------------------------------

    def _phase(self, name: Phase, work: Callable[[], None], cell: Cell | None = None) -> None:
        self._check_time()
        self._report(name, cell)
        _log.info("→", action="night.phase", night=self.book.record.name, phase=name, cell=cell)
        self.book.run(name, work, cell)

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise NightError(
                f"the night did not end within {self.plan.hours:g} h: give it more "
                "(YUEFU_NIGHTLY_HOURS), fewer models (--cell), or a faster machine"
            )

    def _report(self, name: Phase, cell: Cell | None, part: float = 0.0) -> None:
        """Tell how far the night is; phases that are passed over count as done."""
        order = list(_UNITS)
        before = sum(_UNITS[one] for one in order[: order.index(name)])
        share = before + part * _UNITS[name]
        if cell is not None:
            cells = self.cells
            once = sum(_UNITS[one] for one in ONCE)
            own = sum(_UNITS.values()) - once
            share = once + cells.index(cell) * own + share - once
            whole = once + len(cells) * own
        else:
            whole = sum(_UNITS.values())
        self._tell(Progress(phase=name, cell=cell, share=min(1.0, share / whole)))

    def _refuse_divergence(self, run: Run, champion: Checkpoint) -> None:
        """A fit that made the model much worse is a fault, which the gate would only see as no."""
        dev = self._dataset.select(Split.DEV, [Era.TANG])
        scores = score_forms(champion.model(), dev, unknown_types=champion.unknown_types)
        before = total(scores).perplexity
        after = min((measure.dev for measure in run.progress.measures), default=math.nan)
        if not after <= DIVERGED * before:
            raise NightError(f"the fit went astray: dev perplexity {before:.1f} became {after:.1f}")

    def _tidy_up(self) -> None:
        """Delete checkpoints and snapshots that nobody will go back to."""
        for cell in self.book.record.cells:
            champion = self.registry.champion(cell).name
            origin = _origin(champion, self.registry.report(champion))
            self.registry.retire(cell, keep={origin}, newest=KEPT)
        prune(self.nights.snapshots, keep=self._snapshots_of_checkpoints())

    def _snapshots_of_checkpoints(self) -> set[str]:
        """The ratings that some checkpoint learnt from: it must stay possible to trace it."""
        registry = self.registry
        found = (registry.report(name).get("snapshot") for name in registry.names())
        return {digest for digest in found if digest}

    def _failed(self) -> list[tuple[Cell, CellNight]]:
        cells = self.book.record.cells.items()
        return [(cell, its) for cell, its in cells if its.outcome is NightOutcome.FAILED]

    def _note_surprise(self, error: Exception) -> None:
        """What nobody expected is a fault of ours: its traceback is told with the alert."""
        if not isinstance(error, _EXPECTED):
            self._surprise = error

    def _end(self, wrong: str | None) -> None:
        """Close the record; where something went wrong, say so once."""
        name = self.book.record.name
        if wrong is not None:
            fields = {"action": "night.failed", "night": name, "why": wrong}
            _log.error("! night failed", **fields, exc_info=self._surprise)
        state = State.DONE if wrong is None else State.FAILED
        try:
            self.book.end(state, wrong)
            self._tidy_up()
        except (OSError, CheckpointError) as full:
            _log.warning("! record not written", action="night.record", night=name, why=str(full))
            self.book.record = replace(self.book.record, state=state, error=wrong)


def _with_weights_of(name: str, examples: Sequence[Example]) -> set[str]:
    """The checkpoints with the same weights that wrote some of the examples' poems."""
    written = {one.checkpoint for one in examples}
    return {other for other in written if weights_of(other) == weights_of(name)}


def _origin(champion: str, report: Mapping[str, Any]) -> str:
    """The checkpoint that the learning of a cell began from, by the report of its champion."""
    origin: str = report.get("lineage", {}).get("origin", champion)
    return origin


def _figures(report: Report) -> Mapping[str, float]:
    """The figures of a report that are one number each, and the perplexities."""
    numbers = {
        name: value for name, value in asdict(report).items() if isinstance(value, int | float)
    }
    characters = sum(report.characters or ())
    if report.nats and characters:
        numbers["perplexity"] = math.exp(sum(report.nats) / characters)
    return numbers


def _json_of(report: Report) -> str:
    return json.dumps(asdict(report), ensure_ascii=False)


def _put(draft: Path, path: Path) -> None:
    """Give a file that is whole its name, for good."""
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(path)
    sync_folder(path.parent)


def _line(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, _EXPECTED) else f"{type(error).__name__}: {text}"
