"""Whether an engine of this host beats: status 0 if one does. A container's health check.

Where Redis does not answer, nobody can tell, and to start the engine again would not help.
"""

import asyncio
import socket
import sys

from engine.client import ANSWER_S, connect
from engine.heartbeat import living
from engine.settings import EngineSettings, load_settings


async def beats() -> bool:
    """Whether a worker with this host's name has beaten within the last seconds, or may have."""
    redis = connect(load_settings(EngineSettings))
    try:
        async with asyncio.timeout(ANSWER_S):
            workers = [beat.worker for beat in await living(redis)]
    except TimeoutError:
        return True
    finally:
        await redis.aclose()
    return any(worker.startswith(f"{socket.gethostname()}-") for worker in workers)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(beats()) else 1)
