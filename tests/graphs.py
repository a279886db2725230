"""Named tiny graphs, and random ones with everything that a graph may have."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from geoquant import Graph

EdgeList = list[tuple[int, int, float]]

#: What lengths to draw from. The sums of all but the last two are exact in float64.
LENGTHS: dict[str, st.SearchStrategy[float]] = {
    "integers with zeros": st.integers(0, 3).map(float),
    "integers": st.integers(1, 4).map(float),
    "fractions": st.integers(1, 1024).map(lambda i: i / 1024),
    "rounding": st.sampled_from([0.0, 2.0**-54, 2.0**-53, 2.0**-52, 1.0, 2.0]),
    "any": st.floats(0, 1e6, width=32),
}
EXACT = ("integers with zeros", "integers", "fractions")


def graph_of(n_nodes: int, edges: EdgeList) -> Graph:
    """A graph from (node, node, length) triples."""
    columns = zip(*edges, strict=True) if edges else ([], [], [])
    return Graph.from_edges(n_nodes, *map(list, columns))


def path(*lengths: float) -> Graph:
    """Nodes in a line."""
    return graph_of(len(lengths) + 1, [(i, i + 1, length) for i, length in enumerate(lengths)])


def star(n_leaves: int) -> Graph:
    """Node 0 joined with every other at length 1."""
    return graph_of(n_leaves + 1, [(0, i, 1.0) for i in range(1, n_leaves + 1)])


def two_cliques(size: int, bridge: float) -> Graph:
    """Two cliques of unit lengths, joined by one edge between node 0 and node `size`."""
    pairs = [(i, j, 1.0) for i in range(size) for j in range(i)]
    second = [(i + size, j + size, length) for i, j, length in pairs]
    return graph_of(2 * size, [*pairs, *second, (0, size, bridge)])


def grid(n_rows: int, n_columns: int) -> Graph:
    """A grid of unit lengths: many shortest paths are equally long."""
    node = np.arange(n_rows * n_columns).reshape(n_rows, n_columns)
    right = zip(node[:, :-1].ravel().tolist(), node[:, 1:].ravel().tolist(), strict=True)
    down = zip(node[:-1].ravel().tolist(), node[1:].ravel().tolist(), strict=True)
    return graph_of(node.size, [(i, j, 1.0) for i, j in (*right, *down)])


CONNECTED = {
    "path": path(1.0, 2.0, 0.5, 4.0),
    "star": star(5),
    "two cliques": two_cliques(4, 9.0),
    "grid": grid(3, 4),
    "zero lengths": path(0.0, 1.0, 0.0, 0.0, 2.0),
    "all zero": path(0.0, 0.0, 0.0),
    "one node": graph_of(1, []),
    "two nodes": path(3.0),
}
NAMED = CONNECTED | {
    "no edges": graph_of(3, []),
    "disconnected": graph_of(6, [(0, 1, 1.0), (1, 2, 1.0), (4, 5, 2.0)]),
}


@st.composite
def edge_lists(
    draw: st.DrawFn,
    *,
    kinds: tuple[str, ...] = tuple(LENGTHS),
    min_nodes: int = 1,
    max_nodes: int = 12,
    is_connected: bool = False,
) -> tuple[int, EdgeList]:
    """Number of nodes and edges: parallel ones in both directions, self loops, any components."""
    n_nodes = draw(st.integers(min_nodes, max_nodes))
    length = LENGTHS[draw(st.sampled_from(kinds))]
    node = st.integers(0, n_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node, length), max_size=3 * n_nodes))
    if is_connected:
        edges += [(draw(st.integers(0, i - 1)), i, draw(length)) for i in range(1, n_nodes)]
    return n_nodes, edges


def graphs(**options: Any) -> st.SearchStrategy[Graph]:
    """Graphs of `edge_lists`."""
    return edge_lists(**options).map(lambda drawn: graph_of(*drawn))


@st.composite
def graph_and_sources(draw: st.DrawFn, **options: Any) -> tuple[Graph, list[int]]:
    """A graph and distinct nodes of it in any order."""
    graph = draw(graphs(**options))
    nodes = st.lists(st.integers(0, graph.n_nodes - 1), min_size=1, unique=True)
    return graph, draw(nodes)


def random_graph(seed: int, n_nodes: int, degree: int = 3, *, kind: str = "real") -> Graph:
    """A connected graph: a random tree and random edges.

    kind: 'real' (lengths in [0.5, 1.5)), 'ties' (integers from 1), 'zeros' (integers from 0).
    """
    rng = np.random.default_rng(seed)
    parent = (rng.random(n_nodes - 1) * np.arange(1, n_nodes)).astype(int)
    ends = rng.integers(0, n_nodes, (2, degree * n_nodes))
    from_node = np.concatenate([parent, ends[0]])
    to_node = np.concatenate([np.arange(1, n_nodes), ends[1]])
    least = {"real": 0, "ties": 1, "zeros": 0}[kind]
    lengths = rng.integers(least, 5, from_node.size).astype(float)
    if kind == "real":
        lengths = 0.5 + rng.random(from_node.size)
    return Graph.from_edges(n_nodes, from_node, to_node, lengths)


def random_weights(seed: int, n_nodes: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Integers from 0 to 4, not all zero."""
    weights = np.random.default_rng(seed).integers(0, 5, n_nodes).astype(np.float64)
    weights[0] += not weights.any()
    return weights
