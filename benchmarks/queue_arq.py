"""arq in `benchmarks.queue_rate`, by an interpreter that has arq."""

from collections.abc import Sequence
from typing import Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

from benchmarks.roundtrips import POEM, REQUEST, Figures, Load, drive, main

POLL_S = 0.005
"""How often the worker looks for jobs and a caller for its result: of 0.5 s (arq's usual), 50, 10,
5, 2 and 1 ms the one with the best rate at 64 in flight."""


async def _write(_context: dict[Any, Any], _request: dict[str, Any]) -> dict[str, Any]:
    return POEM


async def work(url: str) -> None:
    """Finish what comes, for ever."""
    worker = Worker(
        functions=[func(_write, name="write", keep_result=60)],
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=256,
        poll_delay=POLL_S,
        handle_signals=False,
    )
    await worker.async_run()


async def ask(url: str, loads: Sequence[Load]) -> list[Figures]:
    """The figures of each load."""
    pool = await create_pool(RedisSettings.from_dsn(url))

    async def call(_number: int) -> None:
        job = await pool.enqueue_job("write", REQUEST)
        await job.result(poll_delay=POLL_S)

    return await drive(call, loads)


if __name__ == "__main__":
    main(work, ask)
