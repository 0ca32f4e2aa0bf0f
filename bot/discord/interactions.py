"""A raw interaction becomes an incoming line or a tap.

We read it ourselves, for the library's reading needs much that an answer does not: a kind of
channel that it has not met would cost the person their poem.
"""

import json
from dataclasses import replace
from typing import Any, Final

from discord import AppCommandType, ChannelType, InteractionType, Permissions

from bot.discord.menu import COMMAND_BY_MENU, COMMAND_BY_NAME, FORM_POEM, FORM_WISH, PLATFORM
from bot.fields import line_of
from bot.inbox import UnreadableUpdateError
from bot.language import language_of
from bot.message import Address, Incoming, Tap

CAUSE = "dc:"
"""What the cause of whatever follows from an interaction begins with."""

_THREADS = frozenset(
    {
        ChannelType.news_thread.value,
        ChannelType.public_thread.value,
        ChannelType.private_thread.value,
    }
)

_ALONE = 1
"""The context of a direct message to the bot."""

Mask = dict[str, "Mask | None"]

_ANY = "*"
_KEPT: Final[Mask] = {
    "id": None,
    "type": None,
    "locale": None,
    "context": None,
    "user": {"id": None},
    "member": {"user": {"id": None}, "permissions": None},
    "channel_id": None,
    "channel": {"type": None, "parent_id": None},
    "message": {"id": None},
    "data": {
        "type": None,
        "name": None,
        "options": {"name": None, "value": None},
        "target_id": None,
        "resolved": {"messages": {_ANY: {"content": None, "embeds": {"description": None}}}},
        "custom_id": None,
        "components": {"component": {"custom_id": None, "value": None}},
    },
}
"""All that we keep of an interaction: no names, no pictures, nothing about the server."""

ADDRESSEE = "yuefu"
"""What we are called in the lines that commands become: a slash command is always meant for us."""


def keep(interaction: dict[str, Any]) -> dict[str, Any]:
    """What of `interaction` is worth storing, in its own shape."""
    kept: dict[str, Any] = _prune(interaction, _KEPT)
    return kept


def _prune(value: Any, mask: Mask | None) -> Any:
    """What `mask` names of `value`; of a list, the same of each item."""
    if mask is None:
        return value
    if isinstance(value, list):
        return [_prune(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _prune(item, mask.get(name, mask.get(_ANY)))
        for name, item in value.items()
        if name in mask or _ANY in mask
    }


def chat_name(channel_id: int) -> str:
    """A channel of Discord as the rest of the bot names it."""
    return f"{PLATFORM}:{channel_id}"


def person_name(user_id: int) -> str:
    """A person on Discord as the rest of the bot names them."""
    return f"{PLATFORM}:{user_id}"


def channel_of(address: Address) -> int:
    """The channel that `address` names, which is the thread where there is one."""
    return address.thread or int(address.chat.removeprefix(f"{PLATFORM}:"))


def cause_of(interaction: dict[str, Any]) -> str:
    """What follows from `interaction` is known under this.

    Raises:
        KeyError, TypeError, ValueError: it has no id.
    """
    return f"{CAUSE}{int(interaction['id'])}"


def read_interaction(raw: bytes) -> Incoming | Tap | None:
    """What a raw interaction means; None where it means nothing to us.

    Raises:
        UnreadableUpdateError: it is not JSON, or no interaction as Discord describes them.
    """
    try:
        interaction = json.loads(raw)
        match interaction["type"]:
            case InteractionType.application_command.value:
                return _command(interaction)
            case InteractionType.component.value:
                return _tap(interaction)
            case InteractionType.modal_submit.value:
                return _form(interaction)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnreadableUpdateError(type(error).__name__) from None
    return None


def _command(interaction: dict[str, Any]) -> Incoming:
    """What was given as a command, or chosen in the menu of a message."""
    data = interaction["data"]
    if data["type"] == AppCommandType.message.value:
        about = _incoming(interaction, COMMAND_BY_MENU[data["name"]].name)
        return replace(about, quoted=target_text(data), quoted_id=int(data["target_id"]))
    told = {option["name"]: str(option["value"]) for option in data.get("options", ())}
    return _incoming(interaction, data["name"], _line(data["name"], told))


def _line(name: str, told: dict[str, str]) -> str:
    """What a command was told; also by fields of another version, which clients remember."""
    command = COMMAND_BY_NAME.get(name)
    fields = command.fields if command else ()
    known = {field.name for field in fields}
    others = (value for field, value in told.items() if field not in known)
    return " ".join(filter(None, (line_of(fields, told), *others)))


def _form(interaction: dict[str, Any]) -> Incoming:
    """A form says what to do, and holds the poem to do it to."""
    data = interaction["data"]
    fields = [label["component"] for label in data["components"]]
    filled = {field["custom_id"]: str(field["value"]) for field in fields}
    # The wish is one line, so that the poem begins on the second.
    wish = " ".join(filled[FORM_WISH].split())
    return _incoming(interaction, data["custom_id"], f"{wish}\n{filled[FORM_POEM]}")


def target_text(data: dict[str, Any]) -> str:
    """The text of the message that a command of its menu was chosen for."""
    message = data["resolved"]["messages"][data["target_id"]]
    # What is too long for a message of ours stands in an embed.
    parts = [message["content"], *(e.get("description", "") for e in message.get("embeds", ()))]
    return "\n".join(filter(None, parts))


def _incoming(interaction: dict[str, Any], command: str, arguments: str = "") -> Incoming:
    return Incoming(
        cause=cause_of(interaction),
        address=_address(interaction),
        text=f"/{command}@{ADDRESSEE} {arguments}".rstrip(),
        language=language_of(interaction.get("locale")),
        direct=_is_direct(interaction),
        person=_person(interaction),
        admin=_is_admin(interaction),
    )


def _tap(interaction: dict[str, Any]) -> Tap:
    return Tap(
        cause=cause_of(interaction),
        address=_address(interaction),
        language=language_of(interaction.get("locale")),
        id=str(interaction["id"]),
        data=str(interaction["data"]["custom_id"]),
        message=int(interaction["message"]["id"]),
        person=_person(interaction),
        direct=_is_direct(interaction),
        admin=_is_admin(interaction),
    )


def _person(interaction: dict[str, Any]) -> str:
    """Who it was; in a server Discord speaks of members."""
    user = interaction["member"]["user"] if "member" in interaction else interaction["user"]
    return person_name(int(user["id"]))


def _is_direct(interaction: dict[str, Any]) -> bool:
    """Whether nobody else is there."""
    return bool(interaction.get("context") == _ALONE)


def _is_admin(interaction: dict[str, Any]) -> bool:
    """Whether the person runs the channel; among friends nobody does, so that all may."""
    if "member" not in interaction:
        return not _is_direct(interaction)
    permissions = Permissions(int(interaction["member"]["permissions"]))
    return any((permissions.administrator, permissions.manage_guild, permissions.manage_channels))


def _address(interaction: dict[str, Any]) -> Address:
    """The channel; of a thread the channel around it, whose style is the thread's."""
    channel_id = int(interaction["channel_id"])
    channel = interaction.get("channel", {})
    if channel.get("type") in _THREADS and channel.get("parent_id"):
        return Address(chat=chat_name(int(channel["parent_id"])), thread=channel_id)
    return Address(chat=chat_name(channel_id))
