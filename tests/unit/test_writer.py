"""A writer from jobs to outcomes, with a small random model."""

import pytest
import torch

from engine import writer as writer_module
from engine.jobs import Cell, Failure, Poem, Reason
from engine.verse.checker import check
from engine.verse.forms import FORMS, FormName
from engine.writer import Writer
from tests.fakes.models import job, small_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("model"))


def write(writer, *jobs):
    """The outcomes of `jobs` by job id."""
    for each in jobs:
        writer.add(each)
    outcomes = {}
    while not writer.idle:
        outcomes.update({outcome.job_id: outcome for outcome in writer.step()})
    return outcomes


@pytest.mark.parametrize("form", list(FormName))
@pytest.mark.parametrize("cell", list(Cell))
def test_every_poem_keeps_the_rules_whatever_the_weights(form, cell, tmp_path):
    writer = Writer(small_checkpoint(tmp_path, cell), slots=4)
    jobs = [job(n, form=form, cell=cell, opening="月") for n in range(6)]
    poems = write(writer, *jobs).values()
    assert len(poems) == 6
    for poem in poems:
        assert isinstance(poem, Poem)
        verdict = check(poem.lines, opening="月")
        assert verdict.ok
        assert (verdict.form, poem.form) == (form, form)


def test_a_poem_depends_on_its_seed_and_not_on_its_neighbours(checkpoint):
    alone = write(Writer(checkpoint, slots=1), job(5))["test:5"]
    among = write(Writer(checkpoint, slots=8), *[job(n) for n in range(12)])["test:5"]
    assert alone == among


def test_another_seed_gives_another_poem(checkpoint):
    outcomes = write(Writer(checkpoint, slots=4), job(1), job(2))
    assert outcomes["test:1"].lines != outcomes["test:2"].lines


def test_a_new_job_joins_while_others_run(checkpoint):
    """The second job is done exactly one step after the first: it did not wait for it to end."""
    writer = Writer(checkpoint, slots=2)
    writer.add(job(1))
    writer.step()
    writer.add(job(2))
    done = {}
    for step in range(2, 30):
        done.update({outcome.job_id: step for outcome in writer.step()})
    assert done == {"test:1": 20, "test:2": 21}


def test_the_opening_stands_as_the_person_wrote_it(checkpoint):
    poem = write(Writer(checkpoint, slots=1), job(1, opening="东风"))["test:1"]
    assert poem.lines[0].startswith("东风")


def test_a_character_that_the_vocabulary_lacks_is_kept(checkpoint):
    assert checkpoint.vocabulary.index_as_typed("曌") == 0
    poem = write(Writer(checkpoint, slots=1), job(1, opening="曌"))["test:1"]
    assert poem.lines[0].startswith("曌")
    assert check(poem.lines, opening="曌").ok


def test_an_opening_that_no_template_admits_fails_at_once(checkpoint):
    outcome = write(Writer(checkpoint, slots=1), job(1, opening="春山寒山紅"))["test:1"]
    assert isinstance(outcome, Failure)
    assert outcome.reason is Reason.NO_TEMPLATE


def test_a_job_that_expired_waiting_fails(checkpoint):
    outcome = write(Writer(checkpoint, slots=1), job(1, deadline_ms=1))["test:1"]
    assert outcome.reason is Reason.EXPIRED


def test_a_rhyme_that_was_asked_for_is_kept(checkpoint):
    poem = write(Writer(checkpoint, slots=1), job(1, form=FormName.QIJUE, rhyme="陽"))["test:1"]
    assert poem.rhyme == "陽"
    assert check(poem.lines).rhyme == "陽"


def test_a_poem_that_the_checker_refuses_is_begun_anew_and_then_given_up(checkpoint, monkeypatch):
    tried = []

    def refuse(lines, *, opening):
        tried.append(lines)
        return check(["月"], opening=opening)

    monkeypatch.setattr(writer_module, "check", refuse)
    outcome = write(Writer(checkpoint, slots=1), job(1))["test:1"]
    assert outcome.reason is Reason.INTERNAL
    assert len(set(tried)) == writer_module.ATTEMPTS


def test_a_row_that_is_not_a_number_fails_alone(checkpoint):
    """Fault 10: the neighbours' poems are the same to the letter."""
    healthy = write(Writer(checkpoint, slots=4), *[job(n) for n in (1, 2, 3)])
    writer = Writer(checkpoint, slots=4)
    for number in (1, 2, 3):
        writer.add(job(number))
    writer.step()
    row = next(r for r, s in enumerate(writer.scheduler.running) if s.job.id == "test:2")
    with torch.inference_mode():
        writer.runner._state[:, row] = torch.nan
    sick = write(writer)
    assert sick["test:2"].reason is Reason.INTERNAL
    assert {n: sick[n] for n in ("test:1", "test:3")} == {
        n: healthy[n] for n in ("test:1", "test:3")
    }


def test_the_line_count_is_that_of_the_form(checkpoint):
    poem = write(Writer(checkpoint, slots=1), job(1, form=FormName.QILU))["test:1"]
    assert [len(line) for line in poem.lines] == [7] * FORMS[FormName.QILU].lines
