"""Fault 31: a thousand fake raters of one chat, at once or patiently, again and again."""

from datetime import UTC, datetime, timedelta
from math import fsum

import pytest
from sqlalchemy import update

from bot.anthology import Anthology
from bot.anthology.ratings import Selection
from bot.anthology.tables import RatingRow
from bot.language import Language
from bot.settings import BotSettings
from tests.fakes.anthologies import write
from trainer.feedback import USUAL, Reason, take_snapshot
from trainer.readers import read_ratings

FAKES = [f"telegram:{number}" for number in range(100_000, 101_000)]
HONEST = [f"telegram:{number}" for number in range(1, 31)]
RAIDED, QUIET = "telegram:-1", ("telegram:-2", "telegram:-3", "telegram:-4")
LONG_AGO = datetime(2026, 9, 1, tzinfo=UTC)
RATED_SHARE = 0.1
"""The most of what a night reads that rated poems are."""


@pytest.fixture
def settings(tmp_path):
    return BotSettings(data=tmp_path)


@pytest.fixture
async def anthology(settings):
    """Thirty honest people rated ten poems each, some of them in the chat that will be raided."""
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as opened:
        for number in range(10):
            for chat in (RAIDED, *QUIET):
                await write(opened, f"tg:{chat[-1]}{number}", chat=chat)
        for number, person in enumerate(HONEST):
            chat = (RAIDED, *QUIET)[number % 4]
            await rate(opened, person, chat, likes=range(number % 3, 10, 2))
        begin = LONG_AGO - len(HONEST) * timedelta(days=1)
        await spread(opened, HONEST, begin=begin, step=timedelta(days=1))
        yield opened


async def rate(anthology, person, chat, *, likes):
    """`person` lets the model learn and votes on ten poems of `chat`, of which they like some."""
    await anthology.people.answer(person, given=True, language=Language.ZH)
    for number in range(10):
        poem, vote = f"tg:{chat[-1]}{number}", 1 if number in likes else -1
        await anthology.ratings.vote(poem, person=person, chat=chat, vote=vote)


async def raid(anthology):
    """Each of the fakes says 👎 to one poem, and every fifth says so three times."""
    for number, fake in enumerate(FAKES):
        await anthology.people.answer(fake, given=True, language=Language.ZH)
        poem = f"tg:{RAIDED[-1]}{number % 10}"
        for _ in range(1 if number % 5 else 3):
            await anthology.ratings.vote(poem, person=fake, chat=RAIDED, vote=-1)


async def spread(anthology, people, *, begin, step):
    """The ratings of `people` come one person after the other, as if each had come by chance."""
    known_as = anthology.ratings._database.known_as

    async def spread(session):
        for number, person in enumerate(people):
            theirs = update(RatingRow).where(RatingRow.rater == known_as(person))
            await session.execute(theirs.values(at=begin + number * step))

    await anthology.ratings._database.transact(spread)


async def snapshot_of(settings):
    ratings = await read_ratings(settings)
    return ratings, take_snapshot(ratings)


def share_of(chat, ratings, snapshot):
    """How much of all weight the ratings have that were given in a chat."""
    assert snapshot.left_out == {}
    names = sorted({rating.rater for rating in ratings})
    there = {rating.rater for rating in ratings if rating.chat == chat}
    theirs = [one.weight for one in snapshot.examples if names[one.rater] in there]
    return fsum(theirs) / max(USUAL.least_base, fsum(one.weight for one in snapshot.examples))


@pytest.mark.only_by_make_faults
async def test_fault_31_a_brigade_stays_under_the_cap_and_is_undone_without_a_trace(
    anthology, settings
):
    _, before = await snapshot_of(settings)
    await raid(anthology)

    _, at_once = await snapshot_of(settings)
    assert at_once.left_out == {Reason.BRIGADE: len(FAKES)}
    assert at_once.examples == before.examples

    await spread(anthology, FAKES, begin=LONG_AGO, step=timedelta(hours=1))
    ratings, patient = await snapshot_of(settings)
    share = share_of(settings.pseudonyms.of(RAIDED), ratings, patient)
    assert len(patient.examples) == len(before.examples) + len(FAKES)
    assert share <= USUAL.chat_share + 1e-4

    assert (await anthology.ratings.undo(Selection(since=LONG_AGO))).people == len(FAKES)
    _, after = await snapshot_of(settings)
    assert after.digest == before.digest
    print(
        f"fault 31: of {len(FAKES)} fake raters at once {at_once.left_out[Reason.BRIGADE]} are left"
        f" out; patiently, their chat has {share:.1%} of the ratings' weight, so"
        f" {share * RATED_SHARE:.1%} of what a night reads; undone, the digest is"
        f" {after.digest[:16]}, before it was {before.digest[:16]}"
    )
