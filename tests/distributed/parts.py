"""Graphs and data sets in partitions, for tests."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoquant.distributed.engine import LocalEngine
from geoquant.distributed.graph import Edges, PartedGraph, parted_graph, parted_knn_graph
from geoquant.distributed.nodes import Nodes, number_nodes
from geoquant.distributed.partition import Partition, partition_nodes
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import shards_of_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoquant import Graph

ENGINE = LocalEngine(2)


class Made(NamedTuple):
    """A graph of nearest neighbours in partitions, and its nodes."""

    nodes: Nodes
    graph: PartedGraph


def made_graph(x: np.ndarray, folder: Any, n_partitions: int, k: int = 5, **options: Any) -> Made:
    """The graph of the rows of an array in three shards."""
    shards = shards_of_array(x, min(3, len(x)))
    nodes = number_nodes(shards, Scratch(str(folder)), ENGINE)
    k = min(k, nodes.n_nodes - 1)
    partition = partition_nodes(nodes, k, n_partitions, ENGINE, **options)
    return Made(nodes, parted_knn_graph(partition, k, ENGINE))


@contextmanager
def spread(
    graph: Graph, part: np.ndarray, weight: np.ndarray | None = None
) -> Iterator[PartedGraph]:
    """Any graph, its nodes in the partitions that `part` says."""
    part = np.unique(part, return_inverse=True)[1]
    weight = np.ones(graph.n_nodes) if weight is None else weight
    members = [np.flatnonzero(part == p)[::-1] for p in range(part.max() + 1)]  # in any order
    place = np.empty(graph.n_nodes, int)
    for nodes in members:
        place[nodes] = np.arange(len(nodes))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Scratch(folder)
        edges = []
        for p, nodes in enumerate(members):
            scratch.save(f"part{p}-node", nodes.astype(np.int32))
            scratch.save(f"part{p}-weight", weight[nodes])
            scratch.save(f"part{p}-ascending", np.sort(nodes).astype(np.int32))
            scratch.save(f"part{p}-place", np.argsort(nodes).astype(np.int32))
            row = np.repeat(np.arange(graph.n_nodes), np.diff(graph.indptr))
            here = part[row] == p
            to = graph.indices[here]
            edges.append(Edges(place[row[here]], part[to], place[to], graph.lengths[here]))
        numbered = Nodes(scratch, (), (0, graph.n_nodes), graph.n_nodes, 1)
        partition = Partition(numbered, tuple(map(len, members)), graph.recall, True)
        yield parted_graph(partition, edges, ENGINE)
