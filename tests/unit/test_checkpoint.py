"""Checkpoints: what is refused, and what is never lost."""

import json
import shutil
from dataclasses import fields as fields_of
from datetime import UTC, datetime

import pytest
import torch

from engine import checkpoint
from engine.errors import DamagedError, MismatchError, MissingError
from tests.fakes.models import write_model


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models"))


@pytest.fixture
def folder(written, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(written, tmp_path / written.name)


def resign(folder, name):
    """Make the manifest agree with a file that was changed on purpose."""
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["sha256"][name] = checkpoint._sha256((folder / name).read_bytes())
    (folder / "MANIFEST.json").write_bytes(checkpoint._to_json(manifest))


def test_what_is_saved_is_loaded_again(written):
    loaded = checkpoint.load(written)
    assert loaded.id == written.name
    assert loaded.shape.vocabulary == len(loaded.vocabulary)
    assert loaded.report == {"test": {"perplexity": 1000.0}}
    again = checkpoint.load(written)
    assert all(torch.equal(loaded.weights[name], again.weights[name]) for name in loaded.weights)


def test_the_name_tells_cell_time_and_weights(written, tmp_path):
    cell, moment, digest = written.name.split("-")
    assert (cell, len(digest)) == ("gru", 8)
    assert datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)


@pytest.mark.parametrize(
    "name",
    [
        "weights.safetensors",
        "config.json",
        "vocabulary.txt",
        "tradition.zip",
        "critic.safetensors",
        "theme.safetensors",
    ],
)
def test_one_flipped_bit_is_refused_with_the_files_name(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DamagedError, match=name):
        checkpoint.load(folder)


def test_a_missing_file_and_a_missing_manifest_are_told_apart(folder):
    (folder / "config.json").unlink()
    with pytest.raises(DamagedError):
        checkpoint.load(folder)
    (folder / "MANIFEST.json").unlink()
    with pytest.raises(MissingError):
        checkpoint.load(folder)


@pytest.mark.parametrize(("name", "flipped"), [(b"critic", b"critib"), (b"theme", b"themd")])
def test_a_manifest_that_is_silent_about_a_part_by_one_flipped_bit_is_refused(
    folder, name, flipped
):
    path = folder / "MANIFEST.json"
    path.write_bytes(path.read_bytes().replace(name, flipped))
    with pytest.raises(DamagedError, match="manifest"):
        checkpoint.load(folder)


def saved_with(parent, **parts):
    """A sound checkpoint, but for some of its parts."""
    good = checkpoint.load(write_model(parent))
    fields = {field.name: getattr(good, field.name) for field in fields_of(good)} | parts
    del fields["id"]
    return checkpoint.save(parent / "changed", **fields)


def test_the_same_checkpoint_saved_twice_is_left_as_it_is(tmp_path):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    first = saved_with(tmp_path, now=now)
    before = {path: path.stat().st_mtime_ns for path in first.iterdir()}
    assert saved_with(tmp_path, now=now) == first
    assert {path: path.stat().st_mtime_ns for path in first.iterdir()} == before
    with pytest.raises(OSError, match=first.name):
        saved_with(tmp_path, now=now, report={"another": 1})


@pytest.mark.parametrize(
    ("part", "name"), [("weights", "bias"), ("critic", "judge.bias"), ("theme", "state.bias")]
)
def test_a_weight_that_is_not_a_number_is_refused(part, name, written, tmp_path):
    weights = getattr(checkpoint.load(written), part)
    damaged = {**weights, name: torch.full_like(weights[name], torch.nan)}
    with pytest.raises(DamagedError, match=name):
        checkpoint.load(saved_with(tmp_path, **{part: damaged}))


def test_an_encoder_of_themes_for_another_decoder_is_refused(written, tmp_path):
    whole = checkpoint.load(written).theme
    assert whole is not None
    weights = {**whole, "state.bias": whole["state.bias"][:-1]}
    with pytest.raises(MismatchError, match="shapes"):
        checkpoint.load(saved_with(tmp_path, theme=weights))


def test_critic_and_encoder_of_themes_may_be_absent(tmp_path):
    loaded = checkpoint.load(saved_with(tmp_path, critic=None, theme=None))
    assert (loaded.critic, loaded.theme) == (None, None)


def test_a_vocabulary_of_another_size_is_refused(folder):
    path = folder / "vocabulary.txt"
    path.write_text(path.read_text(encoding="utf-8") + "龘\n", encoding="utf-8")
    resign(folder, path.name)
    with pytest.raises(MismatchError, match="vocabulary"):
        checkpoint.load(folder)


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["shape"]["hidden"] += 1
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    resign(folder, "config.json")
    with pytest.raises(MismatchError, match="shapes"):
        checkpoint.load(folder)


def test_a_pickle_in_the_place_of_weights_is_not_run(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save(Trap(), folder / "weights.safetensors")
    resign(folder, "weights.safetensors")
    with pytest.raises(MismatchError):
        checkpoint.load(folder)
    assert not (tmp_path / "sprung").exists()
