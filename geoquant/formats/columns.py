"""Columns of Arrow tables as arrays: of numbers, or of lists of equally many numbers."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from geoquant.errors import FileFormatError
from geoquant.formats.stored import AnyArray, PathLike, listed

# What pandas makes of an index.
_INDEX = re.compile(r"__index_level_\d+__")


class Column(NamedTuple):
    """A chosen column: where it is in the schema, and what it holds."""

    name: str
    place: int
    number: np.dtype[Any]
    is_list: bool
    list_size: int | None  # where the type says it


def storage_type(type_: pa.DataType) -> pa.DataType:
    """What is stored of an extension type, which is never deserialised.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from geoquant.formats.columns import storage_type
    >>> storage_type(pa.fixed_shape_tensor(pa.float32(), [2, 3]))
    FixedSizeListType(fixed_size_list<item: float>[6])
    """
    while isinstance(type_, pa.BaseExtensionType):
        type_ = type_.storage_type
    return type_


def chosen_columns(schema: pa.Schema, key: str | None, path: PathLike) -> list[Column]:
    """The columns that a key names, or the ones that can only be meant.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of the file.
    key : str or None
        The name of a column of numbers or of lists of numbers, or of several columns of numbers,
        with commas between.
    path : str or PathLike
        What errors call the file.

    Returns
    -------
    list of Column
        At least one; if it is a column of lists, that one alone.

    Raises
    ------
    FileFormatError
        With the columns there are, if `key` names none of them, or ones of other types.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from geoquant.formats.columns import chosen_columns
    >>> schema = pa.schema({"label": pa.string(), "z": pa.list_(pa.float32(), 8)})
    >>> [column.name for column in chosen_columns(schema, None, "latents.parquet")]
    ['z']
    """
    names = _names(schema, key, path)
    repeated = [name for name in names if schema.names.count(name) > 1 or names.count(name) > 1]
    if repeated:
        raise FileFormatError(f"{os.fspath(path)}: column {repeated[0]!r} is there twice")
    columns = [_column(schema, name, path) for name in names]
    if len(columns) > 1 and any(column.is_list for column in columns):
        raise FileFormatError(
            f"{os.fspath(path)}: several columns must hold a number each, found lists; choose one "
            "column of lists with key="
        )
    return columns


def _names(schema: pa.Schema, key: str | None, path: PathLike) -> list[str]:
    if key is not None:
        names = [key] if key in schema.names else [name.strip() for name in key.split(",")]
        for name in names:
            if name not in schema.names:
                raise _no_choice(schema, f"there is no column {name!r}", path)
        return names
    kinds = {name: _kind(type_) for name, type_ in zip(schema.names, schema.types, strict=True)}
    lists = [name for name, kind in kinds.items() if kind and kind[1]]
    if len(lists) == 1:
        return lists
    plain = [name for name in schema.names if not _INDEX.fullmatch(name)]
    if plain and not lists and all((kind := kinds[name]) and kind[0].kind == "f" for name in plain):
        return plain
    if len(plain) == 1 and kinds[plain[0]]:  # such as codes or labels
        return plain
    raise _no_choice(schema, "which columns are meant is not plain", path)


def _no_choice(schema: pa.Schema, found: str, path: PathLike) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)}: {found}; choose one with key=, or several columns of numbers with "
        f"key=a,b: {listed(schema.names)}"
    )


def _column(schema: pa.Schema, name: str, path: PathLike) -> Column:
    index = schema.names.index(name)
    kind = _kind(schema.types[index])
    if kind is None:
        raise FileFormatError(
            f"{os.fspath(path)}: column {name!r} must hold numbers or lists of numbers, found "
            f"{str(schema.types[index])[:80]}; write it as a list of floats per row"
        )
    return Column(name, index, *kind)


def _kind(type_: pa.DataType) -> tuple[np.dtype[Any], bool, int | None] | None:
    """Kind of number, whether it is in lists, and of what length; None for other types."""
    stored, size = storage_type(type_), None
    is_list = pa.types.is_list(stored) or pa.types.is_large_list(stored)
    if pa.types.is_fixed_size_list(stored):
        is_list, size = True, stored.list_size
    number = stored.value_type if is_list else stored
    if not pa.types.is_integer(number) and not pa.types.is_floating(number):
        return None
    return np.dtype(number.to_pandas_dtype()), is_list, size


def result_dtype(columns: list[Column]) -> np.dtype[Any]:
    """The dtype that holds the numbers of all columns.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.formats.columns import Column, result_dtype
    >>> result_dtype([Column(kind, 0, np.dtype(kind), False, None) for kind in ("f2", "i4")])
    dtype('float64')
    """
    return np.result_type(*(column.number for column in columns))


def result_shape(columns: list[Column], n: int, width: int) -> tuple[int, ...]:
    """The shape of the array that the columns make.

    A column of numbers alone has one axis, as labels and codes do.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.formats.columns import Column, result_shape
    >>> result_shape([Column("z", 0, np.dtype("f4"), True, None)], 5, 3)
    (5, 3)
    """
    if columns[0].is_list:
        return (n, width)
    return (n,) if len(columns) == 1 else (n, len(columns))


def put_rows(
    target: AnyArray,
    start: int,
    columns: list[Column],
    batch: pa.RecordBatch,
    path: PathLike,
) -> int:
    """Write the rows of a batch into an array.

    Parameters
    ----------
    target : ndarray
        Of `result_shape` and `result_dtype`.
    start : int
        The first row to write.
    columns : list of Column
        What to write.
    batch : pyarrow.RecordBatch
        Has these columns, and maybe others.
    path : str or PathLike
        What errors call the file.

    Returns
    -------
    int
        The row after the last one written.

    Raises
    ------
    FileFormatError
        If a number is missing, lists are of other lengths, or there are more rows than expected.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from geoquant.formats.columns import Column, put_rows
    >>> target = np.zeros((2, 2))
    >>> columns = [Column("z", 0, np.dtype("f8"), True, None)]
    >>> batch = pa.record_batch({"z": [[1.0, 2.0]]})
    >>> put_rows(target, 0, columns, batch, "latents.parquet")
    1
    >>> target.tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    for axis, column in enumerate(columns):
        array = batch.column(column.name)
        array.validate(full=True)
        end = start + len(array)
        if end > len(target):
            raise FileFormatError(
                f"{os.fspath(path)}: holds more than the {len(target)} rows it claims; the file "
                "is damaged: copy it again from its source, or write it anew"
            )
        rows = target[start:end] if len(columns) == 1 else target[start:end, axis]
        rows[...] = _numbers(array, column, rows.shape, start, path)
    return end


def _numbers(
    array: pa.Array, column: Column, shape: tuple[int, ...], start: int, path: PathLike
) -> AnyArray:
    while isinstance(array, pa.ExtensionArray):
        array = array.storage
    _refuse_nulls(array, column, start, path)
    if column.is_list:
        _check_lengths(array, shape[1], column, start, path)
        array = array.flatten()
        _refuse_nulls(array, column, start, path)
    numbers: AnyArray = array.to_numpy(zero_copy_only=False)
    return numbers.reshape(shape)


def _refuse_nulls(array: pa.Array, column: Column, start: int, path: PathLike) -> None:
    if array.null_count:
        raise FileFormatError(
            f"{os.fspath(path)}: column {column.name!r} must have no nulls, found "
            f"{array.null_count} in the rows from {start} on; drop or fill those rows"
        )


def _check_lengths(array: pa.Array, width: int, column: Column, start: int, path: PathLike) -> None:
    lengths = np.asarray(array.value_lengths())
    other = np.flatnonzero(lengths != width)
    if other.size:
        raise FileFormatError(
            f"{os.fspath(path)}: column {column.name!r} must hold {width} numbers in every row, "
            f"found {lengths[other[0]]} in row {start + other[0]}; write lists of one length"
        )
