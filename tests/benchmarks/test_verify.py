"""Tests of the checks: what is right passes, what is wrong in any part does not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import geoquant as gq
from benchmarks import verify
from benchmarks.verify import WrongResult
from geoquant.fit import connected_graph
from geoquant.graph.knn import nearest_neighbors

K = 6
POINTS = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
ROWS = verify.sampled_rows(200, 50)


@pytest.fixture(scope="module")
def graph() -> gq.Graph:
    return connected_graph(POINTS, K)[0]


@pytest.fixture(scope="module")
def clustering(graph: gq.Graph) -> gq.Clustering:
    return gq.geodesic_kmedoids(graph, 5, power=2, algorithm="swap", random_state=0)


def test_equal_means_equal_in_shape_and_bits() -> None:
    """Arrays of another shape or with one other bit are not equal."""
    verify.require_equal("same", [1.0, np.inf], [1.0, np.inf])
    with pytest.raises(WrongResult, match="shapes"):
        verify.require_equal("short", [1.0], [1.0, 1.0])
    with pytest.raises(WrongResult, match="1 of 2"):
        verify.require_equal("bit", [1.0, 2.0], [1.0, np.nextafter(2.0, 3.0)])


def test_close_allows_rounding_only() -> None:
    """Sums may differ in their last bits."""
    verify.require_close("sum", 1.0, np.nextafter(1.0, 2.0))
    with pytest.raises(WrongResult, match="sum"):
        verify.require_close("sum", 1.0, 1.0 + 1e-6)


def test_distances_are_those_of_the_coordinates() -> None:
    """Three, four, five."""
    points = np.array([[0.0, 0.0], [3.0, 4.0]], np.float32)
    assert verify.distances_to_all(points, points[0]).tolist() == [0.0, 5.0]


def test_reaches_are_those_of_all_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks, the point itself left out, as by sorting all distances of each point."""
    monkeypatch.setattr(verify, "_BLOCK", 30)
    sorted_ = [np.sort(verify.distances_to_all(POINTS, POINTS[row]))[K] for row in ROWS]
    assert verify.true_reaches(POINTS, ROWS, K) == pytest.approx(sorted_, rel=1e-12)


def test_recall_of_exact_ids_is_one() -> None:
    """With or without the point itself among the ids."""
    ids = nearest_neighbors(POINTS, K).index
    with_self = np.column_stack([np.arange(200), ids])
    assert verify.recall_of_ids(POINTS, ids, K, ROWS) == 1.0
    assert verify.recall_of_ids(POINTS, with_self, K, ROWS) == 1.0


def test_recall_counts_what_is_missing() -> None:
    """One of six wrong in each row, or said twice, leaves five sixths."""
    ids = nearest_neighbors(POINTS, K).index.copy()
    ids[:, 2] = -1
    assert verify.recall_of_ids(POINTS, ids, K, ROWS) == pytest.approx(5 / 6)
    ids[:, 2] = ids[:, 3]
    assert verify.recall_of_ids(POINTS, ids, K, ROWS) == pytest.approx(5 / 6)
    with pytest.raises(WrongResult, match=r"recall 0\.8333"):
        verify.require_recall("neighbours", 5 / 6, 1.0)


def test_recall_of_a_graph_takes_ties_either_way() -> None:
    """On a line of evenly spaced points either neighbour is right."""
    line = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 1.0, 1.0])
    points = np.arange(4, dtype=np.float32)[:, None]
    assert verify.recall_of_graph(line, points, 1, np.arange(4)) == 1.0


def test_recall_of_a_graph_misses_an_edge(graph: gq.Graph) -> None:
    """A graph of fewer neighbours does not hold those asked for."""
    assert verify.recall_of_graph(graph, POINTS, K, ROWS) == 1.0
    assert verify.recall_of_graph(gq.knn_graph(POINTS, 2), POINTS, K, ROWS) < 0.8


def test_wrong_length_is_found(graph: gq.Graph) -> None:
    """A length that is off by a millionth is another length."""
    lengths = graph.lengths * np.float32(1 + 1e-6)
    wrong = gq.Graph(graph.indptr, graph.indices, lengths)
    with pytest.raises(WrongResult, match="wrong length"):
        verify.recall_of_graph(wrong, POINTS, K, ROWS)


@pytest.mark.parametrize(
    ("field", "broken", "message"),
    [
        ("labels", lambda value: np.roll(value, 1), "labels"),
        ("distance", lambda value: value * 1.001, "distances"),
        ("inertia", lambda value: value * 0.99, "energy"),
        ("medoid_indices", lambda value: np.repeat(value[:1], len(value)), "distinct centres"),
    ],
)
def test_wrong_clustering_is_found(
    graph: gq.Graph, clustering: gq.Clustering, field: str, broken: Any, message: str
) -> None:
    """A clustering that is wrong in any part is refused."""
    matrix = verify.as_scipy(graph)
    assert verify.verified_energy(matrix, clustering, 5, 2) == clustering.inertia
    wrong = dataclasses.replace(clustering, **{field: broken(getattr(clustering, field))})
    with pytest.raises(WrongResult, match=message):
        verify.verified_energy(matrix, wrong, 5, 2)


def test_local_optimum_is_told_from_another(graph: gq.Graph, clustering: gq.Clustering) -> None:
    """No node improves the optimum; from other centres some swap does."""
    matrix = verify.as_scipy(graph)
    verify.require_local_optimum(matrix, clustering.medoid_indices, 2, 200)
    with pytest.raises(WrongResult, match="no local optimum"):
        verify.require_local_optimum(matrix, np.arange(5), 2, 200)


def test_best_swap_is_that_of_trying_all(graph: gq.Graph) -> None:
    """The change by the formula is the change of the recomputed energy, for the best centre."""
    matrix, centres = verify.as_scipy(graph), np.array([3, 50, 90])
    before = verify.energy(matrix, centres, 2)
    d1, nearest, d2 = verify.two_nearest(matrix, centres)
    node = 120
    tried = [verify.energy(matrix, np.where(np.arange(3) == c, node, centres), 2) for c in range(3)]
    found = verify.best_swap_of(
        verify.dijkstra(matrix, indices=node), d1, nearest, d2, power=2, n_clusters=3
    )
    assert found == pytest.approx(min(tried) - before)
