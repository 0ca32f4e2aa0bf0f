"""The console at a real terminal: keys, the history of lines, and how one leaves.

A process takes seconds to start, so each test goes through several things that belong together.
"""

import signal
import stat

import pytest

from bot.console.screen import PROMPT
from tests.fakes.engine import fake_engine
from tests.fakes.terminal import (
    CTRL_C,
    CTRL_D,
    ENTER,
    TAB,
    UP,
    console_in_a_terminal,
    pasted,
)
from tests.fakes.waiting import until

TANG = "白日依山尽，\n黄河入海流。\n欲穷千里目，\n更上一层楼。"


@pytest.fixture
def history(tmp_path):
    return tmp_path / "console.history"


@pytest.fixture
def at_terminal(valkey_url, tmp_path):
    def sit_down():
        return console_in_a_terminal(
            "--lang=zh", YUEFU_REDIS_URL=valkey_url, YUEFU_DATA=str(tmp_path)
        )

    return sit_down


async def test_numbers_tap_and_the_line_below_says_what_they_tap(redis, at_terminal, history):
    async with fake_engine(redis), at_terminal() as terminal:
        await terminal.enter("/poem 月 五绝")
        shown = await terminal.shows("5 🖼")
        assert "│   月月落空江，夜风吹远树。   │" in shown
        await terminal.enter("1")
        await terminal.shows("记下了")
        await terminal.shows("1 可以   2 不要")
        await terminal.enter("2")
        await terminal.shows("不会用来训练")
        await terminal.shows("1 👍 1   2 👎")
        await terminal.shows("诗体不限 · 简体中文   1 👍 1")
        terminal.press(CTRL_D)
        assert await terminal.leaves() == 0
    assert [line for line in history.read_text().splitlines() if line.startswith("+")] == [
        "+/poem 月 五绝"
    ]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


async def test_keys_recall_complete_and_drop_a_line(redis, at_terminal, history):
    history.write_text("\n# 2026-01-01\n+/poem 秋\n")
    async with fake_engine(redis) as engine, at_terminal() as terminal:
        await terminal.shows(PROMPT)

        async def recalled():
            # Lines of earlier days are read beside the prompt, and may not be there at once.
            terminal.press(UP)
            return "/poem 秋" in terminal.screen

        await until(recalled)
        terminal.press(ENTER)
        await terminal.shows("5 🖼")
        await terminal.shows(PROMPT)
        terminal.press(b"/lan")
        await terminal.shows("选我说的语言")
        terminal.press(TAB)
        await terminal.shows("zh-Hant | en | auto — ")
        terminal.press(b"en" + ENTER)
        await terminal.shows("I speak English here.")
        await terminal.shows("form any · English")
        terminal.press("/poem 月".encode() + CTRL_C)
        await terminal.shows("/quit leaves")
        await terminal.enter("/quit")
        assert await terminal.leaves() == 0
    assert [job.opening for job in engine.jobs] == ["秋"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


async def test_whatever_is_typed_or_pasted_is_answered(redis, at_terminal, history):
    async with fake_engine(redis) as engine, at_terminal() as terminal:
        await terminal.shows(PROMPT)
        terminal.press(b"/poem \xff\xfe" + ENTER)
        await terminal.shows("损坏")
        await terminal.enter("/poem 𠮷😀")
        await terminal.shows("汉字")
        await terminal.shows(PROMPT)
        terminal.press(b"/check " + pasted(TANG) + ENTER)
        await terminal.shows("都合格律")
        await terminal.enter("／poem　明月")
        await terminal.shows("5 🖼")
        await terminal.enter("/quit")
        assert await terminal.leaves() == 0
    assert [job.opening for job in engine.jobs] == ["明月"]
    assert "+/poem 𠮷😀\n" in history.read_text()


async def test_ctrl_c_stops_waiting_and_nothing_else_while_a_supervisor_ends_all(
    redis, at_terminal
):
    async with at_terminal() as terminal:
        await terminal.enter("/poem 月 五绝")
        await terminal.shows("Ctrl-C")
        terminal.press(CTRL_C)
        await terminal.shows("不等了")
        async with fake_engine(redis) as engine:
            await terminal.enter("/poem 山 五绝")
            await terminal.shows("山月落空江")
        # What nobody waits for is not written.
        assert [job.opening for job in engine.jobs] == ["山"]
        await terminal.enter("/poem 水")
        await terminal.shows("Ctrl-C")
        terminal.process.send_signal(signal.SIGTERM)
        assert await terminal.leaves() == 0


async def test_a_window_that_is_closed_ends_it(at_terminal):
    async with at_terminal() as terminal:
        await terminal.shows("简体中文")
        terminal.close()
        assert await terminal.leaves() == 0
