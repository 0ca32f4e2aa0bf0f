"""Links that open a chat with the bot and say a command there: `t.me/<bot>?start=<payload>`.

A payload is the name of a command and, after `_`, what follows it. Links carry Latin letters only,
so that is base64url of its UTF-8; a person may also type it as it is: `/start poem_月`.
"""

import re
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass

PAYLOAD_MAX = 64
"""Characters of a payload that Telegram carries, all of A-Z, a-z, 0-9, _ and -."""
LINKED = frozenset({"poem", "acrostic", "help", "mine", "privacy", "export", "forget"})
"""What a link may say for the person who opens it: nothing that changes or deletes anything
without asking first."""

_PAYLOAD = re.compile(r"([a-z]+)(?:_(.*))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Linked:
    """What a link says."""

    command: str
    """The name of the command."""
    arguments: str
    """What follows it; it may hold anything."""


def payload_for(command: str, arguments: str = "") -> str:
    """The payload that says `command`; without `arguments` where the link has no room for them."""
    encoded = urlsafe_b64encode(arguments.encode()).decode().rstrip("=")
    payload = f"{command}_{encoded}" if encoded else command
    return payload if len(payload) <= PAYLOAD_MAX else command


def read_payload(payload: str) -> Linked | None:
    """What `payload` says; None if no link of ours does."""
    found = _PAYLOAD.fullmatch(payload)
    if found is None or found[1] not in LINKED:
        return None
    return Linked(command=found[1], arguments=_decoded(found[2] or ""))


def _decoded(text: str) -> str:
    """What `text` encodes; where it is no encoding, `text` itself."""
    try:
        return b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True).decode()
    except ValueError:
        return text
