"""``.npy`` files: the header is parsed, never evaluated, and held against the bytes there are."""

from __future__ import annotations

import math
import os
import re
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoquant.errors import FileFormatError, ResourceError
from geoquant.files import byte_count, open_regular, stream_size
from geoquant.formats.stored import AnyArray, PathLike, Stored, empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_HEADER = 10_000

_NPY_ENTRY = (
    r"""(['"])(descr|fortran_order|shape)\1\s*:\s*"""
    r"""(['"][^'"]*['"]|True|False|\(\s*(?:\d+\s*,\s*)*(?:\d+\s*)?\))"""
)
_NPY_HEADER = re.compile(rf"\{{\s*(?:{_NPY_ENTRY.replace(chr(92) + '1', '.')}\s*,?\s*){{3}}\}}\s*")


class NpyHeader(NamedTuple):
    """What the header of an ``.npy`` file says, and how many bytes it takes itself."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    n_header_bytes: int
    n_data_bytes: int


@contextmanager
def open_npy(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open an ``.npy`` file.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    key : str, optional
        Refused, as the one array has no name.

    Yields
    ------
    Stored
        The array; reading it does not map the file.

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind or damaged.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.formats.npy import open_npy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.zeros((3, 2), dtype=np.float32))
    ...     with open_npy(path) as stored:
    ...         stored.shape, stored.dtype
    ((3, 2), dtype('float32'))
    """
    _refuse_key(path, key)
    with open_regular(path) as stream:
        where = os.fspath(path)
        header = read_npy_header(stream, stream_size(stream), where)
        yield Stored(
            header.shape,
            header.dtype,
            lambda: _read_numbers(stream, header, where),
            None if header.fortran_order else _reader_of_rows(stream, header, where),
        )


def map_npy(path: PathLike, key: str | None = None) -> AnyArray:
    """Map an ``.npy`` file into memory, read-only.

    Parameters
    ----------
    path, key
        As for `open_npy`.

    Returns
    -------
    ndarray
        If the file becomes shorter while it is in use, the system ends the process (SIGBUS).

    Raises
    ------
    FileFormatError, ResourceError
        As `open_npy`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.formats.npy import map_npy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.zeros((3, 2), dtype=np.float32))
    ...     map_npy(path).flags.writeable
    False
    """
    _refuse_key(path, key)
    with open_regular(path) as stream:
        header = read_npy_header(stream, stream_size(stream), os.fspath(path))
        if header.n_data_bytes == 0:
            return np.empty(header.shape, dtype=header.dtype)
        return np.memmap(
            stream,
            dtype=header.dtype,
            mode="r",
            offset=header.n_header_bytes,
            shape=header.shape,
            order="F" if header.fortran_order else "C",
        )


def _refuse_key(path: PathLike, key: str | None) -> None:
    if key is not None:
        raise FileFormatError(
            f"{os.fspath(path)}: an .npy file holds one array without a name, found key={key!r}; "
            "leave key out"
        )


def stored_npy(stream: IO[bytes], size: int, where: str) -> Stored:
    r"""The array in a stream that holds an ``.npy`` file and nothing else.

    Parameters
    ----------
    stream : binary file
        At its start.
    size : int
        Bytes in it.
    where : str
        What errors call it.

    Returns
    -------
    Stored

    Raises
    ------
    FileFormatError
        As `open_npy`.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from geoquant.formats.npy import stored_npy
    >>> stream = io.BytesIO()
    >>> np.save(stream, np.zeros(3))
    >>> size = stream.tell()
    >>> _ = stream.seek(0)
    >>> stored_npy(stream, size, "here").read()
    array([0., 0., 0.])
    """
    header = read_npy_header(stream, size, where)
    return Stored(header.shape, header.dtype, lambda: _read_numbers(stream, header, where))


def read_npy_header(stream: IO[bytes], size: int, where: str) -> NpyHeader:
    """Parse the header of an ``.npy`` file.

    Parameters
    ----------
    stream, size, where
        As for `stored_npy`.

    Returns
    -------
    NpyHeader
        The stream is at the first number.

    Raises
    ------
    FileFormatError
        As `open_npy`.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from geoquant.formats.npy import read_npy_header
    >>> stream = io.BytesIO()
    >>> np.save(stream, np.zeros(3))
    >>> size = stream.tell()
    >>> _ = stream.seek(0)
    >>> read_npy_header(stream, size, "here").shape
    (3,)
    """
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise FileFormatError(
            f"{where}: is no .npy file, it starts with {start[:6]!r}; save latents with "
            "numpy.save(path, latents)"
        )
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(start[6:])
    if width is None:
        raise _not_plain(where, f"format version {'.'.join(str(part) for part in start[6:])}")
    length = int.from_bytes(stream.read(width), "little")
    if length > _MAX_HEADER:
        raise _not_plain(where, f"a header of {length} bytes")
    dtype, fortran_order, shape = _parse_npy_header(stream.read(length).decode("latin1"), where)
    n_data_bytes = byte_count(shape, dtype.itemsize)
    if n_data_bytes is None or 8 + width + length + n_data_bytes != size:
        raise FileFormatError(
            f"{where}: an array of shape {shape} and dtype {dtype} needs "
            f"{n_data_bytes} bytes after the header, found {size - 8 - width - length}; the file "
            "is cut short or damaged: copy it again from its source, or save it anew"
        )
    return NpyHeader(dtype, fortran_order, shape, 8 + width + length, n_data_bytes)


def _parse_npy_header(text: str, where: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    entries = {match[2]: match[3] for match in re.finditer(_NPY_ENTRY, text)}
    if not _NPY_HEADER.fullmatch(text) or len(entries) != 3:
        raise _not_plain(where, f"the header {text[:80]!r}")
    kind = re.fullmatch(r"['\"]([<>|=]?[biufc]\d{1,2})['\"]", entries["descr"])
    shape = re.fullmatch(r"\(([^()]*)\)", entries["shape"])
    if not kind or not shape or entries["fortran_order"] not in ("True", "False"):
        raise _not_plain(where, f"the header {text[:80]!r}")
    try:
        dtype: np.dtype[Any] = np.dtype(kind[1])
        lengths = tuple(int(length) for length in shape[1].split(",") if length.strip())
    except (TypeError, ValueError) as error:
        raise _not_plain(where, f"the header {text[:80]!r}") from error
    return dtype, entries["fortran_order"] == "True", lengths


def _not_plain(where: str, found: str) -> FileFormatError:
    return FileFormatError(
        f"{where}: is not the .npy file of a plain array of numbers, found {found}; structured "
        "arrays and pickled Python objects are not read: save with "
        "numpy.save(path, latents.astype(numpy.float32))"
    )


def _reader_of_rows(
    stream: IO[bytes], header: NpyHeader, where: str
) -> Callable[[int, int], AnyArray]:
    def read_rows(start: int, stop: int) -> AnyArray:
        shape = (stop - start, *header.shape[1:])
        n_bytes = math.prod(header.shape[1:]) * header.dtype.itemsize
        target = empty(where, shape, header.dtype)
        stream.seek(header.n_header_bytes + start * n_bytes)
        data = target.reshape(-1).view(np.uint8)
        done = 0
        while done < len(data):
            block = stream.read(min(1 << 20, len(data) - done))
            if not block:
                raise FileFormatError(f"{where}: is cut short; copy it again, or save it anew")
            data[done : done + len(block)] = np.frombuffer(block, dtype=np.uint8)
            done += len(block)
        return target

    return read_rows


def _read_numbers(stream: IO[bytes], header: NpyHeader, where: str) -> AnyArray:
    size = header.n_header_bytes + header.n_data_bytes
    try:
        flat = np.empty(header.n_data_bytes, dtype=np.uint8)
    except MemoryError as error:
        raise ResourceError(f"{where}: there is no memory for {size} bytes") from error
    done = 0
    while block := stream.read(1 << 20):
        if done + len(block) > len(flat):
            raise FileFormatError(f"{where}: holds more than its {size} bytes")
        flat[done : done + len(block)] = np.frombuffer(block, dtype=np.uint8)
        done += len(block)
    if done != len(flat):
        raise FileFormatError(f"{where}: is cut short; copy it again, or save it anew")
    array = flat.view(header.dtype)
    return (
        array.reshape(header.shape[::-1]).T if header.fortran_order else array.reshape(header.shape)
    )
