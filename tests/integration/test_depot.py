"""A registry in a folder, and elsewhere: what one machine puts there, another finds."""

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
from pydantic import ValidationError

from engine import checkpoint
from engine.checkpoint import MANIFEST
from engine.depot import DepotError, Store
from engine.errors import DamagedError, UntrustedError
from engine.gauges import Gauges
from engine.jobs import Cell
from engine.registry import Aliases, NoModelError, Registry, StaleAliasError
from engine.reload import Casting
from engine.settings import EngineSettings
from engine.signing import Keyring, Signer
from engine.writer import Writer
from tests.fakes.models import write_model
from tests.fakes.stores import FakeS3

# With what they need they would make the lock longer by a quarter: not in it.
ELSEWHERE = [
    "memory",
    "fake_s3",
    pytest.param(
        "s3",
        marks=pytest.mark.skipif(
            not (find_spec("moto") and find_spec("s3fs")),
            reason="pip install s3fs 'moto[s3]' flask flask-cors",
        ),
    ),
]
elsewhere = pytest.mark.parametrize("url", ELSEWHERE, indirect=True)


@pytest.fixture(params=["folder", *ELSEWHERE])
def url(request):
    """Where a registry is: one place of every kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder(tmp_path):
    return f"file://{tmp_path / 'models'}"


@pytest.fixture
def memory(tmp_path):
    return f"memory://{tmp_path.name}/models"


@pytest.fixture
def fake_s3(tmp_path, monkeypatch):
    monkeypatch.setitem(import_module("fsspec.registry")._registry, "s3", FakeS3)
    return f"s3://{tmp_path.name}/models"


@pytest.fixture
def s3(monkeypatch):
    """A server that speaks S3, and the client that a deployment has."""
    server = import_module("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    files = fsspec.filesystem("s3", use_listings_cache=False)
    files.mkdir(f"yuefu-{port}")  # another test's bucket outlives its server
    yield f"s3://yuefu-{port}/models"
    files.clear_instance_cache()
    server.stop()


def machine(url, data):
    """The registry as a machine with that data folder has it."""
    return Registry(Registry.at(EngineSettings(models=url, data=data)).depot, bundled=data / "none")


@pytest.fixture
def here(url, tmp_path):
    return machine(url, tmp_path / "here")


@pytest.fixture
def there(url, tmp_path):
    return machine(url, tmp_path / "there")


def put(registry, seed=1):
    """A new checkpoint, published."""
    path = write_model(registry.folder, seed=seed)
    registry.publish(path)
    return path.name


# --- checkpoints ---


def test_what_one_machine_publishes_another_loads(here, there):
    names = sorted(put(here, seed) for seed in (1, 2))
    assert there.names() == names
    assert [path.name for path in there.checkpoints()] == names
    assert there.report(names[0]) == {"test": {"perplexity": 1000.0}}
    assert checkpoint.load(there.find(names[1])).id == names[1]
    with pytest.raises(NoModelError):
        there.find("gru-20200101T000000Z-00000000")


@elsewhere
def test_a_checkpoint_is_fetched_once(here, there):
    name = put(here)
    path = there.find(name)
    forget(there.depot, name)
    assert there.find(name) == path
    assert checkpoint.load(path).id == name


@elsewhere
def test_a_checkpoint_without_its_manifest_is_not_there_yet(here, there, monkeypatch):
    path = write_model(here.folder)
    write = here.depot._files.pipe_file

    def killed(to, data, **kwargs):
        if to.endswith(MANIFEST):
            raise SystemExit
        write(to, data, **kwargs)

    monkeypatch.setattr(here.depot._files, "pipe_file", killed)
    with suppress(SystemExit):
        here.publish(path)
    assert there.names() == []
    with pytest.raises(NoModelError):
        there.find(path.name)
    monkeypatch.undo()
    here.publish(path)
    assert checkpoint.load(there.find(path.name)).id == path.name


@elsewhere
def test_what_is_damaged_there_is_refused_and_fetched_when_it_is_mended(here, there):
    name = put(here)
    files, place = here.depot._files, here.depot._path(f"{name}/vocabulary.txt")
    whole = files.cat_file(place)
    files.pipe_file(place, whole[:-1])
    with pytest.raises(DamagedError, match="vocabulary"):
        there.find(name)
    assert not list(there.folder.glob("*"))
    files.pipe_file(place, whole)
    assert checkpoint.load(there.find(name)).id == name


@elsewhere
def test_a_damaged_checkpoint_is_not_published(here):
    path = write_model(here.folder)
    (path / "vocabulary.txt").write_text("月\n", encoding="utf-8")
    with pytest.raises(DamagedError):
        here.publish(path)
    assert here.names() == []


@elsewhere
def test_another_checkpoint_of_the_same_name_is_not_written_over(here, there):
    name = put(here)
    other = write_model(there.folder, seed=9)
    other.rename(there.folder / name)
    with pytest.raises(DepotError, match="another"):
        there.publish(there.folder / name)


def forget(depot, name):
    depot._files.rm(depot._path(name), recursive=True)


# --- signatures ---

OLD, NEW = Signer.generate(), Signer.generate()
TRUSTED = OLD.public_pem + NEW.public_pem


def strict(registry):
    """The same registry where only signed checkpoints are taken."""
    return Registry(registry.depot, bundled=registry.bundled, keyring=Keyring.parse(TRUSTED))


def test_a_signature_goes_where_its_checkpoint_goes(here, there):
    name = put(here)
    here.sign(name, OLD)
    assert strict(there).voucher(name) == OLD.key_id
    assert strict(there).load(there.find(name)).id == name


def test_what_was_fetched_unsigned_is_loaded_once_it_is_signed(here, there):
    name = put(here)
    path = there.find(name)
    with pytest.raises(UntrustedError):
        strict(there).load(path)
    here.sign(name, OLD)
    assert strict(there).load(path).id == name


def test_an_old_signature_does_not_come_back(here, there):
    name = put(here)
    here.sign(name, OLD)
    there.find(name)
    here.sign(name, NEW)
    # It has the old one still.
    there.promote(name)
    assert strict(here).voucher(name) == strict(there).voucher(name) == NEW.key_id


@elsewhere
def test_what_somebody_changed_there_is_served_by_nobody_who_asks_for_a_signature(here, there):
    name = put(here)
    here.sign(name, OLD)
    for path in write_model(there.folder, seed=9).iterdir():
        here.depot._put(name, path.name, path.read_bytes())
    assert there.load(there.find(name)).id == name
    for registry in (strict(there), strict(there)):
        with pytest.raises(UntrustedError, match="somebody has changed it"):
            registry.load(there.find(name))
    assert strict(here).load(here.find(name)).id == name


# --- aliases ---


def test_a_promotion_on_one_machine_is_seen_by_the_other(here, there):
    first, second = (put(here, seed) for seed in (1, 2))
    here.promote(first)
    there.promote(second, expected=first, fence=3)
    assert here.aliases(Cell.GRU) == Aliases(champion=second, previous=first, fence=3)
    assert here.champion(Cell.GRU).name == second
    assert here.rollback(Cell.GRU, expected=second) == first
    assert there.champion(Cell.GRU).name == first
    with pytest.raises(StaleAliasError, match="fencing"):
        there.promote(second, fence=2)


def test_what_gets_a_role_is_published_first(here, there):
    name = write_model(here.folder).name
    here.challenge(name)
    assert there.challenger(Cell.GRU).name == name
    assert checkpoint.load(there.challenger(Cell.GRU)).id == name


@elsewhere
@pytest.mark.parametrize("began", ["without aliases", "with aliases"])
def test_of_two_changes_at_once_the_second_is_refused(here, there, began):
    first, second, third = (put(here, seed) for seed in (1, 2, 3))
    if began == "with aliases":
        here.promote(first)
    # The end of the block is what is refused: it writes.
    with pytest.raises(StaleAliasError), here._swap(Cell.GRU) as swap:  # noqa: PT012
        there.promote(second)
        swap.new = Aliases(champion=third)
    assert here.champion(Cell.GRU).name == second


def test_a_change_whose_answer_was_lost_is_not_taken_for_refused(fake_s3, tmp_path, monkeypatch):
    """The client asks again by itself, and meets what it has written."""
    registry = machine(fake_s3, tmp_path)
    first, second = (put(registry, seed) for seed in (1, 2))
    registry.promote(first)
    write = FakeS3.pipe_file

    def twice(self, *args, **kwargs):
        write(self, *args, **kwargs)
        write(self, *args, **kwargs)

    monkeypatch.setattr(FakeS3, "pipe_file", twice)
    registry.promote(second)
    assert registry.champion(Cell.GRU).name == second


def test_a_cell_whose_place_cannot_be_reached_is_served_as_before(fake_s3, tmp_path, monkeypatch):
    class EndpointError(Exception):
        """As botocore's, which is no OSError."""

    def fail(*_args, **_kwargs):
        raise EndpointError("no route to the store")

    registry = machine(fake_s3, tmp_path)
    registry.promote(put(registry))

    def hire(loaded):
        return Writer(loaded, slots=1)

    casting = Casting(registry, hire, trial_share=0.1, reloads=Gauges().reloads)
    serving = casting.cast({})
    assert list(serving) == [Cell.GRU]
    monkeypatch.setattr(FakeS3, "cat_file", fail)
    with pytest.raises(DepotError, match=f"{fake_s3} cannot be used: no route"):
        registry.aliases(Cell.GRU)
    assert casting.cast(serving) == serving


# --- settings ---


def test_a_folder_may_be_named_in_three_ways(tmp_path):
    for models in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        settings = EngineSettings(models=models)
        assert settings.models_url is None
        assert Registry.at(settings).folder == tmp_path
    assert EngineSettings(data=tmp_path).models_folder == tmp_path / "models"


def test_what_is_fetched_from_different_places_lies_apart(tmp_path):
    urls = ["s3://yuefu/models", "s3://yuefu-models", "s3://yuefu/models/"]
    folders = {EngineSettings(models=url, data=tmp_path).models_folder for url in urls}
    assert len(folders) == len(urls)
    assert {folder.parent for folder in folders} == {tmp_path / "fetched"}


def test_a_password_in_a_url_is_refused_without_repeating_it():
    with pytest.raises(ValidationError, match="no password") as refused:
        EngineSettings(models="ftp://poet:secret@example.org/models")
    assert "secret" not in str(refused.value.errors(include_input=False))


def test_a_place_that_nothing_installed_reaches_is_refused_plainly(tmp_path):
    with pytest.raises(DepotError, match="lagoon"):
        Store("lagoon://models", Path(tmp_path))
