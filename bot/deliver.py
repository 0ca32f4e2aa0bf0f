"""An outcome becomes a message in the outbox.

Whatever the engine answers is told: a poem is shown, a failure is explained in the language of the
person, if anybody asked. A poem is in the anthology before its outcome is let go, so that what
people see is on record, as long as there is a database to record it in. A poem that may not be
shown is neither told nor recorded; another is written in its place (`bot.moderation`).
"""

import structlog
from structlog.contextvars import bound_contextvars

from bot import texts
from bot.anthology import Anthology
from bot.buttons import pick_buttons, poem_buttons
from bot.errors import AnthologyError
from bot.message import Message, Tally
from bot.metrics import Metrics, PostResult
from bot.moderation import Filter, Moderator
from bot.outbox import Outbox
from bot.render import render_poems
from bot.styled import joined
from bot.submit import Context
from bot.texts import Text
from engine.client import MAX_BLOCK_MS, Delivery, EngineClient
from engine.jobs import Outcome, Poem, Reason, cause_of

_BATCH = 64

FAILURES: dict[Reason, Text] = {
    Reason.EXPIRED: texts.FAILED_EXPIRED,
    Reason.NO_MODEL: texts.FAILED_NO_MODEL,
    Reason.NO_TEMPLATE: texts.FAILED_NO_TEMPLATE,
    Reason.BURIED: texts.FAILED_BURIED,
    Reason.WITHHELD: texts.FAILED_WITHHELD,
    Reason.INTERNAL: texts.FAILED_INTERNAL,
}
"""What people are told where there is no poem."""

log = structlog.get_logger(__name__)


def compose(outcome: Outcome) -> Message:
    """The message that tells of `outcome`.

    Raises:
        KeyError, TypeError, ValueError: its context is not one of ours.
    """
    context = Context.from_fields(outcome.context)
    if isinstance(outcome, Poem):
        return _show(outcome, context)
    # What was buried may be put back by the operator, and the poem then has yet to be said.
    buried = ":buried" if outcome.reason is Reason.BURIED else ""
    return Message(
        id=cause_of(outcome.job_id) + buried,
        address=context.address,
        text=FAILURES[outcome.reason].say(context.language),
        until_ms=context.until_ms,
    )


def _show(poem: Poem, context: Context) -> Message:
    """A poem, or several with a button each."""
    poems = (poem, *poem.others)
    shown = render_poems(
        poems, glyphs=context.glyphs, script=context.script, language=context.language
    )
    if context.heading:
        shown = joined([context.heading, shown], by="\n\n")
    return Message(
        id=cause_of(poem.job_id),
        address=context.address,
        text=shown.text,
        spans=shown.spans,
        poem_id=poem.job_id,
        buttons=pick_buttons(poem.job_id, len(poems)) or poem_buttons(poem.job_id, Tally()),
        until_ms=context.until_ms,
    )


class Deliverer:
    """Carries outcomes from the reply stream of one client to the outbox of its platform."""

    def __init__(
        self,
        *,
        engine: EngineClient,
        anthology: Anthology,
        outbox: Outbox,
        client: str,
        words: Filter,
        metrics: Metrics,
    ) -> None:
        """Collect as `client`, and tell of no poem that holds one of `words`.

        `metrics` count poems of the day that there are none of.
        """
        self._engine = engine
        self._anthology = anthology
        self._outbox = outbox
        self._client = client
        self._moderator = Moderator(words=words, engine=engine)
        self._metrics = metrics

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self.deliver()

    async def deliver(self) -> None:
        """Deliver what has come; waits a moment if nothing has."""
        # One consumer name for whoever holds the platform's lease: only that process collects.
        for delivery in await self._engine.outcomes(
            self._client, self._client, count=_BATCH, wait_ms=MAX_BLOCK_MS
        ):
            with bound_contextvars(cause=cause_of(delivery.outcome.job_id)):
                await self._deliver(delivery)

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            outcome = await self._moderator.review(delivery.outcome)
            message = None if outcome is None else compose(outcome)
        except (KeyError, TypeError, ValueError) as error:
            log.error("! foreign", action="deliver.drop", error=type(error).__name__)
        else:
            if outcome is not None and message is not None:
                await self._tell(outcome, message)
        await self._engine.done(delivery)

    async def _tell(self, outcome: Outcome, message: Message) -> None:
        """Have `message` shown, which tells of `outcome`, unless nobody waits to hear of it."""
        if isinstance(outcome, Poem):
            await self._record(outcome)
        elif message.until_ms is not None:
            log.warning("! no poem", action="deliver.none", reason=outcome.reason)
            self._metrics.count_post(PostResult.FAILED)
            return
        await self._outbox.put(message, Context.from_fields(outcome.context).trace)

    async def _record(self, poem: Poem) -> None:
        try:
            await self._anthology.poems.record(poem, Context.from_fields(poem.context))
        except AnthologyError as error:
            # It costs us the record, but nobody their poem.
            log.error("! not recorded", action="deliver.record", error=str(error))
