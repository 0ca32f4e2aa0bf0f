"""A message that is too long for its platform becomes several.

It is cut between lines if it can be, else between words, else between the characters that people
see; never inside a span, unless the span alone is too long for one message.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, takewhile

from wcwidth import iter_graphemes

from bot.message import Address, Message
from bot.styled import Span

_SURROGATES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def cut(
    message: Message, *, size: Callable[[str], int], most: int, first: int | None = None
) -> tuple[Message, ...]:
    """`message` as messages that each have room on the platform; itself where it has.

    The first keeps its id, and its place if it edits or answers one; the last has its buttons and
    is the one that shows its poem. No encoder takes half a surrogate pair: it is replaced.

    Args:
        message: What to cut.
        size: How much of the room one code point takes up.
        most: The room in a message.
        first: The room in the first, if that is another: below a picture.
    """
    text = _SURROGATES.sub(_REPLACEMENT, message.text)
    rooms = (most if first is None else first, most)
    pieces = list(_pieces(text, message.spans, size=size, rooms=rooms))
    if len(pieces) <= 1:
        return (replace(message, text=text),)
    last = len(pieces) - 1
    return tuple(
        replace(
            message,
            id=message.id if number == 0 else f"{message.id}/{number + 1}",
            text=text[start:end],
            spans=_within(message.spans, start, end),
            address=message.address if number == 0 else _beside(message.address),
            edits=message.edits if number == 0 else None,
            card=message.card if number == 0 else None,
            buttons=message.buttons if number == last else (),
            poem_id=message.poem_id if number == last else None,
        )
        for number, (start, end) in enumerate(pieces)
    )


def shorten(text: str, *, size: Callable[[str], int], most: int) -> str:
    """`text`, or as much of its beginning as has room before an ellipsis."""
    text = _SURROGATES.sub(_REPLACEMENT, text)
    if sum(map(size, text)) <= most:
        return text
    end = _end_of_room(text, 0, most - size("…"), size)
    return text[: max(_borders(text, 0, end), default=end)].rstrip() + "…"


def _beside(address: Address) -> Address:
    """Where what follows a message belongs: it is no answer of its own."""
    return replace(address, reply_to=None)


def _pieces(
    text: str, spans: Sequence[Span], *, size: Callable[[str], int], rooms: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Where each message begins and ends in `text`, white space at its cuts left out."""
    start, room = 0, rooms[0]
    while start < len(text):
        end = _end_of_room(text, start, room, size)
        if end < len(text):
            end = _good_end(text, spans, start, end)
        piece = text[start:end]
        left = 0 if start == 0 else len(piece) - len(piece.lstrip())
        right = 0 if end == len(text) else len(piece) - len(piece.rstrip())
        if left + right < len(piece):
            yield start + left, end - right
        start, room = end, rooms[1]


def _end_of_room(text: str, start: int, room: int, size: Callable[[str], int]) -> int:
    """Where the longest part of `text` from `start` ends that has room."""
    # Each code point takes up something, so no more of them than there is room.
    window = text[start : start + room]
    taken = accumulate(map(size, window))
    return start + sum(1 for _ in takewhile(lambda so_far: so_far <= room, taken))


def _good_end(text: str, spans: Sequence[Span], start: int, end: int) -> int:
    """The best place to cut after `start`, at `end` at the latest."""
    borders = _borders(text, start, end)
    free = [place for place in borders if not any(s.offset < place < s.end for s in spans)]
    places = free or borders or [end]
    middle = start + (end - start) // 2
    for gap in ("\n", " "):
        after = [place for place in places if place > middle and text[place - 1] == gap]
        if after:
            return after[-1]
    return places[-1]


def _borders(text: str, start: int, end: int) -> list[int]:
    """The places after `start`, up to `end`, between characters as people see them."""
    # One code point more tells whether there is a border at the end.
    graphemes = iter_graphemes(text[start : end + 1])
    places = accumulate(map(len, graphemes), initial=start)
    return [place for place in places if start < place <= end]


def _within(spans: Sequence[Span], start: int, end: int) -> tuple[Span, ...]:
    """What of `spans` lies between two places, counted from the first."""
    parts = [(span, max(span.offset, start), min(span.end, end)) for span in spans]
    return tuple(
        replace(span, offset=left - start, length=right - left)
        for span, left, right in parts
        if left < right
    )
