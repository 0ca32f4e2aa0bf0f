"""Changes what a chat chose: style, language, script."""

from collections.abc import Mapping
from dataclasses import replace

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.buttons import Verb
from bot.clerks import Act, TapAct, say
from bot.language import Script
from bot.message import Incoming, Reply
from bot.requests import LanguageRequest, ScriptRequest, StyleRequest

_SCRIPTS = {
    Script.SIMPLIFIED: texts.SCRIPT_SIMPLIFIED,
    Script.TRADITIONAL: texts.SCRIPT_TRADITIONAL,
    None: texts.SCRIPT_FREE,
}


class PreferenceClerk:
    """Keeps what chats choose in the anthology."""

    def __init__(self, anthology: Anthology) -> None:
        """Write to `anthology`."""
        self._anthology = anthology

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {
            StyleRequest: self._set_style,
            LanguageRequest: self._set_language,
            ScriptRequest: self._set_script,
        }

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """It has no buttons."""
        return {}

    async def _set_style(
        self, request: StyleRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        await self._change(incoming, replace(settings, style=request.style))
        return say(incoming, request.answer)

    async def _set_language(
        self, request: LanguageRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        await self._change(incoming, replace(settings, language=request.language))
        if request.language is None:
            return say(incoming, texts.LANGUAGE_FREE.say(incoming.language))
        return say(incoming, texts.LANGUAGE_CHANGED.say(request.language))

    async def _set_script(
        self, request: ScriptRequest, incoming: Incoming, settings: ChatSettings
    ) -> Reply:
        await self._change(incoming, replace(settings, script=request.script))
        return say(incoming, _SCRIPTS[request.script].say(incoming.language))

    async def _change(self, incoming: Incoming, settings: ChatSettings) -> None:
        await self._anthology.chats.change(incoming.address.chat, settings, incoming.language)
