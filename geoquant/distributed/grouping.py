"""Cells of neighbouring points in groups of like size, so that few neighbours are parted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoquant.distributed.cell_merging import Level, merged_groups, merged_levels
from geoquant.distributed.cell_moves import Bounds, refined_groups

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    Ints = npt.NDArray[np.int64]

#: A group may be so many times as large as the mean: latents have clusters of their own, and to
#: cut through them costs more than groups of unlike size.
MOST_LOAD = 1.6
#: And so many times the mean is the least: a group of a few points is none that saves work.
LEAST_LOAD = 0.5
#: Nor may a group exceed the mean by more than this share of all points: few groups of very unlike
#: size would leave most of the work to one.
_MOST_EXCESS = 0.1
#: Merged cells that groups are first made of.
_LEAST_COARSE, _COARSE_PER_GROUP = 200, 8
#: How often cells are merged anew; starts each time, while these are of so many cells together; and
#: the best of them that are refined.
_N_MERGED = 4
_MOST_STARTS, _MOST_STARTED = 16, 6000
_N_KEPT = 2


def group_cells(sizes: Ints, affinity: csr_array, n_groups: int) -> npt.NDArray[np.int32]:
    """Group cells so that little affinity is cut and no group is very large.

    Cells are merged level by level, groups are made of the coarsest in several ways, and the best
    of these refined at each level [1]_. The best of several such runs is returned, the same one
    every time.

    Parameters
    ----------
    sizes : ndarray of shape (n_cells,), int64
        How many points each holds.
    affinity : csr_array of shape (n_cells, n_cells)
        How many neighbours two cells share, symmetric, nothing on the diagonal.
    n_groups : int
        How many, at most the number of cells that hold points.

    Returns
    -------
    ndarray of shape (n_cells,), int32
        Group of each cell; no group is without points. Cells without are in the first.

    References
    ----------
    .. [1] G. Karypis, V. Kumar, "Multilevel k-way partitioning scheme for irregular graphs",
       Journal of Parallel and Distributed Computing 48 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from geoquant.distributed.grouping import group_cells
    >>> affinity = csr_array(np.kron(np.eye(2), 1 - np.eye(2)))
    >>> group_cells(np.full(4, 5), affinity, 2).tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    True
    """
    full = np.flatnonzero(sizes)
    level = Level(affinity[full][:, full], sizes[full].astype(np.int64), np.empty(0, np.int64))
    bounds = bounds_of(int(sizes.sum()), n_groups)
    rng = np.random.default_rng(0)
    found = [group for _ in range(_N_MERGED) for group in _refined(level, n_groups, bounds, rng)]
    group = np.zeros(len(sizes), np.int32)
    group[full] = min(found, key=lambda group: _score(level, group, bounds))
    return group


def bounds_of(n_points: int, n_groups: int) -> Bounds:
    """How many points a group is to hold, at least and at most.

    Parameters
    ----------
    n_points, n_groups : int
        How many there are.

    Returns
    -------
    Bounds

    Examples
    --------
    >>> from geoquant.distributed.grouping import bounds_of
    >>> bounds_of(1000, 2), bounds_of(1000, 10)
    (Bounds(least=250.0, most=600.0), Bounds(least=50.0, most=160.0))
    """
    mean = n_points / n_groups
    return Bounds(LEAST_LOAD * mean, min(MOST_LOAD, 1 + _MOST_EXCESS * n_groups) * mean)


def _refined(level: Level, n_groups: int, bounds: Bounds, rng: np.random.Generator) -> list[Ints]:
    """The groups that a few starts lead to."""
    n_coarse = max(_LEAST_COARSE, _COARSE_PER_GROUP * n_groups)
    *finer, coarsest = merged_levels(level.affinity, level.sizes, n_coarse, rng)
    found = []
    for group in _starts(coarsest, n_groups, bounds, rng):
        for here in reversed(finer):
            group = refined_groups(here.affinity, here.sizes, group[here.parent], n_groups, bounds)
        found.append(group)
    return found


def _starts(level: Level, n_groups: int, bounds: Bounds, rng: np.random.Generator) -> list[Ints]:
    """The best groups that cells were merged into, no two of one score."""
    n_starts = min(max(_N_KEPT, _MOST_STARTED // len(level.sizes)), _MOST_STARTS)
    mean = level.sizes.sum() / n_groups
    starts: dict[tuple[float, float], Ints] = {}
    for _ in range(n_starts):
        most = rng.uniform(mean, bounds.most)
        group = merged_groups(level.affinity, level.sizes, n_groups, most, rng)
        group = refined_groups(level.affinity, level.sizes, group, n_groups, bounds)
        starts.setdefault(_score(level, group, bounds), group)
    return [starts[score] for score in sorted(starts)[:_N_KEPT]]


def _score(level: Level, group: Ints, bounds: Bounds) -> tuple[float, float]:
    """By how much groups are too large or small, and what is cut; the smaller the better."""
    row = np.repeat(group, np.diff(level.affinity.indptr))
    load = np.bincount(group, level.sizes)
    excess = max(0.0, float(load.max()) - bounds.most, bounds.least - float(load.min()))
    is_cut = row != group[level.affinity.indices]
    return excess, float(level.affinity.data[is_cut].sum())
