"""What the queue costs: poems a second through Redis, as a share of what the writer does alone.

An engine process has one core; the client, and Valkey with an append-only file as in production,
have another. The client keeps so many requests under way that the engine never waits for one. The
writer alone, on the engine's core, has a queue in its own memory that never ends. Both take turns.

    python -m benchmarks.end_to_end lstm --candidates 1 --json end-to-end.json

Beside the rate there is the share of its core that the engine used: what it lacks to 1 it waited,
or others had the core. And the share of that for all but writing: the thread that speaks to Redis.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

from benchmarks import traffic
from benchmarks.processes import used_s
from benchmarks.valkey import on_a_socket
from engine import logs
from engine.checkpoint import load
from engine.client import EngineClient, connect
from engine.jobs import Cell, Job, Poem
from engine.linear import Precision, pick
from engine.loop import FEWEST_CANDIDATES
from engine.registry import Registry
from engine.settings import USUAL_SLOTS, EngineSettings
from engine.writer import Writer

CLIENT = "benchmark"
GENERATIONS = 3
"""Requests under way, in what the engine can have in its rows at once."""
START_S = 60.0
"""How long an engine may take to start."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is measured."""

    cell: Cell
    """Who writes."""
    slots: int
    """Rows."""
    candidates: int
    """Written for each poem at the most."""
    seconds: float
    """For each figure."""
    precision: Precision
    """In which products are computed."""
    core: int
    """The engine's."""
    client_core: int
    """The client's and Valkey's."""

    @property
    def fewest(self) -> int:
        """Candidates of each poem where many are asked for."""
        return min(FEWEST_CANDIDATES, self.candidates)

    @property
    def warm_up_s(self) -> float:
        """What is let pass before anything counts."""
        return self.seconds / 3


@dataclass(frozen=True, kw_only=True)
class Flow:
    """What came through."""

    rate: float
    """Poems a second."""
    used: float
    """Share of its core that the engine used."""
    beside: float = 0.0
    """Share of what it used in which it did not write but speak to Redis."""

    @property
    def yield_(self) -> float:
        """Poems for each second that it used of its core, whoever had the core meanwhile."""
        return self.rate / self.used


def write_alone(setup: Setup) -> Flow:
    """The writer without a queue; in a process of its own."""
    os.sched_setaffinity(0, {setup.core})
    torch.set_num_threads(1)
    logs.configure(level="WARNING", secrets=[])
    writer = Writer(
        load(Registry.at(EngineSettings()).champion(setup.cell)),
        slots=setup.slots,
        candidates=setup.candidates,
        fewest=setup.fewest,
        precision=setup.precision,
    )
    asked = traffic.jobs(setup.cell, seed=1)
    _write_for(setup.warm_up_s, writer, asked)
    began_s, used_s = time.perf_counter(), time.process_time()
    poems = _write_for(setup.seconds, writer, asked)
    took_s = time.perf_counter() - began_s
    return Flow(rate=poems / took_s, used=(time.process_time() - used_s) / took_s)


def _write_for(seconds: float, writer: Writer, asked: Iterator[Job]) -> int:
    """Keep the writer busy for so long; the poems that it wrote."""
    poems, ends_s = 0, time.perf_counter() + seconds
    while time.perf_counter() < ends_s:
        traffic.keep_busy(writer, asked)
        poems += len(writer.step())
    return poems


@contextmanager
def _engine(setup: Setup, url: str) -> Iterator[int]:
    """The process id of an engine on its core."""
    variables = {
        "YUEFU_REDIS_URL": url,
        "YUEFU_THREADS": "1",
        "YUEFU_SLOTS": str(setup.slots),
        "YUEFU_CANDIDATES": str(setup.candidates),
        "YUEFU_PRECISION": setup.precision,
        "YUEFU_LOG_LEVEL": "INFO",
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "engine", "serve"],
        env=os.environ | variables,
        stderr=subprocess.DEVNULL,
    ) as process:
        os.sched_setaffinity(process.pid, {setup.core})
        try:
            yield process.pid
        finally:
            process.terminate()


def through_redis(setup: Setup) -> Flow:
    """The same poems, for a client in this process."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {setup.client_core})
    try:
        with on_a_socket() as url, _engine(setup, url) as pid:
            return asyncio.run(_pump(setup, url, pid))
    finally:
        os.sched_setaffinity(0, before)


async def _pump(setup: Setup, url: str, pid: int) -> Flow:
    """Ask for as many as come back."""
    redis = connect(EngineSettings(redis_url=url))
    client, asked = EngineClient(redis), traffic.jobs(setup.cell, seed=1, client=CLIENT)

    async def put(count: int) -> None:
        await asyncio.gather(*(client.put(job) for job in islice(asked, count)))

    async def collect() -> int:
        deliveries = await client.outcomes(CLIENT, "reader", wait_ms=500)
        await asyncio.gather(put(len(deliveries)), *map(client.done, deliveries))
        return sum(isinstance(delivery.outcome, Poem) for delivery in deliveries)

    await put(GENERATIONS * setup.slots // setup.fewest)
    async with asyncio.timeout(START_S):
        while not await collect():
            pass
    await _count(collect, setup.warm_up_s)
    before = _used_s(pid)
    began_s = time.perf_counter()
    poems = await _count(collect, setup.seconds)
    took_s = time.perf_counter() - began_s
    used, beside = (after - first for after, first in zip(_used_s(pid), before, strict=True))
    await redis.aclose()
    return Flow(rate=poems / took_s, used=used / took_s, beside=beside / used)


async def _count(collect: Callable[[], Awaitable[int]], seconds: float) -> int:
    """Poems that come within so long."""
    poems, ends_s = 0, time.perf_counter() + seconds
    while time.perf_counter() < ends_s:
        poems += await collect()
    return poems


def _used_s(pid: int) -> tuple[float, float]:
    """Seconds of a core that a process has used, and its first thread among them."""
    return used_s(pid), used_s(pid, thread=pid)


def main(
    cell: Annotated[Cell, typer.Argument(help="Whose champion writes.")] = Cell.LSTM,
    *,
    slots: Annotated[int, typer.Option(min=1)] = USUAL_SLOTS,
    candidates: Annotated[int, typer.Option(min=1, help="Of each poem, at the most.")] = 1,
    precision: Annotated[str, typer.Option(help="fp32, bf16, int8, or auto.")] = "auto",
    seconds: Annotated[float, typer.Option(help="For each figure.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="Figures of each kind.")] = 3,
    json_: Annotated[Path | None, typer.Option("--json", help="Where figures are kept.")] = None,
) -> None:
    """Measure on the first two cores that this process may use."""
    core, client_core, *_ = [*sorted(os.sched_getaffinity(0)), *os.sched_getaffinity(0)]
    setup = Setup(
        cell=cell,
        slots=slots,
        candidates=candidates,
        seconds=seconds,
        precision=pick(precision, "cpu"),
        core=core,
        client_core=client_core,
    )
    alone: list[Flow] = []
    through: list[Flow] = []
    for _ in range(rounds):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            alone.append(pool.submit(write_alone, setup).result())
        through.append(through_redis(setup))
        typer.echo(f"alone {alone[-1]}\nthrough Redis {through[-1]}")
    rates = {
        name: median(flow.rate for flow in flows)
        for name, flows in {"alone": alone, "through_redis": through}.items()
    }
    share = median(after.rate / before.rate for after, before in zip(through, alone, strict=True))
    by_use = median(
        after.yield_ / before.yield_ for after, before in zip(through, alone, strict=True)
    )
    typer.echo(
        f"through Redis {rates['through_redis']:.1f} poems/s, {share:.1%} of the writer's; "
        f"{by_use:.1%} by what was used of the core"
    )
    figures = {
        "cell": cell,
        "slots": slots,
        "candidates": candidates,
        "precision": setup.precision,
        "poems_per_s": rates,
        "share": share,
        "share_by_use": by_use,
        "alone": [asdict(flow) for flow in alone],
        "through_redis": [asdict(flow) for flow in through],
    }
    if json_ is not None:
        json_.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
