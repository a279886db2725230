"""Shortest paths: bit-equal to scipy, ties by position, paths that prove their distances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra

from geoquant import Graph, InputError, nearest_source, path_between, two_nearest_sources
from tests import reference
from tests.graphs import EXACT, graph_and_sources, graph_of, graphs, grid, path, random_graph


def path_to_source(predecessor: np.ndarray, node: int) -> list[int]:
    """Nodes from the source to `node`, along the predecessors."""
    nodes = [node]
    while predecessor[nodes[-1]] >= 0:
        nodes.append(int(predecessor[nodes[-1]]))
        assert len(nodes) <= len(predecessor), "predecessors go round in a circle"
    return nodes[::-1]


def length_of(graph: Graph, nodes: list[int]) -> float:
    """Float64 sum of the lengths along `nodes`, from the first outwards."""
    lengths = reference.edges_of(graph)
    steps = [lengths[min(i, j), max(i, j)] for i, j in pairwise(nodes)]
    return reduce(float.__add__, steps, 0.0)


@given(graph_and_sources())
@settings(max_examples=400)
def test_distances_are_those_of_scipy_bit_for_bit(case: tuple) -> None:
    """On graphs of every kind the distances equal scipy's Dijkstra in every bit."""
    graph, sources = case
    expected = dijkstra(graph.to_scipy(), indices=sources, min_only=True)
    assert nearest_source(graph, sources).distance.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["real", "ties", "zeros"])
def test_distances_are_those_of_scipy_on_larger_graphs(kind: str) -> None:
    """Graphs of two thousand nodes, whose searches use many buckets, agree with scipy too."""
    for seed in range(10):
        graph = random_graph(seed, 2000, kind=kind)
        sources = np.random.default_rng(seed).permutation(2000)[: 1 + 10 * seed]
        expected = dijkstra(graph.to_scipy(), indices=sources, min_only=True)
        assert nearest_source(graph, sources).distance.tobytes() == expected.tobytes()


def test_lengths_of_very_different_sizes() -> None:
    """One edge a billion times longer than the others costs no correctness."""
    graph = graph_of(5, [(0, 1, 1e-6), (1, 2, 1e-6), (2, 3, 1e3), (3, 4, 1e-6), (0, 4, 3e3)])
    expected = dijkstra(graph.to_scipy(), indices=[0], min_only=True)
    assert nearest_source(graph, [0]).distance.tolist() == expected.tolist()


def test_a_long_path() -> None:
    """A path of a hundred thousand nodes is walked without recursion."""
    n = 100_000
    graph = Graph.from_edges(n, np.arange(n - 1), np.arange(1, n), np.ones(n - 1))
    paths = nearest_source(graph, [0])
    assert paths.distance.tolist() == list(range(n))
    assert len(path_between(graph, 0, n - 1)) == n


@given(graph_and_sources(kinds=EXACT))
@settings(max_examples=200)
def test_labels_are_the_first_of_the_nearest_sources(case: tuple) -> None:
    """Each node belongs to the source of least (distance, position); none reaches: -1."""
    graph, sources = case
    _, expected = reference.two_nearest(reference.all_pairs(graph), sources)
    assert nearest_source(graph, sources).source.tolist() == expected[:, 0].tolist()


@given(graph_and_sources(kinds=("rounding", "any"), max_nodes=20))
@settings(max_examples=400)
def test_labels_do_not_depend_on_the_order_of_the_search(case: tuple) -> None:
    """Where sums round too, the label is the first that comes along paths of the distance."""
    graph, sources = case
    distance, label = reference.first_of_nearest(graph, sources)
    paths = nearest_source(graph, sources)
    assert paths.distance.tobytes() == distance.tobytes()
    assert paths.source.tolist() == label.tolist()
    for node in np.flatnonzero(label >= 0):
        walked = path_to_source(paths.predecessor, node)
        assert {int(label[u]) for u in walked} == {int(label[node])}


@given(graph_and_sources(kinds=EXACT))
@settings(max_examples=200)
def test_predecessors_prove_the_distances_within_the_cell(case: tuple) -> None:
    """Following predecessors leads to the node's own source, through its cell, at its distance."""
    graph, sources = case
    paths = nearest_source(graph, sources)
    for node in range(graph.n_nodes):
        walked = path_to_source(paths.predecessor, node)
        assert len({int(paths.source[u]) for u in walked}) == 1
        if paths.source[node] < 0:
            assert (walked, paths.distance[node]) == ([node], np.inf)
            continue
        assert walked[0] == sources[paths.source[node]]
        assert length_of(graph, walked) == paths.distance[node]


@given(graph_and_sources(kinds=("any",)))
def test_predecessors_prove_the_distances_of_any_lengths(case: tuple) -> None:
    """Where sums round, paths still reproduce the distances exactly."""
    graph, sources = case
    paths = nearest_source(graph, sources)
    for node in np.flatnonzero(paths.source >= 0):
        assert length_of(graph, path_to_source(paths.predecessor, node)) == paths.distance[node]


def test_paths_stay_in_the_cell_where_sums_round() -> None:
    """A node 2 away from two sources, by rounding, has a predecessor of its own cell."""
    edges = [(0, 3, 2.0**-52), (1, 2, 0.0), (2, 3, 0.0), (3, 4, 2.0)]
    paths = nearest_source(graph_of(5, edges), [0, 1])
    assert paths.source[paths.predecessor[4]] == paths.source[4]


def test_a_label_once_offered_does_not_outlive_its_source() -> None:
    """Between a source and a node that came, hidden by rounding, to another: the first is taken."""
    edges = [(0, 1, 0.0), (1, 5, 0.0), (3, 4, 2.0), (4, 5, 2.0), (5, 6, 2.0**-52)]
    assert nearest_source(graph_of(7, edges), [6, 3, 0]).source.tolist() == [2, 2, -1, 1, 1, 2, 0]


def test_ties_on_a_grid_go_to_the_first_source() -> None:
    """In the middle between two corners of a grid the source given first wins."""
    middle = [2, 4, 6]
    assert nearest_source(grid(3, 3), [0, 8]).source[middle].tolist() == [0, 0, 0]
    assert nearest_source(grid(3, 3), [8, 0]).source[middle].tolist() == [0, 0, 0]


def test_numbering_of_the_nodes_does_not_show() -> None:
    """Nodes renumbered at random have the distances and sources that they had."""
    graph = random_graph(3, 500, kind="ties")
    rng = np.random.default_rng(3)
    number = rng.permutation(500)  # the new number of each node
    edges = reference.edges_of(graph)
    twin = Graph.from_edges(500, *number[list(edges)].T, list(edges.values()))
    sources = rng.permutation(500)[:9]
    expected, found = nearest_source(graph, sources), nearest_source(twin, number[sources])
    assert found.distance[number].tobytes() == expected.distance.tobytes()
    assert found.source[number].tobytes() == expected.source.tobytes()


def test_searches_at_once_do_not_disturb_each_other() -> None:
    """Many threads that search one graph get what each would get alone."""
    graph = random_graph(0, 2000)
    sources = [[node, 2 * node] for node in range(1, 200)]
    expected = [nearest_source(graph, pair).distance.tobytes() for pair in sources]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: nearest_source(graph, pair).distance, sources))
    assert [distance.tobytes() for distance in found] == expected


def test_a_repeated_source_counts_once() -> None:
    """Of a node given twice the first position is the label."""
    assert nearest_source(path(1.0, 1.0), [2, 0, 0, 2]).source.tolist() == [1, 0, 0]


def test_every_named_graph(named_graph: Graph) -> None:
    """Tiny graphs of every shape agree with the definition, whatever the source."""
    dense = reference.all_pairs(named_graph)
    for source in range(named_graph.n_nodes):
        assert nearest_source(named_graph, [source]).distance.tolist() == dense[source].tolist()


@given(graph_and_sources(kinds=EXACT))
@settings(max_examples=200)
def test_two_nearest_are_those_by_definition(case: tuple) -> None:
    """Distances and positions of the two nearest are the least two (distance, position)."""
    graph, sources = case
    distance, source = reference.two_nearest(reference.all_pairs(graph), sources)
    found = two_nearest_sources(graph, sources)
    assert found.distance.tolist() == distance.tolist()
    assert found.source.tolist() == source.tolist()
    assert (found.distance.shape, found.source.dtype) == ((graph.n_nodes, 2), np.int32)


@given(graph_and_sources(kinds=("any",)))
def test_two_nearest_distances_where_sums_round(case: tuple) -> None:
    """Distances of the two nearest are exact for lengths of any size."""
    graph, sources = case
    distance, _ = reference.two_nearest(reference.all_pairs(graph), sources)
    assert two_nearest_sources(graph, sources).distance.tolist() == distance.tolist()


@given(graph_and_sources())
def test_first_of_two_nearest_is_the_nearest(case: tuple) -> None:
    """Both passes agree on the nearest distance."""
    graph, sources = case
    two = two_nearest_sources(graph, sources)
    assert two.distance[:, 0].tobytes() == nearest_source(graph, sources).distance.tobytes()


@given(graphs(), st.data())
def test_path_between_is_a_shortest_path(graph: Graph, data: st.DataObject) -> None:
    """The path starts and ends where asked, along edges, and is as long as the distance."""
    node = st.integers(0, graph.n_nodes - 1)
    start, end = data.draw(node), data.draw(node)
    nodes = path_between(graph, start, end)
    distance = reference.all_pairs(graph)[start, end]
    assert nodes.dtype == np.int32
    if distance == np.inf:
        assert nodes.size == 0
        return
    assert (nodes[0], nodes[-1]) == (start, end)
    assert np.unique(nodes).size == nodes.size
    assert length_of(graph, nodes.tolist()) == distance


def test_input_is_not_written_to_and_its_layout_does_not_matter() -> None:
    """Read-only, strided and big-endian sources give what a list gives."""
    graph = grid(4, 4)
    expected = nearest_source(graph, [15, 3])
    read_only = np.array([15, 3])
    read_only.flags.writeable = False
    for sources in (read_only, np.array([15, 0, 3, 0])[::2], np.array([15, 3], ">i2")):
        for found, wanted in zip(nearest_source(graph, sources), expected, strict=True):
            assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("function", [nearest_source, two_nearest_sources])
@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "sources must hold at least one node"),
        ([5], "sources must .* found 5"),
        ([-1], "sources must .* found -1"),
        ([0.0], "sources must be .* integers"),
    ],
)
def test_refuses_what_are_no_sources(function: object, sources: list, message: str) -> None:
    """Sources that are no nodes are named, not searched from."""
    with pytest.raises(InputError, match=message):
        function(path(1.0, 1.0, 1.0, 1.0), sources)


def test_two_nearest_refuses_repeated_sources() -> None:
    """The second nearest of a source given twice would be itself."""
    with pytest.raises(InputError, match="sources must be distinct"):
        two_nearest_sources(path(1.0), [0, 0])


@pytest.mark.parametrize("ends", [(0, 2), (-1, 0), (0.0, 1)])
def test_path_between_refuses_what_are_no_nodes(ends: tuple) -> None:
    """Ends that are no nodes are refused."""
    with pytest.raises(InputError, match="start and end must"):
        path_between(path(1.0), *ends)
