"""The loss curve of a run, as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from trainer.fit import Measure


def draw_curve(measures: Sequence[Measure], path: Path, *, title: str) -> None:
    """Draw training loss and dev perplexity over the steps and write them to `path` as PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    steps = [measure.step for measure in measures]
    (loss,) = left.plot(steps, [m.loss for m in measures], color="tab:gray", label="training loss")
    (dev,) = right.plot(steps, [m.dev for m in measures], color="tab:red", label="dev perplexity")
    left.set(xlabel="steps", ylabel="nats a character", title=title)
    right.set(ylabel="perplexity", yscale="log")
    left.legend(handles=[loss, dev], loc="upper right")
    figure.savefig(path, dpi=110)
