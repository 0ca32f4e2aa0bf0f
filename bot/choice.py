"""Several poems to choose from: their ids, and the buttons that pick one.

All a button says is the job and the number, so picking needs no state but the anthology's, and
works after any restart.
"""

import re

from bot.message import Button

# Whatever else comes back is not ours; ASCII, so that any database can look it up.
_DATA = re.compile(r"pick:([0-9]{1,2}):([!-~]+)")


def candidate_id(job: str, number: int) -> str:
    """The id in the anthology of poem `number`, from 1, of a job; the first has the job's own."""
    return job if number == 1 else f"{job}#{number}"


def pick_buttons(job: str, count: int) -> tuple[Button, ...]:
    """One button for each of `count` poems; none for one poem."""
    numbers = range(1, count + 1) if count > 1 else ()
    return tuple(Button(label=str(number), data=f"pick:{number}:{job}") for number in numbers)


def read_button(data: str) -> tuple[str, int] | None:
    """The job and the number that a button holds; None if it is none of ours."""
    found = _DATA.fullmatch(data)
    return (found[2], int(found[1])) if found else None
