"""The two plots of the README, from the rows that say what of them is plotted."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from benchmarks.trends import power_law

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from benchmarks.table import Row

TIME_PLOT, QUALITY_PLOT = "time_against_n.png", "quality_against_time.png"
OURS_COLOR = "#b3123c"
# Okabe and Ito's, told apart by all eyes; geoquant is the only red.
COLORS = (
    "#0072b2",
    "#009e73",
    "#e69f00",
    "#56b4e9",
    "#6a3d9a",
    "#8c6d31",
    "#555555",
    "#cc79a7",
    "#1b9e9e",
    "#a6761d",
)
MARKERS = "s^Dv<>PX*p"
STYLE = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "legend.frameon": False,
}


def of_kind(rows: Sequence[Row], kind: str) -> list[Row]:
    """Rows of a plot that hold a number."""
    return [
        row
        for row in rows
        if row.value is not None and row.numbers.get("plot", {}).get("kind") == kind
    ]


def series(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Median seconds by n, for each method."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        plot = row.numbers["plot"]
        found[plot["method"]][plot["n"]] = statistics.median(row.numbers["seconds"])
    return {method: dict(sorted(at.items())) for method, at in found.items()}


def label(method: str, seconds_at: dict[int, float]) -> str:
    if len(seconds_at) < 2:
        return method
    return f"{method} (slope {power_law(seconds_at)[0]:.2f})"


def style_of(method: str, position: int) -> dict[str, Any]:
    if method.startswith("geoquant"):
        return {"color": OURS_COLOR, "marker": "o", "linewidth": 2.6, "zorder": 5}
    return {
        "color": COLORS[position % len(COLORS)],
        "marker": MARKERS[position % len(MARKERS)],
        "linewidth": 1.5,
    }


def name_decades_only(ax: Axes) -> None:
    """No numbers between the powers of ten, where they run into each other."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_locator(LogLocator(numticks=20))


def draw_time(ax: Axes, rows: Sequence[Row], title: str) -> None:
    """Time against n, both logarithmic, slopes in the legend."""
    for i, (method, seconds_at) in enumerate(series(rows).items()):
        ax.plot(
            list(seconds_at),
            list(seconds_at.values()),
            label=label(method, seconds_at),
            **style_of(method, i),
        )
    ax.set(xscale="log", yscale="log", xlabel="latents", ylabel="seconds")
    name_decades_only(ax)
    ax.set_title(title, loc="left")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)


def time_figure(rows: Sequence[Row]) -> Figure:
    """Whole fits of every method."""
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(11.5, 5.2), layout="constrained")
    draw_time(ax, of_kind(rows, "fit"), "Time of a whole fit, K = 64")
    return figure


def draw_quality(ax: Axes, rows: Sequence[Row]) -> None:
    """Excess energy against time, a point per seed and a name per method."""
    rows = sorted(rows, key=lambda row: not row.numbers["plot"]["is_ours"])
    best = min(min(row.numbers["energies"]) for row in rows)
    for i, row in enumerate(rows):
        excess = [100 * (value / best - 1) for value in row.numbers["energies"]]
        is_ours = row.numbers["plot"]["is_ours"]
        ax.scatter(
            row.numbers["seconds"],
            [max(0.01, e) for e in excess],
            label=row.name,
            s=95 if is_ours else 60,
            color=OURS_COLOR if is_ours else COLORS[i % len(COLORS)],
            marker=MARKERS[i % len(MARKERS)],
            zorder=5 if is_ours else 3,
        )
    ax.set(xscale="log", yscale="log", xlabel="seconds, graph given")
    name_decades_only(ax)
    ax.set_ylabel("% over the best energy known\n(0.01 is nothing)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=11)


def quality_figure(rows: Sequence[Row]) -> Figure:
    """One panel per power of the energy, on the largest graph that all methods can do."""
    from matplotlib import pyplot as plt

    quality = of_kind(rows, "quality")
    powers = sorted({row.numbers["plot"]["power"] for row in quality})
    panels = {}
    for power in powers:
        of_power = [row for row in quality if row.numbers["plot"]["power"] == power]
        n_methods = {n: sum(r.numbers["plot"]["n"] == n for r in of_power)
                     for n in {r.numbers["plot"]["n"] for r in of_power}}  # fmt: skip
        n = max(n_methods, key=lambda n: n_methods[n])
        panels[power, n] = [row for row in of_power if row.numbers["plot"]["n"] == n]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(11.5, 4.4 * len(panels)), layout="constrained", squeeze=False
    )
    for ax, ((power, n), chosen) in zip(axes[:, 0], panels.items(), strict=True):
        draw_quality(ax, chosen)
        ax.set_title(f"Graph of {n:,} latents, K = 64, p = {power}", loc="left")
    return figure


def draw_all(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw what there are rows for; the files that were written."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    files = []
    for name, kind, make in (
        (TIME_PLOT, "fit", time_figure),
        (QUALITY_PLOT, "quality", quality_figure),
    ):
        if not of_kind(rows, kind):
            continue
        with mpl.rc_context(STYLE):
            figure = make(rows)
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / name, dpi=110)
            plt.close(figure)
        files.append(folder / name)
    return files
