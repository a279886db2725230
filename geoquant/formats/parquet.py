"""Parquet files: ``.parquet``, ``.pq``."""

from __future__ import annotations

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

            def read() -> AnyArray:
                require_room(path, shape, result_dtype(columns), besides=2 * _BATCH_BYTES)
                check_pages(stream, groups, [_leaf(schema, column) for column in columns], path)
                return _read_columns(file, columns, shape, path)

            yield Stored(shape, result_dtype(columns), read)


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


def _read_columns(
    file: pq.ParquetFile, columns: list[Column], shape: tuple[int, ...], path: PathLike
) -> AnyArray:
    target, done = empty(path, shape, result_dtype(columns)), 0
    row_bytes = max(1, target.nbytes // max(1, len(target)))
    batches = file.iter_batches(
        batch_size=max(1, min(_MOST_BATCH_ROWS, _BATCH_BYTES // row_bytes)),
        columns=[column.name for column in columns],
        use_threads=False,
    )
    for batch in batches:
        done = put_rows(target, done, columns, batch, path)
    if done != len(target):
        raise FileFormatError(
            f"{os.fspath(path)}: claims {len(target)} rows and holds {done}; the file is damaged: "
            f"copy it again from its source, or {_CURE}"
        )
    return target
