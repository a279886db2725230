"""Several codes for each latent: residual and product quantization, each stage a codebook."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.arguments import check_count
from geoquant.clustering.seeding import as_generator
from geoquant.codebook import (
    Codebook,
    FileKind,
    check_codes,
    inconsistencies_name,
    metadata_json,
    require_content,
)
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError
from geoquant.files import (
    HASH_KEY,
    PathLike,
    content_hash,
    read_safetensors,
    safetensors_blocks,
    write_atomically,
)
from geoquant.fit import fit_codebook
from geoquant.latents import check_latents
from geoquant.progress import n_threads, of_stage

if TYPE_CHECKING:
    from geoquant.progress import Progress

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Kind: TypeAlias = Literal["residual", "product"]
Metric: TypeAlias = Literal["geodesic", "euclidean"]

FILE = FileKind(
    "multistage codebook",
    "geoquant-multistage-codebook",
    1,
    frozenset({"format", "format_version", "kind", "beam", "stages", "metadata", HASH_KEY}),
)
_ARRAYS = ("vectors", "anchors", "anchor_distance", "anchor_code")


@dataclass(frozen=True, eq=False)
class MultistageCodebook:
    """Codebooks of which each latent gets one code each; immutable, checked when it is made.

    Parameters
    ----------
    stages : tuple of Codebook
        'residual': all of the latents' dimension; a latent is near the sum of its codewords.
        'product': each of some consecutive columns of the latents, in order.
    kind : {'residual', 'product'}
        How the stages make up a latent.
    beam : int, default=8
        Prefixes that the encoding of a residual codebook keeps after each stage; 1 is greedy.
        A product codebook has no use for it.
    metadata : dict, optional
        As for `Codebook`.

    Raises
    ------
    InputError
        If a value is not as above.

    Notes
    -----
    Latents of sites, such as ``(n, C, H, W)``, are rows of C numbers: assign
    ``z.transpose(0, 2, 3, 1).reshape(-1, C)`` and give the codes the shape ``(n, H, W, M)``;
    `lookup` takes codes of any shape that ends in M.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> coarse, fine = (
    ...     gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    ...     for v in (np.array([[0.0], [10.0]], np.float32), np.array([[-1.0], [1.0]], np.float32))
    ... )
    >>> book = gq.MultistageCodebook((coarse, fine), "residual")
    >>> codes = book.assign([[9.2], [0.7]])
    >>> codes.tolist(), book.lookup(codes).tolist()
    ([[1, 0], [0, 1]], [[9.0], [1.0]])
    """

    stages: tuple[Codebook, ...]
    kind: Kind
    beam: int = 8
    metadata: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", _checked_stages(self.stages))
        if self.kind not in ("residual", "product"):
            raise InputError(f"kind must be 'residual' or 'product', found {self.kind!r}")
        dims = [stage.dim for stage in self.stages]
        if self.kind == "residual" and len(set(dims)) > 1:
            raise InputError(
                f"the stages of a residual codebook must have one dimension, found {dims}; those "
                "of a product codebook may differ"
            )
        object.__setattr__(self, "beam", check_count(self.beam, "beam", 1))
        object.__setattr__(self, "metadata", json.loads(metadata_json(self.metadata)))

    @property
    def n_stages(self) -> int:
        """Number of stages, M: codes of each latent."""
        return len(self.stages)

    @property
    def n_codes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""
        return tuple(stage.n_codes for stage in self.stages)

    @property
    def dim(self) -> int:
        """Numbers per latent, d."""
        dims = [stage.dim for stage in self.stages]
        return dims[0] if self.kind == "residual" else sum(dims)

    def assign(self, latents: npt.ArrayLike, *, n_jobs: int | None = None) -> Int32Array:
        """Codes of latents, each on its own: nothing depends on what else is in the batch.

        Of a residual codebook: those whose codewords' sum is nearest, as far as a beam search
        finds out; ties go to the lexicographically smaller codes. Of a product codebook: each
        chunk's code by the codebook of its stage, along that stage's anchors. Where these are
        its codewords, as in Euclidean stages, that is the nearest codeword.

        Parameters
        ----------
        latents : array-like of shape (n, d)
            What to assign.
        n_jobs : int, optional
            Threads, all by default; the codes do not depend on it.

        Returns
        -------
        ndarray of shape (n, M), int32
            Column m in ``[0, n_codes[m])``.

        Raises
        ------
        InputError
            If the latents cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> import geoquant as gq
        >>> v = np.array([[0.0], [10.0]], np.float32)
        >>> stage = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> book = gq.MultistageCodebook((stage, stage), "residual")
        >>> book.assign([[11.0], [19.0]]).tolist()
        [[0, 1], [1, 1]]
        """
        x = check_latents(latents)
        if x.shape[1] != self.dim:
            raise InputError(
                f"latents must have shape (n, {self.dim}) for this codebook, found {x.shape}; rows "
                "of sites are z.transpose(0, 2, 3, 1).reshape(-1, C)"
            )
        if self.kind == "product":
            chunks = np.split(x, np.cumsum([stage.dim for stage in self.stages])[:-1], axis=1)
            pairs = zip(self.stages, chunks, strict=True)
            return np.stack([stage.assign(chunk, n_jobs=n_jobs) for stage, chunk in pairs], axis=1)
        vectors = [stage.vectors for stage in self.stages]
        return residual_codes(x, vectors, beam=self.beam, n_jobs=n_jobs)

    def lookup(self, codes: npt.ArrayLike) -> Float32Array:
        """Latents that codes stand for.

        Parameters
        ----------
        codes : array-like of int, shape (..., M)
            One code of each stage in the last axis.

        Returns
        -------
        ndarray of shape (..., d), float32
            The codewords' sum, added in float64 and rounded once; or side by side.

        Raises
        ------
        InputError
            If a code is out of range or the last axis is not M.

        Examples
        --------
        >>> import numpy as np
        >>> import geoquant as gq
        >>> v = np.array([[0.0], [10.0]], np.float32)
        >>> stage = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> book = gq.MultistageCodebook((stage, stage), "residual")
        >>> book.lookup([[0, 1], [1, 1]]).ravel().tolist()
        [10.0, 20.0]
        """
        columns = check_stage_codes(codes, self.n_codes)
        if self.kind == "residual":
            return sum_of_codewords([stage.vectors for stage in self.stages], columns)
        parts = zip(self.stages, columns, strict=True)
        return np.concatenate([stage.vectors[column] for stage, column in parts], axis=-1)

    def replace_vectors(self, vectors: Sequence[Float32Array]) -> MultistageCodebook:
        """The same codebook with other codewords.

        The anchors of a residual codebook, which its encoding does not ask, become the new
        codewords. Those of a product codebook stay, and with them the code of each latent: only
        what the codes stand for changes.

        Parameters
        ----------
        vectors : sequence of ndarray of shape (n_codes[m], d_m), float32
            Codewords of each stage.

        Returns
        -------
        MultistageCodebook

        Raises
        ------
        InputError
            If a shape or dtype is another.

        Examples
        --------
        >>> import numpy as np
        >>> import geoquant as gq
        >>> v = np.array([[0.0], [10.0]], np.float32)
        >>> stage = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> book = gq.MultistageCodebook((stage, stage), "residual")
        >>> book.replace_vectors([v, v / 10]).lookup([[1, 1]]).tolist()
        [[11.0]]
        """
        shapes = [np.shape(stage) for stage in vectors]
        expected = [stage.vectors.shape for stage in self.stages]
        if shapes != expected:
            raise InputError(f"vectors must have the shapes {expected}, found {shapes}")
        pairs = zip(self.stages, vectors, strict=True)
        if self.kind == "residual":
            stages = [_anchored_at_codewords(v, stage.metadata) for stage, v in pairs]
        else:
            stages = [replace(stage, vectors=v) for stage, v in pairs]
        return replace(self, stages=tuple(stages))

    def save(self, path: PathLike) -> None:
        """Write the codebook to one ``.safetensors`` file, whole or not at all.

        The same codebook always gives the same bytes. The arrays of stage m are named
        ``"m.vectors"`` and so on.

        Parameters
        ----------
        path : str or PathLike
            The file to write; an older one is replaced.

        Raises
        ------
        InputError, ResourceError, OSError
            As `Codebook.save`.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import geoquant as gq
        >>> v = np.array([[0.0], [10.0]], np.float32)
        >>> stage = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> book = gq.MultistageCodebook((stage, stage), "residual")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "codebook.safetensors")
        ...     book.save(path)
        ...     gq.MultistageCodebook.load(path).n_codes
        (2, 2)
        """
        write_atomically(path, self.file_blocks())

    def file_blocks(self) -> Iterator[bytes | bytearray | memoryview]:
        """The content of the file that `save` writes, in blocks; to write it beside others.

        Raises
        ------
        InputError
            If the metadata is too long to be stored (1 MiB).
        """
        arrays = {
            f"{m}.{name}": getattr(stage, name)
            for m, stage in enumerate(self.stages)
            for name in _ARRAYS
        }
        facts = [
            {"n_neighbors": stage.n_neighbors, "metadata": stage.metadata} for stage in self.stages
        ]
        texts = {
            "format": FILE.format,
            "format_version": str(FILE.version),
            "kind": self.kind,
            "beam": str(self.beam),
            "stages": json.dumps(facts, allow_nan=False, sort_keys=True),
            "metadata": metadata_json(self.metadata),
        }
        texts[HASH_KEY] = content_hash(arrays, texts)
        return safetensors_blocks(arrays, texts)

    @classmethod
    def load(cls, path: PathLike) -> Self:
        """Read a codebook that :meth:`save` wrote; a file changed in any bit is refused.

        Parameters
        ----------
        path : str or PathLike
            The file.

        Returns
        -------
        MultistageCodebook

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, of another kind, inconsistent, or of a later format.
        ResourceError
            If memory does not suffice.

        Examples
        --------
        >>> import geoquant as gq
        >>> gq.MultistageCodebook.load("nowhere.safetensors")
        Traceback (most recent call last):
            ...
        geoquant.errors.FileFormatError: nowhere.safetensors: no such file
        """
        arrays, texts = read_safetensors(path, canonical=True)
        n_stages = len(arrays) // len(_ARRAYS)
        names = [f"{m}.{name}" for m in range(n_stages) for name in _ARRAYS]
        require_content(arrays, texts, path, FILE, names)
        with inconsistencies_name(path):
            facts = zip(range(n_stages), json.loads(texts["stages"]), strict=True)
            stages = tuple(_stage_of_file(arrays, m, fact) for m, fact in facts)
            metadata = json.loads(texts["metadata"])
            return cls(stages, texts["kind"], int(texts["beam"]), metadata)  # type: ignore[arg-type]


def _stage_of_file(arrays: dict[str, Any], m: int, fact: dict[str, Any]) -> Codebook:
    return Codebook(**{name: arrays[f"{m}.{name}"] for name in _ARRAYS}, **fact)


def load_codebook(path: PathLike) -> Codebook | MultistageCodebook:
    """Read a file that holds a codebook of either kind.

    Parameters
    ----------
    path : str or PathLike
        What `Codebook.save` or `MultistageCodebook.save` wrote.

    Returns
    -------
    Codebook or MultistageCodebook

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or neither.

    Examples
    --------
    >>> import geoquant as gq
    >>> gq.load_codebook("nowhere.safetensors")
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: nowhere.safetensors: no such file
    """
    _, texts = read_safetensors(path, names=())
    kind = MultistageCodebook if texts.get("format") == FILE.format else Codebook
    return kind.load(path)


def check_stage_codes(
    codes: npt.ArrayLike, n_codes: Sequence[int], *, name: str = "codes"
) -> list[npt.NDArray[np.intp]]:
    """Codes of each stage as an integer array, or an error that says what is wrong with them.

    Parameters
    ----------
    codes : array-like of int, shape (..., M)
        One code of each stage in the last axis.
    n_codes : sequence of int
        Number of codes of each stage.
    name : str, default="codes"
        What error messages call the argument.

    Returns
    -------
    list of M ndarray of intp, shape (...)

    Raises
    ------
    InputError
        If a code is out of range or not an integer, or the last axis is not M.

    Examples
    --------
    >>> from geoquant.multistage import check_stage_codes
    >>> [column.tolist() for column in check_stage_codes([[0, 3], [1, 2]], (2, 4))]
    [[0, 1], [3, 2]]
    """
    given = np.asarray(codes)
    if given.ndim == 0 or given.shape[-1] != len(n_codes):
        raise InputError(
            f"{name} must have shape (..., {len(n_codes)}), one code of each stage, found "
            f"{given.shape}"
        )
    return [check_codes(given[..., m], n, name=f"{name}[..., {m}]") for m, n in enumerate(n_codes)]


def sum_of_codewords(
    vectors: Sequence[Float32Array], columns: Sequence[npt.NDArray[np.integer]]
) -> Float32Array:
    """Sum of one codeword of each stage, added in float64 and rounded once.

    Parameters
    ----------
    vectors : sequence of ndarray of shape (K_m, d), float32
        Codewords of each stage.
    columns : sequence of ndarray of int, each of shape (...)
        Code of each stage.

    Returns
    -------
    ndarray of shape (..., d), float32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.multistage import sum_of_codewords
    >>> v = np.array([[1.0], [10.0]], np.float32)
    >>> sum_of_codewords([v, v], [np.array([1]), np.array([0])])
    array([[11.]], dtype=float32)
    """
    total = vectors[0][columns[0]].astype(np.float64)
    for stage, column in zip(vectors[1:], columns[1:], strict=True):
        total += stage[column]
    summed: Float32Array = total.astype(np.float32)
    return summed


def residual_codes(
    latents: Float32Array,
    vectors: Sequence[Float32Array],
    *,
    beam: int = 8,
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> Int32Array:
    """Codes whose codewords' sum is near each latent, by beam search.

    After each stage the `beam` best prefixes are kept by the squared distance of the latent to
    the sum so far, computed in float64 in a fixed order; ties go to the lexicographically smaller
    codes.

    Parameters
    ----------
    latents : ndarray of shape (n, d), float32
        As `check_latents` returns it.
    vectors : sequence of ndarray of shape (K_m, d), float32
        Codewords of each stage.
    beam : int, default=8
        Prefixes kept; 1 is greedy.
    n_jobs : int, optional
        Threads, all by default; the codes do not depend on it.
    progress : callable, optional
        Called as ``progress("encoding", done, total)``; may raise to stop.

    Returns
    -------
    ndarray of shape (n, M), int32

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.multistage import residual_codes
    >>> coarse, fine = np.float32([[0], [10]]), np.float32([[-1], [1]])
    >>> residual_codes(np.float32([[9.2]]), [coarse, fine]).tolist()
    [[1, 0]]
    """
    return _core.residual_codes(
        latents,
        np.concatenate(vectors),
        np.array([len(stage) for stage in vectors], np.int64),
        check_count(beam, "beam", 1),
        n_threads(n_jobs),
        of_stage(progress, "encoding"),
    )


@dataclass(frozen=True, eq=False)
class FittedMultistage:
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
    """

    codebook: MultistageCodebook
    codes: Int32Array
    distortion: tuple[float, ...]
    seconds: tuple[float, ...]
    refit_distortion: tuple[float, ...] = ()
    refit_seconds: float = 0.0


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
    **options
        For 'geodesic': others of `fit_codebook`, for every stage.

    Returns
    -------
    FittedMultistage

    Raises
    ------
    InputError
        If an argument or array cannot be used, or a stage has fewer distinct rows than codes.
    ResourceError
        If a fit would need more memory than it may take.

    Notes
    -----
    The anchors of residual stages are their codewords, which keeps the file small: their encoding
    asks nothing else. Geodesic product stages keep every distinct chunk as an anchor, as
    `fit_codebook` does.

    Refits matter most to geodesic stages, whose cells are not those of the nearest codeword by
    which latents are encoded. On 60 000 latents of MNIST with 4 stages of 64 codes, 5 refits lower
    the distortion by 3 % (Euclidean) or 12 % (geodesic).

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
    seeds = as_generator(random_state).integers(2**31, size=len(sizes))
    shared: dict[str, Any] = {"n_init": n_init, "n_jobs": n_jobs}
    if metric == "geodesic":
        shared |= {"n_neighbors": n_neighbors, "max_memory": max_memory, **options}

    def fit_stage(m: int, rows: Float32Array) -> Codebook:
        _require_distinct(rows, sizes[m], m)
        fit = _fit_geodesic if metric == "geodesic" else _fit_euclidean
        told = _named(progress, f"stage {m + 1}")
        return fit(rows, sizes[m], random_state=int(seeds[m]), progress=told, **shared)

    is_seed = isinstance(random_state, int | np.integer)
    metadata: dict[str, object] = {
        "geoquant_version": version("geoquant"),
        "metric": metric,
        "n_latents": len(x),
        "random_state": int(random_state) if is_seed else None,
    }
    if kind == "product":
        chunks = _chunks(x, len(sizes), chunk_sizes)
        return _fit_product(chunks, fit_stage, beam, metadata, n_jobs)
    metadata["n_refits"] = n_refits
    fitted = _fit_residual(x, fit_stage, len(sizes), beam, metadata, n_jobs, progress)
    return _refitted(fitted, x, n_refits, n_jobs, progress) if n_refits else fitted


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
        stages.append(_anchored_at_codewords(fitted.vectors, fitted.metadata))
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
    >>> from geoquant.multistage import least_squares_codewords
    >>> x, codes = np.float32([[1], [3]]), np.int32([[0, 0], [0, 1]])
    >>> start = [np.float32([[0]]), np.float32([[1], [1]])]
    >>> fitted = least_squares_codewords(x, codes, start)
    >>> (fitted[0] + fitted[1]).ravel().round(4).tolist()
    [1.0, 3.0]
    """
    from scipy.linalg import lstsq
    from threadpoolctl import threadpool_limits

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
    # One thread, as the sums of several would be others.
    with threadpool_limits(1):
        correction = lstsq(products, sums, cond=1e-10)[0]
    parts = np.split(correction, first[1:])
    return [(v + part).astype(np.float32) for v, part in zip(vectors, parts, strict=True)]


def _fit_geodesic(rows: Float32Array, n_clusters: int, **options: Any) -> Codebook:
    return fit_codebook(rows, n_clusters, codewords="mean", **options).codebook


def _fit_euclidean(
    rows: Float32Array,
    n_clusters: int,
    *,
    n_init: int,
    n_jobs: int | None,
    random_state: int,
    progress: Progress | None,
) -> Codebook:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # One thread whatever n_jobs is, as the sums of several would be others.
    with threadpool_limits(1):
        kmeans = KMeans(n_clusters, n_init=n_init, max_iter=100, random_state=random_state)
        vectors = kmeans.fit(rows).cluster_centers_.astype(np.float32)
    metadata: dict[str, object] = {"codewords": "mean", "random_state": random_state}
    return _anchored_at_codewords(vectors, metadata)


def _anchored_at_codewords(vectors: Float32Array, metadata: dict[str, object]) -> Codebook:
    codes = np.arange(len(vectors), dtype=np.int32)
    return Codebook(vectors, vectors, np.zeros(len(vectors)), codes, 1, metadata)


def _checked_stages(stages: Sequence[Codebook]) -> tuple[Codebook, ...]:
    kept = tuple(stages)
    if not kept or not all(isinstance(stage, Codebook) for stage in kept):
        found = ", ".join(type(stage).__name__ for stage in kept) or "none"
        raise InputError(f"stages must hold at least one Codebook and nothing else, found {found}")
    return kept


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
    _check_choice(kind, "kind", ("residual", "product"))
    _check_choice(metric, "metric", ("geodesic", "euclidean"))
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


def _check_choice(value: str, name: str, choices: tuple[str, str]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be {choices[0]!r} or {choices[1]!r}, found {value!r}")


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
