"""What the anthology knows of people: their consent, and all else that is about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Select, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.audit import audit_row
from bot.anthology.database import Database
from bot.anthology.tables import (
    AuditRow,
    ChatRow,
    ConsentRow,
    PoemRow,
    RatingRow,
    ScheduleRow,
    ShowingRow,
    SkipRow,
)
from bot.language import Language

CONSENT_VERSION = 1
"""Of `texts.CONSENT`, the text that people are asked with. A new text is a new question."""


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What a person answered to the question whether their ratings may train the model."""

    version: int
    """The version of the text they were asked with."""
    asked_at: datetime
    """When they were asked."""
    given: bool | None
    """Their answer; None where there is none yet."""
    answered_at: datetime | None
    """When they gave it."""


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """How much is kept about a person."""

    poems: int
    """Poems that they asked for."""
    ratings: int
    """Poems that they rated."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """All that is kept about a person."""

    known_as: str
    """Their pseudonym."""
    consent: ConsentRow | None
    """What they answered about training, if they were asked."""
    ratings: Sequence[tuple[RatingRow, PoemRow]]
    """What they think of poems, with the poems."""
    skips: Sequence[SkipRow]
    """Poems that they did not want to rate."""
    poems: Sequence[PoemRow]
    """What they asked for, and what was written for their own chat."""
    chat: ChatRow | None
    """What they chose for their own chat."""
    showings: Sequence[ShowingRow]
    """Which messages of their own chat show poems."""
    schedules: Sequence[ScheduleRow]
    """When their own chat gets its poem of the day."""
    audit: Sequence[AuditRow]
    """What the audit log says of them."""


class People:
    """The people of the anthology, each by their name with the platform: `telegram:42`."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def consent(self, person: str) -> Consent | None:
        """What `person` answered; None where they were never asked with the present text."""
        rater = self._database.known_as(person)
        row = await self._database.read(lambda session: session.get(ConsentRow, rater))
        if row is None or row.version != CONSENT_VERSION:
            return None
        return Consent(
            version=row.version,
            asked_at=row.asked_at,
            given=row.given,
            answered_at=row.answered_at,
        )

    async def note_asked(self, person: str, language: Language) -> bool:
        """Note that `person` is asked now; False if they were before, so that nobody is twice."""
        rater = self._database.known_as(person)

        async def ask(session: AsyncSession) -> bool:
            row = await session.get(ConsentRow, rater, with_for_update=True)
            if row is not None and row.version == CONSENT_VERSION:
                return False
            await _ask_anew(session, row, rater, language)
            return True

        return await self._database.transact(ask)

    async def answer(self, person: str, *, given: bool, language: Language) -> None:
        """Note what `person` answers; the last answer counts."""
        rater = self._database.known_as(person)

        async def note(session: AsyncSession) -> None:
            row = await session.get(ConsentRow, rater, with_for_update=True)
            if row is None or row.version != CONSENT_VERSION:
                row = await _ask_anew(session, row, rater, language)
            if row.given != given:
                row.given, row.answered_at = given, datetime.now(UTC)
                session.add(audit_row("consent", rater, {"given": given, "version": row.version}))

        await self._database.transact(note)

    async def holdings(self, person: str) -> Holdings:
        """How much is kept about `person`."""
        known_as = self._database.known_as(person)
        return await self._database.read(lambda session: _holdings(session, known_as))

    async def kept(self, person: str, *, own_chat: str | None) -> Kept:
        """All that is kept about `person`, and of `own_chat`, their chat with the bot alone."""
        known_as, place = self._database.known_as(person), self._place(own_chat)

        async def collect(session: AsyncSession) -> Kept:
            rated = (
                select(RatingRow, PoemRow)
                .join(PoemRow, PoemRow.id == RatingRow.poem)
                .where(RatingRow.rater == known_as)
                .order_by(RatingRow.at)
            )
            asked = (
                select(PoemRow)
                .where(or_(PoemRow.asker == known_as, PoemRow.chat == place))
                .order_by(PoemRow.id)
            )
            skipped = select(SkipRow).where(SkipRow.rater == known_as).order_by(SkipRow.at)
            showings = select(ShowingRow).where(ShowingRow.chat == place)
            daily = select(ScheduleRow).where(ScheduleRow.chat == place)
            audit = (
                select(AuditRow)
                .where(or_(AuditRow.actor == known_as, AuditRow.subject.in_((known_as, place))))
                .order_by(AuditRow.id)
            )
            return Kept(
                known_as=known_as,
                consent=await session.get(ConsentRow, known_as),
                ratings=[(rating, poem) for rating, poem in await session.execute(rated)],
                skips=(await session.scalars(skipped)).all(),
                poems=(await session.scalars(asked)).all(),
                chat=await session.get(ChatRow, place),
                showings=(await session.scalars(showings)).all(),
                schedules=(await session.scalars(daily)).all(),
                audit=(await session.scalars(audit)).all(),
            )

        return await self._database.read(collect)

    async def forget(self, person: str, *, own_chat: str | None) -> Holdings:
        """Delete all that is kept about `person`, and of `own_chat`; how much it was.

        Poems that they asked for in company stay, for they were written for everybody there; the
        anthology no longer knows for whom, nor what they were asked to be about. That somebody
        was forgotten is noted without a name.
        """
        known_as, place = self._database.known_as(person), self._place(own_chat)
        statements = (
            delete(RatingRow).where(or_(RatingRow.rater == known_as, RatingRow.chat == place)),
            delete(SkipRow).where(SkipRow.rater == known_as),
            # Poems, their ratings, showings and schedules follow by the foreign keys.
            delete(ChatRow).where(ChatRow.id == place),
            delete(ConsentRow).where(ConsentRow.rater == known_as),
            update(PoemRow).where(PoemRow.asker == known_as).values(asker=None, theme=""),
            update(AuditRow).where(AuditRow.actor == known_as).values(actor=None),
            update(AuditRow).where(AuditRow.subject.in_((known_as, place))).values(subject=None),
        )

        async def forget(session: AsyncSession) -> Holdings:
            gone = await _holdings(session, known_as)
            for statement in statements:
                await session.execute(statement)
            detail = {"poems": gone.poems, "ratings": gone.ratings}
            session.add(audit_row("forget", None, detail))
            return gone

        return await self._database.transact(forget)

    def _place(self, own_chat: str | None) -> str:
        """The pseudonym of a person's own chat; one that nothing has where there is none."""
        return "" if own_chat is None else self._database.known_as(own_chat)


async def _holdings(session: AsyncSession, known_as: str) -> Holdings:
    async def count(statement: Select[int]) -> int:
        return await session.scalar(statement) or 0

    return Holdings(
        poems=await count(select(func.count()).where(PoemRow.asker == known_as)),
        ratings=await count(select(func.count()).where(RatingRow.rater == known_as)),
    )


async def _ask_anew(
    session: AsyncSession, before: ConsentRow | None, rater: str, language: Language
) -> ConsentRow:
    """Ask with the present text; what was answered `before` to another text is void."""
    if before is not None:
        await session.delete(before)
        await session.flush()
    row = ConsentRow(
        rater=rater,
        version=CONSENT_VERSION,
        language=language,
        asked_at=datetime.now(UTC),
        given=None,
        answered_at=None,
    )
    session.add(row)
    return row
