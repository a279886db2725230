"""Ten thousand random graphs: distances bit for bit those of SciPy, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from tests import reference
from tests.graphs import graph_and_sources, random_graph, random_weights

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.hard

N_GRAPHS = 10_000
KINDS = ("real", "ties", "zeros")


def scattered(n_nodes: int, rng: np.random.Generator) -> gq.Graph:
    """Few random edges, so that there are several components and lonely nodes."""
    ends = rng.integers(0, n_nodes, (2, n_nodes // 2))
    ends = ends[:, ends[0] != ends[1]]
    return gq.Graph.from_edges(n_nodes, *ends, rng.integers(0, 4, ends.shape[1]) / 2)


@pytest.mark.timeout(1800)
def test_distances_and_labels(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """Connected or not, with lengths of zero and equal ones, from one source to all nodes."""
    rng = np.random.default_rng(2)
    n_graphs = scaled(N_GRAPHS)
    for seed in range(n_graphs):
        n_nodes = int(rng.integers(1, 60))
        graph = random_graph(seed, n_nodes, int(rng.integers(1, 5)), kind=KINDS[seed % 3])
        if seed % 2:
            graph = scattered(n_nodes, rng)
        sources = rng.permutation(n_nodes)[: rng.integers(1, n_nodes + 1)]
        found = gq.nearest_source(graph, sources)
        matrix = graph.to_scipy().astype(np.float64)
        expected = dijkstra(matrix, indices=sources, min_only=True)
        np.testing.assert_array_equal(found.distance, expected)
        reached = np.flatnonzero(np.isfinite(expected))
        own = dijkstra(matrix, indices=sources)[found.source[reached], reached]
        np.testing.assert_allclose(own, expected[reached], rtol=1e-12)
        np.testing.assert_array_equal(found.source < 0, ~np.isfinite(expected))
    note("graphs against SciPy", graphs=n_graphs, failures=0)


@pytest.mark.timeout(1800)
def test_graphs_of_hypothesis(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """Small graphs with everything that a graph may have: the nearest two sources of every node."""
    n_tried = 0

    @settings(max_examples=scaled(N_GRAPHS))
    @given(graph_and_sources())
    def check(case: tuple[gq.Graph, list[int]]) -> None:
        nonlocal n_tried
        n_tried += 1
        graph, sources = case
        each = dijkstra(graph.to_scipy(), indices=sources)
        nearest = gq.nearest_source(graph, sources)
        assert nearest.distance.tobytes() == each.min(axis=0).tobytes()
        if len(sources) > 1:
            two = gq.two_nearest_sources(graph, sources)
            np.testing.assert_allclose(two.distance.T, np.sort(each, axis=0)[:2], rtol=1e-12)

    check()
    note("graphs of hypothesis", graphs=n_tried, failures=0)


@pytest.mark.timeout(1800)
def test_clusterings(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """Never better than the best of all choices; never improved by a single swap."""
    rng = np.random.default_rng(3)
    n_graphs = scaled(N_GRAPHS // 5)
    for seed in range(n_graphs):
        n_nodes = int(rng.integers(2, 9))
        graph = gq.bridge_components(
            random_graph(seed, n_nodes, 2), rng.normal(size=(n_nodes, 2)).astype(np.float32)
        ).graph
        weights, power = random_weights(seed, n_nodes), int(rng.integers(1, 3))
        n_clusters = int(rng.integers(1, n_nodes + 1))
        found = gq.geodesic_kmedoids(
            graph, n_clusters, power=power, sample_weight=weights, random_state=seed
        )
        dense = reference.all_pairs(graph)
        least = reference.least_energy(dense, n_clusters, power, weights)
        assert found.inertia >= least * (1 - 1e-9)
        assert reference.is_local_optimum(dense, found.medoid_indices, power, weights)
        assert list(found.inertia_history) == sorted(found.inertia_history, reverse=True)
    note("clusterings against all choices", graphs=n_graphs, failures=0)
