"""What people type becomes what they mean, or one line that says what was wrong."""

import re
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.commands import COMMANDS, understand
from bot.language import Language, Script, language_of, script_for
from bot.requests import (
    Answer,
    ExportRequest,
    ForgetRequest,
    PoemRequest,
    PrivacyRequest,
    Refusal,
    Role,
    Situation,
    StyleRequest,
    role_for,
)
from bot.style import Style
from engine.jobs import Cell
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import opening_frame, readings_of
from engine.verse.plan import admits

SITUATION = Situation(
    language=Language.ZH,
    style=Style(),
    cells=frozenset({Cell.GRU, Cell.LSTM}),
    today=date(2026, 4, 6),
    seed=7,
    bot_name="yuefu_bot",
)
ENGLISH = replace(SITUATION, language=Language.EN)
# 平平平平平: no line goes so.
ALL_LEVEL = "天天天天天"
FIT = "白日依山尽"
SEVEN = "一夜秋风满旧山"
# 仄平仄仄平: no line of five goes so, and a line of seven may begin so.
ONLY_SEVEN = "月明夜久天"


def a_poem_for(text, situation=SITUATION):
    request = understand(text, situation)
    assert isinstance(request, PoemRequest), request
    return request


def a_refusal_of(text, situation=SITUATION):
    request = understand(text, situation)
    assert isinstance(request, Refusal), request
    assert "\n" not in request.text
    return request.text


def a_style_for(text, situation=SITUATION):
    request = understand(text, situation)
    assert isinstance(request, StyleRequest), request
    return request.style


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("/poem 月", "月"),
        ("/poem 明月", "明月"),
        (f"/poem {FIT}", FIT),
        (f"/poem {SEVEN}", SEVEN),
        ("/POEM 月", "月"),
        ("／ｐｏｅｍ　月", "月"),
        ("/poem@yuefu_bot 月", "月"),
        ("/poem@Yuefu_Bot 月", "月"),
        ("/诗 月", "月"),
        ("/詩 月", "月"),
        ("/诗月", "月"),
        ("/poem月", "月"),
        ("  /poem\n月  ", "月"),
        ("/poem 明 月", "明"),
        ("/poem 「明月」，", "明月"),
        ("/poem 月\u200d\ufe0f", "月"),
        ("/poem 𠮷", "𠮷"),
    ],
)
def test_an_opening_is_found_however_it_is_typed(text, opening):
    assert a_poem_for(text).opening == opening


@pytest.mark.parametrize(("typed", "united"), [("\uf914", "樂"), ("⽉", "月")])
def test_compatibility_forms_are_united_for_the_engine_and_kept_for_the_reader(typed, united):
    request = a_poem_for(f"/poem {typed}")
    assert (request.opening, request.glyphs) == (united, typed)


@pytest.mark.parametrize(
    ("words", "form"),
    [
        ("五绝 五絕 五言绝句 五言絕句 wujue WuJue", FormName.WUJUE),
        ("七绝 七絕 七言绝句 七言絕句 qijue", FormName.QIJUE),
        ("五律 五言律诗 五言律詩 wulu", FormName.WULU),
        ("七律 七言律诗 七言律詩 qilu", FormName.QILU),
    ],
)
def test_every_name_of_a_form_is_known_before_and_after_the_opening(words, form):
    for word in words.split():
        assert a_poem_for(f"/poem 月 {word}").form is form
        assert a_poem_for(f"/poem {word} 月").form is form


@pytest.mark.parametrize(
    ("words", "forms"),
    [
        ("绝句", {FormName.WUJUE, FormName.QIJUE}),
        ("lushi", {FormName.WULU, FormName.QILU}),
        ("五言 律詩", {FormName.WULU}),
    ],
)
def test_families_of_forms_narrow_the_choice(words, forms):
    seen = {a_poem_for(f"/poem 月 {words}", replace(SITUATION, seed=n)).form for n in range(40)}
    assert seen == forms


def test_a_long_opening_is_given_long_lines():
    forms = {a_poem_for(f"/poem {SEVEN}", replace(SITUATION, seed=n)).form for n in range(20)}
    assert {FORMS[form].line_length for form in forms} == {7}


def test_a_short_form_is_chosen_where_nobody_names_one():
    forms = {a_poem_for("/poem 月", replace(SITUATION, seed=n)).form for n in range(40)}
    assert forms == {FormName.WUJUE, FormName.QIJUE}


def test_the_form_of_the_chat_comes_first():
    situation = replace(SITUATION, style=Style(form=FormName.QILU))
    assert a_poem_for("/poem 月", situation).form is FormName.QILU
    assert a_poem_for("/poem 月 五绝", situation).form is FormName.WUJUE


def test_a_form_that_does_not_admit_the_opening_gives_way_unless_it_was_asked_for():
    situation = replace(SITUATION, style=Style(form=FormName.WUJUE))
    assert a_poem_for(f"/poem {ONLY_SEVEN}", situation).form is FormName.QIJUE
    assert a_poem_for(f"/poem {ONLY_SEVEN} 律诗", situation).form is FormName.QILU
    assert "五绝" in a_refusal_of(f"/poem {ONLY_SEVEN} 五绝", situation)


def test_without_an_opening_the_season_gives_one():
    first = a_poem_for("/poem")
    assert len(first.opening) == 1
    assert first == a_poem_for("/poem")
    assert a_poem_for("/poem 七律").form is FormName.QILU


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/poem hello", "汉字"),
        ("/poem 😀", "汉字"),
        ("/poem 月moon", "汉字"),
        ("/poem あい", "汉字"),
        ("/poem 🇨🇳👨‍👩‍👧", "汉字"),
        ("/poem " + "月" * 5000, "最多7个字"),
        ("/poem" + "月" * 5000, "最多7个字"),
        ("/poem " + "x" * 5000, "最多7个字"),
        ("/poem 一二三四五六七八", "最多7个字"),
        (f"/poem {SEVEN} 五绝", "五绝一行只有5个字"),
        ("/poem 月 五绝 七律", "一种诗体"),
        ("/poem 月\ud800", "损坏"),
        ("/poem \udfff", "损坏"),
        ("/style foo 9", "写法"),
        ("/style 9", "0.1 和 2.0"),
        ("/style 0", "0.1 和 2.0"),
        ("/style nan", "写法"),
        ("/style 五言", "写法"),
        ("/style 0.8 \udc00", "损坏"),
        ("/sing 月", "/help"),
        ("/", "/help"),
        ("/月", "/help"),
        ("月", "/poem"),
        ("", "/poem"),
    ],
)
def test_bad_input_is_refused_in_one_line_of_the_persons_language(text, hint):
    assert hint in a_refusal_of(text)
    english = a_refusal_of(text, ENGLISH)
    assert english.isprintable()
    assert re.search(r"[a-z]{4}", english)


def test_a_refused_opening_names_the_character_its_place_and_the_tone():
    assert a_refusal_of(f"/poem {ALL_LEVEL} 五绝") == (
        "按五绝的格律，第4个字要用仄声，「天」不合；请换个字，或换个诗体。"
    )
    english = a_refusal_of(f"/poem {ALL_LEVEL} wujue", ENGLISH)
    assert "character 4 must be oblique (仄)" in english
    assert "五绝 wujue" in english


def test_an_opening_that_no_form_admits_is_refused_without_naming_all():
    assert "第4个字" in a_refusal_of(f"/poem {ALL_LEVEL}")


def test_a_model_that_does_not_run_is_refused_with_those_that_do():
    assert a_refusal_of("/style rnn") == "rnn 模型现在没有运行；可以用：gru, lstm。"
    assert a_style_for("/style rnn", replace(SITUATION, cells=frozenset())).cell is Cell.RNN


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("/style gru 0.8", Style(cell=Cell.GRU, temperature=0.8)),
        ("/style lstm", Style(cell=Cell.LSTM, temperature=1.1)),
        ("/style LSTM", Style(cell=Cell.LSTM, temperature=1.1)),
        ("/style 0.6", Style(temperature=0.6)),
        ("/style ０．６", Style(temperature=0.6)),
        ("/style 0,6", Style(temperature=0.6)),
        ("/style .6", Style(temperature=0.6)),
        ("/style 2", Style(temperature=2.0)),
        ("/style 0.1", Style(temperature=0.1)),
        ("/style 七绝", Style(temperature=1.1, form=FormName.QIJUE)),
        (
            "/style 七絕 1.2 lstm",
            Style(cell=Cell.LSTM, temperature=1.2, form=FormName.QIJUE),
        ),
        ("/风格 lstm", Style(cell=Cell.LSTM, temperature=1.1)),
    ],
)
def test_a_style_changes_only_what_is_named(text, style):
    assert a_style_for(text, replace(SITUATION, style=Style(temperature=1.1))) == style


@pytest.mark.parametrize("word", ["不限", "随意", "隨意", "any"])
def test_a_form_can_be_given_up_again(word):
    situation = replace(SITUATION, style=Style(form=FormName.QILU))
    assert a_style_for(f"/style {word}", situation).form is None


def test_style_alone_shows_the_style():
    situation = replace(SITUATION, style=Style(form=FormName.QILU))
    assert understand("/style", situation) == Answer(
        text="现在的写法：lstm，温度 0.9，诗体七律。要改就发 /style gru 0.6 七绝。"
    )


PERSONAL = {"privacy": PrivacyRequest, "export": ExportRequest, "forget": ForgetRequest}


@pytest.mark.parametrize(("name", "kind"), PERSONAL.items())
def test_personal_commands_are_for_private_chats_or_platforms_that_whisper(name, kind):
    company = replace(SITUATION, direct=False)
    assert isinstance(understand(f"/{name}", SITUATION), kind)
    assert isinstance(understand(f"/{name}", replace(company, whispers=True)), kind)
    assert f"/{name}" in a_refusal_of(f"/{name}", company)
    linked = replace(company, private_link="https://t.me/poet?start=")
    assert f"https://t.me/poet?start={name}" in a_refusal_of(f"/{name}", linked)


@pytest.mark.parametrize(("name", "kind"), PERSONAL.items())
def test_a_link_leads_to_a_personal_command_and_to_no_other(name, kind):
    assert isinstance(understand(f"/start {name}", SITUATION), kind)
    assert isinstance(understand("/start stats", SITUATION), Answer)
    a_refusal_of(f"/start {name}", replace(SITUATION, direct=False))


def test_what_concerns_a_company_is_not_said_alone():
    assert "群里" in a_refusal_of("/curate on")


def test_menus_offer_a_command_to_those_who_may_give_it():
    company = replace(SITUATION, direct=False)
    for command in COMMANDS:
        if command.audience is not Role.ANYONE:
            told = {"lang": "auto", "script": "auto", "rollback": "gru"}.get(command.name, "on")
            request = understand(f"/{command.name} {told}", company)
            assert request is not None
            assert role_for(request) is command.audience


@pytest.mark.parametrize("language", Language)
def test_help_names_every_command_but_those_of_curators(language):
    request = understand("/help", replace(SITUATION, language=language))
    assert isinstance(request, Answer)
    for command in COMMANDS:
        named = re.search(rf"^/{command.name}\b", request.text, re.MULTILINE)
        assert bool(named) is (command.audience in {Role.ANYONE, Role.ADMIN})


@pytest.mark.parametrize("text", ["月", "hello", "/sing", "/poem@other_bot 月", "/sing@other_bot"])
def test_in_company_what_is_not_meant_for_us_is_left_alone(text):
    assert understand(text, replace(SITUATION, direct=False)) is None


def test_in_company_a_command_addressed_to_us_is_answered():
    company = replace(SITUATION, direct=False)
    assert a_poem_for("/poem 月", company)
    assert a_refusal_of("/sing@yuefu_bot", company)


@pytest.mark.parametrize(
    ("opening", "language", "script"),
    [
        ("云来", Language.ZH_HANT, Script.SIMPLIFIED),
        ("雲來", Language.ZH, Script.TRADITIONAL),
        ("风雲", Language.ZH, Script.TRADITIONAL),
        ("月", Language.ZH, Script.SIMPLIFIED),
        ("月", Language.ZH_HANT, Script.TRADITIONAL),
        ("月", Language.EN, Script.SIMPLIFIED),
        ("", Language.ZH_HANT, Script.TRADITIONAL),
    ],
)
def test_the_script_is_that_of_the_opening_or_else_the_persons(opening, language, script):
    assert script_for(opening, language) is script


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("zh", Language.ZH),
        ("zh-hans", Language.ZH),
        ("zh_CN.UTF-8", Language.ZH),
        ("zh-TW", Language.ZH_HANT),
        ("zh_HK.UTF-8", Language.ZH_HANT),
        ("zh-hant", Language.ZH_HANT),
        ("zh-Hant-HK", Language.ZH_HANT),
        ("en-GB", Language.EN),
        ("C.UTF-8", Language.EN),
        ("", Language.EN),
        (None, Language.EN),
    ],
)
def test_tags_and_locales_lead_to_the_closest_language(tag, language):
    assert language_of(tag) is language


any_text = st.text(st.characters(), max_size=60)
commands = st.sampled_from(
    [
        *(
            "/poem ",
            "/style ",
            "/诗",
            "/poem@yuefu_bot ",
            "/help",
            "/",
            "/poem 月 韵:",
            "/poem 题:",
        ),
        *("/poem 月 x", "/acrostic ", "/藏头春夏", "/rewrite ", "/改写2 ", "/check ", "/格律"),
    ]
)


@given(command=commands, arguments=any_text, language=st.sampled_from(Language))
@example(command="/poem ", arguments="\ud800", language=Language.ZH)
@example(command="/style ", arguments="{cell} %s 1e999", language=Language.EN)
def test_whatever_is_typed_is_understood_or_refused_in_one_line(command, arguments, language):
    situation = replace(SITUATION, language=language, poem="白日依山尽，黄河入海流。" * 2)
    request = understand(command + arguments, situation)
    if isinstance(request, Refusal):
        assert "\n" not in request.text
        request.text.encode()
    elif isinstance(request, PoemRequest):
        given = readings_of(request.frame or opening_frame(request.form, request.opening))
        assert admits(request.form, given, rhyme=request.rhyme)
        assert len(request.opening) <= FORMS[request.form].line_length
        assert len(request.theme) <= 8
        assert request.opening or request.frame or request.theme


@pytest.mark.parametrize("text", ["/start poem_5pyI", "/start poem_月", "/start@yuefu_bot poem_月"])
def test_a_link_asks_for_the_poem_that_it_names(text):
    assert a_poem_for(text).glyphs == "月"


def test_a_link_without_an_opening_asks_for_a_poem_of_the_season():
    assert a_poem_for("/start poem") == a_poem_for("/poem")


def test_a_link_cannot_change_a_style():
    assert isinstance(understand("/start style_Z3J1", SITUATION), Answer)


def test_a_link_that_says_nonsense_is_refused_like_the_command():
    assert a_refusal_of("/start poem_PGI-") == a_refusal_of("/poem <b>")
