"""What stands in the fields of a command says what people type elsewhere."""

from dataclasses import replace
from datetime import date

import pytest

from bot.commands import COMMANDS, understand
from bot.fields import line_of
from bot.language import Language
from bot.requests import PoemRequest, Refusal, Situation, Where
from bot.style import Style
from engine.jobs import Cell
from engine.verse.forms import FORMS

SITUATION = Situation(
    language=Language.EN,
    style=Style(),
    cells=frozenset(Cell),
    today=date(2026, 4, 6),
    seed=7,
    poem="白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
)
NEEDED = {
    "acrostic": {"heads": "春夏秋冬"},
    "rewrite": {"part": "2"},
}
CHOICES = [
    (command, field, choice)
    for command in COMMANDS
    for field in command.fields
    for choice in field.choices
]


def request_for(command, told):
    where = replace(SITUATION, direct=command.where is not Where.COMPANY)
    return understand(f"/{command.name} {line_of(command.fields, told)}", where)


@pytest.mark.parametrize(
    ("command", "field", "choice"),
    CHOICES,
    ids=lambda part: getattr(part, "word", None) or part.name,
)
def test_every_choice_is_understood(command, field, choice):
    told = NEEDED.get(command.name, {}) | {field.name: choice.word}
    if command.name == "acrostic" and field.name == "form":
        told["heads"] = "春夏秋冬山水月花"[: FORMS[choice.word].lines]
    request = request_for(command, told)
    assert request is not None
    assert not isinstance(request, Refusal), request.text


def test_everything_that_a_poem_can_be_told_is_said_in_one_line():
    [poem] = [command for command in COMMANDS if command.name == "poem"]
    told = {"count": "3", "rhyme": "东 韵", "form": "wujue", "theme": "边 塞", "opening": "月"}
    request = request_for(poem, told)
    assert isinstance(request, PoemRequest)
    assert (request.opening, request.theme, request.form, request.count) == (
        "月",
        "边塞",
        "wujue",
        3,
    )
    assert request.rhyme == "東"


def test_what_a_command_needs_comes_before_what_it_does_not():
    for command in COMMANDS:
        needed = [field.needed for field in command.fields]
        assert needed == sorted(needed, reverse=True)


def test_whatever_a_command_takes_has_a_field():
    for command in COMMANDS:
        assert bool(command.arguments) == bool(command.fields), command.name
