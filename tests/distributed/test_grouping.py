"""Groups of cells: none empty, none too large, few neighbours parted."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from geoquant.distributed.cell_merging import merged_groups, merged_levels
from geoquant.distributed.cell_moves import Bounds, refined_groups
from geoquant.distributed.grouping import MOST_LOAD, bounds_of, group_cells


def cut_of(affinity: csr_array, group: np.ndarray) -> float:
    """Affinity between groups."""
    row = np.repeat(group, np.diff(affinity.indptr))
    return float(affinity.data[row != group[affinity.indices]].sum()) / 2


def grid_of_cells(side: int) -> csr_array:
    """Cells on a square grid, and one shared neighbour across each side."""
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    gap = np.abs(xy[:, None] - xy[None]).sum(axis=-1)
    return csr_array((gap == 1).astype(float))


def near_cells(points: np.ndarray, radius: float) -> csr_array:
    """One shared neighbour for each pair of near points."""
    gap = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return csr_array(np.where((gap < radius) & (gap > 0), 1.0, 0.0))


def random_affinity(n_cells: int, share: float, rng: np.random.Generator) -> csr_array:
    """Symmetric counts, with as many pairs as the share says: in pieces where it is small."""
    half = np.triu(rng.integers(1, 9, (n_cells, n_cells)) * (rng.random((n_cells,) * 2) < share), 1)
    return csr_array((half + half.T).astype(float))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_promises_at_any_affinity(data: st.DataObject) -> None:
    """Pieces, empty and huge cells, no affinity: every group has points, none more than it must."""
    n_cells = data.draw(st.integers(1, 60))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    affinity = random_affinity(n_cells, data.draw(st.sampled_from([0.0, 0.02, 0.1, 1.0])), rng)
    sizes = rng.integers(0, 9, n_cells) ** data.draw(st.integers(1, 3))
    sizes[0] = max(1, sizes[0])
    n_full = int(np.count_nonzero(sizes))
    n_groups = data.draw(st.one_of(st.integers(1, n_full), st.just(n_full)))
    group = group_cells(sizes, affinity, n_groups)
    load = np.bincount(group, sizes, n_groups)
    assert len(load) == n_groups
    assert load.min() > 0
    assert load.max() <= max(bounds_of(sizes.sum(), n_groups).most, load.mean() + sizes.max())


@pytest.mark.parametrize("n_groups", [1, 2, 3, 8, 25])
def test_every_group_has_points_and_room(n_groups: int) -> None:
    """Cells of unlike size, some empty: every group has its share, and none is over-full."""
    sizes = np.random.default_rng(0).integers(0, 9, 144)
    group = group_cells(sizes, grid_of_cells(12), n_groups)
    load = np.bincount(group, sizes, n_groups)
    assert load.min() > 0
    least, most = bounds_of(sizes.sum(), n_groups)
    assert least <= load.min()
    assert load.max() <= most
    assert load.max() <= MOST_LOAD * load.mean()


def test_as_many_groups_as_cells() -> None:
    """Where there is a group for each cell that holds points, each has one."""
    sizes = np.array([1, 0, 1, 5, 0, 1, 0, 1, 1])
    group = group_cells(sizes, grid_of_cells(3), 6)
    assert sorted(np.bincount(group, sizes > 0).tolist()) == [1.0] * 6


def test_best_of_all_groups_of_few_cells() -> None:
    """No other grouping of eight cells within the same bound cuts less."""
    rng = np.random.default_rng(3)
    for _ in range(5):
        affinity = random_affinity(8, 0.5, rng)
        sizes = rng.integers(1, 4, 8)
        least, most = bounds_of(sizes.sum(), 3)
        cuts = []
        for choice in itertools.product(range(3), repeat=8):
            load = np.bincount(choice, sizes, 3)
            if load.min() >= least and load.max() <= most:
                cuts.append(cut_of(affinity, np.array(choice)))
        assert cut_of(affinity, group_cells(sizes, affinity, 3)) == min(cuts)


def test_planted_clusters_are_found() -> None:
    """Clusters of many cells stay whole, also where they must be merged from far down."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(6), 100)[rng.permutation(600)]
    same = cluster[:, None] == cluster
    half = np.triu(rng.random((600, 600)) < np.where(same, 0.2, 0.002), 1)
    group = group_cells(np.full(600, 7), csr_array((half + half.T).astype(float)), 6)
    assert len(set(zip(cluster.tolist(), group.tolist(), strict=True))) == 6


def test_same_groups_every_time() -> None:
    """Chance is the same every time."""
    points = np.random.default_rng(1).random((400, 2))
    affinity = near_cells(points, 0.1)
    sizes = np.full(400, 3)
    assert np.array_equal(group_cells(sizes, affinity, 8), group_cells(sizes, affinity, 8))


def test_cuts_less_than_planes() -> None:
    """Groups of points in a square cut fewer neighbours than slabs, and no more than a grid."""
    points = np.random.default_rng(1).random((900, 2))
    affinity = near_cells(points, 0.06)
    slabs = (points[:, 0] * 9).astype(int)
    squares = (points[:, 0] * 3).astype(int) * 3 + (points[:, 1] * 3).astype(int)
    cut = cut_of(affinity, group_cells(np.ones(900, int), affinity, 9))
    assert cut < 0.6 * cut_of(affinity, slabs)
    assert cut <= cut_of(affinity, squares)


def test_moves_never_cut_more() -> None:
    """From any groups within the bound, refinement cuts less and keeps to the bound."""
    rng = np.random.default_rng(2)
    affinity = random_affinity(80, 0.1, rng)
    sizes = np.ones(80, int)
    before = rng.permutation(np.arange(80) % 5)
    after = refined_groups(affinity, sizes, before, 5, Bounds(10, 20))
    assert cut_of(affinity, after) < cut_of(affinity, before)
    assert np.bincount(after, minlength=5).max() <= 20
    assert np.bincount(after, minlength=5).min() >= 10


def test_a_group_too_large_gives_away() -> None:
    """A group beyond the bound gives cells away, though that parts neighbours."""
    affinity = csr_array(np.ones((6, 6)) - np.eye(6))
    group = refined_groups(affinity, np.ones(6, int), np.array([0, 0, 0, 0, 0, 1]), 2, Bounds(1, 3))
    assert np.bincount(group).tolist() == [3, 3]


def test_a_group_too_small_takes() -> None:
    """A group below the bound takes the cells that it is nearest to."""
    line = csr_array(np.eye(9, k=1) + np.eye(9, k=-1))
    group = refined_groups(line, np.ones(9, int), np.array([0] * 8 + [1]), 2, Bounds(3, 9))
    assert group.tolist() == [0] * 6 + [1] * 3


def test_a_small_cluster_is_no_group_of_its_own() -> None:
    """Three clusters, one of a single cell, make two groups of like size, not one and a bit."""
    affinity = np.zeros((9, 9))
    for cells in (slice(0, 4), slice(4, 8)):
        affinity[cells, cells] = 1.0
    affinity[3, 4] = affinity[4, 3] = 0.5
    np.fill_diagonal(affinity, 0.0)
    load = np.bincount(group_cells(np.full(9, 3), csr_array(affinity), 2), np.full(9, 3))
    assert sorted(load.tolist()) == [12, 15]


@pytest.mark.parametrize("shape", ["line", "star", "nothing"])
def test_levels_shrink(shape: str) -> None:
    """Whatever hangs together, or nothing: points are kept, and few cells are left."""
    near = np.zeros((500, 500))
    if shape == "line":
        near = np.eye(500, k=1) + np.eye(500, k=-1)
    if shape == "star":
        near[0, 1:] = near[1:, 0] = 1.0
    levels = merged_levels(csr_array(near), np.ones(500, int), 50, np.random.default_rng(0))
    assert levels[-1].sizes.sum() == 500
    assert len(levels[-1].sizes) <= 2 * 50 / 1.5  # no two more may be merged
    for fine, coarse in itertools.pairwise(levels):
        assert np.array_equal(np.bincount(fine.parent, fine.sizes), coarse.sizes)
        kept = cut_of(fine.affinity, fine.parent)
        assert kept == coarse.affinity.sum() / 2


def test_merging_without_affinity_is_balanced() -> None:
    """Cells that share nothing are spread by size."""
    group = merged_groups(csr_array((12, 12)), np.ones(12, int), 4, 4.0, np.random.default_rng(0))
    assert np.bincount(group).tolist() == [3] * 4
