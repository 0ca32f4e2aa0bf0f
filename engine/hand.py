"""What a person does with a checkpoint by hand: write, time, look at it.

It loads torch, which takes seconds: `engine.__main__` asks for it once it knows that it is needed.
"""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch

from engine.ask import AskError
from engine.bench import Speed, measure
from engine.checkpoint import Checkpoint
from engine.jobs import Cell, Failure, Job, Poem
from engine.linear import Precision, pick, precisions_of
from engine.preference import Preference
from engine.registry import Registry
from engine.runner import Runner
from engine.service import pick_device
from engine.settings import EngineSettings
from engine.writer import Writer

_EXTREMES = 30
_WORN = 10


def write(settings: EngineSettings, jobs: list[Job], *, beams: int | None) -> Iterator[Poem]:
    """The poems of jobs of one cell, in their order; searched for if there are `beams`.

    Raises:
        AskError: a job could not become a poem.
        CheckpointError: there is no champion that can be used.
    """
    torch.set_num_threads(settings.threads)
    device = pick_device(settings)
    writer = Writer(
        Registry.at(settings).load_named(jobs[0].cell),
        slots=max(settings.slots_on(device), *(job.candidates or 1 for job in jobs)),
        candidates=settings.candidates,
        device=device,
    )
    return _in_order(writer, jobs) if beams is None else _search(writer, jobs, beams)


def time_writing(
    settings: EngineSettings, cell: Cell, *, rounds: int
) -> tuple[str, Iterator[Speed]]:
    """What is timed, and its speed in every precision of this machine, a batch at a time.

    Raises:
        CheckpointError: there is no champion that can be used.
    """
    torch.set_num_threads(settings.threads)
    checkpoint, device = Registry.at(settings).load_named(cell), pick_device(settings)
    speeds = measure(
        checkpoint,
        precisions=precisions_of(device),
        batches=tuple(sorted({1, settings.candidates, settings.slots_on(device)})),
        device=device,
        rounds=rounds,
    )
    return f"{checkpoint.id} on {device}, {settings.threads} threads", speeds


def compile_loops(settings: EngineSettings) -> Iterator[tuple[str, float]]:
    """Compile what writes with each champion, and what it was with the seconds that it took.

    Raises:
        CheckpointError: there is no champion that can be used.
    """
    torch.set_num_threads(settings.threads)
    device, registry = pick_device(settings), Registry.at(settings)
    # `serve` writes in the one, `compose` in the other.
    for precision in dict.fromkeys((pick(settings.precision, device), Precision.FP32)):
        for cell in registry.champions():
            checkpoint, began = registry.load_named(cell), time.perf_counter()
            Runner(checkpoint, slots=1, device=device, precision=precision)
            yield f"{cell} in {precision}", time.perf_counter() - began


def describe(settings: EngineSettings, name: str) -> dict[str, Any]:
    """What a checkpoint is, by a folder, an id or a cell's name, once it is verified.

    Raises:
        CheckpointError: it cannot be used.
    """
    loaded = Registry.at(settings).load_named(name)
    return {
        "checkpoint": loaded.id,
        "cell": loaded.shape.cell,
        "vocabulary": loaded.shape.vocabulary,
        "embedding": loaded.shape.embedding,
        "hidden": loaded.shape.hidden,
        "parameters": sum(p.numel() for p in loaded.weights.values()),
        "steps": loaded.report.get("steps"),
        "test_perplexity": loaded.report.get("test", {}).get("perplexity"),
        **_liked(loaded),
        **_worn(loaded),
    }


def _liked(checkpoint: Checkpoint) -> dict[str, str]:
    """The characters that its readers like most and least, if it learnt that."""
    if checkpoint.preference is None:
        return {}
    most, least = Preference.of(checkpoint.preference).extremes(_EXTREMES)
    decode = checkpoint.vocabulary.decode
    return {"readers_like": decode(most), "readers_dislike": decode(least)}


def _worn(checkpoint: Checkpoint) -> dict[str, str]:
    """The pairs of characters that it writes most often, if they were counted."""
    if checkpoint.wear is None:
        return {}
    return {"most_worn": " ".join(islice(checkpoint.wear.pairs, _WORN))}


def _in_order(writer: Writer, jobs: list[Job]) -> Iterator[Poem]:
    """The poems in the order of their jobs.

    Raises:
        AskError: a job could not become a poem.
    """
    done: dict[str, Poem] = {}
    for job in jobs:
        writer.add(job)
    for job in jobs:
        while job.id not in done:
            for outcome in writer.step():
                if isinstance(outcome, Failure):
                    raise AskError(outcome.detail or outcome.reason)
                done[outcome.job_id] = outcome
        yield done.pop(job.id)


def _search(writer: Writer, jobs: list[Job], beams: int) -> Iterator[Poem]:
    """For each job the likeliest poem that breaks no rule, of those that the beams found."""
    for job in jobs:
        poem = writer.likeliest(job, beams=beams)
        if poem is None:
            raise AskError(f"none of {beams} beams keeps every rule: try more")
        yield poem
