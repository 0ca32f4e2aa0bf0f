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
from structlog.testing import capture_logs

from bot import household
from bot.anthology import Anthology
from bot.cards.easel import Easel
from bot.console.chat import Chat
from bot.console.screen import Screen
from bot.console.service import DEMO, run
from bot.console.tray import Tray
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
from engine.verse.forms import FormName
from tests.fakes.bot import environment
from tests.fakes.engine import WORDS, WORKER, fake_engine, made_up_poem
from tests.fakes.fonts import make_font
from tests.fakes.jobs import a_poem
from tests.fakes.waiting import until

POEM = "月月落空江，夜风吹远树。"


FONT = f"{WORDS}月风吹远树叶乐府五言绝句尤韵 ·lstmAI生成"
LIKED = "  1 👍 1  2 👎  3 🔁  4 ✍  5 🖼\n\n"
ROW = "  1 👍  2 👎  3 🔁  4 ✍  5 🖼\n\n"


@pytest.fixture
def settings(valkey_url, tmp_path):
    return BotSettings(redis_url=valkey_url, data=tmp_path)


@pytest.fixture
def no_font(monkeypatch):
    monkeypatch.setattr("bot.cards.fonts.USUAL_FONTS", ())


@pytest.fixture
def talk(settings, monkeypatch, capsys):
    """Run the console on lines from a pipe; whether all went well, and what it wrote."""

    async def run_on(typed=b"", *, once=None, cards=None, language=Language.ZH):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        # The log has a file of its own.
        with capture_logs():
            well = await asyncio.to_thread(run, settings, language, once=once, cards=cards)
        return well, capsys.readouterr().out

    return run_on


async def test_without_a_terminal_it_plays_the_demo(redis, talk, no_font):
    def answer(job):
        return a_poem(job) if job.form is FormName.WUJUE else made_up_poem(job)

    async with fake_engine(redis, answer=answer) as engine:
        well, out = await talk()
    assert well
    assert [line for line in out.splitlines() if line.startswith("›")] == [
        f"› {line}" for line in DEMO
    ]
    written = "/poem", "/acrostic", "/rewrite"
    assert len(engine.jobs) == sum(line.startswith(written) for line in DEMO)
    assert "\n  春落空江夜，夏吹远树秋。" in out
    assert "fonts-lxgw-wenkai" in out
    assert "👍 记下了" in out


async def test_what_the_demo_does_is_not_done_in_the_persons_own_chat(redis, talk, no_font):
    async with fake_engine(redis):
        await talk()
        _, out = await talk(once="/check")
    assert "没看到诗" in out


async def test_lines_from_a_pipe_are_answered_in_turn(redis, talk):
    typed = "/style lstm 1.5 五绝\n\n/poem 月\n/poem hello\n/poem \n".encode()
    async with fake_engine(redis) as engine:
        well, out = await talk(typed + b"/poem \xff\xfe\n")
    assert well
    assert [(job.cell, job.temperature) for job in engine.jobs] == [("lstm", 1.5)] * 2
    assert POEM in out
    assert "汉字" in out
    assert "损坏" in out


async def test_a_model_is_put_back_from_the_console(redis, talk, monkeypatch):
    monkeypatch.setattr("engine.client.ROLLBACK_S", 0.2)
    async with fake_engine(redis):
        _, out = await talk(b"/rollback gru\n1\n")
    assert "1 换回去" in out
    assert "请等几秒" in out
    # The fake engine obeys nobody.
    assert "没有换掉 gru-test" in out


async def test_one_line_can_be_asked_from_the_command_line(redis, talk):
    async with fake_engine(redis):
        well, out = await talk(once="/poem 月 五绝", language=Language.EN)
    assert well
    # Nobody could type a number any more, so no button is shown.
    assert out.startswith(f"  {POEM}\n")
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
            screen=Screen(Console(file=screen, width=80)),
            tray=Tray(tmp_path, Easel()),
            traces=Leftovers(redis, "console"),
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


async def answers(talk, *lines):
    """What follows each of `lines` on the screen."""
    _, out = await talk("\n".join(lines).encode())
    return re.split("^› .*\n", out, flags=re.MULTILINE)[1:]


async def test_a_line_that_leaves_is_the_last_also_through_a_pipe(redis, talk):
    async with fake_engine(redis) as engine:
        well, out = await talk("/poem 月\n ／QUIT \n/poem 山\n".encode())
    assert well
    assert [job.opening for job in engine.jobs] == ["月"]
    assert out.endswith(f"{ROW}› ／QUIT\n")


async def test_of_several_poems_one_is_picked_by_its_number(redis, talk):
    async with fake_engine(redis) as engine:
        shown, refused, beyond, picked, checked = await answers(
            talk, "/poem 月 五绝 x3", "/rewrite 2", "4", "2", "/check"
        )
    assert len(engine.jobs) == 1
    assert "\n  3.\n  月空江夜风，" in shown
    assert shown.endswith("选它的编号。\n\n  1  2  3\n\n")
    assert "请先选一首" in refused
    assert "1 到 3" in beyond
    poem = "  月落空江夜，风吹远树秋。\n  故人千里外，一叶下汀洲。\n\n  五绝 · 尤韵 · lstm\n\n"
    assert picked == poem + ROW
    assert "月落空江夜" in checked


async def test_one_of_several_is_picked_by_another_process_and_only_once(redis, talk):
    async with fake_engine(redis):
        await talk(once="/poem 月 五绝 x3")
        _, picked = await talk(once="2")
        _, again = await talk(once="第二首")
        _, other = await talk(once="3")
    assert "月落空江夜，风吹远树秋。" in picked
    assert again == picked
    assert "已经选了第 2 首" in other


async def test_a_vote_is_counted_and_the_first_asks_for_consent_once(redis, talk):
    async with fake_engine(redis):
        _, voted, refused, changed, poem, other = await answers(
            talk, "/poem 月 五绝", "1", "2", "2", "/poem 山 五绝", "1"
        )
    assert voted.startswith("  👍 记下了。\n\n  你的 👍 👎 可以用来训练我吗？")
    assert voted.endswith("\n\n  1 可以  2 不要\n\n")
    # The question is answered, so numbers are about the poem again.
    assert refused.endswith(
        "不会用来训练我。改主意就发 /privacy。\n\n  1 👍 1  2 👎  3 🔁  4 ✍  5 🖼\n\n"
    )
    assert changed == f"  👎 记下了。\n\n{ROW}"
    assert poem.endswith(ROW)
    assert other == f"  👍 记下了。\n\n{LIKED}"


async def test_another_poem_and_a_line_written_anew_are_a_number_away(redis, talk):
    def answer(job):
        return made_up_poem(job) if job.frame else a_poem(job)

    async with fake_engine(redis, answer=answer) as engine:
        _, another, which, rewritten, which_again, back = await answers(
            talk, "/poem 月 五绝", "3", "4", "2", "4", "5"
        )
    assert [(job.opening, bool(job.frame)) for job in engine.jobs] == [
        ("月", False),
        ("月", False),
        ("", True),
    ]
    assert "月落空江夜" in another
    assert another.endswith(ROW)
    assert which == which_again == "  要改哪一句？点它的句数。\n\n  1  2  3  4  5 ↩\n\n"
    assert "\n  月落空江夜，月落空江夜。\n" in rewritten
    assert rewritten.endswith(ROW)
    assert back == ROW


async def test_a_card_is_saved_where_one_wants_it(redis, talk, settings, tmp_path):
    settings.card_font = make_font(tmp_path / "font.ttf", FONT)
    async with fake_engine(redis):
        _, tapped, asked = await answers(talk, "/poem 月 五绝", "5", "/card 墨 1:1")
        well, _ = await talk(once="/card", cards=tmp_path / "elsewhere")
    said = {f"  存好了：{path}\n\n" for path in (tmp_path / "cards").iterdir()}
    assert said == {tapped, asked}
    assert len(said) == 2
    [usual] = (tmp_path / "elsewhere").iterdir()
    assert usual.name in tapped
    assert usual.read_bytes().startswith(b"\x89PNG")
    assert well


async def test_a_card_that_cannot_be_made_is_the_poem_and_a_reason(
    redis, talk, settings, tmp_path, no_font
):
    async with fake_engine(redis):
        _, drawn = await answers(talk, "/poem 月 五绝", "5")
        settings.card_font = make_font(tmp_path / "font.ttf", FONT)
        (tmp_path / "file").touch()
        well, saved = await talk(once="/card", cards=tmp_path / "file")
    assert drawn.startswith(f"  {POEM}\n")
    assert "fonts-lxgw-wenkai" in drawn
    assert saved.count("\n") == 2
    assert "--save-cards" in saved
    assert well


async def test_the_language_of_the_chat_is_spoken_by_the_console_too(redis, talk):
    async with fake_engine(redis):
        *_, beyond = await answers(talk, "/lang en", "/poem 月", "9")
    assert "The buttons here are 1 to 5" in beyond


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
    assert out.startswith("  月落空江夜，月落空江夜。\n  故人千里外，一叶下汀洲。\n")


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
