"""Who made a checkpoint: what is taken, and what is refused with one clear line."""

import hashlib
import json
import shutil
import stat
import subprocess
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from engine import checkpoint
from engine.checkpoint import MANIFEST, SIGNATURE
from engine.errors import UntrustedError
from engine.gauges import Gauges
from engine.jobs import Cell
from engine.registry import NoModelError, Registry
from engine.reload import Casting
from engine.settings import BUNDLED_MODELS, EngineSettings, SettingsError, load_settings
from engine.signing import BUNDLED, UNCHECKED, Keyring, Signer
from engine.writer import Writer
from tests.fakes.models import small_checkpoint, small_dataset, write_model
from trainer.__main__ import app
from trainer.product import write_again
from trainer.settings import TrainerSettings

OURS, THEIRS = Signer.generate(), Signer.generate()


def keyring(*signers):
    return Keyring.parse("".join(signer.public_pem for signer in signers))


@pytest.fixture
def registry(tmp_path):
    """A registry that asks for our signature; nothing stands behind it."""
    return Registry(tmp_path / "models", bundled=tmp_path / "bundled", keyring=keyring(OURS))


@pytest.fixture
def made(registry, tmp_path):
    """A checkpoint that is signed."""
    return write_again(small_checkpoint(tmp_path / "made"), registry.folder, sign=OURS.sign)


def swap_weights(folder, *, seed=9):
    """Put other weights of the same shapes in a checkpoint, and make its manifest fit them."""
    other = write_model(folder.parent.parent / "evil", seed=seed)
    shutil.copy(other / "weights.safetensors", folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    weights = (folder / "weights.safetensors").read_bytes()
    manifest["sha256"]["weights.safetensors"] = hashlib.sha256(weights).hexdigest()
    text = json.dumps(manifest, ensure_ascii=False, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


# --- what is taken ---


def test_what_we_have_signed_is_loaded_and_may_get_a_role(registry, made):
    assert registry.load(made).id == made.name
    assert registry.voucher(made.name) == OURS.key_id
    registry.promote(made.name)
    assert registry.champion(Cell.GRU) == made


def test_where_no_key_is_trusted_nothing_has_to_be_signed(registry):
    laptop = Registry(registry.folder, bundled=registry.bundled)
    old = write_model(registry.folder)
    laptop.promote(old.name)
    assert laptop.load(old).id == old.name
    assert laptop.voucher(old.name) == UNCHECKED
    # Nor is a signature in the way, whosever it is.
    (old / SIGNATURE).write_text("nonsense")
    assert laptop.load(old).id == old.name


def test_a_signature_changes_nothing_else_of_a_checkpoint(registry, made):
    with_it = {path.name: path.read_bytes() for path in made.iterdir()}
    (made / SIGNATURE).unlink()
    assert checkpoint.load(made).id == made.name
    registry.sign(made.name, OURS)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == with_it


def test_what_is_written_again_is_signed_where_it_was_not(registry, tmp_path):
    """A night that was cut off before there was a key goes on with one."""
    model, now = small_checkpoint(tmp_path / "made"), datetime(2026, 11, 21, tzinfo=UTC)
    first = write_again(model, registry.folder, now=now)
    assert write_again(model, registry.folder, now=now, sign=OURS.sign) == first
    assert registry.load(first).id == first.name


# --- what is refused ---


def test_other_weights_with_a_manifest_that_fits_them_are_refused(registry, made):
    swap_weights(made)
    # Its files are what its manifest says: who does not ask for a signature would serve it.
    assert checkpoint.load(made).id == made.name
    with pytest.raises(UntrustedError, match="somebody has changed it"):
        registry.load(made)


def test_a_signature_of_another_checkpoint_is_refused(registry, made):
    stranger = write_model(registry.folder, seed=5)
    shutil.copy(made / SIGNATURE, stranger)
    with pytest.raises(UntrustedError, match="somebody has changed it"):
        registry.load(stranger)


def test_a_signed_checkpoint_under_the_name_of_another_is_refused(registry, made):
    newer = made.rename(made.with_name("gru-20991231T000000Z-00000000"))
    with pytest.raises(UntrustedError, match="somebody has changed it"):
        registry.load(newer)


def test_a_signature_with_a_key_of_somebody_else_is_refused(registry, made):
    registry.sign(made.name, THEIRS)
    with pytest.raises(UntrustedError, match=f"{THEIRS.key_id}, which YUEFU_TRUSTED_KEYS"):
        registry.load(made)
    # Nor does it help to say that it is ours.
    signature = (made / SIGNATURE).read_text().replace(THEIRS.key_id, OURS.key_id)
    (made / SIGNATURE).write_text(signature)
    with pytest.raises(UntrustedError, match="somebody has changed it"):
        registry.load(made)


@pytest.mark.parametrize("text", ["", "one", "a b c", "0123456789abcdef !!!!", "é é", "\n" * 99])
def test_a_signature_that_cannot_be_read_is_refused(registry, made, text):
    (made / SIGNATURE).write_text(text)
    with pytest.raises(UntrustedError, match="cannot be read"):
        registry.load(made)


def test_what_is_not_signed_is_refused_before_any_of_it_is_read(registry):
    old = write_model(registry.folder)
    (old / "weights.safetensors").unlink()
    for act in (registry.promote, registry.challenge, lambda name: registry.load(old)):
        with pytest.raises(UntrustedError, match=f"models sign {old.name}"):
            act(old.name)
    with pytest.raises(NoModelError):
        registry.champion(Cell.GRU)


def cast_of(registry):
    """What finds the writers of an engine that has just started."""

    def hire(found):
        return Writer(found, slots=1)

    return Casting(registry, hire, trial_share=0.1, reloads=Gauges().reloads)


def test_an_engine_goes_on_with_whom_it_trusts(registry, made, capsys):
    registry.promote(made.name)
    casting = cast_of(registry)
    serving = casting.cast({})
    assert serving[Cell.GRU].champion.checkpoint.id == made.name
    careless = Registry(registry.folder, bundled=registry.bundled)
    evil = write_model(registry.folder, seed=5).name
    careless.promote(evil)
    assert casting.cast(serving) == serving
    # Another one, which starts now, finds the way back by itself.
    assert cast_of(registry).cast({})[Cell.GRU].champion.checkpoint.id == made.name
    said = capsys.readouterr().out
    assert said.count("checkpoint.refused") == 2
    assert f"{evil} is not signed" in said


# --- the bundled ones ---


def test_the_bundled_checkpoints_are_those_that_are_pinned():
    """After a change of what is bundled, `engine.signing` says how to pin it."""
    registry = Registry(BUNDLED_MODELS, keyring=keyring(OURS))
    assert registry.names()
    assert {registry.voucher(name) for name in registry.names()} == {BUNDLED}


def test_nothing_else_is_taken_for_a_bundled_one_whoever_signed_it(tmp_path):
    name = Registry(BUNDLED_MODELS).names()[0]
    other = write_model(tmp_path / "models", Cell(name.partition("-")[0])).rename(tmp_path / name)
    for keys in (Keyring({}), keyring(OURS)):
        registry = Registry(tmp_path, bundled=tmp_path / "none", keyring=keys)
        registry.sign(name, OURS)
        with pytest.raises(UntrustedError, match="came with Yuefu: install"):
            registry.load(other)


# --- rotation ---


def test_while_two_keys_are_trusted_everything_can_be_signed_anew(registry, made):
    old, both, new = (
        Registry(registry.folder, bundled=registry.bundled, keyring=keyring(*signers))
        for signers in ((OURS,), (OURS, THEIRS), (THEIRS,))
    )
    assert both.voucher(made.name) == OURS.key_id
    both.sign(made.name, THEIRS)
    assert both.voucher(made.name) == new.voucher(made.name) == THEIRS.key_id
    assert new.load(made).id == made.name
    with pytest.raises(UntrustedError):
        old.load(made)


# --- settings ---


def key_id_in_use():
    signer = load_settings(TrainerSettings).find_signer()
    return signer and signer.key_id


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "canary",
        OURS.private_pem,
        "-----BEGIN PUBLIC KEY-----\ncanary\n-----END PUBLIC KEY-----\n",
        OURS.public_pem + OURS.public_pem.replace("M", "N"),
    ],
)
def test_what_are_no_keys_trusts_nobody_rather_than_everybody(monkeypatch, pem):
    monkeypatch.setenv("YUEFU_TRUSTED_KEYS", pem)
    with pytest.raises(SettingsError, match="YUEFU_TRUSTED_KEYS") as refused:
        Registry.at(load_settings(EngineSettings))
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("pem", ["canary", OURS.public_pem])
def test_a_signing_key_that_is_none_is_said_to_be_so(monkeypatch, pem):
    monkeypatch.setenv("YUEFU_SIGNING_KEY", pem)
    with pytest.raises(SettingsError, match="YUEFU_SIGNING_KEY: not an Ed25519") as refused:
        load_settings(TrainerSettings).find_signer()
    assert "canary" not in str(refused.value)


def test_a_trainer_whose_work_nobody_would_load_says_so_before_it_begins(monkeypatch):
    monkeypatch.setenv("YUEFU_TRUSTED_KEYS", OURS.public_pem)
    with pytest.raises(SettingsError, match="set YUEFU_SIGNING_KEY, too"):
        load_settings(TrainerSettings).find_signer()
    monkeypatch.setenv("YUEFU_SIGNING_KEY", THEIRS.private_pem)
    with pytest.raises(SettingsError, match=f"does not hold {THEIRS.key_id}"):
        load_settings(TrainerSettings).find_signer()
    monkeypatch.setenv("YUEFU_SIGNING_KEY", OURS.private_pem)
    assert key_id_in_use() == OURS.key_id


def test_keys_that_openssl_makes_will_do(tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    private = tmp_path / "key"
    for words in (["genpkey", "-algorithm", "ed25519"], ["pkey", "-in", private, "-pubout"]):
        made = subprocess.run([openssl, *words], check=True, capture_output=True, text=True)
        private.write_text(made.stdout) if not private.exists() else None
        public = made.stdout
    assert Keyring.parse(public).trusts(Signer.parse(private.read_text()))


# --- by hand ---


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """`python -m trainer models …` in this process."""
    monkeypatch.setenv("YUEFU_DATA", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        return CliRunner().invoke(app, ["models", *words])

    return run


def test_keys_are_made_and_used_by_hand(trainer, tmp_path, monkeypatch):
    old = write_model(tmp_path / "models", dataset=small_dataset()).name
    secrets = tmp_path / "secrets"
    assert trainer("keygen", str(secrets)).exit_code == 0
    assert stat.S_IMODE((secrets / "signing-key").stat().st_mode) == 0o400
    again = trainer("keygen", str(secrets))
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    monkeypatch.setenv("YUEFU_TRUSTED_KEYS_FILE", str(secrets / "trusted-keys"))
    refused = trainer("promote", old)
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: {old} is not signed; if you know where it comes from, "
        f"«python -m trainer models sign {old}»\n"
    )
    assert "set YUEFU_SIGNING_KEY" in trainer("sign", old).stderr
    monkeypatch.setenv("YUEFU_SIGNING_KEY_FILE", str(secrets / "signing-key"))
    key_id = key_id_in_use()
    rows = {
        row["checkpoint"]: row["signed"] for row in json.loads(trainer("list", "--json").stdout)
    }
    assert rows.pop(old) == "NOT TRUSTED"
    assert set(rows.values()) == {BUNDLED}
    assert key_id in trainer("sign", old).stdout
    assert trainer("promote", old).exit_code == 0
    assert f"│ {key_id} │" in trainer("list").stdout


def test_the_key_is_in_nothing_that_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("YUEFU_SIGNING_KEY", OURS.private_pem)
    settings = load_settings(TrainerSettings)
    body = OURS.private_pem.splitlines()[1]
    assert body not in repr(settings)
    assert body in settings.secrets
