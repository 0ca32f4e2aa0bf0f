"""The rhyme groups of 平水韵: 206 headings of 廣韻 merged into the 30 level groups that poets use.

Only level tones rhyme in regulated verse, so oblique groups are not kept apart. The merging is
the «同用» practice fixed in the 平水韵 tables (王力《漢語詩律學》 §1.2); 廣韻 headings are named
as `tshet_uinh` names them, which writes 寒 for 寒桓, 歌 for 歌戈 and 真 for 真諄.
"""

_MERGED = (
    "東:東 冬:冬鍾 江:江 支:支脂之 微:微 魚:魚 虞:虞模 齊:齊 佳:佳皆 灰:灰咍 真:真諄臻 文:文殷欣 "
    "元:元魂痕 寒:寒桓 刪:刪山 先:先仙 蕭:蕭宵 肴:肴 豪:豪 歌:歌戈 麻:麻 陽:陽唐 庚:庚耕清 青:青 "
    "蒸:蒸登 尤:尤侯幽 侵:侵 覃:覃談 鹽:鹽添嚴 咸:咸銜凡"
)

_GROUP_OF_HEADING = {
    heading: group
    for group, _, headings in (entry.partition(":") for entry in _MERGED.split())
    for heading in headings
}

RHYME_GROUPS: tuple[str, ...] = tuple(dict.fromkeys(_GROUP_OF_HEADING.values()))
"""The 30 level groups in the order of the rhyme books."""

NARROW_GROUPS = frozenset("江咸")
"""The thinnest groups (險韻): 5 and 8 of the 2,000 commonest characters of the corpus, where a
lushi needs five rhymes. The next, 肴, has 10."""


def group_of_heading(heading: str) -> str | None:
    """The 平水韵 level group of one 廣韻 `heading`, or None for a heading of oblique tones only."""
    return _GROUP_OF_HEADING.get(heading)
