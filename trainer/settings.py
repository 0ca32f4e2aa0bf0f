"""The trainer's settings, read from the environment (prefix `YUEFU_`)."""

from pathlib import Path

from engine.settings import EngineSettings


class TrainerSettings(EngineSettings):
    """What training needs beside what every process needs."""

    corpus: Path | None = None
    """The folder that holds 全唐诗. Unset: `data`/corpus."""

    @property
    def corpus_folder(self) -> Path:
        """The corpus's folder, by setting or by default."""
        return self.corpus if self.corpus is not None else self.data / "corpus"

    @property
    def runs_folder(self) -> Path:
        """Where unfinished training runs keep their state."""
        return self.data / "runs"
