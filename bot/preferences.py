"""`/style`, `/lang`, `/script`: what follows them becomes what a chat wants."""

import re
from dataclasses import replace

from bot import texts
from bot.asking import ARGUMENTS_MAX
from bot.language import Language, Script
from bot.requests import (
    Answer,
    LanguageRequest,
    Refusal,
    Request,
    ScriptRequest,
    Situation,
    StyleRequest,
    refuse,
)
from bot.style import TEMPERATURE_MAX, TEMPERATURE_MIN, Style, describe, listed
from bot.wording import folded, forms_named, words_for
from engine.jobs import Cell
from engine.verse.script import clean

_NUMBER = re.compile(r"\d{1,4}([.,]\d{0,4})?|[.,]\d{1,4}")
_NO_FORM = frozenset({"any", "不限", "隨意"})
_WORDS_MAX = 16


_LANGUAGES: dict[str, Language | None] = words_for(
    {
        Language.ZH: ("zh", "zh-hans", "zh-cn", "简体", "简体中文", "中文", "汉语"),
        Language.ZH_HANT: ("zh-hant", "zh-tw", "zh-hk", "繁體", "繁體中文", "正體中文"),
        Language.EN: ("en", "english", "英文", "英语", "英語"),
        None: ("auto", "自动", "自動"),
    }
)
_SCRIPTS: dict[str, Script | None] = words_for(
    {
        Script.SIMPLIFIED: ("simplified", "hans", "简", "簡", "简体", "簡體", "简体字"),
        Script.TRADITIONAL: ("traditional", "hant", "繁", "繁體", "繁体", "繁體字", "正體"),
        None: ("auto", "自动", "自動"),
    }
)


def read_style_request(arguments: str, situation: Situation) -> Request:
    """What follows /style: any of model, temperature and form; nothing to see what it is."""
    words = arguments[:ARGUMENTS_MAX].split()
    if not words:
        return Answer(text=describe(texts.STYLE_SHOWN, situation.style, situation.language))
    style = situation.style
    for word in words:
        changed = _change(style, folded(word), situation)
        if isinstance(changed, Refusal):
            return changed
        style = changed
    answer = describe(texts.STYLE_CHANGED, style, situation.language)
    return StyleRequest(style=style, answer=answer)


def _change(style: Style, word: str, situation: Situation) -> Style | Refusal:
    """`style` with what `word` says changed."""
    forms = forms_named(word)
    if word in frozenset(Cell):
        return _change_cell(style, Cell(word), situation)
    if _NUMBER.fullmatch(word):
        return _change_temperature(style, float(word.replace(",", ".")), situation)
    if len(forms) == 1:
        return replace(style, form=next(iter(forms)))
    if word in _NO_FORM:
        return replace(style, form=None)
    return refuse(
        texts.STYLE_UNCLEAR,
        situation,
        cells=listed(situation.cells or Cell),
        low=TEMPERATURE_MIN,
        high=TEMPERATURE_MAX,
    )


def _change_cell(style: Style, cell: Cell, situation: Situation) -> Style | Refusal:
    if situation.cells and cell not in situation.cells:
        return refuse(texts.CELL_NOT_RUNNING, situation, cell=cell, cells=listed(situation.cells))
    return replace(style, cell=cell)


def _change_temperature(style: Style, temperature: float, situation: Situation) -> Style | Refusal:
    if not TEMPERATURE_MIN <= temperature <= TEMPERATURE_MAX:
        return refuse(
            texts.TEMPERATURE_OUT_OF_RANGE, situation, low=TEMPERATURE_MIN, high=TEMPERATURE_MAX
        )
    return replace(style, temperature=temperature)


def read_language_request(arguments: str, situation: Situation) -> Request:
    """What follows /lang: a language, or `auto` for each person's own."""
    word = _word(arguments)
    if word not in _LANGUAGES:
        return refuse(texts.LANGUAGE_UNCLEAR, situation)
    return LanguageRequest(language=_LANGUAGES[word])


def read_script_request(arguments: str, situation: Situation) -> Request:
    """What follows /script: a script, or `auto` for that of each request."""
    word = _word(arguments)
    if word not in _SCRIPTS:
        return refuse(texts.SCRIPT_UNCLEAR, situation)
    return ScriptRequest(script=_SCRIPTS[word])


def _word(arguments: str) -> str:
    return clean(arguments[:_WORDS_MAX].strip()).casefold()
