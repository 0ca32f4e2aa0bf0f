"""What a message shows, in the library's words."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from discord import Embed, File, ui
from discord.ui import View
from discord.utils import MISSING, escape_markdown

from bot.message import Attachment, Button

CONTENT_MAX = 2000
"""Characters of a message."""
EMBED_MAX = 4096
"""Characters of an embed, which takes what is too long for a message."""
DESCRIPTION_MAX = 1024
"""Characters that describe a picture."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a message shows, as often as it is tried."""

    text: str = ""
    """Plain text; empty beside a card, and where a change leaves it as it is."""
    picture: bytes | None = None
    """A PNG."""
    description: str = ""
    """What the picture shows, for those who cannot see it."""
    attachment: Attachment | None = None
    """A text file."""
    buttons: tuple[Button, ...] = ()
    """The buttons below."""

    def new(self) -> dict[str, Any]:
        """What the library is told of a new message."""
        content, embeds = _body(self.text)
        view = _view(self.buttons) or MISSING
        return {"content": content, "embeds": embeds, "files": self._files(), "view": view}

    def changes(self) -> dict[str, Any]:
        """What the library is told of a message that takes the place of another."""
        view, files = _view(self.buttons), self._files()
        if not self.text and not files:
            return {"view": view}
        content, embeds = _body(self.text)
        attached = {"attachments": files} if files else {}
        return {"content": content, "embeds": embeds, "view": view, **attached}

    def _files(self) -> list[File]:
        """The files; made anew, for each is read once."""
        files = []
        if self.picture is not None:
            said = self.description[:DESCRIPTION_MAX]
            files.append(File(BytesIO(self.picture), filename="card.png", description=said))
        if self.attachment is not None:
            text = BytesIO(self.attachment.text.encode())
            files.append(File(text, filename=self.attachment.name))
        return files


def _body(text: str) -> tuple[str | None, list[Embed]]:
    """`text`, with nothing in it that Discord would read as a sign of its own."""
    if not text:
        return None, []
    escaped = escape_markdown(text)
    if len(escaped) <= CONTENT_MAX:
        return escaped, []
    if len(escaped) > EMBED_MAX:
        escaped = f"{escaped[: EMBED_MAX - 1]}…"
    return None, [Embed(description=escaped)]


def _view(buttons: Sequence[Button]) -> View | None:
    """The buttons; the library need not remember them, for taps come to the inbox."""
    if not buttons:
        return None
    view = View(timeout=None)
    for button in buttons:
        view.add_item(ui.Button[View](label=button.label, custom_id=button.data))
    view.stop()
    return view
