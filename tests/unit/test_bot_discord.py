"""What an interaction says, what the library's errors mean, and how Discord is told of commands."""

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from discord import DiscordServerError, Forbidden, HTTPException, NotFound, RateLimited
from hypothesis import given
from hypothesis import strategies as st

from bot.discord.interactions import keep, read_interaction
from bot.discord.look import _body
from bot.discord.menu import DESCRIPTION_MAX, rendered_commands
from bot.discord.sender import _send_error
from bot.errors import BlockedError, MaybeShownError, NotShownError, UndeliverableError
from bot.inbox import UnreadableUpdateError
from bot.language import Language
from bot.message import Address, Incoming, Tap

COMMAND: dict[str, Any] = {
    "id": "11",
    "type": 2,
    "locale": "zh-TW",
    "channel_id": "7",
    "channel": {"id": "7", "type": 0, "name": "poems"},
    "token": "a token",
    "context": 1,
    "user": {"id": "42", "username": "reader"},
    "data": {"type": 1, "name": "poem", "options": [{"name": "text", "type": 3, "value": "月"}]},
}


def read(interaction):
    return read_interaction(json.dumps(keep(interaction)).encode())


def test_a_slash_command_is_a_line_that_is_meant_for_us():
    assert read(COMMAND) == Incoming(
        cause="dc:11",
        address=Address(chat="discord:7"),
        text="/poem@yuefu 月",
        language=Language.ZH_HANT,
        direct=True,
        person="discord:42",
        admin=False,
    )


def test_a_thread_answers_where_it_is_and_has_the_style_of_its_channel():
    thread = COMMAND | {"channel": {"type": 11, "parent_id": "3"}}
    found = read(thread)
    assert isinstance(found, Incoming)
    assert found.address == Address(chat="discord:3", thread=7)


def test_a_channel_of_a_kind_that_nobody_knows_is_a_channel():
    found = read(COMMAND | {"channel": {"type": 9000, "parent_id": "3"}})
    assert isinstance(found, Incoming)
    assert found.address == Address(chat="discord:7")


def test_a_poem_in_an_embed_is_quoted_like_any_other():
    message = {"content": "", "embeds": [{"title": "…", "description": "白日依山尽"}]}
    data = {
        "type": 3,
        "name": "Check this poem",
        "target_id": "5",
        "resolved": {"messages": {"5": message}},
    }
    found = read(COMMAND | {"data": data})
    assert isinstance(found, Incoming)
    assert (found.text, found.quoted, found.quoted_id) == ("/check@yuefu", "白日依山尽", 5)


def test_a_tap_names_its_message_and_what_the_button_holds():
    tap = COMMAND | {
        "type": 3,
        "message": {"id": "99", "content": "…"},
        "data": {"component_type": 2, "custom_id": "pick:1:dc:5"},
    }
    assert read(tap) == Tap(
        cause="dc:11",
        address=Address(chat="discord:7"),
        language=Language.ZH_HANT,
        id="11",
        data="pick:1:dc:5",
        message=99,
        person="discord:42",
        direct=True,
        admin=False,
    )


@pytest.mark.parametrize(
    ("permissions", "admin"), [(0, False), (1 << 3, True), (1 << 4, True), (1 << 5, True)]
)
def test_in_a_server_whoever_may_change_the_channel_runs_it(permissions, admin):
    member = {"user": {"id": "43"}, "permissions": str(permissions)}
    found = read(COMMAND | {"context": 0, "member": member})
    assert isinstance(found, Incoming)
    assert (found.person, found.direct, found.admin) == ("discord:43", False, admin)


def test_among_friends_everybody_may_choose():
    found = read(COMMAND | {"context": 2})
    assert isinstance(found, Incoming)
    assert (found.direct, found.admin) == (False, True)


@pytest.mark.parametrize("kind", [1, 4, 99])
def test_what_is_neither_command_nor_tap_means_nothing(kind):
    assert read(COMMAND | {"type": kind}) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_NAMES = sorted({*COMMAND, "message", *COMMAND["data"], "custom_id", "components", "resolved"})


@given(st.integers(2, 5), st.dictionaries(st.sampled_from(_NAMES), _JSON), _JSON)
def test_whatever_comes_is_read_or_said_to_be_unreadable(kind, fields, data):
    with suppress(UnreadableUpdateError):
        read(COMMAND | {"data": data} | fields | {"type": kind})


def response(status, **headers):
    return SimpleNamespace(status=status, reason="no", headers=headers)


@pytest.mark.parametrize(
    ("error", "kind", "follow_up"),
    [
        (RateLimited(40.0), NotShownError, NotShownError),
        (HTTPException(response(429), "banned"), NotShownError, NotShownError),
        (HTTPException(response(401), {"code": 0}), NotShownError, NotShownError),
        (Forbidden(response(403), {"code": 50013}), BlockedError, BlockedError),
        (NotFound(response(404), {"code": 10003}), BlockedError, BlockedError),
        (NotFound(response(404), {"code": 10008}), UndeliverableError, UndeliverableError),
        (HTTPException(response(400), {"code": 50035}), UndeliverableError, UndeliverableError),
        (DiscordServerError(response(503), "no"), NotShownError, MaybeShownError),
        (TimeoutError(), NotShownError, MaybeShownError),
        (aiohttp.ServerDisconnectedError(), NotShownError, MaybeShownError),
        (
            aiohttp.ClientConnectorError(SimpleNamespace(), OSError("no")),  # type: ignore[arg-type]
            NotShownError,
            NotShownError,
        ),
    ],
)
def test_only_what_may_be_sent_twice_or_surely_was_not_shown_is_tried_again(error, kind, follow_up):
    assert type(_send_error(error, repeatable=True)) is kind
    assert type(_send_error(error, repeatable=False)) is follow_up


def test_a_flood_says_how_long_to_wait():
    library = _send_error(RateLimited(40.0), repeatable=True)
    guard = _send_error(HTTPException(response(429, **{"Retry-After": "9"}), ""), repeatable=True)
    assert isinstance(library, NotShownError)
    assert isinstance(guard, NotShownError)
    assert (library.retry_after_s, guard.retry_after_s) == (40.0, 9.0)


def test_a_long_text_is_an_embed_and_a_longer_one_is_cut():
    assert _body("月" * 2000) == ("月" * 2000, [])
    content, [embed] = _body("月" * 2001)
    assert (content, embed.description) == (None, "月" * 2001)
    _, [embed] = _body("月" * 5000)
    assert embed.description == "月" * 4095 + "…"


def test_nothing_in_a_text_is_markdown():
    content, _ = _body("*_~`|># [x](http://x)\n# y")
    assert content == r"\*\_\~\`\|># \[x](http://x)" + "\n\\# y"


def test_every_description_fits_with_nothing_cut_off():
    for command in rendered_commands():
        for described in (command, *command.get("options", ())):
            texts = [
                described.get("description", ""),
                *described.get("description_localizations", {}).values(),
            ]
            assert all(len(text) <= DESCRIPTION_MAX and "…" not in text for text in texts)
