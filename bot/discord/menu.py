"""The table of commands as Discord offers it, published only where it changed.

It is written out here instead of through the library's command tree: that is made of functions,
which it calls in memory, where we have a table, and a durable inbox for what people choose.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import structlog
from aiohttp import ClientError
from discord import (
    AppCommandOptionType,
    AppCommandType,
    Client,
    DiscordException,
    Locale,
    TextStyle,
)
from discord.ui import Label, Modal, TextInput
from redis.asyncio import Redis

from bot import keys, texts
from bot.commands import COMMANDS, Command, Menu
from bot.fields import Field
from bot.language import Language
from bot.quotation import TEXT_MAX
from bot.texts import Text
from engine.verse.script import is_simplified, simplified

PLATFORM = "discord"
"""What Discord is called in keys, chats and logs."""
DESCRIPTION_MAX = 100
"""Characters that Discord admits in a description."""
FORM_TITLE_MAX = 45
"""Characters that it admits in the title of a form, and of a field."""
FIELD_MAX = 4000
"""Characters that it admits in a field of a form."""
FORM_WISH = "wish"
"""The field of a form that says what to do."""
FORM_POEM = "poem"
"""The field of a form that holds the poem."""

_WISH_MAX = 100
_LOCALES: Final[Mapping[Language, Locale]] = {
    Language.ZH: Locale.chinese,
    Language.ZH_HANT: Locale.taiwan_chinese,
}
"""Where a text has to be translated; whoever reads another language reads English."""
_OFFERED = {
    # To servers and to people, in servers, in direct messages and in groups of friends.
    "integration_types": [0, 1],
    "contexts": [0, 1, 2],
}

COMMAND_BY_NAME: Final[Mapping[str, Command]] = {command.name: command for command in COMMANDS}
"""The slash commands, by the name that Discord sends."""
COMMAND_BY_MENU: Final[Mapping[str, Command]] = {
    command.menu.title.say(Language.EN): command for command in COMMANDS if command.menu
}
"""The command behind each entry in the menu of a message, by the name that Discord sends."""

log = structlog.get_logger(__name__)


def rendered_commands() -> list[dict[str, Any]]:
    """Every command, as Discord wants to be told of it."""
    slash = [_slash_command(command) for command in COMMANDS]
    return slash + [_menu_command(command.menu) for command in COMMANDS if command.menu]


def _slash_command(command: Command) -> dict[str, Any]:
    return {
        "type": AppCommandType.chat_input.value,
        "name": command.name,
        "name_localizations": _translated_names(command),
        **_description(command.help),
        "options": [_option(field) for field in command.fields],
        **_OFFERED,
    }


def _menu_command(menu: Menu) -> dict[str, Any]:
    return {
        "type": AppCommandType.message.value,
        **_named(menu.title),
        **_OFFERED,
    }


def _option(field: Field) -> dict[str, Any]:
    option = {
        "type": AppCommandOptionType.string.value,
        **_named(field.title),
        **_description(field.help),
        "required": field.needed,
    }
    if field.choices:
        choices = [{**_named(choice.title), "value": choice.word} for choice in field.choices]
        return option | {"choices": choices}
    return option | {"max_length": TEXT_MAX}


def _named(title: Text) -> dict[str, Any]:
    return {
        "name": title.say(Language.EN),
        "name_localizations": {
            locale.value: title.say(language) for language, locale in _LOCALES.items()
        },
    }


def _translated_names(command: Command) -> dict[str, str]:
    """The first Chinese name of `command` in either script."""
    simple = [name for name in command.aliases if simplified(name) == name]
    traditional = [name for name in command.aliases if not is_simplified(name)]
    found = {Locale.chinese: simple, Locale.taiwan_chinese: traditional}
    return {locale.value: names[0] for locale, names in found.items() if names}


def _description(text: Text) -> dict[str, Any]:
    return {
        "description": _short(text.say(Language.EN)),
        "description_localizations": {
            locale.value: _short(text.say(language)) for language, locale in _LOCALES.items()
        },
    }


def _short(description: str) -> str:
    """A help without its examples, which show how to type what Discord has fields for."""
    said = description
    for colon in (": /", "：/"):
        said = said.partition(colon)[0]
    return said if len(said) <= DESCRIPTION_MAX else f"{said[: DESCRIPTION_MAX - 1]}…"


def form_for(command: Command, text: str, language: Language) -> Modal | None:
    """The form that asks what to do with the poem in `text`; None if there is nothing to ask."""
    if command.menu is None or command.menu.asks is None:
        return None
    title = command.menu.title.say(language)[:FORM_TITLE_MAX]
    form = Modal(title=title, custom_id=command.name)
    wish: TextInput[Modal] = TextInput(custom_id=FORM_WISH, max_length=_WISH_MAX)
    poem: TextInput[Modal] = TextInput(
        custom_id=FORM_POEM,
        style=TextStyle.paragraph,
        default=text[:FIELD_MAX],
        max_length=FIELD_MAX,
    )
    form.add_item(Label(text=command.menu.asks.say(language)[:FORM_TITLE_MAX], component=wish))
    form.add_item(Label(text=texts.MENU_POEM.say(language), component=poem))
    # What it brings back is read from the inbox: the library need not wait for it.
    form.stop()
    return form


async def publish_commands(client: Client, redis: Redis) -> None:
    """Tell Discord of the commands, unless they are those that it was told of last."""
    commands = rendered_commands()
    told = json.dumps([client.application_id, commands], sort_keys=True)
    mark = blake2b(told.encode(), digest_size=16).hexdigest().encode()
    key = keys.commands(PLATFORM)
    if client.application_id is None or await redis.get(key) == mark:
        return
    try:
        await client.http.bulk_upsert_global_commands(client.application_id, payload=commands)
    except (DiscordException, ClientError, OSError) as error:
        # People have those that were published before.
        log.warning("! no menu", action="start.menu", error=type(error).__name__)
    else:
        await redis.set(key, mark)
        log.info("published", action="start.menu", commands=len(commands))
