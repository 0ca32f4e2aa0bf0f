"""The Discord bot in this process, between a Discord, a Valkey and an engine made for tests."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from bot import keys, texts
from bot.anthology import Anthology
from bot.anthology.chats import Chats
from bot.buttons import poem_buttons
from bot.commands import COMMANDS
from bot.discord.client import DiscordClient
from bot.discord.service import serve
from bot.errors import TokenRefusedError
from bot.inbox import Inbox
from bot.language import Language
from bot.message import Tally
from bot.settings import BotSettings
from engine.jobs import Failure, Reason
from tests.fakes.discord import PERSON, TOKEN, FakeDiscord
from tests.fakes.engine import fake_engine, made_up_poem
from tests.fakes.fonts import make_font
from tests.fakes.jobs import a_poem
from tests.fakes.waiting import until

PLATFORM = "discord"
EVERYTHING_ON_THE_CARD = "月落空江夜风吹远树秋故人千里外一叶下汀洲五言绝句尤韵乐府生成 · lstmgru AI"
MANAGE_CHANNELS = 1 << 4
CHANNEL = 3_000_000_000_000_000_003


@pytest.fixture
async def fake():
    async with FakeDiscord().serve() as discord:
        yield discord


@pytest.fixture
def settings(valkey_url, tmp_path, fake):
    return BotSettings(
        redis_url=valkey_url,
        data=tmp_path,
        discord_token=TOKEN,
        discord_api=fake.url,
        discord_gateway=fake.gateway_url,
        person_in_flight=0,
    )


@asynccontextmanager
async def serving(settings, fake):
    """A bot that is connected."""
    task = asyncio.create_task(serve(settings))
    try:
        await fake.until(lambda: task.done() or fake.connections > 0)
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def engine(redis):
    async with fake_engine(redis) as running:
        yield running


@pytest.fixture
async def bot(settings, fake, engine):
    async with serving(settings, fake) as task:
        yield task


async def shown(fake, count):
    await fake.until(lambda: len(fake.sent) >= count)
    return fake.sent


async def drained(redis):
    """Wait until nothing is left to do in inbox and outbox."""

    async def empty():
        return not await redis.xlen(keys.inbox(PLATFORM)) + await redis.xlen(keys.outbox(PLATFORM))

    await until(empty)


async def recorded(settings, asked):
    """Wait until the anthology knows that what answers an interaction was shown."""
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:

        async def known():
            poem = await anthology.poems.get(f"dc:{asked}")
            return poem is not None and poem.shown_at is not None

        await until(known)


async def test_a_poem_takes_the_place_of_thinking(fake, bot, engine, settings):
    asked = await fake.command("poem", "月 五绝")
    [answer] = await shown(fake, 1)
    assert answer.interaction == asked
    assert answer.text.startswith("月月落空江，")
    assert answer.text.endswith("\n五绝 · 尤韵 · lstm")
    assert not answer.rings
    assert fake.unheard == []
    [job] = engine.jobs
    assert (job.id, job.chat) == (f"dc:{asked}", "discord:7")
    await recorded(settings, asked)


@pytest.mark.parametrize(
    ("locale", "answer"),
    [
        ("zh-CN", "诗的开头要用汉字，比如 /poem 月。"),
        ("zh-TW", "詩的開頭要用漢字，比如 /poem 月。"),
        ("en-GB", "A poem has to begin with Chinese characters, such as /poem 月."),
        ("fr", "A poem has to begin with Chinese characters, such as /poem 月."),
    ],
)
async def test_everybody_is_answered_in_their_language(fake, bot, locale, answer):
    await fake.command("poem", "hello", locale=locale)
    assert [one.text for one in await shown(fake, 1)] == [answer]


async def test_where_the_operator_names_channels_others_are_told_each_time_and_alone(
    fake, settings, engine
):
    served, elsewhere = {"channel_id": 7, "guild": True}, {"channel_id": CHANNEL, "guild": True}
    async with serving(settings.model_copy(update={"chats": "discord:7"}), fake):
        for _ in range(2):
            asked = await fake.command("poem", "月", locale="en-US", **elsewhere)
            await fake.until(lambda asked=asked: any(one.private for one in fake.answers(asked)))
            [answer] = [one for one in fake.answers(asked) if one.private]
            assert answer.text == texts.NOT_SERVED.say(Language.EN, chat=f"discord:{CHANNEL}")
        await fake.command("poem", "月 五绝", **served)
        await fake.until(lambda: any("月月落空江" in one.text for one in fake.sent))
    assert len(engine.jobs) == 1


async def test_a_person_who_is_named_is_served_alone_though_their_chat_has_another_number(
    fake, settings, engine
):
    async with serving(settings.model_copy(update={"chats": f"discord:{PERSON}"}), fake):
        await fake.command("poem", "月 五绝", channel_id=CHANNEL, person=PERSON)
        await fake.until(lambda: any("月月落空江" in one.text for one in fake.sent))
    assert len(engine.jobs) == 1


async def test_a_style_is_the_channels_and_its_threads(fake, bot, engine):
    where = {"channel_id": CHANNEL, "guild": True}
    await fake.command("style", "lstm 0.6 七绝", permissions=MANAGE_CHANNELS, **where)
    await shown(fake, 1)
    await fake.command("poem", "月", channel_id=CHANNEL + 1, parent_id=CHANNEL, guild=True)
    await fake.command("poem", "月", channel_id=CHANNEL + 2, guild=True)
    await shown(fake, 3)
    inside, outside = engine.jobs
    assert (inside.temperature, inside.form) == (0.6, "qijue")
    assert outside.temperature != 0.6
    assert {one.channel_id for one in fake.sent} == {CHANNEL, CHANNEL + 1, CHANNEL + 2}


async def test_who_runs_a_channel_is_said_by_discord(fake, bot):
    await fake.command("style", "0.6", channel_id=1, guild=True)
    await fake.command("style", "0.6", channel_id=2)
    await fake.command("style", "0.6", channel_id=3, context=2)
    await shown(fake, 3)
    assert [fake.texts(number)[0].startswith("好，以后这样写") for number in (1, 2, 3)] == [
        False,
        True,
        True,
    ]


async def test_commands_are_published_once_for_every_language_and_place(
    fake, settings, engine, redis
):
    for _ in range(2):
        async with serving(settings, fake):
            await fake.until(lambda: bool(fake.commands))
            await until(lambda: redis.exists(keys.commands(PLATFORM)))
    assert fake.publications == 1
    slash = [command for command in fake.commands if command["type"] == 1]
    assert [command["name"] for command in slash] == [command.name for command in COMMANDS]
    poem = slash[0]
    assert poem["name_localizations"] == {"zh-CN": "诗", "zh-TW": "詩"}
    assert poem["description"] == "write a poem"
    assert poem["description_localizations"] == {"zh-CN": "写诗", "zh-TW": "寫詩"}
    for command in fake.commands:
        assert command["contexts"] == [0, 1, 2]
        assert command["integration_types"] == [0, 1]
    menus = [command["name"] for command in fake.commands if command["type"] == 3]
    assert menus == ["Rewrite this poem", "Check this poem", "Make a card of it"]


@pytest.mark.parametrize("place", ["fields", "one line"])
async def test_what_stands_in_fields_says_the_same_as_a_line(fake, bot, engine, place):
    told = {"count": "3", "opening": "月", "rhyme": "东", "form": "wujue", "theme": "边 塞"}
    words = {"told": told} if place == "fields" else {"text": "月 题:边塞 五绝 韵:东 x3"}
    await fake.command("poem", **words)
    await shown(fake, 1)
    [job] = engine.jobs
    assert (job.opening, job.theme, job.form, job.rhyme, job.count) == (
        "月",
        "边塞",
        "wujue",
        "東",
        3,
    )


async def test_commands_that_changed_are_published_again(fake, settings, engine, redis):
    await redis.set(keys.commands(PLATFORM), "what they were")
    async with serving(settings, fake):
        await fake.until(lambda: fake.publications == 1)


async def test_a_menu_that_is_refused_keeps_nobody_from_being_served(
    fake, settings, engine, monkeypatch
):
    monkeypatch.setattr("bot.discord.menu._short", lambda _description: "")
    async with serving(settings, fake):
        await fake.command("help")
        await shown(fake, 1)
    assert fake.publications == 0


POEM = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"


async def test_a_poem_in_any_message_is_checked_from_its_menu(fake, bot):
    asked = await fake.choose(
        "Check this poem", f"看这首：\n{POEM}", channel_id=CHANNEL, guild=True
    )
    [answer] = await shown(fake, 1)
    assert answer.interaction == asked
    assert "\n五绝 · 尤韵\n平仄、粘对、押韵都合格律。" in answer.text


async def test_a_poem_in_any_message_is_rewritten_by_a_form(fake, bot, engine):
    await fake.choose("Rewrite this poem", POEM, channel_id=CHANNEL, guild=True)
    await fake.until(lambda: bool(fake.forms))
    assert fake.forms[0][1]["title"] == "改写这首诗"
    asked = await fake.fill_in(0, wish="2")
    [answer] = await shown(fake, 1)
    assert answer.interaction == asked
    assert answer.text.startswith("白日依山尽，")
    assert answer.text.count("\n欲穷千里目，更上一层楼。") == 1
    [job] = engine.jobs
    assert job.id == f"dc:{asked}"


async def test_what_is_too_long_for_a_message_is_shown_all_the_same(fake, bot, monkeypatch):
    monkeypatch.setattr("bot.discord.look.CONTENT_MAX", 20)
    await fake.command("help")
    [answer] = await shown(fake, 1)
    assert answer.payload["content"] is None
    assert "/poem" in answer.text


async def test_what_was_asked_first_is_answered_first(fake, bot, engine):
    for number in range(5):
        await fake.command("style", f"0.{5 + number}")
        await fake.command("poem", "月")
    await shown(fake, 10)
    assert [job.temperature for job in engine.jobs] == [0.5, 0.6, 0.7, 0.8, 0.9]


async def test_nothing_that_people_write_is_a_sign_of_discords_own(fake, bot):
    await fake.command("poem", "@everyone", channel_id=CHANNEL, guild=True)
    await fake.command("poem", "**月** <@42>", channel_id=CHANNEL, guild=True)
    await fake.command("check", "*_~`|>#[x](http://x)", channel_id=CHANNEL, guild=True)
    await shown(fake, 3)
    assert not any(one.rings or "@everyone" in one.text for one in fake.sent)


VERBS = [button.data.partition(":")[0] for button in poem_buttons("dc:1", Tally())]
"""What the buttons below a poem do."""


def verbs(shown):
    """What the buttons below a message do."""
    return [data.partition(":")[0] for data in shown.buttons]


async def test_in_company_the_last_poem_is_the_one_that_the_person_asked_for(fake, settings, redis):
    def written(job):
        return made_up_poem(job) if job.frame else a_poem(job)

    where = {"channel_id": CHANNEL, "guild": True}
    async with fake_engine(redis, answer=written) as engine, serving(settings, fake):
        poem = await poem_in(fake, person=1, **where)
        await recorded(settings, poem.interaction)
        mine = await fake.command("rewrite", "2", person=1, **where)
        not_mine = await fake.command("rewrite", "2", person=2, **where)
        await shown(fake, 3)
    assert [job.id for job in engine.jobs[1:]] == [f"dc:{mine}"]
    assert fake.answers(not_mine)[0].buttons == []


async def three_poems(fake, **where):
    """Somebody asks for three poems; the message that shows them."""
    asked = await fake.command("poem", "月 五绝 x3", **where)
    await fake.until(lambda: bool(fake.answers(asked)))
    return fake.answers(asked)[0]


async def test_of_three_poems_one_is_picked_after_a_restart_and_stays_picked(
    fake, settings, engine, redis
):
    async with serving(settings, fake):
        message = await three_poems(fake, channel_id=CHANNEL, guild=True)
    assert len(message.buttons) == 3
    async with serving(settings, fake):
        for _ in range(2):
            await fake.tap(message, message.buttons[1], guild=True)
        await fake.until(lambda: bool(fake.edits))
        late = await fake.tap(message, message.buttons[2], guild=True)
        await fake.until(lambda: bool(fake.answers(late)))
        await drained(redis)
    assert fake.unheard == []
    assert verbs(fake.now(message)) == VERBS
    assert fake.now(message).text.startswith("月落空江夜，")
    # A picked poem says nothing more; a late tap is told alone.
    assert [(one.text, one.private) for one in fake.sent[1:]] == [
        ("已经选了第 2 首；要别的就再用 /poem 写。", True)
    ]


@pytest.mark.parametrize("data", ["pick:1:tg:5", "pick:9:dc:1", "nonsense", "pick:1:\ud800"])
async def test_a_tap_on_what_nobody_knows_is_answered_in_one_line(fake, bot, data):
    message = await three_poems(fake)
    tap = await fake.tap(message, data)
    await fake.until(lambda: bool(fake.answers(tap)))
    [answer] = fake.answers(tap)
    assert answer.private
    assert "\n" not in answer.text
    assert fake.now(message).buttons == message.buttons


async def poem_in(fake, **where):
    """Somebody asks for a poem; the message that shows it."""
    asked = await fake.command("poem", "月 五绝", **where)
    await fake.until(lambda: bool(fake.answers(asked)))
    return fake.answers(asked)[0]


async def test_votes_are_counted_and_consent_is_asked_of_each_person_alone(
    fake, settings, engine, monkeypatch
):
    monkeypatch.setattr("bot.tallies.PAUSE_S", 0.05)
    where = {"channel_id": CHANNEL, "guild": True}
    async with serving(settings, fake):
        poem = await poem_in(fake, **where)
        for person in (1, 2, 2):
            vote = await fake.tap(poem, poem.buttons[0], person=person, **where)
        await fake.until(lambda: len(fake.edits) == 1)
        await fake.until(lambda: len(fake.sent) == 6)
    assert fake.now(poem).payload["components"][0]["components"][0]["label"] == "👍 2"
    assert fake.now(poem).text == poem.text
    assert all(answer.private for answer in fake.sent[1:])
    questions = [answer for answer in fake.sent if answer.buttons[:1] == ["consent:yes:"]]
    assert len(questions) == 2
    assert len(fake.answers(vote)) == 1


async def test_a_private_question_is_answered_where_it_was_asked(fake, settings, engine):
    where = {"channel_id": CHANNEL, "guild": True}
    async with serving(settings, fake):
        poem = await poem_in(fake, **where)
        await fake.tap(poem, poem.buttons[1], **where)
        await fake.until(lambda: len(fake.sent) == 3)
        question = fake.sent[2]
        await fake.tap(question, question.buttons[0], **where)
        await fake.until(lambda: fake.now(question).text != question.text)
    assert fake.now(question).private
    assert fake.now(question).buttons == []


async def test_in_company_what_is_kept_of_a_person_is_told_to_them_alone(fake, settings, engine):
    where = {"channel_id": CHANNEL, "guild": True}

    async def ask(name):
        asked = await fake.command(name, **where)
        await fake.until(lambda: any(answer.private for answer in fake.answers(asked)))
        [answer] = [answer for answer in fake.answers(asked) if answer.private]
        return answer

    async with serving(settings, fake):
        poem = await poem_in(fake, **where)
        await recorded(settings, poem.interaction)
        assert (await ask("privacy")).buttons == ["consent:yes:", "consent:no:"]
        kept = json.loads((await ask("export")).pictures[0])
        assert [one["lines"][0] for one in kept["poems"]] == ["月月落空江"]
        assert poem.text.startswith("月月落空江")
        assert (await ask("mine")).text.count("月月落空江") == 1
        question = await ask("forget")
        await fake.tap(question, question.buttons[0], **where)
        await fake.until(lambda: fake.now(question).text != question.text)
        assert fake.now(question).private
        assert "月月落空江" not in (await ask("mine")).text


async def test_curators_see_the_figures_as_a_picture_with_words(fake, settings, engine):
    settings = settings.model_copy(update={"curators": "discord:42"})
    async with serving(settings, fake):
        asked = await fake.command("stats", person=42)
        await fake.until(lambda: any(answer.pictures for answer in fake.answers(asked)))
    [answer] = [answer for answer in fake.answers(asked) if answer.pictures]
    assert answer.pictures[0].startswith(b"\x89PNG")
    assert "14" in answer.text


async def test_another_poem_and_a_line_written_anew_stand_below_the_first(fake, settings, redis):
    def written(job):
        return made_up_poem(job) if job.frame else a_poem(job)

    async with fake_engine(redis, answer=written) as engine, serving(settings, fake):
        poem = await poem_in(fake)
        again = await fake.tap(poem, poem.buttons[2])
        await fake.until(lambda: len(fake.answers(again)) == 2)
        [told, another] = fake.answers(again)
        assert (told.private, another.private) == (True, False)
        assert verbs(another) == VERBS
        await fake.tap(poem, poem.buttons[3])
        await fake.until(lambda: verbs(fake.now(poem)) == ["line"] * 5)
        line = await fake.tap(poem, fake.now(poem).buttons[1])
        await fake.until(lambda: len(fake.answers(line)) == 2)
        await fake.until(lambda: verbs(fake.now(poem)) == VERBS)
    assert fake.now(poem).text == poem.text
    assert [job.id for job in engine.jobs[1:]] == [f"dc:{again}", f"dc:{line}"]


async def test_a_poem_becomes_a_picture_by_button_by_menu_and_by_command(
    fake, settings, redis, tmp_path
):
    font = make_font(tmp_path / "font.ttf", EVERYTHING_ON_THE_CARD)
    settings = settings.model_copy(update={"card_font": font})
    async with fake_engine(redis, answer=a_poem), serving(settings, fake):
        poem = await poem_in(fake)
        await recorded(settings, poem.interaction)
        await fake.tap(poem, poem.buttons[VERBS.index("card")])
        await fake.choose("Make a card of it", poem)
        await fake.command("card", "墨 1:1")
        await shown(fake, 4)
    for card in fake.sent[1:]:
        assert card.text == ""
        assert [picture.startswith(b"\x89PNG") for picture in card.pictures] == [True]
    assert fake.now(poem) == poem


async def test_without_a_font_the_text_is_shown_and_says_why(fake, settings, engine, monkeypatch):
    monkeypatch.setattr("bot.cards.fonts.USUAL_FONTS", ())
    async with serving(settings, fake):
        poem = await poem_in(fake)
        await recorded(settings, poem.interaction)
        await fake.choose("Make a card of it", poem)
        await shown(fake, 2)
    assert fake.sent[1].text.startswith(poem.text)
    assert fake.sent[1].pictures == []


@pytest.mark.parametrize("reason", Reason)
async def test_whoever_gets_no_poem_is_told_why(settings, fake, redis, reason):
    def fail(job):
        return Failure(job_id=job.id, reason=reason, context=job.context)

    async with fake_engine(redis, answer=fail), serving(settings, fake):
        await fake.command("poem", "月")
        [answer] = await shown(fake, 1)
    assert "。" in answer.text


# --- Discord's own moods ---


async def test_an_interaction_is_kept_before_it_is_acknowledged(
    fake, settings, engine, monkeypatch
):
    heard: list[float | None] = []
    real = Inbox.store

    async def store(self, updates):
        await real(self, updates)
        heard.extend(fake.asked[asked].heard_s for asked in updates)

    monkeypatch.setattr(Inbox, "store", store)
    async with serving(settings, fake):
        await fake.command("help")
        await shown(fake, 1)
    assert heard == [None]


async def test_an_interaction_is_acknowledged_in_time_though_redis_is_away(
    fake, settings, engine, redis, monkeypatch
):
    real, back = Inbox.store, asyncio.Event()

    async def store(self, updates):
        await back.wait()
        return await real(self, updates)

    monkeypatch.setattr(Inbox, "store", store)
    monkeypatch.setattr("bot.discord.client.STORE_S", 0.05)
    async with serving(settings, fake):
        asked = await fake.command("help")
        await fake.until(lambda: not fake.unheard)
        back.set()
        await shown(fake, 1)
    assert len(fake.answers(asked)) == 1


async def test_no_more_is_kept_of_an_interaction_than_an_answer_needs(
    fake, settings, redis, monkeypatch
):
    monkeypatch.setattr("bot.handler.Handler.run", lambda _handler: asyncio.Event().wait())
    async with serving(settings, fake):
        await fake.choose("Check this poem", POEM, channel_id=CHANNEL, guild=True)
        await until(lambda: redis.xlen(keys.inbox(PLATFORM)))
        [(_, fields)] = await redis.xrange(keys.inbox(PLATFORM))
        [ticket] = [key async for key in redis.scan_iter(match=keys.ticket(PLATFORM, "*"))]
        assert 0 < await redis.ttl(ticket) < 15 * 60
    kept = fields[b"update"].decode()
    for private in ("reader", "username", "avatar", "token", "guild", "roles", "joined_at"):
        assert private not in kept


async def test_an_interaction_that_cannot_be_read_is_buried_alone(fake, bot, redis):
    await fake.tell({"id": "x"})
    await fake.tell({"id": "1", "type": 2, "data": {"type": 1}})
    await fake.command("help")
    await shown(fake, 1)
    assert await redis.xlen(keys.dead(PLATFORM)) == 1
    assert fake.identified == 1


async def test_an_interaction_told_twice_is_answered_once(fake, bot, redis):
    asked = await fake.command("help")
    await fake.tell(fake.asked[asked].raw)
    await fake.command("help")
    await shown(fake, 2)
    await drained(redis)
    assert len(fake.answers(asked)) == 1


async def test_a_connection_that_breaks_off_is_resumed_and_misses_nothing(fake, bot):
    fake.away = True
    await fake.break_off()
    await fake.until(lambda: fake.connections == 0)
    asked = await fake.command("help")
    fake.away = False
    await fake.until(lambda: bool(fake.answers(asked)))
    assert (fake.identified, fake.resumed) == (1, 1)


async def test_a_session_that_is_gone_is_begun_anew(fake, bot):
    await fake.break_off(resumable=False)
    await fake.until(lambda: fake.connections > 0)
    await fake.command("help")
    await shown(fake, 1)
    assert fake.identified == 2


async def test_a_gateway_that_is_away_at_the_start_is_waited_for(fake, settings, engine):
    fake.away = True
    task = asyncio.create_task(serve(settings))
    try:
        await fake.until(lambda: bool(fake.publications))
        fake.away = False
        await fake.until(lambda: fake.connections > 0)
        await fake.command("help")
        await shown(fake, 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_cancellation_that_the_library_loses_ends_the_bot_all_the_same(
    fake, settings, engine, monkeypatch
):
    real, lost = DiscordClient.connect, asyncio.Event()
    connected = []

    async def connect(self, *, reconnect=True):
        connected.append(self)
        try:
            await real(self, reconnect=reconnect)
        except asyncio.CancelledError:
            lost.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(DiscordClient, "connect", connect)
    async with asyncio.timeout(10):
        async with serving(settings, fake):
            await fake.until(lambda: fake.connections == 1)
            # Before it is ready, the library would lose its socket with the cancellation.
            await connected[0].wait_until_ready()
    assert lost.is_set()
    assert len(connected) == 1


async def test_a_flood_is_waited_out_and_drops_no_answer(fake, bot):
    fake.flood.extend([0.5] * 3)
    asked = [await fake.command("help", channel_id=number) for number in range(1, 6)]
    await shown(fake, 5)
    assert {one.interaction for one in fake.sent} == set(asked)
    assert len(fake.sent) == len(asked)


@pytest.mark.parametrize("kind", ["an answer", "a message"])
async def test_an_answer_of_discord_that_is_lost_shows_nothing_twice(fake, bot, redis, kind):
    fake.broken.append(500)
    asked = await fake.command("help", age_s=0 if kind == "an answer" else 16 * 60)
    await shown(fake, 1)
    await drained(redis)
    assert len(fake.sent) == 1
    assert fake.sent[0].interaction == (asked if kind == "an answer" else None)


async def test_what_cannot_be_answered_any_more_is_said_in_the_channel(fake, bot):
    await fake.command("help", age_s=16 * 60)
    [message] = await shown(fake, 1)
    assert (message.interaction, message.channel_id) == (None, 7)
    assert len(message.payload["nonce"]) <= 25
    assert message.payload["enforce_nonce"]
    assert not message.rings


@pytest.mark.parametrize("refusal", ["closed_channels", "gone_channels"])
async def test_where_we_may_not_write_an_answer_that_is_too_late_is_dropped(
    fake, bot, redis, refusal
):
    getattr(fake, refusal).add(5)
    await fake.command("help", age_s=16 * 60, channel_id=5)
    await fake.command("help", channel_id=6)
    assert (await shown(fake, 1))[0].channel_id == 6
    await drained(redis)
    assert len(fake.sent) == 1
    noted = await redis.exists(keys.refused(PLATFORM, "discord:5"))
    assert noted == (refusal == "closed_channels")


async def test_a_token_that_discord_does_not_know_ends_the_bot(fake, settings):
    wrong = settings.model_copy(update={"discord_token": type(settings.discord_token)("a.b.c")})
    with pytest.raises(TokenRefusedError) as caught:
        await serve(wrong)
    assert "a.b.c" not in str(caught.value)


async def test_of_two_bots_one_serves_and_the_other_takes_over(fake, settings, engine):
    async with serving(settings, fake) as first:
        await fake.command("help", channel_id=1)
        await shown(fake, 1)
        second = asyncio.create_task(serve(settings))
        try:
            await fake.command("help", channel_id=2)
            await shown(fake, 2)
            first.cancel()
            await fake.until(lambda: fake.identified == 2)
            await fake.command("help", channel_id=3)
            await shown(fake, 3)
        finally:
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
    assert [one.channel_id for one in fake.sent] == [1, 2, 3]


async def test_a_fault_of_ours_in_one_interaction_is_admitted_and_stops_nobody(
    fake, settings, engine, redis, monkeypatch
):
    real = Chats.settings

    async def fail_for_five(self, chat):
        if chat == "discord:5":
            raise RuntimeError("a fault")
        return await real(self, chat)

    monkeypatch.setattr(Chats, "settings", fail_for_five)
    async with serving(settings, fake):
        await fake.command("help", channel_id=5)
        await fake.command("help", channel_id=6)
        await shown(fake, 2)
    assert fake.texts(5) == ["我这边出了错，这首诗没写成；请再发一次。"]
    assert await redis.xlen(keys.dead(PLATFORM)) == 1
