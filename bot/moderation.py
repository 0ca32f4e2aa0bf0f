"""Words that the operator does not want to see, in what people ask for and in what is shown.

What is searched is not the text but what a reader takes it for. Every glyph becomes the one that
stands for it in any script, width and case; marks and what cannot be seen fall away, and so do
spaces, line breaks and punctuation, for none of them hides a word from a reader. A poem is also
read down the heads of its lines, as acrostics are, and by the other ways of `_along` and `_across`.

Only a word of an alphabet needs a border on each side: the letters of "ass" stand in "class", but
in Chinese any characters side by side can be a word.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Self

import structlog
from ahocorasick_rs import AhoCorasick

from bot import texts
from bot.commands import speaks_of_a_poem
from bot.message import Incoming
from bot.requests import Answer, PoemRequest, Refusal, Request
from bot.settings import BotSettings
from bot.submit import next_try
from engine.client import Admitted, EngineClient, EngineUnavailableError
from engine.jobs import Failure, Job, Outcome, Reason
from engine.settings import SettingsError
from engine.verse.forms import FORMS, cut_lines
from engine.verse.frame import OPEN, opening_frame
from engine.verse.script import unify

TRIES_AGAIN = 3
"""How often a job is put again whose poem may not be shown."""

_COMMENT = "#"
_GAP = " "
# Between two readings of a poem; no folded word holds one.
_WALL = "\n"
# Hangul letters that show nothing; all else that shows nothing is told by its category.
_FILLERS = frozenset("\u115f\u1160")
# The lines of a couplet are parallel, so in columns words of two characters come about all the
# time, many times as often as over the ends of lines; words of three hardly ever.
_ACROSS_MIN = 3
_TABLE_MAX = 1 << 16

log = structlog.get_logger(__name__)


# --- what a reader takes a text for --------------------------------------------------------


def _fold(char: str) -> str:
    """What a reader takes one character for: letters, a gap, or nothing."""
    return "".join(map(_fold_part, unicodedata.normalize("NFKD", char)))


def _fold_part(char: str) -> str:
    usual = unify(char)
    category = unicodedata.category(usual)
    if category[0] == "M" or category in {"Cf", "Cs"} or usual in _FILLERS:
        return ""
    if category == "Cc" and not usual.isspace():
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(usual))
    return usual.casefold() if category[0] in "LN" else _GAP


class _Folding(dict[int, str]):
    """A table for `str.translate`, filled as characters come."""

    def __missing__(self, code: int) -> str:
        folded = _fold(chr(code))
        # Whoever sends us all of Unicode shall not fill the memory with it.
        if len(self) < _TABLE_MAX:
            self[code] = folded
        return folded


_FOLDING = _Folding()


def _letters(text: str) -> str:
    """The letters of `text`, folded, with nothing between them."""
    return text.translate(_FOLDING).replace(_GAP, "")


def _run_on(left: str, right: str) -> bool:
    """Whether two letters side by side are of one word: of an alphabet with cases, or digits."""
    return (left.islower() and right.islower()) or (left.isdecimal() and right.isdecimal())


def _along(rows: Sequence[str]) -> Iterator[str]:
    """The ways in which anybody reads a poem: along its lines and over their ends, down its heads.

    The heads are those of the lines, and of the couplets, which stand in a row each.
    """
    heads = [row[:1] for row in rows]
    yield from map("".join, (rows, heads, heads[::2]))


def _across(rows: Sequence[str]) -> Iterator[str]:
    """The ways in which one reads who looks for what is hidden: down every column, and up."""
    for column in zip(*rows, strict=False):
        down = "".join(column)
        yield down
        yield down[::-1]


class Filter:
    """Finds the operator's words in what people write, and in poems."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        """Find `words`; ValueError, with the word, if one has no letter to be found by."""
        # Of words that readers cannot tell apart, one is enough.
        self._words = {_letters(word): word for word in words}
        if "" in self._words:
            raise ValueError(self._words[""])
        self._automaton = AhoCorasick(self._words)

    def __len__(self) -> int:
        return len(self._words)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a word from each line of a UTF-8 file; what follows a # is a comment.

        Raises:
            SettingsError: there is no such file, it cannot be read, or a line holds no word.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise SettingsError(f"YUEFU_WORDS: {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise SettingsError(f"YUEFU_WORDS: {path} is not UTF-8") from None
        words = [line.partition(_COMMENT)[0].strip() for line in lines]
        for number, word in enumerate(words, start=1):
            if word and not _letters(word):
                raise SettingsError(f"YUEFU_WORDS: {path}: line {number} has no letter to look for")
        return cls(filter(None, words))

    def find(self, text: str) -> str | None:
        """A word that `text` holds, as the operator wrote it; None if there is none."""
        if not self:
            return None
        parts = text.translate(_FOLDING).split(_GAP)
        return self._search("".join(parts), frozenset(accumulate(map(len, parts))))

    def find_in_poem(self, lines: Sequence[str]) -> str | None:
        """A word that can be read in a poem, or in a frame; None if there is none.

        `lines` are without punctuation; no word reaches over a place that is still open.
        """
        if not self:
            return None
        rows = [_WALL.join(map(_letters, line.split(OPEN))) for line in lines]
        return self._search(_WALL.join(_along(rows))) or self._search(
            _WALL.join(_across(rows)), shortest=_ACROSS_MIN
        )

    def find_in_request(self, request: PoemRequest) -> str | None:
        """A word in what a poem has to hold or to be about, or in the one to be written anew."""
        length = FORMS[request.form].line_length
        frame = request.frame or opening_frame(request.form, request.opening)
        return (
            self.find_in_poem(cut_lines(frame, length))
            or self.find_in_poem(cut_lines(request.unlike, length))
            # The two are typed one behind the other.
            or self.find(request.opening + request.theme)
        )

    def _search(
        self, letters: str, gaps: frozenset[int] = frozenset(), *, shortest: int = 1
    ) -> str | None:
        """The first word in `letters` that has its borders, and at least `shortest` letters.

        `gaps` are the places that a gap was before.
        """
        for _, start, end in self._automaton.find_matches_as_indexes(letters, overlapping=True):
            borders = all(_is_border(letters, place, gaps) for place in (start, end))
            if borders and end - start >= shortest:
                return self._words[letters[start:end]]
        return None


def _is_border(letters: str, place: int, gaps: frozenset[int]) -> bool:
    """Whether a word may begin or end before the letter at `place`."""
    return (
        place in (0, len(letters))
        or place in gaps
        or not _run_on(letters[place - 1], letters[place])
    )


def open_filter(settings: BotSettings) -> Filter:
    """The filter that the settings name, or one that finds nothing.

    Raises:
        SettingsError: the file of words cannot be used.
    """
    if settings.words is None:
        return Filter()
    words = Filter.from_file(settings.words)
    log.info("words", action="moderation.open", words=len(words))
    return words


# --- what becomes of requests and poems ----------------------------------------------------


def permit(request: Request, incoming: Incoming, words: Filter) -> Request:
    """`request`, as `incoming` was understood; or its refusal, if it holds one of `words`."""
    if isinstance(request, PoemRequest):
        found = words.find_in_request(request)
    elif isinstance(request, Answer) and speaks_of_a_poem(incoming.text):
        # Such an answer shows the poem again.
        found = words.find(incoming.text) or words.find(incoming.quoted or "")
    else:
        found = None
    if found is None:
        return request
    return Refusal(text=texts.WORD_NOT_USED.say(incoming.language))


class Moderator:
    """Sees to it that no poem with one of the operator's words is shown."""

    def __init__(self, *, words: Filter, engine: EngineClient) -> None:
        """Look for `words`; have `engine` write again where nothing is left to show."""
        self._words = words
        self._engine = engine

    async def review(self, outcome: Outcome) -> Outcome | None:
        """What may be told of `outcome`; None where another try will have an outcome of its own.

        Of several poems those with a word are left out. Doing it again does no harm: the same try
        is not put twice.
        """
        if isinstance(outcome, Failure):
            return outcome
        poems = (outcome, *outcome.others)
        clean = [poem for poem in poems if self._words.find_in_poem(poem.lines) is None]
        if len(clean) == len(poems):
            return outcome
        withheld = len(poems) - len(clean)
        log.warning("! withheld", action="poem.withhold", job=outcome.job_id, poems=withheld)
        if clean:
            return replace(clean[0], others=tuple(clean[1:]), context=outcome.context)
        job = next_try(outcome, at_most=TRIES_AGAIN)
        if job is not None and await self._put(job):
            return None
        return Failure(job_id=outcome.job_id, reason=Reason.WITHHELD, context=outcome.context)

    async def _put(self, job: Job) -> bool:
        """Put `job`, however long Redis is away; False if there is no room for it."""
        while True:
            try:
                return (await self._engine.put(job)).status is not Admitted.FULL
            except EngineUnavailableError:
                # That took its time, so this loop does not spin.
                log.warning("↻", action="poem.again", job=job.id)
