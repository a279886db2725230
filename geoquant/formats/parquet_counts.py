"""What a Parquet file claims to hold, in its footer and in its page headers.

A page of a hundred bytes may claim billions of equal values, all of them in one row; only the
sums of what pages claim say how much memory the Parquet library is going to ask for. And that
library ends the process where a footer lists fewer columns than it should.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from geoquant.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from geoquant.formats.stored import PathLike

_MAGIC = b"PAR1"
_MAX_FOOTER = 256 << 20
_MAX_HEADER = 64 << 10  # statistics of the shortest and longest text included
_DICTIONARY_PAGE = 2
_DATA_HEADERS, _DICTIONARY_HEADER = (5, 8), 7
_MAX_DEPTH = 16


class Chunk(NamedTuple):
    """The part of a column in a row group: its values, and where its pages are."""

    n_values: int
    start: int
    end: int


class RowGroup(NamedTuple):
    """Rows that are stored together, column by column."""

    n_rows: int
    chunks: list[Chunk]


def row_groups(stream: IO[bytes], path: PathLike) -> list[RowGroup]:
    """Read the footer of a Parquet file.

    Parameters
    ----------
    stream : binary file
        The Parquet file.
    path : str or PathLike
        What errors call it.

    Returns
    -------
    list of RowGroup
        As many chunks in each as the schema has columns, all of them within the file.

    Raises
    ------
    FileFormatError
        If there is no footer, or it does not agree with itself or with the size of the file.

    Examples
    --------
    >>> import io
    >>> import pyarrow as pa
    >>> import pyarrow.parquet as pq
    >>> from geoquant.formats.parquet_counts import row_groups
    >>> stream = io.BytesIO()
    >>> pq.write_table(pa.table({"x": [1.0, 2.0]}), stream)
    >>> row_groups(stream, "latents.parquet")[0].n_rows
    2
    """
    try:
        return _row_groups(*_footer(stream))
    except (IndexError, ValueError) as error:
        raise _damaged(path, f"{error}") from error


def _footer(stream: IO[bytes]) -> tuple[dict[int, Any], int]:
    """Fields of the footer, and where it begins."""
    size = stream.seek(0, os.SEEK_END)
    if size < 12:
        raise ValueError("it is too short")
    stream.seek(size - 8)
    tail = stream.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC:
        raise ValueError(f"it ends with {tail[4:]!r}, not {_MAGIC!r}")
    if length > min(_MAX_FOOTER, size - 12):
        raise ValueError(f"it claims a footer of {length} bytes in a file of {size}")
    stream.seek(size - 8 - length)
    return _Compact(stream.read(length)).parsed()[0], size - 8 - length


def _row_groups(footer: dict[int, Any], size: int) -> list[RowGroup]:
    elements = _list(footer, 2)
    n_columns = sum(1 for one in elements[1:] if isinstance(one, dict) and not one.get(5))
    groups = [
        RowGroup(_count(group, 3), [_chunk(one, size) for one in _list(group, 1)])
        for group in _list(footer, 4)
    ]
    if any(len(group.chunks) != n_columns for group in groups):
        raise ValueError(f"a group of rows has not the {n_columns} columns of the schema")
    if sum(group.n_rows for group in groups) != _count(footer, 3):
        raise ValueError("the groups of rows are not all of its rows")
    return groups


def _chunk(fields: Any, size: int) -> Chunk:
    metadata = fields.get(3) if isinstance(fields, dict) else None
    if metadata is None or 1 in fields:
        raise ValueError("a column is kept in another file, or encrypted")
    start = _count(metadata, 9)
    # Some writers put 0 where there is no dictionary.
    start = min(start, metadata.get(11) or start)
    end = start + _count(metadata, 7)
    if not 0 <= start <= end <= size:
        raise ValueError("a column lies outside of the file")
    return Chunk(_count(metadata, 5), start, end)


def check_pages(
    stream: IO[bytes], groups: Iterable[RowGroup], columns: Sequence[int], path: PathLike
) -> None:
    """Refuse columns whose pages claim other numbers of values than the footer does.

    Parameters
    ----------
    stream : binary file
        The Parquet file.
    groups : iterable of RowGroup
        Of `row_groups`.
    columns : sequence of int
        Places of the columns that are going to be read.
    path : str or PathLike
        What errors call the file.

    Raises
    ------
    FileFormatError
        If the counts disagree, or pages do not fill the bytes they should.

    Examples
    --------
    >>> import io
    >>> import pyarrow as pa
    >>> import pyarrow.parquet as pq
    >>> from geoquant.formats.parquet_counts import check_pages, row_groups
    >>> stream = io.BytesIO()
    >>> pq.write_table(pa.table({"x": [1.0, 2.0]}), stream)
    >>> check_pages(stream, row_groups(stream, "latents.parquet"), [0], "latents.parquet")
    """
    for group in groups:
        for column in columns if group.n_rows else ():
            chunk = group.chunks[column]
            try:
                n_values = _n_values(stream, chunk)
            except (IndexError, ValueError) as error:
                raise _damaged(path, f"{error}") from error
            if n_values != chunk.n_values:
                raise _damaged(
                    path, f"pages hold {n_values} values where {chunk.n_values} are claimed"
                )


def _damaged(path: PathLike, found: str) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)}: {found}; the file is damaged or no Parquet file: copy it again from "
        "its source, or write it anew with pyarrow.parquet.write_table"
    )


def _n_values(stream: IO[bytes], chunk: Chunk) -> int:
    """Sum of the values that the data pages of a column chunk claim."""
    at, total = chunk.start, 0
    while at < chunk.end:
        stream.seek(at)
        fields, n_header = _Compact(stream.read(min(_MAX_HEADER, chunk.end - at))).parsed()
        if fields.get(1) == _DICTIONARY_PAGE:
            if _count(fields.get(_DICTIONARY_HEADER), 1) > chunk.n_values:
                raise ValueError("a dictionary is longer than its column")
        else:
            total += sum(_count(fields[i], 1) for i in _DATA_HEADERS if i in fields)
        at += n_header + _count(fields, 3)
    if at > chunk.end:
        raise ValueError("a page is longer than its column")
    return total


def _list(fields: Any, field: int) -> list[Any]:
    found = fields.get(field) if isinstance(fields, dict) else None
    if not isinstance(found, list):
        raise ValueError("the footer lacks a list")
    return found


def _count(fields: Any, field: int) -> int:
    number = fields.get(field) if isinstance(fields, dict) else None
    if type(number) is not int or number < 0:
        raise ValueError("a count is missing or negative")
    return number


class _Compact:
    """A structure in the compact protocol of Thrift, which Parquet describes itself in."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def parsed(self) -> tuple[dict[int, Any], int]:
        """Fields by number, and the bytes that they took."""
        return self._structure(0), self._at

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise ValueError("a number has too many digits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _structure(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_DEPTH:
            raise ValueError("a structure is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):  # the kind is the value
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 7:
            self._at += 8
        elif kind == 8:
            length = self._varint()  # which moves on by itself
            self._at += length
        elif kind in (9, 10):
            return self._list(depth + 1)
        elif kind == 12:
            return self._structure(depth + 1)
        else:  # Parquet has no maps
            raise ValueError(f"a value is of the unknown kind {kind}")
        return None

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        length = head >> 4 if head >> 4 < 15 else self._varint()
        if length > len(self._data) - self._at:  # each takes a byte at least
            raise ValueError("a list is longer than what holds it")
        if head & 0x0F in (1, 2):
            self._at += length
            return []
        return [self._value(head & 0x0F, depth) for _ in range(length)]
