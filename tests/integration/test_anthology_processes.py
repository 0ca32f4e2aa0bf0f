"""Two processes write into one anthology at once, and nothing is lost or doubled."""

import asyncio
import json
import sys

from sqlalchemy import func, select

from bot.anthology import Anthology
from bot.anthology.tables import AuditRow, ChatRow, ConsentRow, PoemRow, RatingRow, ShowingRow
from bot.pseudonyms import Pseudonyms
from tests.fakes.raters import ALL, FORGOTTEN, GROUP, JOBS, OWN, alone

PSEUDONYMS = Pseudonyms(b"test")
NAMES = ("1", "2")
PEOPLE = {PSEUDONYMS.of(person) for person in (*ALL, *alone("1"), *alone("2"))}


async def write_at_once(url):
    """What each of the processes was told."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fakes.raters", url, name),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for name in NAMES
    ]
    outputs = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


async def test_two_processes_that_write_at_once_lose_and_double_nothing(anthology_url):
    told = await write_at_once(anthology_url)
    async with Anthology.open(anthology_url, PSEUDONYMS) as anthology:
        # Once more in the end, as nobody votes: what came after it was not theirs to delete.
        await anthology.people.forget(OWN, own_chat=OWN)

        async def rows(*columns):
            return await anthology.poems._database.read(
                lambda session: fetch(session, select(*columns))
            )

        async def fetch(session, statement):
            return [tuple(row) for row in await session.execute(statement)]

        # Everybody's last word is there, once, and counts.
        assert sorted(await rows(RatingRow.poem, RatingRow.rater, RatingRow.vote)) == sorted(
            (job, person, 1) for job in JOBS[:-1] for person in PEOPLE
        )
        for job in JOBS[:-1]:
            tally = await anthology.ratings.tally(job)
            assert (tally.up, tally.down) == (len(PEOPLE), 0)
        # What both recorded is there once, and what one of them was asked to forget is not.
        written = [(job, number) for job in JOBS[:-1] for number in (1, 2, 3)]
        assert sorted(await rows(PoemRow.job, PoemRow.number)) == written
        assert await rows(ChatRow.id) == [(PSEUDONYMS.of(GROUP),)]
        assert sorted(await rows(ShowingRow.job)) == [(job,) for job in JOBS[:-1]]
        assert set(await rows(PoemRow.asker)) == {(None,)}
        # Nobody was asked twice, and both were told the same pick.
        assert sorted(told[0]["asked"] + told[1]["asked"]) == ALL
        assert len(await rows(ConsentRow.rater)) == len(ALL)
        picked = await rows(PoemRow.job, PoemRow.number, PoemRow.picked_at.is_not(None))
        for number, job in enumerate(JOBS[:-1]):
            chosen = [place for name, place, taken in picked if name == job and taken]
            assert [one["picked"][number] for one in told] == chosen * 2
        assert await rows(func.count(AuditRow.id)) == [(2 * FORGOTTEN + 1,)]
