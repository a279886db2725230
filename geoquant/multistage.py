"""Several codes for each latent: codebooks of residual or product stages, and their encoding."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.arguments import check_count
from geoquant.codebook import (
    Codebook,
    FileKind,
    check_codes,
    codebook_file,
    inconsistencies_name,
    metadata_json,
    require_content,
)
from geoquant.dask_arrays import assign_rows, is_dask_array
from geoquant.default_floats import default_floats
from geoquant.errors import InputError, memory_errors_typed
from geoquant.files import PathLike, write_atomically
from geoquant.latents import check_latents
from geoquant.progress import n_threads, of_stage
from geoquant.short_repr import ShortRepr
from geoquant.tensor_files import HASH_KEY, content_hash, read_safetensors, safetensors_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geoquant.progress import Progress

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Kind: TypeAlias = Literal["residual", "product"]

FILE = FileKind(
    "multistage codebook",
    "geoquant-multistage-codebook",
    1,
    frozenset({"format", "format_version", "kind", "beam", "stages", "metadata", HASH_KEY}),
)
_ARRAYS = ("vectors", "anchors", "anchor_distance", "anchor_code")


@dataclass(frozen=True, eq=False, repr=False)
class MultistageCodebook(ShortRepr):
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

    @memory_errors_typed()
    def assign(self, latents: npt.ArrayLike, *, n_jobs: int | None = None) -> Int32Array:
        """Codes of latents, each on its own: nothing depends on what else is in the batch.

        Of a residual codebook: those whose codewords' sum is nearest, as far as a beam search
        finds out; ties go to the lexicographically smaller codes. Codewords fitted otherwise
        leave it to those before (`replace_vectors`). Of a product codebook: each
        chunk's code by the codebook of its stage, along that stage's anchors. Where these are
        its codewords, as in Euclidean stages, that is the nearest codeword.

        Parameters
        ----------
        latents : array-like of shape (n, d)
            What to assign; or an array of Dask, whose codes are one too.
        n_jobs : int, optional
            Threads, all by default, for each block of an array of Dask one; the codes do not
            depend on it.

        Returns
        -------
        ndarray or dask array of shape (n, M), int32
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
        if is_dask_array(latents):
            codes: Int32Array = assign_rows(self, latents, n_jobs=n_jobs, width=len(self.stages))
            return codes
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
        vectors = [encoding_codewords(stage) for stage in self.stages]
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

    def replace_vectors(
        self, vectors: Sequence[Float32Array], *, keep_codes: bool = False
    ) -> MultistageCodebook:
        """The same codebook with other codewords.

        The anchors of a product codebook stay, and with them the code of each latent: only what
        the codes stand for changes. A residual codebook encodes by the new codewords, unless it
        is told to go on as before.

        Parameters
        ----------
        vectors : sequence of ndarray of shape (n_codes[m], d_m), float32
            Codewords of each stage.
        keep_codes : bool, default=False
            Whether a residual codebook keeps the codewords that it encodes by, as the anchors of
            its stages.

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
        if self.kind == "residual" and keep_codes:
            anchored = [
                anchored_at_codewords(encoding_codewords(stage), stage.metadata)
                for stage in self.stages
            ]
            stages = [replace(stage, vectors=v) for stage, v in zip(anchored, vectors, strict=True)]
        elif self.kind == "residual":
            stages = [anchored_at_codewords(v, stage.metadata) for stage, v in pairs]
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

        Returns
        -------
        iterator of bytes, bytearray or memoryview
            To be written one after another.

        Raises
        ------
        InputError
            If the metadata is too long to be stored (1 MiB).

        Examples
        --------
        >>> import geoquant as gq
        >>> fitted = gq.fit_multistage([[0.0], [1.0], [8.0], [9.0]], 2, 2, random_state=0)
        >>> b"".join(fitted.codebook.file_blocks())[8:9]
        b'{'
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
            The file, or a folder that holds it as ``model.safetensors``.

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
        path = codebook_file(path)
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
        What `Codebook.save` or `MultistageCodebook.save` wrote, or a folder that holds it as
        ``model.safetensors``.

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
    path = codebook_file(path)
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
    with default_floats():
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


def anchored_at_codewords(vectors: Float32Array, metadata: dict[str, object]) -> Codebook:
    """A stage whose anchors are its codewords, so that new rows get the nearest.

    Parameters
    ----------
    vectors : ndarray of shape (K, d), float32
        The codewords.
    metadata : dict
        As for `Codebook`.

    Returns
    -------
    Codebook

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.multistage import anchored_at_codewords
    >>> anchored_at_codewords(np.float32([[0], [10]]), {}).assign([[7.0]])
    array([1], dtype=int32)
    """
    codes = np.arange(len(vectors), dtype=np.int32)
    return Codebook(vectors, vectors, np.zeros(len(vectors)), codes, 1, metadata)


def encoding_codewords(stage: Codebook) -> Float32Array:
    """What a residual stage encodes by.

    Parameters
    ----------
    stage : Codebook
        Of a residual codebook.

    Returns
    -------
    ndarray of shape (K, d), float32
        Its anchors, if they are one for each code, in order; otherwise its codewords.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.multistage import anchored_at_codewords, encoding_codewords
    >>> encoding_codewords(anchored_at_codewords(np.float32([[0], [10]]), {})).ravel().tolist()
    [0.0, 10.0]
    """
    is_one_each = np.array_equal(stage.anchor_code, np.arange(stage.n_codes))
    return stage.anchors if is_one_each else stage.vectors


def _checked_stages(stages: Sequence[Codebook]) -> tuple[Codebook, ...]:
    kept = tuple(stages)
    if not kept or not all(isinstance(stage, Codebook) for stage in kept):
        found = ", ".join(type(stage).__name__ for stage in kept) or "none"
        raise InputError(f"stages must hold at least one Codebook and nothing else, found {found}")
    return kept
