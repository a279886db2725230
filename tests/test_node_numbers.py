"""The kernels on as many nodes as 16 bits can number, and more edges than that.

`make test-narrow` runs this against a build whose nodes have 16 bits: whatever counts edges, or
multiplies counts, in the type of a node goes wrong there. The usual build passes it as well.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.sparse.csgraph import dijkstra

from geoquant import Graph, InputError, _core
from geoquant.graph.components import connected_components
from geoquant.graph.csr import MAX_NODES, NodeNumber
from tests import reference
from tests.graphs import random_graph, random_weights

N = 32_767
LAST = N - 1
CENTRES = np.array([LAST, 5, 20_000, 0], NodeNumber)


class LazyDistances:
    """Stands for the dense matrix of all distances; a row is computed when it is asked for."""

    def __init__(self, graph: Graph) -> None:
        self.matrix = graph.to_scipy()

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def __getitem__(self, nodes: Any) -> np.ndarray:
        return dijkstra(self.matrix, indices=np.asarray(nodes, np.int64))


@cache
def graph_and_weights() -> tuple[Graph, np.ndarray]:
    """Integer lengths and weights, so that every sum is exact."""
    return random_graph(0, N, degree=4, kind="ties"), random_weights(0, N)


def ring_lattice(n_nodes: int, k: int) -> np.ndarray:
    """Each node names the k that follow it on a ring, as int64."""
    return (np.arange(n_nodes)[:, None] + np.arange(1, k + 1)) % n_nodes


def test_the_graph_has_more_edges_than_a_narrow_node_can_count() -> None:
    """Otherwise nothing would be tested."""
    graph, _ = graph_and_weights()
    assert graph.n_nodes == N
    assert graph.n_edges > 2**16
    assert graph.indices.max() == LAST


def test_from_edges() -> None:
    """The rows of 32 767 nodes and 98 301 edges are those written down from the ring itself."""
    node, named = np.repeat(np.arange(N), 3), ring_lattice(N, 3).ravel()
    graph = Graph.from_edges(N, node, named, np.ones(node.size))
    around = (np.arange(N)[:, None] + [-3, -2, -1, 1, 2, 3]) % N
    assert graph.indptr.tolist() == list(range(0, 6 * N + 1, 6))
    np.testing.assert_array_equal(graph.indices.reshape(N, 6), np.sort(around, axis=1))


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_from_neighbors(n_jobs: int) -> None:
    """Neighbours make the same graph as the list of their edges."""
    index = ring_lattice(N, 5)
    length = np.random.default_rng(0).integers(0, 9, index.shape).astype(np.float32)
    graph = Graph.from_neighbors(index, length, n_jobs=n_jobs)
    listed = Graph.from_edges(N, np.repeat(np.arange(N), 5), index.ravel(), length.ravel())
    assert graph.indices.size == 10 * N > 2**16
    for name in ("indptr", "indices", "lengths"):
        np.testing.assert_array_equal(getattr(graph, name), getattr(listed, name))


def test_given_arrays_are_checked() -> None:
    """The check passes the graph, and sees a length changed in its very last row."""
    graph, _ = graph_and_weights()
    Graph(graph.indptr, graph.indices, graph.lengths)
    lengths = graph.lengths.copy()
    lengths[-1] += 1
    with pytest.raises(InputError, match="one length"):
        Graph(graph.indptr, graph.indices, lengths)


def test_components() -> None:
    """As many components as nodes without edges, and two where a ring leaves out the last node."""
    assert connected_components(Graph.from_edges(N, [], [], [])).tolist() == list(range(N))
    ring = Graph.from_edges(N, range(LAST), [*range(1, LAST), 0], np.ones(LAST))
    assert connected_components(ring).tolist() == [0] * LAST + [1]


def test_nearest_source() -> None:
    """Distances are Dijkstra's, and each node's source is a nearest one, the first of several."""
    graph, _ = graph_and_weights()
    distance, source, predecessor = _core.nearest_source(graph.arrays, CENTRES)
    dense = LazyDistances(graph)[CENTRES]
    np.testing.assert_array_equal(distance, dense.min(axis=0))
    np.testing.assert_array_equal(source, dense.argmin(axis=0))
    assert predecessor.max() <= LAST
    assert (np.flatnonzero(predecessor == -1) == np.sort(CENTRES)).all()


def test_two_nearest_sources() -> None:
    """Both sources and distances are those of all distances sorted by (distance, position)."""
    graph, _ = graph_and_weights()
    distance, source = _core.two_nearest_sources(graph.arrays, CENTRES)
    dense = LazyDistances(graph)[CENTRES]
    order = np.argsort(dense, axis=0, kind="stable")[:2]
    np.testing.assert_array_equal(source, order.T)
    np.testing.assert_array_equal(distance, np.take_along_axis(dense, order, axis=0).T)


def test_seeding() -> None:
    """Greedy k-means++ draws what the oracle draws with the same uniform numbers."""
    graph, weights = graph_and_weights()
    uniforms = np.random.default_rng(0).random((5, 2))
    seeds = _core.kmeanspp_seeds(graph.arrays, weights, 2, uniforms)
    expected = reference.greedy_kmeanspp(LazyDistances(graph), weights, 2, uniforms)
    assert seeds.tolist() == expected


@pytest.mark.parametrize("n_threads", [1, 3])
def test_swaps(n_threads: int) -> None:
    """The energy is that of the centres found, and none of the candidates improves it."""
    graph, weights = graph_and_weights()
    dense = LazyDistances(graph)
    candidates = np.append(np.arange(0, N, N // 30)[:30], LAST).astype(NodeNumber)
    centres, energy, n_swaps, _, is_optimum = _core.swap_centres(
        graph.arrays, weights, 2, CENTRES, candidates, 10**9, n_threads
    )
    assert is_optimum
    assert n_swaps > 0
    assert energy == reference.energy(dense, centres, 2, weights)
    others = dense[centres]
    for row in dense[candidates]:
        for position in range(len(centres)):
            swapped = np.vstack([np.delete(others, position, axis=0), row]).min(axis=0)
            assert (weights * swapped**2).sum() >= energy


def test_medoids() -> None:
    """In cells of the first nodes and of the last, the centre becomes the least of all sums."""
    graph, weights = graph_and_weights()
    centres = np.append(LAST, np.arange(0, N, 40)).astype(NodeNumber)
    _, labels, _ = _core.nearest_source(graph.arrays, centres)
    medoids = _core.cell_medoids(graph.arrays, weights, 1, labels, centres, 2)
    assert labels.max() == len(centres) - 1
    for cell in (0, len(centres) - 1):
        members = np.flatnonzero(labels == cell)
        sums = LazyDistances(graph)[members][:, members] @ weights[members]
        assert sums[members == medoids[cell]].tolist() == [sums.min()]


def test_every_node_a_centre() -> None:
    """As many codes as nodes: the last code is as large as a number gets."""
    graph, _ = graph_and_weights()
    everyone = np.arange(N, dtype=NodeNumber)
    distance, source, _ = _core.nearest_source(graph.arrays, everyone)
    assert not distance.any()
    np.testing.assert_array_equal(source, everyone)


def test_one_node_more_is_refused() -> None:
    """A graph with a node beyond the last number is refused, and told how many there may be."""
    with pytest.raises(InputError, match=rf"n_nodes .*\[1, {MAX_NODES}\], found {MAX_NODES + 1}"):
        Graph.from_edges(MAX_NODES + 1, [0], [1], [1.0])
    nobody = np.empty(0, NodeNumber)
    most = rf"{_core.NODE_BITS} bits .* at most {MAX_NODES} nodes, found {MAX_NODES + 1}"
    with pytest.raises(ValueError, match=most):
        _core.symmetric_csr(MAX_NODES + 1, nobody, nobody, np.empty(0, np.float32))


@pytest.mark.skipif(MAX_NODES > N, reason="32-bit nodes have no room to be one too many")
def test_one_row_more_is_refused() -> None:
    """So are arrays with a row too many, by every way in."""
    most = f"at most {MAX_NODES}"
    n = MAX_NODES + 1
    empty = np.zeros(n + 1, np.int64), np.empty(0, NodeNumber), np.empty(0, np.float32)
    named = np.zeros((n, 1), NodeNumber), np.zeros((n, 1), np.float32)
    for call, arguments in (
        (_core.graph_arrays, empty),
        (_core.csr_defect, empty),
        (_core.neighbor_csr, named),
    ):
        with pytest.raises(ValueError, match=most):
            call(*arguments)
    sources = np.zeros(n, NodeNumber)
    with pytest.raises(ValueError, match=rf"sources must hold {most} nodes, found {n}"):
        _core.nearest_source(graph_and_weights()[0].arrays, sources)
    with pytest.raises(InputError, match=rf"rows of index .*{MAX_NODES}"):
        Graph.from_neighbors(*named)
    with pytest.raises(ValueError, match=most):
        Graph(*empty)
