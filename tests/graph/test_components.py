"""Components and bridges: a minimum spanning forest, of true lengths, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoquant import (
    Graph,
    InputError,
    NotConnectedError,
    bridge_components,
    connected_components,
    knn_graph,
)
from geoquant.graph import components
from geoquant.graph.components import require_connected
from tests import reference
from tests.graphs import edge_lists, graph_of, path


@given(edge_lists(max_nodes=15))
def test_labels_number_components_by_their_smallest_node(drawn: tuple) -> None:
    """Labels equal those of repeated relabelling; zero-length edges connect."""
    n_nodes, edges = drawn
    expected = reference.component_labels(n_nodes, reference.merged(edges))
    found = connected_components(graph_of(n_nodes, edges))
    assert (found.tolist(), found.dtype) == (expected, np.int32)


def test_require_connected_names_the_sizes() -> None:
    """The error counts the components, gives their sizes from the largest, and the cures."""
    graph = graph_of(6, [(0, 1, 1.0), (1, 2, 1.0), (4, 5, 2.0)])
    with pytest.raises(NotConnectedError, match=r"3 components \(sizes 3, 2, 1\).*bridge"):
        require_connected(graph)


def test_require_connected_shortens_a_long_list() -> None:
    """Of many components the sizes of the five largest are shown."""
    with pytest.raises(NotConnectedError, match=r"7 components \(sizes 1, 1, 1, 1, 1, …\)"):
        require_connected(graph_of(7, []))


def test_require_connected_is_silent() -> None:
    """A connected graph, by zero-length edges too, passes, and so does a single node."""
    assert require_connected(path(0.0, 1.0)) is None
    assert require_connected(graph_of(1, [])) is None


def blobs(sizes: list[int], seed: int, scale: float = 20.0) -> np.ndarray:
    """Gaussian blobs that a k-NN graph does not connect."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=scale, size=(len(sizes), 3))
    noise = rng.normal(size=(sum(sizes), 3))
    return (np.repeat(centres, sizes, axis=0) + noise).astype(np.float32)


def assert_bridged(graph: Graph, x: np.ndarray) -> None:
    """The bridges are the minimum spanning forest; every other edge is as it was."""
    labels = connected_components(graph).tolist()
    bridged = bridge_components(graph, x)
    expected = reference.spanning_bridges(x, labels)
    pairs = [tuple(pair) for pair in bridged.bridges.tolist()]
    assert sorted(pairs) == sorted(expected)
    assert bridged.n_components == max(labels) + 1 == len(pairs) + 1
    assert reference.edges_of(bridged.graph) == reference.edges_of(graph) | expected
    assert not connected_components(bridged.graph).any()


@given(st.data())
def test_bridges_are_the_minimum_spanning_forest(data: st.DataObject) -> None:
    """On a grid full of ties and duplicates, and any graph on it, the forest is Kruskal's."""
    n_nodes, edges = data.draw(edge_lists(max_nodes=14))
    elements = st.integers(-3, 3).map(float)
    x = data.draw(arrays(np.float32, (n_nodes, 2), elements=elements))
    assert_bridged(graph_of(n_nodes, edges), x)


@pytest.mark.parametrize(
    "sizes",
    [[5] * 8, [70, 80, 66], [100, 64, 65, 3, 1], [64, 64], [15, 16, 17], [1] * 20],
    ids=str,
)
def test_components_of_every_size(sizes: list[int]) -> None:
    """Small components, searched together, and large ones, searched alone, get their bridges."""
    for seed in range(3):
        x = blobs(sizes, seed)
        assert_bridged(knn_graph(x, 3), x)


def test_small_and_large_searches_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limit between the two searches lies does not show."""
    x = blobs([6, 9, 30, 2], 5)
    expected = bridge_components(knn_graph(x, 2), x)
    for limit, asked in ((0, (16,)), (5, (16,)), (1000, (1,)), (1000, (2, 4)), (1000, (3, 64))):
        monkeypatch.setattr(components, "MOST_MEMBERS_ASKING", limit)
        monkeypatch.setattr(components, "_ASKED", asked)
        found = bridge_components(knn_graph(x, 2), x)
        assert found.bridges.tolist() == expected.bridges.tolist()


def test_a_bridge_is_as_long_as_the_distance() -> None:
    """The closest pair of two components is joined at its true, not squared, distance."""
    x = [[0.0, 0.0], [1.0, 0.0], [4.0, 4.0], [9.0, 9.0]]
    bridged = bridge_components(graph_of(4, [(0, 1, 1.0), (2, 3, 2.0)]), x)
    assert bridged.bridges.tolist() == [[1, 2]]
    assert reference.edges_of(bridged.graph) == {(0, 1): 1.0, (1, 2): 5.0, (2, 3): 2.0}


def test_duplicates_in_different_components_are_bridged_at_zero() -> None:
    """Equal latents that no edge joins are joined at length zero, and stay joined."""
    bridged = bridge_components(graph_of(3, []), [[1.0], [1.0], [2.0]])
    assert reference.edges_of(bridged.graph) == {(0, 1): 0.0, (0, 2): 1.0}


def test_a_connected_graph_is_given_back() -> None:
    """Nothing is added where nothing is missing."""
    graph = path(1.0, 1.0)
    bridged = bridge_components(graph, [[0.0], [1.0], [2.0]])
    assert bridged.graph is graph
    assert (bridged.n_components, bridged.bridges.shape) == (1, (0, 2))
    assert bridged.bridges.dtype == np.int32


def test_recall_is_kept() -> None:
    """Bridging does not claim more of the search than was true."""
    graph = Graph([0, 0, 0], [], [], recall=0.5)
    assert bridge_components(graph, [[0.0], [1.0]]).graph.recall == 0.5


def test_threads_do_not_show() -> None:
    """One, two and three threads give the same bridges and bits."""
    x = blobs([40, 70, 3, 90], 1)
    graph = knn_graph(x, 3)
    expected = bridge_components(graph, x, n_jobs=1)
    for n_jobs in (2, 3):
        found = bridge_components(graph, x, n_jobs=n_jobs)
        assert found.bridges.tobytes() == expected.bridges.tobytes()
        assert found.graph.lengths.tobytes() == expected.graph.lengths.tobytes()


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ([[0.0]], "latents must have 2 rows, one per node, found 1"),
        ([[0.0], [np.nan]], "latents must be finite"),
    ],
)
def test_bridging_refuses_latents_that_do_not_fit(latents: list, message: str) -> None:
    """Latents must be those of the nodes."""
    with pytest.raises(InputError, match=message):
        bridge_components(graph_of(2, []), latents)
