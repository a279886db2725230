"""Parquet, Arrow and Feather files: every way to write them, and what they must not do."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoquant.errors import FileFormatError, ResourceError
from geoquant.latents import latents_shape, read_latents
from tests.formats.damage import outcomes_of_damage, truncations_refused

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
feather = pytest.importorskip("pyarrow.feather")
arrow_ipc = pytest.importorskip("geoquant.formats.arrow_ipc")
columns = pytest.importorskip("geoquant.formats.columns")
parquet = pytest.importorskip("geoquant.formats.parquet")
counts = pytest.importorskip("geoquant.formats.parquet_counts")

if TYPE_CHECKING:
    from pathlib import Path

GRID = np.arange(12, dtype=np.float32).reshape(4, 3)
SUFFIXES = (".parquet", ".pq", ".feather", ".arrow", ".ipc")
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


def write(path: Path, table: Any, **options: Any) -> None:
    """A table in the format of the suffix."""
    if path.suffix in (".parquet", ".pq"):
        pq.write_table(table, path, **options)
    elif path.suffix == ".feather":
        feather.write_feather(table, path, **options)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, **options)


def fixed(array: np.ndarray) -> Any:
    """A column of lists of a fixed length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])


def lists(array: np.ndarray) -> Any:
    """A column of lists of any length."""
    return pa.array(list(array))


def large_lists(array: np.ndarray) -> Any:
    """A column of lists with offsets of 64 bits."""
    return lists(array).cast(pa.large_list(pa.from_numpy_dtype(array.dtype)))


def tensors(array: np.ndarray) -> Any:
    """A column of an extension type."""
    return pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.from_numpy_dtype(array.dtype), [array.shape[1]]), fixed(array)
    )


@pytest.mark.parametrize("column", [fixed, lists, large_lists, tensors])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_columns_of_lists(tmp_path: Path, suffix: str, dtype: str, column: Any) -> None:
    """All kinds of lists of all kinds of numbers are read as written, beside other columns."""
    path = tmp_path / f"a{suffix}"
    array = GRID.astype(dtype)
    nested = [{"a": 1, "b": [1.0]}] * 4
    table = pa.table({"name": ["a", "b", "", "d"], "other": nested, "z": column(array)})
    write(path, table)
    assert latents_shape(path, "z") == array.shape
    np.testing.assert_array_equal(read_latents(path, "z"), array, strict=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_numbers(tmp_path: Path, suffix: str) -> None:
    """Columns that a key names with commas, or all columns if they are floats, are put together."""
    path = tmp_path / f"a{suffix}"
    names = ["x", "y, of two", "z.w"]
    table = {name: GRID[:, i] for i, name in enumerate(names)}
    write(path, pa.table(table | {"__index_level_0__": np.arange(4)}))
    np.testing.assert_array_equal(read_latents(path), GRID, strict=True)
    np.testing.assert_array_equal(read_latents(path, "z.w, x"), GRID[:, [2, 0]], strict=True)
    np.testing.assert_array_equal(read_latents(path, "y, of two"), GRID[:, 1], strict=True)
    assert latents_shape(path, "z.w,x") == (4, 2)
    assert latents_shape(path, "x") == (4,)


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_numbers_of_several_kinds(tmp_path: Path, suffix: str) -> None:
    """Columns of other dtypes become one that holds them all."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"a": GRID[:, 0], "b": np.arange(4, dtype=np.int32)}))
    read = read_latents(path, "a,b")
    assert read.dtype == np.float64
    assert read.tolist() == [[0, 0], [3, 1], [6, 2], [9, 3]]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_only_column_is_meant(tmp_path: Path, suffix: str) -> None:
    """A column of lists is meant if no other is; labels alone are one column with one axis."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"label": ["a"] * 4, "z": fixed(GRID), "score": GRID[:, 0]}))
    assert latents_shape(path) == (4, 3)
    write(path, pa.table({"label": np.arange(4)}))
    assert read_latents(path).tolist() == [0, 1, 2, 3]


CHOICES = {
    "two lists": ({"y": lists(GRID), "z": lists(GRID)}, None, r"with key=a,b: 'y', 'z'"),
    "floats and an integer": ({"x": GRID[:, 0], "n": [1, 2, 3, 4]}, None, "key=a,b: 'x', 'n'"),
    "no columns": ({}, None, "with key=a,b: none"),
    "no such column": ({"x": GRID[:, 0]}, "y", r"no column 'y'; choose .*: 'x'"),
    "one of two is none": ({"x": GRID[:, 0]}, "x,y", "no column 'y'"),
    "one twice": ({"x": GRID[:, 0]}, "x,x", "'x' is there twice"),
    "text": ({"t": ["a"]}, "t", "'t' must hold numbers or lists of numbers, found string"),
    "lists of text": ({"t": [["a"]]}, "t", "found list<.*string>"),
    "lists of lists": ({"t": [[[1.0]]]}, "t", "as a list of floats per row"),
    "truth values": ({"t": [True]}, "t", "found bool"),
    "lists and numbers": ({"z": lists(GRID), "x": GRID[:, 0]}, "z,x", "must hold a number each"),
    "null": ({"x": [1.0, None]}, None, "'x' must have no nulls, found 1 in the rows from 0"),
    "null list": ({"z": [[1.0], None]}, None, "equally many|no nulls, found 1"),
    "null list of fixed length": (
        {"z": pa.array([[1.0], None], pa.list_(pa.float32(), 1))},
        None,
        # Older releases of pyarrow refuse such a file themselves.
        "no nulls, found 1|lists to be of size=1",
    ),
    "null in a list": ({"z": [[1.0, None]]}, None, "no nulls, found 1"),
    "ragged": ({"z": [[1.0], [2.0, 3.0]]}, None, "equally many numbers in every row, found 3 in 2"),
    "ragged on average even": (
        {"z": [[1.0, 2.0], [1.0], [1.0, 2.0, 3.0]]},
        None,
        "2 numbers in every row, found 1 in row 1",
    ),
}


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("case", CHOICES)
def test_columns_that_are_refused(tmp_path: Path, suffix: str, case: str) -> None:
    """The error names the file, what is wrong, and the columns there are."""
    columns, key, message = CHOICES[case]
    path = tmp_path / f"a{suffix}"
    write(path, pa.table(columns))
    with pytest.raises(FileFormatError, match=message) as caught:
        read_latents(path, key)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_two_columns_of_one_name(tmp_path: Path, suffix: str) -> None:
    """They leave open which one is meant."""
    path = tmp_path / f"a{suffix}"
    table = pa.table([GRID[:, 0], GRID[:, 1]], names=["x", "x"])
    if suffix == ".feather":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path)
    for key in (None, "x"):
        with pytest.raises(FileFormatError, match="'x' is there twice"):
            read_latents(path, key)


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_tables_without_rows(tmp_path: Path, suffix: str) -> None:
    """They have a shape, of no rows."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"z": fixed(GRID), "l": lists(GRID)}).slice(0, 0))
    assert latents_shape(path, "z") == read_latents(path, "z").shape == (0, 3)
    assert latents_shape(path, "l") == read_latents(path, "l").shape == (0, 0)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_ways_to_write_parquet(tmp_path: Path, compression: str, version: str) -> None:
    """Pages, groups, dictionaries and codecs of all kinds are read."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 50, size=(2000, 5)).astype(np.float32)
    array[1000:] += rng.normal(size=(1000, 5)).astype(np.float32)
    table = pa.table({"s": [{"a": 1, "b": "x"}] * 2000, "z": lists(array), "x": array[:, 0]})
    for number, groups in enumerate((700, 10_000)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(
            table,
            path,
            compression=compression,
            data_page_version=version,
            use_dictionary=bool(number),
            write_page_checksum=bool(number),
            data_page_size=1024,
            row_group_size=groups,
        )
        np.testing.assert_array_equal(read_latents(path, "z"), array, strict=True)
        np.testing.assert_array_equal(read_latents(path, "x"), array[:, 0], strict=True)


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_ways_to_write_arrow(tmp_path: Path, compression: str) -> None:
    """Several batches, compressed or not, with a dictionary beside."""
    array = np.random.default_rng(0).normal(size=(2000, 5)).astype(np.float32)
    names = pa.array(["a", "b"] * 1000).dictionary_encode()
    table = pa.table({"name": names, "z": lists(array), "f": fixed(array)})
    path = tmp_path / "a.feather"
    feather.write_feather(table, path, compression=compression, chunksize=700)
    np.testing.assert_array_equal(read_latents(path, "z"), array, strict=True)
    np.testing.assert_array_equal(read_latents(path, "f"), array, strict=True)


def test_parquet_is_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows fit in a batch, all are read."""
    monkeypatch.setattr(parquet, "_BATCH_BYTES", 24)
    pq.write_table(pa.table({"z": lists(GRID)}), tmp_path / "a.parquet")
    np.testing.assert_array_equal(read_latents(tmp_path / "a.parquet"), GRID)


@given(
    array=hnp.arrays(
        st.sampled_from(DTYPES),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
    ),
    is_list=st.booleans(),
    suffix=st.sampled_from(SUFFIXES),
)
def test_any_array(tmp_path: Path, array: np.ndarray, is_list: bool, suffix: str) -> None:
    """What is written is what is read, to the bit."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"z": lists(array) if is_list else fixed(array)}))
    read = read_latents(path, "z")
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert latents_shape(path) == array.shape
    np.testing.assert_array_equal(read, array)


def test_shape_is_known_without_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are damaged do not matter for it."""
    for suffix in (".parquet", ".feather"):
        path = tmp_path / f"a{suffix}"
        write(path, pa.table({"z": lists(GRID)}), compression=None)
        monkeypatch.setattr(columns, "put_rows", None)
        monkeypatch.setattr(parquet, "_read_columns", None)
        monkeypatch.setattr(arrow_ipc, "_read_columns", None)
        assert latents_shape(path) == (4, 3)


# --------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("column", ["z", "f", "x"])
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_random_damage(tmp_path: Path, suffix: str, column: str) -> None:
    """No damage ends the process or is an error of another family."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"z": lists(GRID), "f": fixed(GRID), "x": GRID[:, 0], "t": ["a"] * 4}))
    assert outcomes_of_damage(path, column, 250) == {"read", "refused"}


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str) -> None:
    """No file that was cut short is read."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"z": fixed(GRID)}))
    assert truncations_refused(path, None, 3)


def test_footer_that_would_end_the_process(tmp_path: Path) -> None:
    """A group of rows without its columns is refused before the library, which aborts, sees it."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"z": lists(GRID)}), path)
    content = path.read_bytes()
    at = content.rindex(b"\x19\x1c\x19\x1c")  # groups of rows, of one; its columns, one
    path.write_bytes(content[:at] + b"\x19\x1c\x19\x0c" + content[at + 4 :])
    with pytest.raises(FileFormatError, match=r"damaged or no Parquet file"):
        latents_shape(path)


PARQUET_FOOTERS = {
    "short": (b"PAR1", "too short"),
    "no magic": (b"PAR1" + bytes(20), r"ends with b'\\x00"),
    "long footer": (b"PAR1" + bytes(12) + struct.pack("<I", 1 << 31) + b"PAR1", "claims a footer"),
    "nothing": (b"PAR1" + bytes(4) + b"\0" + struct.pack("<I", 1) + b"PAR1", "lacks a list"),
    "map": (b"PAR1" + bytes(4) + b"\x1b" + struct.pack("<I", 1) + b"PAR1", "unknown kind 11"),
    "long number": (
        b"PAR1" + b"\x15" + b"\xff" * 20 + struct.pack("<I", 21) + b"PAR1",
        "too many digits",
    ),
    "deep": (
        b"PAR1" + b"\x1c" * 40 + struct.pack("<I", 40) + b"PAR1",
        "nested too deep",
    ),
    "long list": (
        b"PAR1" + bytes(4) + b"\x19\xf5\x80\x80\x80\x80\x01" + struct.pack("<I", 7) + b"PAR1",
        "list is longer",
    ),
    "encrypted": (b"PARE" + bytes(8) + struct.pack("<I", 1) + b"PARE", "ends with b'PARE'"),
}


@pytest.mark.parametrize("case", PARQUET_FOOTERS)
def test_parquet_footers_that_are_refused(tmp_path: Path, case: str) -> None:
    """Before the library sees them."""
    content, message = PARQUET_FOOTERS[case]
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_latents(path)


def varint(number: int) -> bytes:
    """A number as Parquet's footer has it."""
    number *= 2
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def footer_of(**change: Any) -> dict[int, Any]:
    """A parsed footer of two rows of a column, with something else in it."""
    metadata = {5: 2, 7: 10, 9: 4} | change.pop("metadata", {})
    group = {1: [{3: metadata} | change.pop("chunk", {})], 3: 2} | change.pop("group", {})
    return {2: [{}, {}], 3: 2, 4: [group]} | change.pop("footer", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata": {5: -1}}, "count is missing or negative"),
        ({"metadata": {5: True}}, "count is missing or negative"),
        ({"metadata": {7: 97}}, "lies outside of the file"),
        ({"metadata": {9: 1 << 62}}, "lies outside of the file"),
        ({"metadata": {11: -5}}, "lies outside of the file"),
        ({"chunk": {3: None}}, "in another file, or encrypted"),
        ({"chunk": {1: "other.parquet"}}, "in another file, or encrypted"),
        ({"group": {1: []}}, "not the 1 columns of the schema"),
        ({"group": {1: [3]}}, "in another file"),
        ({"group": {3: 1}}, "are not all of its rows"),
        ({"footer": {4: [3]}}, "count is missing"),
        ({"footer": {4: 3}}, "lacks a list"),
    ],
)
def test_claims_of_a_footer(change: dict[str, Any], message: str) -> None:
    """Are held against each other and the size of the file before the library sees them."""
    assert counts._row_groups(footer_of(), 100) == [(2, [(2, 4, 14)])]
    assert counts._row_groups(footer_of(metadata={11: 2}), 100) == [(2, [(2, 2, 12)])]
    with pytest.raises(ValueError, match=message):
        counts._row_groups(footer_of(**change), 100)


def page(kind: int, n_values: int, n_bytes: int) -> bytes:
    """The header of a page, 0 for data, 2 for a dictionary, and its bytes."""
    field = {0: b"\x2c", 2: b"\x4c"}[kind]
    sizes = b"\x15" + varint(kind) + b"\x15" + varint(n_bytes) + b"\x15" + varint(n_bytes)
    return sizes + field + b"\x15" + varint(n_values) + b"\0\0" + bytes(n_bytes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (page(2, 3, 4) + page(0, 2, 8), "a dictionary is longer than its column"),
        (page(0, 2, 8)[:-1], "a page is longer than its column"),
        (page(0, 2, 8) + b"\x15", "index out of range"),
    ],
)
def test_claims_of_pages(content: bytes, message: str) -> None:
    """Are held against the column."""
    sound = page(2, 2, 4) + page(0, 1, 8) + page(0, 1, 0)
    assert counts._n_values(io.BytesIO(sound), counts.Chunk(2, 0, len(sound))) == 2
    with pytest.raises((ValueError, IndexError), match=message):
        counts._n_values(io.BytesIO(content), counts.Chunk(2, 0, len(content)))


@pytest.mark.parametrize(("n", "message"), [(3, "more than the 3 rows"), (5, "holds 4 rows of 5")])
def test_arrow_batches_that_change_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, message: str
) -> None:
    """Other rows than the shape was taken from are refused."""
    claims = arrow_ipc._claims
    monkeypatch.setattr(arrow_ipc, "_claims", lambda *given: claims(*given)._replace(n_rows=n))
    write(tmp_path / "a.arrow", pa.table({"x": GRID[:, 0]}))
    with pytest.raises(FileFormatError, match=message):
        read_latents(tmp_path / "a.arrow")


def test_parquet_of_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library does not give is no number."""
    pq.write_table(pa.table({"z": lists(GRID)}), tmp_path / "a.parquet")
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: iter(()))
    with pytest.raises(FileFormatError, match="claims 4 rows and holds 0"):
        read_latents(tmp_path / "a.parquet")


def test_arrow_dictionary_without_its_table() -> None:
    """A field of the metadata that must be there and is not is a ValueError."""
    empty = arrow_ipc._Table.root(struct.pack("<IHHi", 8, 4, 4, 4))
    assert not empty.has(0)
    assert empty.structs(1, "<qq") == []
    with pytest.raises(ValueError, match="a field of the metadata is missing"):
        empty.table(2)


def rewritten(path: Path, old: bytes, new: bytes) -> None:
    """A file with some bytes in place of others that are there once."""
    content = path.read_bytes()
    assert content.count(old) == 1, content.count(old)
    path.write_bytes(content.replace(old, new))


def claim_rows(path: Path, n: int, claimed: int) -> None:
    """A Parquet file whose footer claims another number of rows in all places."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    body, footer = content[: -8 - length], content[-8 - length : -8]
    assert footer.count(b"\x16" + varint(n)) >= 1
    footer = footer.replace(b"\x16" + varint(n), b"\x16" + varint(claimed))
    path.write_bytes(body + footer + struct.pack("<I", len(footer)) + b"PAR1")


def test_a_terabyte_of_rows_that_a_small_file_claims(tmp_path: Path) -> None:
    """Is refused before memory is asked for, in both places that the rows are counted."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(4567.0) % 3}), path, write_statistics=False)
    claim_rows(path, 4567, 1 << 40)
    assert latents_shape(path) == (1 << 40,)
    with pytest.raises(ResourceError, match=r"8,796.* of memory.*read a part of .*a\.parquet"):
        read_latents(path)


def test_rows_that_pages_do_not_hold(tmp_path: Path) -> None:
    """A footer that claims more rows than there are is refused by the counts of the pages."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": np.arange(4567.0) % 3}), path, write_statistics=False)
    claim_rows(path, 4567, 5000)
    with pytest.raises(FileFormatError, match="pages hold 4567 values where 5000 are claimed"):
        read_latents(path)


def test_bomb_of_one_row(tmp_path: Path) -> None:
    """A page that claims billions of values, in a list that the footer says is short."""
    path = tmp_path / "a.parquet"
    values = pa.array([[1.0] * 5000])
    pq.write_table(pa.table({"z": values}), path, write_statistics=False)
    claim_rows(path, 5000, 5)
    with pytest.raises(FileFormatError, match=r"5000 values where 5 are|longer than its"):
        read_latents(path)


def test_arrow_batch_that_claims_a_terabyte(tmp_path: Path) -> None:
    """The rows in the metadata of a batch are held against memory before it is read."""
    path = tmp_path / "a.arrow"
    write(path, pa.table({"x": np.arange(4567.0)}))
    content = path.read_bytes()
    assert content.count(struct.pack("<q", 4567)) == 2
    path.write_bytes(content.replace(struct.pack("<q", 4567), struct.pack("<q", 1 << 40)))
    with pytest.raises(ResourceError, match=r"a\.arrow"):
        read_latents(path)
    path.write_bytes(content.replace(struct.pack("<q", 4567), struct.pack("<q", 5000)))
    with pytest.raises(FileFormatError, match="not a readable Arrow file"):
        read_latents(path)
    path.write_bytes(content.replace(struct.pack("<q", 4567), struct.pack("<q", -1)))
    with pytest.raises(FileFormatError, match="a length is negative"):
        latents_shape(path)


@pytest.mark.parametrize("claimed", [1 << 45, -2])
def test_arrow_buffer_that_claims_a_terabyte(tmp_path: Path, claimed: int) -> None:
    """So is what a compressed buffer says it unpacks to."""
    path = tmp_path / "a.feather"
    feather.write_feather(pa.table({"x": np.zeros(4567)}), path, compression="zstd")
    rewritten(path, struct.pack("<q", 4567 * 8), struct.pack("<q", claimed))
    error, message = (ResourceError, "35,184") if claimed > 0 else (FileFormatError, "negative")
    with pytest.raises(error, match=message):
        read_latents(path)


ARROW_FILES = {
    "empty": (b"", "ends before its end mark"),
    "feather of version 1": (b"FEA1" + bytes(8), "Feather file of version 1.*write_feather"),
    "no mark": (b"12345678", "does not begin with its mark"),
    "long metadata": (b"\xff" * 4 + struct.pack("<I", 1 << 30), "claims metadata of 1073741824"),
    "no message": (b"\xff" * 4 + struct.pack("<I", 8) + b"\xff" * 8, "not a readable Arrow file"),
    "an empty stream": (b"\xff" * 4 + bytes(4), "not a readable Arrow file"),
    "negative offset": (
        b"\xff" * 4 + struct.pack("<IIi", 8, 4, 100),
        "not a readable Arrow file: an offset is negative",
    ),
}


@pytest.mark.parametrize("suffix", [".feather", ".arrow"])
def test_arrow_files_that_go_on(tmp_path: Path, suffix: str) -> None:
    """Bytes behind a file are refused."""
    path = tmp_path / f"a{suffix}"
    write(path, pa.table({"z": fixed(GRID)}))
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(FileFormatError, match="goes on after its end mark"):
        latents_shape(path)


@pytest.mark.parametrize("case", ARROW_FILES)
def test_arrow_files_that_are_refused(tmp_path: Path, case: str) -> None:
    """Before the library sees them."""
    content, message = ARROW_FILES[case]
    path = tmp_path / "a.arrow"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        read_latents(path)


def test_arrow_message_longer_than_its_file(tmp_path: Path) -> None:
    """A body that the file does not hold is refused."""
    path = tmp_path / "a.arrow"
    write(path, pa.table({"x": np.arange(4567.0)}))
    content, length = path.read_bytes(), struct.pack("<q", 4567 * 8)
    assert content.count(length) == 2  # of the only buffer, and of the body
    path.write_bytes(content.replace(length, struct.pack("<q", 1 << 50)))
    with pytest.raises(FileFormatError, match="bytes of numbers in a file of"):
        read_latents(path)


PICKLED = """
import sys
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.feather as feather
code = b"cos\\nsystem\\n(S'touch %s'\\ntR." % sys.argv[2].encode()
hidden = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": code}
field = pa.field("z", pa.list_(pa.float32(), 2), metadata=hidden)
table = pa.table([pa.array([[1.0, 2.0]], field.type)], schema=pa.schema([field]))
pq.write_table(table, sys.argv[1] + ".parquet")
feather.write_feather(table, sys.argv[1] + ".feather")
"""


def test_extension_types_are_not_unpickled(tmp_path: Path) -> None:
    """A type that is kept as a pickle, as Arrow once did, is read as what it stores."""
    command = [sys.executable, "-c", PICKLED, str(tmp_path / "a"), str(tmp_path / "evil")]
    subprocess.run(command, check=True)
    for suffix in (".parquet", ".feather"):
        assert read_latents(tmp_path / f"a{suffix}").tolist() == [[1.0, 2.0]]
    assert not (tmp_path / "evil").exists()


def test_parquet_of_pandas(tmp_path: Path) -> None:
    """A data frame with an index of its own gives its columns, not the index."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(GRID, columns=list("abc"), index=[7, 8, 9, 11])
    frame.to_parquet(tmp_path / "a.parquet")
    np.testing.assert_array_equal(read_latents(tmp_path / "a.parquet"), GRID)
    assert "__index_level_0__" in json.dumps(pq.read_schema(tmp_path / "a.parquet").names)
