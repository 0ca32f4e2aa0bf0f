"""Training: a recipe and a dataset become averaged weights.

A run can be killed at any moment and goes on where its last state was saved, to the same bits as
if nothing had happened: the state holds weights, averages, optimizer, random generators and place
in the data. States are safetensors and JSON; nothing here reads or writes a pickle.

Several processes may train one model (`trainer.distributed`). They go through the same batches in
the same order as one would, each with its rows of every batch.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.checkpoint import Checkpoint
from engine.files import replace_file
from engine.model import Model, Shape
from engine.verse.forms import FORMS, FormName
from trainer.corpus import Era, Split
from trainer.dataset import Dataset, Verses
from trainer.distributed import ALONE, Team
from trainer.evaluate import score_forms, total
from trainer.objective import Batch, Objective
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
        team: Team = ALONE,
    ) -> None:
        """Go on with the run in `folder`, or begin one: at random, or with the weights of `start`.

        Of several processes only the first reads and writes `folder`.

        Raises:
            TrainingError: the folder holds another run, `start` is of another shape, or the
                processes of `team` were given different things.
        """
        self.recipe, self.dataset, self.folder, self.team = recipe, dataset, folder, team
        self.start = start.id if start is not None else None
        self.device = torch.device(device)
        self._check_agreement()
        torch.manual_seed(recipe.seed)
        shape = Shape(
            cell=recipe.cell,
            vocabulary=len(dataset.vocabulary),
            embedding=recipe.embedding,
            hidden=recipe.hidden,
        )
        self.model = Model(shape, dropout=recipe.dropout).to(self.device)
        frequencies = _frequencies(dataset).to(self.device)
        # Start from the unigram distribution: the first steps need not learn it.
        self.model.bias.data.copy_(frequencies.log())
        if start is not None:
            self._load_start(start)
        self._objective = Objective(self.model, dataset.vocabulary, recipe, frequencies)
        if not team.leads:  # the same weights everywhere, but other dropout
            torch.manual_seed(recipe.seed * 1_000_003 + team.rank)
        self.average = {name: p.detach().clone() for name, p in self.model.state_dict().items()}
        self.best = {name: p.clone() for name, p in self.average.items()}
        self.optimizer = _optimizer(self.model, recipe)
        self.progress = Progress()
        self._loss_sum = torch.zeros((), device=self.device)
        self._plan = [
            (stage, _epoch_steps(dataset, stage, recipe.batch_characters))
            for stage in recipe.stages
        ]
        self.steps = sum(round(stage.epochs * steps) for stage, steps in self._plan)
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
        objective = self.team.wrap(self._objective)
        for batch in self._batches():
            self._step(objective, batch)
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

    def _check_agreement(self) -> None:
        """Processes with different data would train a model of neither."""
        given = json.dumps([asdict(self.recipe), self.dataset.fingerprint, self.start])
        digest = torch.tensor(list(hashlib.sha256(given.encode()).digest()), dtype=torch.uint8)
        if (self.team.gather(digest) != digest).any():
            raise TrainingError(
                "the processes were given different corpora, recipes or starts: "
                "give every host the same command and the same file of «corpus pack»"
            )

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

    def _step(self, objective: nn.Module, batch: Batch) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        rows, part = self.team.share(len(batch.tokens))
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"
        ):
            loss = objective(batch.rows(rows), self._stage()[0].negatives)
        self.optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over the team: weighted by its rows, that is the whole batch's.
        (loss * (part * self.team.size)).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.progress.step += 1
        self._update_average()
        # Summed on the device: reading it every step would stop the GPU each time.
        self._loss_sum = self._loss_sum + loss.detach() * part
        self.progress.loss_steps += 1

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

    def _evaluate(self) -> Measure:
        """Score the averaged weights on dev; keep them if they are the best so far."""
        mean_loss = float(self.team.sum(self._loss_sum)) / max(1, self.progress.loss_steps)
        self._loss_sum = torch.zeros((), device=self.device)
        self.progress.loss_steps = 0
        if not math.isfinite(mean_loss):
            raise TrainingError(f"the loss is {mean_loss} at step {self.progress.step}")
        # Heard from the first process, so that all agree which weights are best, and when to stop.
        dev = float(self.team.hear(lambda: repr(self._dev_perplexity()).encode()))
        measure = Measure(step=self.progress.step, loss=mean_loss, dev=dev)
        self.progress.measures.append(measure)
        if measure.dev < self.progress.best:
            self.progress.best = measure.dev
            self.best = {name: p.clone() for name, p in self.average.items()}
        return measure

    def _dev_perplexity(self) -> float:
        """Of the averaged weights."""
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
        return total(scores).perplexity

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
        """Write the whole state, so that a kill at any moment leaves the old one or this one.

        All processes of a team must call it: each adds what is its own.
        """
        own = {name: self.team.gather(value) for name, value in self._own().items()}
        if self.team.leads:
            self._write(own)

    def _own(self) -> dict[str, Tensor]:
        """The part of the state that every process has for itself."""
        own = {"random/cpu": torch.get_rng_state(), "loss_sum": self._loss_sum}
        if self.device.type == "cuda":
            own["random/cuda"] = torch.cuda.get_rng_state(self.device)
        return own

    def _write(self, own: Mapping[str, Tensor]) -> None:
        tensors = {
            **{f"weights/{name}": p for name, p in self.model.state_dict().items()},
            **{f"average/{name}": p for name, p in self.average.items()},
            **{f"best/{name}": p for name, p in self.best.items()},
            **_flatten_optimizer(self.optimizer),
            **own,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"state-{self.progress.step}.safetensors"
        save_file({name: p.detach().cpu().contiguous() for name, p in tensors.items()}, path)
        state = {
            "tensors": path.name,
            "dataset": self.dataset.fingerprint,
            "recipe": asdict(self.recipe),
            "start": self.start,
            "processes": self.team.size,
            "progress": asdict(self.progress),
        }
        replace_file(self.folder / "state.json", json.dumps(state))
        for old in self.folder.glob("state-*.safetensors"):
            if old != path:
                old.unlink()

    def _resume(self) -> None:
        """Take up the state in the folder, if there is one; the first process reads it to all."""
        path = self.folder / "state.json"
        found = self.team.hear(lambda: path.read_bytes() if path.exists() else b"")
        if not found:
            return
        state = json.loads(found)
        self._check_state(state)
        data = self.team.hear((self.folder / state["tensors"]).read_bytes)
        tensors = {name: p.to(self.device) for name, p in load_tensors(data).items()}
        self.model.load_state_dict(_under("weights/", tensors))
        self.average, self.best = _under("average/", tensors), _under("best/", tensors)
        _restore_optimizer(self.optimizer, tensors)
        fields = state["progress"]
        measures = [Measure(**measure) for measure in fields.pop("measures")]
        self.progress = Progress(**fields, measures=measures)
        self._restore_own(tensors)

    def _check_state(self, state: Mapping[str, Any]) -> None:
        wanted = json.loads(json.dumps(asdict(self.recipe)))
        found = (state["recipe"], state["dataset"], state.get("start"))
        if found != (wanted, self.dataset.fingerprint, self.start):
            raise TrainingError(
                f"{self.folder} holds a run of another recipe, dataset or start: "
                "give it the same ones, or another folder"
            )
        if (began := state.get("processes", 1)) != self.team.size:
            raise TrainingError(
                f"{self.folder} holds a run of {began} processes, not {self.team.size}: "
                "start as many, or give another folder"
            )

    def _restore_own(self, tensors: Mapping[str, Tensor]) -> None:
        own = {  # copies: torch crashes on a generator's state that is a view
            name: tensors[name].reshape(self.team.size, *value.shape)[self.team.rank].clone()
            for name, value in self._own().items()
            if name in tensors
        }
        self._loss_sum = own["loss_sum"]
        torch.set_rng_state(own["random/cpu"].cpu())
        if "random/cuda" in own:
            torch.cuda.set_rng_state(own["random/cuda"].cpu(), self.device)


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
