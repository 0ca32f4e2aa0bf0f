"""`/daily` takes times and zones as people write them, and says what is wrong with the others."""

from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import texts
from bot.language import Language
from bot.requests import (
    DailyRequest,
    DailyShowRequest,
    DailyStopRequest,
    Refusal,
    Role,
    Situation,
    role_for,
)
from bot.scheduling import read_daily_request
from bot.settings import BotSettings
from bot.style import Style
from bot.zones import find_zone, zone_title

SITUATION = Situation(
    language=Language.EN, style=Style(), cells=frozenset(), today=date(2026, 11, 22), seed=1
)


def read(arguments):
    return read_daily_request(arguments, SITUATION)


@pytest.mark.parametrize(
    ("written", "at"),
    [
        ("08:00", time(8)),
        ("8:05", time(8, 5)),
        ("８：３０", time(8, 30)),
        ("8", time(8)),
        ("0:00", time(0)),
        ("23:59", time(23, 59)),
        ("8点", time(8)),
        ("8點半", time(8, 30)),
        ("8点15分", time(8, 15)),
        ("八点", time(8)),
        ("十二点", time(12)),
        ("每天早上八点半", time(8, 30)),
        ("晚上8点", time(20)),
        ("晚上十点", time(22)),
        ("晚上12点", time(0)),
        ("夜里两点", time(2)),
        ("凌晨1点", time(1)),
        ("下午3:20", time(15, 20)),
        ("中午12点", time(12)),
        ("中午11点半", time(11, 30)),
        ("中午1点", time(13)),
        ("8 am", time(8)),
        ("12am", time(0)),
        ("12pm", time(12)),
        ("8:30PM", time(20, 30)),
    ],
)
def test_times_are_read_as_people_write_them(written, at):
    assert read(written) == DailyRequest(at=at, zone=None)


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("Asia/Shanghai", "Asia/Shanghai"),
        ("asia/shanghai", "Asia/Shanghai"),
        ("上海", "Asia/Shanghai"),
        ("中國", "Asia/Shanghai"),
        ("臺北", "Asia/Taipei"),
        ("香港", "Asia/Hong_Kong"),
        ("Tokyo", "Asia/Tokyo"),
        ("New York", "America/New_York"),
        ("San Francisco", "America/Los_Angeles"),
        ("UTC", "UTC"),
        ("UTC+8", "Etc/GMT-8"),
        ("utc +08:00", "Etc/GMT-8"),
        ("GMT-3", "Etc/GMT+3"),
    ],
)
def test_zones_are_known_by_many_names_before_and_behind_the_time(written, zone):
    assert read(f"08:00 {written}") == DailyRequest(at=time(8), zone=zone)
    assert read(f"{written} 08:00") == DailyRequest(at=time(8), zone=zone)
    assert read(written) == DailyRequest(at=None, zone=zone)


def test_a_chinese_zone_needs_no_space():
    assert read("8:00上海") == DailyRequest(at=time(8), zone="Asia/Shanghai")


@pytest.mark.parametrize("written", ["off", "OFF", "关", "停", "取消"])
def test_it_can_be_ended(written):
    assert read(written) == DailyStopRequest()


def test_only_those_who_run_the_chat_may_change_it():
    assert role_for(read("8:00")) is role_for(read("off")) is Role.ADMIN
    assert read("  ") == DailyShowRequest()
    assert role_for(read("")) is Role.ANYONE


@pytest.mark.parametrize(
    ("written", "refusal"),
    [
        *(
            (bad, texts.DAILY_UNCLEAR)
            for bad in ("24:00", "25", "8:60", "13点70", "soon", "８００")
        ),
        *(
            (f"8:00 {bad}", texts.ZONE_UNKNOWN)
            for bad in ("Mars", "../etc/passwd", "UTC+99", "9:00")
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(written, refusal):
    assert read(written) == Refusal(text=refusal.say(Language.EN))


@given(st.text(max_size=300))
def test_anything_at_all_is_understood_or_refused(written):
    read(written)


def test_zones_of_whole_hours_are_shown_as_people_write_them():
    assert [zone_title(find_zone(name) or "") for name in ("UTC+8", "GMT-11", "tokyo")] == [
        "UTC+8",
        "UTC-11",
        "Asia/Tokyo",
    ]


def test_the_setting_takes_any_name_of_a_zone_and_no_other():
    assert BotSettings(zone="台北").zone == "Asia/Taipei"
    with pytest.raises(ValueError, match="a time zone looks like"):
        BotSettings(zone="Mars")
