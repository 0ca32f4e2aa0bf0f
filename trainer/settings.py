"""The trainer's settings, read from the environment (prefix `YUEFU_`)."""

from datetime import time
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr

from engine.settings import PREFIX, EngineSettings, SettingsError
from engine.signing import Keyring, Signer


def _wall_time(value: object) -> object:
    try:
        moment = time.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, time) or moment.tzinfo is not None:
        raise ValueError("a time of day looks like 03:30")
    return moment


def _zone(value: object) -> object:
    try:
        return ZoneInfo(value) if isinstance(value, str) else value
    except (KeyError, ValueError, OSError):
        raise ValueError("a time zone looks like Asia/Shanghai") from None


class TrainerSettings(EngineSettings):
    """What training needs beside what every process needs."""

    corpus: Path | None = None
    """The folder that holds 全唐诗. Unset: `data`/corpus."""

    signing_key: SecretStr | None = None
    """The private key in PEM with which this trainer signs what it puts into the registry."""

    nightly_at: Annotated[time, BeforeValidator(_wall_time)] = time(3, 30)
    """The wall time at which a night begins, as 03:30."""

    nightly_zone: Annotated[ZoneInfo, BeforeValidator(_zone)] = ZoneInfo("UTC")
    """The time zone of `nightly_at`, by its IANA name."""

    nightly_hours: float = Field(default=3.0, gt=0, le=24)
    """Hours that a night may take; one that needs more ends as failed, and changes nothing."""

    nightly_threads: int = Field(default=2, ge=1)
    """CPU threads of a night."""

    def find_signer(self) -> Signer | None:
        """Who signs what is trained here; None where nobody asks for a signature.

        Raises:
            SettingsError: what is trained here could not be loaded here.
        """
        keyring = Keyring.of(self)
        if self.signing_key is None:
            if keyring.is_strict:
                raise SettingsError(
                    f"{PREFIX}TRUSTED_KEYS is set, so what is trained has to be signed: "
                    f"set {PREFIX}SIGNING_KEY, too"
                )
            return None
        try:
            signer = Signer.parse(self.signing_key.get_secret_value())
        except ValueError as error:
            raise SettingsError(f"{PREFIX}SIGNING_KEY: {error}") from None
        if not keyring.trusts(signer):
            raise SettingsError(
                f"{PREFIX}TRUSTED_KEYS does not hold {signer.key_id}, the key that belongs to "
                f"{PREFIX}SIGNING_KEY"
            )
        return signer

    @property
    def corpus_folder(self) -> Path:
        """The corpus's folder, by setting or by default."""
        return self.corpus if self.corpus is not None else self.data / "corpus"

    @property
    def runs_folder(self) -> Path:
        """Where unfinished training runs keep their state."""
        return self.data / "runs"

    @property
    def nights_folder(self) -> Path:
        """Where every night has its folder."""
        return self.data / "nights"
