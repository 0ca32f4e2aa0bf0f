"""`python -m engine` and `python -m trainer` as a person uses them, on small data."""

import json
import re
import subprocess
import sys

import pytest

from engine.jobs import Cell
from engine.linear import available
from engine.registry import Registry
from engine.verse.checker import check
from tests.fakes.models import write_model
from tests.fakes.poems import write_corpus


def run(*words, environment):
    return subprocess.run(
        [sys.executable, "-m", *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """An empty data folder with a small gru in the registry."""
    import os

    models = tmp_path / "models"
    path = write_model(models, Cell.GRU)
    Registry(models).promote(path.name)
    return {
        **os.environ,
        "YUEFU_DATA": str(tmp_path),
        "YUEFU_CORPUS": str(tmp_path / "corpus"),
        "YUEFU_THREADS": "1",
        "COLUMNS": "200",
    }


def test_compose_prints_the_documented_object_and_repeats_itself(environment):
    ask = ("engine", "compose", "月", "--form", "qijue", "--style", "gru", "--seed", "7", "--json")
    first, second = (run(*ask, environment=environment) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    poem = json.loads(first.stdout)
    names = "text lines form rhyme tones cell checkpoint seed logprob"
    assert list(poem) == names.split()
    assert (poem["form"], poem["cell"], poem["seed"]) == ("qijue", "gru", 7)
    assert poem["text"] == "{}，{}。{}，{}。".format(*poem["lines"])
    assert check(poem["lines"], opening="月").ok


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hello",), "Chinese characters"),
        (("月" * 8,), "7 characters"),
        (("春山寒山紅",), "character 4"),
        (("月", "--rhyme", "月"), "rhyme groups"),
        (("月", "--rhyme", "江", "--form", "qilu"), "too few characters"),
        (("--acrostic", "一二三"), "4 characters, or 8"),
        (("月", "--acrostic", "春夏秋冬"), "not both"),
        (("--acrostic", "ABCD"), "Chinese characters"),
        (("月", "--style", "rnn"), "no rnn model"),
    ],
)
def test_a_bad_ask_gets_one_clear_line(arguments, words, environment):
    done = run("engine", "compose", *arguments, environment=environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_what_needs_no_model_does_not_wait_for_torch(environment):
    code = "import sys, engine.__main__; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0


def test_the_speed_of_a_machine_is_told_for_each_precision_and_batch(environment):
    small = environment | {"YUEFU_SLOTS": "4", "YUEFU_CANDIDATES": "2"}
    asked = ("engine", "bench", "--style", "gru", "--rounds", "1", "--json")
    done = run(*asked, environment=small)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["precision"], one["batch"]) for one in found] == [
        (precision, batch) for precision in available() for batch in (1, 2, 4)
    ]
    assert all(one["poems_per_second"] > 0 for one in found)


def test_what_writes_is_compiled_beforehand_and_kept(environment, tmp_path):
    kept = tmp_path / "kept"
    done = run("engine", "compile", environment=environment | {"NUMBA_CACHE_DIR": str(kept)})
    assert done.returncode == 0, done.stderr
    (first, *_) = done.stdout.splitlines()
    assert re.fullmatch(rf"gru in {available()[0]}: \d+\.\d s", first)
    assert {path.name.split(".")[1].split("-")[0] for path in kept.rglob("*.nbi")} >= {
        "choose",
        "first_gru",
        "multiply",
    }


def test_a_damaged_checkpoint_is_refused_in_one_line(environment, tmp_path):
    (path,) = (tmp_path / "models").glob("gru-*/weights.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for command in (("compose", "月", "--style", "gru"), ("inspect", str(path.parent))):
        done = run("engine", *command, environment=environment)
        assert done.returncode == 2
        assert "damaged" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_inspect_says_what_each_checkpoint_is_though_another_cannot_be_used(environment):
    done = run("engine", "inspect", "rnn", "gru", "--json", environment=environment)
    assert json.loads(done.stdout)["cell"] == "gru"
    assert (done.returncode, "no rnn model" in done.stderr) == (2, True)


@pytest.mark.timeout(180)
def test_from_corpus_to_a_champion_by_hand(environment, tmp_path):
    """fetch --from, stats, pack, evaluate and promote on a corpus made for the test."""
    corpus = write_corpus(tmp_path / "corpus")
    stats = run("trainer", "corpus", "stats", "--json", environment=environment)
    assert json.loads(stats.stdout)["read"]["tang qijue"] == 20
    pack = tmp_path / "data.npz"
    assert run("trainer", "corpus", "pack", str(pack), environment=environment).returncode == 0
    poems = str(corpus / "全唐诗" / "poet.tang.0.json")
    done = run("trainer", "evaluate", "gru", "--poems", poems, "--json", environment=environment)
    figures = json.loads(done.stdout)
    assert {"perplexity", "characters", "oov_rate", "by_form"} <= set(figures)
    assert figures["characters"] == 20 * (20 + 28 + 40 + 56)
    listed = run("trainer", "models", "list", "--json", environment=environment)
    rows = json.loads(listed.stdout)
    (champion,) = (row["checkpoint"] for row in rows if row["role"] == "champion")
    again = run("trainer", "models", "promote", champion, environment=environment)
    assert again.returncode == 0


def test_models_have_roles_and_the_one_before_can_be_put_back(environment, tmp_path):
    registry = Registry(tmp_path / "models")
    first = registry.champion(Cell.GRU).name
    second, third = (write_model(registry.folder, seed=seed).name for seed in (2, 3))
    registry.promote(second)
    registry.challenge(third)
    rows = json.loads(run("trainer", "models", "list", "--json", environment=environment).stdout)
    roles = {row["checkpoint"]: row["role"] for row in rows}
    assert roles | {first: "previous", second: "champion", third: "challenger"} == roles
    assert "champion (bundled)" in roles.values()
    done = run("trainer", "models", "rollback", "gru", environment=environment)
    assert done.stdout == f"{first} is the gru champion again, in place of {second}\n"
    (registry.folder / second / "config.json").write_text("{}")
    done = run("trainer", "models", "rollback", "gru", environment=environment)
    assert done.returncode == 2
    assert "damaged" in done.stderr
    assert registry.champion(Cell.GRU).name == first


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("corpus", "stats"), "corpus fetch"),
        (("evaluate", "gru"), "--poems"),
        (("evaluate", "lstm-nowhere"), "no checkpoint"),
        (("models", "rollback", "lstm"), "no previous"),
        (("corpus", "fetch", "--from", "/nowhere"), "no corpus file"),
    ],
)
def test_the_trainer_refuses_in_one_clear_line(command, words, environment):
    done = run("trainer", *command, environment=environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
