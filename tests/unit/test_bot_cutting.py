"""What is too long for one message becomes several, and nothing that belongs together is parted."""

import random

import pytest
from wcwidth import iter_graphemes

from bot.cutting import cut, shorten
from bot.message import Address, Button, Message
from bot.styled import Span, SpanKind, Styled, in_style, joined
from bot.telegram.shape import entities_of, fit

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def a_message(text, spans=(), **more):
    address = Address(chat="telegram:7", thread=3, reply_to=5)
    return Message(id="tg:1", address=address, text=text, spans=spans, **more)


def parts_of(text, most, spans=()):
    return cut(a_message(text, spans), size=len, most=most)


def texts_of(text, most, spans=()):
    return [part.text for part in parts_of(text, most, spans)]


def test_what_has_room_stays_one_message():
    message = a_message("一二三四五", buttons=(Button(label="1", data="x"),))
    assert cut(message, size=len, most=5) == (message,)


def test_a_text_is_cut_between_lines_before_words_and_between_words_before_letters():
    assert texts_of("one two\nthree four", 12) == ["one two", "three four"]
    assert texts_of("one two three", 8) == ["one two", "three"]
    assert texts_of("onetwothree", 8) == ["onetwoth", "ree"]


def test_lines_that_would_leave_a_message_nearly_empty_are_not_waited_for():
    assert texts_of("a\nbcdefghijklmnop", 10) == ["a\nbcdefghi", "jklmnop"]


@pytest.mark.parametrize("whole", [FAMILY, "e\u0301", "\U0001f1e8\U0001f1f3", "\r\n", "月\ufe00"])
def test_what_people_see_as_one_character_is_never_parted(whole):
    for before in range(1, 10):
        parts = texts_of("x" * before + whole * 3, 9)
        assert all(
            len(list(iter_graphemes(part))) == len(part.replace(whole, "_")) for part in parts
        )


def test_a_character_that_is_longer_than_a_message_is_parted_all_the_same():
    assert texts_of("e" + "\u0301" * 20, 9) == ["e" + "\u0301" * 8, "\u0301" * 9, "\u0301" * 3]


def test_what_is_styled_stays_in_one_message_if_it_has_room():
    text = joined(["one two ", in_style(SpanKind.PRE, "three four"), " five"])
    parts = parts_of(text.text, 12, text.spans)
    assert [part.text for part in parts] == ["one two", "three four", "five"]
    assert [part.spans for part in parts] == [
        (),
        (Span(kind=SpanKind.PRE, offset=0, length=10),),
        (),
    ]


def test_what_is_styled_and_longer_than_a_message_stays_styled():
    text = in_style(SpanKind.ITALIC, "one two three four")
    parts = parts_of(text.text, 8, text.spans)
    assert [part.text for part in parts] == ["one two", "three", "four"]
    assert all(part.spans == in_style(SpanKind.ITALIC, part.text).spans for part in parts)


def test_the_first_answers_and_the_last_can_be_acted_on():
    message = a_message("a\nb", buttons=(Button(label="1", data="x"),), poem_id="tg:1")
    first, last = cut(message, size=len, most=1)
    assert (first.id, first.address.reply_to, first.buttons, first.poem_id) == ("tg:1", 5, (), None)
    assert last.id == "tg:1/2"
    assert last.address == Address(chat="telegram:7", thread=3)
    assert (last.buttons, last.poem_id) == (message.buttons, "tg:1")


def test_no_message_is_blank():
    assert texts_of("a" + "\n" * 30 + "b", 5) == ["a", "b"]


def test_half_a_character_is_replaced():
    [part] = parts_of("月\ud800", 5)
    assert part.text == "月\ufffd"
    part.to_json().encode()


@pytest.mark.parametrize(
    ("text", "shown"), [("123456", "123456"), ("1234567", "12345…"), ("1234e\u030167", "1234…")]
)
def test_what_has_no_room_for_more_is_shortened(text, shown):
    assert shorten(text, size=len, most=6) == shown


def test_telegram_counts_characters_beyond_the_first_plane_twice():
    assert [len(part.text) for part in fit(a_message("\U00020bb7" * 2049))] == [2048, 1]
    assert [len(part.text) for part in fit(a_message("月" * 4097))] == [4096, 1]
    [answer] = fit(a_message("\U00020bb7" * 101, answers="1"))
    assert len(answer.text.encode("utf-16-le")) // 2 == 199


def test_any_text_is_sent_whole_and_in_its_styles():
    chosen = random.Random(20)
    pieces = ("月", "\U00020bb7", FAMILY, "e\u0301", " ", "\n", "\u202e", "abc", "\U0001f1e8")
    for _ in range(60):
        styled = joined(
            in_style(chosen.choice(list(SpanKind)), "".join(chosen.choices(pieces, k=40)))
            if chosen.random() < 0.3
            else "".join(chosen.choices(pieces, k=400))
            for _ in range(chosen.randint(1, 12))
        )
        parts = fit(a_message(styled.text, styled.spans))
        assert without_gaps("".join(part.text for part in parts)) == without_gaps(styled.text)
        assert all(len(part.text.encode("utf-16-le")) <= 2 * 4096 for part in parts)
        assert "".join(map(covered, parts)) == covered(styled)


def covered(shown: Message | Styled) -> str:
    """What is styled in a text by its entities, but for gaps."""
    units = shown.text.encode("utf-16-le")
    return without_gaps(
        "".join(
            f"{entity.type}{units[2 * entity.offset :][: 2 * entity.length].decode('utf-16-le')}"
            for entity in entities_of(shown.text, shown.spans)
        )
    )


def without_gaps(text: str) -> str:
    return "".join(text.split())
