"""The graph of the cells of a search: small enough for one place, and weighted like the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.graph import whereabouts
from geoquant.graph.csr import Graph

if TYPE_CHECKING:
    from geoquant.distributed.graph import PartedGraph
    from geoquant.distributed.search import PartedState


#: Nodes whose edges are looked at together.
_NODES_AT_ONCE = 1 << 16


class Contracted(NamedTuple):
    """A graph whose nodes are the cells of sources, and what they weigh."""

    graph: Graph
    weight: npt.NDArray[np.float64]


def contract(state: PartedState, n_cells: int, engine: Engine) -> Contracted:
    """Make every cell a node, and join two where an edge joins them.

    Their distance is that of the shortest path from centre to centre that crosses from one to the
    other once, along such an edge.

    Parameters
    ----------
    state : PartedState
        Of a search that reached every node.
    n_cells : int
        How many sources it had.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    Contracted
    """
    graph = state.graph
    parts = range(graph.n_partitions)
    weights = map_tasks(engine, contract_partition, [(state, p, n_cells) for p in parts])
    names = [f"{state.name}-{p}-contracted" for p in parts]
    key = np.concatenate([graph.scratch.load(f"{name}-key") for name in names])
    length = np.concatenate([graph.scratch.load(f"{name}-length") for name in names])
    for name in names:
        graph.scratch.remove(f"{name}-key")
        graph.scratch.remove(f"{name}-length")
    low, high = (ends.astype(np.int32) for ends in np.divmod(key, n_cells))
    return Contracted(Graph.from_edges(n_cells, low, high, length), np.sum(weights, axis=0))


def contract_partition(state: PartedState, p: int, n_cells: int) -> npt.NDArray[np.float64]:
    """Write the shortest ways between cells in a partition; returns cell weights (a task)."""
    graph = state.graph
    n_own = graph.partition.sizes[p]
    distance, source = final_state(state, p)
    blocks = [
        _shortest_ways(graph, p, nodes, distance, source, n_cells)
        for nodes in (
            slice(begin, min(n_own, begin + _NODES_AT_ONCE))
            for begin in range(0, n_own, _NODES_AT_ONCE)
        )
    ]
    key, length = _shortest_of_each(*map(np.concatenate, zip(*blocks, strict=True)))
    graph.scratch.save(f"{state.name}-{p}-contracted-key", key)
    graph.scratch.save(f"{state.name}-{p}-contracted-length", length.astype(np.float32))
    weight = graph.scratch.load(f"part{p}-weight")
    return np.bincount(source[:n_own], weight, n_cells).astype(np.float64)


def _shortest_ways(
    graph: PartedGraph,
    p: int,
    nodes: slice,
    distance: npt.NDArray[np.float64],
    source: npt.NDArray[np.int32],
    n_cells: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Pairs of cells that edges of some nodes join, and how far apart their centres are."""
    indptr = graph.load(p, "indptr")[nodes.start : nodes.stop + 1]
    entries = slice(int(indptr[0]), int(indptr[-1]))
    other = graph.load(p, "indices")[entries]
    node = np.repeat(np.arange(nodes.start, nodes.stop), np.diff(indptr))
    apart = source[node] != source[other]
    node, other = node[apart], other[apart]
    length = distance[node] + graph.load(p, "lengths")[entries][apart] + distance[other]
    ends = np.sort(np.stack([source[node], source[other]]).astype(np.int64), axis=0)
    return _shortest_of_each(ends[0] * n_cells + ends[1], length)


def _shortest_of_each(
    key: npt.NDArray[np.int64], length: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    order = np.lexsort((length, key))
    key, first = np.unique(key[order], return_index=True)
    return key, length[order][first]


def final_state(
    state: PartedState, p: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Distance and source of what a partition knows, its ghosts as their own partitions have them.

    Parameters
    ----------
    state : PartedState
        Of a search.
    p : int
        Which partition.

    Returns
    -------
    distance : ndarray of shape (n_own + n_ghosts,), float64
    source : ndarray of shape (n_own + n_ghosts,), int32
    """
    distance, source = np.array(state.load(p, "distance")), np.array(state.load(p, "source"))
    part, place = whereabouts(state.graph, p)
    for q in np.unique(part).tolist():
        if q != p:
            here = part == q
            distance[here] = state.load(q, "distance")[place[here]]
            source[here] = state.load(q, "source")[place[here]]
    return distance, source
