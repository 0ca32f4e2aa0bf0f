"""taskiq over Redis streams in `benchmarks.queue_rate`, by an interpreter that has both."""

from collections.abc import Sequence
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.roundtrips import POEM, REQUEST, Figures, Load, drive, main

POLL_S = 0.002
"""How often a caller looks for its result: of 0.2 s (taskiq's usual), 50, 10, 5, 2 and 1 ms the one
with the best rate at 64 in flight."""


async def _write(_request: dict[str, Any]) -> dict[str, Any]:
    return POEM


def _broker(url: str) -> tuple[RedisStreamBroker, Any]:
    results = RedisAsyncResultBackend(redis_url=url, keep_results=False, result_ex_time=60)
    broker = RedisStreamBroker(url=url, consumer_id="0").with_result_backend(results)

    return broker, broker.register_task(_write, task_name="write")


async def work(url: str) -> None:
    """Finish what comes, for ever."""
    broker, _ = _broker(url)
    await run_receiver_task(broker, max_async_tasks=256, run_startup=True)


async def ask(url: str, loads: Sequence[Load]) -> list[Figures]:
    """The figures of each load."""
    broker, write = _broker(url)
    await broker.startup()

    async def call(_number: int) -> None:
        task = await write.kiq(REQUEST)
        await task.wait_result(check_interval=POLL_S)

    figures = await drive(call, loads)
    await broker.shutdown()
    return figures


if __name__ == "__main__":
    main(work, ask)
