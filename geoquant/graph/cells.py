"""Cells of neighbouring points: the order in which searches visit them, and whom with whom.

Everything here is decided by exact distances, so it is the same for any instruction set and any
number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core

Points = npt.NDArray[np.float32]

#: Rounds of k-means over the sample. Measured: more make cells no better to search.
_ROUNDS = 3
#: Points per cell in the sample that the centroids are made from.
SAMPLE_PER_CELL = 16
#: From this many centroids on, they are grouped, and to find the nearest a point is compared with
#: near groups only.
_GROUPED_FROM = 512
_GROUPS_COMPARED = 12


class Cells(NamedTuple):
    """A partition of points into the Voronoi cells of centroids (approximately so for many).

    Attributes
    ----------
    order : ndarray of shape (n,), int32
        The points, cell by cell, ascending within.
    sizes : ndarray of shape (n_cells,), int64
        How many points each cell has; some may have none.
    centroids : ndarray of shape (n_cells, d), float32
        Their centres.
    """

    order: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]
    centroids: Points

    @property
    def label(self) -> npt.NDArray[np.int32]:
        """Cell of each point, shape (n,)."""
        label = np.empty(len(self.order), np.int32)
        label[self.order] = np.repeat(np.arange(len(self.sizes), dtype=np.int32), self.sizes)
        return label


def cells_of(points: Points, n_cells: int, *, n_threads: int = 1) -> Cells:
    """Partition points into cells of like number, by k-means on a sample.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
        C order, finite.
    n_cells : int
        How many cells, at most n.
    n_threads : int, default=1
        Threads; the cells do not depend on it.

    Returns
    -------
    Cells

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import cells_of
    >>> sorted(cells_of(np.array([[0.0], [9.0], [1.0], [8.0]], np.float32), 2).sizes.tolist())
    [2, 2]
    """
    if n_cells == 1:
        return _in_cells(np.zeros(len(points), np.int32), points[:1])
    sample = points[sample_rows(len(points), SAMPLE_PER_CELL * n_cells)]
    centroids = centroids_of(sample, n_cells, n_threads=n_threads)
    label = nearest_centroids(points, centroids, 1, n_threads=n_threads)[:, 0]
    return _in_cells(label, centroids)


def sample_rows(n: int, size: int) -> npt.NDArray[np.int64]:
    """Pick distinct rows at random, the same ones each time, in random order.

    Parameters
    ----------
    n : int
        How many rows there are.
    size : int
        How many to pick; all of them if there are fewer.

    Returns
    -------
    ndarray of shape (min(n, size),), int64

    Examples
    --------
    >>> from geoquant.graph.cells import sample_rows
    >>> sorted(sample_rows(3, 5).tolist())
    [0, 1, 2]
    """
    rows: npt.NDArray[np.int64] = np.random.default_rng(0).permutation(n)[:size]
    return rows


def all_pairs(cells: Cells) -> npt.NDArray[np.int32]:
    """Pair every cell with every other, near ones first.

    Parameters
    ----------
    cells : Cells
        The cells.

    Returns
    -------
    ndarray of shape (n_cells * (n_cells - 1) / 2, 2), int32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import Cells, all_pairs
    >>> x = np.array([[0.0], [9.0], [1.0]], np.float32)
    >>> all_pairs(Cells(np.arange(3, dtype=np.int32), np.ones(3, np.int64), x)).tolist()
    [[0, 2], [1, 2], [0, 1]]
    """
    low, high = (index.astype(np.int32) for index in np.triu_indices(len(cells.sizes), 1))
    return _near_first(cells.centroids, low, high)


def pairs_of(cells: Cells, is_paired: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """List the pairs of different cells that are marked, near ones first.

    Parameters
    ----------
    cells : Cells
        The cells.
    is_paired : ndarray of shape (n_cells, n_cells), bool
        Marks; what is below the diagonal does not count.

    Returns
    -------
    ndarray of shape (n_pairs, 2), int32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import Cells, pairs_of
    >>> x = np.array([[0.0], [9.0], [1.0]], np.float32)
    >>> cells = Cells(np.arange(3, dtype=np.int32), np.ones(3, np.int64), x)
    >>> pairs_of(cells, np.array([[1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)).tolist()
    [[0, 2], [1, 2]]
    """
    low, high = (index.astype(np.int32) for index in np.nonzero(is_paired))
    return _near_first(cells.centroids, low[low < high], high[low < high])


def mark_near(
    is_paired: npt.NDArray[np.bool_], label: npt.NDArray[np.int32], near: npt.NDArray[np.int32]
) -> None:
    """Mark the pairs of each point's cell with the cells of its near centroids.

    Parameters
    ----------
    is_paired : ndarray of shape (n_cells, n_cells), bool
        Marked in place, on and above the diagonal.
    label : ndarray of shape (m,), int32
        Cell of each point.
    near : ndarray of shape (m, k), int32
        Centroids near it.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import mark_near
    >>> is_paired = np.zeros((3, 3), bool)
    >>> mark_near(is_paired, np.array([2], np.int32), np.array([[2, 0]], np.int32))
    >>> np.argwhere(is_paired).tolist()
    [[0, 2], [2, 2]]
    """
    own = label[:, None]
    is_paired[np.minimum(own, near), np.maximum(own, near)] = True


def nearest_centroids(
    points: Points, centroids: Points, k: int, *, n_threads: int = 1
) -> npt.NDArray[np.int32]:
    """Find the nearest centroids of each point.

    A single one is looked for among near groups of centroids where there are 512 or more. Several
    are always exact: pairs of cells that are chosen by them must not miss the far ones.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
        Points.
    centroids : ndarray of shape (n_cells, d), float32
        Centroids.
    k : int
        How many; at most `n_cells`.
    n_threads : int, default=1
        Threads.

    Returns
    -------
    ndarray of shape (n, k), int32
        The nearest first.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import nearest_centroids
    >>> line = np.array([[0.0], [4.0], [9.0]], np.float32)
    >>> nearest_centroids(line[:1], line, 2).tolist()
    [[0, 1]]
    """
    if k == 1 and len(centroids) >= _GROUPED_FROM:
        groups = cells_of(centroids, round(len(centroids) ** 0.5), n_threads=n_threads)
        n_groups = min(_GROUPS_COMPARED, len(groups.sizes))
        near = nearest_centroids(groups.centroids, groups.centroids, n_groups, n_threads=n_threads)
        if groups.sizes[near].sum(axis=1).min() > 0:
            return _nearest_in_groups(points, centroids, groups, near, n_threads)
    return _core.knn_search(centroids, points, k, n_threads=n_threads)[1]


def centroids_of(sample: Points, n_cells: int, *, n_threads: int = 1) -> Points:
    """Make the centroids of cells from a sample, by Lloyd's algorithm from its first points.

    Parameters
    ----------
    sample : ndarray of shape (m, d), float32
        In random order; `SAMPLE_PER_CELL` points a cell, or all there are.
    n_cells : int
        How many, at most m.
    n_threads : int, default=1
        Threads.

    Returns
    -------
    ndarray of shape (n_cells, d), float32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import centroids_of
    >>> centroids_of(np.array([[0.0], [9.0], [1.0], [8.0]], np.float32), 2).ravel().tolist()
    [0.5, 8.5]
    """
    centroids = sample[:n_cells].copy()
    columns = np.ascontiguousarray(sample.T)
    for _ in range(_ROUNDS):
        label = nearest_centroids(sample, centroids, 1, n_threads=n_threads)[:, 0]
        count = np.bincount(label, minlength=n_cells)
        sums = np.stack([np.bincount(label, column, n_cells) for column in columns], axis=1)
        # A cell that lost all its points keeps its centroid.
        kept = count > 0
        centroids[kept] = sums[kept] / count[kept, None]
    return centroids


def _nearest_in_groups(
    points: Points,
    centroids: Points,
    groups: Cells,
    near: npt.NDArray[np.int32],
    n_threads: int,
) -> npt.NDArray[np.int32]:
    """Nearest centroid among those of the groups near to the group that a point is nearest to."""
    label = nearest_centroids(points, groups.centroids, 1, n_threads=n_threads)[:, 0]
    asking = _in_cells(label, groups.centroids)
    _, found = _core.knn_search_among(
        centroids,
        groups.order,
        groups.sizes,
        points,
        asking.order,
        asking.sizes,
        near,
        1,
        n_threads=n_threads,
    )
    return found


def _in_cells(label: npt.NDArray[np.int32], centroids: Points) -> Cells:
    sizes = np.bincount(label, minlength=len(centroids))
    # A stable sort of 16-bit integers is a radix sort, five times faster.
    key = label.astype(np.uint16) if len(centroids) <= 1 << 16 else label
    return Cells(np.argsort(key, kind="stable").astype(np.int32), sizes, centroids)


def _near_first(
    centroids: Points, low: npt.NDArray[np.int32], high: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    squared = np.zeros(len(low))
    for column in centroids.T.astype(np.float64):
        squared += (column[low] - column[high]) ** 2
    return np.stack([low, high], axis=1)[np.argsort(squared, kind="stable")]
