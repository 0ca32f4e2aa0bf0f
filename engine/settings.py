"""Settings that every process shares, read from the environment (prefix `YUEFU_`).

`bot.settings` and `trainer.settings` add their own. A secret may also come from a file: set
`YUEFU_REDIS_URL_FILE` to its path instead of `YUEFU_REDIS_URL`.
"""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError
from pydantic_settings.sources import PydanticBaseEnvSettingsSource

PREFIX = "YUEFU_"
"""What the name of every environment variable begins with."""
_FILE_URL = "file://"
_HOST_AND_PORT = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[^\s:\[\]]*):(\d{1,5})")
_SECRETS_OF_LIBRARIES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PGPASSWORD")
_PASSWORD_MIN = 6
BUNDLED_MODELS = Path(__file__).parent / "bundled"
"""The checkpoints that come with Yuefu."""


USUAL_SLOTS = 32
"""Candidates that a CPU writes side by side, unless it is told otherwise: as many poems a second as
of 64, and each in half the time (docs/performance.md)."""
GPU_SLOTS = 256
"""The same on a GPU, whose steps cost nearly the same for one row and for hundreds."""
USUAL_CANDIDATES = 16
"""Candidates of each poem, unless an engine is told otherwise."""


class SettingsError(ValueError):
    """A setting is missing or wrong."""


def secret_parts(secret: str) -> Iterator[str]:
    """A secret, and what of it is one by itself."""
    yield secret
    yield from (line for line in secret.splitlines() if not line.startswith("-----"))
    for password in _passwords(secret):
        # What is shorter might stand anywhere in a log, and hide it.
        yield from (text for text in (password, unquote(password)) if len(text) >= _PASSWORD_MIN)


def _passwords(address: str) -> Iterator[str]:
    """The passwords in a URL, as they are written there; none in what is no URL."""
    try:
        url = urlsplit(address)
    except ValueError:
        return
    if url.password:
        yield url.password
    for field in url.query.split("&"):
        name, _, text = field.partition("=")
        if name.endswith("password"):
            yield text


class _SecretFileSource(PydanticBaseEnvSettingsSource):
    """Reads `YUEFU_X_FILE` for a field `x`: the way Docker and systemd hand secrets over."""

    def get_field_value(self, field: object, field_name: str) -> tuple[object, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        value = Path(path).read_text(encoding="utf-8").strip() if path else None
        return value, field_name, False


class EngineSettings(BaseSettings):
    """What the engine needs, and every process with it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", use_attribute_docstrings=True
    )

    redis_url: SecretStr | None = None
    """Redis ≥ 7 or Valkey, as `redis://…` or `unix://…`. Unset: an embedded Valkey in `data`."""

    data: Path = Path.home() / ".local" / "share" / "yuefu"
    """The folder for everything this machine keeps: anthology, models, corpus, embedded Valkey."""

    models: str | None = None
    """The registry of checkpoints: a folder, or a URL that fsspec knows, as `s3://bucket/models`.
    Unset: `data`/models, beside the bundled ones."""

    trusted_keys: str | None = None
    """Public keys in PEM, one after another; only checkpoints that one of them signed are taken,
    and the bundled ones. Unset: whatever is in the registry."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; `auto` takes a GPU if there is one."""

    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """In what numbers the model computes on a CPU; `auto` takes the fastest that this CPU has."""

    slots: int | None = Field(default=None, ge=1)
    """Candidates of poems that the engine writes side by side. Unset: what suits its device."""

    candidates: int = Field(default=USUAL_CANDIDATES, ge=1, le=64)
    """Candidates written for each poem, of which the best is shown."""

    trial_share: float = Field(default=0.1, ge=0, le=0.5)
    """Of all poems of a cell with a challenger on trial, the part that the challenger writes."""

    threads: int = 1
    """CPU threads of one engine process. More make a step faster on an idle machine and many times
    slower on a busy one, where each waits for the others: rather run another engine."""

    listen: str | None = None
    """`host:port` at which a process answers `/healthz`, `/readyz`, `/metrics` and, in a bot with a
    webhook, Telegram. Unset: 127.0.0.1:8080 in a bot with a webhook, else nowhere."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe log line that is written."""

    def slots_on(self, device: str) -> int:
        """Candidates that are written side by side on `device`; unset, those of a poem at least."""
        usual = USUAL_SLOTS if device == "cpu" else GPU_SLOTS
        return self.slots or max(usual, self.candidates)

    @property
    def secrets(self) -> frozenset[str]:
        """Every string that must never reach a log.

        Of an address also its password, of a key its lines: errors may quote those alone. Some are
        read from the environment by libraries.
        """
        values = (getattr(self, name) for name in type(self).model_fields)
        ours = (value.get_secret_value() for value in values if isinstance(value, SecretStr))
        theirs = (os.environ.get(name, "") for name in _SECRETS_OF_LIBRARIES)
        return frozenset(itertools.chain(*map(secret_parts, ours), theirs))

    @field_validator("listen")
    @classmethod
    def _is_host_and_port(cls, address: str | None) -> str | None:
        if not address:
            return None
        port = _HOST_AND_PORT.fullmatch(address)
        if port is None or int(port[1]) >= 1 << 16:
            raise ValueError("an address to listen at looks like 127.0.0.1:8080 or [::1]:8080")
        return address

    @field_validator("models", mode="before")
    @classmethod
    def _check_models(cls, value: object) -> object:
        text = str(value) if isinstance(value, Path) else value
        if isinstance(text, str) and "://" in text and "@" in urlsplit(text).netloc:
            # It would be shown wherever the registry is named.
            raise ValueError("no password in it: give it to the store's own variables")
        return text

    @property
    def models_url(self) -> str | None:
        """The registry's URL, if it is not a folder of this machine."""
        models = self.models or ""
        return models if "://" in models and not models.startswith(_FILE_URL) else None

    @property
    def models_folder(self) -> Path:
        """The registry's folder, by setting or by default; of a URL, what was fetched from it."""
        if self.models_url is not None:
            return self.data / "fetched" / quote(self.models_url, safe="")
        if self.models is not None:
            return Path(self.models.removeprefix(_FILE_URL))
        return self.data / "models"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then files named by it."""
        return init_settings, env_settings, _SecretFileSource(settings_cls)


Settings = TypeVar("Settings", bound=EngineSettings)


def load_settings(kind: type[Settings]) -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable is wrong; names each, and never says what it holds.
    """
    try:
        return kind()
    except ValidationError as error:
        wrong = (
            f"{PREFIX}{'.'.join(map(str, entry['loc'])).upper()}: {entry['msg']}"
            for entry in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError("; ".join(wrong)) from None
    except SourceError as error:
        why = error.__cause__ or error
        raise SettingsError(f"a {PREFIX}…_FILE cannot be read: {why}") from None
