"""Whom the bot serves, where its operator says so; others are told once and then left alone."""

from bot import texts
from bot.clerks import tap_answer
from bot.commands import is_command
from bot.message import Arrival, Incoming, Message, Reaction, Tap


class Door:
    """Lets in the chats that the operator names; all of them where none is named."""

    def __init__(self, chats: frozenset[str] = frozenset()) -> None:
        """`chats` are names with the platform; a person's own chat with the bot has theirs."""
        self._chats = chats

    def admits(self, chat: str) -> bool:
        """Whether `chat` is served."""
        return not self._chats or chat in self._chats

    def decline(self, knock: Incoming | Tap | Reaction | Arrival) -> Message | None:
        """What to say where the bot does not serve; None where nobody spoke to it.

        The id is the chat's own, so that the ledger shows it once in two days however many knock.
        """
        if isinstance(knock, Reaction):
            return None
        text = texts.NOT_SERVED.say(knock.language, chat=knock.address.chat)
        if isinstance(knock, Tap):
            return tap_answer(knock, text, alert=True)
        if isinstance(knock, Incoming) and not knock.direct and not is_command(knock.text):
            return None
        return Message(id=f"not served:{knock.address.chat}", address=knock.address, text=text)
