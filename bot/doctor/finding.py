"""What a check says: how bad it is, what is so, and what to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bot.language import Language
from bot.texts import Text


class Mark(StrEnum):
    """How bad it is."""

    FINE = "fine"
    WARNING = "warning"
    """It works, but somebody should look at it."""
    WRONG = "wrong"
    """It has to be put right."""
    SKIPPED = "skipped"
    """It was not checked, or does not apply."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What it is, as programs know it, after its subject: `redis.policy`."""
    mark: Mark
    """How bad it is."""
    said: Text
    """What is so."""
    remedy: Text | None = None
    """What to do, where it is not fine."""
    values: Mapping[str, object] = field(default_factory=dict)
    """What fills the names in both; a `Text` is said in the same language. Never a secret."""

    @property
    def subject(self) -> str:
        """What it is about: `redis`."""
        return self.name.partition(".")[0]

    def say(self, language: Language) -> str:
        """What is so, for a person."""
        return self._fill(self.said, language)

    def advise(self, language: Language) -> str | None:
        """What to do, for a person."""
        return None if self.remedy is None else self._fill(self.remedy, language)

    def _fill(self, text: Text, language: Language) -> str:
        values = {
            name: value.say(language, **self.values) if isinstance(value, Text) else value
            for name, value in self.values.items()
        }
        return text.say(language, **values)


def fine(name: str, said: Text, /, **values: object) -> Finding:
    """It is as it should be."""
    return Finding(name=name, mark=Mark.FINE, said=said, values=values)


def warning(name: str, said: Text, remedy: Text, /, **values: object) -> Finding:
    """Somebody should look at it."""
    return Finding(name=name, mark=Mark.WARNING, said=said, remedy=remedy, values=values)


def wrong(name: str, said: Text, remedy: Text, /, **values: object) -> Finding:
    """It has to be put right."""
    return Finding(name=name, mark=Mark.WRONG, said=said, remedy=remedy, values=values)


def skipped(name: str, said: Text, remedy: Text | None = None, /, **values: object) -> Finding:
    """It was not checked, or does not apply."""
    return Finding(name=name, mark=Mark.SKIPPED, said=said, remedy=remedy, values=values)
