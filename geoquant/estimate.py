"""What a fit will take, in time and memory, before it is begun."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from geoquant.arguments import check_count, check_share
from geoquant.clustering.kmedoids import ALGORITHMS, geodesic_kmedoids
from geoquant.cost import (
    FitShape,
    bytes_by_array,
    bytes_by_stage,
    search_is_exact,
    seconds_by_stage,
    shape_of_fit,
)
from geoquant.errors import InputError
from geoquant.fit import fit_codebook
from geoquant.graph.csr import MAX_NODES
from geoquant.graph.knn import RECALL_TARGET
from geoquant.latents import check_latents

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.fit import FittedCodebook

#: Sizes of samples to fit for the rates of this machine: the largest that takes about so long.
_SAMPLE_SIZES = (16_000, 8_000, 4_000, 2_000, 1_000)
_SECONDS_TO_SPEND = 1.0


@dataclass(frozen=True)
class FitEstimate:
    """What a fit will take, by stage: rows, neighbours, graph, clustering, codebook.

    Attributes
    ----------
    n, d, n_clusters, n_neighbors : int
        The fit.
    algorithm : str
        Of the clustering.
    is_exact : bool
        Whether neighbours are searched exactly.
    input_bytes : int
        The latents themselves, as float32.
    bytes : dict of str to int
        Most memory that each stage holds, beyond the latents and the libraries.
    arrays : dict of str to dict of str to int
        The same by array.
    seconds : dict of str to float
        Wall time of each stage.
    """

    n: int
    d: int
    n_clusters: int
    n_neighbors: int
    algorithm: str
    is_exact: bool
    input_bytes: int
    bytes: dict[str, int]
    arrays: dict[str, dict[str, int]]
    seconds: dict[str, float]

    @property
    def peak_bytes(self) -> int:
        """Most memory at any time, beyond the latents and the libraries."""
        return max(self.bytes.values())

    @property
    def total_seconds(self) -> float:
        """Wall time of the fit."""
        return sum(self.seconds.values())


def estimate_fit(
    n: int,
    d: int,
    n_clusters: int = 8,
    *,
    latents: npt.ArrayLike | None = None,
    n_neighbors: int = 10,
    recall_target: float = RECALL_TARGET,
    algorithm: str | None = None,
    n_init: int = 1,
    n_jobs: int | None = None,
) -> FitEstimate:
    """Say beforehand how much memory and time `fit_codebook` takes.

    Memory is that of the arrays which each stage holds. Time is what the stages took on the
    machine where the constants of `geoquant.cost` were measured, times how much longer or shorter
    a small fit takes here; that fit takes a second or two.

    Parameters
    ----------
    n, d : int
        Latents, and numbers in each.
    n_clusters : int, default=8
        Number of codes.
    latents : array-like of shape (n, d), optional
        The latents: a few thousand of them are read and fitted. Default: generated ones.
    n_neighbors, recall_target, n_jobs
        As for `fit_codebook`.
    algorithm, n_init
        As for `geodesic_kmedoids`.

    Returns
    -------
    FitEstimate

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> import geoquant as gq
    >>> estimate = gq.estimate_fit(1_000_000, 20, 1024)
    >>> estimate.input_bytes, estimate.peak_bytes < 2 * 10**9
    (80000000, True)
    """
    n, d = check_count(n, "n", 1, MAX_NODES), check_count(d, "d", 1)
    n_clusters = check_count(n_clusters, "n_clusters", 1, n)
    n_init = check_count(n_init, "n_init", 1)
    algorithm = default_algorithm() if algorithm is None else algorithm
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm must be one of {ALGORITHMS}, found {algorithm!r}")
    shape = shape_of_fit(
        n,
        d,
        n_clusters,
        n_neighbors=check_count(n_neighbors, "n_neighbors", 1),
        recall_target=check_share(recall_target, "recall_target"),
        algorithm=algorithm,
        n_jobs=n_jobs,
    )
    given = None if latents is None else np.asanyarray(latents)
    if given is not None and given.shape != (n, d):
        raise InputError(f"latents must have shape ({n}, {d}), found {given.shape}")
    sampled = _sample_shape(shape)
    fitted = _fit_sample(sampled, given)
    entries = fitted.graph.indices.size / (sampled.n * sampled.n_neighbors) or 1.0
    shape = replace(shape, entries_per_neighbor=entries)
    seconds = _scaled_seconds(shape, sampled, fitted.seconds)
    return FitEstimate(
        n=n,
        d=d,
        n_clusters=n_clusters,
        n_neighbors=shape.n_neighbors,
        algorithm=algorithm,
        is_exact=shape.is_exact,
        input_bytes=4 * n * d,
        bytes=bytes_by_stage(shape),
        arrays=bytes_by_array(shape),
        seconds=seconds | {"clustering": n_init * seconds["clustering"]},
    )


def default_algorithm() -> str:
    """The algorithm that `geodesic_kmedoids` uses if none is named.

    Examples
    --------
    >>> from geoquant.clustering.kmedoids import ALGORITHMS
    >>> from geoquant.estimate import default_algorithm
    >>> default_algorithm() in ALGORITHMS
    True
    """
    return str(signature(geodesic_kmedoids).parameters["algorithm"].default)


def _sample_shape(shape: FitShape) -> FitShape:
    """The largest fit of the same kind that should take no longer than there is to spend."""
    for size in _SAMPLE_SIZES:
        n = min(size, shape.n)
        sampled = replace(
            shape,
            n=n,
            n_clusters=min(shape.n_clusters, max(1, n // 16)),
            n_neighbors=max(1, min(shape.n_neighbors, n - 1)),
            is_exact=search_is_exact(n, 1.0),
        )
        if sum(seconds_by_stage(sampled).values()) <= _SECONDS_TO_SPEND:
            break
    return sampled


def _fit_sample(sampled: FitShape, latents: npt.NDArray[Any] | None) -> FittedCodebook:
    options: dict[str, Any] = {
        "n_neighbors": sampled.n_neighbors,
        "algorithm": sampled.algorithm,
        "n_jobs": sampled.n_threads,
        "random_state": 0,
    }
    if latents is None:
        sample = _generated(sampled.n, sampled.d)
    else:
        rows = np.linspace(0, len(latents) - 1, sampled.n).astype(np.int64)
        sample = check_latents(latents[rows])
    fit_codebook(sample[:200], 1, **options | {"n_neighbors": 1})  # loads what is to be loaded
    n_distinct = len(np.unique(sample, axis=0))
    return fit_codebook(sample, min(sampled.n_clusters, n_distinct), **options)


def _generated(n: int, d: int) -> npt.NDArray[np.float32]:
    """A curved sheet of five dimensions with noise: neighbours are about as near as latents'."""
    rng = np.random.default_rng(0)
    inner = rng.standard_normal((n, 5), dtype=np.float32)
    bend, spread = rng.standard_normal((5, 16)), rng.standard_normal((16, d))
    sheet = np.tanh(inner @ bend) @ spread
    return (sheet + 0.1 * rng.standard_normal((n, d))).astype(np.float32)


def _scaled_seconds(
    shape: FitShape, sampled: FitShape, measured: dict[str, float]
) -> dict[str, float]:
    """What the stages took elsewhere, times what the sample takes here over what it took there."""
    there, whole = seconds_by_stage(sampled), seconds_by_stage(shape)
    graph = measured["graph"] / (there["neighbours"] + there["graph"])
    clustering = measured["clustering"] / there["clustering"]
    return {
        stage: seconds * (clustering if stage == "clustering" else graph)
        for stage, seconds in whole.items()
    }
