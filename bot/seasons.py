"""A character for the season, for the person who asks for a poem and names no opening.

The year of Chinese verse is the sun's: twenty-four solar terms, two a month. Every character here
is written the same in both scripts.
"""

from datetime import date
from random import Random

from lunar_python import Solar  # type: ignore[import-untyped]

SEASONAL: dict[str, str] = {
    "立春": "春柳梅",
    "雨水": "雨春草",
    "惊蛰": "桃雨柳",
    "春分": "花春杏",
    "清明": "清柳花",
    "谷雨": "雨花茶",
    "立夏": "夏竹山",
    "小满": "竹田水",
    "芒种": "梅雨田",
    "夏至": "荷日竹",
    "小暑": "荷江夏",
    "大暑": "水竹月",
    "立秋": "秋山月",
    "处暑": "秋江水",
    "白露": "白露秋",
    "秋分": "月秋桂",
    "寒露": "寒菊秋",
    "霜降": "霜菊山",
    "立冬": "冬山寒",
    "小雪": "雪寒江",
    "大雪": "雪松夜",
    "冬至": "冬夜梅",
    "小寒": "寒梅雪",
    "大寒": "梅雪松",
}
"""The characters of each solar term, by the term's simplified name."""


def seasonal_character(today: date, seed: int) -> str:
    """A character of the solar term that `today` falls in; the same `seed` chooses the same."""
    lunar = Solar.fromYmd(today.year, today.month, today.day).getLunar()
    # Whole days: a term holds from the start of the day on which the sun enters it.
    return Random(seed).choice(SEASONAL[lunar.getPrevJieQi(True).getName()])
