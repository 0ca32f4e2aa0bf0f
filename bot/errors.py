"""Everything that can go wrong in the bot, as one tree.

    BotError
    ├── OrderError               an operator asks for what cannot be
    ├── HouseholdError           the engine or the embedded Valkey did not come up
    ├── AnthologyError           the database cannot be opened or migrated
    ├── InboxError
    │   ├── TokenRefusedError    the platform does not know the token
    │   ├── GatewayClosedError   the platform ended the connection for good
    │   ├── PollerConflictError  another program polls with the same token
    │   └── PollFailedError      anything else: worth another try
    ├── LeaseLostError           another process took over
    ├── CardError                a card cannot be drawn: send the poem as text
    │   ├── NoFontError          there is no font to draw with
    │   └── GlyphsMissingError   the font lacks characters of this poem
    └── SendError
        ├── NotShownError        surely not shown: send it again
        ├── MaybeShownError      nobody can tell: never send it again
        ├── UndeliverableError   the platform will never take it
        │   └── BlockedError     nor any other message for that chat or topic
        └── ChatMovedError       the chat has a new id: send it there

The first line of each docstring is the message that a person reads.
"""


class BotError(Exception):
    """The bot failed."""

    def __str__(self) -> str:
        """What was said when it was raised, else the first line of the docstring."""
        return super().__str__() or (type(self).__doc__ or "").partition("\n")[0]


class OrderError(BotError):
    """What was asked for on the command line cannot be."""


class HouseholdError(BotError):
    """The engine did not come up."""


class AnthologyError(BotError):
    """The anthology cannot be opened."""


class InboxError(BotError):
    """Updates cannot be fetched."""


class TokenRefusedError(InboxError):
    """The platform does not know this token; ask BotFather for a fresh one."""


class GatewayClosedError(InboxError):
    """Discord closed the gateway and will not open it again."""


class PollerConflictError(InboxError):
    """Another program fetches updates with the same token."""


class PollFailedError(InboxError):
    """A request for updates failed.

    `retry_after_s` is what the platform asks us to wait, None where it does not say.
    """

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LeaseLostError(BotError):
    """Another process holds the lease now."""


class CardError(BotError):
    """A card cannot be drawn."""


class NoFontError(CardError):
    """Cards have no font; install fonts-lxgw-wenkai or fonts-noto-cjk, or set YUEFU_CARD_FONT."""


class GlyphsMissingError(CardError):
    """The font of the cards lacks characters, `missing`."""

    def __init__(self, missing: str) -> None:
        # They may be of what a person wrote, so the message, which is logged, only counts them.
        super().__init__(f"the font of the cards lacks {len(missing)} characters of this poem")
        self.missing = missing


class SendError(BotError):
    """A message did not go out as it should."""


class NotShownError(SendError):
    """The message was surely not shown.

    `retry_after_s` is how long every message has to wait before the next try.
    """

    def __init__(self, message: str = "", *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class MaybeShownError(SendError):
    """The message may have been shown; the platform's answer was lost."""


class UndeliverableError(SendError):
    """The platform will never take this message."""


class BlockedError(UndeliverableError):
    """The chat, or its topic, takes no messages from us."""


class ChatMovedError(SendError):
    """The chat has a new id, `chat`."""

    def __init__(self, chat: str) -> None:
        super().__init__()
        self.chat = chat
