"""Tells people what is kept about them, gives it to them, and deletes it."""

from collections.abc import Mapping
from typing import Protocol

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.buttons import Deed, Verb, consent_buttons, forget_buttons
from bot.clerks import Act, TapAct, instead, person_of, tell, whisper
from bot.disclosure import describe, export
from bot.message import Incoming, Reply, Tap
from bot.requests import ExportRequest, ForgetRequest, PrivacyRequest


class Traces(Protocol):
    """What people leave behind outside the anthology."""

    async def forget(self, person: str) -> None:
        """Delete what is left of `person`. Doing it again does no harm."""
        ...


class PrivacyClerk:
    """Answers for what is kept about people."""

    def __init__(self, anthology: Anthology, traces: Traces) -> None:
        """Read and delete in `anthology`, and delete `traces`."""
        self._anthology = anthology
        self._traces = traces

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {
            PrivacyRequest: self._show,
            ExportRequest: self._export,
            ForgetRequest: self._ask_whether_to_forget,
        }

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {Verb.FORGET: self._forget}

    async def _show(
        self, _request: PrivacyRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        person, language = person_of(incoming), incoming.language
        consent = await self._anthology.people.consent(person)
        holdings = await self._anthology.people.holdings(person)
        question = texts.CONSENT.say(language)
        return whisper(
            incoming,
            f"{describe(consent, holdings, language)}\n\n{question}",
            buttons=consent_buttons(
                texts.CONSENT_YES.say(language), texts.CONSENT_NO.say(language)
            ),
        )

    async def _export(
        self, _request: ExportRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        own_chat = _own_chat(incoming)
        kept = await self._anthology.people.kept(person_of(incoming), own_chat=own_chat)
        text = texts.EXPORTED if own_chat else texts.EXPORTED_PART
        return whisper(incoming, text.say(incoming.language), attachment=export(kept))

    async def _ask_whether_to_forget(
        self, _request: ForgetRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        language = incoming.language
        text = texts.FORGET_SURE if _own_chat(incoming) else texts.FORGET_PART_SURE
        return whisper(
            incoming,
            text.say(language),
            buttons=forget_buttons(texts.FORGET_YES.say(language), texts.FORGET_NO.say(language)),
        )

    async def _forget(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        """Whoever taps is forgotten, whoever was asked; twice does no harm."""
        if deed.argument != "yes":
            return tell(tap, "", instead(tap, texts.FORGET_NOTHING.say(tap.language)))
        gone = await self._anthology.people.forget(tap.person, own_chat=_own_chat(tap))
        await self._traces.forget(tap.person)
        done = texts.FORGOTTEN.say(tap.language, ratings=gone.ratings, poems=gone.poems)
        return tell(tap, "", instead(tap, done))


def _own_chat(asked: Incoming | Tap) -> str | None:
    """The chat that belongs to whoever asks, if that is where they do."""
    return asked.address.chat if asked.direct else None
