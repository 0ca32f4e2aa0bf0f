"""Who answers on a platform: the responder with its clerks, put together in one place."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bot.anthology import Anthology
from bot.clerks.browsing import BrowsingClerk
from bot.clerks.curation import CurationClerk
from bot.clerks.daily import DailyClerk
from bot.clerks.picturing import PictureClerk
from bot.clerks.preferences import PreferenceClerk
from bot.clerks.privacy import PrivacyClerk, Traces
from bot.clerks.rollback import RollbackClerk
from bot.clerks.voting import Counters, VotingClerk
from bot.clerks.writing import WritingClerk
from bot.limits import Limits
from bot.metrics import Metrics
from bot.moderation import Filter
from bot.respond import Company, Responder
from engine.client import EngineClient


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Everybody who answers."""

    responder: Responder
    """Answers lines and taps."""
    voting: VotingClerk
    """Counts reactions."""


def make_desk(
    *,
    engine: EngineClient,
    anthology: Anthology,
    limits: Limits,
    company: Company,
    counters: Counters,
    traces: Traces,
    client: str,
    words: Filter,
    zone: str,
    metrics: Metrics,
    curators: frozenset[str] = frozenset(),
    bot_name: str = "",
    private_link: str = "",
    whispers: bool = False,
    card_label: bool = True,
    clock: Callable[[], float] = time.time,
) -> Desk:
    """The desk of one platform.

    Args:
        engine: Where jobs are put.
        anthology: What is kept.
        limits: How many poems a person and a chat may ask for.
        company: Tells who runs a chat.
        counters: The counters below poems.
        traces: What people leave behind outside the anthology.
        client: Whose reply stream poems go to.
        words: What nobody may ask for.
        zone: The time zone of poems of the day where a chat names none.
        metrics: Where ratings are counted.
        curators: People whose ratings train the model, with their platform.
        bot_name: What stands after the @ in `/poem@name`.
        private_link: The address of a chat with the bot alone, up to a command to begin with.
        whispers: Whether the platform can show a message to one person in company.
        card_label: Whether cards say that a machine wrote the poem.
        clock: The Unix time in seconds.
    """
    voting = VotingClerk(anthology, counters, whispers=whispers, metrics=metrics)
    writing = WritingClerk(
        engine=engine, anthology=anthology, limits=limits, client=client, clock=clock
    )
    daily = DailyClerk(anthology, zone=zone, clock=clock)
    responder = Responder(
        engine=engine,
        anthology=anthology,
        company=company,
        clerks=(
            writing,
            voting,
            daily,
            PreferenceClerk(anthology),
            PictureClerk(anthology, labelled=card_label),
            PrivacyClerk(anthology, traces),
            CurationClerk(anthology, whispers=whispers, metrics=metrics),
            RollbackClerk(engine=engine, anthology=anthology),
            BrowsingClerk(engine=engine, anthology=anthology, clock=clock),
        ),
        words=words,
        curators=curators,
        bot_name=bot_name,
        private_link=private_link,
        whispers=whispers,
        clock=clock,
    )
    return Desk(responder=responder, voting=voting)
