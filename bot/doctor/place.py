"""Where a server is, without what must not be shown, and why it does not answer."""

import errno
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from bot import texts
from bot.texts import Text

PATIENCE_S = 3.0
"""How long anything that is asked over a network may take to answer."""

_REASONS: tuple[tuple[tuple[type[BaseException], ...], Text], ...] = (
    ((socket.gaierror,), texts.WHY_NO_HOST),
    ((ssl.SSLError,), texts.WHY_ENCRYPTION),
    ((ConnectionRefusedError, FileNotFoundError), texts.WHY_REFUSED),
    ((ConnectionResetError, EOFError), texts.WHY_HUNG_UP),
    ((TimeoutError,), texts.WHY_SILENT),
)
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something listens."""

    host: str
    """A name or a number; empty for a socket of this machine."""
    port: int | None = None
    """Its port, where one is named."""

    @property
    def is_here(self) -> bool:
        """Whether what is said to it stays on this machine."""
        if self.host in ("", "localhost"):
            return True
        with suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "localhost"
        return host if self.port is None else f"{host}:{self.port}"


def place_of(url: str) -> Place:
    """Where an http address leads."""
    return place_in(urlsplit(url))


def place_in(parts: SplitResult) -> Place:
    """Where an address leads that was taken apart."""
    return Place(host=parts.hostname or "", port=parts.port)


def why_away(error: BaseException) -> Text | str:
    """Why a server does not answer, in a few words; never in those of a library."""
    for each in causes(error):
        for kinds, why in _REASONS:
            if isinstance(each, kinds):
                return why
        if isinstance(each, OSError) and each.errno in _UNREACHABLE:
            return (each.strerror or type(each).__name__).lower()
    return type(error).__name__


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from or while dealing with, and so on."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__
