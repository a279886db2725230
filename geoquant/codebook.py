"""The codebook: codewords, and the anchors by which new latents find their code."""

from __future__ import annotations

import json
import operator
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_choice
from geoquant.dask_arrays import assign_rows, is_dask_array
from geoquant.errors import FileFormatError, InputError, memory_errors_typed
from geoquant.files import PathLike, write_atomically
from geoquant.latents import check_latents
from geoquant.short_repr import ShortRepr
from geoquant.tensor_files import HASH_KEY, content_hash, read_safetensors, safetensors_blocks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

AnyArray: TypeAlias = npt.NDArray[Any]
Float32Array: TypeAlias = npt.NDArray[np.float32]

#: The file of a codebook in a folder of its own, by the convention of Hugging Face.
FILE_IN_FOLDER = "model.safetensors"

_DTYPES: dict[str, np.dtype[Any]] = {
    "vectors": np.dtype(np.float32),
    "anchors": np.dtype(np.float32),
    "anchor_distance": np.dtype(np.float64),
    "anchor_code": np.dtype(np.int32),
}


@dataclass(frozen=True)
class FileKind:
    """What tells the files of one kind.

    Parameters
    ----------
    noun : str
        What error messages call its content.
    format : str
        The text under ``"format"`` in the file.
    version : int
        The version of that format that this release writes and reads.
    keys : frozenset of str
        The keys of the file's metadata.
    """

    noun: str
    format: str
    version: int
    keys: frozenset[str]


FILE = FileKind(
    "codebook",
    "geoquant-codebook",
    1,
    frozenset({"format", "format_version", "n_neighbors", "metadata", HASH_KEY}),
)


def codebook_file(path: PathLike) -> PathLike:
    """The file that holds a codebook.

    Parameters
    ----------
    path : str or PathLike
        The file itself, or a folder with a codebook, as ``geoquant export --to folder`` writes it.

    Returns
    -------
    str or PathLike
        ``model.safetensors`` in a folder.

    Raises
    ------
    FileFormatError
        If a folder has no such file.

    Examples
    --------
    >>> from geoquant.codebook import codebook_file
    >>> codebook_file("latents.codebook.safetensors")
    'latents.codebook.safetensors'
    """
    if not os.path.isdir(path):
        return path
    file = os.path.join(path, FILE_IN_FOLDER)
    if not os.path.lexists(file):
        raise FileFormatError(
            f"{os.fspath(path)}: is a folder without {FILE_IN_FOLDER}; name the file of a codebook"
        )
    return file


def check_codes(codes: npt.ArrayLike, n_codes: int, *, name: str = "codes") -> npt.NDArray[np.intp]:
    """Codes as an integer array, or an error that says what is wrong with them.

    Parameters
    ----------
    codes : array_like of int, any shape
        Codes in ``[0, n_codes)``.
    n_codes : int
        Number of codes there are; positive.
    name : str, default "codes"
        What error messages call the argument.

    Returns
    -------
    ndarray of intp, shape of `codes`

    Raises
    ------
    InputError
        If a code is out of range or not an integer, or `n_codes` is not a positive integer.

    Examples
    --------
    >>> from geoquant.codebook import check_codes
    >>> check_codes([0, 3], 4)
    array([0, 3])
    """
    _check_at_least(1, n_codes, "n_codes")
    given = np.asarray(codes)
    if given.size == 0:
        return np.zeros(given.shape, dtype=np.intp)
    if given.dtype.kind not in "iu":
        raise InputError(
            f"{name} must hold integers, found dtype {given.dtype}; convert with astype(np.int32)"
        )
    low, high = int(given.min()), int(given.max())
    if low < 0 or high >= n_codes:
        raise InputError(
            f"{name} must lie in [0, {n_codes}), found {low if low < 0 else high}; use the codes "
            "and the number of codes of one and the same codebook"
        )
    return given.astype(np.intp, copy=False)


def _check_at_least(least: int, number: object, name: str) -> int:
    try:
        value = operator.index(cast("int", number))
    except TypeError:
        value = least - 1
    if value < least or isinstance(number, bool):
        raise InputError(f"{name} must be an integer of at least {least}, found {number!r}")
    return value


@dataclass(frozen=True, eq=False, repr=False)
class Codebook(ShortRepr):
    """Codewords and anchors; immutable, checked once when it is made.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n_codes, d)
        The codewords: what a decoder is fed.
    anchors : ndarray of float32, shape (m, d)
        Latents among which the assignment of a new latent looks for neighbours.
    anchor_distance : ndarray of float64, shape (m,)
        Geodesic distance of each anchor to the centre of its code, in units of the latents; of
        the outputs, if ``metadata["edge_lengths"]`` says so.
    anchor_code : ndarray of int32, shape (m,)
        Code of each anchor, in ``[0, n_codes)``.
    n_neighbors : int
        How many anchors the assignment of a latent considers.
    metadata : dict
        How the codebook was made, in terms that JSON knows; NumPy numbers become Python's.
        ``"geoquant_version"`` names the release that made it.

    Raises
    ------
    InputError
        If a shape, dtype or value is not as above.

    Notes
    -----
    The arrays are copied unless they are read-only and own their memory, so that later changes
    to the arguments do not reach the codebook. Two codebooks are equal only if they are the
    same object; to compare contents, compare the saved files.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.codebook import Codebook
    >>> points = np.array([[0.0], [1.0], [9.0]], dtype=np.float32)
    >>> book = Codebook(
    ...     vectors=points[[0, 2]],
    ...     anchors=points,
    ...     anchor_distance=np.array([0.0, 1.0, 0.0]),
    ...     anchor_code=np.array([0, 0, 1], dtype=np.int32),
    ...     n_neighbors=1,
    ...     metadata={},
    ... )
    >>> book.n_codes, book.dim, book.n_anchors
    (2, 1, 3)
    """

    vectors: Float32Array
    anchors: Float32Array
    anchor_distance: npt.NDArray[np.float64]
    anchor_code: npt.NDArray[np.int32]
    n_neighbors: int
    metadata: dict[str, object]

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            _check_dtype(getattr(self, name), dtype, name)
        check_latents(self.vectors, name="vectors")
        check_latents(self.anchors, name="anchors")
        _check_anchors(self)
        check_codes(self.anchor_code, self.n_codes, name="anchor_code")
        for name in _DTYPES:
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        n_neighbors = _check_at_least(1, self.n_neighbors, "n_neighbors")
        object.__setattr__(self, "n_neighbors", n_neighbors)
        object.__setattr__(self, "metadata", json.loads(metadata_json(self.metadata)))

    @property
    def n_codes(self) -> int:
        """Number of codes, K."""
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Numbers per latent, d."""
        return int(self.vectors.shape[1])

    @property
    def n_anchors(self) -> int:
        """Number of anchors, m."""
        return len(self.anchors)

    @memory_errors_typed()
    def assign(
        self,
        latents: npt.ArrayLike,
        *,
        method: Literal["geodesic", "euclidean"] = "geodesic",
        n_jobs: int | None = None,
    ) -> npt.NDArray[np.int32]:
        """Codes of latents, each on its own: nothing depends on what else is in the batch.

        Parameters
        ----------
        latents : array_like, shape (n, d)
            As for :func:`geoquant.latents.check_latents`; or an array of Dask, whose codes are one
            too: each block's are computed when they are asked for.
        method : {'geodesic', 'euclidean'}, default 'geodesic'
            'geodesic': the code of the anchor that minimises the distance to it plus its
            geodesic distance to its centre, over the `n_neighbors` nearest anchors. A codebook
            whose edges were measured in other outputs has ``n_neighbors = 1``, the code of the
            nearest anchor, as distances of two units do not add up.
            'euclidean': the nearest codeword.
        n_jobs : int or None, default None
            Threads; None means all cores, for each block of an array of Dask one. The codes do not
            depend on it.

        Returns
        -------
        ndarray or dask array of int32, shape (n,)
            In ``[0, n_codes)``.

        Raises
        ------
        InputError
            If the latents cannot be used or `method` is unknown.

        Examples
        --------
        >>> import numpy as np
        >>> from geoquant.codebook import Codebook
        >>> points = np.array([[0.0], [9.0]], dtype=np.float32)
        >>> book = Codebook(points, points, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> book.assign([[1.0], [7.0], [8.0]])
        array([0, 1, 1], dtype=int32)
        """
        # Assignment brings in heavy modules, which reading a codebook does not need.
        from geoquant import assignment

        check_choice(method, "method", ("geodesic", "euclidean"))
        if is_dask_array(latents):
            lazy: npt.NDArray[np.int32] = assign_rows(self, latents, n_jobs=n_jobs, method=method)
            return lazy
        checked = check_latents(latents)
        if checked.shape[1] != self.dim:
            raise InputError(
                f"latents must have shape (n, {self.dim}) for this codebook, found {checked.shape}"
            )
        if method == "euclidean":
            return assignment.nearest_codeword(checked, self.vectors, n_jobs=n_jobs)
        codes, _ = assignment.assign(
            checked,
            self.anchors,
            self.anchor_distance,
            self.anchor_code,
            n_neighbors=self.n_neighbors,
            n_jobs=n_jobs,
        )
        return codes

    def lookup(self, codes: npt.ArrayLike) -> Float32Array:
        """Codewords of codes.

        Parameters
        ----------
        codes : array_like of int, any shape
            In ``[0, n_codes)``.

        Returns
        -------
        ndarray of float32, shape of `codes` + (d,)

        Raises
        ------
        InputError
            If a code is out of range or not an integer.

        Examples
        --------
        >>> import numpy as np
        >>> from geoquant.codebook import Codebook
        >>> points = np.array([[0.0], [9.0]], dtype=np.float32)
        >>> book = Codebook(points, points, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> book.lookup([1, 0])
        array([[9.],
               [0.]], dtype=float32)
        """
        return self.vectors[check_codes(codes, self.n_codes)]

    def thinned(self, n_anchors: int, random_state: int = 0) -> Codebook:
        """A smaller codebook with the same codewords and fewer anchors.

        Kept are, for every used code, the anchor nearest to its centre (the smallest index in a
        tie), and a uniform random sample of the others, in their order.

        Parameters
        ----------
        n_anchors : int
            How many anchors to keep: at least one per used code.
        random_state : int, default 0
            Seed of the sample.

        Returns
        -------
        Codebook
            This one if it has no more anchors than that. Otherwise ``metadata["thinned"]``
            records what was done.

        Raises
        ------
        InputError
            If `n_anchors` is less than the number of used codes.

        Examples
        --------
        >>> import numpy as np
        >>> from geoquant.codebook import Codebook
        >>> points = np.array([[0.0], [1.0], [9.0]], dtype=np.float32)
        >>> codes = np.array([0, 0, 1], dtype=np.int32)
        >>> book = Codebook(points[[0, 2]], points, np.array([0.0, 1.0, 0.0]), codes, 1, {})
        >>> book.thinned(2).anchor_code
        array([0, 1], dtype=int32)
        """
        n_anchors = _check_at_least(1, n_anchors, "n_anchors")
        random_state = _check_at_least(0, random_state, "random_state")
        if n_anchors >= self.n_anchors:
            return self
        kept = _thin(self, n_anchors, random_state)
        record = {"n_anchors": n_anchors, "of": self.n_anchors, "random_state": random_state}
        return replace(
            self,
            anchors=self.anchors[kept],
            anchor_distance=self.anchor_distance[kept],
            anchor_code=self.anchor_code[kept],
            metadata={**self.metadata, "thinned": record},
        )

    def save(self, path: PathLike) -> None:
        """Write the codebook to a ``.safetensors`` file, whole or not at all.

        The same codebook always gives the same bytes.

        Parameters
        ----------
        path : str or PathLike
            The file to write; an older one is replaced.

        Raises
        ------
        InputError
            If the metadata is too long to be stored (1 MiB).
        ResourceError
            If the disk is full.
        OSError
            If the system refuses to write.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from geoquant.codebook import Codebook
        >>> points = np.array([[0.0], [9.0]], dtype=np.float32)
        >>> book = Codebook(points, points, np.zeros(2), np.array([0, 1], np.int32), 1, {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "codebook.safetensors")
        ...     book.save(path)
        ...     Codebook.load(path).n_codes
        2
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
        >>> fitted = gq.fit_codebook([[0.0], [1.0], [8.0], [9.0]], 2, random_state=0)
        >>> b"".join(fitted.codebook.file_blocks())[8:9]
        b'{'
        """
        arrays: dict[str, AnyArray] = {name: getattr(self, name) for name in _DTYPES}
        texts = {
            "format": FILE.format,
            "format_version": str(FILE.version),
            "n_neighbors": str(self.n_neighbors),
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
        Codebook

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, no codebook, inconsistent, or of a later format.
        ResourceError
            If memory does not suffice.

        Examples
        --------
        >>> from geoquant.codebook import Codebook
        >>> Codebook.load("nowhere.safetensors")
        Traceback (most recent call last):
            ...
        geoquant.errors.FileFormatError: nowhere.safetensors: no such file
        """
        path = codebook_file(path)
        arrays, texts = read_safetensors(path, canonical=True)
        require_content(arrays, texts, path, FILE, _DTYPES)
        with inconsistencies_name(path):
            return cls(
                **arrays,
                n_neighbors=int(texts["n_neighbors"]),
                metadata=json.loads(texts["metadata"]),
            )


def _check_dtype(array: object, dtype: np.dtype[Any], name: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(
            f"{name} must be an ndarray of {dtype}, found {found}; convert it with "
            f"np.asarray({name}, dtype=np.{dtype})"
        )


def _check_anchors(book: Codebook) -> None:
    m = len(book.anchors)
    if book.anchors.shape[1] != book.vectors.shape[1]:
        raise InputError(
            "anchors and vectors must have the same number of columns, found shapes "
            f"{book.anchors.shape} and {book.vectors.shape}"
        )
    if book.anchor_distance.shape != (m,) or book.anchor_code.shape != (m,):
        raise InputError(
            f"anchor_distance and anchor_code must have shape ({m},), one entry per anchor, found "
            f"{book.anchor_distance.shape} and {book.anchor_code.shape}"
        )
    # Written so that NaN is refused as well.
    if not np.all((book.anchor_distance >= 0) & (book.anchor_distance < np.inf)):
        raise InputError(
            "anchor_distance must be finite and not negative; compute it on a connected graph "
            "(bridge its components first)"
        )


def _frozen(array: AnyArray) -> AnyArray:
    """The array read-only and out of anyone else's reach, copied where it is not so already."""
    if array.flags.writeable or array.base is not None or not array.flags.c_contiguous:
        array = np.array(array, order="C")
        array.flags.writeable = False
    return array


def metadata_json(metadata: object) -> str:
    """Metadata of a codebook as the text that its file holds, the same for the same content.

    Parameters
    ----------
    metadata : dict
        With string keys, of what JSON knows; NumPy numbers become Python's.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If it is anything else.

    Examples
    --------
    >>> from geoquant.codebook import metadata_json
    >>> metadata_json({"b": 1, "a": None})
    '{"a": null, "b": 1}'
    """
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise InputError(f"metadata must be a dict with string keys, found {metadata!r}")
    try:
        return json.dumps(metadata, allow_nan=False, sort_keys=True, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"metadata must be made of what JSON knows (dict, list, str, int, finite float, bool, "
            f"None): {error}"
        ) from error


def _plain(value: object) -> object:
    """A NumPy number as the Python number that JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"found {value!r}")


def _thin(book: Codebook, n_anchors: int, random_state: int) -> npt.NDArray[np.intp]:
    """Anchors to keep, ascending."""
    by_code = np.lexsort((book.anchor_distance, book.anchor_code))
    _, first = np.unique(book.anchor_code[by_code], return_index=True)
    nearest = by_code[first]
    if n_anchors < len(nearest):
        raise InputError(
            f"n_anchors must be at least {len(nearest)}, one for each code in use, found "
            f"{n_anchors}"
        )
    others = np.setdiff1d(np.arange(book.n_anchors), nearest, assume_unique=True)
    random = np.random.default_rng(random_state)
    sample = random.choice(others, size=n_anchors - len(nearest), replace=False, shuffle=False)
    return np.sort(np.concatenate([nearest, sample]))


def require_content(
    arrays: dict[str, AnyArray],
    texts: dict[str, str],
    path: PathLike,
    kind: FileKind,
    names: Collection[str],
) -> None:
    """Require a file that this release reads, complete and with the content it had when saved.

    Its arrays become read-only.

    Parameters
    ----------
    arrays, texts
        What `read_safetensors` returned.
    path : str or PathLike
        The file, for messages.
    kind : FileKind
        What the file must be.
    names : collection of str
        The arrays that it must hold, no more and no less.

    Raises
    ------
    FileFormatError
        If the file is of another kind or version, lacks something or holds more, or its content
        was changed.
    """
    if texts.get("format") != kind.format:
        raise FileFormatError(
            f"{path}: is not a {kind.noun}, its format is {texts.get('format')!r}, expected "
            f"{kind.format!r}; name a file that the save of a {kind.noun} wrote"
        )
    _check_version(texts, path, kind)
    if set(texts) != kind.keys or set(arrays) != set(names):
        raise FileFormatError(
            f"{path}: a {kind.noun} has the tensors {sorted(names)} and the metadata "
            f"{sorted(kind.keys)}, found {sorted(arrays)} and {sorted(texts)}; save it anew"
        )
    if content_hash(arrays, texts) != texts[HASH_KEY]:
        raise FileFormatError(
            f"{path}: the content does not match its SHA-256, so the file was changed after it "
            "was saved; copy it again from its source"
        )
    for array in arrays.values():
        array.flags.writeable = False


@contextmanager
def inconsistencies_name(path: PathLike) -> Iterator[None]:
    """Turn what is wrong with the content of a file into an error that names the file."""
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise FileFormatError(
            f"{path}: the codebook in it is inconsistent: {error}; save it anew"
        ) from error


def _check_version(texts: dict[str, str], path: PathLike, kind: FileKind) -> None:
    version = texts.get("format_version", "")
    if version == str(kind.version):
        return
    if not version.isdecimal() or not version.isascii() or int(version[:9]) < kind.version:
        raise FileFormatError(f"{path}: the format version {version!r} never existed; save it anew")
    try:
        maker = json.loads(texts["metadata"])["geoquant_version"]
    except (KeyError, TypeError, ValueError, RecursionError):
        maker = "a later release"
    raise FileFormatError(
        f"{path}: has {kind.noun} format version {version}, this geoquant reads {kind.version}; "
        f"install the geoquant that saved it ({maker}) or a later one"
    )
