"""Nearest neighbours, and the graph that joins them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.arguments import check_count, check_share
from geoquant.default_floats import default_floats
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.cells import (
    Cells,
    Points,
    all_pairs,
    cells_of,
    mark_near,
    nearest_centroids,
    pairs_of,
    sample_rows,
)
from geoquant.graph.csr import MAX_NODES, Graph
from geoquant.latents import check_latents
from geoquant.progress import Progress, n_threads, of_stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Up to this many points every pair is compared. Measured on two cores in 20 dimensions: 60 000
#: points take 0.25 s so, and 0.14 to 0.33 s with near cells only; 120 000 take 0.85 s, and 0.44 to
#: 0.58 s.
EXACT_LIMIT = 65_536

#: Beyond it, as many cells are compared as hold this share of the true neighbours of a sample.
RECALL_TARGET = 0.995

#: Points per cell. Where all cells are compared, large ones save overhead, and 350 to 1000 are
#: within 10 %. Where only near ones are, measured on 250 000 points: half as many take 75 % longer,
#: twice as many 11 %.
_CELL_SIZE_EXACT = 500
_CELL_SIZE = 244

#: More cells would take more memory for the pairs of them than they save time.
_MOST_CELLS_EXACT = 2048
_MOST_CELLS = 8192

#: Which points are asked for their nearest cells (one in so many), and for how many of them: tried
#: in turn until the target is met. Measured: more points are better than more cells of each.
ASKED_AND_NEAR = (
    (8, (3, 4, 5, 6, 7, 8, 9, 11, 13, 16)),
    (2, (11, 13, 16, 18, 20, 22, 25, 28, 32)),
    (2, (38, 45, 54, 64)),
)
#: Beyond this share of all pairs of points, comparing all costs little more.
_MOST_COMPARED = 0.5
RECALL_SAMPLE = 2000

#: With more neighbours than this the buffers of all points at once would take too much memory.
_MOST_FOR_JOIN = 64


class Neighbors(NamedTuple):
    """Nearest neighbours, nearest first, ties by the smaller id.

    Attributes
    ----------
    distance : ndarray of shape (n_queries, k), float32
        Euclidean distances, ascending.
    index : ndarray of shape (n_queries, k), int32
        Which points.
    recall : float
        Share of the true neighbours found, estimated on a sample; 1.0 where the search was exact.
    """

    distance: npt.NDArray[np.float32]
    index: npt.NDArray[np.int32]  # type: ignore[assignment]  # hides tuple.index
    recall: float


@memory_errors_typed()
def nearest_neighbors(
    points: npt.ArrayLike,
    n_neighbors: int,
    queries: npt.ArrayLike | None = None,
    *,
    recall_target: float = RECALL_TARGET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Neighbors:
    """Find the nearest points of each query.

    Among the points themselves: exact up to `EXACT_LIMIT` points. Beyond, points are compared with
    those of near cells only, as many cells as it takes to find `recall_target` of the true
    neighbours of a sample; the share found is reported. With `queries` always exact.

    Vector instructions propose neighbours; what is kept is decided by exact distances, so the
    result does not depend on the instruction set. The environment variable ``GEOQUANT_SIMD``
    (portable, avx2 or avx512) forces one.

    Parameters
    ----------
    points : array-like of shape (n_points, d)
        What to search among.
    n_neighbors : int
        How many to find; at most the number of points (less one without `queries`).
    queries : array-like of shape (n_queries, d), optional
        Default: the points themselves, each without itself. A point is left out by its id: a
        duplicate of it is a neighbour at distance zero.
    recall_target : float, default=0.995
        Share of the true neighbours to find, in (0, 1]; 1: exact at any size.
    n_jobs : int, optional
        Threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress("neighbours", done, total)``.

    Returns
    -------
    Neighbors

    Raises
    ------
    InputError
        If the arrays cannot be used or `n_neighbors` is out of range.

    Examples
    --------
    >>> from geoquant.graph.knn import nearest_neighbors
    >>> nearest_neighbors([[0.0], [1.0], [3.0]], 1).index.ravel().tolist()
    [1, 0, 1]
    """
    among = check_latents(points, name="points")
    asked = among if queries is None else check_latents(queries, name="queries")
    if asked.shape[1] != among.shape[1]:
        raise InputError(
            f"queries must have {among.shape[1]} columns as points have, found {asked.shape[1]}"
        )
    if len(among) > MAX_NODES:
        raise InputError(f"points must be at most {MAX_NODES}, found {len(among)}; take a sample")
    n_available = len(among) - (queries is None)
    n_neighbors = check_count(n_neighbors, "n_neighbors", 1, n_available)
    target = check_share(recall_target, "recall_target")
    _check_instruction_set()
    threads = n_threads(n_jobs)
    if queries is None and n_neighbors <= _MOST_FOR_JOIN:
        with default_floats():
            return _join(among, n_neighbors, target, threads, progress)
    self_id = np.arange(len(among), dtype=np.int32) if queries is None else None
    found = _core.knn_search(
        among, asked, n_neighbors, self_id, threads, of_stage(progress, "neighbours")
    )
    return Neighbors(*found, recall=1.0)


@memory_errors_typed()
def knn_graph(
    latents: npt.ArrayLike,
    n_neighbors: int = 10,
    *,
    recall_target: float = RECALL_TARGET,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Graph:
    """Join every latent with its nearest neighbours.

    An edge is kept if either end has the other among its nearest (union), with the Euclidean
    distance as its length. The graph may have several components; see `bridge_components`.

    Parameters
    ----------
    latents : array-like of shape (n, d)
        One node per row. Exact duplicates are nodes joined to one another at length zero, and do
        not count as neighbours otherwise: every node reaches `n_neighbors` distinct latents.
    n_neighbors : int, default=10
        Neighbours per latent; reduced to what there is.
    recall_target : float, default=0.995
        Share of the true neighbours to find, in (0, 1]; 1: exact at any size.
    n_jobs : int, optional
        Threads; the graph does not depend on it.
    progress : callable, optional
        Called as ``progress("neighbours", done, total)``.

    Returns
    -------
    Graph

    Raises
    ------
    InputError
        If `latents` cannot be used or `n_neighbors` is not a positive integer.

    Examples
    --------
    >>> import geoquant as gq
    >>> gq.knn_graph([[0.0], [1.0], [3.0]], n_neighbors=1).lengths.tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    x = check_latents(latents)
    n_neighbors = check_count(n_neighbors, "n_neighbors", 1)
    distinct = distinct_rows(x, None)
    row = np.sort(distinct.row)  # so that ties go to the smaller row
    representative = distinct.row[distinct.node_of_row]
    duplicate = np.flatnonzero(representative != np.arange(len(x)))
    k = min(n_neighbors, len(row) - 1)
    if k == 0:
        zeros = np.zeros(len(duplicate))
        return Graph.from_edges(len(x), duplicate, representative[duplicate], zeros)
    found = nearest_neighbors(
        x if len(row) == len(x) else x[row],
        k,
        recall_target=recall_target,
        n_jobs=n_jobs,
        progress=progress,
    )
    if len(row) == len(x):
        return Graph.from_neighbors(found.index, found.distance, recall=found.recall, n_jobs=n_jobs)
    return Graph.from_edges(
        len(x),
        np.concatenate([np.repeat(row, k), duplicate]),
        np.concatenate([row[found.index.ravel()], representative[duplicate]]),
        np.concatenate([found.distance.ravel(), np.zeros(len(duplicate), np.float32)]),
        recall=found.recall,
    )


def _check_instruction_set() -> None:
    try:
        _core.simd()
    except ValueError as error:
        raise InputError(str(error)) from None


def _join(
    points: Points, k: int, recall_target: float, threads: int, progress: Progress | None
) -> Neighbors:
    is_exact = len(points) <= EXACT_LIMIT or recall_target == 1.0
    found = None if is_exact else near_cell_pairs(points, k, recall_target, n_threads=threads)
    if found is None:
        cells = cells_of(points, n_cells_for(len(points), exact=True), n_threads=threads)
        found = NearCellPairs(cells, all_pairs(cells), 1.0)
    distance, index = _core.knn_join(
        points,
        found.cells.order,
        found.cells.sizes,
        found.pairs,
        k,
        threads,
        of_stage(progress, "neighbours"),
    )
    return Neighbors(distance, index, found.recall)


def n_cells_for(n_points: int, *, exact: bool) -> int:
    """How many cells a search partitions its points into.

    Parameters
    ----------
    n_points : int
        How many points.
    exact : bool
        Whether all cells are to be compared with one another, or near ones only.

    Returns
    -------
    int

    Examples
    --------
    >>> from geoquant.graph.knn import n_cells_for
    >>> n_cells_for(60_000, exact=True), n_cells_for(1_000_000, exact=False)
    (120, 4098)
    """
    size, most = (_CELL_SIZE_EXACT, _MOST_CELLS_EXACT) if exact else (_CELL_SIZE, _MOST_CELLS)
    return min(most, max(1, n_points // size))


class NearCellPairs(NamedTuple):
    """Which cells of points to compare, and what share of the neighbours that finds.

    Attributes
    ----------
    cells : Cells
        The points, in cells.
    pairs : ndarray of shape (n_pairs, 2), int32
        Pairs of different cells, near ones first.
    recall : float
        Share of the true neighbours that lie in the cells compared, estimated on a sample.
    """

    cells: Cells
    pairs: npt.NDArray[np.int32]
    recall: float

    @property
    def n_compared(self) -> npt.NDArray[np.int64]:
        """How many points those of each cell are compared with, themselves included."""
        low, high = self.pairs.T
        n_compared = self.cells.sizes.copy()
        np.add.at(n_compared, low, self.cells.sizes[high])
        np.add.at(n_compared, high, self.cells.sizes[low])
        return n_compared


def near_cell_pairs(
    points: Points, k: int, recall_target: float, *, n_threads: int = 1
) -> NearCellPairs | None:
    """Choose the fewest likely pairs of cells that meet a recall target.

    A neighbour is found if its cell is compared, so the recall is known without searching, from
    the true neighbours of points that had no part in choosing cells or pairs. One standard error
    is asked for beyond the target.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
        C order, finite.
    k : int
        Neighbours that every point is to have.
    recall_target : float
        In (0, 1).
    n_threads : int, default=1
        Threads; the choice does not depend on it.

    Returns
    -------
    NearCellPairs or None
        None where comparing all points costs little more.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.knn import near_cell_pairs
    >>> near_cell_pairs(np.arange(8, dtype=np.float32)[:, None], 2, 0.9) is None
    True
    """
    cells = cells_of(points, n_cells_for(len(points), exact=False), n_threads=n_threads)
    label = cells.label
    rows = sample_rows(len(points), len(points))
    testing = rows[-RECALL_SAMPLE:].astype(np.int32)
    _, truth = _core.knn_search(points, points[testing], k, testing, n_threads)
    growing = _growing_pairs(points, cells, label, rows, n_threads)
    return fewest_pairs(cells, growing, label[testing], label[truth], k, recall_target)


def fewest_pairs(
    cells: Cells,
    growing: Iterable[npt.NDArray[np.bool_]],
    own: npt.NDArray[np.int32],
    others: npt.NDArray[np.int32],
    k: int,
    recall_target: float,
) -> NearCellPairs | None:
    """Take the first of ever more pairs of cells that meet a recall target.

    Parameters
    ----------
    cells : Cells
        The cells; their order is not looked at.
    growing : iterable of ndarray of shape (n_cells, n_cells), bool
        Marks of pairs, more each time.
    own : ndarray of shape (m,), int32
        Cells of the points of a test.
    others : ndarray of shape (m, k), int32
        Cells of their true neighbours.
    k, recall_target
        As for `near_cell_pairs`.

    Returns
    -------
    NearCellPairs or None
        None where comparing all points costs little more.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.cells import Cells
    >>> from geoquant.graph.knn import fewest_pairs
    >>> line = np.arange(9, dtype=np.float32)[:, None]
    >>> cells = Cells(np.arange(9, dtype=np.int32), np.ones(9, np.int64), line)
    >>> marks = [np.eye(9, k=0) + np.eye(9, k=1) > 0]
    >>> own, others = np.array([0, 5], np.int32), np.array([[1], [6]], np.int32)
    >>> len(fewest_pairs(cells, marks, own, others, 1, 0.9).pairs)
    8
    """
    n_points = int(cells.sizes.sum())
    low, high = np.minimum(own[:, None], others), np.maximum(own[:, None], others)
    for is_paired in growing:
        shares = is_paired[low, high].mean(axis=1)
        recall = float(shares.mean())
        if recall - shares.std() / np.sqrt(len(shares)) < recall_target:
            continue
        found = NearCellPairs(cells, pairs_of(cells, is_paired), recall)
        n_compared = found.n_compared
        if n_compared @ cells.sizes > _MOST_COMPARED * n_points**2:
            return None
        if n_compared[cells.sizes > 0].min() > k:
            return found
    return None


def _growing_pairs(
    points: Points,
    cells: Cells,
    label: npt.NDArray[np.int32],
    rows: npt.NDArray[np.int64],
    threads: int,
) -> Iterator[npt.NDArray[np.bool_]]:
    """Marks of the pairs of cells between which neighbours are likely, more each time."""
    n_cells = len(cells.sizes)
    is_paired = np.eye(n_cells, dtype=np.bool_)
    for one_in, growing in ASKED_AND_NEAR:
        asked = rows[: len(rows) // one_in]
        n_found = min(n_cells, growing[-1])
        near = nearest_centroids(points[asked], cells.centroids, n_found, n_threads=threads)
        for n_near in growing:
            if n_near > n_cells:
                return
            mark_near(is_paired, label[asked], near[:, :n_near])
            yield is_paired
