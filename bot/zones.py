"""Time zones by the names that people give them."""

import re
from functools import cache
from zoneinfo import available_timezones

from engine.verse.script import clean, fold

_FRIENDLY = {
    "Asia/Shanghai": "上海 北京 广州 深圳 成都 重庆 武汉 西安 中国 大陆 东八区 beijing china",
    "Asia/Urumqi": "乌鲁木齐 新疆",
    "Asia/Hong_Kong": "香港 hkt",
    "Asia/Macau": "澳门",
    "Asia/Taipei": "台北 臺北 台湾 臺灣 taiwan",
    "Asia/Tokyo": "东京 大阪 日本 jst",
    "Asia/Seoul": "首尔 汉城 韩国 korea kst",
    "Asia/Singapore": "新加坡 狮城 sgt",
    "Asia/Kuala_Lumpur": "吉隆坡 马来西亚 malaysia",
    "Asia/Bangkok": "曼谷 泰国 thailand",
    "Asia/Ho_Chi_Minh": "胡志明市 越南 河内 hanoi vietnam",
    "Asia/Jakarta": "雅加达",
    "Asia/Manila": "马尼拉",
    "Asia/Kolkata": "印度 德里 孟买 india delhi mumbai",
    "Asia/Dubai": "迪拜",
    "Australia/Sydney": "悉尼 雪梨",
    "Australia/Melbourne": "墨尔本",
    "Pacific/Auckland": "奥克兰 新西兰",
    "Europe/London": "伦敦 英国 uk england",
    "Europe/Paris": "巴黎 法国 france",
    "Europe/Berlin": "柏林 德国 germany munich hamburg",
    "Europe/Rome": "罗马",
    "Europe/Madrid": "马德里",
    "Europe/Amsterdam": "阿姆斯特丹",
    "Europe/Zurich": "苏黎世 zürich",
    "Europe/Moscow": "莫斯科",
    "America/New_York": "纽约 波士顿 华盛顿 boston washington",
    "America/Chicago": "芝加哥",
    "America/Los_Angeles": "洛杉矶 旧金山 西雅图 硅谷 san_francisco seattle",
    "America/Toronto": "多伦多",
    "America/Vancouver": "温哥华",
    "America/Sao_Paulo": "圣保罗",
}
"""Names that are not those of the zone or of its city, by the zone; with _ for a space."""

NAME_MAX = 64
"""Characters of a name that are looked at: more than any zone's has."""

# In the folder of many a system beside the zones.
_NO_ZONES = frozenset({"Factory", "localtime"})
_REGIONS = frozenset({"Brazil", "Canada", "Chile", "Etc", "Mexico", "US"})
"""What stands before names that are not those of a city: US/Central, Etc/GMT-8."""
_FROM_UTC = {f"Etc/GMT{-hours:+d}": f"UTC{hours:+d}" for hours in range(-12, 15) if hours}
"""What zones of whole hours are called; the sign of their own names is the other way round."""
_OFFSET = re.compile(r"(?:utc|gmt)?_?([+-])0?(\d{1,2})(?::?00)?")


def find_zone(name: str) -> str | None:
    """The IANA name of the zone that `name` means: Asia/Tokyo, tokyo, 东京, UTC+9; None if none."""
    key = _key(name[:NAME_MAX])
    offset = _OFFSET.fullmatch(key)
    return _zones().get(f"utc{offset[1]}{offset[2]}" if offset else key)


def zone_title(zone: str) -> str:
    """A zone as people read it."""
    return _FROM_UTC.get(zone, zone)


@cache
def _zones() -> dict[str, str]:
    """Every zone by every name for it."""
    names = sorted(available_timezones() - _NO_ZONES)
    cities = [name for name in names if "/" in name and name.partition("/")[0] not in _REGIONS]
    return (
        {_key(city.rpartition("/")[2]): city for city in cities}
        | {_key(name): name for name in names}
        | {_key(title): name for name, title in _FROM_UTC.items()}
        | {"utc+0": "UTC", "utc-0": "UTC"}
        | {_key(name): zone for zone, friendly in _FRIENDLY.items() for name in friendly.split()}
    )


def _key(name: str) -> str:
    """A name without what people write this way or that."""
    return "".join(map(fold, "_".join(clean(name).split()))).casefold()
