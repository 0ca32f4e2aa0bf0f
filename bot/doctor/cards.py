"""What cards are drawn with, and the list of words: files that a bot opens when it needs them."""

from PIL import features

from bot import texts
from bot.cards.fonts import CardFont, find_font
from bot.doctor.finding import Finding, fine, skipped, warning, wrong
from bot.doctor.variables import Case
from bot.errors import GlyphsMissingError, NoFontError
from bot.language import Script
from bot.moderation import open_filter
from engine.settings import SettingsError

USUAL = {
    Script.SIMPLIFIED: "风花雪月山水云雨春夏秋冬东西南北江湖归梦愁酒诗书龙马关塞楼台",
    Script.TRADITIONAL: "風花雪月山水雲雨春夏秋冬東西南北江湖歸夢愁酒詩書龍馬關塞樓臺",
}
"""Characters that verse is full of: a font without them is no font for cards."""

_NEEDED = {"freetype2": "FreeType", "zlib": "PNG"}
"""What Pillow has to be built with, by the name that people know."""


def check_font(case: Case) -> list[Finding]:
    """The font of the cards, and what draws with it."""
    lacking = [name for feature, name in _NEEDED.items() if not features.check(feature)]
    if lacking:
        said, remedy = texts.PILLOW_LACKS, texts.PILLOW_LACKS_DO
        return [wrong("cards.pillow", said, remedy, features=", ".join(lacking))]
    if missing := case.needs("cards.font", "card_font"):
        return missing
    path = case.settings.card_font
    try:
        font = find_font(path)
    except NoFontError:
        if path is None:
            return [warning("cards.font", texts.FONT_NONE, texts.FONT_NONE_DO)]
        return [wrong("cards.font", texts.FONT_BROKEN, texts.FONT_BROKEN_DO, font=path)]
    return [_look_at(font)]


def _look_at(font: CardFont) -> Finding:
    name = font.faces[Script.SIMPLIFIED].path.name
    for script, characters in USUAL.items():
        try:
            font.faces[script].check(characters)
        except GlyphsMissingError as error:
            said, remedy = texts.FONT_POOR, texts.FONT_POOR_DO
            return warning("cards.font", said, remedy, font=name, missing=error.missing[:8])
    return fine("cards.font", texts.FONT_FOUND, font=name)


def check_words(case: Case) -> list[Finding]:
    """The list of words that may not be shown."""
    if missing := case.needs("cards.words", "words"):
        return missing
    if case.settings.words is None:
        return [skipped("cards.words", texts.WORDS_NONE)]
    try:
        count = len(open_filter(case.settings))
    except SettingsError as error:
        why = str(error).removeprefix("YUEFU_WORDS: ")
        return [wrong("cards.words", texts.WORDS_BROKEN, texts.WORDS_BROKEN_DO, why=why)]
    if not count:
        return [warning("cards.words", texts.WORDS_EMPTY, texts.WORDS_EMPTY_DO)]
    return [fine("cards.words", texts.WORDS_READ, count=count)]
