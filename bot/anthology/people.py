"""What the anthology knows of people: whether their ratings may train the model."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from bot.anthology.database import Database
from bot.anthology.tables import AuditRow, ConsentRow
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


class People:
    """The people of the anthology, each by their name with the platform: `telegram:42`."""

    def __init__(self, database: Database) -> None:
        """Read and write `database`."""
        self._database = database

    async def consent(self, person: str) -> Consent | None:
        """What `person` answered; None where they were never asked with the present text."""
        rater = self._database.known_as(person)
        row = await self._database.transact(lambda session: session.get(ConsentRow, rater))
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


def audit_row(action: str, actor: str | None, detail: dict[str, Any]) -> AuditRow:
    """A line of the audit log about something that happens now."""
    return AuditRow(at=datetime.now(UTC), action=action, actor=actor, detail=detail)


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
