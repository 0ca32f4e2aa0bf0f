"""The languages Yuefu speaks, and the script it writes poems in."""

from enum import StrEnum

from engine.verse.script import is_simplified, simplified

_TRADITIONAL_TAGS = frozenset({"hant", "tw", "hk", "mo"})


class Language(StrEnum):
    """A language that every message exists in, by its IETF tag."""

    ZH = "zh"
    ZH_HANT = "zh-Hant"
    EN = "en"


class Script(StrEnum):
    """The script a poem is shown in."""

    SIMPLIFIED = "simplified"
    TRADITIONAL = "traditional"


def language_of(tag: str | None) -> Language:
    """The language closest to an IETF tag or a locale: `zh-TW`, `zh_CN.UTF-8`, `en`, None."""
    parts = (tag or "").partition(".")[0].replace("_", "-").casefold().split("-")
    if parts[0] != "zh":
        return Language.EN
    return Language.ZH_HANT if _TRADITIONAL_TAGS & set(parts) else Language.ZH


def script_for(opening: str, language: Language) -> Script:
    """The script that the glyphs of `opening` belong to; where both could be, the person's."""
    if is_simplified(opening):
        return Script.SIMPLIFIED
    if simplified(opening) != opening or language is Language.ZH_HANT:
        return Script.TRADITIONAL
    return Script.SIMPLIFIED
