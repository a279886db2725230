"""Codes, classes and shortest paths of latents in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgba_array
from matplotlib.patheffects import Normal, Stroke
from scipy.spatial import cKDTree

from geoquant.codebook import check_codes
from geoquant.errors import InputError
from geoquant.graph.csr import check_nodes
from geoquant.latents import check_latents
from geoquant.report.subject import sample_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's colours, which the colour-blind tell apart, without black: that marks medoids.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")

#: And three more for classes, which have a legend to tell them apart.
CLASS_COLOURS = (*PALETTE, "#882255", "#999999", "#44AA99")

#: Points beyond which a sample of them, or cells of the picture, are drawn.
MOST_POINTS = 20_000

# Beyond it a name in a legend would leave no room for the picture.
_LONGEST_NAME = 16

# Cells touch in the picture if a point of one is among so many points nearest to one of the other.
_NEAR_POINTS = 8


def plot_codes(
    latents_2d: npt.ArrayLike,
    codes: npt.ArrayLike,
    medoids: npt.ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw latents in the plane, coloured by their codes.

    Colours repeat where there are more codes than colours, but cells that touch differ wherever
    the seven colours allow it; which code has which colour carries no meaning.

    Parameters
    ----------
    latents_2d : array-like of shape (n, 2)
        Where each latent is drawn: the latents themselves, or any map of them to the plane.
    codes : array-like of shape (n,), int
        Code of each latent, not negative.
    medoids : array-like of shape (n_codes,), int, optional
        Rows of `latents_2d` to mark, such as `Clustering.medoid_indices`.
    ax : matplotlib.axes.Axes, optional
        Where to draw, with equal scales; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If an array does not have that shape or names a row that does not exist.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_codes
    >>> ax = Figure().add_subplot()
    >>> x = [[0.0, 0.0], [1.0, 0.0], [8.0, 0.0], [9.0, 0.0]]
    >>> plot_codes(x, [0, 0, 1, 1], medoids=[0, 2], ax=ax) is ax
    True
    """
    xy = _in_the_plane(latents_2d)
    cells = check_codes(codes, np.iinfo(np.int32).max)
    if cells.shape != (len(xy),):
        raise InputError(
            f"codes must have shape ({len(xy)},), one per row of latents_2d, found {cells.shape}"
        )
    marked = None if medoids is None else xy[check_nodes(medoids, len(xy), "medoids")]
    ax = _axes(ax)
    ax.scatter(
        xy[:, 0],
        xy[:, 1],
        c=to_rgba_array(PALETTE)[_colours_of_points(xy, cells)],
        s=9,
        linewidths=0,
    )
    if marked is not None:
        ax.scatter(
            marked[:, 0],
            marked[:, 1],
            marker="o",
            s=70,
            c="black",
            edgecolors="white",
            zorder=4,
            label="medoids",
        )
    return ax


def plot_classes(latents_2d: npt.ArrayLike, labels: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw latents in the plane, coloured by their classes, with a legend.

    Parameters
    ----------
    latents_2d : array-like of shape (n, 2)
        Where each latent is drawn; beyond 20 000, a random sample is.
    labels : array-like of shape (n,), int or str
        Class of each latent, of ten classes at most.
    ax : matplotlib.axes.Axes, optional
        Where to draw, with equal scales; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there are more classes than colours that can be told apart, or not one label a latent.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_classes
    >>> ax = plot_classes([[0.0, 0.0], [3.0, 0.0]], ["cat", "dog"], Figure().add_subplot())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['cat', 'dog']
    """
    xy = _in_the_plane(latents_2d)
    names, label = np.unique(np.asarray(labels), return_inverse=True)
    if label.shape != (len(xy),) or len(names) > len(CLASS_COLOURS):
        raise InputError(
            f"labels must be one of at most {len(CLASS_COLOURS)} classes for each of the {len(xy)} "
            f"latents, found {len(names)} classes in shape {np.shape(labels)}"
        )
    ax = _axes(ax)
    rows = sample_of(len(xy), MOST_POINTS)
    xy, label = xy[rows], label[rows]
    size = max(2.0, min(9.0, 30_000 / len(xy)))
    # All at once, in the order of the rows, so that no class lies on top of the others.
    points = ax.scatter(
        xy[:, 0], xy[:, 1], c=to_rgba_array(CLASS_COLOURS)[label], s=size, linewidths=0
    )
    points.set_rasterized(len(xy) > 500)
    for name, colour in zip(names, CLASS_COLOURS, strict=False):
        whole = str(name)
        shown = whole if len(whole) <= _LONGEST_NAME else whole[: _LONGEST_NAME - 1] + "…"
        ax.scatter([], [], color=colour, s=25, label=shown)
    legend = ax.legend(
        loc="upper left", bbox_to_anchor=(1, 1), handletextpad=0.1, borderaxespad=0, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # names may hold anything
    ax.set_axis_off()
    return ax


def plot_path_and_chord(
    latents_2d: npt.ArrayLike,
    path: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    lengths: tuple[float, float] | None = None,
) -> Axes:
    """Draw a path along latents in the plane and the straight chord between its ends.

    The legend gives both lengths.

    Parameters
    ----------
    latents_2d : array-like of shape (n, 2)
        Where each latent is drawn.
    path : array-like of shape (n_path,), int
        At least two rows of `latents_2d` in order, such as `path_between` gives.
    ax : matplotlib.axes.Axes, optional
        Where to draw, with equal scales; a new figure by default.
    lengths : tuple of two floats, optional
        Of path and chord, where `latents_2d` is a map of latents of more dimensions. By default
        those in the plane, in the unit of `latents_2d`.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If `latents_2d` does not have that shape, or `path` has fewer than two rows or names one
        that does not exist.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_path_and_chord
    >>> corner = [[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]
    >>> ax = plot_path_and_chord(corner, [0, 1, 2], ax=Figure().add_subplot())
    >>> [line.get_label() for line in ax.lines]
    ['along the data: 7.00', 'straight: 5.00']
    """
    xy = _in_the_plane(latents_2d)
    nodes = check_nodes(path, len(xy), "path")
    if len(nodes) < 2:
        raise InputError("path must hold at least two nodes, its ends, found 1")
    ax = _axes(ax)
    lines = (xy[nodes], xy[nodes[[0, -1]]])
    along, straight = lengths or map(_length, lines)
    _draw_line(ax, f"along the data: {along:.2f}", lines[0], linestyle="-")
    _draw_line(ax, f"straight: {straight:.2f}", lines[1], linestyle=(0, (4, 2)))
    ends = xy[nodes[[0, -1]]]
    ax.scatter(ends[:, 0], ends[:, 1], marker="s", s=60, c="white", edgecolors="black", zorder=6)
    ax.legend()
    return ax


def _in_the_plane(latents_2d: npt.ArrayLike) -> npt.NDArray[np.float32]:
    xy = check_latents(latents_2d, name="latents_2d")
    if xy.shape[1] != 2:
        raise InputError(
            f"latents_2d must have shape (n, 2), found {xy.shape}; map the latents to the plane "
            "first, for example with sklearn.decomposition.PCA(2)"
        )
    return xy


def _axes(ax: Axes | None) -> Axes:
    """The axes given, or new ones; distances are true in them."""
    ax = plt.subplots()[1] if ax is None else ax
    ax.set_aspect("equal", adjustable="datalim")
    return ax


def _length(points: npt.NDArray[np.float32]) -> float:
    """Of the line through points in order."""
    steps = np.diff(points.astype(np.float64), axis=0)
    return float(np.linalg.norm(steps, axis=1).sum())


def _draw_line(ax: Axes, label: str, points: npt.NDArray[np.float32], linestyle: Any) -> None:
    """A black line on a white one, to be seen on every colour."""
    ax.plot(
        *points.T,
        color="black",
        linewidth=2,
        linestyle=linestyle,
        zorder=5,
        label=label,
        path_effects=[Stroke(linewidth=4.5, foreground="white"), Normal()],
    )


def _colours_of_points(
    xy: npt.NDArray[np.float32], codes: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Position in `PALETTE` of each point's colour."""
    used, cell = np.unique(codes, return_inverse=True)
    return _coloured(len(used), _touching(xy, cell))[cell]


def _touching(xy: npt.NDArray[np.float32], cell: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Pairs of cells, each in both orders, with points near each other."""
    _, near = cKDTree(xy).query(xy, k=min(_NEAR_POINTS, len(xy)))
    pairs = np.stack(np.broadcast_arrays(cell[:, None], cell[near.reshape(len(xy), -1)]), axis=-1)
    both_orders = np.concatenate([pairs, pairs[..., ::-1]]).reshape(-1, 2)
    unequal = both_orders[both_orders[:, 0] != both_orders[:, 1]]
    return np.unique(unequal, axis=0)


def _coloured(n_cells: int, touching: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Colour cells one by one: what no neighbour has, or fewest have, and fewest cells so far."""
    colour = np.full(n_cells, -1)
    for cell in range(n_cells):
        near = colour[touching[touching[:, 0] == cell, 1]]
        taken = np.bincount(near[near >= 0], minlength=len(PALETTE))
        so_far = np.bincount(colour[:cell], minlength=len(PALETTE))
        colour[cell] = np.lexsort((so_far, taken))[0]
    return colour
