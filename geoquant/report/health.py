"""The graph that distances are measured along: pieces, hubs, doubtful edges, stability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.clustering.kmedoids import geodesic_kmedoids
from geoquant.graph.components import connected_components
from geoquant.graph.csr import Graph
from geoquant.graph.knn import nearest_neighbors
from geoquant.graph.shortest_paths import nearest_source
from geoquant.quality import majority_vote_accuracy
from geoquant.report.subject import K_STEP, graph_of, sample_of

if TYPE_CHECKING:
    from geoquant.graph.knn import Neighbors
    from geoquant.progress import Progress
    from geoquant.report.subject import Subject

#: Latents on which codes are compared under other graphs.
STABILITY_ROWS = 10_000
_FEWEST_ROWS_PER_CODE = 4
_BLOCK_ROWS = 8192
_TAIL = 0.99


class Edges(NamedTuple):
    """The edges of a graph, each once.

    Attributes
    ----------
    ends : ndarray of shape (n_edges, 2), int32
        Nodes, the smaller first.
    length : ndarray of shape (n_edges,), float32
        In the unit of the graph.
    is_lone : ndarray of shape (n_edges,), bool
        Whether the ends have no neighbour in common: what a shortcut between two parts of the
        data looks like.
    """

    ends: npt.NDArray[np.int32]
    length: npt.NDArray[np.float32]
    is_lone: npt.NDArray[np.bool_]


def edges_of(graph: Graph) -> Edges:
    """List the edges of a graph and tell which belong to no triangle.

    Parameters
    ----------
    graph : Graph
        The graph.

    Returns
    -------
    Edges
        In the order of their ends.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.health import edges_of
    >>> graph = gq.Graph.from_edges(4, [0, 1, 0, 2], [1, 2, 2, 3], [1.0, 1.0, 1.0, 5.0])
    >>> edges_of(graph).is_lone.tolist()
    [False, False, False, True]
    """
    matrix = graph.to_scipy()
    matrix.data = np.ones(len(matrix.data), np.int32)
    is_lone = np.ones(len(graph.indices), np.bool_)
    for start in range(0, graph.n_nodes, _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS]
        begin, end = graph.indptr[start], graph.indptr[min(start + _BLOCK_ROWS, graph.n_nodes)]
        common = (block @ matrix).multiply(block).tocsr()
        is_lone[begin:end] = ~_entries_in(block, common)
    low = np.repeat(np.arange(graph.n_nodes, dtype=np.int32), np.diff(graph.indptr))
    once = low < graph.indices
    ends = np.stack([low[once], graph.indices[once]], axis=1)
    return Edges(ends, graph.lengths[once], is_lone[once])


def _entries_in(block: Any, common: Any) -> npt.NDArray[np.bool_]:
    """Which stored entries of a block are stored in another of the same shape, too."""
    marked = block.copy()
    marked.data = np.arange(1, len(marked.data) + 1, dtype=np.int64)
    common.data = np.ones(len(common.data), np.int64)
    found = marked.multiply(common).tocsr()
    out = np.zeros(len(marked.data), np.bool_)
    out[found.data[found.data > 0] - 1] = True
    return out


def nodes_over(
    graph: Graph, centres: npt.ArrayLike, doubtful: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Which nodes reach their nearest centre over one of some edges.

    Parameters
    ----------
    graph : Graph
        Connected.
    centres : array-like of shape (n_codes,), int
        Nodes.
    doubtful : ndarray of shape (n, 2), int32
        Edges, by their ends.

    Returns
    -------
    ndarray of shape (n_nodes,), bool

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.health import nodes_over
    >>> line = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 1.0, 1.0])
    >>> nodes_over(line, [0], np.array([[1, 2]])).tolist()
    [False, False, True, True]
    """
    before = nearest_source(graph, centres).predecessor.astype(np.int64)
    node = np.arange(graph.n_nodes)
    before = np.where(before < 0, node, before)
    n = graph.n_nodes
    step = np.minimum(node, before) * n + np.maximum(node, before)
    ends = np.sort(doubtful.astype(np.int64).reshape(-1, 2), axis=1)
    is_over: npt.NDArray[np.bool_] = np.isin(step, ends[:, 0] * n + ends[:, 1]) & (node != before)
    # Each round looks twice as far towards the centre.
    while (before != before[before]).any():
        is_over |= is_over[before]
        before = before[before]
    is_over |= is_over[before]
    return is_over


def graph_numbers(subject: Subject, edges: Edges) -> dict[str, Any]:
    """Numbers of the graph's health.

    Parameters
    ----------
    subject : Subject
        With the graph.
    edges : Edges
        Of `edges_of`.

    Returns
    -------
    dict
        Components, degrees, hubs, lengths, and edges that may be shortcuts.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.health import edges_of, graph_numbers
    >>> from geoquant.report.subject import subject_of
    >>> x = [[0.0], [1.0], [8.0], [9.0]]
    >>> s = subject_of(gq.fit_codebook(x, 2, n_neighbors=1, random_state=0).codebook, x)
    >>> graph_numbers(s, edges_of(s.graph))["n_components"]
    2
    """
    degree = np.diff(subject.graph.indptr)
    named = np.bincount(
        subject.neighbors.index[:, : subject.n_neighbors].ravel(), minlength=subject.graph.n_nodes
    )
    tail = float(np.quantile(edges.length, _TAIL))
    is_doubtful = edges.is_lone & (edges.length >= tail)
    over = nodes_over(subject.graph, subject.centres, edges.ends[is_doubtful])
    return {
        "n_nodes": subject.graph.n_nodes,
        "n_neighbors": subject.n_neighbors,
        "recall": float(subject.neighbors.recall),
        "n_edges": subject.graph.n_edges,
        "n_components": subject.n_components,
        "component_sizes": _component_sizes(subject),
        "bridge_lengths": _bridge_lengths(subject),
        "degree_median": float(np.median(degree)),
        "degree_max": int(degree.max()),
        "hub_skewness": _skewness(named.astype(np.float64)),
        "nodes_that_no_other_names": int((named == 0).sum()),
        "edge_length_quantiles": {
            str(q): float(np.quantile(edges.length, q)) for q in (0.5, 0.9, 0.99, 1.0)
        },
        "edges_in_no_triangle": float(edges.is_lone.mean()),
        "possible_shortcuts": int(is_doubtful.sum()),
        "latents_over_possible_shortcuts": float(over.mean()),
    }


def _component_sizes(subject: Subject, most: int = 10) -> list[int]:
    """Sizes of the largest components before bridging."""
    if subject.n_components == 1:
        return [subject.graph.n_nodes]
    k = subject.n_neighbors
    plain = Graph.from_neighbors(subject.neighbors.index[:, :k], subject.neighbors.distance[:, :k])
    sizes = np.sort(np.bincount(connected_components(plain)))[::-1]
    return [int(size) for size in sizes[:most]]


def _bridge_lengths(subject: Subject, most: int = 10) -> list[float]:
    ends = subject.nodes[subject.bridges].astype(np.float64)
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    return [float(length) for length in np.sort(lengths)[::-1][:most]]


def _skewness(values: npt.NDArray[np.float64]) -> float:
    centred = values - values.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    return float(np.mean(centred**3)) / spread**3 if spread > 0 else 0.0


class Stability(NamedTuple):
    """Codes under graphs of fewer and more neighbours.

    Attributes
    ----------
    ks : tuple of int
        Neighbours of the graphs; the codebook's own among them.
    n_components : tuple of int
        Components of each graph on all nodes, before bridging.
    agreement : tuple of float
        Adjusted Rand index of codes on a sample, beside those of the codebook's own number of
        neighbours; 1 there.
    other_seed : float
        The same between two seeds and one graph: what chance alone changes.
    n_rows : int
        Latents in the sample.
    majority_accuracy : tuple of float, or None
        Share of the sample's labels told by the majority of each code's latents, with each graph;
        and last, with the other seed.
    """

    ks: tuple[int, ...]
    n_components: tuple[int, ...]
    agreement: tuple[float, ...]
    other_seed: float
    n_rows: int
    majority_accuracy: tuple[float, ...] | None = None


def stability(
    subject: Subject,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    max_rows: int = STABILITY_ROWS,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Stability | None:
    """Fit as many codes under graphs of fewer and more neighbours, and compare.

    Parameters
    ----------
    subject : Subject
        The codebook and its graph.
    labels : ndarray of shape (n_nodes,), int64, optional
        A class of each node.
    max_rows : int, default=10_000
        Latents in the sample on which codebooks are fitted.
    random_state : int, default=0
        Seed of sample and fits.
    n_jobs : int, optional
        Threads, all by default.
    progress : callable, optional
        Called as ``progress("stability", done, total)``.

    Returns
    -------
    Stability or None
        None if the sample has too few latents for so many codes.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.report.health import stability
    >>> from geoquant.report.subject import subject_of
    >>> x = np.arange(40, dtype=np.float32)[:, None]
    >>> found = stability(subject_of(gq.fit_codebook(x, 2, random_state=0).codebook, x))
    >>> found.ks, found.n_components
    ((5, 10, 15), (1, 1, 1))
    """
    from sklearn.metrics import adjusted_rand_score

    n_codes = subject.codebook.n_codes
    rows = sample_of(len(subject.nodes), max_rows, random_state)
    x = subject.nodes[rows]
    if len(x) < _FEWEST_ROWS_PER_CODE * n_codes or len(x) < 3:
        return None
    ks = _numbers_of_neighbors(subject.n_neighbors, len(x))
    near = nearest_neighbors(x, ks[-1], n_jobs=n_jobs)
    runs = [(k, random_state) for k in ks] + [(subject.n_neighbors, random_state + 1)]
    codes = []
    for done, (k, seed) in enumerate(runs):
        if progress is not None:
            progress("stability", done, len(runs))
        graph, _ = graph_of(x, near, k, n_jobs=n_jobs)
        options: dict[str, Any] = {"n_jobs": n_jobs, "random_state": seed, "n_perturbations": 0}
        codes.append(geodesic_kmedoids(graph, n_codes, power=subject.power, **options).labels)
    own = codes[ks.index(subject.n_neighbors)]
    found = [float(adjusted_rand_score(own, other)) for other in codes]
    counts = tuple(n_components_of(subject.neighbors, k) for k in ks)
    told = None
    if labels is not None:
        y = labels[rows]
        told = tuple(majority_vote_accuracy(c, y, c, y) for c in codes)
    return Stability(tuple(ks), counts, tuple(found[:-1]), found[-1], len(x), told)


def _numbers_of_neighbors(k: int, n: int) -> list[int]:
    """`k` and `K_STEP` less and more, as far as there are so many."""
    tried = {max(2, k - K_STEP), k, min(k + K_STEP, n - 1)}
    return sorted(tried)


def n_components_of(neighbors: Neighbors, k: int) -> int:
    """Components of the graph of each node's first `k` neighbours.

    Parameters
    ----------
    neighbors : Neighbors
        Of the nodes.
    k : int
        How many to take; all if there are no more.

    Returns
    -------
    int

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.health import n_components_of
    >>> n_components_of(gq.nearest_neighbors([[0.0], [1.0], [8.0], [9.0]], 2), 1)
    2
    """
    graph = Graph.from_neighbors(neighbors.index[:, :k], neighbors.distance[:, :k])
    return int(connected_components(graph).max()) + 1
