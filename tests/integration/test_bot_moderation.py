"""A poem with one of the operator's words is never shown: another is, or the person is told."""

import io
from dataclasses import replace
from functools import partial

import pytest
from rich.console import Console

from bot import keys, texts
from bot.anthology import Anthology
from bot.cards.easel import Easel
from bot.console.chat import Chat
from bot.console.screen import Screen
from bot.console.tray import Tray
from bot.deliver import Deliverer
from bot.language import Language, Script
from bot.leftovers import Leftovers
from bot.limits import Limits
from bot.message import Address, Incoming
from bot.metrics import Metrics
from bot.moderation import TRIES_AGAIN, Filter
from bot.outbox import Outbox
from bot.pseudonyms import Pseudonyms
from bot.requests import PoemRequest
from bot.settings import BotSettings
from bot.style import Style
from bot.submit import PATIENCE_MS, make_job, seed_of
from engine.client import EngineClient
from engine.jobs import Failure, Reason
from engine.verse.forms import FormName
from tests.fakes.engine import fake_engine, made_up_poem
from tests.fakes.jobs import a_poem
from tests.fakes.waiting import until

CLIENT = "test"
WORDS = Filter(["大麻"])
GOOD = ("月落空江夜", "風吹遠樹秋", "故人千里外", "一葉下汀洲")
BAD = ("月落空江大", "麻吹遠樹秋", "故人千里外", "一葉下汀洲")
INCOMING = Incoming(
    cause="tg:5",
    address=Address(chat="telegram:7"),
    text="/poem 月",
    language=Language.EN,
    direct=True,
)
REQUEST = PoemRequest(
    opening="月", glyphs="月", form=FormName.WUJUE, script=Script.TRADITIONAL, theme="秋夜"
)


def the_job(now_ms=2**42, **fields):
    return make_job(replace(REQUEST, **fields), INCOMING, Style(), client=CLIENT, now_ms=now_ms)


def written(good):
    """Writes a good poem where `good` says so of the job's id, and one with a word elsewhere."""

    def answer(job):
        return replace(a_poem(job), lines=GOOD if good(job.id) else BAD)

    return answer


@pytest.fixture
async def anthology(tmp_path):
    async with Anthology.open(
        f"sqlite+aiosqlite:///{tmp_path / 'a.sqlite3'}", Pseudonyms(b"test")
    ) as opened:
        yield opened


@pytest.fixture
def deliverer(redis, anthology):
    return Deliverer(
        engine=EngineClient(redis),
        anthology=anthology,
        outbox=Outbox(redis, CLIENT),
        client=CLIENT,
        words=WORDS,
        metrics=Metrics(CLIENT),
    )


async def first_messages(redis, deliverer):
    """Deliver until there is something to say; what it is."""

    async def deliver():
        await deliverer.deliver()
        return await redis.xlen(keys.outbox(CLIENT))

    await until(deliver)
    return [letter.message for letter in await Outbox(redis, CLIENT).take(9)]


@pytest.fixture
def told(redis, deliverer):
    return partial(first_messages, redis, deliverer)


async def test_another_poem_is_written_in_its_place(redis, anthology, told):
    async with fake_engine(redis, answer=written(lambda name: name == "tg:5~3")) as engine:
        await EngineClient(redis).put(the_job())
        [message] = await told()
    assert [job.id for job in engine.jobs] == ["tg:5", "tg:5~2", "tg:5~3"]
    assert [job.seed for job in engine.jobs] == [seed_of(job.id) for job in engine.jobs]
    assert (message.id, message.poem_id, message.address) == ("tg:5", "tg:5~3", INCOMING.address)
    assert message.text.startswith("月落空江夜，")
    assert (await anthology.poems.get("tg:5~3")).lines == list(GOOD)
    assert await anthology.poems.get("tg:5") is await anthology.poems.get("tg:5~2") is None


async def test_every_try_asks_for_the_same_and_ends_at_the_same_time(redis, told):
    async with fake_engine(redis, answer=written(lambda name: "~" in name)) as engine:
        await EngineClient(redis).put(the_job())
        await told()
    first, second = engine.jobs
    assert second == replace(first, id="tg:5~2", seed=seed_of("tg:5~2"))
    assert second.deadline_ms == 2**42 + PATIENCE_MS


async def test_after_some_tries_the_person_is_told(redis, told):
    async with fake_engine(redis, answer=written(lambda _: False)) as engine:
        await EngineClient(redis).put(the_job())
        [message] = await told()
    assert len(engine.jobs) == 1 + TRIES_AGAIN
    assert (message.id, message.poem_id) == ("tg:5", None)
    assert message.text == texts.FAILED_WITHHELD.say(Language.EN)


async def test_of_several_poems_only_those_with_a_word_are_left_out(redis, anthology, told):
    def answer(job):
        first, *others = (replace(a_poem(job), lines=lines) for lines in (BAD, GOOD, BAD, GOOD))
        return replace(first, others=tuple(replace(other, context={}) for other in others))

    async with fake_engine(redis, answer=answer) as engine:
        await EngineClient(redis).put(the_job(count=4))
        [message] = await told()
    assert len(engine.jobs) == 1
    assert [button.label for button in message.buttons] == ["1", "2"]
    assert "大" not in message.text
    await anthology.poems.mark_shown("tg:5", chat="telegram:7", message=None)
    assert [row.number for row in await anthology.poems.last_shown("telegram:7")] == [1, 2]


async def test_a_failure_of_a_try_is_told(redis, told):
    def answer(job):
        if job.id == "tg:5":
            return replace(a_poem(job), lines=BAD)
        return Failure(job_id=job.id, reason=Reason.EXPIRED, context=job.context)

    async with fake_engine(redis, answer=answer):
        await EngineClient(redis).put(the_job())
        [message] = await told()
    assert (message.id, message.text) == ("tg:5", texts.FAILED_EXPIRED.say(Language.EN))


async def test_an_outcome_that_is_delivered_twice_is_tried_again_once(redis, deliverer, told):
    engine_client = EngineClient(redis)
    async with fake_engine(redis, answer=written(lambda name: "~" in name)) as engine:
        await engine_client.put(the_job())
        [delivery] = await until(lambda: engine_client.outcomes(CLIENT, CLIENT))
        # As after a kill between the two: tried again, but not done with.
        await deliverer._deliver(delivery)
        await deliverer._deliver(delivery)
        assert len(await told()) == 1
    assert [job.id for job in engine.jobs] == ["tg:5", "tg:5~2"]


async def test_a_full_lane_ends_the_tries(redis, anthology):
    deliverer = Deliverer(
        engine=EngineClient(redis, cap=0),
        anthology=anthology,
        outbox=Outbox(redis, CLIENT),
        client=CLIENT,
        words=WORDS,
        metrics=Metrics(CLIENT),
    )
    async with fake_engine(redis, answer=written(lambda _: False)):
        await EngineClient(redis).put(the_job())
        [message] = await first_messages(redis, deliverer)
    assert message.text == texts.FAILED_WITHHELD.say(Language.EN)


async def test_a_poem_of_a_bot_before_this_one_cannot_be_tried_again(redis, told):
    job = the_job()
    context = {name: field for name, field in job.context.items() if name != "again"}
    async with fake_engine(redis, answer=written(lambda _: False)):
        await EngineClient(redis).put(replace(job, context=context))
        [message] = await told()
    assert message.text == texts.FAILED_WITHHELD.say(Language.EN)


# --- the console ---


@pytest.fixture
def screen():
    return io.StringIO()


@pytest.fixture
def chat(redis, anthology, screen, tmp_path):
    return Chat(
        engine=EngineClient(redis),
        anthology=anthology,
        limits=Limits(BotSettings().with_set_limits_only(), Pseudonyms(b"test")),
        words=WORDS,
        zone="Asia/Shanghai",
        language=Language.ZH,
        screen=Screen(Console(file=screen, width=80)),
        tray=Tray(tmp_path, Easel()),
        traces=Leftovers(redis, "console"),
    )


async def test_the_console_waits_for_the_poem_that_may_be_shown(redis, chat, screen):
    async with fake_engine(redis, answer=written(lambda name: name.endswith("~2"))):
        assert await chat.say("/poem 月")
    assert "月落空江夜" in screen.getvalue()
    assert "麻" not in screen.getvalue()


async def test_the_console_says_when_nothing_may_be_shown(redis, chat, screen):
    async with fake_engine(redis, answer=written(lambda _: False)):
        assert not await chat.say("/poem 月")
    assert screen.getvalue().strip() == texts.FAILED_WITHHELD.say(Language.ZH)


@pytest.mark.parametrize(
    "line", ["/poem 大麻", "/poem 月 题:大麻", "/acrostic 大⿇月月", "/诗 大\u200b 麻 五绝"]
)
async def test_a_request_with_a_word_never_reaches_the_engine(redis, chat, screen, line):
    async with fake_engine(redis, answer=made_up_poem) as engine:
        await chat.say(line)
    assert engine.jobs == []
    assert screen.getvalue().strip() == texts.WORD_NOT_USED.say(Language.ZH)
