"""The simulation of learning: its readers, and a night or two on a tiny model."""

from random import Random

import pytest

from benchmarks import tastes
from benchmarks.chart import draw_learning, learning_table
from benchmarks.learning import ARMS, Course, Scale
from engine.jobs import Cell
from engine.registry import Registry
from tests.fakes.models import small_dataset, write_model

SCALE = Scale(nights=1, ratings=48, asks=4, samples=16, favourites=4, counted=16, ends=6)


def test_tastes_are_what_they_say():
    assert tastes.likes_the_frontier(["沙場秋點兵"])
    assert not tastes.likes_the_frontier(["春眠不覺曉"])
    assert tastes.likes_water(["孤舟水上行"])
    assert not tastes.likes_water(["孤舟夜未行"])
    assert tastes.dislikes_worn_phrases(["孤舟夜未行"])
    assert not tastes.dislikes_worn_phrases(["萬里夜未行"])


def test_readers_are_as_many_as_asked_and_some_of_each_taste():
    crowd = tastes.readers(20, malicious=0.15, error=0.0, seed=1)
    assert sum(reader.malicious for reader in crowd) == 3
    assert {reader.taste for reader in crowd} == set(tastes.TASTES)
    assert crowd == tastes.readers(20, malicious=0.15, error=0.0, seed=1)


def test_the_malicious_say_the_opposite_and_the_careless_err_now_and_then():
    def share(**fields):
        reader = tastes.Reader(
            name="r", chat="c", taste="frontier", **{"error": 0.0, "malicious": False} | fields
        )
        random = Random(1)
        return sum(reader.likes(["沙場秋點兵"], random) for _ in range(1000)) / 1000

    assert (share(), share(malicious=True)) == (1.0, 0.0)
    assert share(error=0.12) == pytest.approx(0.88, abs=0.03)


def course(folder, arm, nights):
    scale = Scale(**{**vars(SCALE), "nights": nights})
    return Course(ARMS[arm], scale, Cell.GRU, small_dataset(), folder)


@pytest.mark.timeout(180)
def test_a_course_learns_goes_on_where_it_was_and_is_drawn(tmp_path):
    registry = Registry(tmp_path / "models")
    registry.promote(write_model(registry.folder, seed=1).name)
    first = course(tmp_path, "learning", 1).run().nights
    assert [night["night"] for night in first] == [0, 1]
    assert first[1]["outcome"] in {"promoted", "refused"}
    again = course(tmp_path, "learning", 2)
    assert again.state.nights == first
    ended = again.run()
    nights = ended.nights
    assert [night["night"] for night in nights] == [0, 1, 2]
    assert {night["champion"] for night in (nights[0], nights[-1])} <= set(ended.ends)
    assert all(end["poems"] == 6 for end in ended.ends.values())
    assert len(again.state.ratings) == 96
    draw_learning({"learning": [nights, nights]}, tmp_path / "learning.svg")
    assert (tmp_path / "learning.svg").read_text(encoding="utf-8").startswith("<?xml")
    table = learning_table({"learning": [nights]}, {"learning": [ended.ends]})
    assert table.count("\n") == 2
    assert table.count("±") == 1
    of_two = learning_table({"learning": [nights] * 2}, {"learning": [ended.ends] * 2})
    assert of_two.splitlines()[-1].startswith("| learning | 2 |")
    assert of_two.count("± 0.0 %") == 2


def test_other_crowds_are_other_readers_and_each_is_always_the_same(tmp_path):
    first, second, again = (
        Course(ARMS["learning"], SCALE, Cell.GRU, small_dataset(), tmp_path, crowd=crowd)
        for crowd in (0, 1, 1)
    )
    assert first.readers != second.readers == again.readers


def test_the_control_hears_no_reader(tmp_path):
    registry = Registry(tmp_path / "models")
    champion = write_model(registry.folder, seed=1).name
    registry.promote(champion)
    nights = course(tmp_path, "control", 1).run().nights
    assert nights[1]["outcome"] == "nothing new"
    assert {night["champion"] for night in nights} == {champion}
