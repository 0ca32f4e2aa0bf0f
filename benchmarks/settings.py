"""Where the benchmarks find the poems and keep what is costly to make again."""

from pathlib import Path

from engine.jobs import Cell
from trainer.dataset import Dataset, find
from trainer.settings import TrainerSettings


class BenchmarkSettings(TrainerSettings):
    """What the benchmarks need: what training needs."""

    @property
    def state_folder(self) -> Path:
        """Where baselines and figures are kept."""
        return self.data / "benchmarks"

    def baseline_folder(self, state: Path | None, cell: Cell, share: float) -> Path:
        """The folder of one baseline, under `state` or the usual place."""
        name = f"{cell}" if share == 1 else f"{cell}-{share:g}"
        return (state or self.state_folder) / name

    def dataset(self, pack: Path | None) -> Dataset:
        """The poems, from a file of `corpus pack` or else from the corpus itself."""
        return find(self.corpus_folder, pack)
