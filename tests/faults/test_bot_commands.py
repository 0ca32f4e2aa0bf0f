"""Fault 19: a hundred thousand malformed commands."""

import random
import time
from dataclasses import replace
from datetime import date

import pytest

from bot.commands import understand
from bot.language import Language
from bot.requests import Choice, PoemRequest, Refusal, Situation
from bot.style import Style
from engine.jobs import Cell

COUNT = 100_000
FRAGMENTS = (
    *(
        "/poem",
        "/style",
        "/help",
        "/start",
        "/acrostic",
        "/藏头",
        "/rewrite",
        "/改",
        "/改写",
        "/check",
        "/格律",
        "/privacy",
        "/export",
        "/忘记我",
        "/start forget",
        "/top",
        "/榜",
        "/mine",
        "/model",
        "/review",
        "/stats",
        "/curate on",
        "/诗",
        "／ｐｏｅｍ",
        "/",
        "//",
        "/poem@",
        "@yuefu_bot",
        "@x",
    ),
    *(" ", "\u3000", "\n", "\t", "\x00", "\u200b", "\u202e", "\ufeff", "\ufe0f", "\u0301" * 50),
    *(
        "月",
        "明月",
        "白日依山",
        "𠮷",
        "\uf914",
        "⽉",
        "發",
        "发",
        "〇",
        "㐀",
        "月" * 40,
        "あ",
        "한",
        "ﷺ",
    ),
    *(
        "七律",
        "五言絕句",
        "qilu",
        "绝句",
        "gru",
        "rnn",
        "LSTM",
        "0.8",
        "-1",
        "1e999",
        "nan",
        "٣",
        "Ⅷ",
    ),
    *("韵:东", "韻：", "rhyme:月", "押江", "押", "题:边塞", "theme:", "x3", "×９", "三首", "x1e9"),
    *("春夏秋冬", "一二三四五六七八", "2", "第二句", "９", "里", "第", "句", "1.\n", "·"),
    *(
        "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
        "疑是地上霜。",
        "平平仄仄平\n",
    ),
    *("白日依山尽，" * 40, "昆明池水汉时功，武帝旌旗在眼中。", "《静夜思》", "，。" * 30),
    *("😀", "\U0001f468\u200d\U0001f469", "🇨🇳", "\ud800", "\udfff\ud83d", "\U0010ffff", "\ue000"),
    *("{cell}", "%s", "%n", "<b>", "</a>", "`", "*_[]()", "tg://user?id=1", "@everyone", "'; DROP"),
)


def hostile(chosen: random.Random) -> str:
    """A few fragments in a row, now and then among characters from anywhere in Unicode."""
    parts = chosen.choices(FRAGMENTS, k=chosen.randint(1, 7))
    if chosen.random() < 0.3:
        parts.insert(1, "".join(chr(chosen.randrange(0x110000)) for _ in range(4)))
    return "".join(parts)


@pytest.mark.timeout(120)
def test_fault_19_malformed_commands_are_all_understood_or_refused():
    chosen = random.Random(19)
    usual = Situation(
        language=Language.ZH,
        style=Style(),
        cells=frozenset({Cell.GRU}),
        today=date(2026, 4, 6),
        seed=7,
        bot_name="yuefu_bot",
        choice=Choice(job="tg:1", count=3),
    )
    poems = (None, "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "\ud800", "床前明月光，" * 9)
    situations = [
        replace(usual, language=language, direct=direct, poem=poem)
        for language in Language
        for direct in (True, True, False)
        for poem in poems
    ]
    unhandled = refused = written = 0
    started = time.perf_counter()
    for number in range(COUNT):
        text = hostile(chosen)
        try:
            request = understand(text, situations[number % len(situations)])
        except Exception:
            unhandled += 1
            continue
        if isinstance(request, Refusal):
            refused += 1
            assert request.text
            assert "\n" not in request.text
            request.text.encode()
        written += isinstance(request, PoemRequest)
    took_s = time.perf_counter() - started
    print(
        f"fault 19: {COUNT} commands in {took_s:.1f} s: unhandled {unhandled}, "
        f"refused {refused}, poems {written}"
    )
    assert unhandled == 0
    assert took_s < 60
