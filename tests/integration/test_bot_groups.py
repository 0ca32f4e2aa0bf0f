"""What a Telegram bot must know of groups: who runs them, who speaks for whom, who is served."""

import pytest

from bot import keys
from bot.settings import BotSettings
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine
from tests.fakes.jobs import a_poem
from tests.fakes.telegram import BOT, USERNAME

GROUP = -100_500
CHANNEL = {"id": -100_900, "type": "channel", "title": "Poems"}


@pytest.fixture
async def engine(redis):
    async with fake_engine(redis, answer=a_poem) as running:
        yield running


async def shown(fake, count):
    await fake.until(lambda: len(fake.sent) >= count)
    return fake.sent


def person(number):
    return {"from": {"id": number, "is_bot": False, "first_name": "R", "language_code": "en"}}


async def test_whoever_is_promoted_or_demoted_is_known_to_be_at_once(fake, settings, engine):
    async with serving(settings):
        await fake.say("/lang en", chat_id=GROUP, **person(6))
        await shown(fake, 1)
        fake.admins[GROUP] = {6}
        await fake.become("administrator", chat_id=GROUP, person=6)
        await fake.say("/lang en", chat_id=GROUP, **person(6))
        await shown(fake, 2)
        fake.admins[GROUP] = set()
        await fake.become("member", was="administrator", chat_id=GROUP, person=6)
        await fake.say("/lang en", chat_id=GROUP, **person(6))
        await shown(fake, 3)
    answers = ["Only admins of this chat can change that; please ask one."] * 3
    answers[1] = "Done. From now on I speak English here."
    assert fake.texts() == answers


async def test_being_thrown_out_and_let_in_again_harms_nothing(fake, settings, engine, redis):
    async with serving(settings):
        for status, was in (("kicked", "member"), ("member", "left"), ("restricted", "member")):
            await fake.become(status, was=was, chat_id=GROUP)
        await fake.become("kicked", chat_id=7)
        await fake.say("/help", chat_id=8)
        await shown(fake, 1)
    assert [sent.chat_id for sent in fake.sent] == [8]
    assert await redis.xlen(keys.dead("telegram")) == 0


async def test_what_was_said_in_the_name_of_a_chat_is_nobodys(fake, settings, engine):
    everybody = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    anonymous = {"id": GROUP, "type": "supergroup", "title": "Readers"}
    async with serving(settings):
        for sender in (anonymous, CHANNEL):
            await fake.say(
                "/poem 月", chat_id=GROUP, sender_chat=sender, **{"from": dict(everybody)}
            )
        # An anonymous admin runs the group; a channel that speaks in it does not.
        for sender in (anonymous, CHANNEL):
            await fake.say(
                "/lang en", chat_id=GROUP, sender_chat=sender, **{"from": dict(everybody)}
            )
        await shown(fake, 4)
    assert [job.context["person"] for job in engine.jobs] == [None, None]
    assert sorted(text[:4] for text in fake.texts() if not text.startswith("月")) == [
        "Done",
        "Only",
    ]


async def test_what_a_channel_asked_is_not_answered_again_in_its_discussion_group(
    fake, settings, engine
):
    async with serving(settings):
        await fake.say("/poem 月", chat_id=GROUP, sender_chat=CHANNEL, is_automatic_forward=True)
        # What somebody chose from an inline bot is no word to us, alone with us neither.
        await fake.say("月落空江夜，", chat_id=7, via_bot=BOT)
        await fake.say("/help", chat_id=7)
        await shown(fake, 1)
    assert len(fake.sent) == 1
    assert engine.jobs == []


async def test_whatever_begins_in_a_topic_stays_in_it(fake, settings, engine):
    topic = {"message_thread_id": 31, "is_topic_message": True}
    async with serving(settings):
        await fake.say(f"/poem@{USERNAME} 月", chat_id=GROUP, **topic)
        [poem] = await shown(fake, 1)
        again, card = poem.buttons[2], poem.buttons[4]
        for number, button in enumerate((again, card), start=2):
            await fake.tap(poem.message_id, button, chat_id=GROUP)
            await shown(fake, number)
    assert [sent.parameters["message_thread_id"] for sent in fake.sent] == ["31"] * 3


async def test_only_chats_that_the_operator_names_are_served(fake, settings, engine):
    chosen = {"chats": f"telegram:7, telegram:{GROUP}", "curators": "telegram:42"}
    async with serving(settings.model_copy(update=chosen)):
        await fake.become("member", was="left", chat_id=-5, language="en")
        for chat_id in (8, -5, -5, 8):
            await fake.say("/poem 月", chat_id=chat_id, language="en")
        await fake.say("hello", chat_id=-6, language="en")
        await fake.react(1, "👍", chat_id=-5, person=3)
        await fake.tap(1, "up::tg:1", chat_id=-5, language="en")
        await fake.until(lambda: bool(fake.answered))
        for chat_id in (7, GROUP, 42):
            await fake.say("/help", chat_id=chat_id)
        await shown(fake, 5)
    refusal = "I write only in chats that my operator allows; please ask them to allow telegram:"
    assert [fake.texts(chat_id) for chat_id in (8, -5)] == [[f"{refusal}8."], [f"{refusal}-5."]]
    assert [len(fake.texts(chat_id)) for chat_id in (7, GROUP, 42, -6)] == [1, 1, 1, 0]
    assert fake.answered[0][1] == f"{refusal}-5."
    assert engine.jobs == []


@pytest.mark.parametrize("chats", ["7", "telegram:x", "telegram:7 telegram:8"])
def test_a_list_of_chats_that_is_none_is_refused(chats, tmp_path):
    with pytest.raises(ValueError, match="chats"):
        BotSettings(data=tmp_path, chats=chats)
