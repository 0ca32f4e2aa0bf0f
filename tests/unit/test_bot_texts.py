"""Every sentence exists in every language, and asks for the same values in each."""

from string import Formatter

import pytest

from bot import texts
from bot.commands import COMMANDS
from bot.deliver import FAILURES
from bot.language import Language
from bot.texts import Text
from engine.jobs import Reason
from engine.verse.script import simplified

ALL = {name: text for name, text in vars(texts).items() if isinstance(text, Text)}
# Telegram's limit for the help of one command.
HELP_MAX = 256


def names_in(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("name", ALL)
def test_a_text_is_there_in_every_language(name):
    versions = ALL[name].versions()
    assert set(versions) == set(Language)
    assert all(versions.values())


@pytest.mark.parametrize("name", ALL)
def test_placeholders_agree_between_languages(name):
    wanted = {language: names_in(text) for language, text in ALL[name].versions().items()}
    assert len({frozenset(names) for names in wanted.values()}) == 1


@pytest.mark.parametrize("name", ALL)
def test_simplified_texts_hold_no_traditional_glyphs(name):
    assert simplified(ALL[name].zh) == ALL[name].zh


@pytest.mark.parametrize("name", ALL)
def test_a_text_is_one_line(name):
    assert not any("\n" in version for version in ALL[name].versions().values())


def test_every_reason_for_failing_is_explained():
    assert set(FAILURES) == set(Reason)


def test_menus_have_room_for_the_help_of_every_command():
    for command in COMMANDS:
        assert all(len(text) <= HELP_MAX for text in command.help.versions().values())
