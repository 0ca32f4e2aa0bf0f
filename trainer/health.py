"""How the trainer fares, answered from a thread of its own: nights keep the main one busy.

/healthz fails where nothing was heard of the trainer's work for longer than a night may take.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

from anyio.from_thread import start_blocking_portal

from engine.client import answers
from engine.probes import routes
from engine.web import App, listening
from trainer.duty import at_redis
from trainer.gauges import Gauges
from trainer.schedule import LOOK_S
from trainer.settings import TrainerSettings

_HOUR_S = 3600.0


@contextmanager
def answering(settings: TrainerSettings, gauges: Gauges) -> Iterator[None]:
    """Answer meanwhile at `settings.listen`, if that is set.

    Raises:
        SettingsError: nobody can listen there.
    """
    if settings.listen is None:
        yield
        return
    served = _served(settings, settings.listen, gauges)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served):
        yield


@asynccontextmanager
async def _served(settings: TrainerSettings, address: str, gauges: Gauges) -> AsyncIterator[None]:
    async with at_redis(settings) as redis:

        async def lives() -> Mapping[str, bool]:
            patience_s = settings.nightly_hours * _HOUR_S + 2 * LOOK_S
            return {"nights": gauges.silent_s < patience_s}

        async def ready() -> Mapping[str, bool]:
            return {**await lives(), "redis": await answers(redis)}

        paths = routes(registry=gauges.registry, lives=lives, ready=ready)
        async with listening(address, App(paths)):
            yield
