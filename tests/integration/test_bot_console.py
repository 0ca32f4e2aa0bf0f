"""The console: the same commands in a terminal."""

import asyncio
import io
import json
import os
import pty
import re
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from bot import household
from bot.anthology import Anthology
from bot.console.chat import Chat
from bot.console.service import run
from bot.errors import HouseholdError
from bot.language import Language
from bot.leftovers import Leftovers
from bot.limits import Limits
from bot.message import Address
from bot.moderation import Filter
from bot.pseudonyms import Pseudonyms
from bot.settings import BotSettings
from engine import keys
from engine.client import EngineClient
from engine.jobs import Failure, Reason
from tests.fakes.bot import environment
from tests.fakes.engine import WORKER, fake_engine, made_up_poem
from tests.fakes.jobs import a_poem
from tests.fakes.waiting import until

POEM = "月月落空江，夜风吹远树。"


@pytest.fixture
def settings(valkey_url, tmp_path):
    return BotSettings(redis_url=valkey_url, data=tmp_path)


@pytest.fixture
def talk(settings, monkeypatch, capsys):
    """Run the console on lines from a pipe; whether all went well, and what it wrote."""

    async def run_on(typed=b"", *, once=None, language=Language.ZH):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        well = await asyncio.to_thread(run, settings, language, once=once)
        return well, capsys.readouterr().out

    return run_on


async def test_without_a_terminal_it_plays_the_demo(redis, talk):
    async with fake_engine(redis) as engine:
        well, out = await talk()
    assert well
    lines = [line for line in out.splitlines() if line.startswith("›")]
    assert lines == ["› /help", "› /poem 月", "› /style gru 0.8", "› /poem 山"]
    assert [job.opening for job in engine.jobs] == ["月", "山"]
    assert "\n  月月落空江" in out
    assert "\n  山月落空江" in out


async def test_lines_from_a_pipe_are_answered_in_turn(redis, talk):
    typed = "/style lstm 1.5 五绝\n\n/poem 月\n/poem hello\n/poem \n".encode()
    async with fake_engine(redis) as engine:
        well, out = await talk(typed + b"/poem \xff\xfe\n")
    assert well
    assert [(job.cell, job.temperature) for job in engine.jobs] == [("lstm", 1.5)] * 2
    assert POEM in out
    assert "汉字" in out
    assert "损坏" in out


async def test_one_line_can_be_asked_from_the_command_line(redis, talk):
    async with fake_engine(redis):
        well, out = await talk(once="/poem 月 五绝", language=Language.EN)
    assert well
    assert f"\n  {POEM}\n" in out
    assert out.rstrip().endswith("五绝 wujue · rhyme 尤 · lstm")


async def test_at_a_terminal_it_asks_until_one_quits(redis, valkey_url, tmp_path):
    ours = {"YUEFU_REDIS_URL": valkey_url, "YUEFU_DATA": str(tmp_path), "TERM": "dumb"}
    leader, follower = pty.openpty()
    async with fake_engine(redis):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot", "console", "--lang=zh"),
            env=environment(**ours),
            stdin=follower,
            stdout=PIPE,
        )
        os.write(leader, "/poem 月 五绝\n/quit\n".encode())
        out, _ = await process.communicate()
    os.close(leader)
    os.close(follower)
    assert process.returncode == 0
    assert POEM in out.decode()


@pytest.fixture
async def screen():
    return io.StringIO()


@pytest.fixture
async def chat(redis, tmp_path, screen):
    url = f"sqlite+aiosqlite:///{tmp_path / 'a.sqlite3'}"
    pseudonyms = Pseudonyms(b"test")
    async with Anthology.open(url, pseudonyms) as anthology:
        yield Chat(
            engine=EngineClient(redis),
            anthology=anthology,
            limits=Limits(BotSettings(person_per_minute=2).with_set_limits_only(), pseudonyms),
            words=Filter(),
            zone="Asia/Shanghai",
            language=Language.EN,
            screen=Console(file=screen, width=80),
            traces=Leftovers(redis, "console"),
            folder=tmp_path,
        )


async def test_a_poem_that_failed_is_explained_and_counts_as_a_failure(redis, chat, screen):
    def fail(job):
        return Failure(job_id=job.id, reason=Reason.NO_MODEL, context=job.context)

    async with fake_engine(redis, answer=fail):
        assert not await chat.say("/poem 月")
    assert "not running" in screen.getvalue()


async def test_a_limit_that_was_set_holds_on_the_console_too(redis, chat, screen):
    async with fake_engine(redis) as engine:
        assert await chat.say("/poem 月")
        assert await chat.say("/poem 山")
        await chat.say("/poem 水")
    assert len(engine.jobs) == 2
    assert "The most poems you can ask for in 1 min is 2; please ask again in " in screen.getvalue()


async def test_the_poem_of_the_day_comes_before_the_next_answer_and_once(redis, talk, settings):
    moment = datetime.now(UTC) - timedelta(minutes=1)
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
        await anthology.schedules.start(
            Address(chat="console"),
            at=moment.time().replace(second=0, microsecond=0),
            zone="UTC",
            language=Language.ZH,
            now=moment - timedelta(hours=1),
        )
    async with fake_engine(redis):
        _, alone = await talk(once="/poem 月")
        _, first = await talk(b"/daily\n/daily\n")
        _, second = await talk(b"/daily\n")
    assert "今日一诗" not in alone
    assert first.index("今日一诗") < first.index("这里每天")
    assert first.count("今日一诗") == 1
    assert "今日一诗" not in second


async def test_a_poet_that_does_not_answer_is_said_to_be_silent(chat, screen, monkeypatch):
    monkeypatch.setattr("bot.console.chat._ANSWER_S", 0.05)
    assert not await chat.say("/poem 月")
    assert "did not answer" in screen.getvalue()


async def test_a_poem_that_comes_too_late_is_not_taken_for_the_next(
    redis, chat, screen, monkeypatch
):
    monkeypatch.setattr("bot.console.chat._ANSWER_S", 0.05)
    assert not await chat.say("/poem 月")
    monkeypatch.setattr("bot.console.chat._ANSWER_S", 20)
    async with fake_engine(redis):
        assert await chat.say("/poem 山")
    assert "山月落空江" in screen.getvalue()
    assert "月月落空江" not in screen.getvalue()


async def test_what_is_refused_counts_as_answered(chat, screen):
    assert await chat.say("/poem hello")
    assert "Chinese characters" in screen.getvalue()


async def test_of_several_poems_one_is_picked_by_its_number(redis, talk):
    typed = "/poem 月 五绝 x3\n/rewrite 2\n2\n2\n3\n/check\n".encode()
    async with fake_engine(redis) as engine:
        well, out = await talk(typed)
    assert well
    assert len(engine.jobs) == 1
    _, shown, refused, picked, again, other, checked = re.split("^› .*$", out, flags=re.MULTILINE)
    assert "\n  3.\n  月空江夜风，" in shown
    assert "选它的编号" in shown
    assert "请先选一首" in refused
    poem = "\n  月落空江夜，风吹远树秋。\n  故人千里外，一叶下汀洲。\n\n  五绝 · 尤韵 · lstm\n\n"
    assert picked.endswith(poem)
    assert again.endswith(poem)
    assert "已经选了第 2 首" in other
    assert "月落空江夜" in checked


async def test_the_last_poem_shown_is_rewritten_also_by_another_process(redis, talk):
    def answer(job):
        return made_up_poem(job) if job.frame else a_poem(job)

    async with fake_engine(redis, answer=answer) as engine:
        await talk(once="/poem 月 五绝")
        well, out = await talk(once="/rewrite 2")
    assert well
    _, job = engine.jobs
    assert job.frame == "月落空江夜□□□□□故人千里外一叶下汀洲"
    assert job.unlike == "月落空江夜风吹远树秋故人千里外一叶下汀洲"
    assert "\n  月落空江夜，月落空江夜。\n  故人千里外，一叶下汀洲。\n" in out


async def test_an_acrostic_keeps_its_heads_as_typed(redis, talk):
    async with fake_engine(redis) as engine:
        well, out = await talk(once="/acrostic 春風秋冬")
    assert well
    assert engine.jobs[0].frame == "春□□□□風□□□□秋□□□□冬□□□□"
    assert re.findall("^  (.)....，(.)....。$", out, flags=re.MULTILINE) == [
        ("春", "風"),
        ("秋", "冬"),
    ]


# --- a household of its own ---


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("YUEFU_DATA", str(tmp_path))
    monkeypatch.delenv("YUEFU_REDIS_URL", raising=False)
    return BotSettings()


def engine_is(monkeypatch, *arguments):
    monkeypatch.setattr(household, "ENGINE", (sys.executable, *arguments))


@asynccontextmanager
async def living_in(home):
    async with household.household(home) as redis:
        yield redis


async def test_a_household_starts_its_engine_and_stops_it_again(home, monkeypatch):
    engine_is(monkeypatch, "-m", "tests.fakes.engine")
    spawned = watch_children(monkeypatch)
    async with living_in(home) as redis:
        assert await EngineClient(redis).cells()
        [child] = spawned
        assert child.returncode is None
        async with living_in(home):
            assert len(spawned) == 1
    assert child.returncode is not None


async def test_a_household_starts_another_engine_where_one_dies(home, monkeypatch):
    engine_is(monkeypatch, "-m", "tests.fakes.engine")
    monkeypatch.setattr(household, "_WATCH_S", 0.05)
    spawned = watch_children(monkeypatch)
    async with living_in(home) as redis:
        spawned[0].kill()
        await spawned[0].wait()
        await redis.delete(keys.engine(WORKER))

        async def replaced():
            return len(spawned) > 1

        await until(replaced)


def watch_children(monkeypatch):
    spawned = []
    real = asyncio.create_subprocess_exec

    async def spawn(*arguments, **options):
        spawned.append(await real(*arguments, **options))
        return spawned[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    return spawned


async def test_an_engine_that_ends_at_once_is_reported_with_its_log(home, monkeypatch):
    engine_is(monkeypatch, "-c", "raise SystemExit('no model')")
    with pytest.raises(HouseholdError, match=r"engine\.log"):
        async with living_in(home):
            pass
    assert "no model" in (home.data / "engine.log").read_text()


async def test_an_engine_that_never_wakes_is_reported_and_stopped(home, monkeypatch):
    engine_is(monkeypatch, "-c", "import time; time.sleep(60)")
    monkeypatch.setattr(household, "START_S", 0.5)
    spawned = watch_children(monkeypatch)
    with pytest.raises(HouseholdError, match="did not come up"):
        async with living_in(home):
            pass
    assert spawned[0].returncode is not None


async def test_an_export_is_written_to_a_file_that_is_named(redis, chat, screen, tmp_path):
    async with fake_engine(redis, answer=a_poem):
        await chat.say("/poem 月")
        await chat.say("/export")
    saved = tmp_path / "yuefu.json"
    assert str(saved) in screen.getvalue()
    [poem] = json.loads(saved.read_text(encoding="utf-8"))["poems"]
    assert poem["opening"] == "月"
