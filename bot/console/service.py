"""`python -m bot console`: where the lines come from, and what the exit code says."""

import asyncio
import readline  # noqa: F401 - `input` has editing and history once it is loaded
import sys
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from io import TextIOWrapper

from rich.console import Console

from bot import texts
from bot.console.chat import PROMPT, Chat, open_chat
from bot.language import Language
from bot.settings import BotSettings

DEMO = ("/help", "/poem 月", "/style gru 0.8", "/poem 山")
"""What is played where nobody can type."""

_QUIT = "/quit"


def run(settings: BotSettings, language: Language, *, once: str | None = None) -> bool:
    """Talk until the lines end; whether every poem asked for was written.

    The lines are those of the terminal; or `once`; or, where stdin is no terminal, those in it,
    and the demo if there are none.

    Raises:
        HouseholdError, AnthologyError: something the chat stands on did not come up.
    """
    screen = Console(highlight=False, markup=False)
    return _talk(settings, language, screen, _lines(once, language, screen), alone=once is not None)


def _talk(
    settings: BotSettings, language: Language, screen: Console, lines: Iterable[str], *, alone: bool
) -> bool:
    """Answer `lines`; between them the loop stands still, so that Ctrl-C ends a prompt cleanly.

    So the poem of the day, when it is due, comes before the next answer; not where a line is
    `alone`, for whoever asks for one thing wants one answer.
    """
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            opening = stack.enter_async_context(open_chat(settings, language, screen))
            chat = runner.run(opening)
            answered = [runner.run(_answer(chat, line, alone=alone)) for line in lines]
        except KeyboardInterrupt:
            return True
        finally:
            runner.run(stack.aclose())
    return all(answered)


async def _answer(chat: Chat, line: str, *, alone: bool) -> bool:
    """Answer one line, after the poem of the day where that is due."""
    if not alone:
        await chat.show_daily()
    return await chat.say(line)


def _lines(once: str | None, language: Language, screen: Console) -> Iterator[str]:
    if once is not None:
        yield once
    elif sys.stdin.isatty():
        screen.print(texts.CONSOLE_HINT.say(language), style="dim")
        yield from _typed()
    else:
        # Bytes that are no text reach the commands as such, and are refused there.
        if isinstance(sys.stdin, TextIOWrapper):
            sys.stdin.reconfigure(errors="surrogateescape")
        piped = [line.strip() for line in sys.stdin if line.strip()]
        for line in piped or DEMO:
            # What is no text cannot be written either.
            screen.print(f"{PROMPT}{line.encode(errors='replace').decode()}")
            yield line


def _typed() -> Iterator[str]:
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            return
        if line == _QUIT:
            return
        if line:
            yield line
