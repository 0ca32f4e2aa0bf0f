"""The bundled models: what comes out of the box keeps the rules."""

import json
import subprocess
import sys

import pytest

from engine.checkpoint import load
from engine.jobs import Cell
from engine.registry import Registry
from engine.settings import BUNDLED_MODELS
from engine.verse.checker import check
from engine.verse.forms import FormName

PER_KIND = 25
"""Poems of each form and cell: 200 in all."""


@pytest.mark.timeout(300)
def test_two_hundred_poems_of_all_forms_and_cells_keep_every_rule():
    """And none of their lines stands in the corpus."""
    written = 0
    for cell in (Cell.GRU, Cell.LSTM):
        tradition = load(Registry(BUNDLED_MODELS).champion(cell)).tradition
        for form in FormName:
            for poem in compose("月", form, cell, seed=100):
                verdict = check(poem["lines"], opening="月")
                assert verdict.ok, (poem["text"], verdict.violations)
                assert (verdict.form, poem["form"]) == (form, form)
                assert not any(map(tradition.holds, poem["lines"]))
                written += 1
    print(f"{written} poems: form, opening, rhyme and tones 100 %, lines of the corpus 0")
    assert written == 2 * 4 * PER_KIND


def test_an_acrostic_has_its_heads_and_the_rhyme_that_was_asked_for():
    for poem in compose("", FormName.QIJUE, Cell.GRU, "--acrostic", "春夏秋冬", "--rhyme", "中"):
        assert [line[0] for line in poem["lines"]] == list("春夏秋冬")
        assert check(poem["lines"]).ok
        assert poem["rhyme"] == "東"


@pytest.mark.parametrize("opening", ["东", "明月", "白日依山尽", "曌", "落花人独立"])
def test_openings_of_every_kind_are_kept_as_typed(opening):
    for poem in compose(opening, FormName.WULU, Cell.GRU, seed=1, count=3):
        assert poem["lines"][0].startswith(opening)
        assert check(poem["lines"], opening=opening).ok


def compose(opening, form, cell, *more, seed=1, count=PER_KIND):
    ask = ["compose", opening, *more, "--json", "--form", form, "--style", cell]
    done = subprocess.run(
        [sys.executable, "-m", "engine", *ask, "--seed", str(seed), "--count", str(count)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
