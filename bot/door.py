"""Whom the bot serves, where its operator says so; others are told once and then left alone."""

from bot import texts
from bot.clerks import tap_answer, whisper
from bot.commands import is_command
from bot.message import Arrival, Incoming, Message, Reaction, Tap


class Door:
    """Lets in the chats that the operator names; all of them where none is named."""

    def __init__(self, chats: frozenset[str] = frozenset(), *, answers_each: bool = False) -> None:
        """Serve `chats`, which are names with the platform, or all where there are none.

        A person's own chat with the bot may be named as they are. With `answers_each` everybody
        who asks is told, as where a question that nobody answers looks like a bot that is broken.
        """
        self._chats = chats
        self._answers_each = answers_each

    def serves(self, chat: str) -> bool:
        """Whether a chat, or a person, of that name is served."""
        return not self._chats or chat in self._chats

    def admits(self, knock: Incoming | Tap | Reaction | Arrival) -> bool:
        """Whether the chat that something came from is served."""
        if self.serves(knock.address.chat):
            return True
        # On Discord a person's own chat has a number that is not theirs.
        if isinstance(knock, Incoming | Tap) and knock.direct and knock.person is not None:
            return self.serves(knock.person)
        return False

    def decline(self, knock: Incoming | Tap | Reaction | Arrival) -> Message | None:
        """What to say where the bot does not serve; None where nobody spoke to it.

        Unless each is answered, the id is the chat's own, so that the ledger shows it once in two
        days however many knock.
        """
        if isinstance(knock, Reaction):
            return None
        text = texts.NOT_SERVED.say(knock.language, chat=knock.address.chat)
        if isinstance(knock, Tap):
            return tap_answer(knock, text, alert=True)
        if isinstance(knock, Incoming) and self._answers_each:
            return whisper(knock, text).messages[0]
        if isinstance(knock, Incoming) and not knock.direct and not is_command(knock.text):
            return None
        return Message(id=f"not served:{knock.address.chat}", address=knock.address, text=text)
