"""The way out, the same wherever a platform is served: from written poems to shown messages."""

from bot.anthology import Anthology
from bot.budget import Halt
from bot.daily import Poster
from bot.deliver import Deliverer
from bot.dispatch import Dispatcher, Sender
from bot.metrics import Metrics
from bot.moderation import Filter
from bot.outbox import Outbox
from bot.pseudonyms import Pseudonyms
from bot.together import together
from engine.client import EngineClient


async def carry_out(
    *,
    platform: str,
    engine: EngineClient,
    anthology: Anthology,
    outbox: Outbox,
    sender: Sender,
    halt: Halt,
    words: Filter,
    metrics: Metrics,
    pseudonyms: Pseudonyms,
) -> None:
    """Have poems of the day written, outcomes put into the outbox, and its messages shown.

    Until cancelled. The platform's name is also that of its replies, as the engine knows it.
    """
    deliverer = Deliverer(
        engine=engine,
        anthology=anthology,
        outbox=outbox,
        client=platform,
        words=words,
        metrics=metrics,
    )
    dispatcher = Dispatcher(
        outbox=outbox,
        sender=sender,
        anthology=anthology,
        halt=halt,
        metrics=metrics,
        pseudonyms=pseudonyms,
    )
    poster = Poster(
        engine=engine, anthology=anthology, platform=platform, client=platform, metrics=metrics
    )
    await together(deliverer.run(), dispatcher.run(), poster.run())
