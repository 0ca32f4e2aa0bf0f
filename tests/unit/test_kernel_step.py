"""The step of a CPU against torch's, in every cell and precision; no row notices another."""

import numpy as np
import pytest
import torch

from engine import kernel_step, kernels, linear
from engine.jobs import Cell
from engine.kernel_step import KernelStep
from engine.linear import Precision
from engine.rows import LONGEST, MASK, Rows
from engine.runner import Runner
from engine.sampler import MIN_P, sample
from engine.sequence import make_sequence
from engine.tensor_step import TensorStep
from engine.verse.forms import FormName
from engine.vocabulary import RHYME_INDEX
from tests.fakes.models import job, small_checkpoint


@pytest.fixture(scope="module", params=list(Cell))
def checkpoint(request, tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("model"), request.param)


def sequences(checkpoint, count, **fields):
    cell = checkpoint.shape.cell
    return [
        make_sequence(job(n, cell=cell, **fields), checkpoint.vocabulary, checkpoint.priors)
        for n in range(count)
    ]


def by_torch(runner):
    """The same runner, but that its steps are torch's."""
    runner._step = TensorStep(runner._folded, runner._rows)
    return runner


def written(runner, chosen):
    """What comes of sequences of one form."""
    rows = [runner.join(one) for one in chosen]
    for _ in range(chosen[0].length):
        runner.step()
    return [runner.words(row, chosen[0].length) for row in rows]


@pytest.mark.parametrize(
    "fields",
    [{}, {"opening": "月", "theme": "風雪"}, {"unlike": "山" * 28}, {"temperature": 0.3}],
    ids=["plain", "opening and theme", "rewriting", "cold"],
)
def test_it_writes_what_torchs_operations_write(checkpoint, fields):
    chosen = sequences(checkpoint, 5, form=FormName.QIJUE, **fields)
    ours = written(Runner(checkpoint, slots=8), chosen)
    theirs = written(by_torch(Runner(checkpoint, slots=8)), chosen)
    assert [one.indices for one in ours] == [one.indices for one in theirs]
    assert all(one.sound for one in ours)
    expected = [one.logprob for one in theirs]
    assert [one.logprob for one in ours] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("precision", list(Precision))
def test_a_row_is_the_same_to_the_bit_whoever_its_neighbours_are(checkpoint, precision):
    if precision not in linear.available():
        pytest.skip(f"this CPU has no {precision}")
    chosen = sequences(checkpoint, 7)
    among = written(Runner(checkpoint, slots=8, precision=precision), chosen)
    alone = written(Runner(checkpoint, slots=8, precision=precision), chosen[3:4])
    assert alone == among[3:4]


@pytest.mark.parametrize("precision", list(Precision))
def test_a_row_that_is_not_a_number_is_marked_and_no_other_notices(checkpoint, precision):
    """Fault 10, in every precision: int8 would make a number of anything."""
    if precision not in linear.available():
        pytest.skip(f"this CPU has no {precision}")
    chosen = [sequences(checkpoint, 1, rhyme=rhyme)[0] for rhyme in "東支先"]
    healthy = written(Runner(checkpoint, slots=4, precision=precision), chosen)
    runner = Runner(checkpoint, slots=4, precision=precision)
    assert isinstance(runner._step, KernelStep)
    runner._step._tables[-1][RHYME_INDEX["支"]] = np.nan
    rows = [runner.join(one) for one in chosen]
    for _ in range(chosen[0].length):
        runner.step()
    found = [runner.words(row, chosen[0].length) for row in rows]
    assert (found[0], found[2]) == (healthy[0], healthy[2])
    assert not found[1].sound


def test_a_row_that_may_write_nothing_is_marked(checkpoint):
    runner = Runner(checkpoint, slots=4)
    chosen = sequences(checkpoint, 2)
    runner.join(chosen[0])
    with torch.inference_mode():
        runner._rows.masks.fill_(False)
    runner.step()
    assert not runner.words(0, 1).sound


def test_a_temperature_that_is_no_number_marks_its_row_and_ends_nothing(checkpoint):
    runner = Runner(checkpoint, slots=4)
    for one in sequences(checkpoint, 2):
        runner.join(one)
    with torch.inference_mode():
        runner._rows.temperature[0] = torch.nan
    runner.step()
    assert [runner.words(row, 1).sound for row in range(2)] == [False, True]


def test_samples_follow_the_distribution_cut_at_min_p():
    """Over evenly spaced numbers, the kernel draws what `engine.sampler.sample` does."""
    torch.manual_seed(1)
    logits = torch.randn(1, 200) * 3
    count = 4_000
    numbers = (torch.arange(count) + 0.5) / count
    expected = sample(logits.expand(count, -1).clone(), numbers)
    choices, tops = torch.full((256,), -torch.inf), torch.empty(4)
    choices[:200] = logits[0]
    best = kernels._tops(choices.numpy(), np.array([[0, 4]]), tops.numpy())
    drawn = [
        int(kernels._draw(choices.numpy(), tops.numpy(), best, 1.0, float(number)))
        for number in numbers
    ]
    assert float((torch.tensor(drawn) == expected).float().mean()) > 0.999
    assert float(logits[0, list(set(drawn))].min()) >= float(best) + torch.tensor(MIN_P).log()


@torch.inference_mode()
@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("multiply", [linear.linear, linear.by_library])
def test_products_are_right_to_the_precision_that_they_claim(precision, bounded, multiply):
    if precision not in linear.available():
        pytest.skip(f"this CPU has no {precision}")
    weight, bias = torch.randn(300, 64), torch.randn(300)
    x = (torch.rand(9, 64) * 2 - 1) * (1 if bounded else 7)
    expected = torch.nn.functional.linear(x, weight, bias)
    found = torch.from_numpy(multiply(precision, weight, bias, bounded=bounded)(x.numpy()))
    off = (found - expected).abs().amax() / expected.abs().amax()
    assert off <= linear.TOLERANCE[precision]


def test_a_cpu_without_avx512_writes_the_same_through_a_library(checkpoint, monkeypatch):
    chosen = sequences(checkpoint, 5)
    expected = written(Runner(checkpoint, slots=8), chosen)
    for module in (linear, kernel_step):
        monkeypatch.setattr(module, "in_tiles", lambda precision: False)
    found = written(Runner(checkpoint, slots=8), chosen)
    assert [one.indices for one in found] == [one.indices for one in expected]


@torch.inference_mode()
@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize("bounded", [True, False])
def test_a_product_of_one_row_is_that_of_the_row_among_others_to_the_bit(precision, bounded):
    if precision not in linear.available():
        pytest.skip(f"this CPU has no {precision}")
    multiply = linear.linear(precision, torch.randn(300, 64), torch.randn(300), bounded=bounded)
    x = (torch.rand(11, 64) * 2 - 1).numpy()
    whole = multiply(x).copy()
    for first in range(len(x)):
        for last in range(first + 1, len(x) + 1):
            assert np.array_equal(multiply(x[first:last]), whole[first:last])


@torch.inference_mode()
@pytest.mark.parametrize("precision", list(Precision))
def test_a_product_spares_what_a_row_does_not_need_and_nothing_else(precision):
    if precision not in linear.available():
        pytest.skip(f"this CPU has no {precision}")
    weight, bias = torch.randn(300, 64), torch.randn(300)
    x = (torch.randn(11, 64) * 7).numpy()
    whole = linear.linear(precision, weight, bias, bounded=False)(x)
    needs = np.array([[True] * 5, [False, True, False, False, True], [False] * 5])
    kinds = np.array([0, 1, 1, 2, 1, 0, 1, 1, 1, 2, 1])
    found = linear.sparing(precision, weight, bias, reach=needs)(x, kinds)
    for row, kind in enumerate(kinds):
        needed = np.repeat(needs[kind], kernels.BLOCK)[:300]
        assert np.array_equal(found[row, :300][needed], whole[row][needed])


def test_a_step_looks_at_nothing_that_may_not_stand(checkpoint):
    """Whatever the logits of other blocks are, the poem and its probability are the same."""
    chosen = sequences(checkpoint, 5)
    expected = written(Runner(checkpoint, slots=8), chosen)
    runner = Runner(checkpoint, slots=8)
    step, rows = runner._step, runner._rows
    assert isinstance(step, KernelStep)
    needs = np.repeat(kernel_step.reach(rows.masks.numpy()), kernels.BLOCK, axis=1)
    assert 0.2 < needs[3:].mean() < 0.8
    for one in chosen:
        runner.join(one)
    for place in range(chosen[0].length):
        logits = step.expect().copy()
        masks = rows.numbers[: len(chosen), MASK + place].numpy()
        logits[~needs[masks, : logits.shape[1]]] = np.nan
        step.choose(logits)
    assert [runner.words(row, chosen[0].length) for row in range(5)] == expected


def test_what_this_machine_lacks_is_replaced_and_said(monkeypatch, capsys):
    monkeypatch.setattr(linear, "_suits", lambda precision: False)
    assert linear.pick("int8", "cpu") is Precision.FP32
    assert "engine.precision" in capsys.readouterr().out
    assert linear.pick("auto", "cpu") is Precision.FP32
    assert linear.pick("auto", "cuda") is Precision.BF16


def test_every_count_of_rows_has_a_batch(checkpoint):
    for slots in (1, 2, 5, 64, 70, 96, 200):
        rows = Rows(checkpoint, slots=slots, device=torch.device("cpu"))
        assert rows.batches == sorted(set(rows.batches))
        for rows.count in range(slots + 1):
            assert rows.count <= rows.batch <= slots


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device to record a graph on")
def test_a_recorded_step_writes_what_an_unrecorded_one_does(checkpoint):
    chosen = sequences(checkpoint, 5)
    recorded = written(Runner(checkpoint, slots=8, device="cuda"), chosen)
    expected = written(by_torch(Runner(checkpoint, slots=8)), chosen)
    assert [one.indices for one in recorded] == [one.indices for one in expected]


def test_rows_on_a_device_of_its_own_memory_give_the_same_poems(checkpoint, monkeypatch):
    """What a GPU's rows do, but for the GPU: rows wait on the host, and are moved by torch."""
    fields = {"opening": "月", "theme": "風雪", "form": FormName.QIJUE}
    chosen = sequences(checkpoint, 5, **fields)
    expected = written(by_torch(Runner(checkpoint, slots=8)), chosen)
    monkeypatch.setattr("engine.rows.is_host", lambda device: False)
    runner = Runner(checkpoint, slots=8)
    assert all(isinstance(one, torch.Tensor) for one in runner._rows._row_wise)
    runner._step = TensorStep(runner._folded, runner._rows)
    assert written(runner, chosen) == expected
    runner.leave(1)
    assert runner.words(1, chosen[0].length) == expected[4]


def test_rows_beyond_those_in_use_do_no_harm(checkpoint):
    """A recorded step always takes a whole batch, also when the rest of it is long complete."""
    chosen = sequences(checkpoint, 2)
    expected = written(by_torch(Runner(checkpoint, slots=4)), chosen)
    runner = Runner(checkpoint, slots=4)
    step = TensorStep(runner._folded, runner._rows)
    for _ in range(3):
        for one in chosen:
            runner.join(one)
        for _ in range(chosen[0].length):
            with torch.inference_mode():
                step.advance(4)
        assert [runner.words(row, chosen[0].length) for row in range(2)] == expected
        runner.leave(1)
        runner.leave(0)
    assert 4 * chosen[0].length > LONGEST
