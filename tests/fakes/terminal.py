"""A terminal with `python -m bot console` in it, and somebody who types."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from bot.console.screen import PROMPT
from tests.fakes.bot import ROOT, environment
from tests.fakes.waiting import until

ROWS, COLUMNS = 40, 100
CTRL_C, CTRL_D, ENTER, TAB, UP = b"\x03", b"\x04", b"\r", b"\t", b"\x1b[A"

# The terminal must be the program's own, or no key of it would become a signal.
_IN_A_TERMINAL = (
    "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
_WHERE_IS_THE_CURSOR = b"\x1b[6n"
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()].|[=>])|\r")


def pasted(text: str) -> bytes:
    """What a terminal sends when `text` is pasted into it."""
    return b"\x1b[200~" + text.encode() + b"\x1b[201~"


class Terminal:
    """What stands on the screen, as one long text without its colours."""

    def __init__(self, process: Process, leader: int) -> None:
        self.process = process
        self._leader = leader
        self._read = b""
        self._seen = 0

    def listen(self) -> None:
        """Take what the program wrote, and answer as terminals do."""
        try:
            written = os.read(self._leader, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._leader)
            return
        self._read += written
        for _ in range(written.count(_WHERE_IS_THE_CURSOR)):
            os.write(self._leader, b"\x1b[5;1R")

    def press(self, keys: bytes) -> None:
        """Press keys, of which some may be no text.

        Who does not wait for the prompt presses them while the program does something else.
        """
        os.write(self._leader, keys)

    async def enter(self, line: str) -> None:
        """Wait until the program asks, and type a line."""
        await self.shows(PROMPT)
        self.press(f"{line}\r".encode())

    @property
    def screen(self) -> str:
        """All that was shown since what was waited for last."""
        return _ESCAPES.sub("", self._read.decode(errors="replace"))[self._seen :]

    async def shows(self, text: str) -> str:
        """Wait until `text` is shown after what was waited for before; what came up to there."""

        async def find() -> str | None:
            before, found, _ = self.screen.partition(text)
            self._seen += len(before + found) if found else 0
            return before + found if found else None

        found = await until(find, within_s=20)
        assert found is not None
        return found

    async def leaves(self) -> int:
        """Wait until the program has ended; its exit code."""
        return await asyncio.wait_for(self.process.wait(), 20)

    def close(self) -> None:
        """Close the window."""
        asyncio.get_running_loop().remove_reader(self._leader)
        with suppress(OSError):
            os.close(self._leader)


@asynccontextmanager
async def console_in_a_terminal(*arguments: str, **settings: str) -> AsyncIterator[Terminal]:
    """The console in a terminal of its own, killed in the end."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _IN_A_TERMINAL, "-m", "bot", "console", *arguments),
        cwd=ROOT,
        env=environment(**{"TERM": "xterm-256color"} | settings),
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    terminal = Terminal(process, leader)
    asyncio.get_running_loop().add_reader(leader, terminal.listen)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        terminal.close()
