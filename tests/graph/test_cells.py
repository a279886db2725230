"""Cells of neighbouring points, and which of them are compared."""

from __future__ import annotations

import numpy as np
import pytest

from geoquant import _core
from geoquant.graph import cells as module
from geoquant.graph.cells import (
    Cells,
    all_pairs,
    cells_of,
    mark_near,
    nearest_centroids,
    pairs_of,
    sample_rows,
)
from tests import reference


def points(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("n_cells", [1, 2, 9, 60])
def test_cells_partition_the_points(n_cells: int) -> None:
    """Every point is in one cell, in ascending order within it, and the label says which."""
    cells = cells_of(points(60, 3), n_cells)
    assert sorted(cells.order.tolist()) == list(range(60))
    assert cells.sizes.sum() == 60
    assert len(cells.sizes) == len(cells.centroids) == n_cells
    parts = np.split(cells.order, np.cumsum(cells.sizes)[:-1])
    for cell, part in enumerate(parts):
        assert (np.diff(part) > 0).all()
        assert (cells.label[part] == cell).all()


def test_cells_are_those_of_the_nearest_centroid() -> None:
    """A point is in the Voronoi cell of its centroid, ties to the first."""
    x = points(300, 4)
    cells = cells_of(x, 12)
    assert cells.label.tolist() == reference.nearest_rows(cells.centroids, 1, x)[1][:, 0].tolist()


def test_equal_points_leave_cells_empty() -> None:
    """Of cells with equal centroids the first takes all points; empty ones are no error."""
    cells = cells_of(np.ones((20, 2), np.float32), 4)
    assert sorted(cells.sizes.tolist()) == [0, 0, 0, 20]
    assert np.isfinite(cells.centroids).all()


@pytest.mark.parametrize("n_cells", [5, 40])
def test_cells_do_not_depend_on_threads_or_instructions(
    monkeypatch: pytest.MonkeyPatch, n_cells: int
) -> None:
    """Threads and instruction sets do not show, with centroids grouped or not."""
    monkeypatch.setattr(module, "_GROUPED_FROM", 20)
    x = points(900, 6)
    expected = cells_of(x, n_cells, n_threads=1)
    for simd in _core.available_simd():
        monkeypatch.setenv("GEOQUANT_SIMD", simd)
        found = cells_of(x, n_cells, n_threads=3)
        for a, b in zip(found, expected, strict=True):
            assert a.tobytes() == b.tobytes()


def test_several_nearest_centroids_are_exact() -> None:
    """More than one is the exact answer, however many centroids there are."""
    x, centroids = points(50, 3), points(700, 3, 1)
    found = nearest_centroids(x, centroids, 5)
    assert found.tolist() == reference.nearest_rows(centroids, 5, x)[1].tolist()


def test_the_nearest_among_groups_is_nearly_always_the_nearest() -> None:
    """Where centroids are grouped, few points get another than the nearest of all."""
    x, centroids = points(2000, 5), points(700, 5, 1)
    found = nearest_centroids(x, centroids, 1)[:, 0]
    exact = _core.knn_search(centroids, x, 1)[1][:, 0]
    assert (found == exact).mean() > 0.95


def test_all_pairs_are_each_once_and_near_first() -> None:
    """Every pair of cells is listed once, the lower first, by distance of the centroids."""
    cells = cells_of(points(200, 3), 11)
    pairs = all_pairs(cells)
    assert sorted(map(tuple, pairs.tolist())) == [
        (a, b) for a in range(11) for b in range(a + 1, 11)
    ]
    gap = np.linalg.norm(cells.centroids[pairs[:, 0]] - cells.centroids[pairs[:, 1]], axis=1)
    assert (np.diff(gap) >= -1e-6).all()


def test_marked_pairs_are_listed_without_the_cells_themselves() -> None:
    """What lies on the diagonal is no pair, and marks are the lower cell first."""
    cells = Cells(np.arange(3, dtype=np.int32), np.ones(3, np.int64), np.float32([[0], [9], [1]]))
    is_paired = np.eye(3, dtype=bool)
    mark_near(is_paired, np.int32([2, 1]), np.int32([[2, 0], [1, 2]]))
    assert pairs_of(cells, is_paired).tolist() == [[0, 2], [1, 2]]


@pytest.mark.parametrize(("n", "size"), [(10, 4), (10, 10), (3, 50)])
def test_samples_are_distinct_and_repeatable(n: int, size: int) -> None:
    """A sample has no row twice and is the same each time."""
    rows = sample_rows(n, size)
    assert len(set(rows.tolist())) == len(rows) == min(n, size)
    assert rows.tolist() == sample_rows(n, size).tolist()
