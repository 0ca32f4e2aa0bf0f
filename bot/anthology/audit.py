"""Lines of the audit log."""

from datetime import UTC, datetime
from typing import Any

from bot.anthology.tables import AuditRow


def audit_row(
    action: str, actor: str | None, detail: dict[str, Any], *, subject: str | None = None
) -> AuditRow:
    """A line about something that happens now; who did it and to whom, by their pseudonyms."""
    return AuditRow(
        at=datetime.now(UTC), action=action, actor=actor, subject=subject, detail=detail
    )
