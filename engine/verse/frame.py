"""What a request fixes of a poem: a frame as long as the form, open where the engine writes.

One notion for every way of asking: an opening fills the first places, an acrostic (藏頭) the head
of every line, and rewriting leaves open only the places that shall change.
"""

from collections.abc import Collection, Sequence

from engine.verse.forms import FORMS, FormName
from engine.verse.tones import Readings, readings

OPEN = "□"
"""Stands in a frame where the engine is to write."""


class FrameError(ValueError):
    """A frame does not belong to the form."""


def opening_frame(form: FormName, opening: str) -> str:
    """The frame of a poem that begins with `opening`; FrameError if it is longer than the poem."""
    length = FORMS[form].length
    if len(opening) > length:
        raise FrameError(f"{len(opening)} characters do not fit a {form}")
    return opening.ljust(length, OPEN)


def acrostic_frame(form: FormName, heads: str) -> str:
    """The frame whose lines begin with `heads`, one a line; FrameError if they are not as many."""
    if len(heads) != FORMS[form].lines:
        raise FrameError(f"a {form} has {FORMS[form].lines} lines, not {len(heads)}")
    rest = OPEN * (FORMS[form].line_length - 1)
    return "".join(head + rest for head in heads)


def rewrite_frame(lines: Sequence[str], places: Collection[int]) -> str:
    """The frame that keeps `lines` but for `places`, counted from 0 through the poem."""
    return "".join(OPEN if place in places else char for place, char in enumerate("".join(lines)))


def glyphs_of(frame: str) -> dict[int, str]:
    """The characters that a frame fixes, by place."""
    return {place: char for place, char in enumerate(frame) if char != OPEN}


def readings_of(frame: str) -> dict[int, Readings]:
    """What the characters that a frame fixes can be read as, by place."""
    return {place: readings(char) for place, char in glyphs_of(frame).items()}
