"""The baselines and the figures that Yuefu is measured by."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import course, measures, ours, report
from benchmarks.course import CourseError, CourseModel, Signs, Training, load
from benchmarks.figures import Folder, Part, measure_all
from benchmarks.measures import Bench
from benchmarks.ngram import NGram
from benchmarks.ours import Ask
from benchmarks.quality import Plan
from benchmarks.recital import Manner, length_penalty, recite
from benchmarks.report import quality_page, samples_page
from engine.jobs import Cell
from engine.verse.forms import FormName
from tests.fakes.models import small_checkpoint, small_dataset, write_model
from tests.fakes.poems import by_rule
from trainer.corpus import Era, Split
from trainer.dataset import Verses, build, openings
from trainer.evaluate import score


@pytest.fixture(scope="module")
def dataset():
    return small_dataset()


def verses_of(rows):
    return Verses(tokens=np.array(rows, np.uint16), rhymes=np.zeros(len(rows), np.uint8))


# --- 5-gram ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 3, 5, 12, 19])
def test_the_probabilities_of_all_characters_at_a_place_sum_to_one(dataset, place):
    train = dataset.select(Split.TRAIN, Era)
    v = len(dataset.vocabulary)
    poem = train[FormName.WUJUE].tokens[0]
    every = np.repeat(poem[None], v, axis=0)
    every[:, place] = np.arange(v)
    logs = NGram(train, v).logs(FormName.WUJUE, every)
    assert np.exp(logs[:, place]).sum() == pytest.approx(1.0)


def test_the_order_below_counts_contexts_and_not_occurrences():
    """Kneser & Ney's 'San Francisco': 2 is frequent, but only ever after 1; 3 is rarer."""
    rows = [[1, 2, 1, 2, 1] * 4] * 3 + [[4, 3, 5, 3, 6, 7, 3, 8, 3, 9, *range(4, 14)]]
    model = NGram({FormName.WUJUE: verses_of(rows)}, 20)
    strange = np.array([[15] * 5 + [2] * 1 + [15] * 14, [15] * 5 + [3] * 1 + [15] * 14], np.uint16)
    logs = model.logs(FormName.WUJUE, strange)
    assert logs[1, 5] > logs[0, 5]


def test_a_5_gram_knows_what_it_read_and_is_charged_for_the_unknown(dataset):
    train = dataset.select(Split.TRAIN, Era)
    model = NGram(train, len(dataset.vocabulary))
    form, part = next(iter(train.items()))
    seen = model.score(form, part, unknown_types=1)
    assert seen.perplexity < 5
    strange = verses_of(part.tokens[:1] * 0)
    few, many = (model.score(form, strange, unknown_types=types) for types in (1, 100))
    assert many.nats - few.nats == pytest.approx(20 * math.log(100))


# --- the course's model ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(dataset):
    torch.manual_seed(0)
    return CourseModel(Cell.LSTM, Signs(characters=len(dataset.vocabulary))).eval()


def test_a_text_has_its_punctuation_between_start_and_end():
    signs = Signs(characters=100)
    (text,) = signs.texts(FormName.WUJUE, np.arange(20, dtype=np.uint16)[None]).tolist()
    assert text[:7] == [signs.start, 0, 1, 2, 3, 4, signs.comma]
    assert text[-2:] == [signs.stop, signs.end]
    assert len(text) == 26


def test_punctuation_is_neither_counted_nor_charged(dataset, model):
    """A model that knows nothing has a perplexity of V: its doubts about line ends cost nothing."""
    blank = CourseModel(Cell.GRU, model.signs)
    for p in blank.parameters():
        p.data.zero_()
    part = dataset.select(Split.TRAIN, Era)[FormName.QIJUE]
    scored = course.score(blank, FormName.QIJUE, part, unknown_types=1)
    assert scored.characters == part.tokens.size
    assert scored.perplexity == pytest.approx(len(dataset.vocabulary), rel=1e-4)


def test_a_killed_training_of_the_baseline_goes_on_to_the_same_weights(dataset, tmp_path):
    class Killed(BaseException):
        pass

    def kill(step):
        if step == 3:
            raise Killed

    whole = Training(Cell.GRU, dataset, tmp_path / "whole", share=0.5)
    whole.run(on_step=lambda _step: None)
    broken = Training(Cell.GRU, dataset, tmp_path / "broken", share=0.5)
    with pytest.raises(Killed):
        broken.run(on_step=kill, save_every=2)
    resumed = Training(Cell.GRU, dataset, tmp_path / "broken", share=0.5)
    assert resumed.step == 2 < whole.steps
    resumed.run(on_step=lambda _step: None)
    for name, weight in load(tmp_path / "whole", dataset).state_dict().items():
        assert torch.equal(weight, load(tmp_path / "broken", dataset).state_dict()[name])


def test_a_baseline_that_is_not_there_says_what_to_run(dataset, tmp_path):
    with pytest.raises(CourseError, match=r"benchmarks\.course"):
        load(tmp_path, dataset)


@pytest.mark.parametrize("manner", [Manner(), Manner(noise=0.5), Manner(temperature=1.0)])
def test_a_text_begins_with_its_character_and_depends_on_the_seed_alone(dataset, model, manner):
    heads = list("春月")
    texts = recite(model, dataset.vocabulary, heads, manner, seed=1)
    assert [text[0] for text in texts] == heads
    assert texts == recite(model, dataset.vocabulary, heads, manner, seed=1)
    other = recite(model, dataset.vocabulary, heads, manner, seed=2)
    assert (texts != other) == manner.by_chance


def test_a_beam_of_all_finds_the_best_short_text(dataset):
    """Two signs can follow the first character: 風, then the end, or the end at once."""
    signs = Signs(characters=len(dataset.vocabulary))
    model = CourseModel(Cell.RNN, signs).eval()
    for p in model.parameters():
        p.data.zero_()
    wind = dataset.vocabulary.index("風")
    model.out.bias.data.fill_(-30.0)
    model.out.bias.data[wind], model.out.bias.data[signs.end] = math.log(0.4), math.log(0.6)
    (text,) = recite(model, dataset.vocabulary, ["春"], Manner(beam=3), seed=0)
    scores = {
        length: (length * math.log(0.4) + math.log(0.6)) / length_penalty(length + 2)
        for length in range(5)
    }
    assert text == "春" + "風" * max(scores, key=lambda length: scores[length])


def test_the_next_line_is_made_of_characters(dataset, model):
    tokens = dataset.select(Split.TRAIN, Era)[FormName.WUJUE].tokens[:3]
    lines = course.next_lines(model, FormName.WUJUE, tokens, 1)
    assert lines.shape == (3, 5)
    assert 0 < int(lines.min()) <= int(lines.max()) < len(dataset.vocabulary)


# --- ours -----------------------------------------------------------------------------------


def test_poems_come_in_the_order_asked_and_a_refusal_leaves_a_gap(tmp_path):
    asks = [
        Ask(form=FormName.WUJUE, opening="月", seed=1),
        Ask(form=FormName.WUJUE, opening="春山寒山紅", seed=2),
        Ask(form=FormName.QIJUE, opening="風", seed=3),
    ]
    found = ours.write(small_checkpoint(tmp_path), asks, temperature=1.0, candidates=1)
    assert [poem and poem.lines[0][0] for poem in found] == ["月", None, "風"]


def test_a_mixture_of_one_model_scores_as_it_does_and_of_two_no_worse_than_the_mean(
    dataset, tmp_path
):
    one, two = (small_checkpoint(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    part = dataset.select(Split.TRAIN, [Era.TANG])[FormName.QILU]
    alone, other, both = (
        ours.score_together(models, FormName.QILU, part, told=False).nats
        for models in ([one], [two], [one, two])
    )
    expected = score(one.model(), FormName.QILU, part, unknown_types=one.unknown_types)
    assert alone == pytest.approx(expected.nats, rel=1e-5)
    assert both <= (alone + other) / 2 + 1e-3


def test_the_line_to_be_continued_is_not_read(dataset, tmp_path):
    model = small_checkpoint(tmp_path).model()
    tokens = dataset.select(Split.TRAIN, Era)[FormName.WUJUE].tokens[:4].copy()
    lines = ours.next_lines(model, FormName.WUJUE, tokens, 1)
    tokens[:, 5:] = 1
    assert torch.equal(lines, ours.next_lines(model, FormName.WUJUE, tokens, 1))


# --- figures and pages ----------------------------------------------------------------------


def test_a_figure_is_measured_once_and_anew_when_told(dataset, tmp_path):
    pack = tmp_path / "pack.npz"
    dataset.save(pack)
    part = Part(name="next/another", measure="tang_next_line", arguments={})
    folder = Folder(tmp_path / "figures", dataset.fingerprint)
    folder.put(part, {"bleu_1": 2.0})
    told: list[str] = []
    known = measure_all([part], folder, pack, tell=told.append)
    assert (known, told) == ({part.name: {"bleu_1": 2.0}}, [])
    measure_all([part], folder, pack, again=["next"], processes=1, tell=told.append)
    found = folder.get(part)
    assert len(told) == 1
    assert found is not None
    assert 0 <= found["bleu_1"] <= 1


def test_figures_of_other_poems_or_arguments_are_not_taken(tmp_path):
    part = Part(name="rules", measure="our_rules", arguments={"count": 1})
    folder = Folder(tmp_path, "one")
    folder.put(part, {"poems": 1})
    assert Folder(tmp_path, "other").get(part) is None
    assert folder.get(replace(part, arguments={"count": 2})) is None
    assert folder.get(part) == {"poems": 1}


def test_openings_are_the_commonest_first_characters_of_tang(dataset):
    heads = openings(dataset, 3)
    firsts = [
        dataset.vocabulary.chars[index]
        for part in dataset.select(Split.TRAIN, [Era.TANG]).values()
        for index in part.tokens[:, 0].tolist()
    ]
    assert [firsts.count(head) for head in heads] == sorted(
        (firsts.count(head) for head in set(firsts)), reverse=True
    )[:3]


def test_everything_is_measured_and_printed(tmp_path, monkeypatch):
    poems = by_rule(800, seed=5) + by_rule(80, seed=6, era=Era.SONG)
    dataset = build(poems, min_count=1)  # large enough for test poems of every form
    for name, few in (("SAMPLE", 8), ("OPENINGS", 2), ("SAME_OPENING", 2), ("SEARCHED", 1)):
        monkeypatch.setattr(measures, name, few)
    monkeypatch.setattr(report, "OPENINGS", 2)
    dataset.save(tmp_path / "pack.npz")
    training = Training(Cell.LSTM, dataset, tmp_path / "course", share=0.1)
    training.run(on_step=lambda _step: None)
    plan = Plan(
        models={
            cell: write_model(tmp_path, cell, dataset=dataset) for cell in (Cell.GRU, Cell.LSTM)
        },
        baselines={"course lstm": tmp_path / "course"},
        count=2,
        chosen=1,
        candidates=2,
        engine="this",
    )
    bench = Bench(tmp_path / "pack.npz")
    figures = {
        part.name: getattr(measures, part.measure)(bench, **json.loads(json.dumps(part.arguments)))
        for part in plan.parts()
    }
    page = quality_page(figures, plan.models, candidates=2)
    for row in ("| gru + lstm |", "| 5-gram, Tang |", "| course lstm, beam 5 |", "| shuffled |"):
        assert row in page
    samples = samples_page(figures, plan.models, candidates=2)
    assert samples.count("gru: ") == samples.count("lstm: ") == len(FormName)
