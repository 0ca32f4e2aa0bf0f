"""`/review`, `/curate`, `/stats`, `/rollback`: what they ask for."""

from bot import texts
from bot.requests import (
    CurateRequest,
    Request,
    ReviewRequest,
    RollbackRequest,
    Situation,
    StatsRequest,
    refuse,
)
from bot.style import listed
from engine.jobs import Cell
from engine.verse.script import clean

_ON = frozenset({"on", "yes", "开", "開"})
_OFF = frozenset({"off", "no", "关", "關"})
_WORD_MAX = 8


def read_review_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /review says nothing."""
    return ReviewRequest()


def read_curate_request(arguments: str, situation: Situation) -> Request:
    """What follows /curate: on or off."""
    word = _word(arguments)
    if word not in _ON | _OFF:
        return refuse(texts.CURATE_UNCLEAR, situation)
    return CurateRequest(on=word in _ON)


def read_stats_request(_arguments: str, _situation: Situation) -> Request:
    """What follows /stats says nothing."""
    return StatsRequest()


def read_rollback_request(arguments: str, situation: Situation) -> Request:
    """What follows /rollback: a model; the chat's own where none is named."""
    word = _word(arguments) or situation.style.cell
    running = situation.cells or frozenset(Cell)
    if word not in running:
        return refuse(texts.ROLLBACK_UNCLEAR, situation, cells=listed(running))
    return RollbackRequest(cell=Cell(word))


def _word(arguments: str) -> str:
    return clean(arguments[:_WORD_MAX].strip()).casefold()
