"""Parquet files: ``.parquet``, ``.pq``."""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from geoquant.errors import FileFormatError
from geoquant.files import open_regular
from geoquant.formats.columns import (
    Column,
    chosen_columns,
    put_rows,
    result_dtype,
    result_shape,
    storage_type,
)
from geoquant.formats.parquet_counts import RowGroup, check_pages, row_groups
from geoquant.formats.stored import AnyArray, PathLike, Stored, empty, errors_named, require_room

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH_BYTES = 32 << 20
_MOST_BATCH_ROWS = 65_536
_CURE = "write it anew with pyarrow.parquet.write_table"


@contextmanager
def open_parquet(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open columns of a Parquet file.

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
    >>> import pyarrow.parquet
    >>> from geoquant.formats.parquet import open_parquet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.parquet")
    ...     pa.parquet.write_table(pa.table({"x": [1.0, 2.0], "y": [3.0, 4.0]}), path)
    ...     with open_parquet(path) as stored:
    ...         stored.read().tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    with open_regular(path) as stream, errors_named(path, "Parquet file", _CURE):
        groups = row_groups(stream, path)
        source = pa.PythonFile(stream, mode="r")
        with pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            columns = chosen_columns(schema, key, path)
            width = _width(schema, columns[0], groups, path) if columns[0].is_list else 0
            shape = result_shape(columns, sum(group.n_rows for group in groups), width)

            leaves = [_leaf(schema, column) for column in columns]

            def read_rows(start: int, stop: int) -> AnyArray:
                wanted = (stop - start, *shape[1:])
                require_room(path, wanted, result_dtype(columns), besides=2 * _BATCH_BYTES)
                numbers, before = _groups_of_rows(groups, start, stop)
                check_pages(stream, [groups[i] for i in numbers], leaves, path)
                return _read_columns(file, columns, wanted, path, numbers, start - before)

            yield Stored(
                shape,
                result_dtype(columns),
                lambda: read_rows(0, shape[0]),
                read_rows,
                max(1, groups[0].n_rows) if groups else 1,
            )


def _leaf(schema: pa.Schema, column: Column) -> int:
    """Place of the column's numbers among all that the file stores."""
    return sum(_n_leaves(type_) for type_ in schema.types[: column.place])


def _n_leaves(type_: pa.DataType) -> int:
    stored = storage_type(type_)
    n_fields = 0 if pa.types.is_dictionary(stored) else stored.num_fields
    return sum(_n_leaves(stored.field(i).type) for i in range(n_fields)) or 1


def _width(schema: pa.Schema, column: Column, groups: list[RowGroup], path: PathLike) -> int:
    """Numbers in each list, from the counts in the footer."""
    leaf, n = _leaf(schema, column), sum(group.n_rows for group in groups)
    n_numbers = sum(group.chunks[leaf].n_values for group in groups)
    width = n_numbers // n if n else column.list_size or 0
    if n and (n_numbers % n or column.list_size not in (None, width)):
        raise FileFormatError(
            f"{os.fspath(path)}: column {column.name!r} must hold equally many numbers in every "
            f"row, found {n_numbers} in {n} rows; write lists of one length"
        )
    return width


def _groups_of_rows(groups: list[RowGroup], start: int, stop: int) -> tuple[list[int], int]:
    """Which groups hold a range of rows, and the number of the first row of the first of them."""
    ends = list(itertools.accumulate(group.n_rows for group in groups))
    numbers = [i for i, end in enumerate(ends) if end > start and end - groups[i].n_rows < stop]
    return numbers, ends[numbers[0]] - groups[numbers[0]].n_rows if numbers else 0


def _read_columns(
    file: pq.ParquetFile,
    columns: list[Column],
    shape: tuple[int, ...],
    path: PathLike,
    groups: list[int],
    n_left_out: int,
) -> AnyArray:
    """As many rows of some groups as the shape says, after those that are left out."""
    target, done, at = empty(path, shape, result_dtype(columns)), 0, 0
    last = n_left_out + len(target)
    is_cut = last < sum(file.metadata.row_group(i).num_rows for i in groups)
    row_bytes = max(1, target.nbytes // max(1, len(target)))
    batches = file.iter_batches(
        batch_size=max(1, min(_MOST_BATCH_ROWS, _BATCH_BYTES // row_bytes)),
        row_groups=groups,
        columns=[column.name for column in columns],
        use_threads=False,
    )
    for batch in batches:
        begin, end = max(at, n_left_out), at + batch.num_rows
        if is_cut:  # otherwise rows that are too many are an error
            end = min(end, last)
        if begin < end:
            wanted = batch.slice(begin - at, end - begin)
            done = put_rows(target, done, columns, wanted, path)
        at += batch.num_rows
    if done != len(target):
        raise FileFormatError(
            f"{os.fspath(path)}: claims {len(target)} rows and holds {done}; the file is damaged: "
            f"copy it again from its source, or {_CURE}"
        )
    return target
