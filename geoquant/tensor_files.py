"""Files of named arrays as safetensors, believed only where they agree with themselves.

Whatever is written can be read by that library; of what is read, a part of what it allows: arrays
one after the other without gaps, and, where it is asked for, in the one form that is written here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.files import (
    MAX_HEADER_BYTES,
    AnyArray,
    Bytes,
    PathLike,
    byte_count,
    bytes_of,
    open_regular,
    stream_size,
    strict_json,
    write_atomically,
)

if TYPE_CHECKING:
    import io
    from collections.abc import Collection, Iterable, Iterator, Mapping

#: The key under which :func:`content_hash` is kept in a file's metadata.
HASH_KEY = "content_sha256"


_METADATA = "__metadata__"


_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


_CODES = {dtype: code for code, dtype in _DTYPES.items()}


class _Tensor(NamedTuple):
    """What a safetensors header says about one array; offsets count from the header's end."""

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def write_safetensors(
    path: PathLike, arrays: Mapping[str, AnyArray], metadata: Mapping[str, str]
) -> None:
    """Write named arrays as ``.safetensors``, whole or not at all.

    The bytes depend on the names, arrays and metadata alone, not on their order.

    Parameters
    ----------
    path : str or PathLike
        The file to write; see :func:`write_atomically`.
    arrays : mapping of str to ndarray
        Boolean, integer or floating arrays of at most 64 bits per element, any shape.
    metadata : mapping of str to str
        Free text kept in the header.

    Raises
    ------
    InputError
        If an array's dtype has no place in the format, a name or text is not a string, or the
        header would be longer than the reader accepts (1 MiB).
    ResourceError, OSError
        As :func:`write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.tensor_files import read_safetensors, write_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "codes.safetensors")
    ...     write_safetensors(path, {"codes": np.array([0, 2], dtype=np.int32)}, {"by": "me"})
    ...     read_safetensors(path)
    ({'codes': array([0, 2], dtype=int32)}, {'by': 'me'})
    """
    write_atomically(path, safetensors_blocks(arrays, metadata))


def safetensors_blocks(
    arrays: Mapping[str, AnyArray], metadata: Mapping[str, str]
) -> Iterator[Bytes]:
    """The content of a ``.safetensors`` file, in blocks.

    Parameters
    ----------
    arrays, metadata
        As for `write_safetensors`.

    Returns
    -------
    iterator of bytes-like
        Header, then the data of each array.

    Raises
    ------
    InputError
        As `write_safetensors`, at once.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.tensor_files import safetensors_blocks
    >>> [len(block) for block in safetensors_blocks({"a": np.zeros(4, np.int32)}, {})]
    [64, 16]
    """
    stored = _as_stored(arrays)
    texts = _checked_metadata(metadata)
    shapes = {name: (_CODES[array.dtype], array.shape) for name, array in stored.items()}
    try:
        header = _header_bytes(shapes, texts)
    except UnicodeEncodeError as error:
        raise InputError(f"names and metadata must be valid Unicode text: {error}") from error
    if len(header) > MAX_HEADER_BYTES:
        raise InputError(
            f"names and metadata take {len(header)} bytes, the limit is {MAX_HEADER_BYTES}; "
            "store less metadata"
        )
    data = (bytes_of(stored[name]) for name in _data_order(shapes))
    return _chain(struct.pack("<Q", len(header)) + header, data)


def _chain(first: Bytes, rest: Iterable[Bytes]) -> Iterator[Bytes]:
    yield first
    yield from rest


def content_hash(arrays: Mapping[str, AnyArray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of named arrays and their metadata, without the hash itself.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As for :func:`write_safetensors`.
    metadata : mapping of str to str
        The entry ``content_sha256`` is left out of the sum.

    Returns
    -------
    str
        64 hexadecimal digits that depend on names, dtypes, shapes, values and metadata, and not
        on order, memory layout or byte order.

    Raises
    ------
    InputError
        As :func:`write_safetensors`.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.tensor_files import content_hash
    >>> little = content_hash({"a": np.arange(3, dtype="<i4")}, {})
    >>> len(little), little == content_hash({"a": np.arange(3, dtype=">i4")}, {})
    (64, True)
    """
    stored = _as_stored(arrays)
    texts = _checked_metadata(metadata)
    texts.pop(HASH_KEY, None)
    names = sorted(stored)
    outline = [[name, _CODES[stored[name].dtype], list(stored[name].shape)] for name in names]
    # The outline fixes how many bytes each array has, so the sum has one reading only.
    digest = hashlib.sha256(json.dumps([outline, texts], sort_keys=True).encode())
    for name in names:
        digest.update(bytes_of(stored[name]))
    return digest.hexdigest()


def _as_stored(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """The arrays in C order and little-endian, copied only where they are not."""
    stored = {}
    for name, array in arrays.items():
        if name == _METADATA:
            raise InputError(f"arrays must not be named {_METADATA!r}; rename it")
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _CODES:
            raise InputError(
                f"arrays[{name!r}] must have one of the dtypes {', '.join(_DTYPES)}, found "
                f"{array.dtype}; convert it with astype(...)"
            )
        stored[name] = np.asarray(array, dtype=dtype, order="C")
    return stored


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not all(isinstance(text, str) for text in (*metadata, *metadata.values())):
        raise InputError(f"metadata must map strings to strings, found {metadata!r}")
    return dict(metadata)


def _data_order(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    """Widest elements first, so that every array starts at a multiple of its element size."""
    return sorted(shapes, key=lambda name: (-_DTYPES[shapes[name][0]].itemsize, name))


def _header_bytes(
    shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """The one header that this module writes for the given arrays and metadata."""
    header: dict[str, object] = {}
    if metadata:
        header[_METADATA] = {key: metadata[key] for key in sorted(metadata)}
    end = 0
    for name in _data_order(shapes):
        code, shape = shapes[name]
        begin, end = end, end + math.prod(shape) * _DTYPES[code].itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


def read_safetensors(
    path: PathLike,
    *,
    names: Collection[str] | None = None,
    max_header_bytes: int = MAX_HEADER_BYTES,
    canonical: bool = False,
) -> tuple[dict[str, AnyArray], dict[str, str]]:
    r"""Read a ``.safetensors`` file, refusing every irregularity before memory is asked for.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    names : collection of str, optional
        The arrays to read; the others are checked but skipped. Default: all.
    max_header_bytes : int, default 1 MiB
        Longest header accepted.
    canonical : bool, default False
        Whether the header must also be, byte for byte, what :func:`write_safetensors` writes.
        Together with :func:`content_hash` this leaves one file per content, so that no change
        of the file goes unnoticed.

    Returns
    -------
    arrays : dict of str to ndarray
        In the order of the file; each owns its memory.
    metadata : dict of str to str
        Empty if the file has none.

    Raises
    ------
    FileFormatError
        If the file is missing, not regular, cut short, longer than its header says, or its
        header is too long, repeats a key, or disagrees with itself or with the file's size.
    ResourceError
        If memory does not suffice for the arrays.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.tensor_files import read_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "empty.safetensors")
    ...     _ = path.write_bytes(b"\x02" + bytes(7) + b"{}")
    ...     read_safetensors(path)
    ({}, {})
    """
    with open_regular(path) as stream:
        tensors, metadata, raw = _read_header(stream, path, max_header_bytes)
        if canonical:
            _check_canonical(raw, tensors, metadata, path)
        start = stream.tell()
        wanted = [name for name in tensors if names is None or name in names]
        arrays = {name: _read_tensor(stream, start, tensors[name], path) for name in wanted}
    return arrays, metadata


def safetensors_outlines(
    path: PathLike, *, max_header_bytes: int = MAX_HEADER_BYTES
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    r"""Shapes and dtypes of the arrays in a ``.safetensors`` file, without reading the arrays.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    max_header_bytes : int, default 1 MiB
        Longest header accepted.

    Returns
    -------
    dict of str to (tuple of int, dtype)
        In the order of the file.

    Raises
    ------
    FileFormatError
        As :func:`read_safetensors`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.tensor_files import safetensors_outlines, write_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.safetensors")
    ...     write_safetensors(path, {"z": np.zeros((3, 2))}, {})
    ...     safetensors_outlines(path)
    {'z': ((3, 2), dtype('float64'))}
    """
    with open_regular(path) as stream:
        tensors = _read_header(stream, path, max_header_bytes)[0]
    return {name: (tensor.shape, _DTYPES[tensor.code]) for name, tensor in tensors.items()}


def _read_header(
    stream: io.BufferedReader, path: PathLike, max_header_bytes: int
) -> tuple[dict[str, _Tensor], dict[str, str], bytes]:
    size = stream_size(stream)
    start = stream.read(8)
    if len(start) < 8:
        raise _damaged(path, f"{size} bytes are too few for a header")
    (length,) = struct.unpack("<Q", start)
    if length > min(max_header_bytes, size - 8):
        raise _damaged(
            path,
            f"it claims a header of {length} bytes in a file of {size}, where at most "
            f"{max_header_bytes} are accepted",
        )
    raw = stream.read(length)
    tensors, metadata = _parse_header(raw, path)
    _check_offsets(tensors, size - 8 - length, path)
    return tensors, metadata, raw


def _parse_header(raw: bytes, path: PathLike) -> tuple[dict[str, _Tensor], dict[str, str]]:
    if not raw.startswith(b"{"):
        raise _damaged(path, f"the header must start with '{{', found {raw[:8]!r}")
    try:
        header = strict_json(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the header is not strict JSON: {error}") from error
    metadata = header.pop(_METADATA, {})
    if not _is_text_map(metadata):
        raise _damaged(path, "the metadata must map strings to strings")
    parsed = {name: _parse_tensor(name, entry, path) for name, entry in header.items()}
    in_order = sorted(parsed, key=lambda name: (parsed[name].begin, parsed[name].end))
    return {name: parsed[name] for name in in_order}, metadata


def _is_text_map(metadata: object) -> bool:
    return isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())


def _parse_tensor(name: str, entry: object, path: PathLike) -> _Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"tensor {name!r} must have dtype, shape and data_offsets only")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise FileFormatError(
            f"{os.fspath(path)}: tensor {name!r} has dtype {code!r}, which NumPy has no equal of; "
            f"the dtypes {', '.join(_DTYPES)} can be read: convert it, for instance to F32, and "
            "save again"
        )
    if not _is_int_list(shape) or not _is_int_list(offsets) or len(offsets) != 2:
        raise _damaged(path, f"tensor {name!r} has shape {shape!r} and offsets {offsets!r}")
    tensor = _Tensor(code, tuple(shape), offsets[0], offsets[1])
    if byte_count(tensor.shape, _DTYPES[code].itemsize) != tensor.end - tensor.begin:
        raise _damaged(
            path,
            f"tensor {name!r} of dtype {code} and shape {shape!r} does not fill its bytes "
            f"{offsets!r}",
        )
    return tensor


def _is_int_list(numbers: object) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)


def _check_offsets(tensors: Mapping[str, _Tensor], n_bytes: int, path: PathLike) -> None:
    """Require that the tensors, in order, fill the bytes after the header exactly."""
    end = 0
    for name, tensor in tensors.items():
        if tensor.begin != end:
            raise _damaged(path, f"tensor {name!r} starts at {tensor.begin}, expected {end}")
        end = tensor.end
    if end != n_bytes:
        raise _damaged(path, f"the header describes {end} bytes of data, the file holds {n_bytes}")


def _check_canonical(
    raw: bytes, tensors: Mapping[str, _Tensor], metadata: Mapping[str, str], path: PathLike
) -> None:
    shapes = {name: (tensor.code, tensor.shape) for name, tensor in tensors.items()}
    try:
        expected = _header_bytes(shapes, metadata)
    except UnicodeEncodeError:
        expected = b""
    if raw != expected:
        raise _damaged(path, "its header is not written the way geoquant writes it")


def _read_tensor(
    stream: io.BufferedReader, start: int, tensor: _Tensor, path: PathLike
) -> AnyArray:
    try:
        array = np.empty(tensor.shape, dtype=_DTYPES[tensor.code])
    except MemoryError as error:
        raise ResourceError(
            f"{os.fspath(path)}: there is no memory for {tensor.end - tensor.begin} bytes"
        ) from error
    stream.seek(start + tensor.begin)
    if array.size and stream.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
        raise _damaged(path, "it became shorter while it was read")
    if tensor.code == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise _damaged(path, "a truth value is neither 0 nor 1")
    return array


def _damaged(path: PathLike, found: str) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)}: {found}; the file is damaged or of another kind: copy it again from "
        "its source, or write it anew"
    )
