"""Every key that the trainer keeps in Redis: its type, its time to live, and why it is there.

    key                            type    TTL    holds
    yuefu:trainer:lock             string  30 s   the trainer that runs a night now
    yuefu:trainer:fence            string  none   a number that grows whenever the lock is taken
    yuefu:trainer:ended:<night>    string  8 d    that this night has ended: "done" or "failed"

All of it may be lost: the nights' folder says which nights have ended, too, and the registry
remembers the highest fencing number that it was given. What the trainer tells chats is in
`engine.keys.NIGHT`.
"""

from typing import Final

from engine.keys import PREFIX

LOCK: Final = f"{PREFIX}trainer:lock"
"""String, `trainer.lock.LOCK_MS`: the name of the trainer that may run a night."""

FENCE: Final = f"{PREFIX}trainer:fence"
"""String: the fencing number of whoever took the lock last."""

ENDED_TTL_S: Final = 8 * 24 * 3600
"""A clock that is wrong and is put right does not bring back an older date than that."""


def ended(night: str) -> str:
    """String, 8 d: how a night ended; for trainers that do not share a folder."""
    return f"{PREFIX}trainer:ended:{night}"
