"""Arrow IPC files and streams, Feather included: ``.arrow``, ``.feather``, ``.ipc``.

What the messages of a file claim is held against the file before the Arrow library allocates
memory for it.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple

import pyarrow as pa

from geoquant.errors import FileFormatError
from geoquant.files import open_regular, stream_size
from geoquant.formats.columns import (
    Column,
    chosen_columns,
    put_rows,
    result_dtype,
    result_shape,
    storage_type,
)
from geoquant.formats.stored import AnyArray, PathLike, Stored, empty, errors_named, require_room

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE_MAGIC, _FEATHER_1 = b"ARROW1", b"FEA1"
_CONTINUED = 0xFFFFFFFF
_MAX_METADATA = 64 << 20
_DICTIONARY, _RECORDS = 2, 3
_CURE = "write it anew with pyarrow"


class _Batch(NamedTuple):
    """What the metadata of one batch claims."""

    n_rows: int
    node_lengths: list[int]
    n_bytes: int  # when its buffers are unpacked
    is_dictionary: bool


@contextmanager
def open_arrow(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open columns of an Arrow IPC file or stream.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    key : str, optional
        The column, or several, as for :func:`geoquant.formats.columns.chosen_columns`.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind or damaged, a number is null, lists are of
        several lengths, or there is no such column.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pyarrow as pa
    >>> import pyarrow.feather
    >>> from geoquant.formats.arrow_ipc import open_arrow
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.feather")
    ...     pa.feather.write_feather(pa.table({"z": [[1.0, 2.0], [3.0, 4.0]]}), path)
    ...     with open_arrow(path) as stored:
    ...         stored.read().tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    with open_regular(path) as stream, errors_named(path, "Arrow file", _CURE):
        start = _start(stream, path)
        batches = list(_batches(stream, path))
        stream.seek(start)
        with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as reader:
            schema = reader.schema
        columns = chosen_columns(schema, key, path)
        records = [batch for batch in batches if not batch.is_dictionary]
        n = sum(batch.n_rows for batch in records)
        shape = result_shape(columns, n, _width(schema, columns[0], records, path))
        kept = sum(batch.n_bytes for batch in batches if batch.is_dictionary)
        besides = kept + max((batch.n_bytes for batch in records), default=0)

        def read() -> AnyArray:
            require_room(path, shape, result_dtype(columns), besides=besides)
            stream.seek(start)
            return _read_columns(stream, columns, shape, path)

        yield Stored(shape, result_dtype(columns), read)


def _start(stream: IO[bytes], path: PathLike) -> int:
    """Go to the first message, and say where it is."""
    head = stream.read(8)
    if head[:4] == _FEATHER_1:
        raise FileFormatError(
            f"{os.fspath(path)}: is a Feather file of version 1, which is not read; write it anew "
            "with pyarrow.feather.write_feather"
        )
    # A file is a stream between its magic and a list of the places of batches.
    start = 8 if head[:6] == _FILE_MAGIC else 0
    stream.seek(start)
    return start


def _batches(stream: IO[bytes], path: PathLike) -> Iterator[_Batch]:
    """What each message after the schema claims; bodies are skipped."""
    size = stream_size(stream)
    while True:
        prefix = stream.read(8)
        if len(prefix) != 8:
            raise _damaged(path, "it ends before its end mark")
        mark, length = struct.unpack("<II", prefix)
        if mark != _CONTINUED:
            raise _damaged(path, "a message does not begin with its mark")
        if length == 0:
            _check_end(stream, size, path)
            return
        if length > min(_MAX_METADATA, size - stream.tell()):
            raise _damaged(path, f"it claims metadata of {length} bytes")
        message = _Table.root(stream.read(length))
        body, n_body = stream.tell(), message.number(3, "<q")
        if not 0 <= n_body <= size - body:
            raise _damaged(path, f"it claims {n_body} bytes of numbers in a file of {size}")
        kind = message.number(1, "<B")
        if kind in (_DICTIONARY, _RECORDS):
            yield _claims(message.table(2), (body, n_body), stream, kind == _DICTIONARY)
        stream.seek(body + n_body)


def _check_end(stream: IO[bytes], size: int, path: PathLike) -> None:
    """Require that nothing follows a stream, and in a file what lists its batches."""
    at = stream.tell()
    stream.seek(0)
    n_tail = 0
    if stream.read(6) == _FILE_MAGIC:
        stream.seek(max(0, size - 10))
        tail = stream.read()
        n_tail = 10 + int.from_bytes(tail[:4], "little") if tail[4:] == _FILE_MAGIC else -1
    if at + n_tail != size:
        raise _damaged(path, "it is cut short, or goes on after its end mark")


def _damaged(path: PathLike, found: str) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)}: {found}; the file is damaged or of another kind: copy it again from "
        f"its source, or {_CURE}"
    )


def _claims(
    header: _Table, body: tuple[int, int], stream: IO[bytes], is_dictionary: bool
) -> _Batch:
    batch = header.table(1) if is_dictionary else header
    n_rows, n_bytes = batch.number(0, "<q"), body[1]
    nodes = batch.structs(1, "<qq")
    if batch.has(3):  # compressed: each buffer begins with its length when unpacked
        n_bytes += sum(_unpacked(stream, body, *buffer) for buffer in batch.structs(2, "<qq"))
    if n_rows < 0 or any(length < 0 for length, _ in nodes):
        raise ValueError("a length is negative")
    return _Batch(n_rows, [length for length, _ in nodes], n_bytes, is_dictionary)


def _unpacked(stream: IO[bytes], body: tuple[int, int], offset: int, length: int) -> int:
    start, n_body = body
    if offset < 0 or length < 0 or offset + length > n_body:
        raise ValueError("a buffer lies outside of its message")
    if length < 8:
        return 0
    stream.seek(start + offset)
    (claimed,) = struct.unpack("<q", stream.read(8))
    if claimed < -1:
        raise ValueError("a buffer claims a negative length")
    return length if claimed == -1 else int(claimed)


def _width(schema: pa.Schema, column: Column, batches: list[_Batch], path: PathLike) -> int:
    """Numbers in each list of a column, from the lengths in the metadata."""
    if column.list_size is not None:
        return column.list_size
    if not column.is_list:
        return 0
    node = sum(_n_nodes(type_) for type_ in schema.types[: column.place])
    n = sum(batch.n_rows for batch in batches)
    n_numbers = sum(batch.node_lengths[node + 1] for batch in batches)
    if n and n_numbers % n:
        raise FileFormatError(
            f"{os.fspath(path)}: column {column.name!r} must hold equally many numbers in every "
            f"row, found {n_numbers} in {n} rows; write lists of one length"
        )
    return n_numbers // n if n else 0


def _n_nodes(type_: pa.DataType) -> int:
    """Arrays that a type is made of, as batches count them."""
    stored = storage_type(type_)
    if pa.types.is_dictionary(stored):
        return 1
    return 1 + sum(_n_nodes(stored.field(i).type) for i in range(stored.num_fields))


def _read_columns(
    stream: IO[bytes], columns: list[Column], shape: tuple[int, ...], path: PathLike
) -> AnyArray:
    options = pa.ipc.IpcReadOptions(
        included_fields=[column.place for column in columns], use_threads=False
    )
    target, done = empty(path, shape, result_dtype(columns)), 0
    with pa.ipc.open_stream(pa.PythonFile(stream, mode="r"), options=options) as reader:
        for batch in reader:
            done = put_rows(target, done, columns, batch, path)
    if done != len(target):
        raise _damaged(path, f"it holds {done} rows of {len(target)}")
    return target


class _Table:
    """A table of the FlatBuffers that Arrow's metadata is written in."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - self._unpack("<i", at)
        self._n_bytes = self._unpack("<H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _unpack(self, layout: str, at: int) -> int:
        if at < 0:  # struct counts these from the end
            raise ValueError("an offset is negative")
        return int(struct.unpack_from(layout, self._data, at)[0])

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._unpack("<H", self._fields + entry) if entry < self._n_bytes else 0
        return self._at + offset if offset else None

    def has(self, field: int) -> bool:
        return self._place(field) is not None

    def number(self, field: int, layout: str) -> int:
        place = self._place(field)
        return 0 if place is None else self._unpack(layout, place)

    def table(self, field: int) -> _Table:
        return _Table(self._data, self._target(field))

    def _target(self, field: int) -> int:
        place = self._place(field)
        if place is None:
            raise ValueError("a field of the metadata is missing")
        return place + self._unpack("<I", place)

    def structs(self, field: int, layout: str) -> list[tuple[int, ...]]:
        if not self.has(field):
            return []
        at = self._target(field)
        count, size = self._unpack("<I", at), struct.calcsize(layout)
        rest = memoryview(self._data)[at + 4 : at + 4 + count * size]
        if len(rest) != count * size:
            raise ValueError("a list is longer than the metadata")
        return list(struct.iter_unpack(layout, rest))
