"""Makes cards of poems that are shown; the platform draws them when it sends them."""

from collections.abc import Mapping, Sequence

from bot import texts
from bot.anthology import Anthology
from bot.anthology.chats import ChatSettings
from bot.anthology.tables import PoemRow
from bot.buttons import Deed, Verb
from bot.cards.card import Card, Ratio, Theme, card_of
from bot.clerks import Act, TapAct, last_poem_of, picked_or_all, say, tell
from bot.clerks.writing import render_rows
from bot.language import Language, Script
from bot.message import Incoming, Message, Reply, Tap
from bot.requests import CardRequest


class PictureClerk:
    """Makes cards of the poems of a chat."""

    def __init__(self, anthology: Anthology, *, labelled: bool) -> None:
        """`labelled` is the operator's setting `card_label`."""
        self._anthology = anthology
        self._labelled = labelled

    @property
    def acts(self) -> Mapping[type, Act]:
        """What it does, by type of request."""
        return {CardRequest: self._show_card}

    @property
    def taps(self) -> Mapping[Verb, TapAct]:
        """What it does, by button."""
        return {Verb.CARD: self._show_card_by_tap}

    async def _show_card(
        self, request: CardRequest, incoming: Incoming, _settings: ChatSettings
    ) -> Reply:
        row = await self._poem_meant(incoming)
        if row is None:
            return say(incoming, texts.CARD_OF_WHAT.say(incoming.language))
        card = self._card(row, request.theme, request.ratio)
        return Reply(messages=(_message(incoming.cause, incoming, row, card),))

    async def _show_card_by_tap(self, deed: Deed, tap: Tap, _settings: ChatSettings) -> Reply:
        row = await self._anthology.poems.get_in(tap.address.chat, deed.subject)
        if row is None:
            return tell(tap, texts.POEM_UNKNOWN.say(tap.language))
        card = self._card(row, Theme.PAPER, Ratio.PORTRAIT)
        return tell(tap, "", _message(f"{tap.cause}/card", tap, row, card))

    async def _poem_meant(self, incoming: Incoming) -> PoemRow | None:
        """The poem of ours that is replied to, or the last one shown to them."""
        poems = self._anthology.poems
        if incoming.quoted_id is not None:
            return await poems.shown_in(incoming.address.chat, incoming.quoted_id)
        if incoming.quoted is not None:
            return None
        return _only(await last_poem_of(incoming, poems))

    def _card(self, row: PoemRow, theme: Theme, ratio: Ratio) -> Card:
        return card_of(
            row.poem,
            glyphs=row.opening,
            script=Script(row.script),
            language=Language(row.language),
            title=row.theme,
            labelled=self._labelled,
            theme=theme,
            ratio=ratio,
        )


def _only(rows: Sequence[PoemRow]) -> PoemRow | None:
    """The poem that was picked, or the only one there is."""
    picked = picked_or_all(rows)
    return picked[0] if len(picked) == 1 else None


def _message(cause: str, asked: Incoming | Tap, row: PoemRow, card: Card) -> Message:
    shown = render_rows([row])
    return Message(
        id=cause,
        address=asked.address,
        text=shown.text,
        spans=shown.spans,
        card=card,
        language=asked.language,
    )
