"""Groups of cells: none empty, none too large, few neighbours parted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from geoquant.distributed.grouping import MOST_LOAD, group_cells


def grid_of_cells(side: int) -> tuple[np.ndarray, csr_array]:
    """Centroids on a square grid, and one shared neighbour across each side."""
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    gap = np.abs(xy[:, None] - xy[None]).sum(axis=-1)
    return xy.astype(np.float32), csr_array((gap == 1).astype(float))


@pytest.mark.parametrize("n_groups", [1, 2, 3, 8, 25])
def test_every_group_has_points_and_room(n_groups: int) -> None:
    """Cells of unlike size, some empty: every group has points, and none is over-full."""
    centroids, affinity = grid_of_cells(12)
    sizes = np.random.default_rng(0).integers(0, 9, 144)
    group = group_cells(centroids, sizes, affinity, n_groups)
    load = np.bincount(group, sizes, n_groups)
    assert load.min() > 0
    assert load.max() <= MOST_LOAD * sizes.sum() / n_groups


def test_as_many_groups_as_cells() -> None:
    """Where there is a group for each cell that holds points, each has one."""
    centroids, affinity = grid_of_cells(3)
    sizes = np.array([1, 0, 1, 5, 0, 1, 0, 1, 1])
    group = group_cells(centroids, sizes, affinity, 6)
    assert sorted(np.bincount(group, sizes > 0).tolist()) == [1.0] * 6


def test_clusters_stay_whole() -> None:
    """Cells that share many neighbours are not parted for those that share few."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(4), 10)
    centroids = (rng.standard_normal((40, 3)) + 9 * np.eye(4, 3)[cluster]).astype(np.float32)
    affinity = np.where(cluster[:, None] == cluster, 5.0, 0.1) * (1 - np.eye(40))
    order = rng.permutation(40)
    group = group_cells(centroids[order], np.full(40, 7), csr_array(affinity[order][:, order]), 4)
    assert len(set(zip(cluster[order].tolist(), group.tolist(), strict=True))) == 4


def test_moves_cut_less_than_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moving single cells parts fewer neighbours than cuts across the axes alone."""
    rng = np.random.default_rng(1)
    points = rng.random((300, 2)).astype(np.float32)
    gap = np.linalg.norm(points[:, None] - points[None], axis=-1)
    affinity = csr_array(np.where((gap < 0.1) & (gap > 0), 1.0, 0.0))
    sizes = rng.integers(1, 9, 300)

    def cut() -> float:
        group = group_cells(points, sizes, affinity, 8)
        row = np.repeat(group, np.diff(affinity.indptr))
        return float(affinity.data[row != group[affinity.indices]].sum())

    refined = cut()
    monkeypatch.setattr("geoquant.distributed.grouping._MOST_PASSES", 0)
    assert refined < 0.8 * cut()
