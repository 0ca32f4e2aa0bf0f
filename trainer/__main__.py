"""`python -m trainer`: the corpus, training, evaluation and the registry, by hand."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine import logs
from engine.checkpoint import Checkpoint, Sign
from engine.embedded import EmbeddedError
from engine.errors import CheckpointError, UntrustedError
from engine.jobs import Cell
from engine.registry import ROLES, Registry
from engine.service import pick_device
from engine.settings import SettingsError, load_settings
from engine.signing import Signer
from engine.verse.forms import FormName
from trainer import corpus
from trainer.corpus import Census, CorpusError, Era, Split
from trainer.critic import hold_hearing
from trainer.dataset import Dataset, DatasetError, arrays, find
from trainer.distributed import TeamError, joined
from trainer.evaluate import Score, score_forms, tone_labels, total
from trainer.fit import Measure, Run, TrainingError
from trainer.lock import LOCK_MS, LockLostError, NoLockError
from trainer.product import with_critic, with_theme, write_checkpoint
from trainer.recipes import RECIPES, RecipeName
from trainer.record import NightRecord, Nights, RecordError, State
from trainer.schedule import serve
from trainer.settings import TrainerSettings
from trainer.theme import EPOCHS, train_and_try

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
corpus_app = typer.Typer(no_args_is_help=True, help="The corpus of Tang and Song verse.")
models_app = typer.Typer(no_args_is_help=True, help="Which checkpoints are in service.")
app.add_typer(corpus_app, name="corpus")
app.add_typer(models_app, name="models")

_out = Console()
_err = Console(stderr=True)


# What several commands take.
_Checkpoints = Annotated[list[str], typer.Argument(help="Folders, ids, or cells' names.")]
_Data = Annotated[
    Path | None, typer.Option(help="A file of `corpus pack`; else the corpus itself.")
]
_Outputs = Annotated[
    Path | None, typer.Option(help="Where to write the checkpoints; else the registry.")
]
_Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]

_MENDABLE = (
    CheckpointError,
    CorpusError,
    DatasetError,
    EmbeddedError,
    LockLostError,
    NoLockError,
    RecordError,
    SettingsError,
    TeamError,
    TrainingError,
    OSError,
)


@contextmanager
def _plainly() -> Iterator[None]:
    """End with one line on stderr and status 2 where the person can mend what is wrong."""
    try:
        yield
    except _MENDABLE as error:
        _err.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error


@corpus_app.command()
def fetch(
    mirror: Annotated[str | None, typer.Option(help="Base URL to download from instead.")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Copy from this folder instead of the network.")
    ] = None,
) -> None:
    """Bring the pinned corpus here, verified; goes on where it stopped."""
    with _plainly():
        settings = load_settings(TrainerSettings)
        known = corpus.available(source)
        with _bar() as bar:
            task = bar.add_task("corpus", total=len(known))
            for _ in corpus.fetch(settings.corpus_folder, known, mirror=mirror, source=source):
                bar.advance(task)
    missing = len(corpus.checksums()) - len(known)
    note = f", {missing} not there" if missing else ""
    _out.print(f"{len(known)} files in {settings.corpus_folder}{note}", soft_wrap=True)


@corpus_app.command()
def stats(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Count what the corpus holds, what is left out, and how the rest is split."""
    with _plainly():
        census = Census()
        poems = corpus.without_duplicates(corpus.read(_corpus_folder(), census), census)
    splits: dict[str, dict[str, int]] = {}
    for poem in poems:
        row = splits.setdefault(f"{poem.era} {poem.form.name}", dict.fromkeys(Split, 0))
        row[poem.split] += 1
    if as_json:
        fates = {f"{era} {fate}": count for (era, fate), count in sorted(census.counts.items())}
        typer.echo(json.dumps({"read": fates, "kept": splits}, ensure_ascii=False))
        return
    table = Table("poems", "read", *Split, title=f"{len(poems)} poems kept")
    for era in Era:
        for form in FormName:
            row = splits.get(f"{era} {form}", dict.fromkeys(Split, 0))
            table.add_row(f"{era} {form}", str(census.counts[era, form]), *map(str, row.values()))
        for fate in ("dirty", "duplicate", "other"):
            table.add_row(f"{era} {fate}", str(census.counts[era, fate]))
    _out.print(table)


@corpus_app.command()
def pack(output: Annotated[Path, typer.Argument(help="The .npz file to write.")]) -> None:
    """Write the clean, split corpus as arrays, small enough to carry to another machine."""
    with _plainly():
        dataset = _dataset(None)
        dataset.save(output)
    _out.print(f"{output}: dataset {dataset.fingerprint}", soft_wrap=True)


@app.command()
def train(
    cell: Annotated[Cell, typer.Argument(help="The cell to train.")],
    *,
    recipe: Annotated[RecipeName, typer.Option(help="Which recipe.")] = RecipeName.CPU,
    data: _Data = None,
    start: Annotated[
        str | None, typer.Option(help="A checkpoint to start from; else random weights.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run's folder, to go on with it or to begin it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where to write the checkpoint; else the registry.")
    ] = None,
    threads: _Threads = 2,
) -> None:
    """Train a model and write its checkpoint. A run that was killed goes on where it was.

    Started by `torchrun … -m -- trainer train …`, all its processes train the one model.
    """
    torch.set_num_threads(threads)
    with _plainly():
        settings = load_settings(TrainerSettings)
        sign, dataset = _sign(settings), _dataset(data)
        folder = run or settings.runs_folder / f"{cell}-{recipe}-{dataset.fingerprint}"
        first = _registry().load_named(start) if start is not None else None
        with joined(pick_device(settings)) as team:
            fitting = Run(
                RECIPES[recipe](cell),
                dataset,
                folder,
                start=first,
                device=team.device,
                team=team,
            )
            _train(fitting, quiet=not team.leads)
            if not team.leads:
                return
            path = write_checkpoint(fitting, output or settings.models_folder, sign=sign)
        _publish(path)
    _out.print(str(path), soft_wrap=True)


def _train(fitting: Run, *, quiet: bool) -> None:
    """Train to the end, with a bar on stderr unless `quiet`."""
    with _bar(quiet=quiet) as bar:
        task = bar.add_task(f"{fitting.recipe.cell}", total=fitting.steps)

        def report(measure: Measure) -> None:
            bar.console.print(
                f"step {measure.step}/{fitting.steps} loss {measure.loss:.3f} "
                f"dev perplexity {measure.dev:.1f}",
                highlight=False,
            )

        fitting.train(
            (lambda _measure: None) if quiet else report,
            on_step=lambda step: bar.update(task, completed=step),
        )


@app.command()
def critic(
    checkpoints: _Checkpoints,
    data: _Data = None,
    output: _Outputs = None,
    every: Annotated[int, typer.Option(min=1, help="Use one in so many Tang poems.")] = 1,
    threads: _Threads = 2,
) -> None:
    """Train a critic against what some checkpoints write; write them anew with it."""
    torch.set_num_threads(threads)
    with _plainly():
        settings = load_settings(TrainerSettings)
        sign, dataset = _sign(settings), _dataset(data)
        loaded = [_registry().load_named(name) for name in checkpoints]
        judge, hearing = hold_hearing(dataset, loaded, every=every)
        paths = [
            with_critic(found, judge, hearing, output or settings.models_folder, sign=sign)
            for found in loaded
        ]
        for path in paths:
            _publish(path)
    for path in paths:
        _out.print(str(path), soft_wrap=True)


@app.command()
def theme(
    checkpoints: _Checkpoints,
    data: _Data = None,
    output: _Outputs = None,
    epochs: Annotated[float, typer.Option(help="How often it reads the Tang poems.")] = EPOCHS,
    threads: _Threads = 2,
) -> None:
    """Train an encoder of themes for each of some checkpoints; write them anew with it."""
    torch.set_num_threads(threads)
    with _plainly():
        settings = load_settings(TrainerSettings)
        sign, dataset = _sign(settings), _dataset(data)
        for name in checkpoints:
            found = _registry().load_named(name)
            with _bar() as bar:
                encoder, hint = train_and_try(
                    found.model(),
                    dataset,
                    epochs=epochs,
                    on_step=partial(_advance, bar, bar.add_task(found.id)),
                )
            path = with_theme(found, encoder, hint, output or settings.models_folder, sign=sign)
            _publish(path)
            _out.print(f"{path}", soft_wrap=True)


@app.command()
def nightly(
    *,
    now: Annotated[bool, typer.Option("--now", help="Run one night at once, and leave.")] = False,
    cell: Annotated[
        list[Cell] | None, typer.Option(help="The cells to teach; else all with a champion.")
    ] = None,
    data: _Data = None,
) -> None:
    """Learn from ratings every night, at YUEFU_NIGHTLY_AT; a night that was killed goes on."""
    # Late: the anthology's libraries are for those who need ratings.
    from trainer.duty import Watch, hold_night  # noqa: PLC0415
    from trainer.health import answering  # noqa: PLC0415

    # Being told to stop is the same by Ctrl-C and by a supervisor; whoever starts it in a script's
    # background has it ignore Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _plainly():
        settings = load_settings(TrainerSettings)
        logs.configure(level=settings.log_level, secrets=settings.secrets)
        if not now:
            with suppress(KeyboardInterrupt):
                watch = Watch(settings, wanted=cell or (), pack=data)
                with answering(settings, watch.gauges):
                    serve(watch.look, at=settings.nightly_at, zone=settings.nightly_zone)
            return
        record = hold_night(
            settings,
            day=datetime.now(settings.nightly_zone).date(),
            wanted=cell or (),
            again=True,
            # A trainer that was killed has left the lock to expire.
            wait_s=1.2 * LOCK_MS / 1000,
            pack=data,
        )
    if record is not None:
        _show_night(record)


@app.command()
def nights(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Every night on record: what it learnt from, what came of it, and why."""
    with _plainly():
        records = Nights(load_settings(TrainerSettings).nights_folder).records()
    if as_json:
        typer.echo(f"[{','.join(record.to_json() for record in records)}]")
        return
    table = Table("night", "ratings", "minutes", "state", "what came of it")
    for record in records:
        minutes = f"{record.spent_s / 60:.0f}"
        row = (record.name, str(record.ratings), minutes, record.state, "\n".join(record.lines))
        table.add_row(*row)
    _out.print(table)


def _show_night(record: NightRecord) -> None:
    """What came of a night; status 1 where something went wrong in it."""
    _out.print(
        f"night {record.name}: {record.ratings} ratings, {record.spent_s / 60:.1f} min",
        highlight=False,
    )
    for line in record.lines:
        _out.print(line, highlight=False, markup=False, soft_wrap=True)
    if record.state is State.FAILED:
        _err.print(f"error: {record.error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint folder, id, or a cell's name.")],
    # One `--poems` may be followed by many files: the second and later ones arrive here.
    more: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    *,
    poems: Annotated[list[Path] | None, typer.Option(help="Corpus files (JSON) to score.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A file of `corpus pack`: score its Tang test split.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Perplexity per Chinese character, the model told the form only."""
    with _plainly():
        loaded = _registry().load_named(checkpoint)
        figures = _figures(loaded, [*(poems or []), *(more or [])], data)
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False))
        return
    _out.print(
        f"perplexity {figures['perplexity']:.1f} over {figures['characters']} characters, "
        f"{100 * figures['oov_rate']:.2f} % outside the vocabulary; "
        f"{figures['perplexity_told']:.1f} when told rhyme and tones",
        highlight=False,
        soft_wrap=True,
    )
    for form, entry in figures["by_form"].items():
        _out.print(f"  {form} {entry['perplexity']:.1f} ({entry['characters']})", highlight=False)


@models_app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Every checkpoint with its role, its test perplexity, and whose key has signed it."""
    with _plainly():
        registry = _registry()
        rows = [_model_row(registry, name) for name in registry.names()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("checkpoint", "role", "test perplexity", "signed")
    for row in rows:
        table.add_row(*map(str, row.values()))
    _out.print(table)


@models_app.command()
def promote(checkpoint: Annotated[str, typer.Argument(help="The checkpoint's id.")]) -> None:
    """Make a checkpoint its cell's champion, after verifying it."""
    with _plainly():
        registry = _registry()
        loaded = registry.load_named(checkpoint)
        registry.promote(loaded.id)
    _out.print(f"{loaded.id} is the {loaded.shape.cell} champion", soft_wrap=True)


@models_app.command()
def keygen(
    folder: Annotated[Path, typer.Argument(help="Where to write the two files of the key.")],
) -> None:
    """Make a key to sign checkpoints with: `signing-key`, to be kept secret, and `trusted-keys`."""
    with _plainly():
        signer = Signer.generate()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, pem, mode in (
            ("signing-key", signer.private_pem, 0o400),
            ("trusted-keys", signer.public_pem, 0o444),
        ):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(folder / name, flags, mode), "w", encoding="utf-8") as file:
                file.write(pem)
    _out.print(f"key {signer.key_id}: signing-key, trusted-keys in {folder}", soft_wrap=True)


@models_app.command()
def sign(checkpoints: Annotated[list[str], typer.Argument(help="Their ids.")]) -> None:
    """Sign checkpoints of the registry that you know to be yours, after verifying their files."""
    with _plainly():
        signer, registry = load_settings(TrainerSettings).find_signer(), _registry()
        if signer is None:
            raise SettingsError("YUEFU_SIGNING_KEY is not set: «models keygen FOLDER» makes one")
        for name in checkpoints:
            registry.sign(name, signer)
            _out.print(f"{name} is signed with key {signer.key_id}", soft_wrap=True)


@models_app.command()
def rollback(cell: Annotated[Cell, typer.Argument(help="The cell to roll back.")]) -> None:
    """Put the previous champion of a cell back in service, after verifying it."""
    with _plainly():
        registry = _registry()
        registry.load(registry.previous(cell))
        was = registry.champion(cell).name
        back = registry.rollback(cell, expected=was)
    _out.print(f"{back} is the {cell} champion again, in place of {was}", soft_wrap=True)


def _corpus_folder() -> Path:
    return load_settings(TrainerSettings).corpus_folder


def _registry() -> Registry:
    return Registry.at(load_settings(TrainerSettings))


def _sign(settings: TrainerSettings) -> Sign | None:
    """What signs the checkpoints that are written, where somebody wants them signed."""
    signer = settings.find_signer()
    return None if signer is None else signer.sign


def _publish(checkpoint: Path) -> None:
    """Show a new checkpoint to the others with this registry, if it was written for that."""
    _registry().publish(checkpoint)


def _dataset(pack: Path | None) -> Dataset:
    """The poems of a pack, or else of the corpus itself."""
    with _err.status("reading the poems"):
        return find(_corpus_folder(), pack)


def _bar(*, quiet: bool = False) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
    )
    return Progress(*columns, TimeRemainingColumn(), console=_err, disable=quiet)


def _advance(bar: Progress, task: TaskID, step: int, steps: int) -> None:
    bar.update(task, completed=step, total=steps)


def _figures(loaded: Checkpoint, poems: list[Path], data: Path | None) -> dict[str, Any]:
    """What `evaluate --json` prints."""
    if data is not None:
        verses = Dataset.load(data).select(Split.TEST, [Era.TANG])
    else:
        # The era only says where a poem came from; a file to score may come from anywhere.
        found = [poem for path in poems for poem in corpus.read_file(path, Era.TANG)]
        if not found:
            raise CorpusError("no poem to score: give --poems FILE… with poems in the four forms")
        verses = arrays(found, loaded.vocabulary)
    model = loaded.model()
    scores = score_forms(model, verses, unknown_types=loaded.unknown_types)
    told = score_forms(
        model, verses, unknown_types=loaded.unknown_types, tones=tone_labels(loaded.vocabulary)
    )
    return {
        "checkpoint": loaded.id,
        **_entry(total(scores)),
        "perplexity_told": total(told).perplexity,
        "by_form": {form: _entry(score) for form, score in scores.items()},
    }


def _entry(score: Score) -> dict[str, float]:
    return {
        "perplexity": score.perplexity,
        "characters": score.characters,
        "oov_rate": score.unknown / max(1, score.characters),
    }


def _model_row(registry: Registry, name: str) -> dict[str, Any]:
    report = registry.report(name)
    cell = Cell(name.partition("-")[0])
    aliases = asdict(registry.aliases(cell))
    roles = [role for role in ROLES if aliases[role] == name]
    if not aliases["champion"] and registry.champions().get(cell) == registry.bundled / name:
        roles = ["champion (bundled)"]
    return {
        "checkpoint": name,
        "role": ", ".join(roles),
        "perplexity": round(report.get("test", {}).get("perplexity", float("nan")), 1),
        "signed": _voucher(registry, name),
    }


def _voucher(registry: Registry, name: str) -> str:
    try:
        return registry.voucher(name)
    except UntrustedError:
        return "NOT TRUSTED"


if __name__ == "__main__":
    sys.exit(app())
