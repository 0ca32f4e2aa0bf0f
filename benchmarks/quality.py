"""How good the verse is, beside baselines and real poems: one command, one table.

    python -m benchmarks.course lstm       the baseline, once; also --share 0.22 with rnn, gru, lstm
    python -m benchmarks.quality           measures, prints, writes docs/quality.md, docs/samples.md

Figures are kept under the data folder: `--only perplexity --only next/gru` measures those and
leaves the rest for later; `--again rules` measures anew what is known.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import engine
from benchmarks import course
from benchmarks.course import CourseError
from benchmarks.figures import Folder, Part, measure_all
from benchmarks.recital import Manner
from benchmarks.report import WRITERS, quality_page, samples_page
from benchmarks.settings import BenchmarkSettings
from engine.errors import CheckpointError
from engine.jobs import USUAL_TEMPERATURE, Cell
from engine.registry import Registry
from engine.settings import SettingsError, load_settings
from engine.verse.forms import FormName
from trainer.corpus import CorpusError, Era
from trainer.dataset import DatasetError

MANNERS = (
    Manner(),
    Manner(noise=0.5),
    Manner(beam=5),
    Manner(temperature=0.2),
    Manner(temperature=0.5),
    Manner(temperature=1.0),
    Manner(temperature=1.0, noise=0.5),
    Manner(temperature=1.2),
)
"""How the course model writes, by the ideas of the course."""
TEMPERATURES = (0.5, USUAL_TEMPERATURE, 1.2)
BEAMS = (1, 5)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured."""

    models: Mapping[str, Path]
    """Checkpoints by the name that the tables give them."""
    baselines: Mapping[str, Path]
    """Folders of trained course models by name."""
    count: int
    """Poems per form and checkpoint for the rates of the rules, the first candidate each."""
    chosen: int
    """Poems per form and checkpoint for the same rates, as people get them."""
    candidates: int
    """The engine's default number of candidates."""
    engine: str
    """Digest of the engine's source: another engine writes other poems."""

    def parts(self) -> list[Part]:
        """Every part, the long ones first."""
        return [*self._ours(), *self._course(), *self._others()]

    def _ours(self) -> Iterator[Part]:
        for name, path in self.models.items():
            here = {"checkpoint": str(path)}
            writes = {**here, "engine": self.engine}
            yield from self._rates(name, writes)
            yield from self._samples(name, writes)
            yield from self._acrostics(name, writes)
            yield Part(name=f"perplexity/{name}", measure="our_perplexity", arguments=here)
            yield Part(name=f"next/{name}", measure="our_next_line", arguments=here)
        if len(self.models) > 1:
            both = {"checkpoints": [str(path) for path in self.models.values()][:2]}
            name = " + ".join(list(self.models)[:2])
            yield Part(name=f"perplexity/{name}", measure="joint_perplexity", arguments=both)

    def _rates(self, name: str, writes: Mapping[str, str]) -> Iterator[Part]:
        # Many without choosing: the rules hold before it, and it would take hours.
        for kind, count, candidates in (
            ("rules", self.count, 1),
            ("chosen", self.chosen, self.candidates),
        ):
            for form in reversed(FormName):
                how = {"form": form, "count": count, "candidates": candidates}
                yield Part(
                    name=f"{kind}/{name}/{form}", measure="our_rules", arguments={**writes, **how}
                )

    def _acrostics(self, name: str, writes: Mapping[str, str]) -> Iterator[Part]:
        for form in FormName:
            how = {"form": form, "count": self.count}
            yield Part(
                name=f"acrostics/{name}/{form}",
                measure="our_acrostics",
                arguments={**writes, **how},
            )

    def _samples(self, name: str, writes: Mapping[str, str]) -> Iterator[Part]:
        shown = name in list(self.models)[:WRITERS]
        for temperature in TEMPERATURES if shown else (USUAL_TEMPERATURE,):
            for candidates in dict.fromkeys((1, self.candidates)):
                how = {"temperature": temperature, "candidates": candidates}
                yield Part(
                    name=f"sample/{name}/{temperature}/{candidates}",
                    measure="our_sample",
                    arguments={**writes, **how},
                )
        for beams in BEAMS if name == next(iter(self.models)) else ():
            yield Part(
                name=f"sample/{name}/{'argmax' if beams == 1 else f'beam {beams}'}",
                measure="our_search_sample",
                arguments={**writes, "beams": beams},
            )
        if shown:
            yield Part(
                name=f"poems/{name}",
                measure="our_poems",
                arguments={**writes, "candidates": self.candidates},
            )

    def _course(self) -> Iterator[Part]:
        for name, path in self.baselines.items():
            here = {"folder": str(path), "weights": course.digest(path)}
            yield Part(name=f"perplexity/{name}", measure="course_perplexity", arguments=here)
            yield Part(name=f"next/{name}", measure="course_next_line", arguments=here)
            for manner in MANNERS if name == "course lstm" else (Manner(temperature=1.0),):
                yield Part(
                    name=f"sample/{name}/{manner.title}",
                    measure="course_sample",
                    arguments=here | {"manner": asdict(manner)},
                )
            if name == "course lstm":
                yield Part(name=f"poems/{name}", measure="course_poems", arguments=here)

    def _others(self) -> Iterator[Part]:
        for name, eras in (("5-gram, Tang and Song", list(Era)), ("5-gram, Tang", [Era.TANG])):
            arguments = {"eras": eras}
            yield Part(name=f"perplexity/{name}", measure="ngram_perplexity", arguments=arguments)
        for form in FormName:
            yield Part(
                name=f"checker/{form}", measure="tang_by_the_checker", arguments={"form": form}
            )
        yield Part(name="sample/Tang", measure="tang_sample", arguments={})
        yield Part(name="next/another poem", measure="tang_next_line", arguments={})


def main(
    *,
    count: Annotated[int, typer.Option(min=1, help="Poems per form for the rules.")] = 1000,
    chosen: Annotated[
        int, typer.Option(min=1, help="Poems per form for the rules as people get them.")
    ] = 100,
    candidates: Annotated[
        int | None, typer.Option(min=1, help="Candidates a poem; else the engine's setting.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="Further checkpoints: folders or ids.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="A file of `trainer corpus pack`.")] = None,
    state: Annotated[Path | None, typer.Option(help="Where figures and baselines are.")] = None,
    output: Annotated[Path, typer.Option(help="The folder of the two pages.")] = Path("docs"),
    again: Annotated[
        list[str] | None, typer.Option(help="Measure anew the parts whose names begin so.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Measure the parts whose names begin so; no pages.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
) -> None:
    """Measure everything that is not yet known, print the tables and write them to the docs."""
    out = Console(highlight=False, soft_wrap=True)
    err = Console(stderr=True, highlight=False)
    try:
        settings = load_settings(BenchmarkSettings)
        folder = state or settings.state_folder
        plan = Plan(
            models=_models(Registry.at(settings), checkpoint or []),
            baselines=_baselines(folder, settings),
            count=count,
            chosen=chosen,
            candidates=candidates or settings.candidates,
            engine=_digest_of_engine(),
        )
        pack, fingerprint = _pack(settings, data, folder)
        figures = measure_all(
            [part for part in plan.parts() if part.name.startswith(tuple(only or [""]))],
            Folder(folder / "figures", fingerprint),
            pack,
            again=again or [],
            processes=processes,
            tell=err.print,
        )
    except (CheckpointError, CorpusError, CourseError, DatasetError, SettingsError) as error:
        err.print(f"error: {error}", style="red", markup=False)
        raise typer.Exit(2) from None
    if only:
        return
    page = quality_page(figures, plan.models, candidates=plan.candidates)
    (output / "quality.md").write_text(page, encoding="utf-8")
    (output / "samples.md").write_text(
        samples_page(figures, plan.models, candidates=plan.candidates), encoding="utf-8"
    )
    out.print(page, markup=False)


def _models(registry: Registry, further: Sequence[str]) -> dict[str, Path]:
    """The champions by cell, the one that writes by default first, then what was named."""
    champions = registry.champions()
    ordered = {
        cell: champions[cell] for cell in (Cell.LSTM, Cell.GRU, Cell.RNN) if cell in champions
    }
    models = {str(cell): path for cell, path in ordered.items()}
    for name in further:
        path = registry.find(name)
        cell = path.name.partition("-")[0]
        models[cell if cell not in models else path.name] = path
    return models


def _baselines(folder: Path, settings: BenchmarkSettings) -> dict[str, Path]:
    """The trained course models, of whatever cell and share of the training.

    Raises:
        CourseError: the LSTM with the whole training is missing.
    """
    whole = settings.baseline_folder(folder, Cell.LSTM, 1.0)
    course.digest(whole)
    found = {"course lstm": whole}
    for path in sorted(folder.glob("*")):
        cell, _, share = path.name.partition("-")
        if course.is_trained(path) and path != whole:
            found[f"course {cell}" + (f" × {share}" if share else "")] = path
    return found


def _pack(settings: BenchmarkSettings, data: Path | None, folder: Path) -> tuple[Path, str]:
    """The packed poems, made of the corpus where no pack is given, and their fingerprint."""
    dataset = settings.dataset(data)
    if data is None:
        data = folder / "dataset.npz"
        dataset.save(data)
    return data, dataset.fingerprint


def _digest_of_engine() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(str(engine.__file__)).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


if __name__ == "__main__":
    typer.run(main)
