"""Pictures of numbers: use, distances, energies, and the health of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from geoquant.errors import InputError
from geoquant.report.paths import MOST_POINTS, plot_codes, plot_path_and_chord
from geoquant.report.subject import sample_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Colours of the two kinds of codes, told apart by the colour-blind as well.
GEODESIC, KMEANS = "#0072b2", "#d55e00"
_GREY, _GREEN = "#8c8c8c", "#009e73"
_MARKERS = ("o", "s", "^", "D")
#: From one colour to the other by way of tones that stand out from black and from white.
_SHARES = LinearSegmentedColormap.from_list("shares", ["#3b87bd", "#b39b76", "#e2651f"])


def plot_usage(counts: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw how often each code is used, the most used first.

    Parameters
    ----------
    counts : array-like of shape (n_codes,)
        Latents of each code.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there are no codes, or no latents.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_usage
    >>> ax = plot_usage([1, 3, 0, 2], Figure().add_subplot())
    >>> ax.patches[0].get_data().values.tolist()
    [3.0, 2.0, 1.0, 0.0]
    """
    given = np.sort(_numbers(counts, "counts"))[::-1]
    if given.min() < 0 or given.sum() <= 0:
        raise InputError(f"counts must not be negative nor all zero, found {counts!r}")
    ax = _axes(ax)
    ax.stairs(given, np.arange(len(given) + 1), fill=True, color=GEODESIC, alpha=0.85)
    share = given / given.sum()
    effective = float(np.exp(-np.sum(share[share > 0] * np.log(share[share > 0]))))
    ax.axhline(given.mean(), color=_GREY, linestyle="--", linewidth=1, label="all alike")
    ax.axvline(
        effective,
        color=_GREEN,
        linewidth=1.5,
        label=f"perplexity {effective:.1f} of {len(given)}",
    )
    ax.set(xlabel="codes, the most used first", ylabel="latents", xlim=(0, len(given)))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


def plot_distances(
    straight: npt.ArrayLike,
    geodesic: npt.ArrayLike,
    is_different: npt.ArrayLike,
    ax: Axes | None = None,
) -> Axes:
    """Draw each latent's distance to its centre along the data over the straight one.

    Beyond 20 000 latents, hexagons show how many of those in them get another code in a straight
    line; where there are few latents they are paler.

    Parameters
    ----------
    straight, geodesic : array-like of shape (n,)
        Distances of latents to their centres, in one unit.
    is_different : array-like of shape (n,), bool
        Whether the latent would get another code by straight distance.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the shapes differ.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_distances
    >>> ax = plot_distances([1.0, 2.0], [1.0, 3.0], [False, True], Figure().add_subplot())
    >>> [len(points.get_offsets()) for points in ax.collections]
    [1, 1]
    """
    x, y = _numbers(straight, "straight"), _numbers(geodesic, "geodesic")
    other = np.asarray(is_different, np.bool_)
    if not x.shape == y.shape == other.shape:
        raise InputError(
            "straight, geodesic and is_different must have one shape, found "
            f"{x.shape}, {y.shape} and {other.shape}"
        )
    ax = _axes(ax)
    if len(x) > MOST_POINTS:
        _draw_hexagons(x, y, other, ax)
    else:
        _draw_points(x, y, other, ax)
    end = float(max(x.max(), 1e-12))
    ax.plot([0, end], [0, end], color=_GREY, linestyle="--", linewidth=1, label="equally long")
    ax.set(xlabel="straight distance to the centre", ylabel="distance along the data")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower right")
    return ax


def _draw_points(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], other: npt.NDArray[np.bool_], ax: Axes
) -> None:
    for chosen, colour, label in (
        (~other, _GREY, "same code"),
        (other, KMEANS, "another code in a straight line"),
    ):
        ax.scatter(x[chosen], y[chosen], s=5, c=colour, linewidths=0, label=label, rasterized=True)


def _draw_hexagons(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], other: npt.NDArray[np.bool_], ax: Axes
) -> None:
    extent = (0.0, float(x.max()), 0.0, float(y.max()))
    options: dict[str, Any] = {"gridsize": 45, "extent": extent, "mincnt": 1, "linewidths": 0}
    counted = ax.hexbin(x, y, **options)
    count = np.asarray(counted.get_array())
    counted.remove()
    hexagons = ax.hexbin(x, y, C=other.astype(float), cmap=_SHARES, vmin=0, vmax=1, **options)
    hexagons.set_alpha(0.35 + 0.65 * np.log1p(count) / np.log1p(count.max()))
    hexagons.set_rasterized(True)
    bar = ax.figure.colorbar(hexagons, ax=ax, label="share with another straight code")
    solids: Any = bar.solids
    solids.set_alpha(1)
    solids.set_rasterized(True)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.0%}"))


def plot_map(
    latents_2d: npt.ArrayLike,
    codes: npt.ArrayLike,
    medoids: npt.ArrayLike,
    path: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    lengths: tuple[float, float] | None = None,
) -> Axes:
    """Draw cells in the plane, their medoids, and one path beside its chord.

    Parameters
    ----------
    latents_2d : array-like of shape (n, 2)
        Where each latent is drawn; beyond 20 000, a random sample is.
    codes : array-like of shape (n,), int
        Code of each latent.
    medoids : array-like of shape (n_codes,), int
        Rows of the centres.
    path : array-like of shape (n_path,), int
        Rows along the path, at least two.
    ax : matplotlib.axes.Axes, optional
        Where to draw, with equal scales; a new figure by default.
    lengths : tuple of two floats, optional
        Of path and chord, as for `plot_path_and_chord`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        As `plot_codes` and `plot_path_and_chord`.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_map
    >>> x = [[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]
    >>> len(plot_map(x, [0, 0, 1], [0, 2], [0, 1, 2], Figure().add_subplot()).lines)
    2
    """
    xy, cells = np.asarray(latents_2d), np.asarray(codes)
    kept = np.zeros(len(xy), np.bool_)
    kept[sample_of(len(xy), MOST_POINTS)] = True
    for rows in (medoids, path):
        inside = np.asarray(rows, np.int64)
        kept[inside[(inside >= 0) & (inside < len(xy))]] = True
    ax = plot_codes(xy[kept], cells[kept], ax=ax)
    n_shown = int(kept.sum())
    points: Any = ax.collections[-1]
    points.set_sizes([max(2.0, min(9.0, 30_000 / n_shown))])
    points.set_rasterized(n_shown > 500)
    centres = xy[np.asarray(medoids)]
    ax.scatter(
        centres[:, 0], centres[:, 1], s=16, c="black", edgecolors="white", linewidths=0.8, zorder=4
    )
    plot_path_and_chord(xy, path, ax=ax, lengths=lengths)
    ax.set_axis_off()
    return ax


def plot_energy(history: npt.ArrayLike, ax: Axes | None = None, *, power: int = 2) -> Axes:
    """Draw the energy of a fit after its seeds and after each step.

    Parameters
    ----------
    history : array-like of shape (n_steps,)
        Such as `Clustering.inertia_history`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    power : {1, 2}, default=2
        Power of the distance in the energy.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no step.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_energy
    >>> plot_energy([9.0, 5.0], Figure().add_subplot()).lines[0].get_xydata().tolist()
    [[0.0, 9.0], [1.0, 5.0]]
    """
    energies = _numbers(history, "history")
    ax = _axes(ax)
    is_long = len(energies) > 40
    ax.plot(energies, color=GEODESIC, marker="" if is_long else "o", markersize=5)
    what = "squared geodesic distances" if power == 2 else "geodesic distances"
    ax.set(xlabel="step, 0: the seeds", ylabel=f"sum of {what}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    return ax


def plot_elbow(
    ks: Sequence[int],
    values: Mapping[str, Sequence[float]],
    ax: Axes | None = None,
    *,
    ylabel: str = "error",
    marked: int | None = None,
) -> Axes:
    """Draw an error over the number of codes, both in logarithms.

    Parameters
    ----------
    ks : sequence of int
        Numbers of codes, ascending.
    values : mapping of str to sequence of float
        The error at each, in one and the same measure, by the name of the method.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    ylabel : str
        What the error is.
    marked : int, optional
        A number of codes to mark.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no method, or one has not one value for each number.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_elbow
    >>> ax = plot_elbow([2, 4], {"geodesic": [3.0, 1.0]}, Figure().add_subplot())
    >>> ax.lines[0].get_label(), ax.get_yscale()
    ('geodesic', 'log')
    """
    x = _numbers(ks, "ks")
    if not values:
        raise InputError("values must hold at least one method, found none")
    ax = _axes(ax)
    for i, (name, errors) in enumerate(values.items()):
        y = _numbers(errors, f"values[{name!r}]")
        if y.shape != x.shape:
            raise InputError(f"values must be {len(x)} for each method, found {len(y)}: {name}")
        ax.plot(
            x,
            y,
            color=(GEODESIC, KMEANS, _GREY)[min(i, 2)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=4,
            label=name,
        )
    if marked is not None:
        ax.axvline(marked, color=_GREY, linestyle="--", linewidth=1, label=f"K = {marked}")
    ax.set(xscale="log", yscale="log", xlabel="number of codes, K", ylabel=ylabel)
    _plain_ticks(ax.xaxis, [int(k) for k in x if int(k) & (int(k) - 1) == 0] or [int(x[0])])
    _plain_logs(ax)
    ax.legend()
    return ax


def plot_degrees(degrees: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw how many nodes have how many neighbours.

    Parameters
    ----------
    degrees : array-like of shape (n_nodes,), int
        Edges at each node, such as ``np.diff(graph.indptr)``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is no node.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_degrees
    >>> plot_degrees([1, 2, 2], Figure().add_subplot()).patches[0].get_data().values.tolist()
    [0, 1, 2]
    """
    counts = np.bincount(_numbers(degrees, "degrees").astype(np.int64))
    ax = _axes(ax)
    edges = np.arange(len(counts) + 1) - 0.5
    ax.stairs(counts, edges, fill=True, color=GEODESIC, alpha=0.85, baseline=0.5)
    first = int(np.flatnonzero(counts)[0])
    ax.set(xlabel="neighbours in the graph", ylabel="latents", yscale="log", ylim=(0.7, None))
    ax.set_xlim(first - 1, len(counts) + 0.5)
    _plain_logs(ax)
    return ax


def plot_edge_lengths(
    lengths: npt.ArrayLike, is_lone: npt.ArrayLike, ax: Axes | None = None
) -> Axes:
    """Draw the lengths of the edges, and of those whose ends have no neighbour in common.

    Parameters
    ----------
    lengths : array-like of shape (n_edges,)
        In the unit of the latents.
    is_lone : array-like of shape (n_edges,), bool
        Whether the edge belongs to no triangle.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the shapes differ, or there is no edge.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_edge_lengths
    >>> ax = plot_edge_lengths([1.0, 1.0, 4.0], [False, False, True], Figure().add_subplot())
    >>> [bars.get_label() for bars in ax.patches]
    ['all edges', 'in no triangle']
    """
    given, lone = _numbers(lengths, "lengths"), np.asarray(is_lone, np.bool_)
    if given.shape != lone.shape:
        raise InputError(
            f"lengths and is_lone must have one shape, found {given.shape} and {lone.shape}"
        )
    ax = _axes(ax)
    bins = np.histogram_bin_edges(given, bins=60)
    for chosen, colour, label in (
        (np.ones_like(lone), GEODESIC, "all edges"),
        (lone, KMEANS, "in no triangle"),
    ):
        counts = np.histogram(given[chosen], bins)[0]
        ax.stairs(counts, bins, fill=True, color=colour, alpha=0.85, label=label, baseline=0.5)
    tail = float(np.quantile(given, 0.99))
    ax.axvline(tail, color=_GREY, linestyle="--", linewidth=1, label="longest 1 % from here")
    ax.set(xlabel="length of the edge", ylabel="edges", yscale="log", ylim=(0.7, None))
    _plain_logs(ax)
    ax.legend()
    return ax


def plot_stability(
    ks: Sequence[int],
    agreement: Sequence[float],
    other_seed: float,
    ax: Axes | None = None,
    *,
    own: int | None = None,
) -> Axes:
    """Draw how far codes agree with those of a graph of fewer or more neighbours.

    Parameters
    ----------
    ks : sequence of int
        Neighbours of the graphs.
    agreement : sequence of float
        Adjusted Rand index beside the codebook's own graph.
    other_seed : float
        The index between two seeds on one graph.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    own : int, optional
        The codebook's own number of neighbours, which is left out as it agrees with itself.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there is not one value for each number.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_stability
    >>> ax = plot_stability([5, 10, 15], [0.8, 1.0, 0.9], 0.85, Figure().add_subplot(), own=10)
    >>> [tick.get_text() for tick in ax.get_xticklabels()]
    ['k = 5', 'k = 15', 'other seed']
    """
    x, y = _numbers(ks, "ks"), _numbers(agreement, "agreement")
    if x.shape != y.shape:
        raise InputError(f"agreement must be {len(x)} numbers, one of each k, found {len(y)}")
    others = x != own
    ax = _axes(ax)
    names = [f"k = {int(k)}" for k in x[others]] + ["other seed"]
    heights = [*y[others], other_seed]
    colours = [GEODESIC] * int(others.sum()) + [_GREY]
    ax.bar(range(len(names)), heights, color=colours, width=0.6)
    for place, height in enumerate(heights):
        ax.text(place, max(height, 0.0), f"{height:.2f}", ha="center", va="bottom")
    ax.set_xticks(range(len(names)), names)
    ax.set(ylabel="adjusted Rand index (1: the same)", ylim=(min(0.0, *heights), 1.08))
    return ax


def _numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    given = np.asarray(values)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "fiub":
        raise InputError(
            f"{name} must be a row of numbers, at least one, found shape {given.shape} of "
            f"{given.dtype}"
        )
    numbers = given.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{name} must be finite, found NaN or infinity")
    return numbers


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax


def _plain_ticks(axis: Axis, places: list[int]) -> None:
    axis.set_ticks(places, [str(k) for k in places])
    axis.set_minor_formatter(NullFormatter())


def _plain_logs(ax: Axes) -> None:
    """Numbers at a logarithmic axis as they are read, not as powers; some on a short one, too."""
    low, high = ax.get_ylim()
    is_short = high < 5 * low
    ax.yaxis.set_major_locator(MaxNLocator(5) if is_short else LogLocator(subs=_steps(low, high)))
    ax.yaxis.set_major_formatter(FuncFormatter(_plain))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _steps(low: float, high: float) -> tuple[float, ...]:
    return (1.0, 2.0, 5.0) if high < 300 * low else (1.0,)
