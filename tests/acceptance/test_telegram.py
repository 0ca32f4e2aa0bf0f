"""The whole of Yuefu, in real processes: a bot, an engine with its bundled models, a Valkey."""

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import asynccontextmanager

import httpx
import pytest

from bot import texts
from bot.commands import COMMANDS
from bot.console.service import DEMO
from engine.client import EngineClient
from engine.verse.checker import check, split_lines
from tests.fakes.bot import ROOT, bot_process, environment
from tests.fakes.engine import fake_engine
from tests.fakes.ports import free_port
from tests.fakes.telegram import FakeTelegram
from tests.fakes.waiting import until

ENGINE_START_S = 60


@pytest.fixture
async def fake():
    async with FakeTelegram().serve() as telegram:
        yield telegram


@asynccontextmanager
async def engine_process(redis, folder, **settings):
    """`python -m engine serve`, once it lives."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine", "serve"),
        cwd=ROOT,
        env=environment(YUEFU_DATA=str(folder), **settings),
    )
    try:
        await until(EngineClient(redis).cells, within_s=ENGINE_START_S)
        yield process
    finally:
        process.terminate()
        await process.wait()


def poem_in(message):
    """The lines of the poem that a message shows above its colophon."""
    poem, _, colophon = message.partition("\n\n")
    assert re.fullmatch(r"\w+ · \w韵 · (gru|lstm)", colophon)
    return split_lines(poem)


async def offered_inline(fake, text):
    """What is offered to somebody who types `text` after the bot's name."""
    before = len(fake.inline)
    await fake.type_inline(text)
    await fake.until(lambda: len(fake.inline) > before)
    return fake.inline[-1].texts


@pytest.mark.timeout(180)
async def test_a_poem_in_a_chat_end_to_end(fake, redis, valkey_url, tmp_path):
    settings = {"YUEFU_REDIS_URL": valkey_url}
    async with (
        engine_process(redis, tmp_path, **settings),
        bot_process(tmp_path, YUEFU_TELEGRAM_API=fake.url, **settings) as bot,
    ):
        for chat_id, text in enumerate(
            ("/poem 月", "/poem hello", "/style rnn", "/poem 明月 七律", "/poem"), start=1
        ):
            await fake.say(text, chat_id=chat_id)
        await fake.until(lambda: len(fake.sent) >= 5, timeout_s=30)
        offered = await until(lambda: offered_inline(fake, "山"), within_s=30)
        # Whatever might be shown twice would be on its way by the time this is answered.
        await fake.say("/help", chat_id=6)
        await fake.until(lambda: bool(fake.texts(6)))
        assert await bot.stop() == 0
    assert [len(fake.texts(chat_id)) for chat_id in range(1, 7)] == [1] * 6
    for chat_id, opening, count in ((1, "月", 4), (4, "明月", 8), (5, "", 4)):
        lines = poem_in(fake.texts(chat_id)[0])
        assert len(lines) == count
        assert lines[0].startswith(opening)
        assert check(lines, opening=opening).ok
    assert check(poem_in(offered[0]), opening="山").ok
    assert fake.texts(2) == ["诗的开头要用汉字，比如 /poem 月。"]
    assert fake.texts(3) == ["rnn 模型现在没有运行；可以用：gru, lstm。"]
    assert "Traceback" not in bot.log()


@pytest.mark.timeout(180)
async def test_one_command_is_a_whole_yuefu(tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "console"),
        cwd=ROOT,
        env=environment(YUEFU_DATA=str(tmp_path), LC_ALL="zh_CN.UTF-8"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    answers = re.split(r"^› .*\n", out.decode(), flags=re.MULTILINE)[1:]
    assert len(answers) == len(DEMO)
    said = dict(zip(DEMO, answers, strict=True))
    assert "/poem" in said["/help"]
    written = {line: _poem_on_screen(said[line]) for line in DEMO[1:4]}
    assert written["/poem 月"][0].startswith("月")
    assert written["/poem 山 边塞 七绝"][0].startswith("山")
    assert "".join(head for head, *_ in written["/acrostic 春夏秋冬"]) == "春夏秋冬"
    assert all(check(lines).ok for lines in written.values())
    assert "都合格律" in said["/check"]
    assert "记下了" in said["1"]


def _poem_on_screen(answer):
    """The lines of the poem that the console shows, above its colophon and the buttons."""
    poem, colophon, *_ = re.sub(r"^  ", "", answer.strip(), flags=re.MULTILINE).split("\n\n")
    return poem_in(f"{poem}\n\n{colophon}")


POEM = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
LINES_SAID: tuple[tuple[str, str, str], ...] = (
    ("/start", "我是乐府", "I am Yuefu"),
    ("/help", "/acrostic", "/acrostic"),
    ("/style gru 0.7 五绝", "0.7", "0.7"),
    ("/script auto", texts.SCRIPT_FREE.zh, texts.SCRIPT_FREE.en),
    ("/lang auto", texts.LANGUAGE_FREE.zh, texts.LANGUAGE_FREE.en),
    (f"/check {POEM}", texts.CHECKED_WELL.zh, texts.CHECKED_WELL.en),
    (f"/rewrite 2 {POEM}", "白日依山尽", "白日依山尽"),
    ("/acrostic 春夏秋冬", "gru", "gru"),
    ("/daily 08:00 上海", "08:00", "08:00"),
    ("/top week", texts.TOP_NOTHING.zh, texts.TOP_NOTHING.en),
    ("/mine", "春", "春"),
    ("/model", "lstm", "lstm"),
    ("/review", texts.CURATORS_ONLY.zh, texts.CURATORS_ONLY.en),
    ("/stats", texts.CURATORS_ONLY.zh, texts.CURATORS_ONLY.en),
    ("/rollback", texts.APPOINTED_ONLY.zh, texts.APPOINTED_ONLY.en),
    ("/curate on", texts.IN_COMPANY_ONLY.zh, texts.IN_COMPANY_ONLY.en),
    ("/privacy", "/forget", "/forget"),
    ("/export", "", ""),
    ("/forget", "", ""),
    ("/card", "", ""),
    ("/poem 月", "月", "月"),
)
"""Every command, with what its answer holds in Chinese and in English."""


@pytest.mark.timeout(240)
async def test_every_command_and_button_is_answered_in_both_languages(fake, tmp_path):
    assert {line.split()[0] for line, *_ in LINES_SAID} == {f"/{c.name}" for c in COMMANDS}
    async with bot_process(tmp_path, YUEFU_TELEGRAM_API=fake.url) as bot:
        for chat_id, language, place in ((7, "zh-hans", 0), (8, "en", 1)):
            for line, *said in LINES_SAID:
                before = len(fake.texts(chat_id))
                await fake.say(line, chat_id=chat_id, language=language)
                await fake.until(
                    lambda chat_id=chat_id, before=before: len(fake.texts(chat_id)) > before,
                    timeout_s=ENGINE_START_S,
                )
                assert said[place] in fake.texts(chat_id)[-1], line
            await _tap_every_button(fake, chat_id)
        assert await bot.stop() == 0
    assert "Traceback" not in bot.log()


async def _tap_every_button(fake, chat_id):
    """Vote, ask for another, rewrite a line, draw a card: each tap is answered."""
    poem = [sent for sent in fake.sent if sent.chat_id == chat_id][-1]
    up, down, again, change, card = poem.buttons
    for button in (up, down, again, card, change):
        before = len(fake.answered)
        await fake.tap(poem.message_id, button, chat_id=chat_id)
        await fake.until(lambda before=before: len(fake.answered) > before)
    await fake.until(lambda: fake.now(poem).labels[0] == "1")
    await fake.tap(poem.message_id, fake.now(poem).buttons[1], chat_id=chat_id)
    # The question for consent, another poem, the card, and the poem with a new line.
    wanted = len(LINES_SAID) + 4
    await fake.until(lambda: len(fake.texts(chat_id)) >= wanted, timeout_s=ENGINE_START_S)


@pytest.mark.timeout(180)
async def test_one_command_with_a_token_is_a_whole_telegram_bot(fake, tmp_path):
    async with bot_process(tmp_path, YUEFU_TELEGRAM_API=fake.url) as bot:
        await fake.say("/poem 月")
        await fake.until(lambda: bool(fake.sent), timeout_s=ENGINE_START_S)
        lines = poem_in(fake.sent[0].text)
        assert check(lines, opening="月").ok
        assert await bot.stop() == 0


async def test_a_bot_with_an_address_is_called_and_says_how_it_fares(
    fake, redis, valkey_url, tmp_path
):
    address = f"http://127.0.0.1:{free_port()}"
    settings = {
        "YUEFU_REDIS_URL": valkey_url,
        "YUEFU_TELEGRAM_API": fake.url,
        "YUEFU_WEBHOOK_URL": address,
        "YUEFU_LISTEN": address.removeprefix("http://"),
        "YUEFU_LOG_LEVEL": "DEBUG",
    }
    # Written before there was a bot, and so what it finds first.
    await fake.say("/poem 月")
    async with fake_engine(redis), bot_process(tmp_path, **settings) as bot:
        await fake.until(lambda: bool(fake.sent))
        await fake.tap(fake.sent[0].message_id, "pick:1:tg:5")
        await fake.until(lambda: bool(fake.answered) and not fake.pending)
        async with httpx.AsyncClient(base_url=address) as http:
            assert (await http.get("/healthz")).status_code == 200
            ready = await http.get("/readyz")
        assert ready.json() == {"redis": True, "engine": True, "anthology": True}
        secret = fake.webhook.secret
        assert await bot.stop() == 0
    assert fake.sent[0].text.startswith("月")
    assert fake.polls == 0
    assert secret not in bot.log()
    assert "Traceback" not in bot.log()
