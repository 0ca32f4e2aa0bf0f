"""Whoever names no opening gets the season's."""

from datetime import date, timedelta

from bot.seasons import SEASONAL, seasonal_character
from engine.verse.script import fold, is_han, simplified


def test_every_term_of_a_leap_year_has_its_character():
    days = [date(2028, 1, 1) + timedelta(days=n) for n in range(0, 366, 3)]
    given = {seasonal_character(day, seed) for day in days for seed in range(2)}
    assert given <= set("".join(SEASONAL.values()))


def test_the_character_follows_date_and_seed():
    spring, winter = date(2026, 4, 6), date(2026, 12, 24)
    assert seasonal_character(spring, 3) == seasonal_character(spring, 3)
    assert {seasonal_character(spring, seed) for seed in range(50)} == set(SEASONAL["清明"])
    assert {seasonal_character(winter, seed) for seed in range(50)} == set(SEASONAL["冬至"])


def test_the_characters_are_the_same_in_both_scripts():
    for char in "".join(SEASONAL.values()):
        assert is_han(char)
        assert fold(char) == char == simplified(char)


def test_there_are_twenty_four_terms():
    assert len(SEASONAL) == 24
