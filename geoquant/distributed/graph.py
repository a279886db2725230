"""The nearest-neighbour graph in partitions: the edges that one machine would find, each once.

A partition knows the edges of its own nodes. Neighbours in other partitions are ghosts, numbered
after its own nodes, by partition and place there.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.default_floats import default_floats
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.graph.csr import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoquant.distributed.partition import Partition
    from geoquant.distributed.scratch import Scratch

#: What a process keeps of graphs between tasks: to make one ready takes longer than most searches.
_MOST_BYTES_HELD = 1 << 29

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PartedGraph:
    """A graph whose nodes are in partitions.

    The scratch folder holds, for partition p and version v, ``graph{v}-{p}-indptr``, ``-indices``,
    ``-lengths`` (own nodes, then ghosts); ``-ghost`` (place of each ghost in its partition) and
    ``-ghost-cut`` (where the ghosts of each partition begin); ``-told`` (own nodes that each other
    partition has as ghosts, in the order of its ghosts) and ``-told-cut``.

    Attributes
    ----------
    partition : Partition
        Where the nodes are.
    version : int
        Raised by what adds edges.
    n_edges, n_cut : int
        Undirected edges, and those of them between partitions.
    """

    partition: Partition
    version: int
    n_edges: int
    n_cut: int

    @property
    def scratch(self) -> Scratch:
        """Where the arrays are."""
        return self.partition.nodes.scratch

    @property
    def n_partitions(self) -> int:
        """How many partitions there are."""
        return self.partition.n_partitions

    @property
    def cut_share(self) -> float:
        """Share of the edges that lie between partitions."""
        return self.n_cut / max(1, self.n_edges)

    def name(self, p: int, kind: str) -> str:
        """Name of an array of a partition."""
        return f"graph{self.version}-{p}-{kind}"

    def load(self, p: int, kind: str) -> npt.NDArray[Any]:
        """Map an array of a partition."""
        return self.scratch.load(self.name(p, kind))


class Edges(NamedTuple):
    """Edges from own nodes of a partition to nodes of any."""

    source: npt.NDArray[np.integer]
    part: npt.NDArray[np.integer]
    target: npt.NDArray[np.integer]
    length: npt.NDArray[np.float32]


def parted_knn_graph(
    partition: Partition, n_neighbors: int, engine: Engine, *, n_threads: int = 1
) -> PartedGraph:
    """Join every node with its nearest neighbours, wherever they are.

    Each partition searches its own cells and the foreign ones that they are compared with; what it
    finds of others is told to them. The union over the partitions is `knn_graph`'s graph of the
    same nodes, bit for bit.

    Parameters
    ----------
    partition : Partition
        The nodes.
    n_neighbors : int
        As given to `partition_nodes`.
    engine : Engine
        Where the tasks run.
    n_threads : int, default=1
        Threads of each task.

    Returns
    -------
    PartedGraph
    """
    parts = range(partition.n_partitions)
    map_tasks(engine, join_partition, [(partition, p, n_neighbors, n_threads) for p in parts])
    return _linked(PartedGraph(partition, 0, 0, 0), engine)


def parted_graph(partition: Partition, edges: list[Edges], engine: Engine) -> PartedGraph:
    """Make the graph of lists of edges.

    Parameters
    ----------
    partition : Partition
        Where the nodes are.
    edges : list of Edges
        From the own nodes of each partition; each edge in one direction or both.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    PartedGraph
    """
    for p, found in enumerate(edges):
        _save_edges(partition.nodes.scratch, p, found, partition.n_partitions)
    return _linked(PartedGraph(partition, 0, 0, 0), engine)


def with_edges(graph: PartedGraph, edges: list[Edges], engine: Engine) -> PartedGraph:
    """The same graph with a few more edges.

    Parameters
    ----------
    graph : PartedGraph
        The graph.
    edges : list of Edges
        New ones from each partition, each in one direction.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    PartedGraph
    """
    map_tasks(engine, extend_partition, [(graph, p, added) for p, added in enumerate(edges)])
    return _linked(replace(graph, version=graph.version + 1), engine)


def extend_partition(graph: PartedGraph, p: int, added: Edges) -> None:
    """Write the edges of a partition and some more, to be linked (a task)."""
    _save_edges(graph.scratch, p, _joined([_edges_of(graph, p), added]), graph.n_partitions)


def _linked(graph: PartedGraph, engine: Engine) -> PartedGraph:
    """Have every partition make its graph of the edges that all have written."""
    parts = range(graph.n_partitions)
    counts = map_tasks(engine, link_partition, [(graph, p) for p in parts])
    for p in parts:
        for kind in ("source", "target", "length", "cut"):
            graph.scratch.remove(f"edge{p}-{kind}")
    n_entries, n_cut = np.sum(counts, axis=0).tolist()
    return replace(graph, n_edges=n_entries // 2, n_cut=n_cut // 2)


def _joined(pieces: list[Edges]) -> Edges:
    return Edges(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _edges_of(graph: PartedGraph, p: int) -> Edges:
    """What the own nodes of a partition are joined with; an edge within it once."""
    n_own = graph.partition.sizes[p]
    indptr = graph.load(p, "indptr")[: n_own + 1]
    part, place = whereabouts(graph, p)
    target = graph.load(p, "indices")[: indptr[-1]]
    source = np.repeat(np.arange(n_own, dtype=np.int32), np.diff(indptr))
    once = source < target  # ghosts are numbered after all own nodes
    target = target[once]
    lengths = graph.load(p, "lengths")[: indptr[-1]][once]
    return Edges(source[once], part[target], place[target], lengths)


def whereabouts(graph: PartedGraph, p: int) -> tuple[Int32s, Int32s]:
    """Partition, and place there, of each node that a partition knows.

    Parameters
    ----------
    graph : PartedGraph
        The graph.
    p : int
        Which partition.

    Returns
    -------
    part, place : ndarray of shape (n_own + n_ghosts,), int32
    """
    n_own = graph.partition.sizes[p]
    counts = np.diff(graph.load(p, "ghost-cut"))
    counts[p] = n_own
    parts = np.arange(graph.n_partitions, dtype=np.int32)
    order = np.r_[p, np.delete(parts, p)]
    part = np.repeat(parts[order], counts[order])
    place = np.concatenate([np.arange(n_own, dtype=np.int32), graph.load(p, "ghost")])
    return part, place


def join_partition(partition: Partition, p: int, k: int, n_threads: int) -> None:
    """Find the neighbours of the nodes of a partition (a task).

    Parameters
    ----------
    partition, p, k, n_threads
        The partitions, which of them, and as for `parted_knn_graph`.
    """
    scratch = partition.nodes.scratch
    own, foreign, pairs = _compared_cells(partition, p)
    cells = np.concatenate([own, foreign])
    part, place = _slots_of(partition, cells)
    sizes = scratch.load("block-size")[cells]
    with default_floats():
        points, number = _points_by_node(partition, cells)
        distance, index = _core.knn_join(points, number, sizes, pairs, k, n_threads, None, len(own))
    del points
    n_own = partition.sizes[p]
    slot = np.empty(len(number), np.int32)
    slot[number] = np.arange(len(number), dtype=np.int32)
    found = slot[index.ravel()]
    source = np.repeat(np.arange(n_own, dtype=np.int32), k)
    edges = Edges(source, part[found], place[found], distance.ravel())
    _save_edges(scratch, p, edges, partition.n_partitions)


def _compared_cells(partition: Partition, p: int) -> tuple[Ints, Ints, npt.NDArray[np.int32]]:
    """Own cells, the foreign ones they are compared with, and the pairs by their places there."""
    scratch = partition.nodes.scratch
    of_cell = np.array(scratch.load("block-part"))
    own = np.flatnonzero(of_cell == p)
    if partition.compares_all:
        others = np.flatnonzero(of_cell != p)
        first, second = np.triu_indices(len(own), 1, len(of_cell))
        return own, others, np.stack([first, second], axis=1).astype(np.int32)
    pairs = scratch.load("cell-pairs")
    pairs = pairs[(of_cell[pairs] == p).any(axis=1)]
    foreign = np.setdiff1d(pairs, own)
    number = np.full(len(of_cell), -1, np.int32)
    number[own] = np.arange(len(own))
    number[foreign] = len(own) + np.arange(len(foreign))
    return own, foreign, np.sort(number[pairs], axis=1)


def _slots_of(partition: Partition, cells: Ints) -> tuple[Int32s, Int32s]:
    """Partition, and place there, of the points of some cells, cell by cell."""
    scratch = partition.nodes.scratch
    size = scratch.load("block-size")[cells]
    part = np.repeat(scratch.load("block-part")[cells], size)
    first = scratch.load("block-begin")[cells] - (np.cumsum(size) - size)
    place = np.arange(len(part), dtype=np.int32) + np.repeat(first.astype(np.int32), size)
    return part, place


def _points_by_node(partition: Partition, cells: Ints) -> tuple[npt.NDArray[np.float32], Int32s]:
    """The points of some cells by ascending node, to whose smaller ties go; and the rank of each.

    The ranks are those of the points cell by cell. Other partitions are read a cell at a time.
    """
    node = np.concatenate([*_of_cells(partition, cells, "node"), np.empty(0, np.int32)])
    rank = np.empty(len(node), np.int32)
    rank[np.argsort(node)] = np.arange(len(node), dtype=np.int32)
    points = np.empty((len(node), partition.nodes.width), np.float32)
    first = 0
    for rows in _of_cells(partition, cells, "point"):
        points[rank[first : first + len(rows)]] = rows
        first += len(rows)
    return points, rank


def _of_cells(partition: Partition, cells: Ints, kind: str) -> Iterator[npt.NDArray[Any]]:
    """The points, or the nodes, of each of some cells."""
    scratch = partition.nodes.scratch
    held = {}
    of_cell, begin = scratch.load("block-part")[cells], scratch.load("block-begin")[cells]
    end = begin + scratch.load("block-size")[cells]
    for q in np.unique(of_cell).tolist():
        held[q] = scratch.load(f"part{q}-{kind}")
    for q, first, stop in zip(of_cell.tolist(), begin.tolist(), end.tolist(), strict=True):
        yield held[q][first:stop]


def _save_edges(scratch: Scratch, p: int, edges: Edges, n_parts: int) -> None:
    """Write edges, sorted by the partition they lead to."""
    part = edges.part.astype(np.min_scalar_type(n_parts))  # small ones are sorted by counting
    order = np.argsort(part, kind="stable")
    cut = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=n_parts))])
    scratch.save(f"edge{p}-source", edges.source[order].astype(np.int32, copy=False))
    scratch.save(f"edge{p}-target", edges.target[order].astype(np.int32, copy=False))
    scratch.save(f"edge{p}-length", edges.length[order])
    scratch.save(f"edge{p}-cut", cut)


def _load_edges(scratch: Scratch, p: int, q: int) -> tuple[npt.NDArray[Any], ...]:
    """Source, target and length of the edges that partition p found to partition q."""
    here = slice(*scratch.load(f"edge{p}-cut")[q : q + 2])
    return tuple(scratch.load(f"edge{p}-{kind}")[here] for kind in ("source", "target", "length"))


def link_partition(graph: PartedGraph, p: int) -> tuple[int, int]:
    """Make the graph of a partition of what all partitions found (a task).

    Parameters
    ----------
    graph : PartedGraph
        The graph to be.
    p : int
        Which partition.

    Returns
    -------
    tuple of int
        Edges from own nodes, and those of them to ghosts.
    """
    scratch, n_own = graph.scratch, graph.partition.sizes[p]
    source, target, length = (
        list(column) for column in zip(_load_edges(scratch, p, p), strict=True)
    )
    ghosts, cut = [], [0]
    for q in range(graph.n_partitions):
        if q != p:
            mine, theirs, found = _load_edges(scratch, p, q)
            from_there, to_here, told = _load_edges(scratch, q, p)
            ghost, number = np.unique(np.concatenate([theirs, from_there]), return_inverse=True)
            source.append(np.concatenate([mine, to_here]))
            target.append((n_own + cut[-1] + number).astype(np.int32))
            length.append(np.concatenate([found, told]))
            ghosts.append(ghost)
        cut.append(cut[-1] + (len(ghosts[-1]) if q != p else 0))
    ends = tuple(np.concatenate(column) for column in (source, target, length))
    indptr, indices, lengths = _core.symmetric_csr(n_own + cut[-1], *ends)
    _save_graph(graph, p, (indptr, indices, lengths), np.concatenate([*ghosts, []]), np.array(cut))
    n_inner = int(indptr[n_own])
    return n_inner, int((indices[:n_inner] >= n_own).sum())


def _save_graph(
    graph: PartedGraph,
    p: int,
    arrays: tuple[npt.NDArray[Any], ...],
    ghost: npt.NDArray[Any],
    cut: Ints,
) -> None:
    for kind, array in zip(("indptr", "indices", "lengths"), arrays, strict=True):
        graph.scratch.save(graph.name(p, kind), array)
    graph.scratch.save(graph.name(p, "ghost"), ghost.astype(np.int32))
    graph.scratch.save(graph.name(p, "ghost-cut"), cut)
    indptr, indices, _ = arrays
    n_own = graph.partition.sizes[p]
    told, told_cut = [], [0]
    for q in range(graph.n_partitions):
        rows = slice(indptr[n_own + cut[q]], indptr[n_own + cut[q + 1]])
        told.append(np.unique(indices[rows]))
        told_cut.append(told_cut[-1] + len(told[-1]))
    graph.scratch.save(graph.name(p, "told"), np.concatenate(told).astype(np.int32))
    graph.scratch.save(graph.name(p, "told-cut"), np.array(told_cut, np.int64))


def held_graph(graph: PartedGraph, p: int) -> _core.GraphArrays:
    """The graph of a partition as the kernels take it, kept between the tasks of a process.

    Parameters
    ----------
    graph : PartedGraph
        The graph.
    p : int
        Which partition.

    Returns
    -------
    GraphArrays
    """
    found = _HELD.find((graph, p))
    if found is None:
        arrays = [graph.scratch.copy_of(graph.name(p, k)) for k in ("indptr", "indices", "lengths")]
        found = _core.graph_arrays(*arrays)
        _HELD.add((graph, p), found, sum(array.nbytes for array in arrays))
    return found


class _HeldGraphs:
    """The graphs that were used last, up to so many bytes; safe for threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._graphs: OrderedDict[tuple[PartedGraph, int], tuple[_core.GraphArrays, int]]
        self._graphs = OrderedDict()
        self._lock = Lock()

    def find(self, key: tuple[PartedGraph, int]) -> _core.GraphArrays | None:
        with self._lock:
            if key not in self._graphs:
                return None
            self._graphs.move_to_end(key)
            return self._graphs[key][0]

    def add(self, key: tuple[PartedGraph, int], arrays: _core.GraphArrays, n_bytes: int) -> None:
        if n_bytes > self._most_bytes:
            return
        with self._lock:
            self._graphs[key] = arrays, n_bytes
            while sum(size for _, size in self._graphs.values()) > self._most_bytes:
                self._graphs.popitem(last=False)


_HELD = _HeldGraphs(_MOST_BYTES_HELD)


def gathered_graph(graph: PartedGraph) -> Graph:
    """The whole graph here, its nodes numbered as one machine would; for graphs that fit.

    Parameters
    ----------
    graph : PartedGraph
        The graph.

    Returns
    -------
    Graph
    """
    nodes = [graph.scratch.load(f"part{p}-node") for p in range(graph.n_partitions)]
    first = np.cumsum([0, *map(len, nodes)])
    node = np.concatenate(nodes)
    source, target, lengths = [], [], []
    for p in range(graph.n_partitions):
        edges = _edges_of(graph, p)
        source.append(nodes[p][edges.source])
        target.append(node[first[edges.part] + edges.target])
        lengths.append(edges.length)
    columns = map(np.concatenate, (source, target, lengths))
    return Graph.from_edges(len(node), *columns, recall=graph.partition.recall)
