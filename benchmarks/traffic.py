"""Requests as chats make them: the forms mixed, from many chats, each with a seed of its own."""

from collections.abc import Iterator
from itertools import count
from random import Random

from engine.jobs import USUAL_TEMPERATURE, Cell, Job
from engine.verse.forms import FORMS, FormName
from engine.writer import Writer

MIX = {FormName.WUJUE: 25, FormName.QIJUE: 40, FormName.WULU: 15, FormName.QILU: 20}
"""Of a hundred requests, how many are for each form."""
MEAN_LENGTH = sum(FORMS[form].length * share for form, share in MIX.items()) / sum(MIX.values())
"""Characters of a poem, on average."""
LONGEST = max(FORMS[form].length for form in MIX)
_CHATS = 40


def jobs(cell: Cell, *, seed: int, client: str = "benchmark") -> Iterator[Job]:
    """One request after another, without end; the same seed makes the same ones."""
    random = Random(seed)
    for number in count():
        yield Job(
            id=f"{client}:{seed}:{number}",
            client=client,
            chat=f"{client}:{random.randrange(_CHATS)}",
            form=random.choices([*MIX], [*MIX.values()])[0],
            cell=cell,
            temperature=USUAL_TEMPERATURE,
            seed=random.randrange(2**31),
        )


def keep_busy(writer: Writer, asked: Iterator[Job]) -> None:
    """Let as many wait as there are rows: the queue that never ends."""
    while writer.scheduler.waiting < writer.scheduler.slots:
        writer.add(next(asked))
