"""The metrics that every process has; each adds its own (`engine.gauges` and its like).

A process makes one registry of its own and never uses prometheus-client's global one, so that two
engines in one process, as in tests, tell of themselves alone.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from engine import VERSION

REDIS_ERRORS = Counter(
    "yuefu_redis_errors",
    "Attempts of commands that Redis did not answer, or not in time.",
    registry=None,
)
"""Of the whole process: whoever speaks to Redis counts here (`engine.client`)."""


def new_registry() -> CollectorRegistry:
    """A registry with what every process tells: its version, its Redis, its memory and time."""
    # Beside each counter, when it was made: as many figures again, which no question needs.
    disable_created_metrics()  # type: ignore[no-untyped-call]  # it forgot its -> None
    registry = CollectorRegistry(auto_describe=True)
    build = Gauge("yuefu_build_info", "Which Yuefu runs.", ["version"], registry=registry)
    build.labels(VERSION).set(1)
    registry.register(REDIS_ERRORS)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
