"""The registry: who serves, who is on trial, and that nobody swaps on stale knowledge."""

import json
import multiprocessing
import time
from datetime import UTC, datetime
from functools import partial

import pytest

from engine.errors import DamagedError
from engine.gauges import Gauges
from engine.jobs import Cell
from engine.registry import Aliases, NoModelError, Registry, StaleAliasError
from engine.reload import Casting
from engine.routes import Lineup, is_tried
from engine.settings import EngineSettings, SettingsError, load_settings
from engine.writer import Writer
from tests.fakes.models import small_dataset, write_model


@pytest.fixture
def registry(tmp_path):
    """A registry of three gru checkpoints behind which an lstm one is bundled."""
    found = Registry(tmp_path / "models", bundled=tmp_path / "bundled")
    data = small_dataset()
    for seed in (1, 2, 3):
        write_model(found.folder, seed=seed, dataset=data)
    write_model(found.bundled, Cell.LSTM, dataset=data)
    return found


def gru_ids(registry):
    return [path.name for path in registry.checkpoints() if path.name.startswith("gru")]


def damage(registry, checkpoint):
    with (registry.folder / checkpoint / "weights.safetensors").open("r+b") as file:
        file.seek(200)
        file.write(b"\xff")


# --- aliases ---


def test_old_checkpoints_are_retired_but_none_that_has_a_role_or_is_to_be_kept(registry):
    data = small_dataset()
    for seed in range(4, 9):
        write_model(registry.folder, seed=seed, dataset=data)
    names = gru_ids(registry)
    champion, challenger, kept, *others = names
    registry.promote(champion)
    registry.challenge(challenger)
    assert registry.retire(Cell.GRU, keep={kept}, newest=2) == others[:-2]
    assert gru_ids(registry) == [champion, challenger, kept, *others[-2:]]
    assert registry.champion(Cell.LSTM).is_dir()
    assert registry.retire(Cell.GRU, keep={kept}, newest=2) == []


def test_one_that_stands_in_for_a_challenger_goes_on_with_its_trial(registry):
    first, second, third = gru_ids(registry)
    registry.promote(first)
    registry.challenge(second)
    registry.challenge(third, since="2026-01-01T00:00:00+00:00")
    aliases = registry.aliases(Cell.GRU)
    assert (aliases.challenger, aliases.trial_since) == (third, "2026-01-01T00:00:00+00:00")


def test_a_cell_without_a_champion_is_served_by_the_bundled_one(registry):
    assert registry.champion(Cell.LSTM).parent == registry.bundled
    with pytest.raises(NoModelError, match="installed: lstm"):
        registry.champion(Cell.GRU)


def test_promotion_and_rollback_swap_champion_and_previous(registry):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.promote(second, expected=first)
    assert registry.aliases(Cell.GRU) == Aliases(champion=second, previous=first)
    assert registry.previous(Cell.GRU).name == first
    assert registry.rollback(Cell.GRU, expected=second) == first
    assert registry.aliases(Cell.GRU) == Aliases(champion=first, previous=second)


def test_to_promote_the_champion_again_keeps_what_a_rollback_brings_back(registry):
    first, second, _ = gru_ids(registry)
    for checkpoint in (first, second, second):
        registry.promote(checkpoint)
    assert registry.rollback(Cell.GRU) == first


def test_what_was_bundled_can_be_gone_back_to(registry):
    bundled = registry.champion(Cell.LSTM).name
    trained = write_model(registry.folder, Cell.LSTM, seed=7).name
    registry.promote(trained, expected=bundled)
    assert registry.rollback(Cell.LSTM) == bundled


def test_changes_on_stale_knowledge_are_refused(registry):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    for change in (
        partial(registry.promote, second),
        partial(registry.challenge, second),
        partial(registry.rollback, Cell.GRU),
    ):
        with pytest.raises(StaleAliasError, match="not gru-another"):
            change(expected="gru-another")
    assert registry.aliases(Cell.GRU) == Aliases(champion=first)


def test_who_lost_the_lock_to_another_changes_nothing_any_more(registry):
    first, second, third = gru_ids(registry)
    registry.promote(first)
    registry.promote(second, fence=7)
    before = registry.aliases(Cell.GRU)
    for change in (
        partial(registry.promote, third),
        partial(registry.challenge, third),
        partial(registry.rollback, Cell.GRU),
        partial(registry.drop_challenger, Cell.GRU),
    ):
        with pytest.raises(StaleAliasError, match="6 is behind 7"):
            change(fence=6)
    assert registry.aliases(Cell.GRU) == before
    # By hand there is no lock, and the number seen stays.
    registry.rollback(Cell.GRU)
    registry.challenge(third, fence=7)
    assert registry.aliases(Cell.GRU).fence == 7


def test_what_is_not_there_gets_no_role(registry):
    nowhere = "gru-20200101T000000Z-00000000"
    for change in (registry.promote, registry.challenge):
        with pytest.raises(NoModelError):
            change(nowhere)
        with pytest.raises(NoModelError):
            change(f"../models/{gru_ids(registry)[0]}")
    with pytest.raises(NoModelError, match="no previous"):
        registry.rollback(Cell.GRU)


def test_a_challenger_is_noted_and_stops_being_one_when_promoted(registry):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.challenge(second, expected=first)
    noted = registry.aliases(Cell.GRU)
    assert noted.challenger == second
    assert noted.trial_since is not None
    age = datetime.now(UTC) - datetime.fromisoformat(noted.trial_since)
    assert 0 <= age.total_seconds() < 60
    assert registry.challenger(Cell.GRU) == registry.folder / second
    registry.promote(second)
    assert registry.aliases(Cell.GRU) == Aliases(champion=second, previous=first)


def test_a_trial_that_is_begun_again_goes_on(registry, monkeypatch):
    first, second, third = gru_ids(registry)
    registry.promote(first)
    registry.challenge(second)
    path = registry.folder / "gru.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"trial_since": "2026-01-01T00:00:00+00:00"}))
    registry.challenge(second)
    assert registry.aliases(Cell.GRU).trial_since == "2026-01-01T00:00:00+00:00"
    registry.challenge(third)
    assert registry.aliases(Cell.GRU).trial_since > "2026-01-01T00:00:00+00:00"


def test_a_trial_can_be_ended_and_the_champion_never_is_on_one(registry):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.challenge(second)
    registry.drop_challenger(Cell.GRU)
    assert registry.aliases(Cell.GRU) == Aliases(champion=first)
    assert registry.challenger(Cell.GRU) is None
    with pytest.raises(StaleAliasError, match="champion already"):
        registry.challenge(first)
    registry.promote(second)
    registry.challenge(first)
    registry.rollback(Cell.GRU)
    assert registry.aliases(Cell.GRU) == Aliases(champion=first, previous=second)


def test_aliases_of_other_versions_are_read(registry):
    path = registry.folder / "gru.json"
    path.write_text('{"champion": "a", "challenger": null, "previous": "b"}')
    assert registry.aliases(Cell.GRU) == Aliases(champion="a", previous="b")
    path.write_text('{"champion": "a", "fence": 3, "of a later version": true}')
    assert registry.aliases(Cell.GRU) == Aliases(champion="a", fence=3)


@pytest.mark.parametrize("text", ["", "{", "[]", "7"])
def test_aliases_that_cannot_be_read_are_said_to_be_damaged(registry, text):
    (registry.folder / "gru.json").write_text(text)
    with pytest.raises(DamagedError, match=r"gru\.json"):
        registry.aliases(Cell.GRU)


# --- many at once ---


def _contend(folder, pair, fences, barrier, swaps):
    """Promote whichever of two is not champion, once under each fence, until one is refused."""
    registry = Registry(folder, bundled=folder)
    found: list[tuple[int, str, int, int]] = []
    barrier.wait(50)
    while len(found) < len(fences):
        fence = fences[len(found)]
        was = registry.champion(Cell.GRU).name
        other = pair[was == pair[0]]
        began = time.monotonic_ns()
        try:
            registry.promote(other, expected=was, fence=fence)
        except StaleAliasError as error:
            if "behind" in str(error):
                break
        else:
            found.append((fence, was, began, time.monotonic_ns()))
    swaps.put(found)


def test_of_processes_at_once_each_swap_is_by_one_that_knew_the_champion(registry):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    context = multiprocessing.get_context("spawn")
    barrier, swaps = context.Barrier(2), context.Queue()
    # The second one takes the lock over after a while; the first has not noticed.
    processes = [
        context.Process(
            target=_contend, args=(registry.folder, (first, second), fences, barrier, swaps)
        )
        for fences in ([1] * 200, [1] * 50 + [2] * 50)
    ]
    for process in processes:
        process.start()
    found = [swap for _ in processes for swap in swaps.get(timeout=50)]
    for process in processes:
        process.join()
    # Had two swapped the same champion away, there would be more of one kind than of the other.
    away, back = (sum(was == one for _, was, _, _ in found) for one in (first, second))
    taken_over = min(end for fence, _, _, end in found if fence == 2)
    late = sum(fence == 1 and began > taken_over for fence, _, began, _ in found)
    print(f"swaps there {away}, back {back}; by who was fenced off {late}")
    assert away - back == (registry.champion(Cell.GRU).name == second)
    assert late == 0
    assert 100 <= len(found) < 300
    assert registry.aliases(Cell.GRU).fence == 2


# --- who is loaded ---


@pytest.fixture
def casting(registry):
    return Casting(registry, partial(Writer, slots=1), trial_share=0.25, reloads=Gauges().reloads)


def ids(lineups):
    return {
        cell: (lineup.champion.checkpoint.id, lineup.challenger and lineup.challenger.checkpoint.id)
        for cell, lineup in lineups.items()
    }


def test_champion_and_challenger_of_every_cell_are_loaded(registry, casting):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.challenge(second)
    lineups = casting.cast({})
    assert ids(lineups) == {
        Cell.GRU: (first, second),
        Cell.LSTM: (registry.champion(Cell.LSTM).name, None),
    }
    assert lineups[Cell.GRU].share == 0.25


def test_who_is_loaded_is_not_loaded_again(registry, casting):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.challenge(second)
    before = casting.cast({})
    assert casting.cast(before) == before
    registry.promote(second)
    after = casting.cast(before)
    assert after[Cell.GRU].champion is before[Cell.GRU].challenger
    assert after[Cell.GRU].challenger is None
    assert after[Cell.LSTM] == before[Cell.LSTM]


def test_a_damaged_champion_is_refused_once_and_the_previous_one_served(registry, casting, capsys):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.promote(second)
    damage(registry, second)
    lineups = casting.cast({})
    for _ in range(3):
        lineups = casting.cast(lineups)
    assert ids(lineups)[Cell.GRU] == (first, None)
    said = capsys.readouterr().out
    assert said.count("checkpoint.refused") == said.count("sha256") == 1


def test_where_all_that_is_named_is_damaged_the_one_in_service_stays(registry, casting):
    first, second, third = gru_ids(registry)
    registry.promote(first)
    before = casting.cast({})
    for checkpoint in (second, third):
        damage(registry, checkpoint)
        registry.promote(checkpoint)
    assert casting.cast(before)[Cell.GRU] == before[Cell.GRU]
    (registry.folder / "gru.json").write_text("{")
    assert casting.cast(before) == before


def test_a_damaged_challenger_is_not_tried(registry, casting, capsys):
    first, second, third = gru_ids(registry)
    registry.promote(first)
    for bad in (second, third):
        registry.challenge(bad)
        damage(registry, bad)
        assert ids(casting.cast({}))[Cell.GRU] == (first, None)
    assert capsys.readouterr().out.count("checkpoint.refused") == 2


def test_a_checkpoint_that_comes_after_its_alias_is_loaded_when_it_comes(registry, casting):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.promote(second)
    (registry.folder / second).rename(registry.folder / "elsewhere")
    lineups = casting.cast({})
    assert ids(lineups)[Cell.GRU] == (first, None)
    (registry.folder / "elsewhere").rename(registry.folder / second)
    assert ids(casting.cast(lineups))[Cell.GRU] == (second, None)


def test_a_checkpoint_that_was_mended_is_loaded_when_the_engine_is_told_to(registry, casting):
    first, second, _ = gru_ids(registry)
    registry.promote(first)
    registry.promote(second)
    weights = registry.folder / second / "weights.safetensors"
    sound = weights.read_bytes()
    damage(registry, second)
    lineups = casting.cast({})
    weights.write_bytes(sound)
    assert ids(casting.cast(lineups))[Cell.GRU] == (first, None)
    casting.forgive()
    assert ids(casting.cast(lineups))[Cell.GRU] == (second, None)


# --- who writes a job ---

JOBS = [f"tg:{1_000_000 + number}" for number in range(10_000)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_challenger_writes_its_share(share):
    lineup = Lineup(champion="champion", challenger="challenger", share=share)
    tried = sum(lineup.choose(job) == "challenger" for job in JOBS)
    print(f"share {share}: {tried} of {len(JOBS)}")
    # Four standard deviations.
    assert abs(tried - share * len(JOBS)) <= 4 * (share * (1 - share) * len(JOBS)) ** 0.5


def test_the_same_job_goes_to_the_same_model_again_and_in_every_process():
    lineup = Lineup(champion=1, challenger=2, share=0.1)
    assert [lineup.choose(job) for job in JOBS] == [lineup.choose(job) for job in JOBS]
    # Not Python's own hash, which differs between processes.
    assert [job for job in JOBS[:40] if is_tried(job, 0.1)] == ["tg:1000019"]
    assert is_tried("\ud800", 1.0)


def test_who_had_a_job_at_a_small_share_has_it_at_a_larger_one():
    assert all(is_tried(job, 0.3) for job in JOBS if is_tried(job, 0.1))


def test_a_challenger_never_writes_more_than_half(monkeypatch):
    assert load_settings(EngineSettings).trial_share == 0.1
    monkeypatch.setenv("YUEFU_TRIAL_SHARE", "0.6")
    with pytest.raises(SettingsError, match="YUEFU_TRIAL_SHARE"):
        load_settings(EngineSettings)


def test_without_a_challenger_the_champion_writes_all():
    lineup = Lineup(champion="champion", share=0.5)
    assert {lineup.choose(job) for job in JOBS} == {"champion"}
