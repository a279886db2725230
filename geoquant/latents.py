"""Latents from files and arrays: reading them and checking them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import refuse_masked
from geoquant.default_floats import default_floats
from geoquant.errors import InputError
from geoquant.formats.dispatch import located, open_array
from geoquant.formats.npy import map_npy
from geoquant.urls import is_url

if TYPE_CHECKING:
    from collections.abc import Callable

AnyArray: TypeAlias = npt.NDArray[Any]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]

_MAX_MAGNITUDE = 1e18
_SHOWN_ROWS = 5
_BLOCK_ROWS = 8192


# ----------------------------------------------------------------------------------- arrays


def check_latents(latents: object, *, name: str = "latents") -> Float32Array:
    """Latents as a float32 array in C order, or an error that says how to get one.

    Parameters
    ----------
    latents : array_like, shape (n, d), n > 0, d > 0
        Floats or integers of at most 64 bits, in any memory layout and byte order; also lists
        and whatever NumPy can view as an array, such as CPU tensors. Never written to.
        Numbers that float32 cannot hold exactly are rounded to the nearest it can.
    name : str, default "latents"
        What error messages call the argument.

    Returns
    -------
    ndarray of float32, shape (n, d), C order
        The input itself, not copied, where it is such an array already.

    Raises
    ------
    InputError
        If the array is not two-dimensional, empty, not real numbers, masked, sparse, not
        finite, or so large that squared distances overflow float32.

    Examples
    --------
    >>> from geoquant.latents import check_latents
    >>> check_latents([[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    given = as_array(latents, name)
    _check_dtype(given.dtype, name)
    _check_shape(given, name)
    with default_floats(), np.errstate(over="ignore", invalid="ignore"):
        checked = np.require(given, np.float32, ["C_CONTIGUOUS", "ALIGNED"])
        low, high = float(checked.min()), float(checked.max())
    limit = _largest_magnitude(checked.shape[1])
    # Written so that NaN, which min and max pass on, fails the test.
    if not (-limit <= low and high <= limit):
        _raise_for_bad_rows(given, limit, name)
    return checked


def as_array(values: object, name: str) -> AnyArray:
    """Whatever NumPy can view as an array, as one, or an error that says how to get one.

    Parameters
    ----------
    values : array_like
        Not sparse, without masked entries.
    name : str
        What error messages call the argument.

    Returns
    -------
    ndarray
        Of any shape and dtype; the memory of `values` where that is possible.

    Raises
    ------
    InputError
        If there is no such array.

    Examples
    --------
    >>> from geoquant.latents import as_array
    >>> as_array([[1, 2]], "pairs").shape
    (1, 2)
    """
    if hasattr(values, "tocsr"):
        raise InputError(
            f"{name} must be a dense array, found the sparse {type(values).__name__}; "
            f"convert it with {name}.toarray()"
        )
    refuse_masked(values, name)
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:  # whatever the object's own conversion raises
        raise InputError(
            f"{name} must be convertible to a NumPy array, found {type(values).__name__}: "
            f"{error}; give rows of equal length, or tensor.detach().cpu().float().numpy()"
        ) from error


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise InputError(
            f"{name} must hold real numbers (float16, float32, float64 or integers), found dtype "
            f"{dtype}; convert it, for instance with {name}.astype(np.float32)"
        )


def _check_shape(array: AnyArray, name: str) -> None:
    if array.ndim == 1:
        cure = f"use {name}.reshape(-1, 1) for latents of one number each, or "
        cure += f"{name}.reshape(1, -1) for a single latent"
    elif array.ndim != 2:
        cure = f"use {name}.reshape(len({name}), -1), or move the channels last and give every "
        cure += "site of a spatial latent as its own row"
    elif 0 in array.shape:
        cure = "give at least one latent of at least one number"
    else:
        return
    raise InputError(f"{name} must have shape (n, d), n > 0, d > 0, found {array.shape}; {cure}")


def _largest_magnitude(dim: int) -> float:
    """Bound on the entries under which no squared distance overflows float32."""
    # |x|^2 + |y|^2 + 2|xy| is at most 4 d m^2; half of the range is left for rounding.
    return min(_MAX_MAGNITUDE, float(np.sqrt(np.finfo(np.float32).max / (8.0 * dim))))


def _raise_for_bad_rows(array: AnyArray, limit: float, name: str) -> None:
    not_finite = _rows_where(array, lambda block: ~np.isfinite(block))
    if not_finite.size:
        raise InputError(
            f"{name} must be finite, found NaN or infinity in {not_finite.size} of {len(array)} "
            f"rows ({_first(not_finite)}); drop them with "
            f"{name}[np.isfinite({name}).all(axis=1)], or fix what produced them"
        )
    too_large = _rows_where(array, lambda block: np.abs(block.astype(np.float64)) > limit)
    raise InputError(
        f"{name} must not exceed {limit:.3g} in magnitude, so that squared distances fit in "
        f"float32, found more in {too_large.size} of {len(array)} rows ({_first(too_large)}); "
        f"rescale it, for instance {name} / np.abs({name}).max()"
    )


def _rows_where(array: AnyArray, test: Callable[[AnyArray], AnyArray]) -> npt.NDArray[np.intp]:
    bad = [
        start + np.flatnonzero(test(array[start : start + _BLOCK_ROWS]).any(axis=1))
        for start in range(0, len(array), _BLOCK_ROWS)
    ]
    return np.concatenate(bad)


def _first(rows: npt.NDArray[np.intp]) -> str:
    shown = ", ".join(str(row) for row in rows[:_SHOWN_ROWS])
    return f"row {shown}" if rows.size == 1 else f"the first: {shown}"


def check_sample_weight(sample_weight: object, n: int) -> Float64Array:
    """Weights of n latents as float64, or an error that says how to get them.

    Parameters
    ----------
    sample_weight : array_like, shape (n,), or None
        Finite, not negative, not all zero; None means that every weight is 1.
    n : int
        Number of latents.

    Returns
    -------
    ndarray of float64, shape (n,)
        The input itself, not copied, where it is such an array already.

    Raises
    ------
    InputError
        If the weights have another shape, are no real numbers, or are negative, not finite, all
        zero or of infinite sum.

    Examples
    --------
    >>> from geoquant.latents import check_sample_weight
    >>> check_sample_weight([2, 0], 2)
    array([2., 0.])
    """
    if sample_weight is None:
        return np.ones(n, dtype=np.float64)
    given = as_array(sample_weight, "sample_weight")
    if given.dtype.kind not in "fiub":
        raise InputError(f"sample_weight must hold real numbers, found dtype {given.dtype}")
    if given.shape != (n,):
        raise InputError(
            f"sample_weight must have one weight per latent, shape ({n},), found {given.shape}"
        )
    weight = np.require(given, np.float64, ["C_CONTIGUOUS", "ALIGNED"])
    bad = np.flatnonzero(~((weight >= 0) & (weight < np.inf)))
    if bad.size:
        raise InputError(
            f"sample_weight must be finite and not negative, found {weight[bad[0]]} and "
            f"{bad.size - 1} more such weights ({_first(bad)}); use 0 to leave a latent out"
        )
    with np.errstate(over="ignore"):
        total = float(weight.sum())
    if not 0 < total < np.inf:
        raise InputError(
            "sample_weight must have a positive, finite sum, found "
            + ("weights that are all zero" if total == 0 else str(total))
        )
    return weight


# ------------------------------------------------------------------------------------ files


def read_latents(path: PathLike, key: str | None = None, *, mapped: bool = True) -> AnyArray:
    """Read an array of latents from a file or folder of any format that is known.

    Nothing in a file is believed before it agrees with the file's size, and nothing in it is
    executed: pickled content is refused. The array still has to pass :func:`check_latents`.

    ===============================  ====================================================
    suffix                           `key` is the name of
    ===============================  ====================================================
    ``.npy``                         (leave it out)
    ``.npz``, ``.safetensors``       the array, where there are several
    ``.parquet``, ``.pq``            a column of lists or numbers, or several columns of
    ``.arrow``, ``.feather``,        numbers, with commas; left out, the only column of
    ``.ipc``                         lists, or all columns if they are floats
    ``.h5``, ``.hdf5``               the dataset, as in ``/train/z``
    ``.zarr``, ``.zarr.zip``         the array in the group, as in ``train/z``
    ``.pt``, ``.pth``                the tensor in a dict, as from ``torch.save``
    a folder of ``save_to_disk``     the column of the Hugging Face dataset, after its
                                     split if there are several: ``train/z``
    any other folder                 as for its files, shards of one array
    ===============================  ====================================================

    Shards are all files of one of these formats in a folder, in the order of the numbers in
    their names, or those that a file ``manifest.json`` names: ``{"shards": ["b.npy", "a.npy"]}``.
    The path of such a file with another name, or of a ``.txt`` with a path in each line, is one of
    latents too, whose shards may lie anywhere and be of several formats.

    A path may be an address such as ``s3://bucket/part-1.npy`` where fsspec is installed, and the
    library of that store; not of HDF5, PyTorch or Hugging Face.
    A column of a Hugging Face dataset in memory needs no file:
    ``check_latents(dataset.with_format("numpy")[:]["z"])``.

    Parameters
    ----------
    path : str or PathLike
        A file or folder. ``file.h5::/train/z`` is short for the key ``/train/z``, of every
        format.
    key : str, optional
        Which array of several.
    mapped : bool, default True
        Whether an ``.npy`` file is memory-mapped rather than read; all others are read.

    Returns
    -------
    ndarray of any shape and dtype
        As stored. A mapped array is read-only, and its file must stay as it is while it is in
        use: if it becomes shorter, the system ends the process (SIGBUS).

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind, damaged, or `key` does not name an array in it.
    ResourceError
        If memory does not suffice.
    ImportError
        If the library of the format is not installed; the message says how to get it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.latents import read_latents
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.zeros((3, 2), dtype=np.float32))
    ...     read_latents(path).shape
    (3, 2)
    """
    if mapped and is_mappable(path):
        return map_npy(*located(path, key))
    with open_array(path, key) as stored:
        return stored.read()


def read_rows(path: PathLike, start: int, stop: int, key: str | None = None) -> AnyArray:
    """Read a range of the rows that :func:`read_latents` would read, and little more than these.

    Parameters
    ----------
    path, key
        As for :func:`read_latents`.
    start, stop : int
        The first row, and the one after the last.

    Returns
    -------
    ndarray of any dtype, shape (stop - start, ...)
        As stored; mapped from an ``.npy`` file. Fewer where the file has fewer.

    Raises
    ------
    FileFormatError, ResourceError, ImportError
        As :func:`read_latents`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.latents import read_rows
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.arange(6.0).reshape(3, 2))
    ...     read_rows(path, 1, 2).tolist()
    [[2.0, 3.0]]
    """
    if is_mappable(path):
        return map_npy(*located(path, key))[start:stop]
    with open_array(path, key) as stored:
        if stored.read_rows is None or not stored.shape:
            return stored.read()[start:stop]
        n_rows = stored.shape[0]
        return stored.read_rows(min(start, n_rows), min(stop, n_rows))


def is_mappable(path: PathLike) -> bool:
    """Whether a file is mapped into memory where that is asked for.

    Parameters
    ----------
    path : str or PathLike
        As for :func:`read_latents`.

    Returns
    -------
    bool

    Examples
    --------
    >>> from geoquant.latents import is_mappable
    >>> is_mappable("part-1.npy"), is_mappable("part-1.parquet")
    (True, False)
    """
    return os.fspath(path).lower().endswith(".npy") and not is_url(path)


def latents_shape(path: PathLike, key: str | None = None) -> tuple[int, ...]:
    """Shape of the array that :func:`read_latents` would read, from the header of its file.

    Parameters
    ----------
    path, key
        As for :func:`read_latents`.

    Returns
    -------
    tuple of int

    Raises
    ------
    FileFormatError, ImportError
        As :func:`read_latents`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.latents import latents_shape
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.zeros((3, 2), dtype=np.float32))
    ...     latents_shape(path)
    (3, 2)
    """
    with open_array(path, key) as stored:
        return stored.shape
