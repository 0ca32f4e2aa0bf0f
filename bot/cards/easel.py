"""Cards are drawn in threads of their own, so that nobody's poem waits for somebody's picture."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from bot import texts
from bot.cards.card import Card
from bot.cards.chart import Chart, draw_chart
from bot.cards.drawing import draw
from bot.cards.fonts import CardFont, find_font
from bot.errors import CardError, GlyphsMissingError, NoFontError
from bot.language import Language

AT_ONCE = 1
"""Cards drawn at the same time: more would share the interpreter, and take it from the loop."""


def excuse(error: CardError, language: Language) -> str:
    """What to tell the person who asked for a card and gets the text."""
    if isinstance(error, GlyphsMissingError):
        return texts.CARD_GLYPHS_MISSING.say(language, chars=error.missing)
    return texts.CARD_NO_FONT.say(language)


class Easel:
    """Draws cards beside the event loop, `at_once` of them; the others wait in order."""

    def __init__(self, font: Path | None = None, *, at_once: int = AT_ONCE) -> None:
        """Draw with the font file `font`, or with the one that is usually installed.

        It is looked for when the first card is drawn, and again for each until there is one: a
        font that was installed meanwhile is found.
        """
        self._path = font
        self._font: CardFont | None = None
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="card")

    async def draw(self, card: Card) -> bytes:
        """The picture of `card` as PNG. A call that is cancelled before its turn costs nothing.

        Raises:
            CardError: there is no font, or it lacks characters of the card.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._draw, card)

    async def draw_chart(self, chart: Chart) -> bytes:
        """The picture of `chart` as PNG; it needs no font of ours."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, draw_chart, chart)

    def close(self) -> None:
        """Finish the cards being drawn and drop those that wait."""
        self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _draw(self, card: Card) -> bytes:
        if self._font is None:
            self._font = find_font(self._path)
        try:
            return draw(card, self._font)
        except NoFontError:
            self._font = None
            raise
