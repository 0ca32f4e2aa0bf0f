"""Training by several processes: real ones, which speak gloo over loopback."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine import checkpoint
from tests.fakes import rank
from tests.fakes.models import small_dataset
from tests.fakes.poems import by_rule
from tests.fakes.ports import free_port
from trainer.corpus import Era
from trainer.dataset import build
from trainer.distributed import Team
from trainer.fit import Run, TrainingError

PROCESSES = 3  # of two, sums would be the same in any order
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `torchrun` left behind of two processes that trained several runs."""
    found = tmp_path_factory.mktemp("compare")
    small_dataset().save(found / "data.npz")
    here = ("--standalone", f"--nproc-per-node={PROCESSES}")
    subprocess.run(
        [*TORCHRUN, *here, "-m", "tests.fakes.rank", "compare", str(found)],
        check=True,
        env={**os.environ, **LOOPBACK},
        stderr=subprocess.DEVNULL,
    )
    return found


@pytest.fixture(scope="module")
def results(folder):
    """What each process ended with."""
    return [load_file(folder / f"{number}.safetensors") for number in range(PROCESSES)]


def part(result, name):
    return {
        key.removeprefix(f"{name}/"): value
        for key, value in result.items()
        if key.startswith(f"{name}/")
    }


def test_several_processes_take_the_steps_that_one_would(results, tmp_path):
    alone = Run(rank.CERTAIN, small_dataset(), tmp_path)
    expected = {f"gradients/{name}": p for name, p in rank.train(alone).items()}
    expected |= {f"certain/{name}": p for name, p in rank.outcome(alone).items()}
    del expected["certain/random"]
    torch.testing.assert_close(
        part(results[0], "gradients"), part(expected, "gradients"), rtol=1e-5, atol=1e-6
    )
    found = part(results[0], "certain")
    del found["random"]
    torch.testing.assert_close(found, part(expected, "certain"), rtol=1e-3, atol=1e-4)


def test_a_resumed_run_ends_in_the_same_bits_in_every_process(results):
    for result in results:
        assert int(result["began"]) == rank.STOP
        whole, resumed = part(result, "whole"), part(result, "resumed")
        assert whole.keys() == resumed.keys()
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_processes_have_the_same_weights_and_draw_different_numbers(results):
    first, *others = (part(result, "whole") for result in results)
    for other in others:
        assert [name for name in first if not torch.equal(first[name], other[name])] == ["random"]


def test_a_run_of_several_is_not_gone_on_with_by_one(folder):
    with pytest.raises(TrainingError, match="a run of 3 processes, not 1"):
        Run(rank.CERTAIN, small_dataset(), folder / "certain")


def test_processes_that_were_given_different_data_all_refuse(folder):
    refusals = {(folder / f"{number}.txt").read_text() for number in range(PROCESSES)}
    assert len(refusals) == 1
    assert "different corpora" in refusals.pop()


@pytest.mark.parametrize(
    "fate",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="frozen", marks=pytest.mark.only_by_make_faults),
    ],
)
def test_a_process_that_is_gone_ends_the_other(fate, tmp_path):
    """Without `torchrun` above them: on another host there is none that would see it."""
    small_dataset().save(tmp_path / "data.npz")
    with two_processes(tmp_path) as (first, second):
        for process in (first, second):
            assert process.stdout.readline() == f"{rank.BEGUN}\n"
        second.send_signal(fate)
        _, said = first.communicate(timeout=4 * rank.PATIENCE.total_seconds())
        assert first.returncode != 0
        assert "Error" in said


@contextmanager
def two_processes(folder):
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.rank", "endless", str(folder)],
            env={**os.environ, **LOOPBACK, **address, "RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_two_hosts_without_a_common_disk_make_one_checkpoint(tmp_path):
    poems = by_rule(24, seed=1) + by_rule(4, seed=2, era=Era.SONG)
    build(poems, min_count=1).save(tmp_path / "data.npz")
    meeting = ("--master-addr=127.0.0.1", f"--master-port={free_port()}")
    hosts = [
        subprocess.Popen(
            [
                *TORCHRUN,
                *("--nnodes=2", f"--node-rank={number}", *meeting),
                *("-m", "--", "trainer", "train", "gru", "--threads", "1"),
                *("--data", str(tmp_path / "data.npz"), "--run", str(tmp_path / f"run-{number}")),
            ],
            env={**os.environ, **LOOPBACK, "YUEFU_DATA": str(tmp_path / f"host-{number}")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    said = [host.communicate() for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said[0][1]
    path = Path(said[0][0].strip())
    assert path.parent == tmp_path / "host-0" / "models"
    assert checkpoint.load(path).report["steps"] > 0
    assert said[1][0] == ""
    assert [run.name for run in tmp_path.glob("run-*")] == ["run-0"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 5, 36])
def test_a_batch_is_shared_out_whole(size, rows):
    taken, parts = [], 0.0
    for number in range(size):
        which, share = Team(rank=number, size=size).share(rows)
        mine = list(range(rows))[which]
        assert mine  # every process takes part, be it for nothing
        assert share == (len(mine) / rows if share else 0)
        taken += mine if share else []
        parts += share
    assert taken == list(range(rows))
    assert parts == pytest.approx(1)
