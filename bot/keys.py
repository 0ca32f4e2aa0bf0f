"""Every key that the bot keeps in Redis: its type, its time to live, and why it is there.

    key                            type    TTL        holds
    yuefu:bot:<p>:inbox            stream  none       raw updates, until each is dealt with
    yuefu:bot:<p>:seen:<update>    string  48 h       that this update entered the inbox
    yuefu:bot:<p>:dead             stream  30 d       updates that could not be read or handled
    yuefu:bot:<p>:outbox           stream  none       messages, until each is shown
    yuefu:bot:<p>:shown:<cause>    string  48 h       the ledger: "sending" or "sent"
    yuefu:bot:<p>:ticket:<cause>   string  15 min     what Discord wants of whoever answers
    yuefu:bot:<p>:commands         string  none       a hash of the commands that <p> offers
    yuefu:bot:<p>:refused:<chat>   string  24 h       that the log said the chat refuses us
    yuefu:bot:<p>:tallies          zset    none       messages whose counters are out of date, by
                                                      the Unix time at which to change them
    yuefu:bot:<p>:card:<card>      string  30 d       the platform's file of a card that was sent
    yuefu:bot:<p>:shelf:<wish>     list    6 h        poems for whoever asks without a chat
    yuefu:bot:<p>:wishes           zset    6 h        the wishes with a shelf, by the Unix time at
                                                      which it last got a poem
    yuefu:bot:<p>:notices          hash    none       a digest of each menu and text of the profile
                                                      that the platform was told last
    yuefu:bot:<p>:lease            string  5 s        the process that serves platform <p> now
    yuefu:bot:<p>:halt             string  as asked   that the platform asked us to wait
    yuefu:bot:<p>:budget           string  < 1 s      how far ahead of an even pace we have sent
    yuefu:bot:<p>:budget:chat:<chat>   string  some s     the same in one chat
    yuefu:bot:<p>:budget:group:<chat>  string  < 1 min    the same in a group, at a group's pace

All of it may be lost with no loss but what is in flight. `<p>` is the platform.
"""

from engine.keys import PREFIX

GROUP = "bot"
"""The one consumer group of inbox and outbox; only the holder of the lease reads."""

SEEN_TTL_S = 48 * 3600
"""A platform repeats an update for a day at most. After this, its number may mean another."""

SHOWN_TTL_S = 48 * 3600
"""As long as the cause of a message can come again."""

DEAD_TTL_S = 30 * 24 * 3600
"""Long enough for an operator to look; they hold what people wrote, so not for ever."""

DEAD_MAX = 1000
"""Dead updates kept, so that a flood of bad ones cannot fill the memory."""

CARD_TTL_S = 30 * 24 * 3600
"""A card that nobody asked for in a month may as well be drawn anew."""

SHELF_TTL_S = 6 * 3600
"""The model may be another tomorrow, and nobody shall meet the same few poems for days."""

REFUSED_TTL_S = 24 * 3600
"""A chat that blocked us is worth one line a day."""


def inbox(platform: str) -> str:
    """The stream of raw updates."""
    return f"{PREFIX}bot:{platform}:inbox"


def seen(platform: str, update: object = "") -> str:
    """The mark of one update; its prefix where none is given."""
    return f"{PREFIX}bot:{platform}:seen:{update}"


def dead(platform: str) -> str:
    """The stream of updates that nobody could deal with."""
    return f"{PREFIX}bot:{platform}:dead"


def outbox(platform: str) -> str:
    """The stream of messages to show."""
    return f"{PREFIX}bot:{platform}:outbox"


def shown(platform: str, cause: str) -> str:
    """The ledger's entry for the answer to one cause."""
    return f"{PREFIX}bot:{platform}:shown:{cause}"


def refused(platform: str, chat: str) -> str:
    """The mark of a chat that takes no messages from us."""
    return f"{PREFIX}bot:{platform}:refused:{chat}"


def tallies(platform: str) -> str:
    """The messages whose counters are out of date."""
    return f"{PREFIX}bot:{platform}:tallies"


def card(platform: str, card_key: str) -> str:
    """The platform's own name of a card that it has already."""
    return f"{PREFIX}bot:{platform}:card:{card_key}"


def ticket(platform: str, cause: str) -> str:
    """What it takes to answer one interaction."""
    return f"{PREFIX}bot:{platform}:ticket:{cause}"


def commands(platform: str) -> str:
    """The hash of the commands that were last published."""
    return f"{PREFIX}bot:{platform}:commands"


def shelf(platform: str, wish: str) -> str:
    """The poems that were written for nobody but for one wish."""
    return f"{PREFIX}bot:{platform}:shelf:{wish}"


def wishes(platform: str) -> str:
    """The wishes for which there are such poems."""
    return f"{PREFIX}bot:{platform}:wishes"


def notices(platform: str) -> str:
    """What the platform was told to show of the bot."""
    return f"{PREFIX}bot:{platform}:notices"


def lease(platform: str) -> str:
    """The lease on serving a platform."""
    return f"{PREFIX}bot:{platform}:lease"


def halt(platform: str) -> str:
    """The halt that a platform asked for; it lasts as long as the key."""
    return f"{PREFIX}bot:{platform}:halt"


def budget(platform: str, *part: str) -> str:
    """What was spent of a platform's budget: over all chats, or of one part of it.

    It lives until it would say nothing: until an even pace has caught up.
    """
    return ":".join((f"{PREFIX}bot:{platform}:budget", *part))
