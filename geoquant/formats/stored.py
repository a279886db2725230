"""What all readers share: an array that is known from its header, its name, and its errors."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.errors import FileFormatError, GeoquantError, ResourceError
from geoquant.files import byte_count
from geoquant.memory import require_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AnyArray: TypeAlias = npt.NDArray[Any]
PathLike: TypeAlias = str | os.PathLike[str]

_SHOWN_NAMES = 20
_SHOWN_CHARACTERS = 200


class Stored(NamedTuple):
    """An array in an open file: what its header says, and how to read its numbers.

    Attributes
    ----------
    shape : tuple of int
        Of the array.
    dtype : dtype
        Of its numbers.
    read : callable
        Reads all of it.
    read_rows : callable or None
        Called as ``read_rows(start, stop)``; reads little more than those rows. None where the
        format has no such way.
    n_rows_together : int
        Rows that are packed together: ranges that begin at a multiple of it are read fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], AnyArray]
    read_rows: Callable[[int, int], AnyArray] | None = None
    n_rows_together: int = 1


def chosen(names: Sequence[str], key: str | None, path: PathLike) -> str:
    """The array to read, of those there are.

    Parameters
    ----------
    names : sequence of str
        Of all arrays in the file.
    key : str or None
        What the user chose.
    path : str or PathLike
        What errors call the file.

    Returns
    -------
    str
        `key`, or the only name there is.

    Raises
    ------
    FileFormatError
        With the names, if there is no such array, or several and no key.

    Examples
    --------
    >>> from geoquant.formats.stored import chosen
    >>> chosen(["z"], None, "latents.npz")
    'z'
    """
    if key is None and len(names) == 1:
        return names[0]
    if key is not None and key in names:
        return key
    wanted = "there is not exactly one array" if key is None else f"there is no array {key!r}"
    raise FileFormatError(
        f"{os.fspath(path)}: {wanted}; choose one with key=: {listed(sorted(names))}"
    )


def listed(names: Sequence[str]) -> str:
    """The first of many names, for an error.

    Examples
    --------
    >>> from geoquant.formats.stored import listed
    >>> listed(["a", "b"])
    "'a', 'b'"
    """
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES]) or "none"
    return shown + (", ..." if len(names) > _SHOWN_NAMES else "")


def require_room(
    path: PathLike, shape: tuple[int, ...], dtype: np.dtype[Any], *, besides: int = 0
) -> None:
    """Raise unless an array that a file claims to hold fits in memory.

    Parameters
    ----------
    path : str or PathLike
        What errors call the file.
    shape : tuple of int
        As the file claims it.
    dtype : dtype
        Of its numbers.
    besides : int, default 0
        Bytes that reading takes beyond the array.

    Raises
    ------
    FileFormatError
        If no array can have that shape.
    ResourceError
        If there is less memory.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.formats.stored import require_room
    >>> require_room("latents.h5", (1 << 62, 2), np.dtype("f4"))
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: latents.h5: claims an array of shape (4611686018427387904, ...
    """
    n_bytes = byte_count(shape, dtype.itemsize)
    if n_bytes is None:
        raise FileFormatError(
            f"{os.fspath(path)}: claims an array of shape {shape}, which no memory can hold; the "
            "file is damaged: copy it again from its source, or write it anew"
        )
    require_memory(n_bytes + besides, None, f"read a part of {os.fspath(path)}")


def empty(path: PathLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    """An array to read into, or an error that names the file.

    Parameters
    ----------
    path, shape, dtype
        As for `require_room`.

    Returns
    -------
    ndarray
        Of arbitrary numbers.

    Raises
    ------
    ResourceError
        If the system gives no memory.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.formats.stored import empty
    >>> empty("latents.h5", (3, 2), np.dtype("f4")).shape
    (3, 2)
    """
    try:
        return np.empty(shape, dtype=dtype)
    except MemoryError as error:
        raise ResourceError(f"{os.fspath(path)}: there is no memory for shape {shape}") from error


@contextmanager
def errors_named(path: PathLike, kind: str, cure: str) -> Iterator[None]:
    """Give whatever a library raises on a file the name of the file and a cure.

    Parameters
    ----------
    path : str or PathLike
        What errors call the file.
    kind : str
        What the file should be.
    cure : str
        What to do if it is not.

    Raises
    ------
    ResourceError
        For a lack of memory.
    FileFormatError
        For everything else that is not an error of geoquant's own.

    Examples
    --------
    >>> from geoquant.formats.stored import errors_named
    >>> with errors_named("latents.h5", "HDF5 file", "write it anew"):
    ...     raise OSError("bad object header")
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: latents.h5: is not a readable HDF5 file: bad object header...
    """
    try:
        yield
    except GeoquantError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{os.fspath(path)}: there is no memory to read it: {error}; free some, or read a part"
        ) from error
    except Exception as error:  # libraries raise all kinds on damaged files
        said = " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
        raise FileFormatError(
            f"{os.fspath(path)}: is not a readable {kind}: {said}; copy it again from its source, "
            f"or {cure}"
        ) from error
