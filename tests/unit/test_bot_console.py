"""The parts of the console: what numbers tap, how things look, what is completed and saved."""

import asyncio
import io
import os
import signal
from contextlib import suppress
from datetime import date

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from rich.cells import cell_len
from rich.console import Console

from bot import texts
from bot.buttons import line_buttons, pick_buttons, poem_buttons
from bot.cards.card import card_of
from bot.cards.easel import Easel
from bot.commands import COMMANDS, understand
from bot.console.completion import CommandCompleter, usage_of, words_after
from bot.console.keypad import Keypad, captions, number_typed
from bot.console.screen import Screen, Terminal, broken
from bot.console.service import _farewells
from bot.console.tray import Tray, open_file
from bot.language import Language, Script
from bot.message import Tally
from bot.render import render_poems
from bot.requests import Refusal, Situation, Where
from bot.style import Style
from engine.jobs import Cell
from tests.fakes.jobs import a_job, a_poem
from tests.fakes.waiting import until

POEM = a_poem(a_job())
CELLS = frozenset({Cell.GRU, Cell.LSTM})

# --- what numbers tap ---


def tapped(keypad):
    return keypad.message, keypad.buttons


def test_numbers_tap_the_last_message_that_has_buttons():
    keypad = Keypad()
    assert tapped(keypad) == (None, ())
    first, second = poem_buttons("a", Tally()), poem_buttons("b", Tally())
    keypad.put(1, first)
    keypad.put(2, ())
    assert tapped(keypad) == (1, first)
    keypad.put(3, second)
    assert tapped(keypad) == (3, second)
    # A question that was answered has none any more.
    keypad.put(3, ())
    assert tapped(keypad) == (1, first)


def test_what_numbers_tap_is_news_only_where_it_changed():
    keypad = Keypad()
    assert keypad.take_news() == ()
    keypad.put(1, poem_buttons("a", Tally()))
    assert keypad.take_news() == keypad.buttons
    assert keypad.take_news() == ()
    keypad.put(1, poem_buttons("a", Tally(up=1)))
    assert keypad.take_news() == keypad.buttons
    keypad.put(2, pick_buttons("b", 3))
    assert keypad.take_news() == keypad.buttons
    keypad.put(2, ())
    assert keypad.take_news() == poem_buttons("a", Tally(up=1))


def test_a_button_that_shows_its_number_shows_it_once():
    assert captions(poem_buttons("a", Tally(up=2)))[:2] == ["1 👍 2", "2 👎"]
    assert captions(line_buttons("a", 4)) == ["1", "2", "3", "4", "5 ↩"]


@pytest.mark.parametrize(
    ("line", "number"),
    [("2", 2), (" 2 ", 2), ("２", 2), ("2 3", None), ("", None), ("-1", None), ("9" * 5000, None)],
)
def test_a_bare_number_is_one_and_nothing_else_is(line, number):
    assert number_typed(line) == number


# --- how things look ---


def shown(show, *, width=80, of=Terminal):
    """What `show` puts on a screen, without its colours."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, record=True)
    show(of(console))
    return console.export_text()


def poems(count):
    shown = render_poems((POEM,) * count, glyphs="", script=Script.SIMPLIFIED, language=Language.ZH)
    return shown.text


def test_a_poem_is_framed_and_every_line_of_the_frame_is_as_wide():
    lines = shown(lambda screen: screen.show_poem(poems(1))).splitlines()
    assert [line.strip() for line in lines if "，" in line] == [
        "│   月落空江夜，风吹远树秋。   │",
        "│   故人千里外，一叶下汀洲。   │",
    ]
    assert "五绝 · 尤韵 · gru" in "".join(lines)
    assert len({cell_len(line.rstrip()) for line in lines if line.strip()}) == 1


def test_several_poems_are_side_by_side_each_with_its_number():
    text = shown(lambda screen: screen.show_poem(poems(3)), width=120)
    [heads] = [line for line in text.splitlines() if "╭" in line]
    assert [number in heads for number in ("1", "2", "3")] == [True] * 3
    assert text.count("月落空江夜，") == 3
    assert text.count("五绝 · 尤韵 · gru") == text.count("留下哪一首") == 1


def test_in_a_narrow_window_nothing_of_a_poem_is_lost():
    text = shown(lambda screen: screen.show_poem(poems(2)), width=20)
    assert sorted(char for char in text if char in "月落空江夜") == sorted("月落空江夜" * 2)


def test_where_nobody_looks_a_poem_is_its_text_alone():
    text = shown(lambda screen: screen.show_poem(poems(2)), of=Screen)
    assert text == "".join(f"  {line}\n" if line else "\n" for line in poems(2).split("\n")) + "\n"


@pytest.mark.parametrize("width", [20, 33, 60])
@pytest.mark.parametrize("text", [texts.CONSENT, texts.HELP_POEM, texts.RHYME_UNCLEAR])
def test_chinese_is_broken_between_characters_and_not_before_a_sign(text, width):
    line = text.say(Language.ZH)
    parts = broken(line, width).split("\n")
    assert "".join(parts).replace(" ", "") == line.replace(" ", "")
    assert all(cell_len(part) <= width for part in parts)
    # A word of Latin letters goes to the next line whole, with what holds on to it.
    assert all(cell_len(part) > width - len("/acrostic（，") for part in parts[:-1])
    assert not any(part.startswith(tuple("，。；：）」？")) for part in parts)


def test_a_path_is_never_broken():
    path = "/somewhere/" + "x" * 100
    assert path in shown(lambda screen: screen.offer(path), width=30)


async def test_who_waits_long_sees_something_turn(monkeypatch):
    monkeypatch.setattr("bot.console.screen.SPINNER_AFTER_S", 0.0)
    out = io.StringIO()
    screen = Terminal(Console(file=out, width=80, force_terminal=True))

    async def turns():
        return "Writing" in out.getvalue()

    async with screen.waiting("Writing"):
        await until(turns)


async def test_who_does_not_wait_long_sees_nothing():
    out = io.StringIO()
    async with Terminal(Console(file=out, width=80, force_terminal=True)).waiting("Writing"):
        await asyncio.sleep(0)
    assert "Writing" not in out.getvalue()


# --- what is completed ---


def completed(typed, language=Language.EN):
    found = CommandCompleter(language, CELLS).get_completions(Document(typed), CompleteEvent())
    return [
        typed[: len(typed) + completion.start_position] + completion.text for completion in found
    ]


def test_every_command_is_completed_and_explained():
    here = [command for command in COMMANDS if command.where is not Where.COMPANY]
    found = list(
        CommandCompleter(Language.ZH, CELLS).get_completions(Document("/"), CompleteEvent())
    )
    assert [completion.text.strip() for completion in found] == [
        *(f"/{command.name}" for command in here),
        "/quit",
    ]
    assert [completion.display_meta_text for completion in found[:-1]] == [
        command.help.zh for command in here
    ]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("/po", ["/poem "]),
        ("/PO", ["/poem "]),
        ("/诗", ["/诗 ", "/诗笺 "]),
        ("/q", ["/quit"]),
        ("/lang ", ["/lang zh", "/lang zh-Hant", "/lang en", "/lang auto"]),
        ("/lang z", ["/lang zh", "/lang zh-Hant"]),
        ("/lang zh a", []),
        ("/style l", ["/style lstm"]),
        ("/style lstm qi", ["/style lstm qijue", "/style lstm qilu"]),
        ("/poem 月 r", ["/poem 月 rhyme:"]),
        ("/card p", ["/card paper"]),
        ("月", []),
        ("", []),
        ("/nothing ", []),
        ("/ ", []),
    ],
)
def test_what_is_begun_is_completed(typed, offered):
    assert completed(typed) == offered


@pytest.mark.parametrize("language", Language)
def test_whatever_is_offered_is_understood(language):
    situation = Situation(
        language=language,
        style=Style(),
        cells=CELLS,
        today=date(2026, 4, 6),
        seed=7,
        direct=True,
    )
    wholes = {"韵:": "韵:东", "韻:": "韻:東", "rhyme:": "rhyme:东"}
    offers = [
        f"/{command.name} {'月 ' if command.name == 'poem' else ''}{wholes.get(word, word)}"
        for command in COMMANDS
        if command.where is not Where.COMPANY
        for word in words_after(command, language, CELLS, first=True)
        # Which forms fit depends on how many heads there are.
        if command.name != "acrostic"
    ]
    assert len(offers) > 15
    refused = [line for line in offers if isinstance(understand(line, situation), Refusal)]
    assert refused == []


def test_below_a_command_stands_what_it_takes():
    assert usage_of("/lang ", Language.ZH).startswith("/lang zh | zh-Hant | en | auto — 选我说的")
    assert usage_of("/诗 月", Language.ZH).startswith("/诗 [开头] ")
    assert [usage_of(typed, Language.ZH) for typed in ("", "/lan", "/nothing x", "月 月")] == [
        ""
    ] * 4


# --- what is saved ---


class _OneDot(Easel):
    """An easel whose pictures are small."""

    async def draw(self, card):
        return b"picture"


async def test_a_picture_is_shown_once_it_is_saved(tmp_path):
    card = card_of(POEM, glyphs="", script=Script.SIMPLIFIED, language=Language.ZH)
    opened = []

    async def opener(path):
        opened.append((path, path.read_bytes()))

    path = await Tray(tmp_path / "new" / "folder", _OneDot(), opener).lay_card(card)
    assert opened == [(path, b"picture")]
    assert path.name.startswith("月落空江夜-")


async def test_a_picture_that_cannot_be_shown_is_saved_all_the_same(tmp_path):
    async def opener(path):
        raise OSError

    card = card_of(POEM, glyphs="", script=Script.SIMPLIFIED, language=Language.ZH)
    assert (await Tray(tmp_path, _OneDot(), opener).lay_card(card)).exists()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere there is always a desktop")
@pytest.mark.parametrize("desktop", [True, False])
async def test_a_file_is_opened_only_where_there_is_a_desktop(tmp_path, monkeypatch, desktop):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if desktop:
        monkeypatch.setenv("DISPLAY", ":0")
    program, opened = tmp_path / "xdg-open", tmp_path / "opened"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    await open_file(tmp_path / "card.png")
    if desktop:

        async def is_open():
            return opened.exists()

        await until(is_open)
        assert opened.read_text() == str(tmp_path / "card.png")
    assert opened.exists() == desktop


def test_what_a_closed_window_was_to_show_is_forgotten(monkeypatch):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as window:
        monkeypatch.setattr("sys.stdout", window)
        window.write("月")
        os.close(reading)
        with pytest.raises(BrokenPipeError):
            window.flush()
        with _farewells():
            pass
        with pytest.raises(BrokenPipeError):
            window.flush()
        with suppress(KeyboardInterrupt), _farewells():
            signal.raise_signal(signal.SIGTERM)
        window.flush()
