"""What a checkpoint writes too often, and how stale a poem is for that."""

import json
from dataclasses import replace
from math import log

import pytest

from engine import hand
from engine.errors import MismatchError
from engine.jobs import Cell
from engine.settings import EngineSettings
from engine.wear import SPAN, Wear, WearError
from engine.writer import Writer
from tests.fakes.models import job, small_checkpoint
from trainer.favourites import count_wear
from trainer.product import write_again


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("model"), Cell.GRU)


def first_of(writer, wanted):
    return writer.write([wanted])[wanted.id]


def test_pairs_are_counted_within_lines_and_those_that_came_once_are_left_out():
    wear = Wear.of([("一二三", "二三一"), ("二三四", "三一二")])
    assert wear.poems == 2
    assert dict(wear.pairs) == {"二三": 3, "一二": 2, "三一": 2}
    assert next(iter(wear.pairs)) == "二三"


def test_a_poem_is_as_stale_as_its_pairs_are_common():
    wear = Wear(poems=10 * SPAN, pairs={"一二": 20, "二三": 5})
    assert wear.staleness(["一二三"]) == pytest.approx((log(3.0) + log(1.5)) / 2)
    assert wear.staleness(["一二", "三四"]) == pytest.approx(log(3.0) / 2)
    assert wear.staleness(["四五六"]) == 0.0
    assert wear.staleness(["四"]) == 0.0


def test_what_is_liked_as_much_and_less_stale_is_shown(checkpoint):
    shown = first_of(Writer(checkpoint, slots=8), job(1, count=8))
    worn = Wear.of([shown.lines] * 4)
    now = first_of(Writer(replace(checkpoint, wear=worn), slots=8), job(1, count=8))
    poems = {poem.lines for poem in (shown, *shown.others)}
    assert {poem.lines for poem in (now, *now.others)} == poems
    assert now.others[-1].lines == shown.lines


def test_poems_that_are_counted_are_the_same_every_time(checkpoint):
    once, again = (count_wear(checkpoint, 64, seed=3) for _ in range(2))
    assert once == again
    assert once.poems == 64
    assert count_wear(checkpoint, 64, seed=4) != once
    assert all(count >= 2 for count in once.pairs.values())


def test_it_is_kept_with_the_checkpoint_to_the_byte_and_can_be_read(checkpoint, tmp_path):
    wear = Wear.of([("一二三四五", "二三四五六")] * 3)
    path = write_again(replace(checkpoint, wear=wear), tmp_path)
    figures = hand.describe(EngineSettings(data=tmp_path), str(path))
    assert figures["most_worn"] == "三四 二三 四五 一二 五六"
    assert Wear.from_bytes(wear.to_bytes()) == wear
    assert Wear.from_bytes(wear.to_bytes()).to_bytes() == wear.to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"[]",
        b"{}",
        b'{"poems": 0, "pairs": {}}',
        json.dumps({"poems": 1, "pairs": {"一": 2}}).encode(),
        json.dumps({"poems": 1, "pairs": {"一二": -2}}).encode(),
        json.dumps({"poems": 1, "pairs": {"一二": 0.5}}).encode(),
        json.dumps({"poems": 1, "pairs": ["一二"]}).encode(),
    ],
)
def test_a_file_that_is_something_else_is_refused(data):
    with pytest.raises(WearError):
        Wear.from_bytes(data)


def test_a_checkpoint_that_holds_something_else_is_refused(checkpoint, tmp_path):
    path = write_again(replace(checkpoint, wear=Wear(poems=0, pairs={})), tmp_path)
    with pytest.raises(MismatchError, match="counted pairs"):
        hand.describe(EngineSettings(data=tmp_path), str(path))
