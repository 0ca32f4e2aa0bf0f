"""The ladder on a small model: every way writes, and the precisions agree."""

import pytest
import torch

from benchmarks import growth, ladder
from benchmarks.chart import draw_growth
from engine.bench import LENGTH
from engine.jobs import Cell
from engine.linear import Precision, available
from tests.fakes.models import small_checkpoint, small_dataset


@pytest.fixture(scope="module", params=list(Cell))
def checkpoint(request, tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("model"), request.param)


def test_every_rung_is_climbed(checkpoint):
    figures = ladder.climb(checkpoint, batch=2, rounds=1)
    assert len(figures) == 4 + 2 * len(available())
    assert figures[0].ratio == 1.0
    assert all(one.poems_per_second > 0 for one in figures)
    known = [one.of_peak for one in figures if one.of_peak is not None]
    assert len(known) == 2 * len(available())


def test_the_work_of_a_step_is_that_of_the_weights_that_it_multiplies_by(checkpoint):
    """Not of the first layer's inputs, nor of what they are made of: those are looked up."""
    model, looked_up = checkpoint.model(), ("characters", "above", "place", "tone", "rhyme")
    weights = {
        name: weight.numel()
        for name, weight in model.named_parameters()
        if weight.dim() == 2 and not name.startswith(looked_up) and name != "layers.0.weight_ih_l0"
    }
    softmax = model.characters.weight[:-1].numel()
    assert ladder.work(checkpoint.shape) == sum(weights.values()) + softmax


@torch.inference_mode()
def test_layers_stepped_one_by_one_read_what_the_whole_model_reads(checkpoint):
    """The course way and torch's layers differ in what they compute again, not in the outcome."""
    model = checkpoint.model()
    tools = ladder._Told(model, 2)
    tokens = torch.randint(1, model.shape.vocabulary, (2, LENGTH))
    whole = model(*tools.prefix(tokens[:, :-1], LENGTH))
    states = [None, None]
    for place in range(LENGTH):
        x = tools.embed(tokens[:, :place], place)
        for number, layer in enumerate(model.layers):
            x, states[number] = layer(x, states[number])
        torch.testing.assert_close(model.project(x[:, 0]), whole[:, place])


def test_precisions_diverge_little_and_the_coarser_the_more(checkpoint):
    nats = ladder.divergence(checkpoint, small_dataset(), 8)
    assert set(nats) == set(available()) - {Precision.FP32}
    assert all(0 < one < 0.01 for one in nats.values())


def test_growth_is_measured_at_every_size_and_drawn(tmp_path):
    checkpoint = small_checkpoint(tmp_path)
    sizes = {hidden: growth.resized(checkpoint, hidden) for hidden in (8, 16)}
    points = growth.measure(sizes, (1, 3), 1)
    assert [(one.hidden, one.batch) for one in points if one.precision is Precision.FP32] == [
        (8, 1),
        (8, 3),
        (16, 1),
        (16, 3),
    ]
    drawn = [{**vars(one), "rate": one.poems_per_second} for one in points]
    draw_growth(drawn, drawn, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text(encoding="utf-8").startswith("<?xml")
