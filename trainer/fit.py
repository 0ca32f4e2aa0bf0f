"""Training: a recipe and a dataset become averaged weights.

A run can be killed at any moment and goes on where its last state was saved, to the same bits as
if nothing had happened: the state holds weights, averages, optimizer, random generator and place
in the data. States are safetensors and JSON; nothing here reads or writes a pickle.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engine.checkpoint import Checkpoint
from engine.files import replace_file
from engine.model import Model, Shape, places, shift
from engine.verse.forms import FORMS, FormName
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, Verses
from trainer.evaluate import polyphones, score_forms, tone_labels, total
from trainer.loss import full_cross_entropy, sampled_cross_entropy
from trainer.recipe import Recipe, Stage


class TrainingError(RuntimeError):
    """Training cannot go on."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One evaluation on the way."""

    step: int
    """Steps taken."""
    loss: float
    """Mean training loss since the last measure, nats a character."""
    dev: float
    """Perplexity of the averaged weights on the dev split of Tang, form known only."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Poems of one form, on the training device."""

    form: FormName
    """Their form."""
    tokens: Tensor
    """(B, T)"""
    rhymes: Tensor
    """(B,)"""


@dataclass
class Progress:
    """Where a run stands, besides its tensors."""

    step: int = 0
    measures: list[Measure] = field(default_factory=list)
    best: float = math.inf
    loss_sum: float = 0.0
    loss_steps: int = 0


class Run:
    """One training run, resumable from `folder`."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: Dataset,
        folder: Path,
        *,
        start: Checkpoint | None = None,
        device: str = "cpu",
    ) -> None:
        """Go on with the run in `folder`, or begin one: at random, or with the weights of `start`.

        Raises:
            TrainingError: the folder holds another run, or `start` is of another shape.
        """
        self.recipe, self.dataset, self.folder = recipe, dataset, folder
        self.start = start.id if start is not None else None
        self.device = torch.device(device)
        torch.manual_seed(recipe.seed)
        shape = Shape(
            cell=recipe.cell,
            vocabulary=len(dataset.vocabulary),
            embedding=recipe.embedding,
            hidden=recipe.hidden,
        )
        self.model = Model(shape, dropout=recipe.dropout).to(self.device)
        self._frequencies = _frequencies(dataset).to(self.device)
        # Start from the unigram distribution: the first steps need not learn it.
        self.model.bias.data.copy_(self._frequencies.log())
        if start is not None:
            self._load_start(start)
        self.average = {name: p.detach().clone() for name, p in self.model.state_dict().items()}
        self.best = {name: p.clone() for name, p in self.average.items()}
        self.optimizer = _optimizer(self.model, recipe)
        self.progress = Progress()
        self._tones = tone_labels(dataset.vocabulary).to(self.device)
        self._polyphones = polyphones(dataset.vocabulary).to(self.device)
        self._plan = [
            (stage, _epoch_steps(dataset, stage, recipe.batch_characters))
            for stage in recipe.stages
        ]
        self.steps = sum(round(stage.epochs * steps) for stage, steps in self._plan)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.json").exists():
            self._resume()

    def train(
        self,
        report: Callable[[Measure], None],
        *,
        on_step: Callable[[int], None] = lambda _step: None,
        save_every: int = 500,
    ) -> None:
        """Run to the end, or until it stops getting better.

        `report` hears every measure, `on_step` the number of every step.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        self.model.train()
        for batch in self._batches():
            self._step(batch)
            on_step(self.progress.step)
            if self._time_to_evaluate():
                report(self._evaluate())
            if self.progress.step % save_every == 0:
                self.save()
            if self._stale():
                break
        self.save()

    def _load_start(self, start: Checkpoint) -> None:
        if (
            start.shape != self.model.shape
            or start.vocabulary.chars != self.dataset.vocabulary.chars
        ):
            raise TrainingError(f"{start.id} has another shape or vocabulary than this run")
        self.model.load_state_dict(dict(start.weights))

    def _time_to_evaluate(self) -> bool:
        step = self.progress.step
        return step % self.recipe.evaluate_every == 0 or step == self.steps

    def _batches(self) -> Iterator[Batch]:
        """Batches from the current step on; each epoch's order depends on seed and epoch only."""
        done = 0
        for order, (stage, epoch_steps) in enumerate(self._plan):
            data = _on_device(self.dataset.select(Split.TRAIN, stage.eras), self.device)
            left = round(stage.epochs * epoch_steps)
            for epoch in range(math.ceil(stage.epochs)):
                count = min(left, epoch_steps)
                left -= count
                skip = min(count, max(0, self.progress.step - done))
                done += count
                if skip < count:
                    seed = self.recipe.seed * 1_000_003 + order * 1009 + epoch
                    yield from _epoch(data, self.recipe.batch_characters, seed, skip, count)

    def _step(self, batch: Batch) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        ):
            loss = self._loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.progress.step += 1
        self._update_average()
        self._note_loss(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        """Mean cross entropy of a batch, in nats a character."""
        model = self.model
        before, above = shift(batch.tokens, FORMS[batch.form].line_length, model.shape.vocabulary)
        tone, rhyme = self._tell(batch)
        place = torch.tensor(places(batch.form), device=self.device)
        features = model(before, above, place, tone, rhyme).flatten(0, 1)  # (N, E)
        weight, targets = model.characters.weight[:-1], batch.tokens.flatten()
        negatives = self._stage()[0].negatives
        if negatives is None:
            return full_cross_entropy(features, weight, model.bias, targets)
        return sampled_cross_entropy(
            features,
            weight,
            model.bias,
            targets,
            frequencies=self._frequencies,
            negatives=negatives,
        )

    def _tell(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The tones (B, T) and rhymes (B,) the model is told of; 0 where it is left in the dark."""
        rows, length = batch.tokens.shape
        told = torch.rand(rows, device=self.device) < self.recipe.told  # (B,)
        places_told = torch.rand(rows, length, device=self.device) < self.recipe.told_tone
        # A polyphone is told as the one or the other: left untold, "not told" would mean polyphone.
        either = torch.randint(1, 3, (rows, length), device=self.device)
        tone = torch.where(self._polyphones[batch.tokens], either, self._tones[batch.tokens])
        tone = tone * (told[:, None] & places_told)
        return tone, batch.rhymes * told

    def _stage(self) -> tuple[Stage, float]:
        """The stage of the current step, and what share of it lies behind."""
        left = self.progress.step
        for stage, epoch_steps in self._plan:
            length = round(stage.epochs * epoch_steps)
            if left < length:
                return stage, left / length
            left -= length
        return self._plan[-1][0], 1.0

    def _learning_rate(self) -> float:
        stage, share = self._stage()
        warm = min(1.0, (self.progress.step + 1) / self.recipe.warmup_steps)
        first, last = stage.rate
        return self.recipe.learning_rate * warm * (first + (last - first) * share)

    def _update_average(self) -> None:
        """Move the average towards the weights, faster while the run is young."""
        decay = min(self.recipe.averaging, (1 + self.progress.step) / (10 + self.progress.step))
        weights = self.model.state_dict()
        with torch.no_grad():
            torch._foreach_lerp_(  # one kernel for all weights
                list(self.average.values()), [weights[name] for name in self.average], 1 - decay
            )

    def _note_loss(self, loss: Tensor) -> None:
        # Summed on the device: reading it every step would stop the GPU each time.
        self._loss_sum = getattr(self, "_loss_sum", torch.zeros((), device=self.device)) + loss
        self.progress.loss_steps += 1

    def _evaluate(self) -> Measure:
        """Score the averaged weights on dev; keep them if they are the best so far."""
        mean_loss = float(self._loss_sum) / max(1, self.progress.loss_steps)
        self._loss_sum = torch.zeros((), device=self.device)
        self.progress.loss_steps = 0
        if not math.isfinite(mean_loss):
            raise TrainingError(f"the loss is {mean_loss} at step {self.progress.step}")
        live = {name: p.clone() for name, p in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        ):
            scores = score_forms(
                self.model,
                self.dataset.select(Split.DEV, [Era.TANG]),
                unknown_types=self.dataset.unknown_types,
            )
        self.model.load_state_dict(live)
        measure = Measure(step=self.progress.step, loss=mean_loss, dev=total(scores).perplexity)
        self.progress.measures.append(measure)
        if measure.dev < self.progress.best:
            self.progress.best = measure.dev
            self.best = {name: p.clone() for name, p in self.average.items()}
        return measure

    def _stale(self) -> bool:
        """Whether the last stage has gone `patience` evaluations without a better one."""
        last_stage = self.steps - round(self._plan[-1][0].epochs * self._plan[-1][1])
        late = [m.dev for m in self.progress.measures if m.step > last_stage]
        before, recent = late[: -self.recipe.patience], late[-self.recipe.patience :]
        return bool(before) and min(recent) >= min(before)

    def load_best(self, *, half: bool = False) -> None:
        """Put the best averaged weights in the model, rounded to fp16 if `half`."""
        best = {name: p.half().float() if half else p for name, p in self.best.items()}
        self.model.load_state_dict(best)

    def save(self) -> None:
        """Write the whole state, so that a kill at any moment leaves the old one or this one."""
        tensors = {
            **{f"weights/{name}": p for name, p in self.model.state_dict().items()},
            **{f"average/{name}": p for name, p in self.average.items()},
            **{f"best/{name}": p for name, p in self.best.items()},
            **_flatten_optimizer(self.optimizer),
            "random/cpu": torch.get_rng_state(),
            "loss_sum": getattr(self, "_loss_sum", torch.zeros(())),
        }
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        path = self.folder / f"state-{self.progress.step}.safetensors"
        save_file({name: p.detach().cpu().contiguous() for name, p in tensors.items()}, path)
        state = {
            "tensors": path.name,
            "dataset": self.dataset.fingerprint,
            "recipe": asdict(self.recipe),
            "start": self.start,
            "progress": asdict(self.progress),
        }
        replace_file(self.folder / "state.json", json.dumps(state))
        for old in self.folder.glob("state-*.safetensors"):
            if old != path:
                old.unlink()

    def _resume(self) -> None:
        state = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        wanted = json.loads(json.dumps(asdict(self.recipe)))
        found = (state["recipe"], state["dataset"], state.get("start"))
        if found != (wanted, self.dataset.fingerprint, self.start):
            raise TrainingError(
                f"{self.folder} holds a run of another recipe, dataset or start: "
                "give it the same ones, or another folder"
            )
        tensors = load_file(self.folder / state["tensors"], device=str(self.device))
        self.model.load_state_dict(_under("weights/", tensors))
        self.average, self.best = _under("average/", tensors), _under("best/", tensors)
        _restore_optimizer(self.optimizer, tensors)
        fields = state["progress"]
        measures = [Measure(**measure) for measure in fields.pop("measures")]
        self.progress = Progress(**fields, measures=measures)
        self._loss_sum = tensors["loss_sum"]
        torch.set_rng_state(tensors["random/cpu"].cpu())
        if "random/cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"].cpu(), self.device)


def _optimizer(model: Model, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; biases and single vectors are not decayed."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's tensors by number and name."""
    return {
        f"optimizer/{number}/{name}": value
        for number, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer/", tensors).items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _frequencies(dataset: Dataset) -> Tensor:
    """How often each index stands in the training split, smoothed by one, summing to 1, (V,)."""
    counts = torch.ones(len(dataset.vocabulary))
    for part in dataset.select(Split.TRAIN, Era).values():
        tokens = torch.from_numpy(part.tokens.astype("int64")).flatten()
        counts += torch.bincount(tokens, minlength=len(counts))
    return counts / counts.sum()


def _rows(form: FormName, batch_characters: int) -> int:
    return max(1, batch_characters // FORMS[form].length)


def _epoch_steps(dataset: Dataset, stage: Stage, batch_characters: int) -> int:
    data = dataset.select(Split.TRAIN, stage.eras)
    return sum(math.ceil(len(part) / _rows(form, batch_characters)) for form, part in data.items())


def _on_device(
    data: Mapping[FormName, Verses], device: torch.device
) -> dict[FormName, tuple[Tensor, Tensor]]:
    """All poems of a stage on the device as int64: a gigabyte at most, and no transfer a step."""
    return {
        form: (
            torch.from_numpy(part.tokens.astype("int64")).to(device),
            torch.from_numpy(part.rhymes.astype("int64")).to(device),
        )
        for form, part in data.items()
    }


def _epoch(
    data: Mapping[FormName, tuple[Tensor, Tensor]],
    batch_characters: int,
    seed: int,
    skip: int,
    count: int,
) -> Iterator[Batch]:
    """Batches `skip` to `count` of one epoch: poems shuffled within a form, batches among forms."""
    generator = torch.Generator().manual_seed(seed)
    pieces: list[tuple[FormName, Tensor]] = []
    for form, (tokens, _) in data.items():
        order = torch.randperm(len(tokens), generator=generator)
        pieces += [(form, rows) for rows in torch.split(order, _rows(form, batch_characters))]
    for index in torch.randperm(len(pieces), generator=generator)[skip:count].tolist():
        form, rows = pieces[index]
        tokens, rhymes = data[form]
        rows = rows.to(tokens.device)
        yield Batch(form=form, tokens=tokens[rows], rhymes=rhymes[rows])
