"""Figures as Prometheus gets them from `/metrics`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """All that one process told at one moment."""

    figures: Mapping[tuple[str, frozenset[str]], float]
    """Each figure, by its name and the values of its labels."""

    def __call__(self, name: str, *labels: str) -> float:
        """The one figure of this name whose labels have these values, in any order."""
        return self.figures[name, frozenset(labels)]

    def all_unknown(self, *names: str) -> bool:
        """Whether every figure of these names is NaN, and there is one of each."""
        found = [figure for (name, _), figure in self.figures.items() if name in names]
        return len(found) >= len(names) and all(map(math.isnan, found))


async def scrape(http: httpx.AsyncClient) -> Scrape:
    """Ask the process that `http` leads to."""
    answer = await http.get("/metrics")
    answer.raise_for_status()
    families = text_string_to_metric_families(answer.text)
    samples = [sample for family in families for sample in family.samples]
    return Scrape(
        figures={(one.name, frozenset(one.labels.values())): one.value for one in samples}
    )
