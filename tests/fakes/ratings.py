"""Ratings for tests that need no anthology."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bot.anthology.ratings import TrainingRating
from engine.jobs import Cell
from engine.verse.forms import FormName

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def a_rating(poem: str, rater: str, vote: int | None = 1, **fields: Any) -> TrainingRating:
    """What `rater` thinks of `poem`; each poem an hour after the one before. `fields` override."""
    digits = "".join(filter(str.isdigit, poem)) or "0"
    usual: dict[str, Any] = {
        "lines": ("月落空江夜", "風吹遠樹秋", "故人千里外", "一葉下汀洲"),
        "form": FormName.WUJUE,
        "rhyme": "尤",
        "cell": Cell.GRU,
        "checkpoint": "gru-test",
        "seed": 7,
        "temperature": 0.9,
        "theme": "",
        "opening": "月",
        "stars": None,
        "curator": False,
        "chat": f"chat of {rater}",
        "at": MONDAY + timedelta(hours=int(digits)),
    }
    return TrainingRating(poem=poem, rater=rater, vote=vote, **usual | fields)
