"""Where a line is typed: editing, history, completion, and what is so below it."""

import os
from dataclasses import dataclass
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style as Colours

from bot import texts
from bot.console.completion import CommandCompleter, usage_of
from bot.console.keypad import captions, number_typed
from bot.console.screen import PROMPT
from bot.language import Language
from bot.message import Button
from bot.style import Style, describe
from engine.jobs import Cell

_COLOURS = Colours.from_dict(
    {"bottom-toolbar": "noreverse fg:ansibrightblack", "prompt": "bold ansired"}
)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How things are while somebody types."""

    language: Language
    """The language spoken in the chat."""
    style: Style
    """How its poems are written."""
    cells: frozenset[Cell]
    """The models that run."""
    buttons: tuple[Button, ...]
    """What numbers tap."""


class DroppedError(Exception):
    """The line that was being typed was dropped."""


class Prompt:
    """Asks for lines."""

    def __init__(
        self, history: Path, *, source: Input | None = None, target: Output | None = None
    ) -> None:
        """Remember lines in the file `history`; read and write this terminal by default.

        Raises:
            OSError: the file can be neither read nor made.
        """
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", PROMPT)],
            history=_Past(history),
            auto_suggest=AutoSuggestFromHistory(),
            style=_COLOURS,
            interrupt_exception=DroppedError,
            input=source,
            output=target,
        )

    async def ask(self, standing: Standing) -> str | None:
        """The next line; None where there will be no more.

        Raises:
            DroppedError: Ctrl-C was pressed instead.
        """
        try:
            return await self._session.prompt_async(
                completer=CommandCompleter(standing.language, standing.cells),
                bottom_toolbar=lambda: self._toolbar(standing),
                # A signal is for whoever started us: only the key drops a line.
                handle_sigint=False,
            )
        except EOFError:
            return None

    def _toolbar(self, standing: Standing) -> StyleAndTextTuples:
        """What the command being typed takes, else what is so in this chat."""
        usage = usage_of(self._session.default_buffer.text, standing.language)
        if usage:
            return [("", f" {usage}")]
        text = describe(texts.CONSOLE_STANDING, standing.style, standing.language)
        return [("", "   ".join([f" {text}", *captions(standing.buttons)]))]


class _Past(FileHistory):
    """The lines typed before, for their owner's eyes only."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        path.chmod(0o600)
        super().__init__(str(path))

    def append_string(self, string: str) -> None:
        # What a number taps changes: nobody wants it back.
        if number_typed(string) is None:
            super().append_string(string)

    def store_string(self, string: str) -> None:
        # Bytes that are no text come as surrogates, which no file takes.
        super().store_string(string.encode(errors="replace").decode())
