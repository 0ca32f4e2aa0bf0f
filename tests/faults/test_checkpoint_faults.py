"""Faults 26 and 27: a kill or a full disk while a checkpoint is saved; a checkpoint damaged."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from random import Random

from engine import checkpoint
from engine.errors import CheckpointError
from engine.jobs import Cell
from engine.registry import Registry
from tests.fakes.models import write_model

_SAVER = """
import sys
from pathlib import Path
from engine.jobs import Cell
from engine.registry import Registry
from tests.fakes.models import small_dataset, write_model
folder, data, seed = Path(sys.argv[1]), small_dataset(), 0
print("ready", flush=True)
while True:
    seed += 1
    Registry(folder).promote(write_model(folder, Cell.GRU, seed=seed, dataset=data).name)
"""
_KILLS = 12


def saving(folder):
    """A process that writes and promotes checkpoints without end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SAVER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_kill_while_saving_leaves_the_champion_intact(tmp_path):
    random, intact = Random(26), 0
    registry = Registry(tmp_path, bundled=tmp_path / "none")
    registry.promote(write_model(tmp_path).name)
    process = saving(tmp_path)
    for _ in range(_KILLS):
        # Not a wait for a condition: the moment of the kill is what the test draws.
        time.sleep(random.uniform(0.02, 0.25))
        process.send_signal(signal.SIGSTOP)
        intact += checkpoint.load(registry.champion(Cell.GRU)).id.startswith("gru-")
        process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    process.stdout.close()
    assert checkpoint.load(registry.champion(Cell.GRU))
    for path in registry.checkpoints():
        checkpoint.load(path)
    print(f"fault 26: champion intact {intact}/{_KILLS} stops and after the kill, no half ones")
    assert intact == _KILLS


def test_a_full_disk_while_saving_leaves_the_champion_intact(tmp_path):
    registry = Registry(tmp_path, bundled=tmp_path / "none")
    registry.promote(write_model(tmp_path).name)
    limit = 20_000  # bytes a file may have: less than the weights need

    def shrink():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = subprocess.run(
        [sys.executable, "-c", _SAVER, str(tmp_path)],
        preexec_fn=shrink,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert process.returncode != 0
    assert checkpoint.load(registry.champion(Cell.GRU))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".gru-")] == []
    print("fault 26: full disk: champion intact, nothing left behind")


def test_every_damage_is_refused(tmp_path):
    random = Random(27)
    good = write_model(tmp_path)
    names = sorted(path.name for path in good.iterdir())
    loaded = 0
    for case in range(300):
        folder = shutil.copytree(good, tmp_path / "damaged")
        path = folder / random.choice(names)
        _damage(path, case % 4, random)
        try:
            checkpoint.load(folder)
            loaded += 1
        except CheckpointError:
            pass
        shutil.rmtree(folder)
    print(f"fault 27: loaded {loaded} of 300 damaged checkpoints")
    assert loaded == 0


def _damage(path, kind, random):
    data = bytearray(path.read_bytes())
    place = random.randrange(len(data))
    if kind == 0:
        data[place] ^= 1 << random.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        block = slice(place, min(len(data), place + 4096))
        data[block] = bytes(len(data[block]))
    else:
        data = bytearray(b"\x80\x04cos\nsystem\n")
    path.write_bytes(data)
