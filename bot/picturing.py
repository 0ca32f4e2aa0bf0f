"""`/card`: what follows it becomes a request for the picture of a poem that is shown."""

from bot import texts
from bot.asking import ARGUMENTS_MAX
from bot.cards.card import Ratio, Theme
from bot.requests import CardRequest, Request, Situation, refuse
from bot.wording import words_for
from engine.verse.script import clean

_THEMES = words_for(
    {
        Theme.PAPER: ("paper", "light", "纸", "紙", "白"),
        Theme.INK: ("ink", "dark", "墨", "黑"),
    }
)
_RATIOS = words_for(
    {
        Ratio.SQUARE: ("1:1", "square", "方"),
        Ratio.PORTRAIT: ("3:4", "portrait", "长", "長"),
    }
)


def read_card_request(arguments: str, situation: Situation) -> Request:
    """What follows /card: paper or ink, 1:1 or 3:4, in any order; nothing for the usual."""
    theme, ratio = Theme.PAPER, Ratio.PORTRAIT
    for word in clean(arguments[:ARGUMENTS_MAX]).casefold().split():
        if word not in _THEMES and word not in _RATIOS:
            return refuse(texts.CARD_UNCLEAR, situation)
        theme, ratio = _THEMES.get(word, theme), _RATIOS.get(word, ratio)
    return CardRequest(theme=theme, ratio=ratio)
