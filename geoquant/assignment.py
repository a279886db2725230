"""Codes for latents that were not there when the codebook was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.default_floats import default_floats
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.knn import nearest_neighbors
from geoquant.graph.shortest_paths import nearest_source

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph


class Assignment(NamedTuple):
    """Codes and how far they are.

    Attributes
    ----------
    codes : ndarray of shape (n,), int32
        Code of each latent.
    distance : ndarray of shape (n,), float64
        Geodesic distance to the code's centre.
    """

    codes: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]


@memory_errors_typed()
def assign(
    latents: npt.ArrayLike,
    anchors: npt.NDArray[np.float32],
    anchor_distance: npt.NDArray[np.float64],
    anchor_code: npt.NDArray[np.int32],
    *,
    n_neighbors: int = 10,
    n_jobs: int | None = None,
) -> Assignment:
    """Give each latent the code of the anchor through which a centre is nearest.

    The distance of a latent z is ``min_j |z - anchor_j| + anchor_distance_j`` over its nearest
    anchors; ties go to the smaller code. A latent that equals an anchor has that anchor's code
    and distance, also where the graph was approximate. Nothing depends on what else is in
    `latents`.

    Parameters
    ----------
    latents : array-like of shape (n, d)
        What to assign.
    anchors : ndarray of shape (n_anchors, d), float32
        Latents with known distance and code.
    anchor_distance : ndarray of shape (n_anchors,), float64
        Geodesic distance of each anchor to its centre.
    anchor_code : ndarray of shape (n_anchors,), int32
        Code of each anchor.
    n_neighbors : int, default=10
        Anchors considered; reduced to what there is.
    n_jobs : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Assignment

    Raises
    ------
    InputError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.assignment import assign
    >>> anchors = np.array([[0.0], [10.0]], np.float32)
    >>> codes = np.array([0, 1], np.int32)
    >>> assign([[4.0], [6.5]], anchors, np.zeros(2), codes).codes.tolist()
    [0, 1]
    """
    if not len(anchors) == len(anchor_distance) == len(anchor_code):
        raise InputError(
            "anchors, anchor_distance and anchor_code must be of one length, found "
            f"{len(anchors)}, {len(anchor_distance)} and {len(anchor_code)}"
        )
    k = min(n_neighbors, len(anchors))
    near = nearest_neighbors(anchors, k, latents, n_jobs=n_jobs)
    return nearest_through(near.distance, anchor_distance[near.index], anchor_code[near.index])


def nearest_through(
    step: npt.NDArray[np.floating],
    onward: npt.NDArray[np.float64],
    codes: npt.NDArray[np.int32],
) -> Assignment:
    """Choose, in each row, the least ``onward + step``, ties by the smaller code.

    Where a step is zero, only such steps count: the row is that neighbour. An approximate graph
    may lack the edge that another neighbour is, and be shorter through it.

    Parameters
    ----------
    step : ndarray of shape (n, k)
        Distance to each neighbour; ``inf`` for none.
    onward : ndarray of shape (n, k), float64
        Distance from there to its centre.
    codes : ndarray of shape (n, k), int32
        Code of that centre.

    Returns
    -------
    Assignment

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.assignment import nearest_through
    >>> nearest_through(np.array([[1.0, 2.0]]), np.array([[3.0, 2.0]]), np.array([[7, 5]])).codes
    array([5], dtype=int32)
    """
    with default_floats():
        through = onward + step
        is_there = step == 0
    through[is_there.any(axis=1)[:, None] & ~is_there] = np.inf
    least = through.min(axis=1)
    tied = np.where(through == least[:, None], codes, np.iinfo(np.int32).max)
    return Assignment(tied.min(axis=1).astype(np.int32), least)


def nearest_codeword(
    latents: npt.ArrayLike, vectors: npt.NDArray[np.float32], *, n_jobs: int | None = None
) -> npt.NDArray[np.int32]:
    """Give each latent the code of the codeword nearest in a straight line.

    Parameters
    ----------
    latents : array-like of shape (n, d)
        What to assign.
    vectors : ndarray of shape (n_codes, d), float32
        Codewords.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    ndarray of shape (n,), int32
        Codes, ties by the smaller.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.assignment import nearest_codeword
    >>> nearest_codeword([[1.0], [9.0]], np.array([[0.0], [10.0]], np.float32)).tolist()
    [0, 1]
    """
    return nearest_neighbors(vectors, 1, latents, n_jobs=n_jobs).index[:, 0]


def distances_to_centres(
    graph: Graph,
    centres: npt.NDArray[np.int32],
    neighbor_index: npt.NDArray[np.int32],
    neighbor_distance: npt.NDArray[np.floating],
) -> npt.NDArray[np.float64]:
    """Geodesic distance of each latent to every centre, through its neighbours in the graph.

    Parameters
    ----------
    graph : Graph
        The graph.
    centres : ndarray of shape (n_centres,), int32
        Nodes.
    neighbor_index : ndarray of shape (n, k), int32
        Nodes near each latent.
    neighbor_distance : ndarray of shape (n, k)
        How near; ``inf`` for none.

    Returns
    -------
    ndarray of shape (n, n_centres), float64
        One search of the graph per centre.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.assignment import distances_to_centres
    >>> line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    >>> near, step = np.array([[2]], np.int32), np.array([[0.5]])
    >>> distances_to_centres(line, np.array([0, 2], np.int32), near, step).tolist()
    [[2.5, 0.5]]
    """
    out = np.empty((len(neighbor_index), len(centres)))
    with default_floats():
        step = neighbor_distance.astype(np.float64)
    for column, centre in enumerate(centres):
        onward = nearest_source(graph, [centre]).distance[neighbor_index]
        out[:, column] = (onward + step).min(axis=1)
    return out
