"""What is kept about a person, in words and as a file."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, time
from typing import Any

from sqlalchemy import inspect

from bot import texts
from bot.anthology.people import Consent, Holdings, Kept
from bot.anthology.tables import Base
from bot.language import Language
from bot.message import Attachment

EXPORT_NAME = "yuefu.json"
"""What the file is called."""


def describe(consent: Consent | None, holdings: Holdings, language: Language) -> str:
    """What is kept, for how long, how much of it by now, and what the person said of training."""
    kept = (
        texts.PRIVACY_HEADING,
        texts.PRIVACY_NAME,
        texts.PRIVACY_POEMS,
        texts.PRIVACY_RATINGS,
        texts.PRIVACY_BRIEF,
    )
    lines = [text.say(language) for text in kept]
    lines.append(texts.PRIVACY_HELD.say(language, poems=holdings.poems, ratings=holdings.ratings))
    lines.append(_consent_line(consent, language))
    lines.append(texts.PRIVACY_DO.say(language))
    return "\n".join(lines)


def _consent_line(consent: Consent | None, language: Language) -> str:
    if consent is None or consent.given is None or consent.answered_at is None:
        return texts.PRIVACY_ASKED.say(language)
    text = texts.PRIVACY_GIVEN if consent.given else texts.PRIVACY_REFUSED
    return text.say(language, date=consent.answered_at.date().isoformat())


def export(kept: Kept) -> Attachment:
    """All of `kept` as one JSON file; a row is there with all its columns, under their names."""
    fields: dict[str, Any] = {
        "exported_at": datetime.now(UTC).isoformat(),
        "known_as": kept.known_as,
        "consent": _fields(kept.consent),
        "ratings": [{**_all_fields(rating), "lines": poem.lines} for rating, poem in kept.ratings],
        "skips": _listed(kept.skips),
        "poems": _listed(kept.poems),
        "chat": _fields(kept.chat),
        "showings": _listed(kept.showings),
        "schedules": _listed(kept.schedules),
        "audit": _listed(kept.audit),
    }
    text = json.dumps(fields, ensure_ascii=False, indent=1, default=_written)
    return Attachment(name=EXPORT_NAME, text=text)


def _written(moment: datetime | time) -> str:
    """What JSON has no word for: times."""
    return moment.isoformat()


def _listed(rows: Iterable[Base]) -> list[dict[str, Any]]:
    return [_all_fields(row) for row in rows]


def _fields(row: Base | None) -> dict[str, Any] | None:
    return None if row is None else _all_fields(row)


def _all_fields(row: Base) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}
