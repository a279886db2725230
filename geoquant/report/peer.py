"""Plain KMeans on the same latents, and what geodesic codes are beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import quality
from geoquant.assignment import nearest_codeword
from geoquant.graph.knn import nearest_neighbors
from geoquant.graph.shortest_paths import nearest_source
from geoquant.progress import n_threads
from geoquant.report.subject import sample_of

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph
    from geoquant.report.subject import Subject

#: Rows x codes x dimensions beyond which KMeans is fitted on a sample.
_MOST_PRODUCTS = 100_000_000
_LEAST_ROWS_PER_CODE = 20
#: Starts of KMeans, of which the best is taken.
N_INIT = 3
_WORTH_THREADS = 20_000_000


class Peer(NamedTuple):
    """KMeans beside a codebook.

    Attributes
    ----------
    vectors : ndarray of shape (n_codes, d), float32
        Its cluster centres.
    codes : ndarray of shape (n,), int32
        Cluster of each latent.
    centres : ndarray of shape (n_codes,), int32
        The node nearest to each cluster centre.
    n_rows : int
        How many latents it was fitted on.
    n_init : int
        How many starts it was the best of.
    """

    vectors: npt.NDArray[np.float32]
    codes: npt.NDArray[np.int32]
    centres: npt.NDArray[np.int32]
    n_rows: int
    n_init: int


def kmeans_peer(subject: Subject, *, random_state: int = 0, n_jobs: int | None = None) -> Peer:
    """Fit scikit-learn's KMeans with as many clusters as the codebook has codes.

    Parameters
    ----------
    subject : Subject
        KMeans is fitted on the latents if they are the codebook's anchors, otherwise on the
        anchors, so that both codebooks come from the same data.
    random_state : int, default=0
        Seed.
    n_jobs : int, optional
        Threads, all by default.

    Returns
    -------
    Peer

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.peer import kmeans_peer
    >>> from geoquant.report.subject import subject_of
    >>> x = [[0.0], [1.0], [8.0], [9.0]]
    >>> subject = subject_of(gq.fit_codebook(x, 2, random_state=0).codebook, x)
    >>> sorted(kmeans_peer(subject).vectors.ravel().tolist())
    [0.5, 8.5]
    """
    fitted_on = subject.nodes if subject.node_of_row is None else subject.latents
    k, d = subject.codebook.vectors.shape
    size = max(_LEAST_ROWS_PER_CODE * k, _MOST_PRODUCTS // (k * d))
    rows = fitted_on[sample_of(len(fitted_on), size)]
    vectors = kmeans_centres(rows, k, n_init=N_INIT, random_state=random_state, n_jobs=n_jobs)
    return Peer(
        vectors=vectors,
        codes=nearest_codeword(subject.latents, vectors, n_jobs=n_jobs),
        centres=nearest_neighbors(subject.nodes, 1, vectors, n_jobs=n_jobs).index[:, 0],
        n_rows=len(rows),
        n_init=N_INIT,
    )


def kmeans_centres(
    rows: npt.NDArray[np.float32],
    n_clusters: int,
    *,
    n_init: int = 1,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> npt.NDArray[np.float32]:
    """Cluster centres of scikit-learn's KMeans.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
        Latents.
    n_clusters : int
        At most the number of distinct rows.
    n_init : int, default=1
        How many starts to take the best of.
    random_state : int, default=0
        Seed.
    n_jobs : int, optional
        Threads, all by default.

    Returns
    -------
    ndarray of shape (n_clusters, d), float32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.peer import kmeans_centres
    >>> kmeans_centres(np.array([[1.0], [3.0]], np.float32), 1).tolist()
    [[2.0]]
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Threads of OpenMP wait for each other longer than small work takes.
    is_small = rows.size * n_clusters < _WORTH_THREADS
    with threadpool_limits(1 if is_small else n_threads(n_jobs)):
        fitted = KMeans(n_clusters, n_init=n_init, random_state=random_state).fit(rows)
    return np.ascontiguousarray(fitted.cluster_centers_, np.float32)


def geodesic_energy(graph: Graph, centres: npt.ArrayLike, power: int) -> float:
    """Mean over the nodes of the geodesic distance to the nearest centre, to a power.

    Parameters
    ----------
    graph : Graph
        Connected.
    centres : array-like of shape (n_codes,), int
        Nodes.
    power : {1, 2}
        Power of the distance.

    Returns
    -------
    float
        In the unit of the edges to the `power`.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.peer import geodesic_energy
    >>> line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 3.0])
    >>> geodesic_energy(line, [0], 1)
    1.6666666666666667
    """
    return float(np.mean(nearest_source(graph, centres).distance ** power))


def matched(
    codes: npt.NDArray[Any], other: npt.NDArray[Any], n_codes: int
) -> npt.NDArray[np.bool_]:
    """Which latents two codings put into cells that are each other's, whatever their numbers.

    Parameters
    ----------
    codes, other : ndarray of shape (n,), int
        Codes in ``[0, n_codes)`` of the same latents.
    n_codes : int
        Number of codes of both.

    Returns
    -------
    ndarray of shape (n,), bool
        Under the pairing of codes, one to one, that agrees on most latents.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.peer import matched
    >>> matched(np.array([0, 0, 1]), np.array([1, 1, 1]), 2).tolist()
    [True, True, False]
    """
    from scipy.optimize import linear_sum_assignment

    pairs = codes.astype(np.int64) * n_codes + other
    table = np.bincount(pairs, minlength=n_codes * n_codes).reshape(n_codes, n_codes)
    own, partner = linear_sum_assignment(table, maximize=True)
    of_code = np.empty(n_codes, np.int64)
    of_code[own] = partner
    is_same: npt.NDArray[np.bool_] = of_code[codes] == other
    return is_same


def numbers_of_codes(
    subject: Subject,
    codes: npt.NDArray[np.int32],
    vectors: npt.NDArray[np.float32],
    centres: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Numbers by which two codings of the same latents are compared.

    Parameters
    ----------
    subject : Subject
        The latents and the graph.
    codes : ndarray of shape (n,), int32
        A coding of the latents.
    vectors : ndarray of shape (n_codes, d), float32
        Its codewords.
    centres : ndarray of shape (n_codes,), int32
        Its centres among the nodes.
    labels : ndarray of shape (n,), int64, optional
        A class of each latent.

    Returns
    -------
    dict
        Euclidean distortion, geodesic energy, use; with labels the share told by the majority of
        each code's latents, these themselves, and the normalised mutual information.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.report.peer import numbers_of_codes
    >>> from geoquant.report.subject import subject_of
    >>> x = [[0.0], [1.0], [8.0], [9.0]]
    >>> s = subject_of(gq.fit_codebook(x, 2, random_state=0).codebook, x)
    >>> numbers_of_codes(s, s.codes, s.codebook.vectors, s.centres)["euclidean_distortion"]
    0.25
    """
    k = len(vectors)
    found: dict[str, Any] = {
        "euclidean_distortion": quality.euclidean_distortion(subject.latents, vectors, codes),
        "geodesic_energy": geodesic_energy(subject.graph, centres, subject.power),
        "perplexity": quality.perplexity(codes, k),
        "dead_codes": len(quality.dead_codes(codes, k)),
    }
    if labels is not None:
        from sklearn.metrics import normalized_mutual_info_score

        found["majority_accuracy"] = quality.majority_vote_accuracy(codes, labels, codes, labels)
        found["nmi"] = float(normalized_mutual_info_score(labels, codes))
    return found
