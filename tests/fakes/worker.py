"""An engine that writes no verse: it takes jobs, works a while, finishes them. Made to be killed.

    python -m tests.fakes.worker URL NAME --lease-ms N --slots N --work-ms N

A job whose opening is `POISON` kills it, as a fault in a native library would.
"""

import argparse
import asyncio
import os
import signal

from engine.client import connect
from engine.queue import Lease, Queue
from engine.settings import EngineSettings
from tests.fakes.jobs import a_poem

POISON = "毒"


async def serve(options: argparse.Namespace) -> None:
    redis = connect(EngineSettings(redis_url=options.url))
    queue = Queue(redis, worker=options.name, lease_ms=options.lease_ms)
    while True:
        leases = await queue.take(options.slots, wait_ms=500)
        await work(leases, options.work_ms / 1000)
        for lease in leases:
            await queue.finish(lease, a_poem(lease.job))


async def work(leases: list[Lease], work_s: float) -> None:
    if leases:
        await asyncio.sleep(work_s)
    if any(lease.job.opening == POISON for lease in leases):
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("name")
    for number in ("--lease-ms", "--slots", "--work-ms"):
        parser.add_argument(number, type=int, required=True)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
