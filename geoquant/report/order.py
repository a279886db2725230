"""Distances between centres, the order to show codes in, and a path worth showing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.graph.knn import nearest_neighbors
from geoquant.graph.shortest_paths import nearest_source, path_between

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph

Floats = npt.NDArray[np.float64]

_MOST_ROUNDS = 50


def centre_distances(graph: Graph, centres: npt.ArrayLike) -> Floats:
    """Geodesic distance between any two centres.

    Parameters
    ----------
    graph : Graph
        Connected.
    centres : array-like of shape (n_codes,), int
        Nodes; one search of the graph each.

    Returns
    -------
    ndarray of shape (n_codes, n_codes), float64
        Symmetric, in the unit of the edges.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.order import centre_distances
    >>> line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 3.0])
    >>> centre_distances(line, [0, 2]).tolist()
    [[0.0, 4.0], [4.0, 0.0]]
    """
    nodes = np.asarray(centres)
    rows = np.stack([nearest_source(graph, [node]).distance[nodes] for node in nodes])
    # The sums of a path's lengths from its two ends may differ in the last bit.
    both: Floats = np.minimum(rows, rows.T)
    return both


def geodesic_order(distances: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Put codes into a row in which neighbours are near each other.

    Parameters
    ----------
    distances : array-like of shape (n, n), float
        Between codes, symmetric.

    Returns
    -------
    ndarray of shape (n,), int64
        A permutation: a short open tour, by nearest neighbours from the code of the greatest mean
        distance, and reversals of stretches as long as one shortens it (2-opt) [1]_.

    Raises
    ------
    InputError
        If `distances` is not square.

    References
    ----------
    .. [1] G. A. Croes, "A method for solving traveling-salesman problems", Operations Research 6,
       1958.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.order import geodesic_order
    >>> place = np.array([0.0, 5.0, 1.0, 4.0])
    >>> geodesic_order(abs(place[:, None] - place)).tolist()
    [0, 2, 3, 1]
    """
    d = np.asarray(distances, np.float64)
    if d.ndim != 2 or d.shape[0] != d.shape[1] or d.size == 0:
        raise InputError(f"distances must have shape (n, n), n > 0, found {d.shape}")
    return _shortened(_by_nearest(d), d)


def _by_nearest(d: Floats) -> npt.NDArray[np.int64]:
    tour = [int(d.sum(axis=1).argmax())]
    left = np.ones(len(d), np.bool_)
    left[tour[0]] = False
    while left.any():
        tour.append(int(np.where(left, d[tour[-1]], np.inf).argmin()))
        left[tour[-1]] = False
    return np.array(tour)


def _shortened(tour: npt.NDArray[np.int64], d: Floats) -> npt.NDArray[np.int64]:
    """Reverse stretches of an open tour while one makes it shorter."""
    n = len(tour)
    # A code at no distance from any before and behind: an end that may lie anywhere.
    padded = np.zeros((n + 1, n + 1))
    padded[:n, :n] = d
    ring = np.concatenate([[n], tour, [n]])
    for _ in range(_MOST_ROUNDS):
        is_better = False
        for i in range(1, n):
            # Reversing i .. j joins i - 1 with j and i with j + 1, for every j at once.
            j = np.arange(i + 1, n + 1)
            before, after = ring[i - 1], ring[j + 1]
            gain = padded[before, ring[i]] + padded[ring[j], after]
            gain = gain - padded[before, ring[j]] - padded[ring[i], after]
            best = int(gain.argmax())
            if gain[best] > 1e-12 * max(float(d.max()), 1e-300):
                ring[i : j[best] + 1] = ring[i : j[best] + 1][::-1].copy()
                is_better = True
        if not is_better:
            break
    return ring[1:-1]


class Path(NamedTuple):
    """A shortest path and the straight line between its ends.

    Attributes
    ----------
    nodes : ndarray of shape (n_path,), int32
        The path.
    codes : tuple of int
        Of its two ends, which are centres; -1 for an end that is none.
    length, chord : float
        Along the path and straight, in the unit of the latents.
    """

    nodes: npt.NDArray[np.int32]
    codes: tuple[int, int]
    length: float
    chord: float


def telling_path(
    graph: Graph,
    nodes: npt.NDArray[np.float32],
    centres: npt.NDArray[np.int32],
    distances: npt.ArrayLike,
) -> Path:
    """The path between two centres that is longest beyond the straight line between them.

    Parameters
    ----------
    graph : Graph
        Connected.
    nodes : ndarray of shape (m, d), float32
        Latents of its nodes.
    centres : ndarray of shape (n_codes,), int32
        Nodes. If there is one, the path leads from it to the node farthest from it.
    distances : array-like of shape (n_codes, n_codes)
        Of `centre_distances`.

    Returns
    -------
    Path

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.order import centre_distances, telling_path
    >>> x = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]], np.float32)
    >>> graph = gq.Graph.from_edges(3, [0, 1], [1, 2], [3.0, 4.0])
    >>> path = telling_path(graph, x, np.array([0, 2]), centre_distances(graph, [0, 2]))
    >>> path.nodes.tolist(), path.length, path.chord
    ([0, 1, 2], 7.0, 5.0)
    """
    if len(centres) == 1:
        start = int(centres[0])
        codes, ends = (0, -1), (start, int(nearest_source(graph, [start]).distance.argmax()))
    else:
        place = nodes[centres].astype(np.float64)
        straight = np.linalg.norm(place[:, None] - place, axis=2)
        beyond = np.triu(np.asarray(distances) - straight, 1)
        first, second = divmod(int(beyond.argmax()), len(centres))
        # Where no path is longer than its chord, all is as good as the first pair.
        first, second = (0, 1) if first == second else (first, second)
        codes, ends = (first, second), (int(centres[first]), int(centres[second]))
    path = path_between(graph, *ends)
    points = nodes[path].astype(np.float64)
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    return Path(path, codes, length, float(np.linalg.norm(points[-1] - points[0])))


def frames_along(points: npt.ArrayLike, n_frames: int) -> npt.NDArray[np.float32]:
    """Latents at equal steps along a path of straight pieces.

    Parameters
    ----------
    points : array-like of shape (n_path, d), n_path > 1
        The corners.
    n_frames : int
        How many, both ends included; at least 2.

    Returns
    -------
    ndarray of shape (n_frames, d), float32

    Examples
    --------
    >>> from geoquant.report.order import frames_along
    >>> frames_along([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0]], 3).tolist()
    [[0.0, 0.0], [3.0, 0.0], [3.0, 3.0]]
    """
    corners = np.asarray(points, np.float64)
    way = np.concatenate([[0.0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
    at = np.linspace(0.0, way[-1], n_frames)
    columns = [np.interp(at, way, column) for column in corners.T]
    return np.stack(columns, axis=1).astype(np.float32)


def distance_to_data(
    points: npt.NDArray[np.float32], nodes: npt.NDArray[np.float32], *, n_jobs: int | None = None
) -> Floats:
    """Straight distance of each point to the nearest latent.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
        Any points.
    nodes : ndarray of shape (m, d), float32
        Latents.
    n_jobs : int, optional
        Threads, all by default.

    Returns
    -------
    ndarray of shape (n,), float64

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.order import distance_to_data
    >>> distance_to_data(np.array([[4.0]], np.float32), np.array([[1.0], [9.0]], np.float32))
    array([3.])
    """
    found = nearest_neighbors(nodes, 1, points, n_jobs=n_jobs)
    return found.distance[:, 0].astype(np.float64)
