"""How things look in a terminal, and where there is none."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from textwrap import indent

from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from bot.console.keypad import captions
from bot.message import Button

PROMPT = "› "
SPINNER_AFTER_S = 0.8
"""Who waits no longer than this need not be told that they wait."""

_MARGIN = 2
_COMMAND = re.compile(r"(?<![^\s:：，、;；。（(])/[a-z]+")
# Chinese breaks after any character, all else between words; brackets and signs hold on.
_WIDE = "\u2e80-\uff60"
_UNIT = re.compile(rf"[（「《]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[，。；：、！？）」》…]*\s*|\s+")
_NUMBER = re.compile(r"(\d+)\.\n")


class Screen:
    """Plain text, the same wherever it goes."""

    def __init__(self, console: Console) -> None:
        """Print on `console`, which makes nothing of markup."""
        self._console = console

    def echo(self, line: str) -> None:
        """A line that nobody typed here."""
        # What is no text cannot be written either.
        self._console.print(f"{PROMPT}{line.encode(errors='replace').decode()}", soft_wrap=True)

    def say(self, text: str) -> None:
        """Something to read."""
        self._console.print(indent(text, " " * _MARGIN) + "\n", soft_wrap=True)

    def show_poem(self, text: str) -> None:
        """A poem, or several, as `bot.render` renders them."""
        self.say(text)

    def show_buttons(self, buttons: tuple[Button, ...]) -> None:
        """What numbers tap from now on."""
        self.say("  ".join(captions(buttons)))

    def offer(self, text: str) -> None:
        """Something to copy."""
        self.say(text)

    def hint(self, text: str) -> None:
        """How to go on."""
        self.say(text)

    def nod(self, text: str) -> None:
        """What a platform would show for a moment to whoever tapped."""
        self.say(text)

    @asynccontextmanager
    async def waiting(self, _text: str) -> AsyncIterator[None]:
        """While something takes its time: where nobody looks, nothing is shown."""
        yield


class Leaflet(Screen):
    """One answer and no more: nobody can tap anything below it."""

    def show_buttons(self, buttons: tuple[Button, ...]) -> None:
        """Nothing."""


class Terminal(Screen):
    """Poems framed, the rest in its place, for somebody who sits there."""

    def say(self, text: str) -> None:
        """Something to read, with its commands brought out."""
        width = self._console.width - 2 * _MARGIN
        shown = Text("\n".join(broken(line, width) for line in text.split("\n")))
        shown.highlight_regex(_COMMAND, "bold cyan")
        self._print(shown)

    def show_poem(self, text: str) -> None:
        """A frame for each poem, with its number where there are several, and the rest below."""
        *verses, foot = text.split("\n\n")
        colophon, _, question = foot.partition("\n")
        below = [Text(colophon, "dim"), *([Text(question)] if question else [])]
        if len(verses) == 1:
            self._print(_frame([Text(verses[0], "bold"), Text(), *below]))
        else:
            self._print(Group(self._arrange([_frame_numbered(verse) for verse in verses]), *below))

    def show_buttons(self, buttons: tuple[Button, ...]) -> None:
        """What numbers tap from now on."""
        row = Text("   ").join(Text(caption) for caption in captions(buttons))
        row.highlight_regex(r"(?:^|(?<=   ))\d+", "bold cyan")
        self._print(row)

    def offer(self, text: str) -> None:
        """Something to copy: the terminal itself must break it, or it would not fit together."""
        self._console.print(" " * _MARGIN + text + "\n", soft_wrap=True)

    def hint(self, text: str) -> None:
        """How to go on."""
        self._print(Text(text, "dim"))

    def nod(self, text: str) -> None:
        """What a platform would show for a moment to whoever tapped."""
        self._print(Text(text, "yellow"))

    @asynccontextmanager
    async def waiting(self, text: str) -> AsyncIterator[None]:
        """Something that turns, once the wait is long enough to be felt."""
        spinner = self._console.status(text)
        due = asyncio.get_running_loop().call_later(SPINNER_AFTER_S, spinner.start)
        try:
            yield
        finally:
            due.cancel()
            spinner.stop()

    def _arrange(self, frames: Sequence[Panel]) -> RenderableType:
        """As many side by side as there is room for; Rich would cut one that is too wide."""
        widest = max(self._console.measure(frame).maximum for frame in frames)
        fits = widest + 2 * _MARGIN <= self._console.width
        return Columns(frames) if fits else Group(*frames)

    def _print(self, shown: RenderableType) -> None:
        self._console.print(Padding(shown, (0, _MARGIN, 1, _MARGIN), expand=False))


def broken(line: str, width: int) -> str:
    """`line`, broken so that no part is wider than `width` cells; Rich only knows spaces."""
    parts = [""]
    for unit in _UNIT.findall(line):
        if parts[-1] and cell_len(parts[-1] + unit.rstrip()) > width:
            parts.append("")
        parts[-1] += unit
    return "\n".join(part.rstrip() for part in parts)


def _frame(shown: Sequence[RenderableType], title: str | None = None) -> Panel:
    return Panel(
        Group(*shown),
        title=title,
        title_align="left",
        border_style="red",
        padding=(1, 3),
        expand=False,
    )


def _frame_numbered(verse: str) -> Panel:
    found = _NUMBER.match(verse)
    title = found[1] if found else None
    return _frame([Text(_NUMBER.sub("", verse, count=1), "bold")], title)
