"""What must hold of a result before its time means anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

if TYPE_CHECKING:
    import geoquant as gq

Ids = npt.NDArray[np.integer]
Points = npt.NDArray[np.floating]

#: Two float32 roundings; a length that is off by more is another length.
LENGTH_TOLERANCE = 2.5e-7
#: A search in float32 by |x|² + |y|² - 2 x·y may take either of two neighbours this close.
TIE_TOLERANCE = 1e-5
_BLOCK = 20_000


class WrongResult(Exception):
    """What was to be timed is not what it should be; its time means nothing."""


def require(condition: bool, what: str) -> None:
    """Raise unless the condition holds."""
    if not condition:
        raise WrongResult(what)


def require_equal(what: str, ours: npt.ArrayLike, theirs: npt.ArrayLike) -> None:
    """Raise unless two arrays are equal bit for bit."""
    a, b = np.asarray(ours), np.asarray(theirs)
    require(a.shape == b.shape, f"{what}: shapes {a.shape} and {b.shape} differ")
    n_different = int((a != b).sum())
    require(not n_different, f"{what}: {n_different} of {a.size} entries differ")


def require_close(what: str, ours: float, theirs: float, rtol: float = 1e-9) -> None:
    """Raise unless two numbers are equal but for the order of summation."""
    require(
        bool(np.isclose(ours, theirs, rtol=rtol, atol=0)), f"{what}: {ours!r} is not {theirs!r}"
    )


# -------------------------------------------------------------------------------- neighbours


def sampled_rows(n: int, n_sampled: int) -> Ids:
    """Evenly spaced rows."""
    return np.unique(np.linspace(0, n - 1, min(n, n_sampled)).astype(np.int64))


def distances_to_all(points: Points, query: Points) -> npt.NDArray[np.float64]:
    """Euclidean distances in float64, from coordinate differences, of one query."""
    total = np.zeros(len(points))
    for column, value in zip(points.T, query.tolist(), strict=True):
        difference = column.astype(np.float64) - value
        total += difference * difference
    return np.sqrt(total)


def true_reaches(points: Points, rows: Ids, k: int) -> npt.NDArray[np.float64]:
    """Distance of the k-th nearest other point of each of some points, in float64."""
    centre = points.mean(axis=0, dtype=np.float64)
    queries = points[rows] - centre
    nearest = np.full((len(rows), k), np.inf)
    for begin in range(0, len(points), _BLOCK):
        block = points[begin : begin + _BLOCK] - centre
        squared = (queries**2).sum(axis=1)[:, None] + (block**2).sum(axis=1)
        squared -= 2 * queries @ block.T
        own = np.flatnonzero((rows >= begin) & (rows < begin + len(block)))
        squared[own, rows[own] - begin] = np.inf
        kept = np.partition(squared, min(k, len(block)) - 1, axis=1)[:, :k]
        nearest = np.partition(np.hstack([nearest, kept]), k - 1, axis=1)[:, :k]
    return np.sqrt(np.maximum(nearest.max(axis=1), 0.0))


def recall_of_ids(
    points: Points,
    ids: Ids,
    k: int,
    rows: Ids,
    reaches: npt.NDArray[np.float64] | None = None,
) -> float:
    """Share of the k nearest others that a self-search found, over some rows.

    Ids may hold the point itself, anywhere or not at all; a tie is found by either id.
    """
    if reaches is None:
        reaches = true_reaches(points, rows, k)
    shares = []
    for row, reach in zip(rows.tolist(), reaches.tolist(), strict=True):
        others = np.unique(ids[row])
        others = others[(others != row) & (others >= 0)]
        near = distances_to_all(points[others], points[row])
        is_found = near <= reach * (1 + TIE_TOLERANCE)
        shares.append(min(k, int(is_found.sum())) / k)
    return float(np.mean(shares))


def recall_of_graph(graph: gq.Graph, points: Points, k: int, rows: Ids) -> float:
    """Share of the k nearest others that are edges, over some rows; every length is checked."""
    shares = []
    for row, reach in zip(rows.tolist(), true_reaches(points, rows, k).tolist(), strict=True):
        entries = slice(graph.indptr[row], graph.indptr[row + 1])
        length = graph.lengths[entries].astype(np.float64)
        true = distances_to_all(points[graph.indices[entries]], points[row])
        n_wrong = int((~np.isclose(length, true, rtol=LENGTH_TOLERANCE, atol=1e-30)).sum())
        require(not n_wrong, f"graph: {n_wrong} edges of node {row} have a wrong length")
        is_found = length <= reach * (1 + LENGTH_TOLERANCE)
        shares.append(min(k, int(is_found.sum())) / k)
    return float(np.mean(shares))


def require_recall(what: str, recall: float, least: float) -> None:
    """Raise unless that share of the true neighbours was found."""
    require(recall >= least, f"{what}: recall {recall:.4f}, expected at least {least:.4f}")


# ---------------------------------------------------------------------------------- clusters


def as_scipy(graph: gq.Graph) -> csr_matrix:
    """The graph in the form in which scipy's searches take it without a conversion."""
    shape = (graph.n_nodes, graph.n_nodes)
    parts = (graph.lengths.astype(np.float64), graph.indices, graph.indptr.astype(np.int32))
    return csr_matrix(parts, shape=shape)


def energy(matrix: csr_matrix, centres: Ids, power: int) -> float:
    """Energy of centres as scipy finds it."""
    return float((dijkstra(matrix, indices=centres, min_only=True) ** power).sum())


def verified_energy(
    matrix: csr_matrix, result: gq.Clustering, n_clusters: int, power: int
) -> float:
    """Energy of a clustering, after distances, labels and energy were compared with scipy's."""
    centres = result.medoid_indices
    n_distinct = len(np.unique(centres))
    require(
        n_distinct == n_clusters == len(centres),
        f"{n_distinct} distinct centres, expected {n_clusters}",
    )
    # Bit for bit: float64 sums of a few float32 lengths are exact.
    distance, label = _nearest_by_scipy(matrix, centres)
    require_equal("distances to the centres", result.distance, distance)
    require_equal("labels", result.labels, label)
    require_close("energy", result.inertia, float((distance**power).sum()))
    return float(result.inertia)


def _nearest_by_scipy(matrix: csr_matrix, centres: Ids) -> tuple[Any, Any]:
    """Distance and position of the nearest centre of each node, ties to the earlier one."""
    distance = np.full(matrix.shape[0], np.inf)
    label = np.full(matrix.shape[0], -1)
    block = max(1, 100_000_000 // (8 * matrix.shape[0]))
    for begin in range(0, len(centres), block):
        to_each = dijkstra(matrix, indices=centres[begin : begin + block])
        nearest = to_each.min(axis=0)
        is_nearer = nearest < distance
        label[is_nearer] = begin + to_each.argmin(axis=0)[is_nearer]
        distance[is_nearer] = nearest[is_nearer]
    return distance, label


def two_nearest(matrix: csr_matrix, centres: Ids) -> tuple[Any, Any, Any]:
    """Distance and position of the nearest centre of each node, and distance of the second."""
    to_each = dijkstra(matrix, indices=centres)
    nearest = to_each.argmin(axis=0)
    d1 = to_each.min(axis=0)
    to_each[nearest, np.arange(matrix.shape[0])] = np.inf
    return d1, nearest, to_each.min(axis=0)


def best_swap_of(
    distance: npt.NDArray[np.float64], d1: Any, nearest: Any, d2: Any, power: int, n_clusters: int
) -> float:
    """Least change of the energy by putting a node, given its distances, in a centre's place.

    For each centre c that may go: Σ over its cell of min(d, d2)^p - d1^p, and over all other
    cells of min(d, d1)^p - d1^p; written out, without the sums that swap searches keep.
    """
    kept = np.minimum(distance, d1) ** power - d1**power
    orphaned = np.minimum(distance, d2) ** power - d1**power
    in_cell = np.bincount(nearest, weights=orphaned - kept, minlength=n_clusters)
    return float(kept.sum() + in_cell.min())


def require_local_optimum(
    matrix: csr_matrix, centres: Ids, power: int, n_sampled: int, seed: int = 0
) -> None:
    """Raise if putting one of some random nodes in a centre's place lowers the energy."""
    d1, nearest, d2 = two_nearest(matrix, centres)
    scale = float((d1**power).sum())
    sample = np.random.default_rng(seed).choice(matrix.shape[0], n_sampled, replace=False)
    for node in sample.tolist():
        change = best_swap_of(dijkstra(matrix, indices=node), d1, nearest, d2, power, len(centres))
        require(
            change >= -1e-9 * scale,
            f"no local optimum: node {node} as a centre lowers the energy by {-change:,.1f}",
        )
