"""What the library's errors mean for a message, and how fast messages may go out."""

import asyncio

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

from bot.errors import ChatMovedError, MaybeShownError, NotShownError, UndeliverableError
from bot.telegram.sender import GROUP_MESSAGES_PER_MIN, Pace, _send_error


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
        (BadRequest("Chat not found"), UndeliverableError),
        (Forbidden("Forbidden: bot was blocked by the user"), UndeliverableError),
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


async def test_a_busy_group_waits_alone():
    pace = Pace()
    for _ in range(GROUP_MESSAGES_PER_MIN):
        await pace.wait(-1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await pace.wait(-1)
    async with asyncio.timeout(1):
        await pace.wait(-2)
        await pace.wait(1)


async def test_groups_that_are_quiet_again_are_forgotten(monkeypatch):
    monkeypatch.setattr("bot.telegram.sender._GROUPS_MAX", 2)
    monkeypatch.setattr("bot.telegram.sender.MESSAGES_PER_S", 1000)
    pace = Pace()
    for _ in range(GROUP_MESSAGES_PER_MIN):
        await pace.wait(-1)
    for group in (-2, -3):
        pace._group(group)
    pace._group(-4)
    assert set(pace._groups) == {-1, -4}
