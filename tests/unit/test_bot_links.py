"""Links carry Latin letters only, and say nothing for a person that could do harm."""

import re

import pytest

from bot.commands import COMMANDS
from bot.links import LINKED, PAYLOAD_MAX, Linked, payload_for, read_payload


@pytest.mark.parametrize(
    "arguments", ["月", "白日依山尽黄河", "月 边塞 七律", "\U00020bb7", "⽉", "", "<b>&'"]
)
def test_what_a_link_says_is_read_again(arguments):
    payload = payload_for("poem", arguments)
    assert re.fullmatch(rf"[A-Za-z0-9_-]{{1,{PAYLOAD_MAX}}}", payload)
    assert read_payload(payload) == Linked(command="poem", arguments=arguments)


def test_what_has_no_room_in_a_link_is_left_to_the_person():
    assert payload_for("poem", "月" * 30) == "poem"


def test_a_person_may_type_it_as_it_is():
    assert read_payload("poem_月") == Linked(command="poem", arguments="月")
    assert read_payload("poem_moon") == Linked(command="poem", arguments="moon")


@pytest.mark.parametrize("payload", ["", "x", "review", "style_cm5u", "Poem", "poem月", "_5pyI"])
def test_what_is_no_link_of_ours_says_nothing(payload):
    assert read_payload(payload) is None


def test_no_link_says_what_only_some_may_have():
    linked = [command for command in COMMANDS if command.name in LINKED]
    assert {command.audience.name for command in linked} == {"ANYONE"}
