"""What whoever runs the bot does to the anthology by hand."""

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime

from bot.anthology import Anthology
from bot.anthology.ratings import Extent, Selection
from bot.errors import OrderError
from bot.settings import BotSettings

_NAME = re.compile(r"[a-z]+:\S+")


async def undo_ratings(
    settings: BotSettings,
    *,
    person: str | None,
    chat: str | None,
    since: str | None,
    until: str | None,
    undone: bool,
) -> Extent:
    """Undo the ratings to which all of this applies, or only count them; how many there are.

    Names have their platform with them; moments are as in ISO 8601.

    Raises:
        OrderError: it does not say which, or not so that anybody could tell.
        AnthologyError: the anthology does not open.
    """
    try:
        selection = Selection(
            person=_name(person), chat=_name(chat), since=_moment(since), until=_moment(until)
        )
    except ValueError as error:
        raise OrderError(str(error)) from None
    async with Anthology.open(settings.anthology_url, settings.pseudonyms) as anthology:
        work = anthology.ratings.undo if undone else anthology.ratings.extent
        return await work(selection)


def _name(name: str | None) -> str | None:
    if name is not None and not _NAME.fullmatch(name):
        raise ValueError(f"{name} names nobody; write telegram:42")
    return name


def _moment(text: str | None) -> datetime | None:
    """A moment without a zone is meant in UTC."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text} is no time; write 2026-11-21 or 2026-11-21T08:00") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def tell(extent: Extent, *, undone: bool) -> str:
    """What was undone, or would be, in one line."""
    what = f"{extent.ratings} ratings of {extent.poems} poems by {extent.people} people"
    return f"undone: {what}" if undone else f"found: {what}; --yes undoes them"


def tell_as_json(extent: Extent, *, undone: bool) -> str:
    """The same for programs."""
    return json.dumps({**asdict(extent), "undone": undone})
