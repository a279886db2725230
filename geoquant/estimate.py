"""What a fit will take, in time and memory, before it is begun."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from geoquant.arguments import check_count, check_share
from geoquant.clustering.kmedoids import ALGORITHMS, geodesic_kmedoids
from geoquant.cost import (
    bytes_by_array,
    bytes_by_stage,
    search_is_exact,
    seconds_by_stage,
    shape_of_fit,
)
from geoquant.errors import InputError
from geoquant.fit import fit_codebook
from geoquant.graph.csr import MAX_NODES
from geoquant.graph.knn import EXACT_LIMIT, RECALL_TARGET, near_cell_pairs
from geoquant.latents import check_latents

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.fit import FittedCodebook
    from geoquant.work import FitShape

#: Sizes of samples to fit for the rates of this machine: the largest that takes about so long.
_SAMPLE_SIZES = (16_000, 8_000, 4_000, 2_000, 1_000)
_SECONDS_TO_SPEND = 1.0
_NODES_PER_CENTRE = 512
#: How far fits of other data were from the model, where luck made no difference.
_UNCERTAINTY = 0.25
#: Points compared with each grow so with n, at constant cells; measured: 0.35 (64 generated
#: dimensions) to 0.58 (draws of MNIST's posteriors).
_GROWTH_OF_COMPARED = 0.48


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
    seconds_range : tuple of float
        The least and the most that all stages together should take.

    Examples
    --------
    >>> import geoquant as gq
    >>> estimate = gq.estimate_fit(1_000_000, 20, 1024)
    >>> estimate.is_exact, list(estimate.seconds)
    (False, ['rows', 'neighbours', 'graph', 'clustering', 'codebook'])
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
    seconds_range: tuple[float, float]

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

    Memory is that of the arrays which each stage holds. Time is the steps of each stage times the
    seconds of a step on the machine where `geoquant.cost` was measured, times how much longer or
    shorter a small fit takes here; that takes a second or two.

    How long the clustering of many latents takes depends on luck too: whether a perturbation helps,
    so that a pass over all nodes follows, and after how many draws of random nodes no swap comes of
    them. `seconds` are in between; `seconds_range` reaches from the least to the most of that, and
    a quarter beyond. Memory was within 10 % of the measured on eight fits of 10 000 to 200 000
    latents. Time is rougher: of six fits of 20 000 to 180 000 latents that had no part in anything
    here, `seconds` came within a quarter of four and were too low by up to 43 % for the others,
    where random nodes are drawn; the range held five, and the sixth took 8 % longer.
    Bridging is not counted: a graph of thousands of components (a million draws of 60 000
    posteriors) took 6 s more.

    Parameters
    ----------
    n, d : int
        Latents, and numbers in each.
    n_clusters : int, default=8
        Number of codes.
    latents : array-like of shape (n, d), optional
        The latents: a few thousand of them are read and fitted. Default: generated ones.
    n_neighbors : int, default=10
        As for `fit_codebook`.
    recall_target : float, default=0.995
        As for `fit_codebook`.
    algorithm : {'auto', 'swap', 'alternate'}, optional
        As for `geodesic_kmedoids`; by default what `fit_codebook` takes.
    n_init : int, default=1
        As for `geodesic_kmedoids`.
    n_jobs : int, optional
        As for `fit_codebook`.

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
    shape = replace(shape, compared=_points_compared(shape, given, recall_target))
    sampled = _sample_shape(shape)
    fitted = _fit_sample(sampled, given)
    entries = fitted.graph.indices.size / (sampled.n * sampled.n_neighbors) or 1.0
    shape = replace(shape, entries_per_neighbor=entries)
    seconds, least, most = (
        _scaled_seconds(shape, sampled, fitted.seconds, n_init, tries)
        for tries in ("likely", "least", "most")
    )
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
        seconds=seconds,
        seconds_range=(
            sum(least.values()) / (1 + _UNCERTAINTY),
            sum(most.values()) * (1 + _UNCERTAINTY),
        ),
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
            n_clusters=min(shape.n_clusters, max(1, n // _NODES_PER_CENTRE)),
            n_neighbors=max(1, min(shape.n_neighbors, n - 1)),
            is_exact=search_is_exact(n, 1.0),
            perturbs=False,
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
    if sampled.algorithm != "alternate":
        options["n_perturbations"] = 0  # they would make the sample's time a matter of luck
    sample = _sample(sampled.n, sampled.d, latents)
    fit_codebook(sample[:200], 1, **options | {"n_neighbors": 1})  # loads what is to be loaded
    n_distinct = len(np.unique(sample, axis=0))
    return fit_codebook(sample, min(sampled.n_clusters, n_distinct), **options)


def _sample(n: int, d: int, latents: npt.NDArray[Any] | None) -> npt.NDArray[np.float32]:
    """Latents from first to last, or generated ones."""
    if latents is None:
        return _generated(n, d)
    return check_latents(latents[np.linspace(0, len(latents) - 1, n).astype(np.int64)])


def _points_compared(
    shape: FitShape, latents: npt.NDArray[Any] | None, recall_target: float
) -> float:
    """With how many points each is compared where only near cells are, by a sample.

    The cells of a sample have as many points as those of the whole; how many of them are near
    depends on the dimension that the latents really have.
    """
    if shape.is_exact:
        return float(shape.n)
    n = EXACT_LIMIT
    sample = _sample(n, shape.d, latents)
    found = near_cell_pairs(sample, shape.n_neighbors, recall_target, n_threads=shape.n_threads)
    # If too many are near, all are compared: then it is known only that they are about half.
    compared = n / 2 if found is None else float(found.n_compared @ found.cells.sizes) / n
    return float(compared * (shape.n / n) ** _GROWTH_OF_COMPARED)


def _generated(n: int, d: int) -> npt.NDArray[np.float32]:
    """A curved sheet of five dimensions with noise: neighbours are about as near as latents'."""
    rng = np.random.default_rng(0)
    inner = rng.standard_normal((n, 5), dtype=np.float32)
    bend, spread = rng.standard_normal((5, 16)), rng.standard_normal((16, d))
    sheet = np.tanh(inner @ bend) @ spread
    return (sheet + 0.1 * rng.standard_normal((n, d))).astype(np.float32)


def _scaled_seconds(
    shape: FitShape, sampled: FitShape, measured: dict[str, float], n_init: int, tries: str
) -> dict[str, float]:
    """What the stages took elsewhere, times what the sample takes here over what it took there."""
    there, whole = seconds_by_stage(sampled), seconds_by_stage(shape, tries)
    graph = measured["graph"] / (there["neighbours"] + there["graph"])
    clustering = measured["clustering"] / there["clustering"]
    # What clustering takes is a matter of the sample too, so the mean of both tells the machine.
    clustering = n_init * math.sqrt(clustering * graph)
    return {
        stage: seconds * (clustering if stage == "clustering" else graph)
        for stage, seconds in whole.items()
    }
