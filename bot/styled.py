"""Text with styles, in no platform's words: what is styled is said beside the text, not in it.

So there is nothing to escape, and nothing that a person wrote can style or link anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum


class SpanKind(StrEnum):
    """How a part of a text is shown."""

    BOLD = "bold"
    ITALIC = "italic"
    PRE = "pre"
    """Rows whose characters stand exactly below each other."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One part of a text that is shown in a style."""

    kind: SpanKind
    """The style."""
    offset: int
    """Where it begins, in code points from 0."""
    length: int
    """How many code points it has; at least 1."""

    @property
    def end(self) -> int:
        """Where it has ended."""
        return self.offset + self.length


@dataclass(frozen=True, kw_only=True)
class Styled:
    """A text and its styles."""

    text: str
    """What people read."""
    spans: tuple[Span, ...] = ()
    """The parts of it that are shown in a style; none overlaps another."""


def in_style(kind: SpanKind, text: str) -> Styled:
    """All of `text`, which is not empty, in one style."""
    return Styled(text=text, spans=(Span(kind=kind, offset=0, length=len(text)),))


def joined(parts: Iterable[Styled | str], *, by: str = "") -> Styled:
    """One text of all `parts`, with `by` between them."""
    text, spans = "", []
    for number, part in enumerate(parts):
        text += by if number else ""
        if isinstance(part, Styled):
            spans += [replace(span, offset=len(text) + span.offset) for span in part.spans]
        text += part.text if isinstance(part, Styled) else part
    return Styled(text=text, spans=tuple(spans))
