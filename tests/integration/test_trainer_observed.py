"""What a trainer tells of its nights to whoever asks by HTTP."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.bulletin import NightOutcome, Phase
from engine.jobs import Cell
from engine.settings import SettingsError
from tests.fakes.ports import free_port
from trainer.gauges import Gauges
from trainer.health import answering
from trainer.nightly import Progress
from trainer.record import CellNight, NightRecord, Nights, PhaseRun, RecordError, State
from trainer.schedule import LOOK_S
from trainer.settings import TrainerSettings

FIRST = datetime(2026, 11, 1, 3, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def nights(tmp_path):
    return Nights(tmp_path / "nights")


def keep(nights, number, state, *, ratings=0, outcome=None, challenger=None):
    """Leave a night behind."""
    begun = FIRST + timedelta(days=number)
    record = NightRecord(
        name=begun.date().isoformat(),
        day=begun.date(),
        begun=begun,
        seed=1,
        state=state,
        ratings=ratings,
        ended=None if state is State.RUNNING else begun + HOUR,
        cells={Cell.GRU: CellNight(outcome=outcome, challenger=challenger)} if outcome else {},
        phases=(PhaseRun(name=Phase.SNAPSHOT, begun=begun, ended=begun + HOUR / 2),),
    )
    folder = nights.folder / record.name
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(record.to_json())


def value(gauges, name, **labels):
    return gauges.registry.get_sample_value(f"yuefu_{name}", labels)


def test_a_trainer_that_was_started_again_tells_what_nights_left_behind(nights):
    keep(nights, 0, State.DONE, ratings=5, outcome=NightOutcome.PROMOTED, challenger="gru-1")
    keep(nights, 1, State.DONE, ratings=7, outcome=NightOutcome.NOTHING_NEW)
    keep(nights, 2, State.FAILED, ratings=9, outcome=NightOutcome.FAILED)
    keep(nights, 3, State.RUNNING)
    gauges = Gauges()
    gauges.look(nights)
    counts = [value(gauges, "nights_total", state=state) for state in State]
    assert counts == [None, 2, 1, 0]
    assert value(gauges, "challengers_total", cell="gru", outcome="promoted") == 1
    assert value(gauges, "challengers_total", cell="gru", outcome="nothing new") is None
    assert value(gauges, "night_seconds") == HOUR.total_seconds() / 2
    assert value(gauges, "night_ratings") == 9
    ends = [(FIRST + timedelta(days=day) + HOUR).timestamp() for day in (1, 2)]
    assert value(gauges, "night_last_success_timestamp_seconds") == ends[0]
    assert value(gauges, "night_last_end_timestamp_seconds") == ends[1]


def test_before_the_first_night_nothing_is_told_of_a_last_one(nights):
    gauges = Gauges()
    gauges.look(nights)
    assert value(gauges, "night_last_success_timestamp_seconds") is None
    assert value(gauges, "nights_total", state=State.DONE) == 0


def test_a_record_that_cannot_be_read_takes_nothing_away_from_what_is_known(nights):
    keep(nights, 0, State.DONE)
    gauges = Gauges()
    gauges.look(nights)
    (nights.folder / "broken").mkdir()
    (nights.folder / "broken" / "record.json").write_text("{")
    with pytest.raises(RecordError):
        gauges.look(nights)
    assert value(gauges, "nights_total", state=State.DONE) == 1


def test_a_trainer_answers_while_its_own_thread_is_busy(nights, valkey_url, monkeypatch):
    monkeypatch.setenv("YUEFU_REDIS_URL", valkey_url)
    address = f"127.0.0.1:{free_port()}"
    now_s = [0.0]
    settings = TrainerSettings(data=nights.folder.parent, listen=address, nightly_hours=1)
    gauges = Gauges(clock=lambda: now_s[0])
    with (
        answering(settings, gauges),
        httpx.Client(base_url=f"http://{address}", timeout=20) as http,
    ):
        gauges.hear(Progress(phase=Phase.FIT, cell=Cell.GRU, share=0.5))
        samples = {
            sample.labels["phase"]: sample.value
            for family in text_string_to_metric_families(http.get("/metrics").text)
            for sample in family.samples
            if family.name == "yuefu_night_phase" and sample.labels["cell"] in {"", "gru"}
        }
        assert samples == {phase.value: int(phase is Phase.FIT) for phase in Phase}
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"nights": True, "redis": True})
        now_s[0] += 3600 + LOOK_S
        assert http.get("/healthz").status_code == 200
        now_s[0] += 2 * LOOK_S
        assert http.get("/healthz").status_code == 503
        gauges.rest()
        assert http.get("/healthz").json() == {"nights": True}


def test_a_trainer_that_is_not_asked_to_answers_nowhere(tmp_path):
    # It has no Redis to reach, and needs none.
    with answering(TrainerSettings(data=tmp_path), Gauges()):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_that_are_to_answer_at_one_address_are_told_so(tmp_path, valkey_url):
    settings = TrainerSettings(
        data=tmp_path, redis_url=valkey_url, listen=f"127.0.0.1:{free_port()}"
    )
    with (
        answering(settings, Gauges()),
        pytest.raises(SettingsError, match="YUEFU_LISTEN"),
        answering(settings, Gauges()),
    ):
        pass
