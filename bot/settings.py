"""What the bot reads from the environment, beyond what every process does."""

import hmac
import re
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from bot.pseudonyms import Pseudonyms
from bot.zones import find_zone
from engine.settings import EngineSettings, SettingsError

LISTEN = "127.0.0.1:8080"
"""Where the bot listens if something has to call it and nobody said where."""

_TELEGRAM_API = "https://api.telegram.org"
_WEBHOOK_PORTS = (None, 80, 88, 443, 8443)
"""Those that Telegram calls at; None is the usual one."""
_WEBHOOK_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""What Telegram takes for a secret."""

_LIMITS = frozenset(
    f"{whose}_{what}"
    for whose in ("person", "chat")
    for what in ("in_flight", "per_minute", "per_day")
)


class BotSettings(EngineSettings):
    """The settings of console and platforms."""

    telegram_token: SecretStr | None = None
    """The token that BotFather gave, `<digits>:<letters>`."""

    telegram_api: str = Field(default=_TELEGRAM_API, pattern=r"^https?://[^\s/]+")
    """The Bot API's address; the bot adds `/bot<token>/…`. For a server of one's own."""

    webhook_url: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+[^\s?#]*$")
    """The public address that leads to `listen`; the bot adds `/telegram`. Set: Telegram calls the
    bot; unset: the bot asks Telegram."""

    webhook_secret: SecretStr = Field(default=SecretStr(""), validate_default=True)
    """What Telegram's calls bring to prove that they are Telegram's. Unset: derived from the
    token, and so the same in all processes."""

    discord_token: SecretStr | None = None
    """The token of the bot, from the Bot page of its application in Discord's developer portal."""

    discord_api: str = Field(default="https://discord.com/api/v10", pattern=r"^https?://[^\s/]+")
    """The address of Discord's API with its version."""

    discord_gateway: str = Field(default="wss://gateway.discord.gg/", pattern=r"^wss?://[^\s/]+")
    """The address of Discord's gateway, through which interactions come."""

    database_url: SecretStr | None = None
    """The anthology, as `postgresql+asyncpg://…`. Unset: a SQLite file in `data`."""

    curators: str = Field(default="", pattern=r"^\s*([a-z]+:\d+\s*(,\s*|$))*$")
    """Whose ratings train the model, as `telegram:ID,discord:ID`."""

    chats: str = Field(default="", pattern=r"^\s*([a-z]+:-?\d+\s*(,\s*|$))*$")
    """The chats that are served, as `telegram:ID,discord:ID`; a person's own has the person's
    number, a group's is negative on Telegram. Curators always are. Unset: all."""

    pseudonym_key: SecretStr | None = None
    """The key of the pseudonyms under which people and chats are kept; the same for every process.
    Unset: a file in `data`, made at the first start."""

    zone: str = "Asia/Shanghai"
    """The time zone of poems of the day where a chat names none, by its IANA name."""

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

    @field_validator("zone")
    @classmethod
    def _looks_like_a_zone(cls, name: str) -> str:
        zone = find_zone(name)
        if zone is None:
            raise ValueError("a time zone looks like Asia/Shanghai")
        return zone

    @field_validator("discord_token", "webhook_url", "words", mode="before")
    @classmethod
    def _unset_if_empty(cls, value: object) -> object:
        # An empty path would be the working folder.
        return value or None

    @field_validator("telegram_api", "discord_api", "webhook_url")
    @classmethod
    def _without_slash(cls, url: str | None) -> str | None:
        return url.rstrip("/") if url is not None else None

    @field_validator("webhook_url")
    @classmethod
    def _as_telegram_wants_it(cls, url: str | None, info: ValidationInfo) -> str | None:
        # A server of one's own calls anywhere.
        if url is not None and info.data.get("telegram_api") == _TELEGRAM_API:
            parts = urlsplit(url)
            if parts.scheme != "https" or parts.port not in _WEBHOOK_PORTS:
                raise ValueError("Telegram calls at https:// only, port 443, 80, 88 or 8443")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _or_derived(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        token = info.data.get("telegram_token")
        if not secret.get_secret_value():
            return SecretStr("") if token is None else _derived_secret(token)
        if not _WEBHOOK_SECRET.fullmatch(secret.get_secret_value()):
            raise ValueError("a webhook's secret is 1 to 256 of A-Z, a-z, 0-9, _ and -")
        return secret

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
    def listen_address(self) -> str | None:
        """Where to listen, by setting or by need; None for nowhere."""
        return self.listen or (None if self.webhook_url is None else LISTEN)

    @property
    def curator_names(self) -> frozenset[str]:
        """The curators, each with their platform."""
        return frozenset(filter(None, map(str.strip, self.curators.split(","))))

    @property
    def served(self) -> frozenset[str]:
        """The chats that are served, each with its platform; none where all are."""
        chats = frozenset(filter(None, map(str.strip, self.chats.split(","))))
        return chats | self.curator_names if chats else chats

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


def _derived_secret(token: SecretStr) -> SecretStr:
    """A secret that whoever has the token knows, and from which nobody learns the token."""
    key = token.get_secret_value().encode()
    return SecretStr(hmac.digest(key, b"yuefu webhook", "sha256").hex())


def _with_async_driver(url: str) -> str:
    """PostgreSQL's usual addresses, made to name the driver that the bot uses."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+asyncpg://{url.removeprefix(scheme)}"
    return url
