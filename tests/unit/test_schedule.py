"""When a night is due: once a local date, whatever the clocks do."""

import threading
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from trainer.schedule import due, serve
from trainer.settings import TrainerSettings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN, AUCKLAND = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Auckland")


def run_year(at, zone):
    """The dates whose night is run by a trainer that looks every three hours, in order."""
    ended: list[date] = []
    for hours in range(0, 366 * 24, 3):
        now = LONG_AGO + timedelta(hours=hours)
        day = due(now, at, zone, since=LONG_AGO, ended=ended[-4:])
        if day is not None:
            ended.append(day)
    return ended


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Auckland", "America/Santiago"])
@pytest.mark.parametrize("at", [time(0), time(2, 30), time(3, 30), time(23, 59)])
def test_every_local_date_of_a_year_has_one_night(zone, at):
    nights = run_year(at, ZoneInfo(zone))
    assert len(nights) == len(set(nights))
    whole = [nights[0] + timedelta(days=number) for number in range(len(nights))]
    assert nights == whole
    assert len(nights) in (365, 366)


def test_a_time_that_comes_twice_has_one_night():
    # Clocks in Berlin go from 03:00 back to 02:00 on 25 October 2026.
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert due(first, time(2, 30), BERLIN, since=LONG_AGO, ended=[]) == date(2026, 10, 25)
    again = first + timedelta(hours=1)
    assert again.astimezone(BERLIN).time() == time(2, 30)
    assert due(again, time(2, 30), BERLIN, since=LONG_AGO, ended=[date(2026, 10, 25)]) is None


def test_a_time_that_is_left_out_has_its_night_when_the_clock_has_jumped():
    # They go from 02:00 on to 03:00 on 29 March 2026.
    jump = datetime(2026, 3, 29, 1, tzinfo=UTC)
    ended = [date(2026, 3, 28)]
    before = jump - timedelta(seconds=1)
    assert due(before, time(2, 30), BERLIN, since=LONG_AGO, ended=ended) is None
    assert due(jump, time(2, 30), BERLIN, since=LONG_AGO, ended=ended) == date(2026, 3, 29)


def test_a_trainer_that_was_away_catches_up_with_the_latest_night_only():
    now = datetime(2026, 11, 21, 1, tzinfo=UTC)
    ended = [date(2026, 11, 17)]
    assert due(now, time(3, 30), ZoneInfo("UTC"), since=LONG_AGO, ended=ended) == date(2026, 11, 20)
    ended.append(date(2026, 11, 20))
    assert due(now, time(3, 30), ZoneInfo("UTC"), since=LONG_AGO, ended=ended) is None


def test_the_first_night_of_a_new_trainer_is_the_next_one():
    since = datetime(2026, 11, 21, 9, tzinfo=UTC)
    zone = ZoneInfo("UTC")
    assert due(since, time(3, 30), zone, since=since, ended=[]) is None
    tomorrow = datetime(2026, 11, 22, 3, 30, tzinfo=UTC)
    assert due(tomorrow, time(3, 30), zone, since=since, ended=[]) == date(2026, 11, 22)


def test_a_clock_that_was_a_day_ahead_and_is_put_right_gives_no_second_night():
    now, ended = datetime(2026, 11, 21, 4, tzinfo=UTC), [date(2026, 11, 21), date(2026, 11, 22)]
    assert due(now, time(3, 30), ZoneInfo("UTC"), since=LONG_AGO, ended=ended) is None


def test_the_service_looks_at_once_and_again_without_any_clock():
    looks, stop = [], threading.Event()

    def look():
        looks.append(threading.current_thread())
        if len(looks) == 3:
            stop.set()

    serve(look, at=time(3, 30), zone=AUCKLAND, look_s=0.01, stop=stop)
    assert looks == [threading.current_thread()] * 3


def test_the_service_is_woken_by_the_clock():
    looks, stop = [], threading.Event()

    def look():
        looks.append(datetime.now(UTC))
        if len(looks) == 2:
            stop.set()

    soon = (datetime.now(UTC) + timedelta(seconds=1.5)).replace(microsecond=0)
    serve(look, at=soon.time(), zone=ZoneInfo("UTC"), look_s=30, stop=stop)
    assert looks[1] >= soon
    assert looks[1] - looks[0] < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("YUEFU_NIGHTLY_AT", "half past three"),
        ("YUEFU_NIGHTLY_AT", "03:30+08:00"),
        ("YUEFU_NIGHTLY_ZONE", "Mars/Olympus"),
        ("YUEFU_NIGHTLY_HOURS", "0"),
        ("YUEFU_NIGHTLY_THREADS", "0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as raised:
        TrainerSettings()
    assert raised.value.errors()[0]["loc"] == (name.removeprefix("YUEFU_").lower(),)


def test_settings_are_a_time_and_a_zone(monkeypatch):
    monkeypatch.setenv("YUEFU_NIGHTLY_AT", "23:05")
    monkeypatch.setenv("YUEFU_NIGHTLY_ZONE", "Asia/Shanghai")
    settings = TrainerSettings()
    assert (settings.nightly_at, settings.nightly_zone.key) == (time(23, 5), "Asia/Shanghai")
