"""docs/admins.md names every metric of bot, engine and trainer, and no other."""

from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from bot.metrics import Metrics
from engine.figures import QueueCollector
from engine.gauges import Gauges as EngineGauges
from engine.metrics import new_registry
from tests.fakes.documented import documented_metrics
from trainer.gauges import Gauges as TrainerGauges


def names_in(registry: CollectorRegistry) -> set[str]:
    """Our metrics as one asks Prometheus for them."""
    text = generate_latest(registry).decode()
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if family.name.startswith("yuefu_")
    }


def test_the_engine_s_metrics_are_all_in_the_manual():
    gauges = EngineGauges()
    gauges.show(SimpleNamespace(slots=8, rows=0, cells={}, challengers={}))
    gauges.registry.register(QueueCollector(Redis()))
    assert documented_metrics("What an engine tells") == names_in(gauges.registry)


def test_the_trainer_s_metrics_are_all_in_the_manual():
    own = names_in(TrainerGauges().registry) - names_in(new_registry())
    assert documented_metrics("What the trainer tells") == own


def test_the_bot_s_metrics_are_all_in_the_manual():
    own = names_in(Metrics("telegram").registry) - names_in(new_registry())
    assert documented_metrics("What the bot tells") == own
