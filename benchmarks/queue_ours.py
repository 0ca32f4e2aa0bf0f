"""Our queue in `benchmarks.queue_rate`: a worker that writes nothing, and a client of it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from benchmarks.roundtrips import Figures, Load, drive, main
from engine.client import Admitted, Delivery, EngineClient, connect
from engine.jobs import Cell, Job, Poem
from engine.queue import Queue
from engine.settings import EngineSettings
from engine.verse.forms import FormName

_SLOTS = 128
_PROCESS = os.getpid()
_CLIENT = "bench"


async def work(url: str) -> None:
    """Finish what comes, for ever."""
    queue = Queue(connect(EngineSettings(redis_url=url)), worker="bench")
    while True:
        leases = await queue.take(_SLOTS, wait_ms=500)
        await queue.finish_all([(lease, made_up(lease.job)) for lease in leases])


async def ask(url: str, loads: Sequence[Load]) -> list[Figures]:
    """The figures of each load."""
    client = EngineClient(connect(EngineSettings(redis_url=url)))
    waiting: dict[str, asyncio.Future[Delivery]] = {}

    async def listen() -> None:
        while True:
            for delivery in await client.outcomes(_CLIENT, _CLIENT, count=128, wait_ms=500):
                waiting.pop(delivery.outcome.job_id).set_result(delivery)

    async def call(number: int) -> Callable[[], Awaitable[None]]:
        job = _job(number)
        answer = asyncio.get_running_loop().create_future()
        waiting[job.id] = answer
        if (await client.put(job)).status is not Admitted.ACCEPTED:
            raise RuntimeError(f"{job.id} was not accepted")
        return partial(client.done, await answer)

    listening = asyncio.create_task(listen())
    figures = await drive(call, loads)
    listening.cancel()
    return figures


def _job(number: int) -> Job:
    return Job(
        id=f"bench:{_PROCESS}:{number}",
        client=_CLIENT,
        chat="bench:7",
        form=FormName.WUJUE,
        cell=Cell.GRU,
        temperature=0.8,
        seed=7,
        opening="月",
        context={"chat": 7},
    )


def made_up(job: Job) -> Poem:
    """A poem that answers `job`, and is always the same."""
    return Poem(
        job_id=job.id,
        lines=("月落空江夜", "風吹遠樹秋", "故人千里外", "一葉下汀洲"),
        form=job.form,
        rhyme="尤",
        tones=("仄仄平平仄", "平平仄仄平", "仄平平仄仄", "仄仄仄平平"),
        cell=job.cell,
        checkpoint="gru-test",
        seed=job.seed,
        logprob=-31.5,
        context=job.context,
    )


if __name__ == "__main__":
    main(work, ask)
