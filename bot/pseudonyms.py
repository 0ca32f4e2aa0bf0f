"""Names that stand for people and chats wherever something is kept.

A pseudonym is an HMAC-SHA256 of the name under a key that only this installation has, cut to 128
bits. Whoever sees the database alone cannot tell who it is about; whoever holds the key can tell
only whether a person they already know is in it. Without the key, what is kept belongs to nobody.
"""

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from engine.files import make_private

_HEX = 32
_KEY_BYTES = 32


class Pseudonyms:
    """The pseudonyms under one key."""

    def __init__(self, key: bytes) -> None:
        """Use `key`, which must stay secret, and stay the same."""
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> "Pseudonyms":
        """Use the key in `path`; made there first if there is none.

        Raises:
            OSError: it can be neither read nor made.
        """
        make_private(path.parent)
        if not path.exists():
            with suppress(FileExistsError):
                _make_key(path)
        return cls(path.read_bytes())

    def of(self, name: str) -> str:
        """The pseudonym of a person or a chat with its platform: `telegram:42`."""
        # A name may hold anything that a platform sends, lone surrogates too.
        message = name.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, "sha256").hexdigest()[:_HEX]


def _make_key(path: Path) -> None:
    """Make the key whole or not at all: of two processes, the later finds it made."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
