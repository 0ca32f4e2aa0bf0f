"""/privacy, /export and /forget, as people meet them."""

import json
from datetime import UTC, datetime, time

import pytest
from pydantic import SecretStr

from bot import keys
from bot.anthology.chats import ChatSettings
from bot.language import Language
from bot.leftovers import Leftovers
from bot.message import Address, Attachment, Message, Tally
from bot.style import Style
from engine.jobs import Cell
from engine.keys import DEAD
from tests.fakes.bot import serving
from tests.fakes.engine import fake_engine
from tests.fakes.jobs import a_poem
from tests.fakes.telegram import USERNAME
from tests.fakes.waiting import until

GROUP = -100_500


@pytest.fixture
def settings(settings, anthology_url):
    return settings.model_copy(update={"database_url": SecretStr(anthology_url)})


@pytest.fixture
async def engine(redis, settings):
    async with fake_engine(redis, answer=a_poem) as running, serving(settings):
        yield running


async def ask(fake, line, **where):
    """Say a line; the message that answers it."""
    before = len(fake.sent)
    await fake.say(line, **where)
    await fake.until(lambda: len(fake.sent) > before)
    return fake.sent[before]


async def a_voted_poem(fake, anthology):
    poem = await ask(fake, "/poem 月 边塞 五绝")
    await fake.tap(poem.message_id, poem.buttons[0])
    await until(lambda: voted(anthology))
    # The question about consent is on the screen too.
    await fake.until(lambda: len(fake.sent) == 2)


async def voted(anthology):
    return (await anthology.people.holdings("telegram:7")).ratings == 1


async def test_privacy_says_what_is_kept_and_takes_consent_and_its_withdrawal(
    fake, engine, anthology
):
    shown = await ask(fake, "/privacy", language="en")
    assert "pseudonyms" in shown.text
    assert "0 poems that you asked for, 0 ratings" in shown.text
    assert "You have not said" in shown.text
    assert shown.labels == ["Yes", "No"]
    for button, said in ((0, "you allowed me"), (1, "you asked me not to")):
        await fake.tap(shown.message_id, shown.buttons[button], language="en")
        given = button == 0

        async def answered(given=given):
            consent = await anthology.people.consent("telegram:7")
            return consent is not None and consent.given is given

        await until(answered)
        assert said in (await ask(fake, "/privacy", language="en")).text


async def test_export_brings_all_that_is_kept_as_a_file(fake, engine, anthology):
    await a_voted_poem(fake, anthology)
    await anthology.schedules.start(
        Address(chat="telegram:7"),
        at=time(8),
        zone="Asia/Shanghai",
        language=Language.ZH,
        now=datetime.now(UTC),
    )
    kept = json.loads((await ask(fake, "/export")).file)
    [poem], [rating] = kept["poems"], kept["ratings"]
    assert (poem["opening"], poem["theme"], poem["lines"][0]) == ("月", "边塞", "月落空江夜")
    assert (rating["vote"], rating["poem"], rating["lines"]) == (1, poem["id"], poem["lines"])
    assert kept["consent"]["given"] is None
    assert kept["chat"]["id"] == poem["chat"] == rating["rater"] == kept["known_as"]
    assert [(daily["at"], daily["address"]) for daily in kept["schedules"]] == [
        ("08:00:00", "telegram:7")
    ]
    assert [showing["job"] for showing in kept["showings"]] == [poem["job"]]


async def test_nothing_is_forgotten_before_it_is_asked_again(fake, engine, anthology):
    await a_voted_poem(fake, anthology)
    asked = await ask(fake, "/forget")
    assert "删除我记下的" in asked.text
    assert asked.labels == ["全部删除", "算了"]
    await fake.tap(asked.message_id, asked.buttons[1])
    await fake.until(lambda: fake.now(asked).text == "好，什么也没删。")
    assert await voted(anthology)
    await fake.tap(asked.message_id, asked.buttons[0])
    await fake.until(lambda: "删好了：1 个评分、1 首诗" in fake.now(asked).text)
    assert await anthology.poems.get("tg:1000") is None
    assert await anthology.ratings.tally("tg:1000") == Tally()


async def test_in_a_group_personal_commands_lead_to_the_private_chat(fake, engine, anthology):
    link = f"https://t.me/{USERNAME}?start="
    for name in ("privacy", "export", "forget"):
        answer = await ask(fake, f"/{name}", chat_id=GROUP)
        assert f"{link}{name}" in answer.text
        assert "\n" not in answer.text
        assert answer.buttons == []
    assert "我记下的" in (await ask(fake, "/start privacy")).text


async def test_what_was_buried_of_a_person_is_dug_out_and_nothing_else(redis):
    theirs = [b'{"from":{"id":42}}', b'{"person":"telegram:42"}']
    others = [b'{"from":{"id":421}}', b'{"from":{"id":7},"text":"x42"}', b'{"id":142}']
    for stream in (keys.dead("telegram"), DEAD):
        for entry in (*theirs, *others):
            await redis.xadd(stream, {"update": entry})
    await redis.set(keys.refused("telegram", "telegram:42"), 1)
    await Leftovers(redis, "telegram").forget("telegram:42")
    for stream in (keys.dead("telegram"), DEAD):
        left = [fields[b"update"] for _, fields in await redis.xrange(stream)]
        assert left == others
    assert not await redis.exists(keys.refused("telegram", "telegram:42"))


async def test_in_company_only_the_person_is_forgotten_and_not_the_company(anthology):
    await anthology.chats.change(
        "discord:1", ChatSettings(style=Style(cell=Cell.RNN)), language="en"
    )
    await anthology.people.forget("discord:42", own_chat=None)
    assert (await anthology.chats.settings("discord:1")).style.cell is Cell.RNN


def test_a_file_travels_with_its_message():
    message = Message(
        id="t:1",
        address=Address(chat="test:1"),
        text="here",
        attachment=Attachment(name="a.json", text='{"月": "\\n"}'),
    )
    assert Message.from_json(message.to_json()) == message
