"""What the library's errors mean for a message."""

import httpx
import pytest
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)

from bot.errors import (
    BlockedError,
    ChatMovedError,
    MaybeShownError,
    NotShownError,
    UndeliverableError,
)
from bot.telegram.sender import _send_error


def caused_by(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidToken("no"), NotShownError),
        (caused_by(NetworkError("x"), httpx.ConnectError("x")), NotShownError),
        (caused_by(TimedOut(), httpx.ConnectTimeout("x")), NotShownError),
        (caused_by(TimedOut(), httpx.PoolTimeout("x")), NotShownError),
        (caused_by(TimedOut(), httpx.ReadTimeout("x")), MaybeShownError),
        (caused_by(TimedOut(), httpx.WriteTimeout("x")), MaybeShownError),
        (caused_by(NetworkError("x"), httpx.ReadError("x")), MaybeShownError),
        (caused_by(NetworkError("x"), httpx.RemoteProtocolError("x")), MaybeShownError),
        (NetworkError("Bad Gateway"), MaybeShownError),
        (TelegramError("Invalid server response"), MaybeShownError),
        (BadRequest("Message is too long"), UndeliverableError),
        (BadRequest("Chat not found"), BlockedError),
        (BadRequest("Message thread not found"), BlockedError),
        (BadRequest("Not enough rights to send text messages to the chat"), BlockedError),
        (Forbidden("Forbidden: bot was blocked by the user"), BlockedError),
    ],
)
def test_only_what_surely_was_not_shown_is_tried_again(error, kind):
    assert type(_send_error(error)) is kind


def test_a_flood_says_how_long_to_wait(monkeypatch):
    monkeypatch.setenv("PTB_TIMEDELTA", "1")
    error = _send_error(RetryAfter(9))
    assert isinstance(error, NotShownError)
    assert error.retry_after_s == 9


def test_a_moved_chat_says_where_to():
    error = _send_error(ChatMigrated(-100_7))
    assert isinstance(error, ChatMovedError)
    assert error.chat == "telegram:-1007"
