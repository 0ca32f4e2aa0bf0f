"""Checkpoints: one trained model in one folder, never changed once written.

    CELL-UTC-SHA8/
        weights.safetensors   fp16; the names are those of `engine.model.Model`
        config.json           shape and priors
        vocabulary.txt        one character a line
        tradition.zip         lines, company and endings of the corpus (`engine.tradition`)
        critic.safetensors    fp16; tells poets' poems from ours (`engine.critic`); may be absent
        theme.safetensors     fp16; where a poem on a theme begins (`engine.theme`); may be absent
        preference.safetensors  fp16; what readers like (`engine.preference`); may be absent
        wear.json               what it writes too often (`engine.wear`); may be absent
        report.json           how it was trained and how well it does
        SIGNATURE             who made it (`engine.signing`); may be absent
        MANIFEST.json         sha256 of the others but the signature, written last

A folder without a manifest is not a checkpoint. Loading asks who vouches for the manifest, where
somebody has to, and checks every hash before it reads a tensor, because neither torch nor
safetensors notices a flipped bit; then every shape against the vocabulary, then that every weight
is a finite number. No pickle is read or written.

    CheckpointError
    ├── MissingError     there is no checkpoint there
    ├── DamagedError     a file is not what the manifest says, or a weight is not a number
    ├── UntrustedError   nobody whom we trust vouches for it
    └── MismatchError    the files are intact but do not belong together
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from engine.critic import Critic
from engine.errors import DamagedError, MismatchError, MissingError
from engine.files import replace_file, sync_folder
from engine.jobs import Cell
from engine.model import Model, Shape
from engine.preference import Preference
from engine.theme import ThemeEncoder
from engine.tradition import Tradition
from engine.verse.forms import FormName
from engine.verse.plan import Priors
from engine.vocabulary import Vocabulary
from engine.wear import Wear

FORMAT = 2
"""The version of the folder's layout. A reader refuses one it does not know."""
MANIFEST = "MANIFEST.json"
SIGNATURE = "SIGNATURE"
_CRITIC, _THEME, _PREFERENCE = (f"{part}.safetensors" for part in ("critic", "theme", "preference"))
_WEAR = "wear.json"
_FILES = ("weights.safetensors", "config.json", "vocabulary.txt", "tradition.zip", "report.json")
_OPTIONAL = {_CRITIC, _THEME, _PREFERENCE, _WEAR}

Sign = Callable[[str, bytes], bytes]
"""The signature of a checkpoint, of its id and manifest."""
Vouch = Callable[[str, bytes, bytes | None], object]
"""Asked with a checkpoint's id, manifest and signature; raises UntrustedError if it is not good."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model with all that is needed to write with it."""

    id: str
    """The name of its folder: cell, time of writing (UTC), start of the weights' sha256."""
    shape: Shape
    """What fixes the shape of every weight."""
    vocabulary: Vocabulary
    """The characters it knows."""
    unknown_types: int
    """How many characters of its corpus the vocabulary lacks."""
    priors: Mapping[FormName, Priors]
    """What poets chose how often: templates, patterns, rhymes."""
    tradition: Tradition
    """What it knows of its corpus besides weights."""
    weights: Mapping[str, Tensor]
    """Weights by name, fp32."""
    critic: Mapping[str, Tensor] | None = None
    """The critic's weights by name, fp32, if it has one."""
    theme: Mapping[str, Tensor] | None = None
    """The theme encoder's weights by name, fp32, if it has one."""
    preference: Mapping[str, Tensor] | None = None
    """What readers like, as weights by name, fp32, if it learnt that."""
    wear: Wear | None = None
    """What it writes too often, if that was counted."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """How it was trained and how well it does."""

    def model(self) -> Model:
        """The model with these weights, in evaluation mode."""
        model = Model(self.shape, initialise=False)
        model.load_state_dict(dict(self.weights))
        return model.eval()


def save(
    parent: Path,
    *,
    shape: Shape,
    vocabulary: Vocabulary,
    unknown_types: int,
    priors: Mapping[FormName, Priors],
    tradition: Tradition,
    weights: Mapping[str, Tensor],
    report: Mapping[str, Any],
    critic: Mapping[str, Tensor] | None = None,
    theme: Mapping[str, Tensor] | None = None,
    preference: Mapping[str, Tensor] | None = None,
    wear: Wear | None = None,
    sign: Sign | None = None,
    now: datetime | None = None,
) -> Path:
    """Write a checkpoint under `parent`, signed where somebody does, and return its folder.

    Everything goes to a hidden folder first; the rename that gives it its name is the last act,
    so a kill or a full disk leaves no half checkpoint behind under a real name. One that is there
    already, to the byte, is left as it is but for its signature.
    """
    contents: dict[str, bytes] = {
        "weights.safetensors": _half(weights),
        "config.json": _to_json(
            {
                "format": FORMAT,
                "shape": asdict(shape),
                "unknown_types": unknown_types,
                "priors": {form: asdict(entry) for form, entry in priors.items()},
            }
        ),
        "vocabulary.txt": ("\n".join(vocabulary.chars) + "\n").encode(),
        "tradition.zip": tradition.to_bytes(),
        "report.json": _to_json(dict(report)),
    }
    further = {_CRITIC: critic, _THEME: theme, _PREFERENCE: preference}
    contents |= {name: _half(part) for name, part in further.items() if part is not None}
    if wear is not None:
        contents[_WEAR] = wear.to_bytes()
    digest = _sha256(contents["weights.safetensors"])
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    target = parent / f"{shape.cell}-{moment}-{digest[:8]}"
    manifest = {"format": FORMAT, "sha256": {n: _sha256(data) for n, data in contents.items()}}
    contents[MANIFEST] = _to_json(manifest)
    # What is signed is what was just made, and not what somebody may have put in its place.
    signature = {} if sign is None else {SIGNATURE: sign(target.name, contents[MANIFEST])}
    if not _is_there(target, contents[MANIFEST]):
        write_folder(target, signature | contents)
    elif signature:
        replace_file(target / SIGNATURE, signature[SIGNATURE].decode())
    return target


def sign_again(folder: Path, sign: Sign) -> None:
    """Sign a checkpoint that stands there already, in place of a signature that it may have.

    Raises:
        CheckpointError: it is damaged.
    """
    contents = verified(str(folder), reader(folder))
    replace_file(folder / SIGNATURE, sign(folder.name, contents[MANIFEST]).decode())


def _is_there(folder: Path, manifest: bytes) -> bool:
    """Whether the very same checkpoint stands there already."""
    path = folder / MANIFEST
    return path.is_file() and path.read_bytes() == manifest


def weights_of(checkpoint: str) -> str:
    """What of a checkpoint's id tells its weights, whatever it has learnt of its readers."""
    return checkpoint.rpartition("-")[2]


def _half(weights: Mapping[str, Tensor]) -> bytes:
    """Weights as fp16 in safetensors."""
    low = {name: p.detach().to("cpu", torch.float16).contiguous() for name, p in weights.items()}
    data: bytes = save_tensors(low)
    return data


def _full(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as fp32."""
    return {name: p.float() for name, p in weights.items()}


def write_folder(target: Path, contents: Mapping[str, bytes]) -> None:
    """Write files to a hidden folder, and give it its name when all of it is on the disk."""
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f".{target.name}.{os.getpid()}"
    temporary.mkdir()
    try:
        for name, data in contents.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(temporary)
        temporary.rename(target)
        sync_folder(parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def load(folder: Path, *, vouch: Vouch | None = None) -> Checkpoint:
    """Read and verify a checkpoint; without `vouch`, whoever made it.

    Raises:
        MissingError: `folder` has no manifest.
        DamagedError: a file differs from the manifest, or a weight is not finite.
        UntrustedError: nobody vouches for it.
        MismatchError: the files do not belong together, or the format is not known.
    """
    contents = verified(str(folder), reader(folder), vouch=vouch)
    try:
        config = json.loads(contents["config.json"])
        if config["format"] != FORMAT:
            raise MismatchError(f"{folder.name} has format {config['format']}, not {FORMAT}")
        shape = Shape(**{**config["shape"], "cell": Cell(config["shape"]["cell"])})
        priors = priors_from_json(config["priors"])
        vocabulary = Vocabulary.parse(contents["vocabulary.txt"].decode())
        tradition = Tradition.from_bytes(contents["tradition.zip"])
        weights = load_tensors(contents["weights.safetensors"])
        critic, theme, preference = (
            load_tensors(contents[name]) if name in contents else None
            for name in (_CRITIC, _THEME, _PREFERENCE)
        )
        wear = Wear.from_bytes(contents[_WEAR]) if _WEAR in contents else None
        report = json.loads(contents["report.json"])
        unknown_types = int(config["unknown_types"])
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise MismatchError(f"{folder.name} cannot be read: {error}") from error
    _check_vocabulary(folder.name, shape, vocabulary, tradition)
    _check_weights(folder.name, Model(shape, initialise=False), weights)
    if critic is not None:
        _check_weights(folder.name, Critic(len(vocabulary)), critic)
    if theme is not None:
        _check_weights(folder.name, ThemeEncoder(shape), theme)
    if preference is not None:
        _check_weights(folder.name, Preference(len(vocabulary)), preference)
    return Checkpoint(
        id=folder.name,
        shape=shape,
        vocabulary=vocabulary,
        unknown_types=unknown_types,
        priors=priors,
        tradition=tradition,
        weights=_full(weights),
        critic=critic and _full(critic),
        theme=theme and _full(theme),
        preference=preference and _full(preference),
        wear=wear,
        report=report,
    )


def reader(folder: Path) -> Callable[[str], bytes]:
    """Reads the files in a folder by their names."""
    return lambda name: (folder / name).read_bytes()


def signed(read: Callable[[str], bytes]) -> bytes | None:
    """The signature of a checkpoint, if it has one."""
    try:
        return read(SIGNATURE)
    except FileNotFoundError:
        return None


def verified(
    place: str, read: Callable[[str], bytes], *, vouch: Vouch | None = None
) -> dict[str, bytes]:
    """The contents of every file, each checked against the manifest, which comes last.

    Args:
        place: where the checkpoint is; ends in its id.
        read: what a file of that name holds; an OSError if it cannot be read.
        vouch: asked before anything else of it is read; None where nobody has to.

    Raises:
        MissingError: there is no manifest.
        DamagedError: a file differs from the manifest.
        UntrustedError: nobody vouches for it.
        MismatchError: the format is not known.
    """
    checkpoint = Path(place).name
    manifest, digests = _manifest(place, read)
    signature = signed(read)
    if vouch is not None:
        vouch(checkpoint, manifest, signature)
    contents: dict[str, bytes] = {}
    for name, digest in digests.items():
        try:
            contents[name] = read(name)
        except OSError as error:
            raise DamagedError(f"{name} of {checkpoint} cannot be read: {error}") from error
        if _sha256(contents[name]) != digest:
            raise DamagedError(
                f"{name} of {checkpoint} is damaged: its sha256 is not the manifest's"
            )
    if signature is not None:
        contents[SIGNATURE] = signature
    return {**contents, MANIFEST: manifest}


def _manifest(place: str, read: Callable[[str], bytes]) -> tuple[bytes, dict[str, str]]:
    """The manifest and the digest of every file.

    What `save` would not have written, to the byte, is damaged.
    """
    checkpoint = Path(place).name
    try:
        data = read(MANIFEST)
        fields = json.loads(data)
        digests: dict[str, str] = fields["sha256"]
        sound = _to_json(fields) == data and set(digests) - _OPTIONAL == set(_FILES)
    except FileNotFoundError as error:
        raise MissingError(f"there is no checkpoint at {place}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"the manifest of {checkpoint} cannot be read: {error}") from error
    if (found := fields.get("format")) != FORMAT:
        raise MismatchError(f"{checkpoint} has format {found}, not {FORMAT}")
    if not sound:
        raise DamagedError(f"the manifest of {checkpoint} is not one that was written so")
    return data, digests


def _check_vocabulary(
    name: str, shape: Shape, vocabulary: Vocabulary, tradition: Tradition
) -> None:
    if shape.vocabulary != len(vocabulary):
        raise MismatchError(
            f"{name} was made for {shape.vocabulary} characters; its vocabulary has "
            f"{len(vocabulary)}"
        )
    if len(tradition.vectors) != len(vocabulary):
        raise MismatchError(f"the tradition of {name} is that of another vocabulary")


def _check_weights(name: str, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Compare with what `module` needs, and look for what is no number."""
    wanted = {key: p.shape for key, p in module.state_dict().items()}
    if {key: p.shape for key, p in weights.items()} != wanted:
        raise MismatchError(f"the weights of {name} do not have the shapes of its config")
    for key, p in weights.items():
        if not torch.isfinite(p).all():
            raise DamagedError(f"{key} of {name} holds a value that is not a finite number")


def priors_from_json(fields: Mapping[str, Mapping[str, Any]]) -> dict[FormName, Priors]:
    """Read priors that `dataclasses.asdict` wrote, by form."""
    return {
        FormName(form): Priors(
            openings=entry["openings"],
            patterns={kind: tuple(weights) for kind, weights in entry["patterns"].items()},
            rhymes=entry["rhymes"],
        )
        for form, entry in fields.items()
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _to_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
