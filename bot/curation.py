"""`/review`, `/curate`, `/stats`: what they ask for."""

from bot import texts
from bot.requests import CurateRequest, Request, ReviewRequest, Situation, StatsRequest, refuse
from engine.verse.script import clean

_ON = frozenset({"on", "yes", "开", "開"})
_OFF = frozenset({"off", "no", "关", "關"})
_WORD_MAX = 8


def read_review_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /review says nothing."""
    return ReviewRequest()


def read_curate_request(arguments: str, situation: Situation) -> Request:
    """What follows /curate: on or off."""
    word = clean(arguments[:_WORD_MAX].strip()).casefold()
    if word not in _ON | _OFF:
        return refuse(texts.CURATE_UNCLEAR, situation)
    return CurateRequest(on=word in _ON)


def read_stats_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /stats says nothing."""
    return StatsRequest()
