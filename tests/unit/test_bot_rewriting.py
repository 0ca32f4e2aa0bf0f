"""/rewrite and /check: a poem is found in what was quoted or pasted, changed, or judged."""

import re
from dataclasses import replace
from datetime import date

import pytest

from bot.commands import understand
from bot.inspection import FAULTS
from bot.language import Language, Script
from bot.quotation import Quoted, Unread, read_poem
from bot.render import render_poem, render_poems
from bot.requests import Answer, Choice, PickRequest, PoemRequest, Refusal, Situation
from bot.style import Style
from engine.verse.checker import Rule
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import readings_of
from engine.verse.plan import admits
from tests.fakes.jobs import a_job, a_poem

LINES = ("白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼")
POEM = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
# 头 in line 3 and 上 in line 2 stand where no template has them.
FREE = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"
QILU = (
    "昆明池水汉时功，武帝旌旗在眼中。织女机丝虚夜月，石鲸鳞甲动秋风。"
    "波漂菰米沉云黑，露冷莲房坠粉红。关塞极天惟鸟道，江湖满地一渔翁。"
)
SITUATION = Situation(
    language=Language.ZH,
    style=Style(),
    cells=frozenset(),
    today=date(2026, 4, 6),
    seed=7,
    poem=POEM,
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


def answered(text, situation=SITUATION):
    request = understand(text, situation)
    assert isinstance(request, Answer), request
    return request.text


# --- finding a poem ---


@pytest.mark.parametrize(
    "text",
    [
        POEM,
        "\n".join(LINES),
        " ".join(LINES),
        "".join(LINES),
        "白日依山尽黄河入海流\n欲穷千里目更上一层楼",
        "登鹳雀楼\n王之涣\n白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。",
        "登鹳雀楼\n唐·王之涣\n\n白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。",
        f"《登鹳雀楼》 王之涣：{POEM}",
        "登鹳雀楼 王之涣\n" + "\n".join(LINES),
        f"  {POEM}\n\n  五绝 · 尤韵 · gru\n",
        f"{POEM}\n\n五绝 wujue · rhyme 尤 · gru",
        f"🌙{POEM}🌙 so good!",
        "\n".join(f"{line}\n平平平仄仄" for line in LINES) + "\n\n五绝 · 尤韵",
    ],
)
def test_a_poem_is_found_in_whatever_people_paste(text):
    assert read_poem(text) == Quoted(form=FORMS[FormName.WUJUE], glyphs=LINES)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("script", Script)
def test_what_we_show_can_be_read_again(script, language):
    shown = a_poem(a_job())
    text = render_poem(shown, glyphs="⽉", script=script, language=language).text
    found = read_poem(text)
    assert isinstance(found, Quoted)
    assert found.form.name is shown.form
    assert found.glyphs[0].startswith("⽉落")
    assert found.lines[0].startswith("月落")


def test_several_poems_are_not_taken_for_one():
    shown = [a_poem(a_job())] * 2
    text = render_poems(shown, glyphs="", script=Script.SIMPLIFIED, language=Language.ZH).text
    assert read_poem(text) == Unread(several=True)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [("", ()), ("hello", ()), ("床前明月光", (5,)), ("大江东去，浪淘尽", (4, 3)), ("\ud800", ())],
)
def test_what_is_no_poem_is_counted(text, lengths):
    assert read_poem(text) == Unread(lengths=lengths)


# --- rewriting ---


@pytest.mark.parametrize(
    ("arguments", "frame"),
    [
        ("2", "白日依山尽□□□□□欲穷千里目更上一层楼"),
        ("第二句", "白日依山尽□□□□□欲穷千里目更上一层楼"),
        ("第2句", "白日依山尽□□□□□欲穷千里目更上一层楼"),
        ("２", "白日依山尽□□□□□欲穷千里目更上一层楼"),
        ("二", "白日依山尽□□□□□欲穷千里目更上一层楼"),
        ("2 3", "白日依山尽□□□□□□□□□□更上一层楼"),
        ("2、3", "白日依山尽□□□□□□□□□□更上一层楼"),
        ("里", "白日依山尽黄河入海流欲穷千□目更上一层楼"),
        ("裏", "白日依山尽黄河入海流欲穷千□目更上一层楼"),
        ("一", "白日依山尽黄河入海流欲穷千里目更上□层楼"),
        ("山 3", "白日依□尽黄河入海流□□□□□更上一层楼"),
        ("黄河", "白日依山尽□□入海流欲穷千里目更上一层楼"),
    ],
)
def test_lines_and_characters_are_opened_and_the_rest_stays(arguments, frame):
    request = wanted(f"/rewrite {arguments}")
    assert request.frame == request.glyphs == frame
    assert request.unlike == "".join(LINES)
    assert (request.form, request.opening, request.script) == ("wujue", "", Script.SIMPLIFIED)
    assert admits(request.form, readings_of(request.frame), rhyme=request.rhyme)


def test_a_character_is_rewritten_wherever_it_stands():
    poem = "明月照高楼，流光正徘徊。明月何皎皎，楼上有余哀。"
    frame = wanted("/rewrite 月 2 3 4", replace(SITUATION, poem=poem)).frame
    assert frame == "明□照高楼" + "□" * 15


@pytest.mark.parametrize("name", ["/改", "/改写 ", "/改寫", "/rewrite"])
def test_every_name_of_the_command_is_known(name):
    assert wanted(f"{name}2").frame.count("□") == 5


def test_the_rhyme_is_kept_only_where_nothing_that_stays_says_it():
    assert wanted("/rewrite 2").rhyme is None
    assert wanted("/rewrite 2 4").rhyme == "尤"
    assert wanted("/rewrite 流楼").rhyme == "尤"
    assert wanted("/rewrite 2 4 韵:东").rhyme == "東"


def test_a_poem_may_stand_after_what_shall_change():
    alone = replace(SITUATION, poem=None)
    for text in (f"/rewrite 2 {POEM}", f"/rewrite 2\n{POEM}", f"/rewrite 2\n登鹳雀楼\n{POEM}"):
        assert wanted(text, alone).frame == "白日依山尽□□□□□欲穷千里目更上一层楼"
    assert wanted(f"/rewrite 2 8 x3 {QILU}", alone).form is FormName.QILU
    assert wanted(f"/rewrite 2 8 x3 {QILU}", alone).count == 3


def test_what_is_pasted_counts_before_what_is_quoted():
    assert wanted(f"/rewrite 1 {QILU}").form is FormName.QILU


def test_traditional_glyphs_stay_traditional():
    poem = "白日依山盡，黃河入海流。欲窮千里目，更上一層樓。"
    request = wanted("/rewrite 2", replace(SITUATION, poem=poem))
    assert request.script is Script.TRADITIONAL
    assert request.glyphs.startswith("白日依山盡□")


@pytest.mark.parametrize(
    ("arguments", "poem", "hint"),
    [
        ("", POEM, "要改哪里"),
        ("hello", POEM, "要改哪里"),
        ("-1", POEM, "要改哪里"),
        ("5", POEM, "只有 4 句"),
        ("0", POEM, "只有 4 句"),
        ("第九句", POEM, "只有 4 句"),
        ("999999999", POEM, "只有 4 句"),
        ("猫", POEM, "没有「猫」"),
        ("山猫", POEM, "没有「猫」"),
        ("1 2 3 4", POEM, "一个字也不留"),
        ("2 七律", POEM, "改写不换诗体"),
        ("2", None, "没看到诗"),
        ("2", "hello", "没看到诗"),
        ("2", "床前明月光，疑是地上霜。举头望明月", "我数到 3 句、每句 5 字"),
        ("2", "大江东去，浪淘尽", "我数到 2 句，字数是 4, 3"),
        ("2", f"1.\n{POEM}\n\n2.\n{POEM}", "请先选一首"),
        ("2", FREE, "第 3 句"),
        ("4", FREE, "第 2、3 句"),
        ("2 4 韵:江", QILU, "江韵的字太少"),
        ("2 韵:先", POEM, "第4句末字「楼」押不上韵"),
        ("1", "白日依山尽，黄河入海流。" * 2, "第 2 句"),
        ("x" * 5000, POEM, "太长"),
    ],
)
def test_what_cannot_be_rewritten_is_refused_in_one_line(arguments, poem, hint):
    situation = replace(SITUATION, poem=poem)
    assert hint in refused(f"/rewrite {arguments}", situation)
    english = refused(f"/rewrite {arguments}", replace(situation, language=Language.EN))
    assert re.search(r"[a-z]{4}", english)


def test_a_line_that_alone_stands_against_the_rest_is_named_with_its_character():
    poem = "白日依山尽，黄河入海流。欲穷千里目，更上高层楼。"
    assert refused("/rewrite 2", replace(SITUATION, poem=poem)) == (
        "留下的第4句不合五绝的格律：第3字「高」要用仄声；请把第4句也改掉。"
    )


def test_what_a_refusal_proposes_works():
    situation = replace(SITUATION, poem=FREE)
    assert wanted("/rewrite 2 3", situation)
    assert wanted("/rewrite 4 2 3", situation)


# --- checking ---


def test_a_poem_that_keeps_everything_is_shown_with_its_tones_and_told_so_in_one_line():
    assert answered("/check") == (
        "白日依山尽\n仄仄平平仄\n黄河入海流\n平平仄仄平\n"
        "欲穷千里目\n仄平平仄仄\n更上一层楼\n中仄仄平平\n\n"
        "五绝 · 尤韵\n平仄、粘对、押韵都合格律。\n（中：平仄两读；？：读音不详）"
    )


@pytest.mark.parametrize("name", ["/check ", "/格律", "/检查", "/檢查 ", "/check\n"])
def test_a_pasted_poem_is_checked_by_every_name(name):
    alone = replace(SITUATION, poem=None)
    assert "七律 · 东韵" in answered(f"{name}{QILU}", alone)
    assert "sound" not in answered(f"{name}{FREE}", alone)


def test_violations_name_line_character_and_rule():
    assert answered(f"/check {FREE}").endswith(
        "五绝 · 阳韵\n第2句第4字「上」该用平声。\n第3句第2字「头」该用仄声。\n"
        "（中：平仄两读；？：读音不详）"
    )
    assert "Line 3, character 2: 头 should be oblique (仄)." in answered(f"/check {FREE}", ENGLISH)


@pytest.mark.parametrize(
    ("poem", "said"),
    [
        ("白日依山尽，黄河入海流。欲穷千里目，更上一层天。", "第4句末字「天」不押尤韵"),
        ("白日依山尽，黄河入海流。白日依山尽，更上一层楼。", "第3句与前面的一句相同"),
        ("白日依山尽，黄河入海流。欲穷千里目，更上一层流。", "韵脚「流」前面已经用过"),
        ("白日依山尽，独自倚高楼。欲穷千里目，更上一层流。", "第2句与上句平仄不相对（失对）"),
        ("白日依山尽，黄河入海流。白日依山尽，黄河入海楼。", "第3句与上一联不相粘（失粘）"),
        ("白日依山尽，黄河流秋秋。欲穷千里目，更上一层楼。", "三平尾"),
        ("白日依山尽，日河入海流。欲穷千里目，更上一层楼。", "孤平"),
        ("月月月月月，月月月月月。月月月月月，月月月月月。", "押不了韵"),
    ],
)
def test_each_rule_is_told_in_plain_words(poem, said):
    assert said in answered(f"/check {poem}")
    assert "{" not in answered(f"/check {poem}", ENGLISH)


def test_every_rule_that_a_form_can_break_has_words():
    assert set(FAULTS) == set(Rule) - {Rule.FORMAT, Rule.OPENING}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/check hello", "没看到诗"),
        ("/check 床前明月光，疑是地上霜。举头望明月", "我数到 3 句、每句 5 字，不是近体诗；五绝"),
        ("/check " + "月" * 3000, "我数到 1 句、每句 3000 字"),
        ("/check " + "月，" * 1000, "我数到 1000 句"),
        ("/check " + "月" * 5000, "太长"),
        ("/check" + "月" * 9000, "太长"),
        ("/check 月\ud800", "损坏"),
    ],
)
def test_what_is_no_poem_is_said_to_be_none_with_what_was_counted(text, hint):
    assert hint in refused(text)


def test_without_a_poem_checking_says_how_to_name_one():
    assert "回复一首诗" in refused("/check", replace(SITUATION, poem=None))


# --- picking by number ---


@pytest.mark.parametrize("text", ["2", "２", "2.", "第二首", "第2首", "二", " 2 "])
def test_a_bare_number_picks_where_there_is_a_choice(text):
    choosing = replace(SITUATION, choice=Choice(job="console:1", count=3))
    assert understand(text, choosing) == PickRequest(job="console:1", number=2)
    assert "/poem" in refused(text)


@pytest.mark.parametrize("text", ["0", "4", "十"])
def test_a_number_of_no_poem_is_refused(text):
    choosing = replace(SITUATION, choice=Choice(job="console:1", count=3))
    assert refused(text, choosing) == "这里有 3 首；请选 1 到 3。"


def test_in_company_a_bare_number_is_somebody_elses():
    choosing = replace(SITUATION, direct=False, choice=Choice(job="console:1", count=3))
    assert understand("2", choosing) is None
