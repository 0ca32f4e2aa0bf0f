"""The operator's words are found for what a reader takes a text for, and in no other text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.language import Language, Script
from bot.message import Address, Incoming
from bot.moderation import _FOLDING, Filter, open_filter, permit
from bot.requests import Answer, PoemRequest, Refusal, StyleRequest
from bot.settings import BotSettings
from bot.style import Style
from engine.settings import SettingsError, load_settings
from engine.verse.forms import FormName
from engine.verse.script import _HAN_BLOCKS, fold, simplified, traditional, unify

WORDS = Filter(["大麻", "头发", "髮菜", "赌博机", "ass", "bad word", "64", "café", "3P片"])


def in_poem(*lines, words=WORDS):
    return words.find_in_poem(lines)


# --- text ---


@pytest.mark.parametrize(
    "text",
    [
        "大麻",
        "大 麻",
        "大\u3000\n麻",
        "大\u200b麻",
        "大，。……麻",
        "大*麻",
        "大🌿麻",
        "大\ufe0f麻",
        "大\U000e0101麻",
        "大\u0336\u0301麻\u0336",
        "大\u3164麻",
        "大\x00麻",
        "大\ud800麻",
        "⼤⿇",
        "㆗大⿇",
        "大□麻",
    ],
)
def test_a_word_is_found_whatever_stands_between_its_characters(text):
    assert WORDS.find(text) == "大麻"


@pytest.mark.parametrize("text", ["头发", "頭髮", "頭发", "頭發", "头髮", "頭髪", "𩠐頭髮"])
def test_one_glyph_for_many_characters_hides_nothing(text):
    assert WORDS.find(text) == "头发"


@pytest.mark.parametrize("text", ["发菜", "發菜", "髮菜", "髪菜"])
def test_a_word_in_traditional_script_is_found_in_simplified(text):
    assert WORDS.find(text) == "髮菜"


@pytest.mark.parametrize(
    "text",
    [
        "ass",
        "ASS",
        "ａｓｓ",
        "an a.s.s!",
        "a s\ns",
        "𝐚𝓼ⓢ",
        "áşš",
        "我ass你",
        "ass1",
        "as\u00ads",
        "aß",
    ],
)
def test_a_latin_word_is_found_in_any_dress(text):
    assert WORDS.find(text) == "ass"


@pytest.mark.parametrize("text", ["class", "assent", "cl\u200bass", "cl\u00adass", "Cláss", "æass"])
def test_a_latin_word_is_not_found_inside_another(text):
    assert WORDS.find(text) is None


def test_a_latin_word_is_found_behind_one_that_only_contains_it():
    assert WORDS.find("class, ass") == "ass"


@pytest.mark.parametrize("text", ["bad word", "badword", "BAD-WORD", "bad\nword"])
def test_a_word_of_several_words_is_found_however_it_is_parted(text):
    assert WORDS.find(text) == "bad word"


@pytest.mark.parametrize(
    ("text", "found"), [("64", "64"), ("６④", "64"), ("٦٤", "64"), ("x64", "64")]
)
def test_a_number_is_found_in_any_digits(text, found):
    assert WORDS.find(text) == found


@pytest.mark.parametrize("text", ["1964", "640"])
def test_a_number_is_not_found_inside_another(text):
    assert WORDS.find(text) is None


def test_only_the_side_that_has_letters_needs_a_border():
    assert WORDS.find("看3p片儿") == "3P片"
    assert WORDS.find("看13p片儿") is None


@pytest.mark.parametrize("text", ["", "麻大", "大象麻", "cafes", "明月出天山"])
def test_what_holds_no_word_passes(text):
    assert WORDS.find(text) is None


def test_an_accent_neither_hides_nor_is_needed():
    assert WORDS.find("CAFE") == WORDS.find("cafe\u0301") == "café"


@given(st.text())
def test_any_text_can_be_looked_at_and_folding_twice_changes_nothing(text):
    folded = text.translate(_FOLDING)
    assert folded.translate(_FOLDING) == folded
    assert WORDS.find(text) == WORDS.find(folded)


def test_every_glyph_meets_all_that_it_may_stand_for():
    missed = [
        (char, other)
        for char in map(chr, range(*_HAN_BLOCKS[1]))
        for other in {fold(char), simplified(char), *traditional(char)}
        if len(other) == 1 and unify(char) != unify(other)
    ]
    assert missed == []


def test_characters_that_mean_different_things_stay_apart():
    assert len(set(map(unify, "日曰人入大太天夫月肉"))) == 10


# --- poems ---


def test_a_word_is_found_inside_a_line():
    assert in_poem("月落空江夜", "風吹大麻秋", "故人千里外", "一葉下汀洲") == "大麻"


def test_a_word_is_found_over_a_line_break():
    assert in_poem("月落空江大", "麻吹遠樹秋", "故人千里外", "一葉下汀洲") == "大麻"


def test_a_word_is_found_down_the_heads():
    assert in_poem("月落空江夜", "大吹遠樹秋", "麻人千里外", "一葉下汀洲") == "大麻"


def test_a_word_is_found_down_the_heads_of_the_couplets():
    assert in_poem("大落空江夜", "風吹遠樹秋", "麻人千里外", "一葉下汀洲") == "大麻"


@pytest.mark.parametrize("word", ["賭博機", "機博賭"])
def test_a_word_of_three_characters_is_found_in_any_column_down_and_up(word):
    lines = ["月落空江夜", "風吹遠樹秋", "故人千里外", "一葉下汀洲"]
    for column in range(5):
        hidden = [
            line[:column] + char + line[column + 1 :]
            for char, line in zip(word, lines, strict=False)
        ]
        assert in_poem(*hidden, lines[3]) == "赌博机"


def test_two_characters_one_above_the_other_are_no_word():
    assert in_poem("月大空江夜", "風麻遠樹秋", "故人千里外", "一葉下汀洲") is None
    assert in_poem("月落空江夜", "風吹遠樹秋", "故人千里大", "一葉下汀麻") is None
    assert in_poem("麻落空江夜", "大吹遠樹秋", "故人千里外", "一葉下汀洲") is None


def test_no_word_reaches_over_a_place_that_is_still_open():
    assert in_poem("月落大□麻", "□□□□□", "大□□□□", "□麻□□□") is None
    assert in_poem("月落空江大", "麻□□□□", "□□□□□", "□□□□□") == "大麻"


def test_a_filter_without_words_finds_none():
    assert len(Filter()) == 0
    assert Filter().find("大麻") is Filter().find_in_poem(["大麻"]) is None


# --- the file ---


@pytest.fixture
def file_of(tmp_path):
    def write(content):
        path = tmp_path / "words.txt"
        path.write_bytes(content)
        return path

    return write


def test_a_file_holds_a_word_a_line_and_comments(file_of):
    path = file_of("\ufeff# ours\r\n大麻  # a plant\r\n\r\nbad word\n大　麻\n".encode())
    words = Filter.from_file(path)
    assert len(words) == 2
    assert words.find("a bad word") == "bad word"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"\xb4\xf3\xc2\xe9\n", "not UTF-8"), ("大麻\n…！\n".encode(), "line 2 has no letter")],
)
def test_a_file_that_is_no_list_of_words_is_refused(file_of, content, why):
    with pytest.raises(SettingsError, match=f"^YUEFU_WORDS: .*{why}"):
        Filter.from_file(file_of(content))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"^YUEFU_WORDS: .*No such file"):
        Filter.from_file(tmp_path / "words.txt")


@pytest.mark.parametrize("path", [None, ""])
def test_without_a_file_nothing_is_filtered(monkeypatch, path):
    monkeypatch.delenv("YUEFU_WORDS", raising=False)
    if path is not None:
        monkeypatch.setenv("YUEFU_WORDS", path)
    assert len(open_filter(load_settings(BotSettings))) == 0


def test_the_setting_names_the_file(monkeypatch, file_of):
    monkeypatch.setenv("YUEFU_WORDS", str(file_of("大麻".encode())))
    assert open_filter(load_settings(BotSettings)).find("大麻") == "大麻"


# --- requests ---


def incoming(text="", **more):
    return Incoming(
        cause="tg:1",
        address=Address(chat="telegram:7"),
        text=text,
        language=Language.EN,
        direct=True,
        **more,
    )


def a_wish(**fields):
    return PoemRequest(form=FormName.WUJUE, script=Script.SIMPLIFIED, **fields)


@pytest.mark.parametrize(
    "request_",
    [
        a_wish(opening="大麻"),
        a_wish(theme="种大麻"),
        a_wish(opening="大", theme="麻"),
        a_wish(frame="赌□□□□博□□□□机□□□□月□□□□"),
        a_wish(frame="□□□□□□大麻□□□□□□□□□□□□"),
        a_wish(unlike="月落空江大麻吹遠樹秋故人千里外一葉下汀洲"),
    ],
)
def test_a_request_with_a_word_is_refused_and_the_word_not_repeated(request_):
    refused = permit(request_, incoming(), WORDS)
    assert isinstance(refused, Refusal)
    assert not set(refused.text) & set("大麻赌博机")


def test_a_check_of_what_holds_a_word_is_refused_for_it_would_show_it():
    answer = Answer(text="checked")
    for line in (incoming("/check 大\n麻"), incoming("/check", quoted="大麻")):
        assert isinstance(permit(answer, line, WORDS), Refusal)


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (a_wish(opening="月"), incoming("/poem 月")),
        (a_wish(frame="大□□□□月□□□□月□□□□麻□□□□"), incoming("/acrostic 大月月麻")),
        (Answer(text="help"), incoming("/help 大麻")),
        (Answer(text="checked"), incoming("/check 明月出天山")),
        (StyleRequest(style=Style(), answer="done"), incoming("/style gru")),
    ],
)
def test_any_other_request_is_what_it_was(request_, line):
    assert permit(request_, line, WORDS) is request_
