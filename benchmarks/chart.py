"""What the simulation of learning shows, as a picture and as a table."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

Course = Sequence[Mapping[str, Any]]
"""The figures of every night of one arm, the start first."""

Ends = Mapping[str, Mapping[str, float]]
"""The figures of an arm's first and last champion, by its id."""

_COLOURS = ("tab:red", "tab:orange", "tab:gray", "tab:blue")


def draw_learning(courses: Mapping[str, Course], path: Path) -> None:
    """Draw how many poems are liked, how varied they are and what the language costs, as SVG."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    for (title, course), colour in zip(courses.items(), _COLOURS, strict=False):
        nights = [one["night"] for one in course]
        start = course[0]
        series = (
            [100 * one["liked"] for one in course],
            [one["distinct_2"] / start["distinct_2"] for one in course],
            [one["perplexity"] / start["perplexity"] for one in course],
        )
        for axes, values in zip(rows, series, strict=True):
            axes.plot(nights, values, color=colour, label=title)
    labels = (
        "liked by the hidden tastes, %",
        "distinct-2, to the start",
        "perplexity, to the start",
    )
    for axes, label in zip(rows, labels, strict=True):
        axes.set(ylabel=label)
        axes.grid(alpha=0.3)
    rows[1].axhline(0.97, color="black", linestyle=":", linewidth=1)
    rows[2].axhline(1.02, color="black", linestyle=":", linewidth=1)
    rows[0].legend(loc="upper left")
    rows[2].set(xlabel="nights")
    # The same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "learning", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def learning_table(courses: Mapping[str, Course], ends: Mapping[str, Ends]) -> str:
    """The start and the end of every arm, in Markdown.

    What was liked, and how varied it was, is of more poems than are written after each night.
    """
    head = "| arm | liked at the start | at the end | the most it fell in a night | distinct-2 | "
    lines = [head + "perplexity |", "|---|---|---|---|---|---|"]
    for title, course in courses.items():
        first, last = course[0], course[-1]
        start, end = (ends[title][one["champion"]] for one in (first, last))
        falls = [one["liked"] - other["liked"] for one, other in pairwise(course)]
        lines.append(
            f"| {title} | {_share(start)} | {_share(end)} | {100 * max([0.0, *falls]):.1f} points "
            f"| {end['distinct_2'] / start['distinct_2']:.3f} × "
            f"| {last['perplexity'] / first['perplexity']:.3f} × |"
        )
    return "\n".join(lines)


def _share(of: Mapping[str, float]) -> str:
    return f"{100 * of['liked']:.1f} ± {100 * of['error']:.1f} %"
