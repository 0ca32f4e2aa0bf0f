"""Whoever asks while Redis is away hears that the poet rests, once, and is not forgotten."""

import asyncio
from dataclasses import replace

import pytest

from bot import texts
from bot.anthology import Anthology
from bot.door import Door
from bot.errors import NotShownError, UndeliverableError
from bot.language import Language
from bot.message import Address, Incoming, Reaction, Tap
from bot.porter import Porter
from bot.settings import BotSettings

RESTING = texts.RESTING.say(Language.EN)


class Voice:
    def __init__(self):
        self.said = []
        self.errors = []

    async def send(self, message):
        if self.errors:
            raise self.errors.pop(0)
        self.said.append(message)
        return 1


@pytest.fixture
def voice(monkeypatch):
    monkeypatch.setattr("bot.porter._EVERY_S", 0)
    return Voice()


@pytest.fixture
async def anthology(tmp_path):
    settings = BotSettings(data=tmp_path)
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as opened:
        yield opened


@pytest.fixture
def porter(voice, anthology):
    return Porter(voice=voice, anthology=anthology, door=Door())


def line(text="/poem 月", *, chat="telegram:1", number=1, direct=True):
    return Incoming(
        cause=f"tg:{number}",
        address=Address(chat=chat),
        text=text,
        language=Language.EN,
        direct=direct,
        person="telegram:1",
    )


def tap(number):
    return Tap(
        cause=f"tg:{number}",
        address=Address(chat="telegram:1"),
        language=Language.EN,
        id=f"query-{number}",
        data="like",
        message=3,
        person="telegram:1",
        direct=True,
    )


async def test_each_chat_is_told_once(porter, voice):
    for number in range(4):
        await porter.tell(line(number=number, chat=f"telegram:{number % 2}"))
    assert [(one.address.chat, one.text) for one in voice.said] == [
        ("telegram:0", RESTING),
        ("telegram:1", RESTING),
    ]


async def test_every_tap_is_answered(porter, voice):
    for number in (1, 2, 2):
        await porter.tell(tap(number))
    assert [one.answers for one in voice.said] == ["query-1", "query-2"]


async def test_it_speaks_the_language_that_the_chat_chose(porter, voice, anthology):
    settings = await anthology.chats.settings("telegram:1")
    await anthology.chats.change("telegram:1", replace(settings, language=Language.ZH), Language.EN)
    await porter.tell(line())
    assert [one.text for one in voice.said] == [texts.RESTING.say(Language.ZH)]


async def test_in_company_only_those_who_spoke_to_the_bot_are_told(porter, voice):
    await porter.tell(line("good morning", direct=False))
    assert voice.said == []
    await porter.tell(line("/poem 月", direct=False))
    assert len(voice.said) == 1


async def test_nobody_is_told_who_did_not_speak_or_is_not_served(voice, anthology):
    porter = Porter(voice=voice, anthology=anthology, door=Door(frozenset({"telegram:9"})))
    reaction = Reaction(
        cause="r", address=Address(chat="telegram:9"), message=1, person="telegram:9", vote=1
    )
    for event in (None, reaction, line(chat="telegram:5", number=1)):
        await porter.tell(event)
    assert voice.said == []


async def test_where_the_platform_asks_to_wait_the_next_try_does(porter, voice):
    voice.errors.append(NotShownError("too many requests", retry_after_s=0.5))
    await porter.tell(line())
    await porter.tell(line())
    assert voice.said == []
    await asyncio.sleep(0.6)
    await porter.tell(line())
    assert len(voice.said) == 1


async def test_a_chat_that_takes_nothing_stops_nobody(porter, voice):
    voice.errors.append(UndeliverableError("blocked"))
    await porter.tell(line(chat="telegram:1"))
    await porter.tell(line(chat="telegram:2"))
    assert [one.address.chat for one in voice.said] == ["telegram:2"]
