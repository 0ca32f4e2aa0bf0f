"""What a day is in the Chinese year, and characters that a poem of it may begin with.

The year of Chinese verse is the sun's, in twenty-four solar terms, two a month; its festivals are
the moon's. Every character for an opening is written the same in both scripts, and may begin a poem
of any form.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from random import Random

from lunar_python import Lunar, Solar  # type: ignore[import-untyped]

from bot.language import Language
from bot.texts import Text


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """A festival, or a solar term."""

    name: Text
    """What people call it."""
    openings: str
    """Characters that its poems may begin with."""
    theme: str = ""
    """Characters that say what its poems are about, in traditional script; may be empty."""


def _term(name: str, openings: str, english: str, *, traditional: str = "") -> Occasion:
    text = Text(zh=name, zh_hant=traditional or name, en=f"{english} ({name})")
    return Occasion(name=text, openings=openings)


def _festival(
    name: str, openings: str, english: str, *, theme: str = "", traditional: str = ""
) -> Occasion:
    text = Text(zh=name, zh_hant=traditional or name, en=f"{english} ({name})")
    return Occasion(name=text, openings=openings, theme=theme)


TERMS: dict[str, Occasion] = {
    occasion.name.zh: occasion
    for occasion in (
        _term("立春", "春柳梅", "Start of Spring"),
        _term("雨水", "雨春草", "Rain Water"),
        _term("惊蛰", "桃雨柳", "Awakening of Insects", traditional="驚蟄"),
        _term("春分", "花春杏", "Spring Equinox"),
        _term("清明", "清柳花", "Qingming"),
        _term("谷雨", "雨花茶", "Grain Rain", traditional="穀雨"),
        _term("立夏", "夏竹山", "Start of Summer"),
        _term("小满", "竹田水", "Grain Buds", traditional="小滿"),
        _term("芒种", "梅雨田", "Grain in Ear", traditional="芒種"),
        _term("夏至", "荷日竹", "Summer Solstice"),
        _term("小暑", "荷江夏", "Minor Heat"),
        _term("大暑", "水竹月", "Major Heat"),
        _term("立秋", "秋山月", "Start of Autumn"),
        _term("处暑", "秋江水", "End of Heat", traditional="處暑"),
        _term("白露", "白露秋", "White Dew"),
        _term("秋分", "月秋桂", "Autumn Equinox"),
        _term("寒露", "寒菊秋", "Cold Dew"),
        _term("霜降", "霜菊山", "Frost's Descent"),
        _term("立冬", "冬山寒", "Start of Winter"),
        _term("小雪", "雪寒江", "Minor Snow"),
        _term("大雪", "雪松夜", "Major Snow"),
        _term("冬至", "冬夜梅", "Winter Solstice"),
        _term("小寒", "寒梅雪", "Minor Cold"),
        _term("大寒", "梅雪松", "Major Cold"),
    )
}
"""The solar terms, by their simplified names."""

FESTIVALS: dict[str, Occasion] = {
    "元旦节": _festival("元旦", "新日天", "New Year's Day", theme="新年"),
    "春节": _festival("春节", "春新梅", "Spring Festival", theme="元日春風", traditional="春節"),
    "元宵节": _festival("元宵", "月火夜", "Lantern Festival", theme="燈月"),
    "龙头节": _festival("龙抬头", "春雨田", "Dragon Raises Its Head", traditional="龍抬頭"),
    "上巳节": _festival("上巳", "水春柳", "Double Third", theme="曲水流觴"),
    "寒食节": _festival("寒食", "寒春花", "Cold Food Festival", theme="春城飛花"),
    "端午节": _festival("端午", "江水楚", "Dragon Boat Festival", theme="楚江"),
    "七夕节": _festival("七夕", "星河秋", "Double Seventh", theme="織女星河"),
    "中元节": _festival("中元", "月秋水", "Ghost Festival", theme="秋夜"),
    "中秋节": _festival("中秋", "月桂明", "Mid-Autumn Festival", theme="明月"),
    "重阳节": _festival("重阳", "菊九登", "Double Ninth", theme="登高菊", traditional="重陽"),
    "腊八节": _festival("腊八", "寒雪梅", "Laba Festival", theme="歲寒", traditional="臘八"),
    "除夕": _festival("除夕", "夜今明", "Lunar New Year's Eve", theme="守歲"),
}
"""The festivals that poets wrote about, by the names under which the calendar knows them."""


_TRADITIONAL_DATES = str.maketrans("闰腊", "閏臘")


def seasonal_character(today: date, seed: int) -> str:
    """A character of the solar term that `today` falls in; the same `seed` chooses the same."""
    # Whole days: a term holds from the start of the day on which the sun enters it.
    term = _lunar(today).getPrevJieQi(True).getName()
    return Random(seed).choice(TERMS[term].openings)


# Many chats have the same day, and the calendar takes some ms to tell.
@lru_cache(maxsize=16)
def occasion_of(day: date) -> Occasion | None:
    """What `day` itself is: a festival, else a solar term that begins on it, else nothing."""
    lunar = _lunar(day)
    named = {*lunar.getFestivals(), *lunar.getOtherFestivals(), *lunar.getSolar().getFestivals()}
    for name, festival in FESTIVALS.items():
        if name in named:
            return festival
    return TERMS.get(lunar.getJieQi())


def day_name(day: date, language: Language) -> str:
    """What `day` is called: its festival, its solar term, or its date; in Chinese the moon's."""
    occasion = occasion_of(day)
    if occasion is not None:
        return occasion.name.say(language)
    if language is Language.EN:
        return f"{day.day} {day:%B}"
    lunar = _lunar(day)
    name = f"{lunar.getMonthInChinese()}月{lunar.getDayInChinese()}"
    return name.translate(_TRADITIONAL_DATES) if language is Language.ZH_HANT else name


@lru_cache(maxsize=16)
def _lunar(day: date) -> Lunar:
    return Solar.fromYmd(day.year, day.month, day.day).getLunar()
