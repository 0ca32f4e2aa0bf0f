"""Reports: what is measured of a checkpoint, on small models with random weights."""

import math
from dataclasses import replace

import pytest

from engine.verse.forms import FormName
from tests.fakes.models import small_checkpoint, small_dataset
from tests.unit.test_trial import example
from trainer.corpus import Era, Split
from trainer.evaluate import score, score_poems
from trainer.examine import ALIKE, examine
from trainer.feedback import GIVEN
from trainer.gate import judge


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("models"))


def look(checkpoint, held_out=(), **more):
    usual = {"critic": checkpoint.critic, "seed": 1, "poems": 4 * ALIKE}
    return examine(checkpoint, small_dataset(), held_out, **usual | more)


@pytest.fixture(scope="module")
def plain(small):
    return look(small)


def test_poems_are_scored_one_by_one_as_they_are_together(small):
    for form, verses in small_dataset().select(Split.TEST, [Era.TANG]).items():
        model = small.model()
        single = score_poems(model, form, verses, unknown_types=3)
        assert sum(each.nats for each in single) == pytest.approx(
            score(model, form, verses, unknown_types=3).nats
        )
        assert [each.characters for each in single] == [verses.tokens.shape[1]] * len(verses)


def test_a_report_says_all_that_the_gate_asks_for(small):
    report = look(replace(small, report={"snapshot": ""}))
    assert report.snapshot == ""
    assert judge(report, report, report).passed
    assert report.samples == 4 * ALIKE
    assert (report.rules, report.opened, report.copied, report.failed) == (1.0, 1.0, 0, 0)
    assert 0 < report.size < 1_000_000


def test_where_nobody_said_what_it_learnt_from_the_report_does_not_either(plain):
    assert plain.snapshot is None


def test_reports_of_other_material_do_not_compare(small, plain):
    others = (look(small, seed=2), look(small, critic=None))
    assert all(other.material != plain.material for other in others)
    assert others[1].odds is None


def rated(number, *, worth, lines=("夜雨敲窗急", "孤燈照壁明", "故人千里外", "何處聽潮聲")):
    one = example(str(number), worth=worth)
    return replace(one, lines=lines, form=FormName.WUJUE, value=2 * worth - 1, held_out=True)


def test_held_out_ratings_are_asked_about(small, plain):
    held_out = [rated(1, worth=1.0), rated(2, worth=0.0), rated(3, worth=0.0)]
    report = look(small, held_out)
    assert report.pairs == 2
    assert 0 <= report.win_rate <= 1
    assert math.isfinite(report.surprise)
    assert report.held_out != plain.held_out
    assert (plain.pairs, plain.surprise) == (0, None)
    assert math.isnan(plain.win_rate)


def test_what_a_person_gave_says_nothing_of_the_model(small):
    """A character that no vocabulary has costs much; here it costs nothing."""
    open_lines = (GIVEN * 4 + "急", *rated(1, worth=1.0).lines[1:])
    with_gap = look(small, [rated(1, worth=1.0, lines=open_lines)]).surprise
    assert with_gap == pytest.approx(look(small, [rated(1, worth=1.0)]).surprise, abs=0.5)
