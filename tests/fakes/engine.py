"""An engine that takes jobs and answers each with a made-up poem, or as many as are wanted.

In the test's own process, by `fake_engine`; or in one of its own: `python -m tests.fakes.engine`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis

from engine.client import connect
from engine.heartbeat import Heartbeat, beat
from engine.jobs import Cell, Job, Outcome, Poem
from engine.queue import Queue
from engine.settings import EngineSettings
from engine.verse.forms import FORMS

WORDS = "月落空江夜風吹遠樹秋故人千里外一葉下汀洲雲山連野水"
WORKER = "fake"
CHECKPOINT = "gru-test"
BEAT_S = 1.0

Answer = Callable[[Job], Outcome]


def made_up_poem(job: Job) -> Poem:
    """A poem with the form, the rhyme and the characters asked for; nothing else is right."""
    first, *others = (_made_up(job, number) for number in range(job.count))
    return replace(first, others=tuple(others), context=job.context)


def _made_up(job: Job, number: int) -> Poem:
    form, words = FORMS[job.form], WORDS[number:] + WORDS[:number]
    # An opening is followed by the first of the words, whatever its length.
    fixed = job.glyphs if job.frame else dict(enumerate(job.opening))
    rest = iter(words * form.lines)
    words = "".join(fixed.get(place) or next(rest) for place in range(form.length))
    return Poem(
        job_id=job.id,
        lines=tuple(
            words[start : start + form.line_length]
            for start in range(0, form.length, form.line_length)
        ),
        form=job.form,
        rhyme=job.rhyme or "尤",
        tones=("中" * form.line_length,) * form.lines,
        cell=job.cell,
        checkpoint=CHECKPOINT,
        seed=job.seed,
        logprob=-31.5,
    )


class FakeEngine:
    """What a test may know of the engine: which jobs it answered."""

    def __init__(self, redis: Redis, *, answer: Answer, cells: tuple[Cell, ...]) -> None:
        self.jobs: list[Job] = []
        self._redis = redis
        self._queue = Queue(redis, worker=WORKER)
        self._answer = answer
        self._cells = cells

    async def beat(self) -> None:
        """Say that this engine lives."""
        cells = dict.fromkeys(self._cells, CHECKPOINT)
        heartbeat = Heartbeat(worker=WORKER, cells=cells, slots=64, since_ms=0)
        await beat(self._redis, heartbeat)

    async def run(self) -> None:
        """Take jobs and answer them until cancelled."""
        beat_at = 0.0
        while True:
            if time.monotonic() >= beat_at:
                await self.beat()
                beat_at = time.monotonic() + BEAT_S
            for lease in await self._queue.take(64, wait_ms=500):
                self.jobs.append(lease.job)
                await self._queue.finish(lease, self._answer(lease.job))


@asynccontextmanager
async def fake_engine(
    redis: Redis,
    *,
    answer: Answer = made_up_poem,
    cells: tuple[Cell, ...] = (Cell.GRU, Cell.LSTM),
) -> AsyncIterator[FakeEngine]:
    """An engine that runs beside the test."""
    engine = FakeEngine(redis, answer=answer, cells=cells)
    await engine.beat()
    running = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _serve() -> None:
    async with fake_engine(connect(EngineSettings())):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
