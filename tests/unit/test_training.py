"""Corpus, dataset, loss and training, on poems made by rule."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.jobs import Cell
from engine.verse.forms import FormName
from engine.vocabulary import RHYME_INDEX
from tests.fakes.models import small_dataset
from tests.fakes.poems import WUJUE, by_rule, entry, write_corpus
from trainer import corpus
from trainer.corpus import CorpusError, CorpusPoem, Era, Split
from trainer.dataset import Dataset, DatasetError, arrays, build
from trainer.evaluate import score_forms, tone_labels, total
from trainer.fit import Run, TrainingError
from trainer.loss import full_cross_entropy, sampled_cross_entropy
from trainer.recipe import Recipe, Stage

SMALL = Recipe(
    cell=Cell.GRU,
    embedding=16,
    hidden=24,
    batch_characters=400,
    warmup_steps=5,
    evaluate_every=10,
    precision="fp32",
    stages=(
        Stage(eras=(Era.TANG, Era.SONG), epochs=1, negatives=64),
        Stage(eras=(Era.TANG,), epochs=1, rate=(1.0, 0.1)),
    ),
)


@pytest.fixture(scope="module")
def dataset():
    return small_dataset()


# --- corpus ---------------------------------------------------------------------------------


def test_a_corpus_is_read_by_era_and_form(tmp_path):
    census = corpus.Census()
    poems = list(corpus.read(write_corpus(tmp_path, tang=8, song=4), census))
    assert [poem.era for poem in poems] == [Era.TANG] * 8 + [Era.SONG] * 4
    assert census.counts[Era.TANG, FormName.QILU] == 2


@pytest.mark.parametrize(
    ("paragraphs", "fate"),
    [
        (["夜雨敲窗急，孤燈照壁明。"], "other"),
        (["夜雨敲□急，孤燈照壁明。", "故人千里外，何處聽潮聲。"], "dirty"),
        (["夜雨敲窗急，孤燈照壁明。", "故人千里，何處聽潮聲。"], "other"),
    ],
)
def test_texts_that_are_not_clean_verse_are_left_out(paragraphs, fate):
    assert corpus.clean(paragraphs) == fate


def test_glyphs_are_folded():
    kept = corpus.clean(["夜雨敲牕急，孤燈照壁明。", "故人千里外，何處聽潮聲。"])
    assert kept[1] == WUJUE


def poem(*lines, era=Era.TANG):
    return CorpusPoem(era=era, form=by_rule(1)[0].form, lines=lines)


def test_poems_that_share_two_lines_are_one_cluster_and_the_first_stays():
    first = poem(*WUJUE)
    variant = poem(*WUJUE[:2], "別後無消息", "江南草又生", era=Era.SONG)
    linked = poem("別後無消息", "江南草又生", "一聲何處笛", "吹到月三更", era=Era.SONG)
    single = poem(WUJUE[0], "新涼入小城", "一聲何處雁", "吹到月三更")
    kept = corpus.without_duplicates([first, variant, linked, single])
    assert kept == [first, single]


def test_the_split_depends_on_the_poem_alone_and_is_near_its_shares():
    poems = by_rule(1500)
    assert [p.split for p in poems] == [p.split for p in by_rule(1500)]
    shares = {split: sum(p.split is split for p in poems) / len(poems) for split in Split}
    assert shares[Split.TEST] == pytest.approx(0.03, abs=0.015)
    assert shares[Split.DEV] == pytest.approx(0.02, abs=0.015)


def test_a_fetch_from_a_folder_is_verified_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    source = write_corpus(tmp_path / "source")
    names = [f"{corpus.FOLDER}/poet.{era}.0.json" for era in Era]
    known = {name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in names}
    monkeypatch.setattr(corpus, "checksums", lambda: {**known, "全唐诗/absent.json": "0" * 64})
    target = tmp_path / "target"
    assert corpus.available(source) == known
    assert list(corpus.fetch(target, known, source=source)) == names
    (target / names[0]).write_text("half a fi", encoding="utf-8")
    assert list(corpus.fetch(target, known, source=source)) == names
    assert (target / names[0]).read_bytes() == (source / names[0]).read_bytes()


def test_a_file_of_another_checksum_is_refused_by_name(tmp_path):
    source = write_corpus(tmp_path / "source")
    name = f"{corpus.FOLDER}/poet.tang.0.json"
    with pytest.raises(CorpusError, match=r"poet\.tang\.0"):
        list(corpus.fetch(tmp_path / "target", {name: "0" * 64}, source=source))


def test_every_file_of_the_corpus_is_pinned():
    assert len(corpus.checksums()) >= 311
    assert all(len(digest) == 64 for digest in corpus.checksums().values())


def test_an_empty_folder_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(CorpusError, match="corpus fetch"):
        list(corpus.read(tmp_path))


def test_a_broken_file_is_refused_by_name(tmp_path):
    (tmp_path / "bad.json").write_text('[{"no": "paragraphs"}]', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"bad\.json"):
        list(corpus.read_file(tmp_path / "bad.json", Era.TANG))


# --- dataset --------------------------------------------------------------------------------


def test_a_dataset_survives_its_file(dataset, tmp_path):
    dataset.save(tmp_path / "data.npz")
    again = Dataset.load(tmp_path / "data.npz")
    assert again.fingerprint == dataset.fingerprint
    assert again.priors == dataset.priors
    assert again.vocabulary.chars == dataset.vocabulary.chars


def test_a_file_that_is_no_dataset_is_refused(tmp_path):
    (tmp_path / "data.npz").write_bytes(b"PK nothing")
    with pytest.raises(DatasetError, match=r"data\.npz"):
        Dataset.load(tmp_path / "data.npz")


def test_rhymes_and_priors_are_those_of_the_poems(dataset):
    verses = arrays([poem(*WUJUE)], dataset.vocabulary)[FormName.WUJUE]
    assert verses.rhymes.tolist() in ([RHYME_INDEX["庚"]], [0])
    for form in FormName:
        assert sum(dataset.priors[form].openings.values()) > 0
        assert set(dataset.priors[form].rhymes) <= set(RHYME_INDEX)


def test_indices_are_those_of_the_vocabulary(dataset):
    found = by_rule(4, seed=1)
    rows = arrays(found, dataset.vocabulary)
    for each in found:
        row = rows[each.form.name].tokens[0].tolist()
        assert dataset.vocabulary.decode(row) == each.text


# --- loss -----------------------------------------------------------------------------------


def loss_arguments():
    torch.manual_seed(0)
    features = torch.randn(1500, 8, requires_grad=True)
    weight = (0.4 * torch.randn(40, 8)).requires_grad_()
    bias = torch.randn(40, requires_grad=True)
    return features, weight, bias, torch.randint(0, 40, (1500,))


def test_the_full_loss_and_its_gradient_are_torchs():
    features, weight, bias, targets = loss_arguments()
    ours = full_cross_entropy(features, weight, bias, targets)
    theirs = torch.nn.functional.cross_entropy(features @ weight.t() + bias, targets)
    torch.testing.assert_close(ours, theirs)
    leaves = (features, weight, bias)
    for mine, reference in zip(
        torch.autograd.grad(3 * ours, leaves), torch.autograd.grad(3 * theirs, leaves), strict=True
    ):
        torch.testing.assert_close(mine, reference)


def test_the_sampled_loss_estimates_the_full_one():
    features, weight, bias, targets = loss_arguments()
    full = full_cross_entropy(features, weight, bias, targets)
    even = torch.full((40,), 1 / 40)
    drawn = [
        sampled_cross_entropy(features, weight, bias, targets, frequencies=even, negatives=400)
        for _ in range(20)
    ]
    mean = float(torch.stack(drawn).detach().mean())
    assert mean == pytest.approx(float(full.detach()), rel=0.03)


# --- training -------------------------------------------------------------------------------


def train(run, *, until=None):
    """Train to the end, or as if killed after step `until` and its save."""

    class Killed(BaseException):
        pass

    def on_step(step):
        if step == until:
            run.save()
            raise Killed

    try:
        run.train(lambda _measure: None, on_step=on_step, save_every=10**9)
    except Killed:
        return


def test_training_learns_what_comes_again_and_again(tmp_path):
    repeated = build(by_rule(12, seed=3) * 12, min_count=1)
    long = Stage(eras=(Era.TANG,), epochs=8)
    run = Run(replace(SMALL, learning_rate=0.02, stages=(long,)), repeated, tmp_path)
    train(run)
    assert run.progress.measures[-1].loss < run.progress.measures[0].loss - 1


@pytest.mark.parametrize("cell", [Cell.GRU, Cell.LSTM])
def test_a_killed_run_goes_on_to_the_same_bits(cell, dataset, tmp_path):
    recipe = replace(SMALL, cell=cell)
    whole = Run(recipe, dataset, tmp_path / "whole")
    train(whole)
    for kill in (13, whole.steps - 3):
        folder = tmp_path / f"killed-{kill}"
        train(Run(recipe, dataset, folder), until=kill)
        resumed = Run(recipe, dataset, folder)
        assert resumed.progress.step == kill
        train(resumed)
        assert resumed.progress == whole.progress
        for name, weight in whole.best.items():
            assert torch.equal(weight, resumed.best[name])


def test_a_folder_of_another_recipe_is_refused(dataset, tmp_path):
    Run(SMALL, dataset, tmp_path).save()
    with pytest.raises(TrainingError, match="another recipe"):
        Run(replace(SMALL, hidden=32), dataset, tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_run(dataset, tmp_path):
    run = Run(SMALL, dataset, tmp_path)
    run.model.bias.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match="nan"):
        train(run)


def test_a_run_that_gets_no_better_stops_early(dataset, tmp_path):
    stage = Stage(eras=(Era.TANG,), epochs=4, rate=(0.0, 0.0))
    recipe = replace(SMALL, stages=(stage,), evaluate_every=2, patience=3)
    run = Run(recipe, dataset, tmp_path)
    train(run)
    assert run.progress.step == 2 * (1 + 3)


# --- evaluation -----------------------------------------------------------------------------


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_bias(dataset, tmp_path):
    """With zero weights every character has its unigram probability, whatever the place."""
    run = Run(SMALL, dataset, tmp_path)
    for name, p in run.model.named_parameters():
        if name != "bias":
            p.data.zero_()
    verses = dataset.select(Split.TRAIN, [Era.TANG])
    scored = total(score_forms(run.model, verses, unknown_types=1))
    logs = run.model.bias.detach().log_softmax(0)
    tokens = np.concatenate([part.tokens.flatten() for part in verses.values()])
    expected = math.exp(-float(logs[torch.from_numpy(tokens.astype("int64"))].mean()))
    assert scored.perplexity == pytest.approx(expected, rel=1e-4)
    assert scored.characters == len(tokens)


def test_an_unknown_character_is_charged_for_how_many_there_are(dataset, tmp_path):
    run = Run(SMALL, dataset, tmp_path)
    strange = arrays([poem("曌雨敲窗急", *WUJUE[1:])], dataset.vocabulary)
    few = total(score_forms(run.model, strange, unknown_types=1))
    many = total(score_forms(run.model, strange, unknown_types=100))
    assert few.unknown == many.unknown >= 1
    assert many.nats - few.nats == pytest.approx(few.unknown * math.log(100))


def test_being_told_tones_changes_the_score(dataset, tmp_path):
    run = Run(SMALL, dataset, tmp_path)
    verses = dataset.select(Split.TRAIN, [Era.TANG])
    labels = tone_labels(dataset.vocabulary)
    untold = total(score_forms(run.model, verses, unknown_types=1))
    told = total(score_forms(run.model, verses, unknown_types=1, tones=labels))
    assert told.nats != untold.nats


def test_an_entry_of_the_fake_corpus_is_read_back(tmp_path):
    made = by_rule(1)[0]
    (tmp_path / "one.json").write_text(json.dumps([entry(made)]), encoding="utf-8")
    assert [p.lines for p in corpus.read_file(tmp_path / "one.json", Era.TANG)] == [made.lines]
