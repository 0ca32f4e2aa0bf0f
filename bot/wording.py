"""The words after a command: forms, a rhyme, a theme, a number of poems, and what is left."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from bot import texts
from bot.requests import Refusal, Situation, refuse
from engine.verse.forms import FORMS, FormName
from engine.verse.script import clean, fold, is_han
from engine.verse.tones import readings, rhyme_groups_for

Chosen = TypeVar("Chosen")

THEME_MAX = 8
"""Characters of a theme that are worth telling a model."""
COUNT_MIN, COUNT_MAX = 2, 5
"""How many poems one may choose from: what fits a screen."""

_PUNCTUATION = frozenset("，。！？、；：…—·「」『』《》“”‘’()[],.!?;:\"'")
_LABEL_GAP = re.compile(r"((?:[韵韻押题題目]|rhyme|theme)[:：])\s+", re.IGNORECASE)
# People also write x3 right behind the word before it.
_COUNT_ATTACHED = re.compile(r"(?<=\S)(?=[xXｘＸ×✕✖]\d{1,9}(?:\s|$))")
# The others read what `clean` leaves, in which colons and digits are the usual ones.
_RHYME = re.compile(r"(?:押?[韵韻]|押|rhyme):(.*)|押(.)[韵韻]?", re.IGNORECASE | re.DOTALL)
_THEME = re.compile(r"(?:主?[题題]目?|theme):(.*)", re.IGNORECASE | re.DOTALL)
_COUNT = re.compile(r"[x×✕✖](\d{1,9})|(\d{1,9}|[一二两兩三四五六七八九十])首", re.IGNORECASE)
NUMERALS = {numeral: value for value, numeral in enumerate("一二三四五六七八九十", start=1)} | {
    "两": 2,
    "兩": 2,
}
"""Chinese numerals of one character, with what they are worth."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the words after a command ask for."""

    forms: tuple[FormName, ...]
    """The forms that every word for a form leaves; all of them where there is none."""
    rhymes: tuple[str, ...] = ()
    """Rhyme groups, of which the first that fits is wanted; empty where any will do."""
    theme: str = ""
    """What follows 题:, made usual."""
    count: int = 1
    """How many poems."""
    rest: tuple[str, ...]
    """The words that say none of this, in order, as typed."""


def read_wishes(arguments: str, situation: Situation) -> Wishes | Refusal:
    """What the words in `arguments` ask for, or what is wrong with them."""
    wishes = Wishes(forms=tuple(FormName), rest=())
    for word in _COUNT_ATTACHED.sub(" ", _LABEL_GAP.sub(r"\1", arguments)).split():
        read = _read_word(wishes, word, situation)
        if isinstance(read, Refusal):
            return read
        wishes = read
    return wishes if wishes.forms else refuse(texts.TWO_FORMS, situation)


def _read_word(wishes: Wishes, typed: str, situation: Situation) -> Wishes | Refusal:
    """`wishes`, and what one more word asks for."""
    if named := forms_named(typed):
        return replace(wishes, forms=tuple(form for form in wishes.forms if form in named))
    word = clean(typed)
    for pattern, read in _READERS:
        if found := pattern.fullmatch(word):
            return read(wishes, found, situation)
    return replace(wishes, rest=(*wishes.rest, typed))


def _read_rhyme(wishes: Wishes, found: re.Match[str], situation: Situation) -> Wishes | Refusal:
    """A rhyme group by its name, or the groups of any character that rhymes."""
    named = "".join(glyphs_in(found[1] or found[2] or "") or ()).removesuffix("韵")
    named = named.removesuffix("韻")
    if len(named) != 1:
        return refuse(texts.RHYME_UNCLEAR, situation)
    rhymes = rhyme_groups_for(clean(named))
    if not rhymes:
        why = texts.RHYME_OBLIQUE if readings(named).known else texts.RHYME_UNKNOWN
        return refuse(why, situation, char=named)
    if wishes.rhymes not in ((), rhymes):
        return refuse(texts.RHYME_UNCLEAR, situation)
    return replace(wishes, rhymes=rhymes)


def _read_theme(wishes: Wishes, found: re.Match[str], situation: Situation) -> Wishes | Refusal:
    return with_theme(wishes, found[1], situation)


def with_theme(wishes: Wishes, words: str, situation: Situation) -> Wishes | Refusal:
    """`wishes` with `words` added to the theme."""
    glyphs = glyphs_in(words)
    if not glyphs or len(wishes.theme) + len(glyphs) > THEME_MAX:
        return refuse(texts.THEME_UNCLEAR, situation, most=THEME_MAX)
    return replace(wishes, theme=wishes.theme + "".join(map(clean, glyphs)))


def _read_count(wishes: Wishes, found: re.Match[str], situation: Situation) -> Wishes | Refusal:
    count = number_of(found[1] or found[2])
    if not COUNT_MIN <= count <= COUNT_MAX:
        return refuse(texts.COUNT_OUT_OF_RANGE, situation, least=COUNT_MIN, most=COUNT_MAX)
    return replace(wishes, count=count)


_READERS: tuple[
    tuple[re.Pattern[str], Callable[[Wishes, re.Match[str], Situation], Wishes | Refusal]], ...
] = (
    (_RHYME, _read_rhyme),
    (_THEME, _read_theme),
    (_COUNT, _read_count),
)


def words_for(table: Mapping[Chosen, Iterable[str]]) -> dict[str, Chosen]:
    """What each word means, from the words for each meaning."""
    return {word: meant for meant, words in table.items() for word in words}


def number_of(numeral: str) -> int:
    """The number that digits of any script, or one Chinese numeral up to 十, write."""
    return NUMERALS[numeral] if numeral in NUMERALS else int(numeral)


def glyphs_in(text: str) -> list[str] | None:
    """The Chinese characters of `text` as typed, punctuation left out; None if there is another.

    Variation selectors and other invisible characters fall away with the punctuation.
    """
    glyphs = []
    for glyph in text:
        seen = clean(glyph)
        if is_han(seen):
            glyphs.append(glyph)
        elif not all(char in _PUNCTUATION for char in seen):
            return None
    return glyphs


def _form_words() -> Iterator[tuple[str, FormName]]:
    """Each word for a form or a family of forms, folded: 七律, 七言律詩, qilu, 七言, 律詩."""
    for name, form in FORMS.items():
        length, lines = form.title[:2], form.title[2:]
        for word in (name, form.title, length[0] + lines[0], length, lines):
            yield word, name
        yield ("wuyan" if form.line_length == 5 else "qiyan"), name
        yield ("jueju" if form.lines == 4 else "lushi"), name


def _gather(pairs: Iterable[tuple[str, FormName]]) -> dict[str, frozenset[FormName]]:
    gathered: dict[str, frozenset[FormName]] = {}
    for word, name in pairs:
        gathered[word] = gathered.get(word, frozenset()) | {name}
    return gathered


_FORMS_BY_WORD = _gather(_form_words())
_FORM_WORD_MAX = max(map(len, _FORMS_BY_WORD))


def forms_named(word: str) -> frozenset[FormName]:
    """The forms that `word` names, in either script; none if it is no word for a form."""
    return _FORMS_BY_WORD.get(folded(word), frozenset())


def folded(word: str) -> str:
    """`word` as the tables know it; long words are in none of them."""
    if len(word) > _FORM_WORD_MAX:
        return ""
    return "".join(map(fold, clean(word))).casefold()
