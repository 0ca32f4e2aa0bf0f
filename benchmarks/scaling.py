"""From one engine to many: poems a second, waiting, and what it costs when engines are killed.

    python -m benchmarks.scaling lstm --json scaling.json --picture docs/curves/scaling.svg

Engines are processes of their own and take from one Valkey over TCP, with an append-only file as in
production; the client is this process. Two kinds of engines are measured:

- *real* ones, with a bundled checkpoint. They have the cores of this machine, so beyond those there
  is nothing to gain from more of them.
- *asleep* (`benchmarks.sleeper`): real engines but for the model, which sleeps as long as a step of
  the real one takes. They use next to no core, as if each had a machine of its own; so many of them
  show where what they share comes to its limits: Valkey, the client, and here also that all of them
  do share two cores.

For each number of engines: the rate with a queue that never ends, and what each process used of a
core for it; then how long poems take at `LOAD` of that rate, coming by chance (Poisson). At last
engines are killed (SIGKILL) and others added while poems are asked for at `FAULT_LOAD`: what was
lost, what came twice, how long it took. As under load, each poem is chosen of `--candidates`.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from redis.asyncio import Redis

from benchmarks import traffic
from benchmarks.chart import draw_scaling
from benchmarks.load import full_step_ms, quantile
from benchmarks.processes import all_used_s, used_s
from benchmarks.valkey import on_a_port
from engine import logs
from engine.checkpoint import load
from engine.client import Admitted, Delivery, EngineClient, EngineUnavailableError, connect
from engine.heartbeat import living
from engine.jobs import Cell, Job, Poem
from engine.linear import Precision, pick
from engine.loop import FEWEST_CANDIDATES
from engine.registry import Registry
from engine.settings import USUAL_SLOTS, EngineSettings, load_settings
from engine.writer import Writer

LOAD = 0.7
"""Of the rate with a queue that never ends, what comes while waiting is measured."""
FAULT_LOAD = 0.3
"""The same while engines are killed: the others can do it, also where the next one starts on the
same cores."""
GENERATIONS = 2
"""Poems asked for at any time where the queue never ends, in those that engines have rows for."""
FAULT_EVERY_S = 3.0
"""An engine is killed, so long after it another is added, and so long after that beats the next."""
START_S = 180.0
"""How long engines may take to start, all at once on few cores."""
DRAIN_S = 60.0
"""How long what was asked for may take to come, in the end."""
_CLIENT = "benchmark"
_runs = count()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of engine, as it is started."""

    name: str
    """`real` or `asleep`."""
    cell: Cell
    """Whose poems are asked for."""
    at_once: int
    """Poems that each writes side by side."""
    command: tuple[str, ...]
    """What Python runs; `{url}` is Valkey's address."""
    variables: dict[str, str]
    """Of its environment."""
    under_fire: int
    """How many there are while some are killed."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What so many engines do."""

    kind: str
    """`real` or `asleep`."""
    engines: int
    """How many."""
    rate: float
    """Poems a second with a queue that never ends."""
    failed: int
    """Jobs that ended without a poem, in either part."""
    cores: dict[str, float]
    """Cores that were used for that rate: by engines, Valkey, the client, and by others."""
    microseconds: dict[str, float]
    """Of a core that a poem cost: in engines, Valkey and the client."""
    load: float
    """Poems a second that came, while it was measured how long they take."""
    p50_ms: float
    """Half took no longer, from asking to having the poem."""
    p99_ms: float
    """Nor did 99 of 100."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What killing and adding engines did."""

    kind: str
    """`real` or `asleep`."""
    engines: int
    """How many there were, but for the one that was killed and its successor not yet there."""
    load: float
    """Poems a second that were asked for."""
    asked: int
    """Poems."""
    killed: int
    """Engines, with SIGKILL in the midst of poems; another came for each."""
    lost: int
    """Poems that never came."""
    doubled: int
    """Outcomes that came again."""
    failed: int
    """Jobs that ended without a poem."""
    calm_p99_ms: float
    """What 99 of 100 took no longer than before the first kill."""
    p50_ms: float
    """What half took no longer than from then on."""
    p99_ms: float
    """What 99 of 100 took no longer than from then on."""
    slowest_ms: float
    """What none took longer than."""
    waits: list[tuple[float, float]]
    """For every half second: when, and what the slowest of those took that were asked for then."""
    kills: list[float]
    """When engines were killed, in seconds."""


@dataclass(kw_only=True)
class Fleet:
    """The engines of one Valkey."""

    kind: Kind
    url: str
    redis: Redis
    alive: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def add(self) -> None:
        """Start one more."""
        words = [word.format(url=self.url) for word in self.kind.command]
        variables = os.environ | self.kind.variables | {"YUEFU_REDIS_URL": self.url}
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=variables, stderr=subprocess.DEVNULL
        )
        self.alive.append(process)

    def kill(self, chance: random.Random) -> None:
        """SIGKILL for one of them."""
        _end(self.alive.pop(chance.randrange(len(self.alive))))

    async def become(self, engines: int) -> None:
        """Let there be so many, all of which beat."""
        for process in self.alive[engines:]:
            _end(process)
        del self.alive[engines:]
        while len(self.alive) < engines:
            self.add()
        async with asyncio.timeout(START_S):
            while not await self._all_beat():  # noqa: ASYNC110 - it is in Redis
                await asyncio.sleep(0.1)

    def used_s(self) -> float:
        """Seconds of cores that they have used."""
        return sum(used_s(process.pid) for process in self.alive)

    def dismiss(self) -> None:
        """End them all."""
        for process in self.alive:
            _end(process)

    async def _all_beat(self) -> bool:
        """Whether all have told that they live; each has its process's number in its name."""
        beating = {beat.worker.rpartition("-")[2] for beat in await living(self.redis)}
        return beating >= {f"{process.pid}" for process in self.alive}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


class Crowd:
    """Whoever asks for poems, and what they get."""

    def __init__(self, client: EngineClient, cell: Cell) -> None:
        self.took: dict[str, tuple[float, float]] = {}
        """By job: when it was asked for, and seconds until its outcome was here."""
        self.outcomes: Counter[str] = Counter()
        """How often each job was answered."""
        self.failed = 0
        self.over = False
        """Whether nobody asks any more."""
        self._client = client
        self._jobs = traffic.jobs(cell, seed=next(_runs), client=_CLIENT)
        self._waiting: dict[str, asyncio.Future[None]] = {}

    @property
    def doubled(self) -> int:
        """Outcomes beyond the first of each job."""
        return self.outcomes.total() - len(self.outcomes)

    async def ask(self) -> None:
        """Ask for one poem and wait for it."""
        job = next(self._jobs)
        self._waiting[job.id] = asyncio.get_running_loop().create_future()
        asked_s = time.perf_counter()
        await self._put(job)
        await self._waiting[job.id]
        self.took[job.id] = asked_s, time.perf_counter() - asked_s

    async def listen(self) -> None:
        """Take what comes, and forget it, until there is nobody who waits."""
        while not self.over:
            deliveries = await self._client.outcomes(_CLIENT, "reader", count=128, wait_ms=500)
            for delivery in deliveries:
                self._receive(delivery)
            await asyncio.gather(*map(self._client.done, deliveries))

    def _receive(self, delivery: Delivery) -> None:
        outcome = delivery.outcome
        self.outcomes[outcome.job_id] += 1
        self.failed += not isinstance(outcome, Poem)
        waiting = self._waiting[outcome.job_id]
        if not waiting.done():
            waiting.set_result(None)

    async def _put(self, job: Job) -> None:
        """Until Redis has it; asking again is safe."""
        while True:
            try:
                admission = await self._client.put(job)
            except EngineUnavailableError:
                continue
            if admission.status not in {Admitted.ACCEPTED, Admitted.DUPLICATE}:
                raise RuntimeError(f"{job.id} is {admission.status}")
            return


@asynccontextmanager
async def crowd_of(client: EngineClient, cell: Cell) -> AsyncIterator[Crowd]:
    """Somebody who asks, and listens as long as the block runs."""
    asking = Crowd(client, cell)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asking.listen())
        yield asking
        # Not cancelled: what it has in its hands would come to the next again.
        asking.over = True


def crowd(fleet: Fleet) -> AbstractAsyncContextManager[Crowd]:
    """Somebody who asks these engines."""
    return crowd_of(EngineClient(fleet.redis), fleet.kind.cell)


async def keep_asking(asking: Crowd, *, in_flight: int, seconds: float) -> None:
    """So many at any time, each of whom asks again once they have their poem."""
    ends_s = time.perf_counter() + seconds

    async def caller() -> None:
        while time.perf_counter() < ends_s:
            await asking.ask()

    await asyncio.gather(*(caller() for _ in range(in_flight)))


async def ask_by_chance(asking: Crowd, *, rate: float, seconds: float) -> int:
    """So many a second, at times of a Poisson process, whatever comes back; how many did.

    Returns once all have come, or after `DRAIN_S` more.
    """
    chance, at_s, began_s = random.Random(round(rate)), 0.0, time.perf_counter()
    asked: list[asyncio.Task[None]] = []
    while (at_s := at_s + chance.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
        asked.append(asyncio.create_task(asking.ask()))
    _, missing = await asyncio.wait(asked, timeout=DRAIN_S)
    for task in missing:
        task.cancel()
    return len(asked)


async def measure_level(fleet: Fleet, *, seconds: float) -> Level:
    """The figures of the engines that there are."""
    engines = len(fleet.alive)
    [valkey_pid] = [(await fleet.redis.info("server"))["process_id"]]

    def used() -> dict[str, float]:
        parts = {
            "engines": fleet.used_s(),
            "valkey": used_s(valkey_pid),
            "client": time.process_time(),
        }
        return parts | {"others": all_used_s() - sum(parts.values())}

    async with crowd(fleet) as asking:
        full = asyncio.create_task(
            keep_asking(
                asking,
                in_flight=GENERATIONS * engines * fleet.kind.at_once,
                seconds=1.5 * seconds,
            )
        )
        await asyncio.sleep(seconds / 2)
        before, had, began_s = used(), len(asking.outcomes), time.perf_counter()
        await asyncio.sleep(seconds)
        after, has, took_s = used(), len(asking.outcomes), time.perf_counter() - began_s
        await full
    spent = {name: after[name] - before[name] for name in after}
    rate, failed = (has - had) / took_s, asking.failed
    async with crowd(fleet) as asking:
        await ask_by_chance(asking, rate=LOAD * rate, seconds=seconds)
    waits = _waits_ms(asking)
    return Level(
        kind=fleet.kind.name,
        engines=engines,
        rate=rate,
        failed=failed + asking.failed,
        cores={name: part_s / took_s for name, part_s in spent.items()},
        microseconds={
            name: 1e6 * part_s / (has - had) for name, part_s in spent.items() if name != "others"
        },
        load=LOAD * rate,
        p50_ms=quantile(waits, 0.5),
        p99_ms=quantile(waits, 0.99),
    )


async def try_faults(fleet: Fleet, *, rate: float, seconds: float) -> Trial:
    """Kill and add engines by turns while poems are asked for at `rate` a second."""
    chance, engines = random.Random(36), len(fleet.alive)
    kills: list[float] = []
    async with crowd(fleet) as asking:
        began_s = time.perf_counter()
        asked = asyncio.create_task(ask_by_chance(asking, rate=rate, seconds=seconds))
        await asyncio.sleep(2 * FAULT_EVERY_S)
        while not asked.done() and time.perf_counter() - began_s < seconds - FAULT_EVERY_S:
            kills.append(time.perf_counter() - began_s)
            fleet.kill(chance)
            await asyncio.sleep(FAULT_EVERY_S)
            await fleet.become(engines)
            await asyncio.sleep(FAULT_EVERY_S)
        total = await asked
    calm, rest = _before_and_after(asking, began_s + kills[0])
    return Trial(
        kind=fleet.kind.name,
        engines=engines,
        load=rate,
        asked=total,
        killed=len(kills),
        lost=total - len(asking.outcomes),
        doubled=asking.doubled,
        failed=asking.failed,
        calm_p99_ms=quantile(calm, 0.99),
        p50_ms=quantile(rest, 0.5),
        p99_ms=quantile(rest, 0.99),
        slowest_ms=max(rest),
        waits=_slowest_by_time(asking, began_s),
        kills=kills,
    )


def _before_and_after(asking: Crowd, moment_s: float) -> tuple[list[float], list[float]]:
    """How long poems took, in ms: those that were there by a moment, and those that came later."""
    before: list[float] = []
    after: list[float] = []
    for at_s, took_s in asking.took.values():
        (before if at_s + took_s < moment_s else after).append(1000 * took_s)
    return before, after


def _slowest_by_time(asking: Crowd, began_s: float) -> list[tuple[float, float]]:
    slowest: dict[float, float] = {}
    for at_s, took_s in asking.took.values():
        bin_s = round(2 * (at_s - began_s)) / 2
        slowest[bin_s] = max(slowest.get(bin_s, 0.0), 1000 * took_s)
    return sorted(slowest.items())


def _waits_ms(asking: Crowd) -> list[float]:
    """Of those who asked after the first tenth of the time."""
    asked = sorted(asking.took.values())
    return [1000 * took_s for _, took_s in asked[len(asked) // 10 :]]


async def measure(
    kind: Kind, numbers: Sequence[int], *, seconds: float, fault_seconds: float
) -> tuple[list[Level], Trial]:
    """All figures of a kind."""
    levels: list[Level] = []
    with on_a_port() as url:
        redis = connect(EngineSettings(redis_url=url))
        fleet = Fleet(kind=kind, url=url, redis=redis)
        try:
            for engines in numbers:
                await fleet.become(engines)
                levels.append(await measure_level(fleet, seconds=seconds))
                _show_level(levels[-1])
            await fleet.become(kind.under_fire)
            rates = {level.engines: level.rate for level in levels}
            rate = FAULT_LOAD * rates.get(kind.under_fire, levels[-1].rate)
            trial = await try_faults(fleet, rate=rate, seconds=fault_seconds)
            _show_trial(trial)
        finally:
            fleet.dismiss()
            await redis.aclose()
    return levels, trial


def _show_level(level: Level) -> None:
    cores = ", ".join(f"{name} {used:.2f}" for name, used in level.cores.items())
    costs = ", ".join(f"{name} {cost:,.0f}" for name, cost in level.microseconds.items())
    print(
        f"{level.kind:6} {level.engines:2}: {level.rate:7,.0f} poems/s (cores: {cores}; µs a poem: "
        f"{costs}); at {level.load:,.0f}/s p50 {level.p50_ms:,.0f}, p99 {level.p99_ms:,.0f} ms; "
        f"failed {level.failed}",
        flush=True,
    )


def _show_trial(trial: Trial) -> None:
    print(
        f"{trial.kind:6} {trial.engines:2}, killed {trial.killed} and added as many, at "
        f"{trial.load:,.0f}/s: asked {trial.asked}, lost {trial.lost}, doubled {trial.doubled}, "
        f"failed {trial.failed}; p99 {trial.calm_p99_ms:,.0f} ms before, then p50 "
        f"{trial.p50_ms:,.0f}, p99 {trial.p99_ms:,.0f}, slowest {trial.slowest_ms:,.0f} ms",
        flush=True,
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def main(
    cell: Annotated[Cell, typer.Argument(help="Whose champion writes.")] = Cell.LSTM,
    *,
    real: Annotated[
        str, typer.Option(help="Numbers of real engines; none to leave out.")
    ] = "1,2,4",
    asleep: Annotated[str, typer.Option(help="Numbers of engines asleep, if any.")] = "1,2,4,8,16",
    slots: Annotated[int, typer.Option(min=1)] = USUAL_SLOTS,
    candidates: Annotated[int, typer.Option(min=1, help="For each poem.")] = FEWEST_CANDIDATES,
    step_ms: Annotated[
        float | None, typer.Option(help="How long to sleep; else as the real one, measured.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="For each figure.")] = 8.0,
    fault_seconds: Annotated[float, typer.Option(help="In which engines are killed.")] = 40.0,
    json_: Annotated[Path | None, typer.Option("--json", help="Where figures are kept.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the picture goes, as SVG.")] = None,
) -> None:
    """Measure, print, and draw."""
    torch.set_num_threads(1)
    logs.configure(level="WARNING", secrets=[])
    precision = pick("auto", "cpu")
    step_ms = step_ms or _step_ms(cell, slots=slots, precision=precision)
    print(f"{cell} in {precision}, {slots} rows: a step of all rows takes {step_ms:.2f} ms")
    real_engines = Kind(
        name="real",
        cell=cell,
        at_once=slots // candidates,
        command=("engine", "serve"),
        variables={
            "YUEFU_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "YUEFU_SLOTS": f"{slots}",
            "YUEFU_CANDIDATES": f"{candidates}",
        },
        under_fire=2,
    )
    sleepers = Kind(
        name="asleep",
        cell=cell,
        at_once=slots // candidates,
        command=("benchmarks.sleeper", "{url}", f"{slots // candidates}", f"{step_ms}"),
        variables={"OMP_NUM_THREADS": "1"},
        under_fire=4,
    )
    levels: list[Level] = []
    trials: list[Trial] = []
    for kind, numbers in ((sleepers, _numbers(asleep)), (real_engines, _numbers(real))):
        if numbers:
            found, trial = asyncio.run(
                measure(kind, numbers, seconds=seconds, fault_seconds=fault_seconds)
            )
            levels += found
            trials.append(trial)
    figures: dict[str, Any] = {
        "cell": cell,
        "precision": precision,
        "slots": slots,
        "candidates": candidates,
        "step_ms": step_ms,
        "cores": os.cpu_count(),
        "levels": [asdict(level) for level in levels],
        "trials": [asdict(trial) for trial in trials],
    }
    if json_ is not None:
        json_.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if picture is not None:
        draw_scaling(figures["levels"], figures["trials"], picture)


def _step_ms(cell: Cell, *, slots: int, precision: Precision) -> float:
    checkpoint = load(Registry.at(load_settings(EngineSettings)).champion(cell))
    return full_step_ms(Writer(checkpoint, slots=slots, candidates=1, precision=precision))


if __name__ == "__main__":
    typer.run(main)
