"""`/top`, `/mine`, `/model`: what they ask for."""

from bot import texts
from bot.requests import MineRequest, ModelRequest, Period, Request, Situation, TopRequest, refuse
from engine.verse.script import clean

_PERIODS = {
    word: period
    for period, words in {
        Period.DAY: ("day", "today", "天", "日", "今天", "今日"),
        Period.WEEK: ("", "week", "周", "週", "本周", "本週", "这周", "這週"),
        Period.MONTH: ("month", "月", "本月", "这个月", "這個月"),
        Period.ALL: ("all", "总", "總", "全部", "所有"),
    }.items()
    for word in words
}
_WORD_MAX = 16


def read_top_request(arguments: str, situation: Situation) -> Request:
    """What follows /top: how far back to look; the week where nothing is said."""
    period = _PERIODS.get(clean(arguments[:_WORD_MAX].strip()).casefold())
    return refuse(texts.PERIOD_UNCLEAR, situation) if period is None else TopRequest(period=period)


def read_mine_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /mine says nothing."""
    return MineRequest()


def read_model_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /model says nothing."""
    return ModelRequest()
