"""A process that writes into an anthology as fast as it can, beside others that do the same.

    python -m tests.fakes.raters URL NAME

It begins when it reads a line, and prints what it was told as JSON.
"""

import asyncio
import json
import sys

from bot.anthology import Anthology
from bot.language import Language, Script
from bot.message import Address
from bot.pseudonyms import Pseudonyms
from bot.submit import Context
from tests.fakes.engine import made_up_poem
from tests.fakes.jobs import a_job

GROUP, OWN = "telegram:-1", "telegram:999"
"""A group; and the chat, and the name, of a person who is forgotten again and again."""
JOBS = [f"tg:{number}" for number in range(4)]
"""Jobs with three poems each, the last of them written for the one who is forgotten."""
FORGOTTEN = 4
"""How often each process forgets that person."""
ALL = [f"telegram:{number}" for number in range(1, 4)]
"""People whom every process hears of."""


def chat_of(job: str) -> str:
    return OWN if job == JOBS[-1] else GROUP


def alone(name: str) -> list[str]:
    """People of whom only the process of that name hears."""
    return [f"telegram:{name}{number:03}" for number in range(1, 4)]


async def record(anthology: Anthology, job: str) -> None:
    context = Context(
        address=Address(chat=chat_of(job)),
        language=Language.ZH,
        script=Script.SIMPLIFIED,
        glyphs="月",
        temperature=0.7,
        person=OWN,
    )
    await anthology.poems.record(made_up_poem(a_job(job, count=3)), context)
    await anthology.poems.mark_shown(job, chat=chat_of(job), message=int(job[3:]))


async def rate(anthology: Anthology, person: str) -> None:
    """Change one's mind about every poem, and like it in the end."""
    for vote in (-1, None, 1):
        for job in JOBS:
            await anthology.ratings.vote(job, person=person, chat=chat_of(job), vote=vote)


async def forget(anthology: Anthology) -> None:
    for _ in range(FORGOTTEN):
        await anthology.people.forget(OWN, own_chat=OWN)
        await record(anthology, JOBS[-1])


async def write(anthology: Anthology, name: str) -> dict[str, object]:
    """All of it at once; whom this process asked for consent, and which poems were picked."""

    await asyncio.gather(*(record(anthology, job) for job in JOBS))
    async with asyncio.TaskGroup() as group:
        asked = {
            person: group.create_task(anthology.people.note_asked(person, Language.ZH))
            for person in ALL
        }
        picked = [
            group.create_task(anthology.poems.pick(GROUP, job, int(name))) for job in JOBS[:-1]
        ]
        for person in (*ALL, *alone(name), OWN):
            group.create_task(rate(anthology, person))
        group.create_task(forget(anthology))
    return {
        "asked": [person for person, task in asked.items() if task.result()],
        "picked": [row and row.number for row in (task.result() for task in picked)],
    }


async def main(url: str, name: str) -> None:
    async with Anthology.open(url, Pseudonyms(b"test")) as anthology:
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await write(anthology, name)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
