"""`/daily`: what follows it becomes when a chat wants its poem of the day."""

import re
from datetime import time

from bot import texts
from bot.asking import ARGUMENTS_MAX
from bot.requests import (
    DailyRequest,
    DailyShowRequest,
    DailyStopRequest,
    Refusal,
    Request,
    Situation,
    refuse,
)
from bot.wording import NUMERALS
from bot.zones import find_zone
from engine.verse.script import clean

_OFF = frozenset(("off", "stop", "none", "关", "關", "关闭", "關閉", "停", "停止", "取消", "不要"))
_AFTERNOON = {
    "中午": range(1, 4),
    "下午": range(1, 12),
    "傍晚": range(1, 12),
    # 晚上一点 is an hour after midnight.
    "晚上": range(5, 12),
    "夜里": range(5, 12),
    "夜裡": range(5, 12),
    "pm": range(1, 12),
}
"""The hours that are those of the afternoon, by what is said with them."""
_MIDNIGHT = frozenset(("凌晨", "晚上", "夜里", "夜裡", "am"))
"""With what twelve is midnight."""
_HOURS = NUMERALS | {"十一": 11, "十二": 12}
_TIME = re.compile(
    r"(?<!\S)(?:每[天日])?(?P<part>凌晨|清晨|早上|早晨|上午|中午|下午|傍晚|晚上|夜里|夜裡)?\s*"
    rf"(?P<hour>\d{{1,2}}|(?:{'|'.join(sorted(_HOURS, key=len, reverse=True))})(?=[点點时時]))"
    r"(?::(?P<minute>\d\d)|[点點时時](?:(?P<minutes>\d\d?)分?|(?P<half>半)|整|钟|鐘)?)?"
    r"\s*(?P<meridiem>am|pm)?(?=[\s\u4e00-\u9fff]|$)"
)


def read_daily_request(arguments: str, situation: Situation) -> Request:
    """What follows /daily: a time, a zone or both; `off`; nothing to see what is set."""
    text = " ".join(clean(word) for word in arguments[:ARGUMENTS_MAX].split()).casefold()
    if not text:
        return DailyShowRequest()
    if text in _OFF:
        return DailyStopRequest()
    found = _TIME.search(text)
    if found is None:
        zone = find_zone(text)
        if zone is None:
            return refuse(texts.DAILY_UNCLEAR, situation)
        return DailyRequest(at=None, zone=zone)
    at = _time_of(found)
    if at is None:
        return refuse(texts.DAILY_UNCLEAR, situation)
    return _at(at, f"{text[: found.start()]} {text[found.end() :]}".strip(), situation)


def _at(at: time, zone_name: str, situation: Situation) -> DailyRequest | Refusal:
    if not zone_name:
        return DailyRequest(at=at, zone=None)
    zone = find_zone(zone_name)
    if zone is None:
        return refuse(texts.ZONE_UNKNOWN, situation)
    return DailyRequest(at=at, zone=zone)


def _time_of(found: re.Match[str]) -> time | None:
    """The time that was found: 8:30, 8点半, 晚上八点, 8:30 pm; None if no clock shows it."""
    hour = _HOURS.get(found["hour"]) or int(found["hour"])
    minute = 30 if found["half"] else int(found["minute"] or found["minutes"] or 0)
    part = found["meridiem"] or found["part"]
    if hour == 12 and part in _MIDNIGHT:
        hour = 0
    elif part in _AFTERNOON and hour in _AFTERNOON[part]:
        hour += 12
    return time(hour, minute) if hour < 24 and minute < 60 else None
