"""Every local date has one moment at which its poem is due, whatever its clocks do."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.timetable import LATE_MAX, POSTED_MAX, Timetable, moment_of, slots_after

LONG_AGO = datetime(1980, 1, 1, tzinfo=UTC)


@st.composite
def wall_times(draw):
    """A zone, a day, mostly one about which its clocks are changed, and a time."""
    zone = ZoneInfo(draw(st.timezone_keys().filter(lambda key: "/" in key)))
    year = draw(st.integers(1990, 2037))
    noons = [datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(0, 364, 4)]
    offsets = [noon.astimezone(zone).utcoffset() for noon in noons]
    changes = [
        day for day, one, other in zip(noons, offsets, offsets[1:], strict=False) if one != other
    ]
    chosen = draw(st.sampled_from(changes or noons))
    day = (chosen + timedelta(days=draw(st.integers(0, 5)))).date()
    # Whole minutes, as people write them; clocks are changed at night.
    hour = draw(st.sampled_from((0, 1, 2, 3, 22, 23)) | st.integers(0, 23))
    return zone, day, time(hour, draw(st.integers(0, 59)))


def local(moment, zone):
    return moment.astimezone(zone).replace(tzinfo=None)


@given(wall_times())
@settings(max_examples=250, deadline=None)
def test_a_day_is_due_on_its_own_date_at_its_own_time_wherever_that_exists(drawn):
    zone, day, at = drawn
    wall, moment = datetime.combine(day, at), moment_of(day, at, zone)
    shown = [
        instant
        for fold in (0, 1)
        if local(instant := wall.replace(tzinfo=zone, fold=fold).astimezone(UTC), zone) == wall
    ]
    if moment is None:
        assert not shown
        # No hour of that date exists: it is one of those that zones left out.
        noon = datetime.combine(day, time(12), UTC)
        hours = (noon + timedelta(hours=n) for n in range(-40, 40))
        assert all(local(hour, zone).date() != day for hour in hours)
    else:
        assert local(moment, zone).date() == day
        assert moment == min(shown, default=moment)


@given(wall_times())
@settings(max_examples=100, deadline=None)
def test_days_come_one_after_the_other_and_each_once(drawn):
    zone, day, at = drawn
    start = datetime.combine(day, time(12), UTC)
    slots = slots_after(start, at, zone)
    first, *others = [next(slots) for _ in range(4)]
    assert first.moment > start
    for before, after in zip((first, *others), others, strict=False):
        assert before.day < after.day
        assert before.moment < after.moment


@pytest.mark.parametrize(
    ("key", "day", "at", "utc"),
    [
        # Spring: 02:30 is left out, 03:00 is the first moment after; autumn: the first 01:30.
        ("America/New_York", date(2026, 3, 8), time(2, 30), "2026-03-08T07:00"),
        ("America/New_York", date(2026, 11, 1), time(1, 30), "2026-11-01T05:30"),
        ("Europe/London", date(2026, 10, 25), time(1, 30), "2026-10-25T00:30"),
        # Half an hour only.
        ("Australia/Lord_Howe", date(2026, 10, 4), time(2, 15), "2026-10-03T15:30"),
        # Midnight is left out: the day begins at one.
        ("Africa/Cairo", date(2026, 4, 24), time(0, 0), "2026-04-23T22:00"),
        # The last hour of a day is left out, and what follows is the next day already.
        ("America/Scoresbysund", date(2026, 3, 28), time(23, 30), "2026-03-29T00:59"),
        ("Asia/Shanghai", date(2026, 11, 22), time(8, 0), "2026-11-22T00:00"),
    ],
)
def test_clocks_that_change_are_followed(key, day, at, utc):
    assert moment_of(day, at, ZoneInfo(key)) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_a_day_that_a_zone_left_out_has_no_poem():
    apia = ZoneInfo("Pacific/Apia")
    assert moment_of(date(2011, 12, 30), time(8), apia) is None
    start = datetime(2011, 12, 29, 10, tzinfo=UTC)
    slots = slots_after(start, time(8), apia)
    assert [next(slots).day.day for _ in range(3)] == [29, 31, 1]


# --- timetables ---

SHANGHAI = ZoneInfo("Asia/Shanghai")
DUE = datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
"""08:00 in Shanghai."""


def timetable(*, since=LONG_AGO, posted=()):
    return Timetable(at=time(8), zone=SHANGHAI, since=since, posted=posted)


@pytest.mark.parametrize(
    ("late", "day"),
    [
        (timedelta(seconds=-1), 22),
        (timedelta(0), 22),
        (LATE_MAX - timedelta(seconds=1), 22),
        (LATE_MAX, 23),
        (timedelta(hours=20), 23),
    ],
)
def test_a_poem_is_wanted_for_six_hours(late, day):
    assert timetable().next_slot(DUE + late).day == date(2026, 11, day)


def test_a_day_that_had_its_poem_gets_no_second():
    had = timetable(posted=(date(2026, 11, 22),))
    assert had.next_slot(DUE + timedelta(minutes=1)).day == date(2026, 11, 23)


def test_what_was_due_before_it_was_set_is_not_wanted():
    set_at = timetable(since=DUE + timedelta(hours=1))
    assert set_at.next_slot(DUE + timedelta(hours=1)).day == date(2026, 11, 23)


def test_a_clock_that_is_put_right_after_a_day_brings_no_day_back_and_loses_none():
    ahead = timetable().with_posted(date(2026, 11, 23))
    assert ahead.next_slot(DUE - timedelta(hours=1)).day == date(2026, 11, 22)
    both = ahead.with_posted(date(2026, 11, 22))
    assert both.next_slot(DUE).day == date(2026, 11, 24)


def test_a_timetable_that_was_set_by_a_clock_that_ran_ahead_holds_at_once():
    assert timetable(since=DUE + timedelta(days=9)).next_slot(DUE - timedelta(hours=1)).day == date(
        2026, 11, 22
    )


def test_only_the_last_days_are_remembered():
    table = timetable()
    for number in range(1, 20):
        for _ in range(2):
            table = table.with_posted(date(2026, 11, number))
    assert [day.day for day in table.posted] == list(range(20 - POSTED_MAX, 20))
