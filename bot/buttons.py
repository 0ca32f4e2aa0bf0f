"""The buttons below messages, and the ids of poems to choose from.

All a button says is a verb, an argument and a subject, so a tap needs no state but the anthology's,
and works after any restart.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from bot.message import Button, Tally

# Whatever else comes back is not ours; ASCII, so that any database can look it up.
_DATA = re.compile(r"([a-z]{2,8}):([a-z0-9]{0,8}):([!-~]{0,54})")


class Verb(StrEnum):
    """What a tap on a button does."""

    PICK = "pick"
    """Keep poem number `argument` of job `subject`."""
    UP = "up"
    """👍 for poem `subject`."""
    DOWN = "down"
    """👎 for poem `subject`."""
    AGAIN = "again"
    """Another poem like `subject`."""
    CHANGE = "change"
    """Ask which line of poem `subject` to rewrite."""
    LINE = "line"
    """Rewrite line `argument` of poem `subject`; no line goes back to its usual buttons."""
    CARD = "card"
    """Show poem `subject` as a picture."""
    CONSENT = "consent"
    """The answer, `yes` or `no`, to whether ratings may train the model."""
    FORGET = "forget"
    """The answer, `yes` or `no`, to whether all that is kept about a person shall be deleted."""

    MINE = "mine"
    """Page `argument` of one's own poems."""
    STAR = "star"
    """`argument` stars for poem `subject`, and the next one to review."""
    SKIP = "skip"
    """No stars for poem `subject`, and the next one to review."""
    BACK = "back"
    """Take back what was said of poem `subject`, and review it again."""
    ROLLBACK = "rollback"
    """Put back what wrote before checkpoint `subject` of cell `argument`; `no` leaves it there."""


_VERBS = {verb.value: verb for verb in Verb}


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What a button holds."""

    verb: Verb
    """What to do."""
    argument: str = ""
    """How, which or whether; letters and digits."""
    subject: str = ""
    """To what: the id of a poem or of a job."""

    @property
    def data(self) -> str:
        """This deed as a button carries it: at most 64 bytes."""
        return f"{self.verb}:{self.argument}:{self.subject}"

    @classmethod
    def read(cls, data: str) -> "Deed | None":
        """What a tap brought back; None if it is none of ours."""
        found = _DATA.fullmatch(data)
        verb = _VERBS.get(found[1]) if found else None
        if found is None or verb is None:
            return None
        return cls(verb=verb, argument=found[2], subject=found[3])


def candidate_id(job: str, number: int) -> str:
    """The id in the anthology of poem `number`, from 1, of a job; the first has the job's own."""
    return job if number == 1 else f"{job}#{number}"


def pick_buttons(job: str, count: int) -> tuple[Button, ...]:
    """One button for each of `count` poems; none for one poem."""
    numbers = range(1, count + 1) if count > 1 else ()
    return tuple(_button(str(n), Verb.PICK, job, argument=str(n)) for n in numbers)


def poem_buttons(poem: str, tally: Tally) -> tuple[Button, ...]:
    """What can be done with a poem that is shown: vote, ask for another, rewrite, draw."""
    return (
        _button(f"👍 {tally.up}" if tally.up else "👍", Verb.UP, poem),
        _button("👎", Verb.DOWN, poem),
        _button("🔁", Verb.AGAIN, poem),
        _button("✍", Verb.CHANGE, poem),
        _button("🖼", Verb.CARD, poem),
    )


def line_buttons(poem: str, lines: int) -> tuple[Button, ...]:
    """One button for each line that could be rewritten, and the way back."""
    numbers = tuple(_button(str(n), Verb.LINE, poem, argument=str(n)) for n in range(1, lines + 1))
    return (*numbers, _button("↩", Verb.LINE, poem))


def consent_buttons(yes: str, no: str) -> tuple[Button, ...]:
    """The two answers to the question whether ratings may train the model."""
    return (
        _button(yes, Verb.CONSENT, argument="yes"),
        _button(no, Verb.CONSENT, argument="no"),
    )


def review_buttons(poem: str | None, last: str | None) -> tuple[Button, ...]:
    """Stars for `poem`, the way past it, and the way back to the `last` one."""
    back = () if last is None else (_button("↩", Verb.BACK, last),)
    if poem is None:
        return back
    stars = tuple(_button(f"{n}★", Verb.STAR, poem, argument=str(n)) for n in range(1, 6))
    return (*stars, _button("⏭", Verb.SKIP, poem), *back)


def page_buttons(verb: Verb, page: int, pages: int) -> tuple[Button, ...]:
    """The way to the pages before and after `page`, from 1, by `verb`."""
    back = (_button("‹", verb, argument=str(page - 1)),) if page > 1 else ()
    on = (_button("›", verb, argument=str(page + 1)),) if page < pages else ()
    return back + on


def forget_buttons(yes: str, no: str) -> tuple[Button, ...]:
    """The two answers to the question whether to delete all that is kept about a person."""
    return (
        _button(yes, Verb.FORGET, argument="yes"),
        _button(no, Verb.FORGET, argument="no"),
    )


def rollback_buttons(cell: str, checkpoint: str, yes: str, no: str) -> tuple[Button, ...]:
    """The two answers to the question whether to put back what wrote before `checkpoint`."""
    return (
        _button(yes, Verb.ROLLBACK, checkpoint, argument=cell),
        _button(no, Verb.ROLLBACK, argument="no"),
    )


def _button(label: str, verb: Verb, subject: str = "", *, argument: str = "") -> Button:
    return Button(label=label, data=Deed(verb=verb, argument=argument, subject=subject).data)
