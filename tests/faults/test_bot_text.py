"""Faults 20 and 21: whatever people write, what we send is taken, and holds nothing of theirs.

The bot runs in the test's process between the real Valkey and a fake Bot API, which checks texts,
entities and their UTF-16 offsets as Telegram does, and finds in bare text what Telegram finds.
"""

import asyncio
import itertools
import random
from contextlib import asynccontextmanager

import pytest

from bot import keys
from bot.budget import Allowance, Pace
from bot.commands import COMMANDS
from bot.message import Address, Message
from bot.outbox import Outbox
from bot.settings import BotSettings
from bot.styled import SpanKind, Styled, in_style, joined
from bot.telegram.service import serve
from bot.telegram.shape import TEXT_MAX, fit
from tests.fakes.engine import fake_engine
from tests.fakes.telegram import TOKEN, FakeTelegram, detected_in
from tests.fakes.waiting import until

PLATFORM = "telegram"
AT_ONCE = Pace(every_ms=1, burst=10_000)

EXT_B, COMPATIBLE, RADICAL = "\U00020bb7", "\U0002f81a", "⽉"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
GLYPHS = (
    *(EXT_B, "\U00020089", "\U0002a6d6", "\U00030edd", "\U000323af", "㐀", "〇"),
    *(COMPATIBLE, "\uf914", "\ufa0e", RADICAL, "㊊", "ﾂ", "ｙ", "Ⅷ"),
    *("月\ufe00", "月\U000e0100", "月\u0301\u0302", "\u202e月\u202c", "月\u200d山", "\u200b月"),
    *("\ufeff", FAMILY, "🇨🇳", "🇨", "\u0627\u0644", "\U0010ffff", "\ue000", "\x00"),
    *("\ud83d", "\udc00"),
)
POEM = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
LONG = ("月" * 4097, EXT_B * 2049, FAMILY * 513, "\u0301" * 4097, "月\n" * 2049, " " * 4097)


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


@asynccontextmanager
async def serving(fake, valkey_url, folder, monkeypatch):
    """A bot that nothing slows down: what is tried here is what it says."""
    unhurried = Allowance(everywhere=AT_ONCE, chat=AT_ONCE, group=AT_ONCE)
    monkeypatch.setattr("bot.telegram.sender.ALLOWANCE", unhurried)
    settings = BotSettings(
        redis_url=valkey_url,
        data=folder,
        telegram_token=TOKEN,
        telegram_api=fake.url,
        person_in_flight=0,
        person_per_minute=0,
        person_per_day=0,
    )
    task = asyncio.create_task(serve(settings))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settled(redis):
    async def empty():
        streams = (keys.inbox(PLATFORM), keys.outbox(PLATFORM))
        return not sum([await redis.xlen(stream) for stream in streams])

    await until(empty, within_s=40)


def answered(fake) -> set[int]:
    """The chats that were answered; each asked once."""
    return {sent.chat_id for sent in fake.sent}


def wrongly_styled(sent) -> int:
    """Entities of an answer that do not cover just what is to be styled in it."""
    # /help begins with a heading, a poem ends with a colophon, /check begins with its tones.
    rows = sent.text.split("\n")
    right = {
        "bold": lambda text: text == rows[0],
        "italic": lambda text: text in rows and " · " in text,
        "pre": lambda text: text == sent.text.partition("\n\n")[0],
    }
    return sum(not right[kind](text) for kind, text in sent.styled)


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(120)
async def test_fault_20_any_text_is_taken_and_styled_where_it_should_be(
    fake, redis, valkey_url, tmp_path, monkeypatch
):
    said = [
        *(f"/poem {glyph}" for glyph in GLYPHS),
        *(f"/poem {glyph} 月 x2" for glyph in GLYPHS),
        *(f"/poem {glyph}明月 题:{glyph}" for glyph in GLYPHS),
        *(f"/acrostic {glyph}春夏秋" for glyph in GLYPHS),
        *(f"/check {POEM.replace('白', glyph)}" for glyph in GLYPHS),
        *(f"/rewrite {glyph}\n{POEM.replace('日', glyph)}" for glyph in GLYPHS),
        *(f"/{name} {text}" for name in ("poem", "check", "rewrite", "start") for text in LONG),
        *LONG,
        "/help",
    ]
    async with fake_engine(redis), serving(fake, valkey_url, tmp_path, monkeypatch):
        for chat_id, text in enumerate(said, start=1):
            await fake.say(text, chat_id=chat_id)
        await fake.until(lambda: len(answered(fake)) == len(said), timeout_s=60)
        for glyph in GLYPHS:
            await fake.type_inline(glyph)
        await settled(redis)
    astral = sum(
        any(ord(char) > 0xFFFF for char in sent.text) and bool(sent.styled) for sent in fake.sent
    )
    wrong = sum(map(wrongly_styled, fake.sent))
    print(
        f"fault 20: {len(said)} messages answered {len(fake.sent)} times, {astral} of them with "
        f"styles and characters beyond the first plane: refused sends {len(fake.refusals)}, "
        f"wrong offsets {wrong}"
    )
    assert (len(fake.sent), fake.refusals, wrong) == (len(said), [], 0)
    assert astral >= 10
    assert await redis.xlen(keys.dead(PLATFORM)) == 0


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(120)
async def test_fault_20_texts_of_any_length_arrive_whole(
    fake, redis, valkey_url, tmp_path, monkeypatch
):
    chosen = random.Random(20)
    texts = [
        *(joined([in_style(SpanKind.ITALIC, "月"), unit * count]) for unit, count in SIZES),
        *(a_long_text(chosen) for _ in range(60)),
    ]
    outbox = Outbox(redis, PLATFORM, fit=fit)
    async with serving(fake, valkey_url, tmp_path, monkeypatch):
        for chat_id, text in enumerate(texts, start=1):
            address = Address(chat=f"telegram:{chat_id}")
            await outbox.put(
                Message(id=f"long:{chat_id}", address=address, text=text.text, spans=text.spans)
            )
        await fake.until(lambda: len(answered(fake)) == len(texts))
        await settled(redis)
    broken = wrong = 0
    for chat_id, text in enumerate(texts, start=1):
        parts = [sent for sent in fake.sent if sent.chat_id == chat_id]
        broken += without_gaps("".join(part.text for part in parts)) != without_gaps(text.text)
        shown = itertools.chain.from_iterable(part.styled for part in parts)
        wrong += as_said(shown) != as_said(
            (span.kind.value, text.text[span.offset : span.end]) for span in text.spans
        )
    print(
        f"fault 20: {len(texts)} texts of up to {max(len(text.text) for text in texts)} characters "
        f"in {len(fake.sent)} messages: refused sends {len(fake.refusals)}, not whole {broken}, "
        f"wrong offsets {wrong}"
    )
    assert (fake.refusals, broken, wrong) == ([], 0, 0)


SIZES = [
    (unit, (TEXT_MAX + more) // (len(unit.encode("utf-16-le")) // 2))
    for unit in ("月", EXT_B, "e\u0301", FAMILY, "月落 ", "月\n")
    for more in (-1, 0, 1, 5000)
]


def a_long_text(chosen: random.Random) -> Styled:
    """Some thousand characters of all kinds, parts of it styled."""
    pieces = ("月", EXT_B, FAMILY, "e\u0301", " ", "\n", "\u202e", "abc ", "🇨🇳")
    return joined(
        in_style(chosen.choice(list(SpanKind)), "x".join(chosen.choices(pieces, k=30)))
        if chosen.random() < 0.3
        else "".join(chosen.choices(pieces, k=chosen.randint(1, 900)))
        for _ in range(chosen.randint(2, 14))
    )


def as_said(styled) -> str:
    return without_gaps("".join(f"{kind}{text}" for kind, text in styled))


def without_gaps(text: str) -> str:
    return "".join(text.split())


# --- fault 21 ---

HOSTILE = (
    *('<a href="https://evil.com">月</a>', "[月](tg://user?id=1)", "tg://user?id=1", "<b>月</b>"),
    *("@everyone", "@here", "@durov", "＠durov", "@\u200bdurov", "#月", "$BTC", "+86 10 1234 5678"),
    *(
        "https://t.me/evil",
        "t.me/evil",
        "evil.com",
        "ｅｖｉｌ.com",
        "mail@evil.com",
        "a /poem@evil",
    ),
    *("*月*", "_月_", "`月`", "||月||", "月</pre>", "&lt;i&gt;", "月\u202e@durov", "{cell}", "%s"),
)


@pytest.mark.only_by_make_faults
@pytest.mark.timeout(120)
async def test_fault_21_nothing_that_people_write_becomes_a_link_or_a_mention(
    fake, redis, valkey_url, tmp_path, monkeypatch
):
    said = [
        template.format(hostile)
        for hostile in (text.replace("{", "{{").replace("}", "}}") for text in HOSTILE)
        for template in (
            *("/poem {}", "/poem 月{}", "/poem 月 {}", "/poem 月 题:{}", "/poem 月 韵:{}"),
            *("/acrostic {}", "/acrostic 春夏秋冬{}", "/style {}", "/lang {}", "/script {}"),
            *("/check {}", f"/check {{}}\n{POEM}", f"/check {POEM}\n{{}}", "/rewrite {}"),
            *(f"/rewrite {{}}\n{POEM}", f"/rewrite 2 {POEM}\n{{}}", "/start {}", "/start poem_{}"),
            *("/card {}", "/nonsense {}", "{}"),
        )
    ]
    quoting = [f"{hostile}\n{POEM}" for hostile in HOSTILE]
    async with fake_engine(redis), serving(fake, valkey_url, tmp_path, monkeypatch):
        for chat_id, text in enumerate(said, start=1):
            await fake.say(text, chat_id=chat_id, **named(HOSTILE[chat_id % len(HOSTILE)]))
        for chat_id, text in enumerate(quoting, start=len(said) + 1):
            there = {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}, "text": text}
            await fake.say("/check", chat_id=chat_id, reply_to_message=there)
        for text in HOSTILE:
            await fake.type_inline(text)
            await fake.type_inline(f"月 {text}")
        count = len(said) + len(quoting)
        await fake.until(lambda: len(answered(fake)) == count, timeout_s=60)
        await settled(redis)
    styles = {kind.value for kind in SpanKind}
    foreign = [kind for sent in fake.sent for kind, _ in sent.styled if kind not in styles]
    found = [thing for sent in fake.sent for thing in sent.detected]
    commands = {word for sent in fake.sent for word in commands_in(sent.text)}
    parsed = [method for method, parameters in fake.calls if "parse_mode" in parameters]
    print(
        f"fault 21: {count} messages and {len(fake.inline)} inline questions with markup, links "
        f"and mentions: foreign entities {len(foreign)}, mentions and links {len(found)}, "
        f"refused sends {len(fake.refusals)}"
    )
    assert (foreign, found, parsed, fake.refusals) == ([], [], [], [])
    assert sum(bool(detected_in(text)) for text in HOSTILE) > 10, "the fake would not have seen any"
    assert commands <= {command.name for command in COMMANDS} | {"privacy", "forget"}


def named(name: str) -> dict[str, object]:
    """Somebody of that name."""
    person = {"id": 5, "is_bot": False, "first_name": name, "last_name": name, "username": name}
    return {"from": person}


def commands_in(text: str) -> list[str]:
    return [word[1:].rstrip("，。；,.;:") for word in text.split() if word.startswith("/")]
