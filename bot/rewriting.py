"""`/rewrite`: lines or characters of a poem that is there are written anew, and the rest stays."""

import re
from collections.abc import Collection, Sequence
from itertools import combinations

from bot import texts
from bot.fitting import Fit, Misfit, Quarrels, fit, refuse_misfit
from bot.language import script_for
from bot.quotation import TEXT_MAX, Quoted, Unread, read_poem
from bot.requests import PoemRequest, Refusal, Request, Situation, refuse
from bot.style import form_title
from bot.wording import NUMERALS, Wishes, glyphs_in, number_of, read_wishes
from engine.verse.checker import check
from engine.verse.frame import rewrite_frame
from engine.verse.plan import Fault, is_narrow
from engine.verse.script import clean, is_han, traditional

_TARGET_MAX = 4
"""A longer word is no longer what is to be rewritten, but the poem: no line of one is as short."""
_NUMERAL = "([一二三四五六七八九十])"
# Not a bare 二, which may be a character of the poem.
_LINE = re.compile(rf"第?(\d{{1,9}})[句行]?|第{_NUMERAL}[句行]?|{_NUMERAL}[句行]")
_COMMAS = re.compile(r"[,、;]+")
_KEPT = Quarrels(tone=texts.KEPT_MISPLACED, rhyme=texts.KEPT_UNRHYMED)


def read_rewrite_request(arguments: str, situation: Situation) -> Request:
    """What follows /rewrite: lines or characters that shall change, and perhaps the poem."""
    if len(arguments) > TEXT_MAX:
        return refuse(texts.TEXT_TOO_LONG, situation, most=TEXT_MAX)
    asked, pasted = _part(arguments)
    poem = poem_at_hand(pasted, situation)
    if isinstance(poem, Refusal):
        return poem
    wishes = read_wishes(asked, situation)
    if isinstance(wishes, Refusal):
        return wishes
    if poem.form.name not in wishes.forms:
        title = form_title(poem.form, situation.language)
        return refuse(texts.REWRITE_KEEPS_FORM, situation, form=title)
    places = _places(wishes.rest, poem, situation)
    return places if isinstance(places, Refusal) else _rewrite(poem, places, wishes, situation)


def poem_at_hand(pasted: str, situation: Situation) -> Quoted | Refusal:
    """The poem that was pasted, or else the one that the person speaks of."""
    text = pasted or situation.poem
    if text is None:
        return refuse(texts.NO_POEM_AT_HAND, situation)
    found = read_poem(text)
    return _refuse_text(found, situation) if isinstance(found, Unread) else found


def _refuse_text(found: Unread, situation: Situation) -> Refusal:
    lengths = found.lengths
    if found.several:
        return refuse(texts.PICK_FIRST, situation)
    if not lengths:
        return refuse(texts.NO_POEM_AT_HAND, situation)
    if len(set(lengths)) == 1:
        return refuse(texts.NO_FORM_EVEN, situation, lines=len(lengths), length=lengths[0])
    listed = ", ".join(map(str, lengths[:12])) + (" …" if len(lengths) > 12 else "")
    return refuse(texts.NO_FORM_UNEVEN, situation, lines=len(lengths), lengths=listed)


def _part(arguments: str) -> tuple[str, str]:
    """What is asked for, at the start of the first row, and the poem that was pasted after it."""
    for word in re.finditer(r"\S+", arguments.partition("\n")[0]):
        if _begins_poem(word[0]):
            return arguments[: word.start()], arguments[word.start() :]
    asked, _, pasted = arguments.partition("\n")
    return asked, pasted.strip()


def _begins_poem(word: str) -> bool:
    return sum(map(is_han, clean(word))) > _TARGET_MAX


def _places(words: Sequence[str], poem: Quoted, situation: Situation) -> set[int] | Refusal:
    """The places that `words` speak of, counted from 0 through the poem."""
    places: set[int] = set()
    for target in (part for word in words for part in _COMMAS.split(clean(word)) if part):
        named = _target_places(target, poem, situation)
        if isinstance(named, Refusal):
            return named
        places |= named
    if not places:
        return refuse(texts.REWRITE_WHAT, situation)
    if len(places) == poem.form.length:
        return refuse(texts.REWRITE_ALL, situation)
    return places


def _target_places(target: str, poem: Quoted, situation: Situation) -> set[int] | Refusal:
    """The places of a line (2, 第二句), or of every character in `target`."""
    if found := _LINE.fullmatch(target):
        return _line_places(number_of(next(filter(None, found.groups()))), poem, situation)
    places: set[int] = set()
    for char in glyphs_in(target) or ():
        named: set[int] | Refusal = _char_places(char, poem)
        if not named:
            named = _missing_places(char, poem, situation)
        if isinstance(named, Refusal):
            return named
        places |= named
    return places or refuse(texts.REWRITE_WHAT, situation)


def _line_places(number: int, poem: Quoted, situation: Situation) -> set[int] | Refusal:
    form = poem.form
    if not 1 <= number <= form.lines:
        return refuse(texts.NO_SUCH_LINE, situation, lines=form.lines)
    return set(range((number - 1) * form.line_length, number * form.line_length))


def _char_places(char: str, poem: Quoted) -> set[int]:
    meant = frozenset(traditional(char))
    text = "".join(poem.lines)
    return {place for place, other in enumerate(text) if meant & frozenset(traditional(other))}


def _missing_places(char: str, poem: Quoted, situation: Situation) -> set[int] | Refusal:
    """A numeral that the poem does not hold can only mean a line."""
    if char in NUMERALS:
        return _line_places(NUMERALS[char], poem, situation)
    return refuse(texts.CHARACTER_ABSENT, situation, char=char)


def _rewrite(
    poem: Quoted, places: Collection[int], wishes: Wishes, situation: Situation
) -> PoemRequest | Refusal:
    """The same poem, but for what stands at `places`."""
    form, frame = poem.form, rewrite_frame(poem.lines, places)
    rhymes = wishes.rhymes or _rhyme_to_keep(poem, places)
    found = fit({form.name: frame}, rhymes)
    if isinstance(found, Misfit):
        return _refuse_rest(found, poem, places, rhymes, situation)
    return PoemRequest(
        frame=frame,
        glyphs=rewrite_frame(poem.glyphs, places),
        form=form.name,
        script=script_for("".join(poem.glyphs), situation.language),
        rhyme=found.rhyme,
        theme=wishes.theme,
        unlike="".join(poem.lines),
        count=wishes.count,
    )


def _refuse_rest(
    found: Misfit,
    poem: Quoted,
    places: Collection[int],
    rhymes: Sequence[str],
    situation: Situation,
) -> Refusal:
    """What stands against keeping the rest, and which lines have to go as well."""
    amiss = _lines_amiss(poem, places, rhymes)
    if found.error.fault is Fault.NARROW or amiss == (found.line,):
        return refuse_misfit(found, _KEPT, situation)
    listed = texts.LISTED.say(situation.language).join(str(line + 1) for line in amiss)
    return refuse(texts.KEPT_AMISS, situation, lines=listed)


def _rhyme_to_keep(poem: Quoted, places: Collection[int]) -> tuple[str, ...]:
    """The group of the poem where nothing that stays says it; a rhyme that stays speaks itself."""
    verdict = check(poem.lines)
    if verdict.template is None or verdict.rhyme is None or is_narrow(verdict.rhyme, poem.form):
        return ()
    length = poem.form.line_length
    ends = {(line + 1) * length - 1 for line in verdict.template.rhyming_lines}
    return (verdict.rhyme,) if ends <= set(places) else ()


def _lines_amiss(poem: Quoted, places: Collection[int], rhymes: Sequence[str]) -> tuple[int, ...]:
    """The fewest lines, from 0, that have to go for what stays to fit some template."""
    length = poem.form.line_length
    rows = [range(line * length, (line + 1) * length) for line in range(poem.form.lines)]
    kept = [line for line, row in enumerate(rows) if not set(row) <= set(places)]
    for count in range(1, len(kept)):
        for lines in combinations(kept, count):
            without = {*places, *(place for line in lines for place in rows[line])}
            frame = rewrite_frame(poem.lines, without)
            if isinstance(fit({poem.form.name: frame}, rhymes), Fit):
                return lines
    return tuple(kept)
