"""Where a chat in a terminal lays down what no terminal shows: cards."""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from bot.cards.card import Card
from bot.cards.easel import Easel

Opener = Callable[[Path], Awaitable[None]]
"""Shows a file to whoever sits here, or does nothing where it cannot."""

_KEY_SHOWN = 8
# Some desktops hand the file on at once, others go on until the window is closed.
_IN_THE_BACKGROUND = ("/bin/sh", "-c", '"$@" &', "sh")


class Tray:
    """A folder for pictures and other files."""

    def __init__(self, folder: Path, easel: Easel, opener: Opener | None = None) -> None:
        """Save in `folder`, made when it is needed, and show by `opener` what can be looked at."""
        self._folder = folder
        self._easel = easel
        self._open = opener

    async def lay_card(self, card: Card) -> Path:
        """Save the picture of `card` and show it; the same card is the same file.

        Raises:
            CardError: it cannot be drawn.
            OSError: it cannot be saved.
        """
        picture = await self._easel.draw(card)
        path = self._save(f"{card.lines[0]}-{card.key[:_KEY_SHOWN]}.png", picture)
        if self._open is not None:
            with suppress(OSError):
                # Whoever reads where it is can still look for themselves.
                await self._open(path)
        return path

    def lay_file(self, name: str, text: str) -> Path:
        """Save a file; OSError if it cannot be."""
        return self._save(name, text.encode())

    def _save(self, name: str, content: bytes) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        path.write_bytes(content)
        return path


async def open_file(path: Path) -> None:
    """Have the desktop show the file at `path`; nothing where there is no desktop."""
    program = shutil.which("open" if sys.platform == "darwin" else "xdg-open")
    # Without a desktop xdg-open would look for a browser that runs in this very terminal.
    has_desktop = sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    if program is not None and has_desktop:
        shell = await asyncio.create_subprocess_exec(
            *_IN_THE_BACKGROUND,
            *(program, str(path)),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            # What is looked at outlives the chat, and its Ctrl-C.
            start_new_session=True,
        )
        await shell.wait()
