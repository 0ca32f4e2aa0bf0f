"""Whoever names no opening gets the season's, and every day has a name."""

from datetime import date, timedelta

import pytest

from bot.language import Language
from bot.seasons import FESTIVALS, TERMS, day_name, occasion_of, seasonal_character
from bot.wording import THEME_MAX
from engine.verse.forms import FORMS
from engine.verse.frame import opening_frame, readings_of
from engine.verse.plan import admits
from engine.verse.script import fold, is_han, simplified

OCCASIONS = {**TERMS, **FESTIVALS}
DAY = timedelta(days=1)


def test_every_term_of_a_leap_year_has_its_character():
    days = [date(2028, 1, 1) + n * DAY for n in range(0, 366, 3)]
    given = {seasonal_character(day, seed) for day in days for seed in range(2)}
    assert given <= {char for term in TERMS.values() for char in term.openings}


def test_the_character_follows_date_and_seed():
    spring, winter = date(2026, 4, 6), date(2026, 12, 24)
    assert seasonal_character(spring, 3) == seasonal_character(spring, 3)
    assert {seasonal_character(spring, seed) for seed in range(50)} == set(TERMS["清明"].openings)
    assert {seasonal_character(winter, seed) for seed in range(50)} == set(TERMS["冬至"].openings)


@pytest.mark.parametrize("name", OCCASIONS)
def test_a_poem_of_any_form_can_begin_with_the_characters_of_an_occasion(name):
    for char in OCCASIONS[name].openings:
        assert is_han(char)
        assert fold(char) == char == simplified(char)
        assert all(admits(form, readings_of(opening_frame(form, char))) for form in FORMS)


@pytest.mark.parametrize("name", OCCASIONS)
def test_an_occasion_is_named_in_every_language_and_its_theme_is_what_models_know(name):
    occasion = OCCASIONS[name]
    assert all(occasion.name.versions().values())
    assert simplified(occasion.name.zh_hant) == occasion.name.zh
    assert all(is_han(char) and fold(char) == char for char in occasion.theme)
    assert len(occasion.theme) <= THEME_MAX


def test_there_are_twenty_four_terms():
    assert len(TERMS) == 24


def new_year(year):
    days = (date(year, 1, 20) + n * DAY for n in range(40))
    return next(day for day in days if occasion_of(day) is FESTIVALS["春节"])


@pytest.mark.parametrize("year", [2026, 2028])
def test_every_festival_comes_once_a_year_of_the_moon_also_in_one_of_thirteen_months(year):
    first, after = new_year(year), new_year(year + 1)
    named = [occasion_of(first + n * DAY) for n in range((after - first).days)]
    assert {festival.name.zh: named.count(festival) for festival in FESTIVALS.values()} == {
        festival.name.zh: 1 for festival in FESTIVALS.values()
    }
    assert named[-1] is FESTIVALS["除夕"]


@pytest.mark.parametrize(
    ("day", "names"),
    [
        (date(2026, 11, 22), ("小雪", "小雪", "Minor Snow (小雪)")),
        (date(2026, 9, 25), ("中秋", "中秋", "Mid-Autumn Festival (中秋)")),
        (date(2027, 2, 6), ("春节", "春節", "Spring Festival (春节)")),
        (date(2026, 11, 25), ("十月十七", "十月十七", "25 November")),
        (date(2025, 8, 13), ("闰六月二十", "閏六月二十", "13 August")),
    ],
)
def test_a_day_is_called_by_its_festival_its_term_or_its_date(day, names):
    assert tuple(day_name(day, language) for language in Language) == names
