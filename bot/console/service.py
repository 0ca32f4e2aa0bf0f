"""`python -m bot console`: where the lines come from, and what the exit code says."""

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from threading import Event
from types import FrameType

from rich.console import Console

from bot import texts
from bot.console.chat import AT_DEMO, HISTORY, Chat, Scene, open_chat
from bot.console.completion import QUIT
from bot.console.prompt import DroppedError, Prompt
from bot.console.screen import PROMPT, Leaflet, Screen, Terminal
from bot.console.tray import open_file
from bot.language import Language
from bot.settings import BotSettings
from engine.settings import SettingsError
from engine.verse.script import clean

DEMO = (
    "/help",
    "/poem 月",
    "/poem 山 边塞 七绝",
    "/acrostic 春夏秋冬",
    "/check",
    "/rewrite 2",
    "/card",
    "1",
)
"""What is played where nobody can type; the last line taps 👍."""

CARDS = "cards"
"""The folder in the data folder that cards are saved in by default."""


def run(
    settings: BotSettings, language: Language, *, once: str | None = None, cards: Path | None = None
) -> bool:
    """Talk until the lines end; whether every poem asked for was written.

    The lines are those of the terminal; or `once`; or, where stdin is no terminal, those in it,
    and the demo if there are none. `cards` is the folder to save them in.

    Raises:
        SettingsError: a file that the settings name cannot be used.
        HouseholdError, AnthologyError: something the chat stands on did not come up.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    plain = Scene(screen=Screen(console), cards=cards or settings.data / CARDS)
    if once is not None:
        return _recite(settings, language, [once], replace(plain, screen=Leaflet(console)))
    if not sys.stdin.isatty():
        lines = _piped()
        if not lines:
            lines, plain = DEMO, replace(plain, guest=AT_DEMO)
        return _recite(settings, language, _echoed(lines, plain.screen), plain)
    if not (sys.stdout.isatty() and console.is_interactive):
        plain.screen.hint(texts.CONSOLE_HINT.say(language))
        return _recite(settings, language, _typed(), plain)
    scene = replace(plain, screen=Terminal(console), opener=open_file)
    return _converse(settings, language, scene)


# --- where nobody sits at a terminal, or at one that can do nothing ---


def _recite(settings: BotSettings, language: Language, lines: Iterable[str], scene: Scene) -> bool:
    """Answer `lines`; between them the loop stands still, so that Ctrl-C ends a prompt cleanly."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            chat = runner.run(stack.enter_async_context(open_chat(settings, language, scene)))
            answered = [
                runner.run(_answer(chat, line, scene.screen)) for line in _until_quit(lines)
            ]
        except KeyboardInterrupt:
            return True
        finally:
            runner.run(stack.aclose())
    return all(answered)


async def _answer(chat: Chat, line: str, screen: Screen) -> bool:
    """Answer one line, after the poem of the day where that is due.

    Whoever asks for one thing alone wants one answer.
    """
    if not isinstance(screen, Leaflet):
        await chat.show_daily()
    return await chat.say(line)


def _until_quit(lines: Iterable[str]) -> Iterator[str]:
    """The lines that hold something, until one of them leaves."""
    for line in lines:
        if _is_farewell(line):
            return
        if line.strip():
            yield line.strip()


def _is_farewell(line: str) -> bool:
    """Whether `line` says that there will be no more."""
    # Nothing that leaves is longer, also with full-width letters and spaces around it.
    return clean(line.strip()[: 2 * len(QUIT)]).casefold() == QUIT


def _piped() -> Sequence[str]:
    # Bytes that are no text reach the commands as such, and are refused there.
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return [line.strip() for line in sys.stdin if line.strip()]


def _echoed(lines: Iterable[str], screen: Screen) -> Iterator[str]:
    for line in lines:
        screen.echo(line)
        yield line


def _typed() -> Iterator[str]:
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            return


# --- at a terminal ---


def _converse(settings: BotSettings, language: Language, scene: Scene) -> bool:
    """Answer what is typed; Ctrl-C drops a line or stops waiting, Ctrl-D leaves."""
    try:
        prompt = Prompt(settings.data / HISTORY)
    except OSError as error:
        raise SettingsError(f"YUEFU_DATA: {error.strerror}") from None
    with asyncio.Runner() as runner, _farewells() as farewell:
        stack = AsyncExitStack()
        try:
            chat = runner.run(stack.enter_async_context(open_chat(settings, language, scene)))
            sitting = _Sitting(runner=runner, chat=chat, prompt=prompt, screen=scene.screen)
            answered = [sitting.answer(line) for line in _until_quit(sitting.lines(farewell))]
        except KeyboardInterrupt:
            return True
        except (OSError, termios.error):
            # The window that was closed took the terminal with it.
            if farewell.is_set():
                return True
            raise
        finally:
            runner.run(stack.aclose())
    return all(answered)


@dataclass(frozen=True, kw_only=True)
class _Sitting:
    """Somebody at a terminal, whose Ctrl-C ends what goes on and nothing else."""

    runner: asyncio.Runner
    """Runs the chat."""
    chat: Chat
    """Answers."""
    prompt: Prompt
    """Asks."""
    screen: Screen
    """Shows."""

    def lines(self, farewell: Event) -> Iterator[str]:
        """What is typed, until Ctrl-D or a `farewell`."""
        self._hint()
        while not farewell.is_set():
            try:
                line = self.runner.run(self._ask())
            except DroppedError:
                self._hint()
            except KeyboardInterrupt:
                continue
            else:
                if line is None:
                    return
                yield line

    def answer(self, line: str) -> bool:
        """Whether all that `line` asked for was done; what was given up counts."""
        try:
            return self.runner.run(_answer(self.chat, line, self.screen))
        except KeyboardInterrupt:
            self.screen.say(texts.CONSOLE_GIVEN_UP.say(self.chat.language))
            return True

    async def _ask(self) -> str | None:
        return await self.prompt.ask(await self.chat.standing())

    def _hint(self) -> None:
        self.screen.hint(texts.CONSOLE_HINT.say(self.chat.language))


@contextmanager
def _farewells() -> Iterator[Event]:
    """Set when we are told to leave: by a supervisor, or because the terminal was closed.

    Ctrl-C stops waiting and no more, so it can no longer mean the same.
    """
    farewell = Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        farewell.set()
        signal.raise_signal(signal.SIGINT)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield farewell
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if farewell.is_set():
            _let_go()


def _let_go() -> None:
    """Forget what is still to be shown, if no window is left: else Python would end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
