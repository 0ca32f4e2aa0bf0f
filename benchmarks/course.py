"""The course way of writing verse, as a baseline: a plain character language model.

A poem is a string with its punctuation between a start and an end sign. Two recurrent layers and a
softmax predict the next sign; Adam at 1e-3; nobody tells the model its place, a tone or a rhyme,
and nothing is masked. It reads the poems that the recipe `cpu` reads, in the same stages.

Letters: B batch, T time, V vocabulary, S signs (V and four more), H hidden.

    python -m benchmarks.course CELL      train it; kill it, run it again, it goes on
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.settings import BenchmarkSettings
from engine.files import replace_file
from engine.jobs import Cell
from engine.settings import load_settings
from engine.verse.forms import FORMS, FormName
from engine.vocabulary import UNKNOWN
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, Indices, Verses
from trainer.evaluate import Score
from trainer.loss import full_cross_entropy
from trainer.recipe import Stage

EMBEDDING, HIDDEN, LAYERS = 128, 256, 2
_RATE, _CLIP, _POEMS_AT_ONCE = 1e-3, 5.0, 64
STAGES = (
    Stage(eras=(Era.TANG, Era.SONG), epochs=1.2),
    Stage(eras=(Era.TANG,), epochs=3),
)
"""13.5 million characters: what the recipe `cpu` reads."""

_MODULES: dict[Cell, type[nn.RNNBase]] = {Cell.RNN: nn.RNN, Cell.GRU: nn.GRU, Cell.LSTM: nn.LSTM}
_WEIGHTS, _STATE, _PROGRESS = "weights.safetensors", "state.safetensors", "progress.json"


class CourseError(RuntimeError):
    """The baseline is not there, or belongs to other data."""


@dataclass(frozen=True, kw_only=True)
class Signs:
    """The signs of a text beside the V characters of the vocabulary."""

    characters: int
    """V; the indices below it are the vocabulary's."""

    @property
    def comma(self) -> int:
        """，, at the end of every odd line."""
        return self.characters

    @property
    def stop(self) -> int:
        """。, at the end of every even line."""
        return self.characters + 1

    @property
    def start(self) -> int:
        """Before the first character."""
        return self.characters + 2

    @property
    def end(self) -> int:
        """After the last full stop."""
        return self.characters + 3

    @property
    def count(self) -> int:
        """S."""
        return self.characters + 4

    def texts(self, form: FormName, tokens: Indices) -> Tensor:
        """Poems of a form, (N, length), as texts: start, lines with ， and 。, end; (N, T)."""
        lines = torch.from_numpy(tokens.astype("int64"))
        lines = lines.reshape(len(tokens), FORMS[form].lines, FORMS[form].line_length)
        marks = torch.tensor([self.comma, self.stop]).repeat(FORMS[form].lines // 2)  # (lines,)
        marks = marks[None, :, None].expand(len(lines), -1, 1)
        body = torch.cat([lines, marks], dim=2).flatten(1)
        edge = torch.full((len(lines), 1), self.start)
        return torch.cat([edge, body, torch.full_like(edge, self.end)], dim=1)


class CourseModel(nn.Module):
    """Embedding, two recurrent layers, softmax over all signs."""

    def __init__(self, cell: Cell, signs: Signs) -> None:
        super().__init__()
        self.cell, self.signs = cell, signs
        self.embed = nn.Embedding(signs.count, EMBEDDING)
        module = cast("Any", _MODULES[cell])
        self.layers = module(EMBEDDING, HIDDEN, num_layers=LAYERS, batch_first=True)
        self.out = nn.Linear(HIDDEN, signs.count)

    def forward(self, signs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Features after each sign and the state after the last, (B, T) to (B, T, H)."""
        features, state = self.layers(self.embed(signs), state)
        return features, state

    def logits(self, features: Tensor) -> Tensor:
        """Logits of the next sign, (..., H) to (..., S)."""
        logits: Tensor = self.out(features)
        return logits


@torch.inference_mode()
def score(model: CourseModel, form: FormName, verses: Verses, *, unknown_types: int) -> Score:
    """Score the characters of poems of one form as `trainer.evaluate` does.

    Punctuation is neither counted nor charged, and at the place of a character the softmax is over
    characters only: the form says where lines end, so this model is not charged for doubting it.
    """
    nats, unknown, characters = 0.0, 0, 0
    v = model.signs.characters
    for part in torch.split(model.signs.texts(form, verses.tokens), 256):
        logits = model.logits(model(part[:, :-1])[0])[..., :v]  # (B, T-1, V)
        targets = part[:, 1:]
        counted = targets < v
        nats += float(
            nn.functional.cross_entropy(logits[counted], targets[counted], reduction="sum")
        )
        unknown += int((targets == UNKNOWN).sum())
        characters += int(counted.sum())
    return Score(
        nats=nats + unknown * math.log(max(unknown_types, 1)),
        characters=characters,
        unknown=unknown,
    )


@torch.inference_mode()
def next_lines(model: CourseModel, form: FormName, tokens: Indices, line: int) -> Tensor:
    """The likeliest line, sign by sign, after the first `line` lines of poems, (N, line length).

    As in scoring, only characters are considered; `<unk>` is not.
    """
    length = FORMS[form].line_length
    before = model.signs.texts(form, tokens)[:, : 1 + line * (length + 1)]
    features, state = model(before)
    written: list[Tensor] = []
    for _ in range(length):
        logits = model.logits(features[:, -1])[:, : model.signs.characters]
        logits[:, UNKNOWN] = -torch.inf
        written.append(logits.argmax(1))
        features, state = model(written[-1][:, None], state)
    return torch.stack(written, dim=1)


class Training:
    """One training of the baseline. A training that was killed goes on where it last saved."""

    def __init__(self, cell: Cell, dataset: Dataset, folder: Path, *, share: float = 1.0) -> None:
        """Go on with the training in `folder`, or begin one.

        Args:
            cell: the recurrent cell.
            dataset: the poems.
            folder: where the state is kept.
            share: how much of each of `STAGES` to read; below 1 for a smaller budget.
        """
        self.dataset, self.folder, self.share = dataset, folder, share
        torch.manual_seed(1)
        self.model = CourseModel(cell, Signs(characters=len(dataset.vocabulary)))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=_RATE)
        self.step, self.losses = 0, list[float]()
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / _PROGRESS).exists():
            self._resume()

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return sum(self._stage_steps(stage) for stage in STAGES)

    def run(self, *, on_step: Callable[[int], None], save_every: int = 250) -> None:
        """Train to the end and write the weights."""
        self.model.train()
        since: list[float] = []
        for texts in self._batches():
            since.append(self._learn(texts))
            self.step += 1
            on_step(self.step)
            if self.step % save_every == 0:
                self.losses.append(sum(since) / len(since))
                since.clear()
                self._save()
        self._save()
        save_file(self.model.state_dict(), self.folder / _WEIGHTS)

    def _stage_steps(self, stage: Stage) -> int:
        parts = self.dataset.select(Split.TRAIN, stage.eras).values()
        epoch = sum(math.ceil(len(part) / _POEMS_AT_ONCE) for part in parts)
        return round(stage.epochs * self.share * epoch)

    def _batches(self) -> Iterator[Tensor]:
        """Texts of 64 poems of one form, from the current step on."""
        done = 0
        for number, stage in enumerate(STAGES):
            data = self.dataset.select(Split.TRAIN, stage.eras)
            left, epoch = self._stage_steps(stage), 0
            while left > 0:
                batches = list(_shuffled(data, seed=100 * number + epoch))[:left]
                for form, rows in batches[max(0, self.step - done) :]:
                    yield self.model.signs.texts(form, data[form].tokens[rows])
                done, left, epoch = done + len(batches), left - len(batches), epoch + 1

    def _learn(self, texts: Tensor) -> float:
        """One step of Adam; the loss, nats a sign."""
        out = self.model.out
        # Products in bf16, sums in fp32: about as exact, and faster on this kind of machine.
        with torch.autocast("cpu", torch.bfloat16):
            features = self.model(texts[:, :-1])[0].flatten(0, 1)  # (N, H)
        loss = full_cross_entropy(
            features.to(torch.bfloat16), out.weight, out.bias, texts[:, 1:].flatten()
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        self.optimizer.step()
        return float(loss.detach())

    def _save(self) -> None:
        tensors = {f"weights/{name}": p for name, p in self.model.state_dict().items()}
        for number, entry in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{number}/{name}": value for name, value in entry.items()}
        temporary = self.folder / f".{_STATE}"
        save_file(tensors, temporary)
        temporary.replace(self.folder / _STATE)
        progress = {
            "step": self.step,
            "cell": self.model.cell,
            "share": self.share,
            "dataset": self.dataset.fingerprint,
            "losses": self.losses,
        }
        replace_file(self.folder / _PROGRESS, json.dumps(progress))

    def _resume(self) -> None:
        progress = json.loads((self.folder / _PROGRESS).read_text(encoding="utf-8"))
        mine = (str(self.model.cell), self.share, self.dataset.fingerprint)
        if (progress["cell"], progress["share"], progress["dataset"]) != mine:
            raise CourseError(f"{self.folder} holds another training: {progress}")
        tensors = load_file(self.folder / _STATE)
        prefix = "weights/"
        self.model.load_state_dict(
            {k.removeprefix(prefix): p for k, p in tensors.items() if k.startswith(prefix)}
        )
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam/"):
                _, number, name = key.split("/")
                state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        self.step, self.losses = progress["step"], progress["losses"]


def is_trained(folder: Path) -> bool:
    """Whether a training in `folder` has come to its end."""
    return (folder / _WEIGHTS).exists()


def digest(folder: Path) -> str:
    """8 hex digits of the sha256 of the weights in `folder`; `CourseError` if there are none."""
    if not is_trained(folder):
        raise CourseError(
            f"no trained baseline in {folder}: run «python -m benchmarks.course CELL» first"
        )
    return hashlib.sha256((folder / _WEIGHTS).read_bytes()).hexdigest()[:8]


def load(folder: Path, dataset: Dataset) -> CourseModel:
    """The trained baseline of `folder`; `CourseError` if it is not there or of other data."""
    digest(folder)
    progress = json.loads((folder / _PROGRESS).read_text(encoding="utf-8"))
    if progress["dataset"] != dataset.fingerprint:
        raise CourseError(f"the baseline in {folder} was trained on other data")
    model = CourseModel(Cell(progress["cell"]), Signs(characters=len(dataset.vocabulary)))
    model.load_state_dict(load_file(folder / _WEIGHTS))
    return model.eval()


def _shuffled(
    data: Mapping[FormName, Verses], *, seed: int
) -> Iterator[tuple[FormName, np.ndarray[Any, Any]]]:
    """One epoch as rows of one form each: poems shuffled within a form, batches among forms."""
    random = np.random.default_rng(seed)
    batches = [
        (form, rows)
        for form, part in data.items()
        for rows in np.array_split(
            random.permutation(len(part)), math.ceil(len(part) / _POEMS_AT_ONCE)
        )
    ]
    for index in random.permutation(len(batches)):
        yield batches[index]


def train(
    cell: Annotated[Cell, typer.Argument(help="The recurrent cell.")] = Cell.LSTM,
    *,
    share: Annotated[float, typer.Option(help="How much of the full training to do.")] = 1.0,
    data: Annotated[Path | None, typer.Option(help="A file of `trainer corpus pack`.")] = None,
    state: Annotated[Path | None, typer.Option(help="Where baselines are kept.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
) -> None:
    """Train the course's model, or go on with it."""
    torch.set_num_threads(threads)
    settings = load_settings(BenchmarkSettings)
    folder = settings.baseline_folder(state, cell, share)
    training = Training(cell, settings.dataset(data), folder, share=share)

    def tell(step: int) -> None:
        if step % 250 == 0:
            print(f"{folder.name}: step {step}/{training.steps}", flush=True)

    training.run(on_step=tell)
    print(folder)


if __name__ == "__main__":
    typer.run(train)
