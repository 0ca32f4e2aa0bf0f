"""Raw updates are read one by one, and what cannot be read says nothing of its content."""

import json

import pytest
from telegram import Bot

from bot.inbox import UnreadableUpdateError
from bot.language import Language
from bot.message import Address, Arrival, Departure, Incoming, Migration, Tap
from bot.telegram.updates import read_update
from tests.fakes.telegram import TOKEN, message_update, tap_update

BOT = Bot(TOKEN)


def read(update):
    return read_update(json.dumps(update).encode(), BOT)


def test_a_message_becomes_an_incoming_line():
    assert read(message_update(5, "/poem 月", chat_id=7)) == Incoming(
        cause="tg:5",
        address=Address(chat="telegram:7"),
        text="/poem 月",
        language=Language.ZH,
        direct=True,
        person="telegram:7",
    )


def test_in_a_topic_the_answer_belongs_to_the_topic():
    update = message_update(5, "/poem 月", chat_id=-7, message_thread_id=3, is_topic_message=True)
    incoming = read(update)
    assert incoming.address == Address(chat="telegram:-7", thread=3, reply_to=5)
    assert not incoming.direct


@pytest.mark.parametrize(("text", "language"), [("/poem 月", Language.ZH), ("/poem", Language.EN)])
def test_where_no_language_is_known_the_text_tells(text, language):
    assert read(message_update(5, text, language=None)).language is language


def test_a_post_in_a_channel_has_no_person_and_is_read_all_the_same():
    post = {
        "message_id": 9,
        "date": 1_700_000_000,
        "chat": {"id": -100_9, "type": "channel", "title": "Poems"},
        "text": "/poem 月",
    }
    incoming = read({"update_id": 5, "channel_post": post})
    assert incoming.address == Address(chat="telegram:-1009", reply_to=9)


def test_a_group_that_moved_says_where_to():
    update = message_update(5, None, chat_id=-7, migrate_to_chat_id=-100_7)
    assert read(update) == Migration(cause="tg:5", old="telegram:-7", new="telegram:-1007")


@pytest.mark.parametrize(
    "update",
    [
        message_update(5, None, sticker=None),
        {"update_id": 5},
        {"update_id": 5, "a_kind_from_the_future": {"x": 1}},
    ],
)
def test_what_means_nothing_to_us_is_let_pass(update):
    assert read(update) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b'"canary"',
        b"{}",
        b'{"update_id": 5, "message": {"text": "canary"}}',
        b'{"update_id": 5, "message": {"message_id": 1, "date": "canary", "chat": 7}}',
        b'{"update_id": 5, "message": {"message_id": 1, "date": 1e99, "chat": {"id": 1}}}',
    ],
)
def test_what_cannot_be_read_is_refused_without_a_word_of_it(raw):
    with pytest.raises(UnreadableUpdateError) as caught:
        read_update(raw, BOT)
    assert "canary" not in str(caught.value)


def test_a_reply_brings_what_it_replies_to():
    update = message_update(5, "/rewrite 2")
    update["message"]["reply_to_message"] = message_update(4, "a poem")["message"]
    assert read(update).quoted == "a poem"


def test_of_a_picture_the_caption_is_quoted():
    update = message_update(5, "/check")
    update["message"]["reply_to_message"] = message_update(4, None, caption="a poem")["message"]
    assert read(update).quoted == "a poem"


def test_of_a_message_elsewhere_the_quoted_part_is_known():
    assert read(message_update(5, "/check", quote={"text": "a poem", "position": 0})).quoted == (
        "a poem"
    )


def test_a_tap_says_where_what_and_in_whose_language():
    assert read(tap_update(5, 31, "pick:2:tg:4", chat_id=-7, language="en")) == Tap(
        cause="tg:5",
        address=Address(chat="telegram:-7"),
        language=Language.EN,
        id="query-5",
        data="pick:2:tg:4",
        message=31,
        person="telegram:7",
        direct=False,
    )


def test_a_tap_on_a_message_too_old_to_be_told_still_says_which():
    update = tap_update(5, 31, "pick:2:tg:4")
    chat = update["callback_query"]["message"]["chat"]
    update["callback_query"]["message"] = {"message_id": 31, "date": 0, "chat": chat}
    assert read(update).message == 31


def test_a_tap_on_no_message_belongs_to_whoever_tapped():
    update = tap_update(5, 31, "", chat_id=7)
    del update["callback_query"]["message"], update["callback_query"]["data"]
    tap = read(update)
    assert (tap.address, tap.message, tap.data) == (Address(chat="telegram:7"), None, "")


def membership(kind, was, now):
    def member(status):
        return {"status": status, "user": {"id": 6, "is_bot": False, "first_name": "R"}}

    changed = message_update(5, None, chat_id=-7)["message"] | {
        "old_chat_member": member(was) | {"until_date": 0},
        "new_chat_member": member(now) | {"until_date": 0},
    }
    return {"update_id": 5, kind: changed}


@pytest.mark.parametrize(("was", "now"), [("member", "kicked"), ("member", "left")])
def test_where_the_bot_is_no_longer_it_departed(was, now):
    assert read(membership("my_chat_member", was, now)) == Departure(
        cause="tg:5", chat="telegram:-7"
    )


@pytest.mark.parametrize(("was", "now"), [("left", "member"), ("kicked", "member")])
def test_where_the_bot_is_now_it_arrived(was, now):
    arrived = Arrival(cause="tg:5", address=Address(chat="telegram:-7"), language=Language.ZH)
    assert read(membership("my_chat_member", was, now)) == arrived


def test_who_joins_or_leaves_concerns_nobody():
    assert read(membership("chat_member", "left", "member")) is None
    assert read(membership("my_chat_member", "left", "kicked")) is None


def test_whoever_speaks_for_a_chat_is_no_person_and_runs_it_if_it_is_this_one():
    update = message_update(5, "/help", chat_id=-7)
    update["message"]["sender_chat"] = update["message"]["chat"]
    assert (read(update).person, read(update).admin) == (None, True)
    update["message"]["sender_chat"] = {"id": -9, "type": "channel", "title": "Poems"}
    assert (read(update).person, read(update).admin) == (None, None)
