"""What benchmarks show, as pictures and as tables."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Course = Sequence[Mapping[str, Any]]
"""The figures of every night of one arm, the start first."""

Courses = Mapping[str, Sequence[Course]]
"""By the titles of arms their courses, one with each crowd of readers, all of as many nights."""

Ends = Mapping[str, Mapping[str, float]]
"""The figures of a course's first and last champion, by its id."""

_COLOURS = ("tab:red", "tab:orange", "tab:gray", "tab:blue")


def draw_learning(courses: Courses, path: Path) -> None:
    """Draw how many poems are liked, how varied they are and what the language costs, as SVG.

    Thick is the mean of an arm's crowds, thin each of them.
    """
    figure = Figure(figsize=(8, 7), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    for (title, its), colour in zip(courses.items(), _COLOURS, strict=False):
        nights = [one["night"] for one in its[0]]
        series = [
            (
                [100 * one["liked"] for one in course],
                [one["distinct_2"] / course[0]["distinct_2"] for one in course],
                [one["perplexity"] / course[0]["perplexity"] for one in course],
            )
            for course in its
        ]
        for axes, values in zip(rows, zip(*series, strict=True), strict=True):
            axes.plot(
                nights, list(map(fmean, zip(*values, strict=True))), color=colour, label=title
            )
            for one in values if len(values) > 1 else ():
                axes.plot(nights, one, color=colour, linewidth=0.5, alpha=0.5)
    labels = (
        "liked by the hidden tastes, %",
        "distinct-2, ×",
        "perplexity, ×",
    )
    for axes, label in zip(rows, labels, strict=True):
        axes.set(ylabel=label)
        axes.grid(alpha=0.3)
    rows[1].axhline(0.97, color="black", linestyle=":", linewidth=1)
    rows[2].axhline(1.02, color="black", linestyle=":", linewidth=1)
    rows[0].legend(loc="upper left")
    rows[2].set(xlabel="nights")
    _save(figure, path)


def draw_growth(
    by_batch: Sequence[Mapping[str, Any]], by_hidden: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Draw how many poems a core writes, by the batch and by the size of the model, as SVG."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, points, name in ((left, by_batch, "batch"), (right, by_hidden, "hidden")):
        for precision in dict.fromkeys(point["precision"] for point in points):
            its = [point for point in points if point["precision"] == precision]
            values = [point[name] for point in its], [point["rate"] for point in its]
            axes.plot(*values, marker="o", markersize=3, label=str(precision))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.set(xlabel=name, ylabel="poems a second and core")
        axes.legend()
    left.set(xlabel="poems side by side")
    right.set(xlabel="hidden size, 64 poems side by side")
    _save(figure, path)


def draw_scaling(
    levels: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]], path: Path
) -> None:
    """Draw rate and waiting by the number of engines, and waiting while some are killed, as SVG."""
    figure = Figure(figsize=(12, 4), layout="constrained")
    rates, waits, faults = figure.subplots(1, 3)
    numbers = sorted({level["engines"] for level in levels})
    for kind in dict.fromkeys(level["kind"] for level in levels):
        its = [level for level in levels if level["kind"] == kind]
        engines = [level["engines"] for level in its]
        rates.plot(engines, [level["rate"] for level in its], marker="o", label=kind)
        ideal = [its[0]["rate"] / engines[0] * number for number in engines]
        rates.plot(engines, ideal, color="black", linestyle=":", linewidth=1)
        for name, style in (("p50", "--"), ("p99", "-")):
            shown = [level[f"{name}_ms"] for level in its]
            waits.plot(engines, shown, marker="o", linestyle=style, label=f"{kind}, {name}")
    for axes, label in ((rates, "poems a second"), (waits, "ms a poem takes at 70 % of that")):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(numbers, labels=map(str, numbers))
        axes.set(xlabel="engines", ylabel=label)
    for trial, colour in zip(trials, _COLOURS, strict=False):
        times, slowest = zip(*trial["waits"], strict=True)
        label = f"{trial['engines']} {trial['kind']}"
        faults.plot(times, slowest, color=colour, label=label)
        for kill_s in trial["kills"]:
            faults.axvline(kill_s, color=colour, linestyle=":", linewidth=1)
    faults.set(xlabel="seconds; dotted: an engine killed", ylabel="ms the slowest poem takes")
    for axes in (rates, waits, faults):
        axes.grid(alpha=0.3)
        axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """The same figures give the same file."""
    with mpl.rc_context({"svg.hashsalt": "yuefu", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def learning_table(courses: Courses, ends: Mapping[str, Sequence[Ends]]) -> str:
    """The start and the end of every arm, and the mean of its last two thirds, in Markdown.

    What was liked at the ends, and how varied it was, is of more poems than are written after each
    night. Of several crowds it is the mean, with its standard error.
    """
    nights = len(next(iter(courses.values()))[0]) - 1
    settled = nights // 3 + 1
    heads = [
        *("arm", "crowds", "liked at the start", f"nights {settled} to {nights}", "at the end"),
        *("the most it fell in a night", "distinct-2", "perplexity"),
    ]
    lines = ["".join(f"| {head} " for head in heads) + "|", "|---" * len(heads) + "|"]
    for title, its in courses.items():
        pairs = [
            (of[course[0]["champion"]], of[course[-1]["champion"]])
            for course, of in zip(its, ends[title], strict=True)
        ]
        later = [fmean(night["liked"] for night in course[settled:]) for course in its]
        falls = [one["liked"] - other["liked"] for course in its for one, other in pairwise(course)]
        variety = [end["distinct_2"] / start["distinct_2"] for start, end in pairs]
        cost = [course[-1]["perplexity"] / course[0]["perplexity"] for course in its]
        cells = [
            title,
            str(len(its)),
            f"{100 * fmean(start['liked'] for start, _ in pairs):.1f} %",
            _share(later, error=None),
            _share([end["liked"] for _, end in pairs], error=pairs[0][1]["error"]),
            f"{100 * max([0.0, *falls]):.1f} points",
            f"{fmean(variety):.3f} ×",
            f"{fmean(cost):.3f} ×",
        ]
        lines.append("".join(f"| {cell} " for cell in cells) + "|")
    return "\n".join(lines)


def _share(of: Sequence[float], *, error: float | None) -> str:
    """The mean, and its standard error: that between several, or of the only one."""
    several = stdev(of) / len(of) ** 0.5 if len(of) > 1 else error
    return f"{100 * fmean(of):.1f} " + ("%" if several is None else f"± {100 * several:.1f} %")
