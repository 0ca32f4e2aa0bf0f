"""What the trainer tells of its nights, in the words of people."""

import pytest

from bot.language import Language
from bot.nights import OUTCOMES, PHASES, tell_night
from engine.bulletin import SILENT_MS, Bulletin, NightOutcome, Phase
from engine.jobs import Cell

NOW_MS = 1_800_000_000_000


def told(language=Language.EN, **fields):
    bulletin = Bulletin(**{"told_ms": NOW_MS - 1000, **fields})
    return list(tell_night(bulletin, language, now_ms=NOW_MS))


def test_every_phase_and_outcome_has_its_words():
    assert (set(PHASES), set(OUTCOMES)) == (set(Phase), set(NightOutcome))


def test_a_night_under_way_is_told_with_its_share():
    assert told(phase=Phase.FIT, cell=Cell.GRU, share=0.4213) == [
        "Learning from ratings just now (gru): training, about 42 % done"
    ]
    assert told(Language.ZH, phase=Phase.SNAPSHOT) == ["正在从评分中学习：整理评分，约完成 0%"]


def test_a_trainer_that_fell_silent_is_not_said_to_be_at_work():
    assert told(phase=Phase.FIT, told_ms=NOW_MS - SILENT_MS) == []


@pytest.mark.parametrize("language", Language)
def test_what_came_of_the_last_night_is_a_line_a_model(language):
    outcomes = {Cell.LSTM: NightOutcome.ON_TRIAL, Cell.GRU: NightOutcome.PROMOTED}
    lines = told(language, last="2026-11-21", outcomes=outcomes)
    assert "2026-11-21" in lines[0]
    assert "gru" in lines[1]
    assert "lstm" in lines[2]


def test_a_night_that_failed_as_a_whole_is_one_line():
    assert told(last="2026-11-21", failed=True) == [
        "Last night's learning (2026-11-21) went wrong; no model was changed."
    ]
