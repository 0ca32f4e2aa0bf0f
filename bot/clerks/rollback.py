"""Puts the model back that wrote before.

The question names the model that writes now, and so does the button below it: tapped twice, or by
two, it goes back once.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.buttons import Deed, Verb, rollback_buttons
from bot.clerks import Act, TapAct, instead, say, tap_answer, tell, whisper
from bot.errors import AnthologyError
from bot.message import Incoming, Message, Reply, Tap
from bot.requests import RollbackRequest
from bot.texts import Text
from engine.client import (
    ROLLBACK_S,
    ChampionChangedError,
    EngineClient,
    EngineError,
    Obstacle,
    ObstacleError,
)
from engine.jobs import Cell

_OBSTACLES = {
    Obstacle.NOTHING: texts.ROLLBACK_NOTHING,
    Obstacle.DAMAGED: texts.ROLLBACK_DAMAGED,
    Obstacle.UNWRITABLE: texts.ROLLBACK_UNWRITABLE,
}

log = structlog.get_logger(__name__)


class RollbackClerk:
    """Has engines go back, and writes it into the audit log."""

    def __init__(self, *, engine: EngineClient, anthology: Anthology) -> None:
        """Order it of `engine`, and note it in `anthology`."""
        self._engine = engine
        self._anthology = anthology

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {RollbackRequest: self._ask}

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {Verb.ROLLBACK: self._go_back}

    async def _ask(
        self, request: RollbackRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        language, cell = incoming.language, request.cell
        champion = (await self._engine.cells()).get(cell)
        if champion is None:
            return say(incoming, texts.MODEL_NONE.say(language))
        return whisper(
            incoming,
            texts.ROLLBACK_SURE.say(language, cell=cell, checkpoint=champion),
            buttons=rollback_buttons(
                cell,
                champion,
                texts.ROLLBACK_YES.say(language),
                texts.ROLLBACK_NO.say(language),
            ),
        )

    async def _go_back(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        if deed.argument not in frozenset(Cell):
            return tell(tap, "", instead(tap, texts.ROLLBACK_LEFT.say(tap.language)))
        return Reply(
            messages=(tap_answer(tap, texts.ROLLBACK_BEGUN.say(tap.language)),),
            errand=partial(self._see_it_done, Cell(deed.argument), deed.subject, tap),
        )

    async def _see_it_done(self, cell: Cell, was: str, tap: Tap) -> Sequence[Message]:
        """Have it done; what came of it."""
        began = time.monotonic()
        try:
            now = await self._engine.rollback(cell, expected=was)
        except EngineError as error:
            log.warning("! not rolled back", action="rollback.failed", cell=cell, why=str(error))
            told = _excuse(error).say(
                tap.language, cell=cell, checkpoint=was, seconds=f"{ROLLBACK_S:.0f}"
            )
            return (instead(tap, told),)
        took_s = time.monotonic() - began
        await self._note(cell, was, now, tap)
        done = texts.ROLLBACK_DONE.say(
            tap.language, cell=cell, was=was, now=now, seconds=f"{took_s:.1f}"
        )
        return (instead(tap, done),)

    async def _note(self, cell: Cell, was: str, now: str, tap: Tap) -> None:
        log.info("↶ rolled back", action="rollback", cell=cell, was=was, now=now)
        try:
            await self._anthology.curation.note_rollback(
                person=tap.person, cell=cell, was=was, now=now
            )
        except AnthologyError as error:
            # It is done: that nobody noted it must not be told as if it were not.
            log.error("! not noted", action="rollback.audit", error=str(error))


def _excuse(error: EngineError) -> Text:
    """What to say of it."""
    if isinstance(error, ObstacleError):
        return _OBSTACLES[error.obstacle]
    if isinstance(error, ChampionChangedError):
        return texts.ROLLBACK_CHANGED
    return texts.ROLLBACK_LATE
