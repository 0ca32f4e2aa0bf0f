"""Counts votes, by button and by reaction, and asks once whether they may train the model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.buttons import Deed, Verb, consent_buttons
from bot.clerks import Act, TapAct, instead, tap_answer, tell
from bot.message import Address, Message, Reaction, Reply, Tap
from bot.metrics import Metrics, Rating


class Counters(Protocol):
    """The counters below poems, where the platform shows any."""

    async def note(self, address: Address, message: int, poem: str) -> None:
        """The counter below `message`, which shows `poem`, is out of date."""
        ...


class VotingClerk:
    """Keeps votes and consents in the anthology."""

    def __init__(
        self, anthology: Anthology, counters: Counters, *, whispers: bool, metrics: Metrics
    ) -> None:
        """Tell `counters` and `metrics` of votes.

        `whispers` says whether the platform can show a message to one person in company.
        """
        self._metrics = metrics
        self._anthology = anthology
        self._counters = counters
        self._whispers = whispers

    @property
    def acts(self) -> Mapping[type, Act]:
        """It is asked nothing in words."""
        return {}

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {
            Verb.UP: self._vote_up,
            Verb.DOWN: self._vote_down,
            Verb.CONSENT: self._note_consent,
        }

    async def react(self, reaction: Reaction) -> None:
        """Count what the reactions of a person to a poem say now."""
        chat = reaction.address.chat
        row = await self._anthology.poems.shown_in(chat, reaction.message)
        if row is None:
            return
        counted = await self._anthology.ratings.vote(
            row.id, person=reaction.person, chat=chat, vote=reaction.vote
        )
        if counted is not None:
            if reaction.vote is not None:
                self._metrics.count_rating(Rating.REACTION)
            await self._counters.note(reaction.address, reaction.message, row.id)

    async def _vote_up(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        return await self._vote(deed, tap, 1, texts.VOTED_UP.say(tap.language))

    async def _vote_down(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        return await self._vote(deed, tap, -1, texts.VOTED_DOWN.say(tap.language))

    async def _vote(self, deed: Deed, tap: Tap, vote: int, thanks: str) -> Reply:
        counted = await self._anthology.ratings.vote(
            deed.subject, person=tap.person, chat=tap.address.chat, vote=vote
        )
        if counted is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        self._metrics.count_rating(Rating.VOTE)
        if tap.message is not None:
            await self._counters.note(tap.address, tap.message, deed.subject)
        reply = tell(tap, thanks)
        return await and_ask_consent(self._anthology, tap, reply, whispers=self._whispers)

    async def _note_consent(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        given = deed.argument == "yes"
        await self._anthology.people.answer(tap.person, given=given, language=tap.language)
        text = (texts.CONSENT_GIVEN if given else texts.CONSENT_REFUSED).say(tap.language)
        return tell(tap, "", instead(tap, text))


async def and_ask_consent(anthology: Anthology, tap: Tap, reply: Reply, *, whispers: bool) -> Reply:
    """`reply` to a tap that rated, and whether the person's ratings may train the model.

    They are asked once. Where others would see the question, they are told where to answer it, in
    place of the answer to the tap, with which a reply begins.
    """
    if not await anthology.people.note_asked(tap.person, tap.language):
        return reply
    if tap.direct or whispers:
        return replace(reply, messages=(*reply.messages, _question(tap)))
    elsewhere = tap_answer(tap, texts.CONSENT_ELSEWHERE.say(tap.language), alert=True)
    return replace(reply, messages=(elsewhere, *reply.messages[1:]))


def _question(tap: Tap) -> Message:
    """Whether the votes of whoever tapped may train the model."""
    language = tap.language
    return Message(
        id=f"{tap.cause}/consent",
        address=tap.address,
        text=texts.CONSENT.say(language),
        buttons=consent_buttons(texts.CONSENT_YES.say(language), texts.CONSENT_NO.say(language)),
        private=True,
    )
