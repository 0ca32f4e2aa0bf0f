"""A writer from jobs to outcomes, with a small random model."""

from dataclasses import replace

import pytest
import torch

from engine import writer as writer_module
from engine.jobs import Cell, Failure, Poem, Reason
from engine.tradition import Tradition
from engine.verse.checker import Rule, check
from engine.verse.forms import FORMS, FormName
from engine.verse.frame import acrostic_frame, rewrite_frame
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
    assert len(set(tried)) == writer_module.ROUNDS


def test_a_row_that_is_not_a_number_fails_alone(checkpoint):
    """Fault 10: the neighbours' poems are the same to the letter."""
    healthy = write(Writer(checkpoint, slots=4), *[job(n) for n in (1, 2, 3)])
    writer = Writer(checkpoint, slots=4)
    for number in (1, 2, 3):
        writer.add(job(number))
    writer.step()
    row = next(r for r, s in enumerate(writer.scheduler.running) if s.job.id == "test:2")
    with torch.inference_mode():
        writer.runner._rows.state[:, row] = torch.nan
    sick = write(writer)
    assert sick["test:2"].reason is Reason.INTERNAL
    assert {n: sick[n] for n in ("test:1", "test:3")} == {
        n: healthy[n] for n in ("test:1", "test:3")
    }


def test_the_line_count_is_that_of_the_form(checkpoint):
    poem = write(Writer(checkpoint, slots=1), job(1, form=FormName.QILU))["test:1"]
    assert [len(line) for line in poem.lines] == [7] * FORMS[FormName.QILU].lines


def test_of_several_candidates_one_is_shown_and_the_choice_repeats(checkpoint):
    alone = write(Writer(checkpoint, slots=8, candidates=8), job(5))["test:5"]
    among = write(Writer(checkpoint, slots=32, candidates=8), *[job(n) for n in range(9)])
    assert among["test:5"] == alone
    asked = write(Writer(checkpoint, slots=8), job(5, candidates=8))["test:5"]
    assert asked == alone


def test_the_candidate_that_the_critic_doubts_least_is_shown(checkpoint):
    critics = {}
    for sign in (1, -1):
        critics[sign] = {
            name: sign * 1e4 * p if name.startswith("judge") else p
            for name, p in checkpoint.critic.items()
        }
    likes, dislikes = (
        write(Writer(replace(checkpoint, critic=critic), slots=8), job(1, count=8))["test:1"]
        for critic in critics.values()
    )
    ranked = [poem.lines for poem in (likes, *likes.others)]
    assert [poem.lines for poem in (dislikes, *dislikes.others)] == ranked[::-1]


def test_without_a_critic_the_other_figures_decide(checkpoint):
    writer = Writer(replace(checkpoint, critic=None), slots=8, candidates=8)
    assert isinstance(write(writer, job(1))["test:1"], Poem)


def test_the_candidate_with_the_best_score_is_shown(checkpoint, monkeypatch):
    shown = write(Writer(checkpoint, slots=6), job(1, count=6))["test:1"]
    everything = [shown, *shown.others]
    assert len({poem.lines for poem in everything}) == 6
    monkeypatch.setattr(writer_module, "score", lambda features, _weights: features.nats)
    wildest = write(Writer(checkpoint, slots=6), job(1, candidates=6))["test:1"]
    least = min(poem.logprob for poem in everything)
    assert wildest.logprob == pytest.approx(least)


def test_several_poems_come_in_one_outcome(checkpoint):
    outcome = write(Writer(checkpoint, slots=4), job(1, opening="月", count=3, context={"a": 1}))
    poem = outcome["test:1"]
    assert len(poem.others) == 2
    assert (poem.context, [other.context for other in poem.others]) == ({"a": 1}, [{}, {}])
    assert all(check(other.lines, opening="月").ok for other in poem.others)


def test_a_line_of_the_corpus_is_never_shown(checkpoint):
    """Whatever is written first is called a line of the corpus: then other lines are written."""
    first = write(Writer(checkpoint, slots=1), job(1))["test:1"]
    tradition = Tradition.of(first.lines[2:3], checkpoint.tradition.vectors, {})
    writer = Writer(replace(checkpoint, tradition=tradition), slots=1)
    assert not set(first.lines[2:3]) & set(write(writer, job(1))["test:1"].lines)


def test_a_line_of_the_corpus_that_was_asked_for_may_stand(checkpoint):
    first = write(Writer(checkpoint, slots=1), job(1))["test:1"]
    tradition = Tradition.of(first.lines[:1], checkpoint.tradition.vectors, {})
    writer = Writer(replace(checkpoint, tradition=tradition), slots=1)
    poem = write(writer, job(1, opening=first.lines[0]))["test:1"]
    assert poem.lines[0] == first.lines[0]


@pytest.mark.parametrize("form", list(FormName))
def test_an_acrostic_has_its_heads(form, checkpoint):
    heads = "春夏秋冬梅蘭竹菊"[: FORMS[form].lines]
    frame = acrostic_frame(form, heads)
    poem = write(Writer(checkpoint, slots=2), job(1, form=form, frame=frame))["test:1"]
    assert "".join(line[0] for line in poem.lines) == heads
    assert check(poem.lines).ok


def test_rewriting_keeps_the_rest_and_changes_what_it_should(checkpoint):
    old = write(Writer(checkpoint, slots=1), job(1, form=FormName.QIJUE))["test:1"]
    frame = rewrite_frame(old.lines, range(7, 14))
    asked = job(2, form=FormName.QIJUE, frame=frame, unlike="".join(old.lines))
    new = write(Writer(checkpoint, slots=4, candidates=4), asked)["test:2"]
    assert (new.lines[0], *new.lines[2:]) == (old.lines[0], *old.lines[2:])
    assert all(a != b for a, b in zip(new.lines[1], old.lines[1], strict=True))
    assert check(new.lines).ok


def test_what_was_to_be_kept_is_not_held_against_the_writer(checkpoint):
    """The lines that a person keeps repeat a rhyme; the others are still rewritten."""
    old = write(Writer(checkpoint, slots=1), job(1, form=FormName.WULU))["test:1"]
    lines = [*old.lines]
    lines[7] = lines[7][:4] + lines[5][4]
    if not check([*lines[:5], lines[5], *lines[6:]]).broken() <= {Rule.REPEATED_RHYME}:
        pytest.skip("this seed's poem has another fault once its rhyme is repeated")
    frame = rewrite_frame(lines, range(5))
    new = write(Writer(checkpoint, slots=1), job(2, form=FormName.WULU, frame=frame))["test:2"]
    assert list(new.lines[1:]) == lines[1:]


def test_no_line_rhymes_on_a_word_that_is_fixed_further_on(checkpoint):
    old = write(Writer(checkpoint, slots=1), job(1))["test:1"]
    last = old.lines[3][4]
    frame = rewrite_frame(old.lines, range(15)).replace(old.lines[3][:4], "□" * 4)
    poems = [write(Writer(checkpoint, slots=1), job(n, frame=frame)) for n in range(20, 30)]
    outcomes = [outcome for found in poems for outcome in found.values()]
    assert all(isinstance(poem, Poem) for poem in outcomes)
    assert all(poem.lines[1][4] != last and poem.lines[3][4] == last for poem in outcomes)


def test_a_theme_brings_its_company(checkpoint):
    """With a theme, characters that keep company with it come more often."""
    vocabulary = checkpoint.vocabulary
    chars = list(range(1, 9))
    vectors = checkpoint.tradition.vectors * 0
    vectors[chars] = 2.0
    tradition = replace(checkpoint.tradition, vectors=vectors)
    themed = replace(checkpoint, tradition=tradition)
    wanted = {vocabulary.chars[index] for index in chars}

    def share(theme):
        jobs = [job(n, theme=theme) for n in range(20)]
        poems = write(Writer(themed, slots=20), *jobs).values()
        text = "".join("".join(poem.lines) for poem in poems)
        return sum(char in wanted for char in text) / len(text)

    assert share(vocabulary.chars[1]) > 2 * share("")


def test_without_a_theme_the_encoder_changes_nothing_and_with_one_it_does(checkpoint):
    without = replace(checkpoint, theme=None)
    for theme, alike in (("", True), ("龘", True), ("風雪", False)):  # 龘 no model knows
        jobs = [job(n, theme=theme) for n in range(4)]
        one, other = (write(Writer(each, slots=4), *jobs) for each in (checkpoint, without))
        assert (one == other) is alike


def test_a_poem_on_a_theme_depends_neither_on_its_neighbours_nor_on_who_had_its_row(checkpoint):
    alone = write(Writer(checkpoint, slots=1), job(5, theme="風雪"))["test:5"]
    writer = Writer(checkpoint, slots=3)
    jobs = [job(n, theme="" if n % 2 else "春夜") for n in range(5)]
    among = write(writer, *jobs, job(5, theme="風雪"), job(6))
    assert among["test:5"] == alone
    assert among["test:6"] == write(Writer(checkpoint, slots=1), job(6))["test:6"]


def test_beams_find_a_likelier_poem_than_greed(checkpoint):
    writer = Writer(checkpoint, slots=1)
    asked = job(1, form=FormName.QIJUE)
    greedy, wide = (writer.likeliest(asked, beams=beams) for beams in (1, 8))
    assert greedy is not None
    assert wide is not None
    assert check(wide.lines).ok
    assert wide.logprob > greedy.logprob
    assert writer.likeliest(asked, beams=8) == wide
