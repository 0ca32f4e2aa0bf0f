"""The loss curve of a run, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from trainer.fit import Measure


def draw_curve(measures: Sequence[Measure], path: Path, *, title: str) -> None:
    """Draw training loss and dev perplexity over the steps and write them to `path` as SVG.

    SVG is text: a picture in a repository that holds no binaries.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    steps = [measure.step for measure in measures]
    (loss,) = left.plot(steps, [m.loss for m in measures], color="tab:gray", label="training loss")
    (dev,) = right.plot(steps, [m.dev for m in measures], color="tab:red", label="dev perplexity")
    left.set(xlabel="steps", ylabel="nats a character", title=title)
    right.set(ylabel="perplexity", yscale="log")
    left.legend(handles=[loss, dev], loc="upper right")
    # The same measures give the same file.
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
