"""Lengths of a graph's edges measured in another space than the latents'."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.csr import Graph
from geoquant.latents import check_latents
from geoquant.progress import n_threads, of_stage

if TYPE_CHECKING:
    from geoquant.progress import Progress


def with_lengths(graph: Graph, lengths: npt.ArrayLike) -> Graph:
    """The same edges with other lengths.

    Parameters
    ----------
    graph : Graph
        The graph.
    lengths : array-like of shape (n_edges,), float
        Length of each undirected edge, finite and not negative; rounded to float32. In the order
        of `edge_ends`.

    Returns
    -------
    Graph

    Raises
    ------
    InputError
        If there are not as many lengths as edges, or one cannot be used.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.graph.edge_lengths import with_lengths
    >>> graph = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    >>> with_lengths(graph, [5.0, 7.0]).lengths.tolist()
    [5.0, 5.0, 7.0, 7.0]
    """
    given = np.asarray(lengths)
    if given.shape != (graph.n_edges,):
        raise InputError(
            f"lengths must have shape ({graph.n_edges},), one of each undirected edge, found "
            f"{given.shape}"
        )
    ends = edge_ends(graph)
    return Graph.from_edges(graph.n_nodes, ends[:, 0], ends[:, 1], given, recall=graph.recall)


def edge_ends(graph: Graph) -> npt.NDArray[np.int32]:
    """Each undirected edge once, by its ends.

    Parameters
    ----------
    graph : Graph
        The graph.

    Returns
    -------
    ndarray of shape (n_edges, 2), int32
        The smaller node first, rows ascending.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.graph.edge_lengths import edge_ends
    >>> edge_ends(gq.Graph.from_edges(3, [2, 1], [1, 0], [1.0, 1.0])).tolist()
    [[0, 1], [1, 2]]
    """
    nodes = np.arange(graph.n_nodes, dtype=graph.indices.dtype)
    row = np.repeat(nodes, np.diff(graph.indptr))
    is_upper = row < graph.indices
    return np.stack([row[is_upper], graph.indices[is_upper]], axis=1)


@memory_errors_typed()
def output_lengths(
    graph: Graph,
    outputs: npt.ArrayLike,
    *,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Euclidean distance between what the ends of each edge become in another space.

    Parameters
    ----------
    graph : Graph
        The graph.
    outputs : array-like of shape (n_nodes, p)
        Of each node: a decoder's output, or features of it. Unit rows give the chords of cosine
        distance, ``sqrt(2 - 2 cos)``; for Gaussians see `gaussian_coordinates`.
    n_jobs : int, optional
        Threads, all by default; the lengths do not depend on it.
    progress : callable, optional
        Called as ``progress("edge lengths", done, total)``; may raise to stop.

    Returns
    -------
    ndarray of shape (n_edges,), float32
        In the order of `edge_ends`, for `with_lengths`; a float64 sum in fixed order, one square
        root, rounded once. Beside the lengths nothing is held that grows with p.

    Raises
    ------
    InputError
        If `outputs` does not fit the graph.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.graph.edge_lengths import output_lengths
    >>> graph = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    >>> output_lengths(graph, [[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]).tolist()
    [5.0, 0.0]
    """
    points = check_latents(outputs, name="outputs")
    if len(points) != graph.n_nodes:
        raise InputError(
            f"outputs must have {graph.n_nodes} rows, one per node, found {len(points)}"
        )
    ends = edge_ends(graph)
    n_upper = np.bincount(ends[:, 0], minlength=graph.n_nodes)
    return _core.edge_lengths(
        np.concatenate([[0], np.cumsum(n_upper)]).astype(np.int64),
        np.ascontiguousarray(ends[:, 1]),
        points,
        n_threads(n_jobs),
        of_stage(progress, "edge lengths"),
    )


def gaussian_coordinates(mean: npt.ArrayLike, logvar: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Means and standard deviations side by side, whose distance is that of the Gaussians.

    The Euclidean distance of two rows is the 2-Wasserstein distance of the two Gaussians with
    diagonal covariance, ``sqrt(|m_i - m_j|^2 + |s_i - s_j|^2)``.

    Parameters
    ----------
    mean, logvar : array-like of shape (n, d)
        Mean and logarithm of the variance, as encoders of variational autoencoders give them.

    Returns
    -------
    ndarray of shape (n, 2 d), float32

    Raises
    ------
    InputError
        If the shapes differ or a number is not finite.

    Examples
    --------
    >>> from geoquant.graph.edge_lengths import gaussian_coordinates
    >>> gaussian_coordinates([[2.0]], [[0.0]]).tolist()
    [[2.0, 1.0]]
    """
    m, v = check_latents(mean, name="mean"), check_latents(logvar, name="logvar")
    if m.shape != v.shape:
        raise InputError(f"mean and logvar must have one shape, found {m.shape} and {v.shape}")
    with np.errstate(over="ignore"):
        deviation = np.exp(v.astype(np.float64) / 2).astype(np.float32)
    return np.hstack([m, check_latents(deviation, name="the standard deviation, exp(logvar / 2),")])


def gaussian_w2_lengths(
    graph: Graph, mean: npt.ArrayLike, logvar: npt.ArrayLike, *, n_jobs: int | None = None
) -> npt.NDArray[np.float32]:
    """2-Wasserstein distance between the Gaussians at the ends of each edge.

    Parameters
    ----------
    graph : Graph
        The graph.
    mean, logvar : array-like of shape (n_nodes, d)
        As for `gaussian_coordinates`.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    ndarray of shape (n_edges,), float32
        As `output_lengths`.

    Raises
    ------
    InputError
        If the arrays fit neither one another nor the graph.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.graph.edge_lengths import gaussian_w2_lengths
    >>> graph = gq.Graph.from_edges(2, [0], [1], [1.0])
    >>> gaussian_w2_lengths(graph, [[0.0], [3.0]], [[0.0], [2 * 1.6094379]]).round(4).tolist()
    [5.0]
    """
    return output_lengths(graph, gaussian_coordinates(mean, logvar), n_jobs=n_jobs)
