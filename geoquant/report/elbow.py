"""How the error falls with the number of codes, and where it stops falling as fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.assignment import nearest_codeword
from geoquant.clustering.kmedoids import cell_means, geodesic_kmedoids
from geoquant.graph.knn import nearest_neighbors
from geoquant.quality import euclidean_distortion
from geoquant.report.peer import N_INIT, geodesic_energy, kmeans_centres
from geoquant.report.subject import graph_of, sample_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geoquant.graph.csr import Graph
    from geoquant.progress import Progress

#: Latents on which codebooks of several sizes are fitted.
ELBOW_ROWS = 5000
_FEWEST_ROWS_PER_CODE = 8
_LARGEST_MULTIPLE = 4
_FEW_ROWS = 1000
#: How many times as fast the error has to fall before an elbow as after it.
KNEE_RATIO = 2.5


class Elbow(NamedTuple):
    """Errors of codebooks of several sizes, of both kinds, in both measures.

    Attributes
    ----------
    ks : tuple of int
        Numbers of codes, ascending.
    geodesic_energy, kmeans_energy : tuple of float
        Mean over the sample of the geodesic distance to the nearest centre, to the codebook's
        power; the centres of KMeans are the latents nearest to its means.
    geodesic_distortion, kmeans_distortion : tuple of float
        Mean squared straight distance to the mean of the own cell.
    n_rows : int
        Latents in the sample.
    """

    ks: tuple[int, ...]
    geodesic_energy: tuple[float, ...]
    kmeans_energy: tuple[float, ...]
    geodesic_distortion: tuple[float, ...]
    kmeans_distortion: tuple[float, ...]
    n_rows: int


def ladder(n_codes: int, n_rows: int) -> list[int]:
    """Numbers of codes to try: 1, 2, 3, 4, 6, 8, 12, and so on, and the codebook's own.

    Parameters
    ----------
    n_codes : int
        The codebook's own.
    n_rows : int
        Latents there are.

    Returns
    -------
    list of int
        Ascending, up to four times `n_codes`, and with eight latents a code.

    Examples
    --------
    >>> from geoquant.report.elbow import ladder
    >>> ladder(5, 1000)
    [1, 2, 3, 4, 5, 6, 8, 12, 16]
    """
    most = max(1, min(_LARGEST_MULTIPLE * n_codes, n_rows // _FEWEST_ROWS_PER_CODE))
    powers = [1 << i for i in range(most.bit_length())]
    steps = {*powers, *(3 * p // 2 for p in powers[1:]), n_codes}
    return sorted(k for k in steps if k <= most)


def elbow(
    nodes: npt.NDArray[np.float32],
    n_codes: int,
    *,
    n_neighbors: int = 10,
    power: int = 2,
    max_rows: int = ELBOW_ROWS,
    random_state: int = 0,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Elbow:
    """Fit codebooks of several sizes on a sample, along the data and by KMeans.

    Parameters
    ----------
    nodes : ndarray of shape (m, d), float32
        Latents, all different.
    n_codes : int
        Number of codes around which to look.
    n_neighbors : int, default=10
        Of the sample's graph.
    power : {1, 2}, default=2
        Power of the energy.
    max_rows : int, default=5000
        Latents in the sample.
    random_state : int, default=0
        Seed of sample and fits.
    n_jobs : int, optional
        Threads, all by default.
    progress : callable, optional
        Called as ``progress("elbow", done, total)``.

    Returns
    -------
    Elbow

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.report.elbow import elbow
    >>> x = np.repeat([[0.0], [9.0]], 8, axis=0) + np.arange(16)[:, None] / 16
    >>> elbow(x.astype(np.float32), 2).ks
    (1, 2)
    """
    x = nodes[sample_of(len(nodes), max_rows, random_state)]
    k = min(n_neighbors, len(x) - 1)
    graph, _ = graph_of(x, nearest_neighbors(x, k, n_jobs=n_jobs), k, n_jobs=n_jobs)
    ks = ladder(n_codes, len(x))
    found = []
    for done, n in enumerate(ks):
        if progress is not None:
            progress("elbow", done, len(ks))
        found.append(_errors(x, graph, n, power, random_state, n_jobs))
    along, along_kmeans, straight, straight_kmeans = zip(*found, strict=True)
    return Elbow(tuple(ks), along, along_kmeans, straight, straight_kmeans, len(x))


def _errors(
    x: npt.NDArray[np.float32],
    graph: Graph,
    n_codes: int,
    power: int,
    random_state: int,
    n_jobs: int | None,
) -> tuple[float, float, float, float]:
    """Energy of geodesic codes and of KMeans, then distortion of both."""
    options: dict[str, Any] = {"random_state": random_state, "n_jobs": n_jobs}
    # Of a few hundred latents, one start may end beside the optimum; of more, hardly.
    starts = N_INIT if len(x) <= _FEW_ROWS else 1
    fitted = geodesic_kmedoids(
        graph, n_codes, power=power, n_init=starts, n_perturbations=0, **options
    )
    means = cell_means(x, fitted.labels, n_codes, np.ones(len(x)))
    straight = kmeans_centres(x, n_codes, n_init=N_INIT, **options)
    own = nearest_codeword(x, straight, n_jobs=n_jobs)
    near = nearest_neighbors(x, 1, straight, n_jobs=n_jobs).index[:, 0]
    return (
        fitted.inertia / len(x),
        geodesic_energy(graph, near, power),
        euclidean_distortion(x, means, fitted.labels),
        euclidean_distortion(x, straight, own),
    )


def knee(ks: Sequence[int], values: Sequence[float]) -> int | None:
    """The number of codes after which an error falls much more slowly than before it.

    Parameters
    ----------
    ks : sequence of int
        Ascending.
    values : sequence of float
        The error at each.

    Returns
    -------
    int or None
        Where halving the number costs `KNEE_RATIO` times as much, in logarithms, as doubling it
        gains, and most so; None if that is nowhere.

    Examples
    --------
    >>> from geoquant.report.elbow import knee
    >>> knee([1, 2, 4, 8, 16], [100.0, 90.0, 10.0, 9.0, 8.0])
    4
    >>> knee([1, 2, 4, 8, 16], [16.0, 8.0, 4.0, 2.0, 1.0]) is None
    True
    """
    x = np.log2(np.asarray(ks, np.float64))
    y = np.log2(np.maximum(np.asarray(values, np.float64), np.finfo(np.float64).tiny))
    inner = np.flatnonzero((x >= x[0] + np.log2(1.5)) & (x <= x[-1] - 1))
    if len(inner) == 0:
        return None
    at = x[inner]
    span = np.minimum(1.0, at - x[0])
    before = (np.interp(at - span, x, y) - y[inner]) / span
    after = y[inner] - np.interp(at + 1, x, y)
    ratio = before / np.maximum(after, 1e-3)
    best = int(ratio.argmax())
    return int(ks[inner[best]]) if ratio[best] >= KNEE_RATIO else None
