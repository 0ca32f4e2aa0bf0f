"""Pictures for reports: the loss curve of a run, and what the gate measured."""

import math
from collections.abc import Mapping, Sequence
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
    _write(figure, path, title)


def draw_gate(figures: Mapping[str, Mapping[str, float]], path: Path, *, title: str) -> None:
    """Draw the challenger's figures as ratios to the champion's and write them to `path` as SVG.

    Args:
        figures: By checkpoint's role ("champion", "challenger"), then by name.
        path: The file.
        title: What stands above.
    """
    ours, theirs = figures["challenger"], figures["champion"]
    names = [name for name in ours if theirs.get(name) and math.isfinite(ours[name])]
    ratios = [ours[name] / theirs[name] for name in names]
    figure = Figure(figsize=(8, 0.5 + 0.35 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, [ratio - 1 for ratio in ratios], left=1, color="tab:gray")
    axes.axvline(1, color="tab:red", linewidth=1)
    for row, name in enumerate(names):
        axes.annotate(f" {theirs[name]:.4g} → {ours[name]:.4g}", (ratios[row], row), va="center")
    axes.margins(x=0.35)
    axes.set(xlabel="challenger, to the champion", title=title)
    axes.invert_yaxis()
    _write(figure, path, title)


def _write(figure: Figure, path: Path, title: str) -> None:
    # The same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
