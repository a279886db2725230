"""Shortest paths on the graph: the only notion of distance that clustering uses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.csr import Graph, check_nodes


class NearestSource(NamedTuple):
    """Every node's nearest source.

    Attributes
    ----------
    distance : ndarray of shape (n_nodes,), float64
        Geodesic distance to the nearest source; ``inf`` where none reaches.
    source : ndarray of shape (n_nodes,), int32
        Position of that source in `sources`, so the node's code; -1 where none reaches.
    predecessor : ndarray of shape (n_nodes,), int32
        The node before this one on the path from the source; -1 at sources and where none reaches.
    """

    distance: npt.NDArray[np.float64]
    source: npt.NDArray[np.int32]
    predecessor: npt.NDArray[np.int32]


class TwoNearestSources(NamedTuple):
    """Every node's nearest and second nearest source.

    Attributes
    ----------
    distance : ndarray of shape (n_nodes, 2), float64
        Geodesic distances, the smaller first; ``inf`` where there is none.
    source : ndarray of shape (n_nodes, 2), int32
        Positions in `sources`; -1 where there is none.
    """

    distance: npt.NDArray[np.float64]
    source: npt.NDArray[np.int32]


@memory_errors_typed()
def nearest_source(graph: Graph, sources: npt.ArrayLike) -> NearestSource:
    """Find the nearest of several sources for every node, in one pass.

    Distances are float64 sums of the float32 lengths, taken from the source outwards: bit for bit
    those of ``scipy.sparse.csgraph.dijkstra(..., min_only=True)``. Among sources at the same
    distance the one that comes first in `sources` is taken.

    Parameters
    ----------
    graph : Graph
        May have several components.
    sources : array-like of shape (n_sources,), int
        Nodes.

    Returns
    -------
    NearestSource

    Raises
    ------
    InputError
        If `sources` is empty or names a node that does not exist.

    Notes
    -----
    A bucket queue with label correction (delta-stepping on one thread) [1]_.

    References
    ----------
    .. [1] U. Meyer, P. Sanders, "Delta-stepping: a parallelizable shortest path algorithm",
       J. Algorithms 49, 2003.

    Examples
    --------
    >>> import geoquant as gq
    >>> line = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 1.0, 1.0])
    >>> paths = gq.nearest_source(line, [3, 0])
    >>> paths.distance.tolist(), paths.source.tolist()
    ([0.0, 1.0, 1.0, 0.0], [1, 1, 0, 0])
    """
    nodes = check_nodes(sources, graph.n_nodes, "sources")
    return NearestSource(*_core.nearest_source(graph.arrays, nodes))


@memory_errors_typed()
def two_nearest_sources(graph: Graph, sources: npt.ArrayLike) -> TwoNearestSources:
    """Find the two nearest of several distinct sources for every node, in one pass.

    Parameters
    ----------
    graph : Graph
        May have several components.
    sources : array-like of shape (n_sources,), int
        Nodes, each at most once.

    Returns
    -------
    TwoNearestSources

    Raises
    ------
    InputError
        If `sources` is empty, repeats a node, or names one that does not exist.

    Examples
    --------
    >>> import geoquant as gq
    >>> line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    >>> gq.two_nearest_sources(line, [0, 2]).source.tolist()
    [[0, 1], [0, 1], [1, 0]]
    """
    nodes = check_nodes(sources, graph.n_nodes, "sources")
    if np.unique(nodes).size != nodes.size:
        raise InputError("sources must be distinct, found a node more than once")
    return TwoNearestSources(*_core.two_nearest_sources(graph.arrays, nodes))


def path_between(graph: Graph, start: int, end: int) -> npt.NDArray[np.int32]:
    """Give the nodes of a shortest path.

    Parameters
    ----------
    graph : Graph
        The graph.
    start, end : int
        Nodes.

    Returns
    -------
    ndarray of shape (n_path,), int32
        From `start` to `end`, both included; empty if there is no path.

    Raises
    ------
    InputError
        If a node does not exist.

    Examples
    --------
    >>> import geoquant as gq
    >>> triangle = gq.Graph.from_edges(3, [0, 1, 0], [1, 2, 2], [1.0, 1.0, 5.0])
    >>> gq.path_between(triangle, 0, 2).tolist()
    [0, 1, 2]
    """
    nodes = check_nodes([start, end], graph.n_nodes, "start and end")
    paths = nearest_source(graph, nodes[:1])
    if paths.source[end] < 0:
        return np.empty(0, np.int32)
    path = [int(end)]
    while path[-1] != start:
        path.append(int(paths.predecessor[path[-1]]))
    return np.array(path[::-1], np.int32)
