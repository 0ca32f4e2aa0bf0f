"""Whole nights on a small corpus: a real anthology, a real Valkey, real training."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from engine import checkpoint
from engine.bulletin import NightOutcome, Phase
from engine.client import EngineClient, connect
from engine.jobs import Cell
from engine.registry import Registry
from engine.settings import EngineSettings, SettingsError
from engine.signing import Signer
from tests.fakes.models import small_dataset, write_model
from tests.fakes.nights import (
    CROWD,
    MADE,
    SMALL,
    disgust,
    make_household,
    pack_of,
    rate_now,
    small_recipe,
)
from tests.fakes.poems import by_rule
from trainer import keys, nightly
from trainer.dataset import build
from trainer.duty import Watch, hold_night
from trainer.examine import look
from trainer.gate import judge
from trainer.lock import LockLostError, NoLockError
from trainer.nightly import STRENGTHS, Night
from trainer.record import Nights, State
from trainer.settings import TrainerSettings

DAY = date(2026, 11, 21)
FEW, MANY = {"poems": 50, "seed": 1}, {"poems": 90, "seed": 2}
"""Votes on so many poems by three readers: too few to train weights, and enough."""


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("household")
    make_household(folder)
    return folder


class Home:
    """A household, and what its trainer does."""

    def __init__(self, settings):
        self.settings = settings
        self.registry = Registry(settings.models_folder, bundled=settings.data / "none")
        self.nights = Nights(settings.nights_folder)

    @property
    def champion(self):
        return self.registry.champion(Cell.GRU).name

    @property
    def aliases(self):
        return self.registry.aliases(Cell.GRU)

    def rate(self, checkpoint_id=None, **more):
        rate_now(self.settings, checkpoint_id or self.champion, **more)

    def night(self, day=DAY, plan=SMALL, **more):
        more = {"pack": pack_of(self.settings), "wanted": [Cell.GRU], **more}
        return hold_night(self.settings, day=day, plan=plan, **more)

    def load(self, checkpoint_id):
        return checkpoint.load(self.registry.find(checkpoint_id))


@pytest.fixture
def home(template, tmp_path, valkey_url, monkeypatch):
    data = shutil.copytree(template, tmp_path / "data")
    monkeypatch.setenv("YUEFU_DATA", str(data))
    monkeypatch.setenv("YUEFU_REDIS_URL", valkey_url)
    return Home(TrainerSettings(nightly_threads=1, device="cpu"))


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# --- what a night does ----------------------------------------------------------------------


def test_few_ratings_move_only_the_preference_which_is_in_service_at_once(home):
    home.rate(**FEW)
    before = home.champion
    record = home.night()
    its = record.cells[Cell.GRU]
    assert (record.state, its.outcome, its.why) == (State.DONE, NightOutcome.PROMOTED, ())
    assert (its.champion, its.challenger, its.fitted) == (before, home.champion, False)
    assert home.aliases.previous == before
    old, new = home.load(before), home.load(home.champion)
    assert same(old.weights, new.weights)
    assert same(old.critic, new.critic)
    assert np.array_equal(old.tradition.vectors, new.tradition.vectors)
    assert old.preference is None
    assert new.preference["characters"].abs().sum() > 0
    assert (old.wear, new.wear.poems) == (None, SMALL.counted)
    gains = its.figures["challenger"]["win_rate"] - its.figures["champion"]["win_rate"]
    assert gains > 0


def test_where_keys_are_trusted_a_night_signs_what_it_promotes(home, monkeypatch):
    signer = Signer.generate()
    home.registry.sign(home.champion, signer)
    monkeypatch.setenv("YUEFU_TRUSTED_KEYS", signer.public_pem)
    with pytest.raises(SettingsError, match="SIGNING_KEY"):
        Watch(TrainerSettings())
    monkeypatch.setenv("YUEFU_SIGNING_KEY", signer.private_pem)
    home.settings = TrainerSettings(nightly_threads=1, device="cpu")
    home.rate(**FEW)
    before = home.champion
    assert home.night().cells[Cell.GRU].outcome is NightOutcome.PROMOTED
    assert home.champion != before
    assert Registry.at(home.settings).voucher(home.champion) == signer.key_id


def test_a_checkpoint_can_be_traced_to_its_data(home):
    home.rate(**FEW)
    before = home.champion
    record = home.night()
    report = home.load(home.champion).report
    assert report["snapshot"] == record.snapshot
    assert report["lineage"] == {
        "night": "2026-11-21",
        "start": before,
        "origin": before,
        "dataset": small_dataset().fingerprint,
        "ratings": record.ratings,
    }
    text = (home.nights.snapshots / record.snapshot_file).read_text()
    assert json.loads(text)["digest"] == record.snapshot
    assert "telegram" not in text


def test_a_night_leaves_its_record_and_pictures_and_nothing_else(home):
    home.rate(**MANY)
    home.night()
    folder = home.nights.folder / "2026-11-21"
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert left == ["gru/gate.svg", "gru/loss.svg", "record.json"]
    [record] = home.nights.records()
    assert [run.name for run in record.phases] == list(Phase)
    assert all(run.ended >= run.begun and run.attempts == 1 for run in record.phases)
    assert home.aliases.fence == 1


def test_many_ratings_train_weights_which_go_on_trial(home):
    home.rate(**MANY)
    before = home.champion
    its = home.night().cells[Cell.GRU]
    assert (its.outcome, its.fitted, its.why) == (NightOutcome.ON_TRIAL, True, ())
    assert (home.champion, home.aliases.challenger) == (before, its.challenger)
    new = home.load(its.challenger)
    assert not same(home.load(before).weights, new.weights)
    assert new.report["start"] == before
    assert new.report["lineage"]["ratings"] == 270


def test_without_a_trial_trained_weights_are_in_service_at_once(home):
    home.rate(**MANY)
    its = home.night(plan=replace(SMALL, trial_share=0.0)).cells[Cell.GRU]
    assert (its.outcome, its.fitted) == (NightOutcome.PROMOTED, True)
    assert home.champion == its.challenger


def test_where_the_gate_refuses_all_that_was_learnt_less_of_it_is_tried(home, monkeypatch):
    """The first verdict is a no; what passes then has the same preference, but less of it."""
    seen = []

    def judge_but_once(*reports, bounds):
        seen.append(reports[1].checkpoint)
        verdict = judge(*reports, bounds=bounds)
        return verdict if len(seen) > 1 else replace(verdict, passed=False, reasons=("too bold",))

    monkeypatch.setattr(nightly, "judge", judge_but_once)
    home.rate(**FEW)
    before = home.champion
    its = home.night().cells[Cell.GRU]
    assert (its.outcome, its.strength) == (NightOutcome.PROMOTED, STRENGTHS[1])
    assert seen[0] not in (seen[1], before)
    assert home.champion == its.challenger == seen[1]


def test_where_the_gate_refuses_trained_weights_what_readers_like_is_learnt_all_the_same(
    home, monkeypatch
):
    def judge_by_weights(champion, challenger, *others, bounds):
        verdict = judge(champion, challenger, *others, bounds=bounds)
        return replace(verdict, passed=champion.nats == challenger.nats, reasons=("other weights",))

    monkeypatch.setattr(nightly, "judge", judge_by_weights)
    home.rate(**MANY)
    before = home.load(home.champion)
    its = home.night().cells[Cell.GRU]
    assert (its.outcome, its.fitted, its.trained) == (NightOutcome.PROMOTED, True, False)
    assert same(home.load(home.champion).weights, before.weights)
    assert home.load(home.champion).preference is not None
    assert home.aliases.challenger is None


def test_a_checkpoint_is_looked_at_once_and_only_asked_about_every_night(home, monkeypatch):
    looked = []

    def look_and_tell(one, *args, **more):
        looked.append(one.id)
        return look(one, *args, **more)

    monkeypatch.setattr(nightly, "look", look_and_tell)
    origin = home.champion
    for number in range(2):
        home.rate(poems=50, seed=1 + number)
        home.night(day=DAY + timedelta(days=number))
    assert looked.count(origin) == 1
    assert len(looked) == len(set(looked))


def test_without_new_ratings_nothing_is_made(home):
    home.rate(**FEW)
    home.night()
    champion = home.champion
    its = home.night(day=DAY + timedelta(days=1)).cells[Cell.GRU]
    assert (its.outcome, its.challenger) == (NightOutcome.NOTHING_NEW, None)
    assert home.champion == champion


def test_without_any_ratings_nothing_is_made(home):
    record = home.night()
    assert record.state is State.DONE
    assert record.cells[Cell.GRU].outcome is NightOutcome.NOTHING_NEW


@pytest.mark.only_by_make_faults
def test_weights_are_trained_again_only_after_a_hundred_more_ratings(home):
    home.rate(**MANY)
    home.night(plan=replace(SMALL, trial_share=0.0))
    home.rate(poems=20, seed=3)
    its = home.night(day=DAY + timedelta(days=1)).cells[Cell.GRU]
    assert not its.fitted
    home.rate(poems=30, seed=4)
    its = home.night(day=DAY + timedelta(days=2)).cells[Cell.GRU]
    assert its.fitted


@pytest.mark.only_by_make_faults
def test_all_learning_is_measured_against_where_it_began(home):
    origin = home.champion
    for number in range(2):
        home.rate(poems=50, seed=1 + number)
        home.night(day=DAY + timedelta(days=number))
    assert home.load(home.champion).report["lineage"]["origin"] == origin
    assert "origin" in home.nights.records()[-1].cells[Cell.GRU].figures


# --- trials ---------------------------------------------------------------------------------


def on_trial(home):
    """A household with a challenger on trial; the champion and the challenger."""
    home.rate(**MANY)
    return home.champion, home.night().cells[Cell.GRU].challenger


def delight(_poem, _random):
    return 1


def hear(home, checkpoint_id, *, liked, **more):
    """Let a crowd read thirty poems of a checkpoint over the coming days, and like all or none."""
    home.rate(
        checkpoint_id,
        poems=30,
        readers=CROWD,
        taste=delight if liked else disgust,
        before=datetime.now(UTC) + timedelta(days=2),
        apart=timedelta(hours=1),
        **more,
    )


def test_while_a_trial_is_undecided_both_go_on_learning_from_readers(home):
    champion, challenger = on_trial(home)
    since = home.aliases.trial_since
    home.rate(poems=40, seed=5)
    its = home.night(day=DAY + timedelta(days=1)).cells[Cell.GRU]
    assert (its.outcome, its.fitted, its.on_trial) == (NightOutcome.PROMOTED, False, challenger)
    tried, served = home.load(home.aliases.challenger), home.load(home.champion)
    assert same(tried.weights, home.load(challenger).weights)
    assert same(served.weights, home.load(champion).weights)
    assert tried.preference is not None
    assert same(tried.preference, served.preference)
    assert tried.wear == served.wear is not None
    assert home.aliases.trial_since == since


def test_a_trial_goes_on_where_there_is_nothing_new(home):
    champion, challenger = on_trial(home)
    home.night(day=DAY + timedelta(days=1))
    its = home.night(day=DAY + timedelta(days=2)).cells[Cell.GRU]
    assert its.outcome is NightOutcome.TRIAL_GOES_ON
    assert home.aliases.challenger is not None
    assert home.load(home.aliases.challenger).weights.keys() == home.load(challenger).weights.keys()
    assert same(home.load(home.champion).weights, home.load(champion).weights)


def test_votes_before_and_after_a_change_of_preference_are_of_one_trial(home):
    _, challenger = on_trial(home)
    home.rate(poems=40, seed=5)
    home.night(day=DAY + timedelta(days=1))
    later = home.aliases.challenger
    assert later != challenger
    hear(home, challenger, liked=True, seed=6)
    hear(home, later, liked=True, seed=7)
    hear(home, home.champion, liked=False, seed=8)
    its = home.night(day=DAY + timedelta(days=2)).cells[Cell.GRU]
    assert "promote" in its.trial
    assert same(home.load(its.champion).weights, home.load(challenger).weights)


@pytest.mark.parametrize("liked", [True, False])
def test_readers_decide_a_trial(home, liked):
    champion, challenger = on_trial(home)
    hear(home, challenger, liked=liked, seed=5)
    hear(home, champion, liked=not liked, seed=6)
    record = home.night(day=DAY + timedelta(days=1))
    assert home.aliases.challenger != challenger
    assert challenger in record.cells[Cell.GRU].trial
    assert ("promote" if liked else "drop") in record.cells[Cell.GRU].trial
    assert record.cells[Cell.GRU].champion == (challenger if liked else champion)


def test_a_promoted_champion_that_disappoints_is_rolled_back(home):
    before, worse = home.champion, write_model(home.registry.folder, seed=9).name
    hear(home, before, liked=True, seed=5)
    home.registry.promote(worse)
    hear(home, worse, liked=False, seed=6)
    its = home.night().cells[Cell.GRU]
    assert "rolled back" in its.trial
    assert its.champion == before


# --- one night a date, one trainer at a time --------------------------------------------------


def test_a_date_has_one_night_unless_another_is_asked_for_by_hand(home):
    assert home.night() is not None
    assert home.night() is None
    assert home.night(again=True).name == "2026-11-21.2"


def test_a_trainer_with_another_folder_knows_from_redis_that_a_date_had_its_night(home):
    home.night()
    shutil.rmtree(home.nights.folder)
    assert home.night() is None


def test_while_another_trainer_is_at_it_no_night_begins(home):
    redis = connect(home.settings)

    async def put():
        await redis.set(keys.LOCK, "another", px=60_000)
        await redis.aclose()

    asyncio.run(put())
    with pytest.raises(NoLockError, match="another"):
        home.night()
    assert home.nights.records() == []


def test_a_trainer_that_lost_its_lock_changes_nothing_and_another_goes_on(home, monkeypatch):
    home.rate(**FEW)
    before, announce = home.champion, Night._announce

    def lose_lock_and_announce(self, cell):
        monkeypatch.setattr(Night, "_announce", announce)
        check = self._check

        def lost():
            raise LockLostError("another trainer has taken over")

        self._check = lost
        try:
            announce(self, cell)
        finally:
            self._check = check

    monkeypatch.setattr(Night, "_announce", lose_lock_and_announce)
    with pytest.raises(LockLostError):
        home.night()
    assert home.champion == before
    assert home.nights.records()[0].state is State.RUNNING
    record = home.night()
    assert (record.state, record.attempts) == (State.DONE, 2)
    assert home.champion == record.cells[Cell.GRU].challenger
    done = [run for run in record.phases if run.name is not Phase.OUTCOME]
    assert [run.attempts for run in done] == [1] * len(done)


def test_a_champion_that_somebody_changed_meanwhile_stays(home, monkeypatch):
    home.rate(**FEW)
    other, examine = write_model(home.registry.folder, seed=9).name, Night._examine

    def promote_and_examine(self, cell):
        home.registry.promote(other)
        examine(self, cell)

    monkeypatch.setattr(Night, "_examine", promote_and_examine)
    its = home.night().cells[Cell.GRU]
    assert its.outcome is NightOutcome.REFUSED
    assert other in its.why[0]
    assert home.champion == other


def test_a_night_that_nobody_went_on_with_is_closed_by_the_next(home, monkeypatch):
    def die(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Night, "run", die)
    with pytest.raises(KeyboardInterrupt):
        home.night()
    monkeypatch.undo()
    monkeypatch.setenv("YUEFU_DATA", str(home.settings.data))
    home.night(day=DAY + timedelta(days=1))
    states = [record.state for record in home.nights.records()]
    assert states == [State.ABANDONED, State.DONE]


# --- what goes wrong --------------------------------------------------------------------------


def failed(home, **more):
    """A night that has to fail; its record and the one alert."""
    before = home.champion
    with capture_logs() as logs:
        record = home.night(**more)
    alerts = [line for line in logs if line["log_level"] in ("error", "critical")]
    print(
        f"fault 28: promotions {int(home.champion != before)}, alerts {len(alerts)}: {record.error}"
    )
    assert [line["action"] for line in alerts] == ["night.failed"]
    assert record.state is State.FAILED
    assert (home.champion, home.aliases.challenger) == (before, None)
    assert home.nights.records()[-1].error == record.error == alerts[0]["why"]
    return record


def reckless(**more):
    def recipe(cell, *, seed):
        return replace(small_recipe(cell, seed=seed), **more)

    return replace(SMALL, recipe=recipe)


def test_a_loss_that_is_no_number_fails_the_night(home):
    home.rate(**MANY)
    record = failed(home, plan=reckless(learning_rate=float("inf")))
    assert "loss" in record.error


def test_a_gradient_that_explodes_fails_the_night(home):
    home.rate(**MANY)
    record = failed(home, plan=reckless(learning_rate=3.0, clip=1e9))
    assert "astray" in record.error


def test_an_empty_corpus_fails_the_night(home, tmp_path):
    home.rate(**FEW)
    build([], min_count=1).save(tmp_path / "empty.npz")
    record = failed(home, pack=tmp_path / "empty.npz")
    assert "corpus" in record.error


def test_a_corpus_that_is_not_there_fails_the_night(home):
    assert "corpus" in failed(home, pack=None).error


def test_a_night_of_the_lowest_ratings_fails(home):
    home.rate(poems=60, seed=1, taste=disgust)
    record = failed(home)
    assert "180 of 180 new ratings are the lowest" in record.error


def test_another_corpus_than_the_champions_fails_the_night(home, tmp_path):
    home.rate(**FEW)
    build(by_rule(200, seed=9), min_count=3).save(tmp_path / "other.npz")
    assert "another corpus" in failed(home, pack=tmp_path / "other.npz").error


def test_a_night_that_takes_too_long_fails(home):
    home.rate(**FEW)
    assert "YUEFU_NIGHTLY_HOURS" in failed(home, plan=replace(SMALL, hours=1e-9)).error


def test_what_kills_a_night_every_time_is_not_tried_for_ever(home, monkeypatch):
    def die(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Night, "run", die)
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            home.night()
    record = failed(home)
    assert "cut off" in record.error


def test_what_goes_wrong_with_one_cell_does_not_hold_up_another(home):
    home.rate(**FEW)
    rnn = write_model(home.registry.folder, Cell.RNN, dataset=build(by_rule(300, seed=9))).name
    home.registry.promote(rnn)
    record = home.night(wanted=[Cell.RNN, Cell.GRU])
    assert record.state is State.FAILED
    outcomes = {cell: its.outcome for cell, its in record.cells.items()}
    assert outcomes == {Cell.RNN: NightOutcome.FAILED, Cell.GRU: NightOutcome.PROMOTED}


# --- the watch, the command, and what chats are told ------------------------------------------


def test_a_trainer_on_watch_runs_the_night_that_is_due_and_tells_chats(home):
    (home.nights.folder).mkdir()
    (home.nights.folder / "since").write_text(MADE.isoformat())
    watch = Watch(home.settings, wanted=[Cell.GRU], pack=pack_of(home.settings))
    with capture_logs() as logs:
        watch.look()
        watch.look()
    [record] = home.nights.records()
    assert record.state is State.DONE
    [line] = [line for line in logs if line["action"] == "night.finished"]
    assert (line["night"], line["state"]) == (record.name, State.DONE)
    assert line["outcomes"] == {Cell.GRU: NightOutcome.NOTHING_NEW}
    told = watch.gauges.registry.get_sample_value
    assert told("yuefu_nights_total", {"state": "done"}) == 1
    assert sum(told("yuefu_night_phase", {"phase": one, "cell": "gru"}) or 0 for one in Phase) == 0

    async def ask():
        redis = connect(EngineSettings())
        try:
            return await EngineClient(redis).night()
        finally:
            await redis.aclose()

    bulletin = asyncio.run(ask())
    assert (bulletin.last, bulletin.phase, bulletin.failed) == (record.name, None, False)
    assert bulletin.outcomes == {Cell.GRU: NightOutcome.NOTHING_NEW}


def test_a_trainer_that_cannot_write_says_so_once(home):
    home.settings.nights_folder.write_text("in the way")
    watch = Watch(home.settings, pack=pack_of(home.settings))
    with capture_logs() as logs:
        watch.look()
    assert [line["action"] for line in logs if line["log_level"] == "error"] == ["night.failed"]


def run_trainer(*words):
    return subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "YUEFU_NIGHTLY_THREADS": "1", "COLUMNS": "200"},
    )


def test_a_night_by_hand_prints_what_came_of_it_and_can_be_looked_up(home):
    words = ("--cell", "gru", "--data", str(pack_of(home.settings)))
    done = run_trainer("nightly", "--now", *words)
    assert done.returncode == 0, done.stderr
    assert "gru: nothing new" in done.stdout
    assert "too few ratings" in done.stdout
    listed = run_trainer("nights")
    assert "gru: nothing new" in listed.stdout
    [record] = json.loads(run_trainer("nights", "--json").stdout)
    assert record["cells"]["gru"]["outcome"] == "nothing new"


def test_a_night_by_hand_that_fails_says_why_in_one_line(home):
    done = run_trainer("nightly", "--now", "--cell", "gru", "--data", "nowhere.npz")
    assert done.returncode == 1
    assert "error: nowhere.npz is not a dataset" in done.stderr
