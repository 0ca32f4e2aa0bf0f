"""/poem and /acrostic: every way to ask becomes a request, or one line that says what to do."""

import re
from dataclasses import replace
from datetime import date

import pytest

from bot.commands import understand
from bot.language import Language, Script
from bot.requests import PoemRequest, Refusal, Situation
from bot.style import Style
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import glyphs_of, readings_of
from engine.verse.plan import admits

SITUATION = Situation(
    language=Language.ZH,
    style=Style(),
    cells=frozenset(),
    today=date(2026, 4, 6),
    seed=7,
    bot_name="yuefu_bot",
)
ENGLISH = replace(SITUATION, language=Language.EN)


def wanted(text, situation=SITUATION):
    request = understand(text, situation)
    assert isinstance(request, PoemRequest), request
    return request


def refused(text, situation=SITUATION):
    request = understand(text, situation)
    assert isinstance(request, Refusal), request
    assert "\n" not in request.text
    return request.text


# --- rhyme ---


@pytest.mark.parametrize(
    "words",
    [
        *("韵:东", "韻:東", "韵：东", "韻：東", "rhyme:东", "Rhyme：東", "韵: 东", "韵：\u3000东"),
        *("押东", "押:东", "押东韵", "押韵:东", "押韻:東", "韵:「东」", "韵:中", "韵:东韵"),
    ],
)
def test_a_rhyme_is_named_by_its_group_or_by_any_character_of_it(words):
    for text in (f"/poem 月 {words}", f"/poem {words} 月"):
        request = wanted(text)
        assert (request.opening, request.rhyme, request.theme) == ("月", "東", "")


def test_without_a_rhyme_the_engine_chooses():
    assert wanted("/poem 月").rhyme is None


def test_of_several_groups_the_first_that_opening_and_form_admit_is_taken():
    # 车 is level in 魚 and 麻, 函 in 覃 and 咸. A first line that ends in 花 rhymes in 麻.
    assert wanted("/poem 月 韵:车").rhyme == "魚"
    assert wanted("/poem 月照故园花 韵:车 五绝").rhyme == "麻"
    assert wanted("/poem 月 韵:函 律诗").rhyme == "覃"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("韵:月", "「月」是仄声"),
        ("韵:曌", "「曌」的读音我不知道"),
        ("韵:", "韵要用一个字"),
        ("韵:东冬", "韵要用一个字"),
        ("韵:east", "韵要用一个字"),
        ("韵:东 韵:江", "韵要用一个字"),
    ],
)
def test_a_rhyme_that_is_none_is_refused(words, hint):
    assert hint in refused(f"/poem 月 {words}")
    assert re.search(r"[a-z]{4}", refused(f"/poem 月 {words}", ENGLISH))


@pytest.mark.parametrize("group", "江咸")
@pytest.mark.parametrize("form", ["五律", "七律", "律诗"])
def test_a_thin_rhyme_is_refused_for_eight_lines_with_what_would_work(group, form):
    said = refused(f"/poem 月 {form} 韵:{group}")
    assert said.startswith(f"{group}韵的字太少，不够")
    assert "绝句" in said
    assert "韵:东" in said


def test_a_thin_rhyme_is_given_four_lines_where_nobody_asked_for_eight():
    situation = replace(SITUATION, style=Style(form=FormName.QILU))
    assert FORMS[wanted("/poem 月 韵:江", situation).form].lines == 4


def test_an_opening_that_does_not_rhyme_so_is_refused_with_its_last_character():
    assert refused("/poem 月照旧山东 韵:先 五绝").startswith(
        "按五绝的格律，第1句末的「东」押不上韵"
    )


# --- several ---


@pytest.mark.parametrize(
    "words", ["x3", "X3", "×3", "x３", "ｘ３", "✕3", "3首", "三首", "x3 七绝", "七绝 x3"]
)
def test_several_poems_can_be_asked_for(words):
    request = wanted(f"/poem 月 {words}")
    assert (request.opening, request.count, request.theme) == ("月", 3, "")


def test_the_number_may_stand_right_behind_the_opening():
    for text in ("/poem 月x2 七律", "/poem 月 七律x2", "/poem 月　七律×２"):
        request = wanted(text)
        assert (request.opening, request.form, request.count) == ("月", FormName.QILU, 2)


def test_two_to_five_are_enough():
    assert [wanted(f"/poem 月 x{count}").count for count in (2, 3, 4, 5)] == [2, 3, 4, 5]
    assert wanted("/poem 月 两首").count == 2
    for words in ("x0", "x1", "x6", "x999999999", "十首"):
        assert "2 到 5 首" in refused(f"/poem 月 {words}")


# --- theme ---


@pytest.mark.parametrize(
    ("text", "opening", "theme"),
    [
        ("/poem 月 边塞", "月", "边塞"),
        ("/poem 月 边塞 离别", "月", "边塞离别"),
        ("/poem 七律 月 邊塞 韵:东 x2", "月", "邊塞"),
        ("/poem 白日 依山尽", "白日", "依山尽"),
        ("/poem 题:边塞", "", "边塞"),
        ("/poem 题：边塞 月", "月", "边塞"),
        ("/poem 題: 邊塞", "", "邊塞"),
        ("/poem theme:边塞", "", "边塞"),
        ("/poem 主题:边塞", "", "边塞"),
        ("/poem 月 「边塞」，", "月", "边塞"),
        ("/诗题:边塞", "", "边塞"),
    ],
)
def test_the_first_word_is_the_opening_and_later_ones_are_the_theme(text, opening, theme):
    request = wanted(text)
    assert (request.opening, request.theme) == (opening, theme)


def test_the_theme_alone_decides_the_script():
    assert wanted("/poem 题:边塞").script is Script.SIMPLIFIED
    assert wanted("/poem 题:邊塞").script is Script.TRADITIONAL


def test_without_opening_and_theme_the_season_still_gives_one():
    assert len(wanted("/poem x2").opening) == 1


@pytest.mark.parametrize(
    "words",
    ["题:", "题:war", "题:一二三四五六七八九", "一二三四五 六七八九", "题:边塞 一二三四五六七"],
)
def test_a_theme_is_at_most_eight_characters(words):
    assert "最多8个字" in refused(f"/poem 月 {words}")


# --- acrostic ---


@pytest.mark.parametrize(
    "text",
    [
        "/acrostic 春夏秋冬",
        "/藏头春夏秋冬",
        "/藏頭 春夏秋冬",
        "/acrostic 春 夏 秋 冬",
        "/藏头 春夏，秋冬",
    ],
)
def test_an_acrostic_fixes_the_head_of_every_line(text):
    request = wanted(text)
    assert request.frame == request.glyphs == "春□□□□夏□□□□秋□□□□冬□□□□"
    assert (request.form, request.opening) == (FormName.WUJUE, "")


@pytest.mark.parametrize(
    ("heads", "style", "form"),
    [
        ("春夏秋冬", None, FormName.WUJUE),
        ("春夏秋冬", FormName.QIJUE, FormName.QIJUE),
        ("春夏秋冬", FormName.QILU, FormName.WUJUE),
        ("春夏秋冬 七绝", None, FormName.QIJUE),
        ("春夏秋冬 七言", FormName.WUJUE, FormName.QIJUE),
        ("一二三四五六七八", None, FormName.WULU),
        ("一二三四五六七八", FormName.QILU, FormName.QILU),
    ],
)
def test_the_form_fits_the_heads_and_is_the_chats_where_it_can_be(heads, style, form):
    request = wanted(f"/acrostic {heads}", replace(SITUATION, style=Style(form=style)))
    assert request.form is form
    assert admits(form, readings_of(request.frame))


def test_heads_are_united_for_the_engine_and_kept_for_the_reader():
    request = wanted("/acrostic ⽉\uf914春冬")
    assert list(glyphs_of(request.frame).values()) == ["月", "樂", "春", "冬"]
    assert list(glyphs_of(request.glyphs).values()) == ["⽉", "\uf914", "春", "冬"]


def test_an_acrostic_takes_a_rhyme_a_theme_and_a_number_too():
    request = wanted("/acrostic 春夏秋冬 韵:先 x3 题:离别")
    assert (request.rhyme, request.count, request.theme) == ("先", 3, "离别")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("", "4 个字（绝句）或 8 个字（律诗）"),
        ("春夏秋", "4 个字（绝句）或 8 个字（律诗）"),
        ("春夏秋冬风", "4 个字（绝句）或 8 个字（律诗）"),
        ("春" * 5000, "4 个字（绝句）或 8 个字（律诗）"),
        ("abcd", "汉字"),
        ("春夏秋冬 七律", "七律有8句"),
        ("一二三四五六七八 五绝", "五绝有4句"),
        ("一二三四五六七八 韵:江", "江韵的字太少"),
        ("春夏秋冬 五绝 七绝", "一种诗体"),
    ],
)
def test_an_acrostic_that_cannot_be_is_refused(arguments, hint):
    assert hint in refused(f"/acrostic {arguments}")
    assert re.search(r"[a-z]{4}", refused(f"/acrostic {arguments}", ENGLISH))
