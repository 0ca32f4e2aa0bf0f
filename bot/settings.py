"""What the bot reads from the environment, beyond what every process does."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator

from bot.pseudonyms import Pseudonyms
from engine.settings import EngineSettings, SettingsError

_LIMITS = frozenset(
    f"{whose}_{what}"
    for whose in ("person", "chat")
    for what in ("in_flight", "per_minute", "per_day")
)


class BotSettings(EngineSettings):
    """The settings of console and platforms."""

    telegram_token: SecretStr | None = None
    """The token that BotFather gave, `<digits>:<letters>`."""

    telegram_api: str = Field(default="https://api.telegram.org", pattern=r"^https?://[^\s/]+")
    """The Bot API's address; the bot adds `/bot<token>/…`. For a server of one's own."""

    database_url: SecretStr | None = None
    """The anthology, as `postgresql+asyncpg://…`. Unset: a SQLite file in `data`."""

    curators: str = Field(default="", pattern=r"^\s*([a-z]+:\d+\s*(,\s*|$))*$")
    """Whose ratings train the model, as `telegram:ID,discord:ID`."""

    pseudonym_key: SecretStr | None = None
    """The key of the pseudonyms under which people and chats are kept; the same for every process.
    Unset: a file in `data`, made at the first start."""

    card_font: Path | None = None
    """A font file (.ttf, .otf, .ttc) for the cards. Unset: one of those that are usually
    installed (`bot.cards.fonts.USUAL_FONTS`)."""

    card_label: bool = True
    """Whether a card says that a machine wrote the poem."""

    words: Path | None = None
    """A UTF-8 file of words, one a line, that poems and requests may not hold. Unset: none."""

    person_in_flight: int = Field(default=3, ge=0)
    """Poems that one person may wait for at a time. Of this and the limits below, 0 is none; on the
    console, where there is one person, only those hold that are set."""

    person_per_minute: int = Field(default=10, ge=0)
    """Poems that one person may ask for within any minute."""

    person_per_day: int = Field(default=100, ge=0)
    """Poems that one person may ask for within any 24 hours."""

    chat_in_flight: int = Field(default=10, ge=0)
    """Poems that one chat may wait for at a time."""

    chat_per_minute: int = Field(default=30, ge=0)
    """Poems that one chat may ask for within any minute."""

    chat_per_day: int = Field(default=1000, ge=0)
    """Poems that one chat may ask for within any 24 hours."""

    @field_validator("words", mode="before")
    @classmethod
    def _named(cls, path: object) -> object:
        # An empty path would be the working folder.
        return path or None

    @field_validator("telegram_api")
    @classmethod
    def _without_slash(cls, url: str) -> str:
        return url.rstrip("/")

    @field_validator("telegram_token")
    @classmethod
    def _looks_like_a_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None or not token.get_secret_value():
            return None
        number, _, secret = token.get_secret_value().partition(":")
        if not number.isdecimal() or not secret:
            raise ValueError("a Telegram token looks like 123456:ABC-DEF")
        return token

    def with_set_limits_only(self) -> Self:
        """The same, without the limits that nobody set."""
        unset = _LIMITS - self.model_fields_set
        return self.model_copy(update=dict.fromkeys(unset, 0))

    @property
    def curator_names(self) -> frozenset[str]:
        """The curators, each with their platform."""
        return frozenset(filter(None, map(str.strip, self.curators.split(","))))

    @property
    def pseudonyms(self) -> Pseudonyms:
        """The pseudonyms of this installation.

        Raises:
            SettingsError: the file of their key can be neither read nor made.
        """
        if self.pseudonym_key is not None:
            return Pseudonyms(self.pseudonym_key.get_secret_value().encode())
        try:
            return Pseudonyms.from_file(self.data / "pseudonym.key")
        except OSError as error:
            raise SettingsError(f"YUEFU_DATA: {error.strerror}") from None

    @property
    def anthology_url(self) -> str:
        """The anthology's address for SQLAlchemy, by setting or by default."""
        if self.database_url is not None:
            return _with_async_driver(self.database_url.get_secret_value())
        return f"sqlite+aiosqlite:///{self.data / 'anthology.sqlite3'}"


def _with_async_driver(url: str) -> str:
    """PostgreSQL's usual addresses, made to name the driver that the bot uses."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+asyncpg://{url.removeprefix(scheme)}"
    return url
