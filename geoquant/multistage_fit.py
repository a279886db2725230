"""Fits of several stages: what each leaves, or columns of its own, then all of them together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_choice, check_count
from geoquant.checkpoint import PART_PREFIX, Checkpoint, array_hash, remove_checkpoint
from geoquant.clustering.seeding import as_generator
from geoquant.codebook import Codebook
from geoquant.default_floats import default_floats
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError, memory_errors_typed
from geoquant.fit import check_checkpoint_arguments, fit_codebook
from geoquant.latents import check_latents
from geoquant.multistage import (
    Float32Array,
    Int32Array,
    Kind,
    MultistageCodebook,
    anchored_at_codewords,
    residual_codes,
    sum_of_codewords,
)
from geoquant.short_repr import ShortRepr

if TYPE_CHECKING:
    from geoquant.files import PathLike
    from geoquant.progress import Progress

Metric: TypeAlias = Literal["geodesic", "euclidean"]

# Whoever holds it may fork.
_BLAS_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_BLAS_LOCK.acquire,
        after_in_parent=_BLAS_LOCK.release,
        after_in_child=_BLAS_LOCK.release,
    )


@dataclass(frozen=True, eq=False, repr=False)
class FittedMultistage(ShortRepr):
    """A multistage codebook, the codes of the latents it was made from, and how it was made.

    Attributes
    ----------
    codebook : MultistageCodebook
        The codebook.
    codes : ndarray of shape (n, M), int32
        Codes of each latent, as ``codebook.assign`` gives them.
    distortion : tuple of float
        Of each stage. 'residual': mean squared Euclidean distance of the latents to the sum of
        codewords after it, as fitted. 'product': that of its chunk to its codewords.
    seconds : tuple of float
        Wall time of each stage, encoding included.
    refit_distortion : tuple of float
        The same after each joint refit of all stages.
    refit_seconds : float
        Wall time of all refits.

    Examples
    --------
    >>> import geoquant as gq
    >>> x = [[i * 8.0 + j, i * 4.0 + j] for i in range(4) for j in range(4)]
    >>> fitted = gq.fit_multistage(x, 4, n_stages=2, n_neighbors=3, random_state=0)
    >>> fitted.codes.shape, len(fitted.distortion)
    ((16, 2), 2)
    """

    codebook: MultistageCodebook
    codes: Int32Array
    distortion: tuple[float, ...]
    seconds: tuple[float, ...]
    refit_distortion: tuple[float, ...] = ()
    refit_seconds: float = 0.0


@memory_errors_typed()
def fit_multistage(
    latents: npt.ArrayLike,
    n_clusters: int | Sequence[int] = 64,
    n_stages: int = 4,
    *,
    kind: Kind = "residual",
    metric: Metric = "geodesic",
    beam: int = 8,
    n_refits: int = 5,
    chunk_sizes: Sequence[int] | None = None,
    n_neighbors: int = 10,
    n_init: int = 1,
    max_memory: int | None = None,
    n_jobs: int | None = None,
    random_state: Any = None,
    progress: Progress | None = None,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    keep_checkpoint: bool = False,
    **options: Any,
) -> FittedMultistage:
    """Quantize latents in several stages, so that each has several codes.

    Parameters
    ----------
    latents : array-like of shape (n, d)
        Latents, one row each; computed with in float32. For those of sites see
        `MultistageCodebook`.
    n_clusters : int or sequence of int, default=64
        Number of codes of each stage, or of every stage.
    n_stages : int, default=4
        Number of stages, M.
    kind : {'residual', 'product'}, default='residual'
        'residual': each stage is fitted to what the stages before it, encoded by beam search,
        leave of the latents. 'product': each to its own columns.
    metric : {'geodesic', 'euclidean'}, default='geodesic'
        'geodesic': each stage is a `fit_codebook` with a graph of its own, and its codewords are
        the means of the cells. 'euclidean': each is a k-means.
    beam : int, default=8
        Prefixes that encoding keeps after each stage; 1 is greedy. Not for 'product'.
    n_refits : int, default=5
        How often to fit the codewords of all stages together, by least squares with the codes as
        they are, and encode anew. With 0 each stage stays as it was fitted. Not for 'product'.
    chunk_sizes : sequence of int, optional
        For 'product': columns of each chunk, in order, d in all. By default as even as can be,
        the larger first.
    n_neighbors : int, default=10
        For 'geodesic': as for `fit_codebook`.
    n_init : int, default=1
        How many times the clustering of a stage starts anew; the best result is kept.
    max_memory : int, optional
        For 'geodesic': as for `fit_codebook`.
    n_jobs : int, optional
        Threads, all by default; the result does not depend on it.
    random_state : int, Generator, RandomState or None
        Seed.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; may raise to stop.
    checkpoint : path, optional
        As for `fit_codebook`; what the fits of the stages do is kept, encoding and refits are
        done anew. Needs a seed that is a number.
    resume : bool, default=False
        As for `fit_codebook`.
    keep_checkpoint : bool, default=False
        As for `fit_codebook`.
    **options
        For 'geodesic': others of `fit_codebook`, for every stage.

    Returns
    -------
    FittedMultistage

    Raises
    ------
    InputError
        If an argument or array cannot be used, a stage has fewer distinct rows than codes, or the
        checkpoint is of other data or parameters.
    FileFormatError
        If the checkpoint is damaged.
    ResourceError
        If a fit would need more memory than it may take.

    Notes
    -----
    A refit of ``k`` codewords in all stages together solves one dense system: ``O(k^3)`` time on
    one thread and some ``24 k^2`` bytes. Beyond a few thousand codewords take ``n_refits=0``.

    The anchors of residual stages are their codewords, which keeps the file small: their encoding
    asks nothing else. Geodesic product stages keep every distinct chunk as an anchor, as
    `fit_codebook` does.

    Refits matter most to geodesic stages, whose cells are not those of the nearest codeword by
    which latents are encoded. Euclidean stages leave less error; ``make bench-tokens`` measures
    both beside faiss.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> z = np.random.default_rng(0).normal(size=(200, 3))
    >>> fitted = gq.fit_multistage(z, 8, 3, metric="euclidean", random_state=0)
    >>> fitted.codes.shape, bool(fitted.distortion[2] < fitted.distortion[0] / 4)
    ((200, 3), True)
    """
    x = check_latents(latents)
    sizes = _sizes_of_stages(n_clusters, check_count(n_stages, "n_stages", 1))
    _check_arguments(kind, metric, beam, n_refits, chunk_sizes, options)
    check_checkpoint_arguments(checkpoint, resume, random_state)
    seeds = as_generator(random_state).integers(2**31, size=len(sizes))
    shared: dict[str, Any] = {"n_init": n_init, "n_jobs": n_jobs, "resume": resume}
    if metric == "geodesic":
        shared |= {"n_neighbors": n_neighbors, "max_memory": max_memory, **options}

    def fit_stage(m: int, rows: Float32Array) -> Codebook:
        _require_distinct(rows, sizes[m], m)
        fit = _fit_geodesic if metric == "geodesic" else _fit_euclidean
        told = _named(progress, f"stage {m + 1}")
        kept = None if checkpoint is None else os.path.join(checkpoint, f"{PART_PREFIX}{m + 1}")
        seed = int(seeds[m])
        return fit(rows, sizes[m], random_state=seed, progress=told, checkpoint=kept, **shared)

    is_seed = isinstance(random_state, int | np.integer)
    metadata: dict[str, object] = {
        "geoquant_version": version("geoquant"),
        "metric": metric,
        "n_latents": len(x),
        "random_state": int(random_state) if is_seed else None,
    }
    with default_floats():
        if kind == "product":
            chunks = _chunks(x, len(sizes), chunk_sizes)
            fitted = _fit_product(chunks, fit_stage, beam, metadata, n_jobs)
        else:
            metadata["n_refits"] = n_refits
            fitted = _fit_residual(x, fit_stage, len(sizes), beam, metadata, n_jobs, progress)
            fitted = _refitted(fitted, x, n_refits, n_jobs, progress) if n_refits else fitted
    if checkpoint is not None and not keep_checkpoint:
        remove_checkpoint(checkpoint)
    return fitted


FitStage: TypeAlias = Callable[[int, Float32Array], Codebook]


def _fit_residual(
    x: Float32Array,
    fit_stage: FitStage,
    n_stages: int,
    beam: int,
    metadata: dict[str, object],
    n_jobs: int | None,
    progress: Progress | None,
) -> FittedMultistage:
    stages: list[Codebook] = []
    residuals, distortion, seconds = x, [], []
    for m in range(n_stages):
        begin = time.perf_counter()
        fitted = fit_stage(m, residuals)
        stages.append(anchored_at_codewords(fitted.vectors, fitted.metadata))
        vectors = [stage.vectors for stage in stages]
        told = _named(progress, f"stage {m + 1}")
        codes = residual_codes(x, vectors, beam=beam, n_jobs=n_jobs, progress=told)
        residuals = x - sum_of_codewords(vectors, list(codes.T))
        distortion.append(_mean_square(residuals))
        seconds.append(time.perf_counter() - begin)
    book = MultistageCodebook(tuple(stages), "residual", beam, metadata)
    return FittedMultistage(book, codes, tuple(distortion), tuple(seconds))


def _fit_product(
    chunks: list[Float32Array],
    fit_stage: FitStage,
    beam: int,
    metadata: dict[str, object],
    n_jobs: int | None,
) -> FittedMultistage:
    stages, codes, distortion, seconds = [], [], [], []
    for m, chunk in enumerate(chunks):
        begin = time.perf_counter()
        stages.append(fit_stage(m, chunk))
        codes.append(stages[m].assign(chunk, n_jobs=n_jobs))
        distortion.append(_mean_square(chunk - stages[m].vectors[codes[m]]))
        seconds.append(time.perf_counter() - begin)
    book = MultistageCodebook(tuple(stages), "product", beam, metadata)
    return FittedMultistage(book, np.stack(codes, axis=1), tuple(distortion), tuple(seconds))


def _refitted(
    fitted: FittedMultistage,
    x: Float32Array,
    n_refits: int,
    n_jobs: int | None,
    progress: Progress | None,
) -> FittedMultistage:
    """All stages fitted together to the codes they gave, and the codes by them, in turn."""
    begin = time.perf_counter()
    codes, distortion = fitted.codes, []
    vectors = [stage.vectors for stage in fitted.codebook.stages]
    beam = fitted.codebook.beam
    for _ in range(n_refits):
        vectors = least_squares_codewords(x, codes, vectors)
        told = _named(progress, "refit")
        codes = residual_codes(x, vectors, beam=beam, n_jobs=n_jobs, progress=told)
        distortion.append(_mean_square(x - sum_of_codewords(vectors, list(codes.T))))
    book = fitted.codebook.replace_vectors(vectors)
    seconds = time.perf_counter() - begin
    return replace(
        fitted,
        codebook=book,
        codes=codes,
        refit_distortion=tuple(distortion),
        refit_seconds=seconds,
    )


def least_squares_codewords(
    x: Float32Array, codes: Int32Array, vectors: Sequence[Float32Array]
) -> list[Float32Array]:
    """Codewords of all stages whose sums are nearest to the latents, their codes being given.

    Of the many solutions (a shift of one stage makes up for that of another), the one nearest to
    the codewords that there are; a codeword without latents stays as it is.

    Parameters
    ----------
    x : ndarray of shape (n, d), float32
        Latents.
    codes : ndarray of shape (n, M), int32
        Their codes.
    vectors : sequence of ndarray of shape (K_m, d), float32
        Codewords to start from.

    Returns
    -------
    list of ndarray of shape (K_m, d), float32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.multistage_fit import least_squares_codewords
    >>> x, codes = np.float32([[1], [3]]), np.int32([[0, 0], [0, 1]])
    >>> start = [np.float32([[0]]), np.float32([[1], [1]])]
    >>> fitted = least_squares_codewords(x, codes, start)
    >>> (fitted[0] + fitted[1]).ravel().round(4).tolist()
    [1.0, 3.0]
    """
    from scipy.linalg import lstsq

    sizes = [len(stage) for stage in vectors]
    first = np.cumsum([0, *sizes[:-1]])
    columns = codes + first
    residual = x.astype(np.float64) - sum_of_codewords(vectors, list(codes.T))
    total = sum(sizes)
    products = np.zeros((total, total))
    for a in columns.T:
        for b in columns.T:
            products += np.bincount(a * total + b, minlength=total**2).reshape(total, total)
    sums = np.zeros((total, x.shape[1]))
    for column in columns.T:
        for k, values in enumerate(residual.T):
            sums[:, k] += np.bincount(column, weights=values, minlength=total)
    with _one_blas_thread():
        correction = lstsq(products, sums, cond=1e-10)[0]
    parts = np.split(correction, first[1:])
    return [(v + part).astype(np.float32) for v, part in zip(vectors, parts, strict=True)]


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread whatever n_jobs is, as the sums of several would be others.

    The limit is the process's. Two fits that set it at once would each put back what the other had
    set, so one waits; and a fork does, lest the child inherits the limit and the lock.
    """
    from threadpoolctl import threadpool_limits

    with _BLAS_LOCK, threadpool_limits(1):
        yield


def _fit_geodesic(rows: Float32Array, n_clusters: int, **options: Any) -> Codebook:
    fitted = fit_codebook(rows, n_clusters, codewords="mean", keep_checkpoint=True, **options)
    return fitted.codebook


def _fit_euclidean(
    rows: Float32Array,
    n_clusters: int,
    *,
    n_init: int,
    n_jobs: int | None,
    random_state: int,
    progress: Progress | None,
    checkpoint: PathLike | None,
    resume: bool,
) -> Codebook:
    def kmeans() -> dict[str, npt.NDArray[Any]]:
        from sklearn.cluster import KMeans

        with _one_blas_thread():
            found = KMeans(n_clusters, n_init=n_init, max_iter=100, random_state=random_state)
            return {"vectors": found.fit(rows).cluster_centers_.astype(np.float32)}

    if checkpoint is None:
        vectors = kmeans()["vectors"]
    else:
        identity = {
            "geoquant_version": version("geoquant"),
            "latents": array_hash(rows),
            "n_clusters": n_clusters,
            "n_init": n_init,
            "random_state": random_state,
        }
        kept = Checkpoint(checkpoint, identity, resume=resume)
        vectors = kept.once("kmeans", ["vectors"], kmeans)["vectors"]
    metadata: dict[str, object] = {"codewords": "mean", "random_state": random_state}
    return anchored_at_codewords(vectors, metadata)


def _sizes_of_stages(n_clusters: int | Sequence[int], n_stages: int) -> list[int]:
    given = [n_clusters] * n_stages if np.ndim(n_clusters) == 0 else list(n_clusters)  # type: ignore[arg-type]
    if len(given) != n_stages:
        raise InputError(
            f"n_clusters must be one integer or one of each of the {n_stages} stages, found "
            f"{len(given)} of them; give n_stages={len(given)}"
        )
    return [check_count(size, "n_clusters", 1) for size in given]


def _chunks(
    x: Float32Array, n_stages: int, chunk_sizes: Sequence[int] | None
) -> list[Float32Array]:
    if n_stages > x.shape[1]:
        raise InputError(
            f"n_stages must be at most {x.shape[1]}, the latents' columns, found {n_stages}"
        )
    if chunk_sizes is None:
        chunks = np.array_split(x, n_stages, axis=1)
    else:
        sizes = [check_count(size, "chunk_sizes", 1) for size in chunk_sizes]
        if len(sizes) != n_stages or sum(sizes) != x.shape[1]:
            raise InputError(
                f"chunk_sizes must be {n_stages} numbers of sum {x.shape[1]}, found {sizes}"
            )
        chunks = np.split(x, np.cumsum(sizes)[:-1], axis=1)
    return [np.ascontiguousarray(chunk) for chunk in chunks]


def _check_arguments(
    kind: str,
    metric: str,
    beam: int,
    n_refits: int,
    chunk_sizes: Sequence[int] | None,
    options: dict[str, Any],
) -> None:
    check_choice(kind, "kind", ("residual", "product"))
    check_choice(metric, "metric", ("geodesic", "euclidean"))
    check_count(beam, "beam", 1)
    check_count(n_refits, "n_refits", 0)
    if kind == "residual" and chunk_sizes is not None:
        raise InputError("chunk_sizes are of kind='product'; leave them out for 'residual'")
    if set(options) & {"codewords", "edge_outputs"}:
        raise InputError(
            "fit_multistage takes neither codewords, which are means, nor edge_outputs, as sums "
            "and residuals are of the latents' own space; leave them out"
        )
    if metric == "euclidean" and options:
        raise InputError(f"metric='euclidean' takes no {', '.join(options)}; leave that out")


def _require_distinct(rows: Float32Array, n_clusters: int, m: int) -> None:
    n_distinct = len(distinct_rows(rows).row)
    if n_distinct < n_clusters:
        raise InputError(
            f"n_clusters of stage {m + 1} must be at most {n_distinct}, the number of distinct "
            f"rows that are left for it, found {n_clusters}; take fewer codes or stages"
        )


def _named(progress: Progress | None, prefix: str) -> Progress | None:
    if progress is None:
        return None
    return lambda stage, done, total: progress(f"{prefix}: {stage}", done, total)


def _mean_square(residuals: npt.NDArray[np.floating]) -> float:
    """Mean squared length of the rows."""
    return float(np.square(residuals, dtype=np.float64).sum(axis=1).mean())
