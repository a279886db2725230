"""Nearest neighbours and the graph they make. The only importer of faiss.

faiss proposes candidates with whatever arithmetic is fast; which of them are kept, in what order
and at what length, is decided by one exact formula (`csrc/exact_neighbors.h`). So neither the
number of threads nor what else is in a batch shows in a result.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.arguments import check_count
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError
from geoquant.graph.csr import MAX_NODES, Graph
from geoquant.latents import check_latents
from geoquant.progress import Progress, n_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Up to this many points the search is exact; beyond it an inverted file is used. Measured on two
#: cores in 20 dimensions: at 20 000 points exact takes twice, at 60 000 four times as long as an
#: inverted file of recall 0.996, and the factor grows with the number of points.
EXACT_LIMIT = 65_536

#: Beyond it, as many cells are probed as finds this share of the true neighbours of a sample.
RECALL_TARGET = 0.995

#: Candidates proposed beyond those asked for, so that rounding in faiss does not cost a neighbour.
N_SPARE = 6

_QUERIES_PER_CALL = 512  # short enough for Ctrl-C and progress, 0.2 s at 60 000 points
_CANDIDATES_PER_CALL = 1 << 20  # bounds the memory where many distances are equal
_RECALL_SAMPLE = 1000

Points = npt.NDArray[np.float32]
Ids = npt.NDArray[Any]
Proposal = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


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

    Exact for up to `EXACT_LIMIT` points; beyond, an inverted file that is made to find
    `recall_target` of the true neighbours of a sample.

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
    n_available = len(among) - (queries is None)
    n_neighbors = check_count(n_neighbors, "n_neighbors", 1, n_available)
    self_id = np.arange(len(among)) if queries is None else None
    is_exact = len(among) <= EXACT_LIMIT or recall_target >= 1
    threads = n_threads(n_jobs)
    with _faiss_threads(threads):
        search = _Search(among, n_neighbors, threads, exact=is_exact)
        recall = 1.0 if is_exact else _probe_until_recalled(search, asked, self_id, recall_target)
        distance, index = search.run(asked, self_id, progress)
    return Neighbors(distance, index, recall)


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
    return Graph.from_edges(
        len(x),
        np.concatenate([np.repeat(row, k), duplicate]),
        np.concatenate([row[found.index.ravel()], representative[duplicate]]),
        np.concatenate([found.distance.ravel(), np.zeros(len(duplicate), np.float32)]),
        recall=found.recall,
    )


class _Search:
    """One index over centred points, and the exact decision among what it proposes."""

    def __init__(self, points: Points, k: int, threads: int, *, exact: bool) -> None:
        if len(points) > MAX_NODES:
            raise InputError(f"at most {MAX_NODES} points can be indexed, found {len(points)}")
        self.points, self.k, self.threads = points, k, threads
        # Centred, since faiss expands squared distances, which cancels far from the origin; and
        # scaled by a power of two, so that squares of very small or large numbers are numbers.
        self.centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.exponent = -int(np.frexp(np.abs(points - self.centre).max())[1])
        self.index = (_ExactIndex if exact else _InvertedIndex)(self._normalized(points))

    def run(
        self, queries: Points, self_id: Ids | None, progress: Progress | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        distance = np.empty((len(queries), self.k), np.float32)
        index = np.empty((len(queries), self.k), np.int32)
        for begin in range(0, len(queries), _QUERIES_PER_CALL):
            part = slice(begin, begin + _QUERIES_PER_CALL)
            own = None if self_id is None else self_id[part]
            self._decide(queries[part], own, distance[part], index[part])
            if progress is not None:
                progress("neighbours", min(len(queries), part.stop), len(queries))
        return distance, index

    def _decide(
        self,
        queries: Points,
        self_id: Ids | None,
        distance: npt.NDArray[np.float32],
        index: npt.NDArray[np.int32],
    ) -> None:
        """Fill `distance` and `index`; try harder for queries whose answer is not yet certain."""
        undecided = np.arange(len(queries))
        n_candidates = self.k + (self_id is not None) + N_SPARE
        effort = 0

        def decide_some(rows: Ids) -> Ids:
            """Fill `rows`; return those that are not certain."""
            candidates, reach = self.index.propose(
                self._normalized(queries[rows]), n_candidates, effort
            )
            distance[rows], index[rows], is_certain = _core.exact_neighbors(
                self.points,
                queries[rows],
                candidates,
                np.ldexp(reach, -self.exponent),
                self_id=None if self_id is None else self_id[rows],
                n_kept=self.k,
                n_threads=self.threads,
            )
            uncertain: Ids = rows[is_certain == 0]
            return uncertain

        while undecided.size:
            n_candidates = min(n_candidates, len(self.points))
            n_parts = -(-undecided.size * n_candidates // _CANDIDATES_PER_CALL)
            parts = np.array_split(undecided, n_parts)
            undecided = np.concatenate([decide_some(rows) for rows in parts if rows.size])
            n_candidates *= 4
            effort += 1

    def _normalized(self, points: Points) -> Points:
        # A query far outside the points may overflow to infinity: then nothing is certain, and
        # in the end every point is compared exactly.
        with np.errstate(over="ignore"):
            normalized: Points = np.ldexp(points - self.centre, self.exponent)
            return normalized


class _ExactIndex:
    """Every point is compared; float32 rounding is bounded and told."""

    def __init__(self, centred: Points) -> None:
        import faiss

        self.n_points, d = centred.shape
        self.index = faiss.IndexFlatL2(d)
        self.index.add(centred)
        self.radius = float(_norms(centred).max())

    def probe_more(self) -> bool:
        """There is nothing more to look into."""
        return False

    def propose(self, centred: Points, n_candidates: int, effort: int) -> Proposal:
        """Candidates, and a distance that all other points are sure to have at least."""
        squared, candidates = self.index.search(centred, n_candidates)
        if n_candidates == self.n_points:
            return candidates, np.full(len(centred), np.inf)
        # Bounds the rounding of |q|² + |x|² - 2 q·x in float32, that of centring included.
        relative = (centred.shape[1] + 8) * float(np.finfo(np.float32).eps)
        slack = relative * (_norms(centred) + self.radius) ** 2
        return candidates, np.sqrt(np.maximum(squared[:, -1] - slack, 0.0))


class _InvertedIndex:
    """Points are compared with those of the nearest cells only: fast, not exact."""

    def __init__(self, centred: Points) -> None:
        import faiss

        n, d = centred.shape
        self.n_lists = int(4 * np.sqrt(n))
        self.n_probes = 8
        self.index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, self.n_lists)
        sample = np.random.default_rng(0).permutation(n)[: 64 * self.n_lists]
        with _thread_independent_arithmetic():
            self.index.train(centred[np.sort(sample)])
            self.index.add(centred)

    def probe_more(self) -> bool:
        """Double the cells that are looked into; False if it was all of them already."""
        if self.n_probes >= self.n_lists:
            return False
        self.n_probes = min(self.n_lists, 2 * self.n_probes)
        return True

    def propose(self, centred: Points, n_candidates: int, effort: int) -> Proposal:
        """Candidates; nothing is known of other points but where too few were found."""
        self.index.nprobe = min(self.n_lists, self.n_probes * 8**effort)
        with _thread_independent_arithmetic():
            _, candidates = self.index.search(centred, n_candidates)
        has_enough = (candidates >= 0).all(axis=1) | (self.index.nprobe == self.n_lists)
        return candidates, np.where(has_enough, np.inf, 0.0)


def _norms(centred: Points) -> npt.NDArray[np.float64]:
    squared: npt.NDArray[np.float64] = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
    return np.sqrt(squared)


def _probe_until_recalled(
    search: _Search, queries: Points, self_id: Ids | None, recall_target: float
) -> float:
    """Let the inverted index probe as many cells as `recall_target` takes; return the recall.

    Measured on evenly spaced queries against an exact search.
    """
    sample = np.linspace(0, len(queries) - 1, min(_RECALL_SAMPLE, len(queries))).astype(int)
    own = None if self_id is None else self_id[sample]
    exact = _Search(search.points, search.k, search.threads, exact=True)
    _, truth = exact.run(queries[sample], own)
    while True:
        _, found = search.run(queries[sample], own)
        hits = [np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]
        recall = float(np.mean(hits))
        if recall >= recall_target or not search.index.probe_more():
            return recall


@contextmanager
def _faiss_threads(count: int) -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextmanager
def _thread_independent_arithmetic() -> Iterator[None]:
    """Keep faiss off BLAS, whose bits depend on the number of threads."""
    import faiss

    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = np.iinfo(np.int32).max
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before
