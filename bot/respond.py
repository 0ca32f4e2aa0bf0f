"""What follows from one line that a person said: a poem to come, or something to say at once."""

import time
from collections.abc import Callable
from datetime import datetime

import structlog

from bot import texts
from bot.anthology import Anthology
from bot.commands import PoemRequest, Situation, StyleRequest, is_command, understand
from bot.message import Incoming, Message
from bot.style import Style
from bot.submit import make_job, seed_of
from engine.client import Admitted, EngineClient
from engine.jobs import Job

log = structlog.get_logger(__name__)


class Responder:
    """Answers what people say on one platform."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        client: str,
        bot_name: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Poems go to the reply stream of `client`; `clock` tells the Unix time in seconds."""
        self._engine = engine
        self._anthology = anthology
        self._client = client
        self._bot_name = bot_name
        self._clock = clock

    async def respond(self, incoming: Incoming) -> Message | Job | None:
        """Act on `incoming`: the message to show at once, or the job whose outcome will follow.

        None where it was not meant for us.

        Doing it again with the same cause does no harm: the job is not put twice.

        Raises:
            EngineUnavailableError: Redis does not answer; try again later.
            AnthologyError: the anthology does not answer.
        """
        if not incoming.direct and not is_command(incoming.text):
            return None
        style = await self._anthology.style(incoming.address.chat)
        request = understand(incoming.text, await self._situation(incoming, style))
        if request is None:
            return None
        log.info("→", action="request", cause=incoming.cause, kind=type(request).__name__)
        if isinstance(request, PoemRequest):
            return await self._submit(request, incoming, style)
        if isinstance(request, StyleRequest):
            await self._anthology.set_style(incoming.address.chat, request.style, incoming.language)
            return _message(incoming, request.answer)
        return _message(incoming, request.text)

    async def _situation(self, incoming: Incoming, style: Style) -> Situation:
        return Situation(
            language=incoming.language,
            style=style,
            cells=frozenset(await self._engine.cells()),
            today=datetime.fromtimestamp(self._clock()).astimezone().date(),
            seed=seed_of(incoming.cause),
            direct=incoming.direct,
            bot_name=self._bot_name,
        )

    async def _submit(
        self, request: PoemRequest, incoming: Incoming, style: Style
    ) -> Message | Job:
        job = make_job(
            request, incoming, style, client=self._client, now_ms=int(self._clock() * 1000)
        )
        admission = await self._engine.put(job)
        if admission.status is Admitted.FULL:
            return _message(incoming, texts.BUSY.say(incoming.language))
        return job


def _message(incoming: Incoming, text: str) -> Message:
    return Message(id=incoming.cause, address=incoming.address, text=text)
