"""Round trips through a queue: so many callers, each of whom asks again once it has its answer.

Needs the standard library only, for it also runs in an interpreter that has a rival's packages and
none of ours.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from typing import Any

POEM = {
    "text": "月落空江夜，風吹遠樹秋。故人千里外，一葉下汀洲。",
    "form": "wujue",
    "rhyme": "尤",
    "tones": ["仄仄平平仄", "平平仄仄平", "仄平平仄仄", "仄仄平平仄"],
    "checkpoint": "gru-test",
    "seed": 7,
    "logprob": -31.5,
    "context": {"chat": 7},
}
"""What a worker answers without writing: about as long as a real outcome."""
REQUEST = {"form": "wujue", "cell": "gru", "temperature": 0.8, "seed": 7, "opening": "月"}
"""What is asked of a rival's worker: the fields of a usual job."""

_WARM_UP_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Load:
    """How to ask."""

    in_flight: int
    """Callers at once."""
    seconds: float
    """For how long."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one load showed."""

    in_flight: int
    """Callers at once."""
    jobs_per_s: float
    """Round trips that ended, in a second."""
    p50_ms: float
    """The median time from asking to having the answer."""
    p99_ms: float
    """The time that one in a hundred took longer than."""


Ask = Callable[[int], Awaitable[Callable[[], Awaitable[None]] | None]]
"""Asks for the job of that number and waits for its outcome. Returns what must still be done with
it, which counts against the rate and not against the round trip."""


async def drive(ask: Ask, loads: Sequence[Load]) -> list[Figures]:
    """The figures of each load, one after the other."""
    return [await _drive(ask, load, first=at * 10**8) for at, load in enumerate(loads)]


async def _drive(ask: Ask, load: Load, *, first: int) -> Figures:
    numbers = iter(range(first, first + 10**8))
    measure_from = time.perf_counter() + _WARM_UP_S
    ends = measure_from + load.seconds
    took: list[float] = []

    async def caller() -> None:
        while (began := time.perf_counter()) < ends:
            after = await ask(next(numbers))
            answered = time.perf_counter()
            if after is not None:
                await after()
            if measure_from <= time.perf_counter() <= ends:
                took.append(answered - began)

    await asyncio.gather(*(caller() for _ in range(load.in_flight)))
    if not took:
        raise RuntimeError(f"no job of {load.in_flight} in flight ended within {load.seconds} s")
    took.sort()
    return Figures(
        in_flight=load.in_flight,
        jobs_per_s=len(took) / load.seconds,
        p50_ms=1000 * took[len(took) // 2],
        p99_ms=1000 * took[int(len(took) * 0.99)],
    )


def main(
    work: Callable[[str], Coroutine[Any, Any, None]],
    asking: Callable[[str, Sequence[Load]], Coroutine[Any, Any, list[Figures]]],
) -> None:
    """`MODULE work URL` until killed, or `MODULE ask URL LOADS SECONDS`, which prints figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["work", "ask"])
    parser.add_argument("url")
    parser.add_argument("in_flight", nargs="?", default="")
    parser.add_argument("seconds", nargs="?", type=float, default=1.0)
    options = parser.parse_args()
    if options.role == "work":
        asyncio.run(work(options.url))
        return
    loads = [
        Load(in_flight=int(number), seconds=options.seconds)
        for number in options.in_flight.split(",")
    ]
    figures = asyncio.run(asking(options.url, loads))
    print(json.dumps([asdict(one) for one in figures]))
