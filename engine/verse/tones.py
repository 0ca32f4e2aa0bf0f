"""Tone class and rhyme group of every character, with all its readings.

The readings are those of 廣韻 (by `tshet_uinh`), the dictionary behind the rhymes of Tang verse,
never those of modern Mandarin: 月 is oblique and 看 is either. A character with several readings
satisfies a rule if any of them does. Folding (`script.fold`) unites glyphs, so 間 and 閒 share
readings; characters that 廣韻 lacks or writes otherwise stand in a small table below.
"""

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property

from tshet_uinh import 資料
from tshet_uinh.壓縮表示 import decode音韻編碼

from engine.verse.rhymes import RHYME_GROUPS, group_of_heading
from engine.verse.script import fold, traditional


class Tone(StrEnum):
    """The two tone classes of verse: `level` is 平; `oblique` is 上, 去 and 入 (仄)."""

    LEVEL = "level"
    OBLIQUE = "oblique"


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What the readings of one character allow."""

    tones: frozenset[Tone]
    """The tone classes it can have; both, for a polyphone; none, for a character not known."""
    rhymes: frozenset[str]
    """The level groups it can rhyme in; empty unless it has a level reading."""

    @property
    def known(self) -> bool:
        """Whether any reading is known."""
        return bool(self.tones)

    @cached_property
    def only(self) -> Tone | None:
        """The one tone class it can have; None where it can have both, or is not known."""
        return next(iter(self.tones)) if len(self.tones) == 1 else None

    @cached_property
    def mark(self) -> str:
        """平, 仄, 中 where both tone classes are possible, ？ where none is known."""
        if not self.known:
            return "？"
        return {None: "中", Tone.LEVEL: "平", Tone.OBLIQUE: "仄"}[self.only]

    def admits(self, tone: Tone | None) -> bool:
        """Whether the character may stand where `tone` is wanted (None: anything).

        A character whose readings are not known is given the benefit of the doubt.
        """
        return tone is None or not self.tones or tone in self.tones


_UNKNOWN = Readings(tones=frozenset(), rhymes=frozenset())

# Level readings, by group, of characters that 廣韻 lacks under any glyph we fold together.
_LEVEL_SUPPLEMENT = (
    "刪:間潺 江:窗 元:魂崙崑髡 冬:胸笻筇榕 東:匆朣 蕭:瀟飈飆嶤徭 庚:鶑鶯烹撐餳羹赬籯綳繃 "
    "支:棋茲髭迤搘醾卮緡箎鷀鶿鷥毘毗瓷甆攲羈 先:聯鎸鐫臙磚甎壖氈惓 寒:鞍韓團 虞:鳧蝴摹葡圩糢模 "
    "文:裙 豪:皋淘翺翱 尤:勾琉讎 鹽:奩忺籤 齊:齏虀鶗暌睽瞇 歌:蓑簑窩柁婀 魚:樗驢祛葅輿 "
    "灰:腮迴頹胚榿 蒸:姮 陽:嫦 真:瀕緡 覃:薝耽 麻:撾爺賒窪揶蟆 青:婷 咸:銜"
)
# The same for characters with an oblique reading; those in both tables are polyphones.
_OBLIQUE_SUPPLEMENT = (
    "間劍樣煮鬱鬥脈儘湧決皓裊槁緲剎匝鬧拆灩做潑享煉托倘旆熳嗅罕稿撒壟搗焙殼漱滾磵吊柿碗蒂玳你"
    "罵繡冗鶺鶒耗覷蘗炯褪蠹憩叫麯賺倆拽簌肇孽婿趁嚙憗館闃嘴廁準斸卻桿蚋噀廄斝糵獎秕倏槖橐輒撇"
    "觫颶鬢鱉嘿阨瑙咒茉篛扼桕橛歘怎脅釜冪迤柁嶄斲鬣囓辣煅溯漩"
)


@cache
def _known_readings() -> dict[str, Readings]:
    """Readings by folded character, from 廣韻 and the supplement."""
    tones: defaultdict[str, set[Tone]] = defaultdict(set)
    rhymes: defaultdict[str, set[str]] = defaultdict(set)
    for glyph, records in 資料.m字頭檢索.items():
        char = fold(glyph)
        for record in records:
            place = decode音韻編碼(record.編碼)
            if place.聲 == "平":
                tones[char].add(Tone.LEVEL)
                # A few late level readings stand under headings no level rhyme book has (祭).
                if (group := group_of_heading(place.韻)) is not None:
                    rhymes[char].add(group)
            else:
                tones[char].add(Tone.OBLIQUE)
    for entry in _LEVEL_SUPPLEMENT.split():
        group, _, chars = entry.partition(":")
        for char in map(fold, chars):
            tones[char].add(Tone.LEVEL)
            rhymes[char].add(group)
    for char in map(fold, _OBLIQUE_SUPPLEMENT):
        tones[char].add(Tone.OBLIQUE)
    return {
        char: Readings(tones=frozenset(tones[char]), rhymes=frozenset(rhymes[char]))
        for char in tones
    }


@cache
def readings(char: str) -> Readings:
    """Every reading of the glyph `char`, in either script; `known` is False where there is none."""
    known = _known_readings()
    found = [known[candidate] for candidate in traditional(char) if candidate in known]
    if not found:
        return _UNKNOWN
    return Readings(
        tones=frozenset().union(*(entry.tones for entry in found)),
        rhymes=frozenset().union(*(entry.rhymes for entry in found)),
    )


def rhyme_group_named(name: str) -> str | None:
    """The group that `name` names by its head character (東, 东) or None."""
    return (
        next((char for char in traditional(name) if char in RHYME_GROUPS), None) if name else None
    )


def rhyme_groups_for(word: str) -> tuple[str, ...]:
    """The groups that `word` asks for: the one it names, else those that the character rhymes in.

    A word that is no single character, or one without a level reading, asks for none.
    """
    if len(word) != 1:
        return ()
    named = rhyme_group_named(word)
    if named is not None:
        return (named,)
    rhymes = readings(word).rhymes
    return tuple(group for group in RHYME_GROUPS if group in rhymes)
