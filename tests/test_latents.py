"""Reading latents and checking them."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoquant import latents as module
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.files import write_npy
from geoquant.formats import npy, npz
from geoquant.latents import (
    check_latents,
    check_sample_weight,
    latents_shape,
    read_latents,
)
from geoquant.tensor_files import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

GRID = np.arange(12, dtype=np.float32).reshape(4, 3)
FLOAT32 = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0]),
)


class TensorLike:
    """Something that NumPy can view as an array, as CPU tensors are."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return GRID.astype(dtype or np.float32)


class DeviceTensor:
    """Something that refuses to become an array, as tensors on a device do."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        raise TypeError("can't convert device type tensor to numpy")


# ----------------------------------------------------------------------------- check_latents


@pytest.mark.parametrize(
    "given_latents",
    [
        GRID.astype(np.float16),
        GRID.astype(np.float64),
        GRID.astype(np.int8),
        GRID.astype(np.uint64),
        GRID.astype(">f4"),
        GRID.astype(">i2"),
        np.asfortranarray(GRID),
        GRID[::-1, ::-1].copy()[::-1, ::-1],
        np.repeat(GRID, 2, axis=1)[:, ::2],
        np.ma.array(GRID),
        GRID.tolist(),
        TensorLike(),
        pd.DataFrame(GRID),
    ],
)
def test_any_layout_and_number_type(given_latents: Any) -> None:
    """Whatever holds the same numbers gives the same array."""
    checked = check_latents(given_latents)
    np.testing.assert_array_equal(checked, GRID, strict=True)
    assert checked.flags.c_contiguous
    assert checked.dtype.isnative


def test_broadcast_view() -> None:
    """A view that repeats one row by a stride of zero becomes real rows."""
    checked = check_latents(np.broadcast_to(GRID[1], (5, 3)))
    np.testing.assert_array_equal(checked, np.tile(GRID[1], (5, 1)))
    assert checked.strides == (12, 4)


def test_unaligned_view() -> None:
    """Numbers at odd addresses, as in a packed record, are moved to even ones."""
    packed = np.zeros(4 * 3 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(4, 3)
    packed[:] = GRID
    checked = check_latents(packed)
    assert checked.flags.aligned
    np.testing.assert_array_equal(checked, GRID)


def test_no_copy_where_none_is_needed() -> None:
    """float32 in C order is used as it is, read-only or not, and not written to."""
    fixed = GRID.copy()
    fixed.flags.writeable = False
    assert np.shares_memory(check_latents(fixed), fixed)
    assert np.shares_memory(check_latents(GRID), GRID)


def test_small_numbers_and_signs_are_kept() -> None:
    """Denormal numbers and the sign of zero pass unchanged."""
    tiny = np.array([[1e-45, -0.0, 1e18]], np.float32)
    assert check_latents(tiny).tobytes() == tiny.tobytes()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(5), r"found \(5,\); use latents.reshape\(-1, 1\)"),
        (np.array(1.0), r"found \(\); use latents.reshape"),
        (np.zeros((2, 3, 4, 4)), r"\(2, 3, 4, 4\); use latents.reshape\(len.*its own row$"),
        (np.zeros((0, 3)), r"found \(0, 3\); give at least one"),
        (np.zeros((3, 0)), r"found \(3, 0\); give at least one"),
        ([], r"found \(0,\)"),
        (np.zeros((2, 2), bool), "dtype bool; convert"),
        (np.zeros((2, 2), complex), "dtype complex128"),
        (np.zeros((2, 2), object), "dtype object"),
        ([["a", "b"]], "dtype <U1"),
        ([[10**30, 1]], "dtype object"),
        (None, "dtype object"),
        (np.zeros((2, 2), "M8[s]"), r"dtype datetime64\[s\]"),
        (np.zeros(2, [("x", "f4")]), "dtype .*x"),
        ([[1.0, 2.0], [3.0]], "rows of equal length"),
        (np.ma.masked_greater(GRID, 9.5), "no masked entries, found 2"),
        (scipy.sparse.csr_array(GRID), r"sparse csr_array; convert it with latents.toarray"),
        (scipy.sparse.coo_matrix(GRID), "sparse coo_matrix"),
        (DeviceTensor(), "tensor.detach"),
    ],
)
def test_what_is_refused(bad: Any, message: str) -> None:
    """The error says what was found and how to get what is needed."""
    with pytest.raises(InputError, match=message):
        check_latents(bad)


@pytest.mark.parametrize("bad", [GRID > 0, GRID[0], np.ma.masked_less(GRID, 5), [[1], [1, 2]]])
def test_the_argument_is_called_what_the_caller_calls_it(bad: Any) -> None:
    """Whatever is wrong with it."""
    with pytest.raises(InputError, match=r"^anchors must .*"):
        check_latents(bad, name="anchors")


def test_signalling_nan_is_not_finite() -> None:
    """A NaN that the processor complains about is refused as every other."""
    bad = np.array([[0x7FF0000000000001]], np.uint64).view(np.float64)
    with pytest.raises(InputError, match="must be finite"):
        check_latents(bad)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_rows_are_counted_and_named(kind: Any, value: float) -> None:
    """The error has the number of rows that are not finite and the first few of them."""
    bad = np.zeros((20_000, 2), kind)
    bad[[3, 9000, 9001, 15000, 15001, 19999], 1] = value
    with pytest.raises(InputError, match=r"6 of 20000 rows \(the first: 3, 9000, 9001, 15000, 15"):
        check_latents(bad)
    with pytest.raises(InputError, match=r"mine must be .* 1 of 20 rows \(row 3\).*mine\[np\."):
        check_latents(bad[:20], name="mine")


def test_the_first_row_counts_too() -> None:
    """Rows are counted from the first to the last of each block."""
    bad = np.zeros((8193, 1))
    bad[[0, 8191, 8192]] = np.nan
    with pytest.raises(InputError, match=r"3 of 8193 rows \(the first: 0, 8191, 8192\)"):
        check_latents(bad)


def test_numbers_at_the_limit_are_not_counted() -> None:
    """Only what is beyond it is."""
    bad = np.array([[1e18], [2e18], [-1e18]])
    with pytest.raises(InputError, match=r"1 of 3 rows \(row 1\)"):
        check_latents(bad)


@pytest.mark.parametrize("value", [1.1e18, -1e30, 1e300, -1e300])
def test_too_large_to_square(value: float) -> None:
    """Numbers whose squared distances leave float32 are refused, and float64 beyond it."""
    bad = np.zeros((4, 2))
    bad[2, 0] = value
    with pytest.raises(InputError, match=r"1e\+18 in magnitude.*1 of 4 rows \(row 2\).*rescale"):
        check_latents(bad)


@pytest.mark.parametrize("dim", [1, 40, 50, 5000])
def test_largest_latents_have_finite_distances(dim: int) -> None:
    """At the bound that the check allows, no squared distance overflows float32."""
    bound = np.float32(module._largest_magnitude(dim) * (1 - 1e-6))
    extreme = check_latents(np.stack([np.full(dim, bound), np.full(dim, -bound)]))
    difference = extreme[0] - extreme[1]
    assert np.isfinite(np.cumsum(difference * difference, dtype=np.float32)[-1])
    with pytest.raises(InputError, match="rescale"):
        check_latents(extreme * np.float32(1.01))


# ----------------------------------------------------------------------- check_sample_weight


@pytest.mark.parametrize("weight", [[1, 0, 2], np.array([1, 0, 2], ">i8"), np.float32([1, 0, 2])])
def test_weights_become_float64(weight: Any) -> None:
    """Any real numbers do, and none means ones."""
    np.testing.assert_array_equal(check_sample_weight(weight, 3), [1.0, 0.0, 2.0], strict=True)
    np.testing.assert_array_equal(check_sample_weight(None, 2), np.ones(2), strict=True)


def test_weights_of_any_size_and_layout() -> None:
    """Their sum may be tiny; strided and unaligned ones become ordinary arrays."""
    tiny = np.array([1e-300, 0.0])
    assert check_sample_weight(tiny, 2) is tiny
    strided = check_sample_weight(np.arange(6.0)[::2], 3)
    assert (strided.tolist(), strided.strides) == ([0.0, 2.0, 4.0], (8,))
    packed = np.zeros(17, np.uint8)[1:].view(np.float64)
    packed[:] = 0.25
    assert check_sample_weight(packed, 2).flags.aligned


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], r"shape \(3,\), found \(2,\)"),
        ([[1.0], [2.0], [3.0]], r"found \(3, 1\)"),
        (1.0, r"found \(\)"),
        ([1.0, -1.0, -2.0], r"found -1.0 and 1 more such weights \(the first: 1, 2\)"),
        ([1.0, np.nan, 0.0], "found nan"),
        ([np.inf, 0.0, 0.0], "found inf and 0 more such weights"),
        ([0.0, 0.0, 0.0], "all zero"),
        ([1e308, 1e308, 1e308], "sum, found inf"),
        (["a", "b", "c"], "real numbers"),
        ([1j, 1, 1], "real numbers"),
        (scipy.sparse.csr_array(GRID), "sample_weight must be a dense array"),
    ],
)
def test_weights_that_are_refused(weight: Any, message: str) -> None:
    """Weights that are no weights are named."""
    with pytest.raises(InputError, match=message):
        check_sample_weight(weight, 3)


# --------------------------------------------------------------------------------------- npy


def npy_bytes(header: str | bytes, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    raw = header.encode("latin1") if isinstance(header, str) else header
    return b"\x93NUMPY" + version + struct.pack("<H", len(raw)) + raw + data


@pytest.mark.parametrize(
    "array",
    [
        GRID,
        np.asfortranarray(GRID),
        GRID.astype(">f8"),
        GRID.astype(np.float16),
        GRID.astype(np.int64),
        np.zeros((0, 3), np.float32),
        np.array(3.0),
        np.arange(5),
        np.array([7], np.int8),
    ],
)
def test_npy_round_trip(tmp_path: Path, array: np.ndarray[Any, Any]) -> None:
    """What NumPy saves is read back, in the same layout."""
    np.save(tmp_path / "a.npy", array)
    read = read_latents(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.flags.f_contiguous == array.flags.f_contiguous


def test_npy_is_mapped_read_only(tmp_path: Path) -> None:
    """An .npy file is not read into memory, and cannot be changed through the array."""
    write_npy(tmp_path / "a.npy", GRID)
    read = read_latents(tmp_path / "a.npy")
    assert isinstance(read, np.memmap)
    assert not read.flags.writeable
    assert np.shares_memory(check_latents(read), read)


@pytest.mark.parametrize("array", [GRID, np.asfortranarray(GRID), GRID[:0], GRID.astype(">f8")])
def test_npy_is_read_where_it_is_not_to_be_mapped(
    tmp_path: Path, array: np.ndarray[Any, Any]
) -> None:
    """The same array in memory of its own."""
    np.save(tmp_path / "a.npy", array)
    read = read_latents(tmp_path / "a.npy", mapped=False)
    assert not isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.flags.f_contiguous == array.flags.f_contiguous
    os.truncate(tmp_path / "a.npy", 0)
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(("size", "message"), [(150, "cut short"), (900, "holds more")])
def test_npy_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, message: str
) -> None:
    """A file cut short or written on after its header was checked is a FileFormatError."""
    path, read_header = tmp_path / "a.npy", npy.read_npy_header
    np.save(path, GRID)

    def read_and_change(*arguments: Any) -> Any:
        header = read_header(*arguments)
        os.truncate(path, size)
        return header

    # Less than a header is in the buffer, so that the rest is asked for afterwards.
    monkeypatch.setattr(npy, "read_npy_header", read_and_change)
    monkeypatch.setattr(npy, "open_regular", lambda p: open(p, "rb", buffering=0))  # noqa: SIM115
    with pytest.raises(FileFormatError, match=message):
        read_latents(path, mapped=False)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_npy_versions(tmp_path: Path, version: tuple[int, int]) -> None:
    """Both versions of the format that plain arrays are written in are read."""
    with (tmp_path / "a.npy").open("wb") as stream:
        np.lib.format.write_array(stream, GRID, version=version, allow_pickle=False)
    np.testing.assert_array_equal(read_latents(tmp_path / "a.npy"), GRID)


@pytest.mark.parametrize(
    "header",
    [
        '{"shape":(1,2),"descr":"<f4","fortran_order":False}',
        "{'fortran_order': False, 'descr': '<f4', 'shape': (1, 2, ), }\n",
    ],
)
def test_npy_of_other_writers(tmp_path: Path, header: str) -> None:
    """Other orders of the keys, quotes and spaces are read as well."""
    (tmp_path / "a.npy").write_bytes(npy_bytes(header, struct.pack("<2f", 1, 2)))
    np.testing.assert_array_equal(read_latents(tmp_path / "a.npy"), [[1, 2]])


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with b''"),
        (b"\x80\x04K\x01.", "is no .npy file"),
        (npy_bytes(HEADER, b"8 bytes!")[:7], "version"),
        (npy_bytes(HEADER, b"8 bytes!", b"\3\0"), "version 3.0"),
        (npy_bytes(HEADER, b"8 bytes!", b"\2\0"), "header of"),
        (npy_bytes(HEADER, b"7 bytes"), "found 7; the file is cut short"),
        (npy_bytes(HEADER, b"8 bytes!+"), "needs 8 bytes after the header, found 9"),
        (npy_bytes(HEADER.replace("(1, 2)", "(99999999999, 2)")), "cut short"),
        (npy_bytes(HEADER.replace("(1, 2)", f"({1 << 62}, 2)")), "None bytes"),
        (npy_bytes(HEADER.replace("(1, 2)", f"({'9' * 5000},)")), "plain array"),
        (npy_bytes(HEADER.replace("(1, 2)", "(-1, 2)")), "plain array"),
        (npy_bytes(HEADER.replace("(1, 2)", "'<f4'")), "plain array"),
        (npy_bytes(HEADER.replace("<f4", "|O"), b"8 bytes!"), "pickled"),
        (npy_bytes(HEADER.replace("'<f4'", "[('a', '<f4')]"), b"8 bytes!"), "structured"),
        (npy_bytes(HEADER.replace("<f4", "|S0")), "plain array"),
        (npy_bytes(HEADER.replace("<f4", "<f3"), b"8 bytes!"), "plain array"),
        (npy_bytes(HEADER.replace("False", "(1,)"), b"8 bytes!"), "plain array"),
        (npy_bytes(HEADER.replace("}", ", 'shape': (1, 2)}"), b"8 bytes!"), "plain array"),
        (npy_bytes(HEADER.replace("'descr': '<f4'", "'shape': (1, 2)"), b"8"), "plain array"),
        (npy_bytes(HEADER.replace("}", ""), b"8 bytes!"), "plain array"),
        (npy_bytes("(" * 9000), "plain array"),
        (npy_bytes(HEADER + " " * 10_000, b"8 bytes!"), "header of"),
        (npy_bytes(b"\xff" * 50), "plain array"),
    ],
)
def test_npy_that_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Every irregular file is a FileFormatError that names it."""
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_latents(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("found", ["<f4x", "<f3", "<f4' "])
def test_npy_header_that_is_refused_is_shown(tmp_path: Path, found: str) -> None:
    """Its first 80 characters, which hold the kind of the numbers, and the cure."""
    path = tmp_path / "bad.npy"
    header = HEADER.replace("<f4", found) + " " * 80
    path.write_bytes(npy_bytes(header, b"8 bytes!"))
    with pytest.raises(FileFormatError) as caught:
        read_latents(path)
    assert str(caught.value) == (
        f"{path}: is not the .npy file of a plain array of numbers, found the header "
        f"{header[:80]!r}; structured arrays and pickled Python objects are not read: save with "
        "numpy.save(path, latents.astype(numpy.float32))"
    )


def test_npy_of_objects_is_refused(tmp_path: Path) -> None:
    """A file that only pickle could read is refused by its header."""
    np.save(tmp_path / "a.npy", np.array([{}, 1]))
    with pytest.raises(FileFormatError, match="pickled Python objects are not read"):
        read_latents(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str) -> None:
    """No file that was cut short is read."""
    path = tmp_path / f"a{suffix}"
    save(path, {"a": GRID})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(FileFormatError):
            read_latents(path)


def save(path: Path, arrays: dict[str, Any]) -> None:
    if path.suffix == ".npy":
        np.save(path, arrays["a"])
    elif path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        write_safetensors(path, arrays, {})


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_random_damage_is_a_format_error(tmp_path: Path, suffix: str) -> None:
    """Whatever is changed in a file, reading succeeds or is a FileFormatError."""
    random = np.random.default_rng(0)
    path = tmp_path / f"a{suffix}"
    save(path, {"a": GRID})
    content = path.read_bytes()
    outcomes = set()
    for _ in range(1500):
        damaged = bytearray(content)
        for place in random.integers(len(content), size=random.integers(1, 4)):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read_latents(path, key="a" if suffix != ".npy" and random.random() < 0.5 else None)
            outcomes.add("read")
        except FileFormatError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_the_shape_is_known_from_the_header(tmp_path: Path, suffix: str) -> None:
    """It is that of the array that is read, and what cannot be read has none."""
    path = tmp_path / f"a{suffix}"
    save(path, {"a": GRID})
    key = None if suffix == ".npy" else "a"
    assert latents_shape(path, key) == read_latents(path, key).shape == GRID.shape
    for content in (path.read_bytes()[:-1], b""):
        path.write_bytes(content)
        with pytest.raises(FileFormatError):
            latents_shape(path, key)


def test_the_shape_of_an_archive_is_known_without_unpacking(tmp_path: Path) -> None:
    """The numbers after the header of an .npz member are not looked at."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros((500, 40), np.float32))
    content = bytearray(path.read_bytes())
    content[40_000] ^= 1  # within the numbers, so that the checksum no longer holds
    path.write_bytes(content)
    assert latents_shape(path) == (500, 40)
    with pytest.raises(FileFormatError):
        read_latents(path)


def test_a_tensor_is_known_without_reading_the_others(tmp_path: Path) -> None:
    """Neither its shape nor its values depend on what else is in the file."""
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.ones((2, 3), np.float32), "b": np.ones((5, 1), bool)}, {})
    path.write_bytes(path.read_bytes()[:-1] + b"\2")  # no truth value
    assert latents_shape(path, "b") == (5, 1)
    assert read_latents(path, "a").tolist() == [[1.0] * 3] * 2
    with pytest.raises(FileFormatError, match="truth value"):
        read_latents(path, "b")


def test_the_shape_of_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    """The error is that of reading, with the name of the member."""
    archive(tmp_path / "a.npz", {"a.npy": b"no numbers"})
    with pytest.raises(FileFormatError, match=r"a\.npz\['a'\]: is no \.npy file"):
        latents_shape(tmp_path / "a.npz")
    write_npy(tmp_path / "a.npy", GRID)
    with pytest.raises(FileFormatError, match="found key='a'; leave key out"):
        latents_shape(tmp_path / "a.npy", "a")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_the_shape_is_that_of_the_array_named(tmp_path: Path, suffix: str) -> None:
    """Of several arrays the key chooses, and without one there is no choice."""
    path = tmp_path / f"a{suffix}"
    save(path, {"a": GRID, "b": GRID[:1]})
    assert latents_shape(path, "b") == GRID[:1].shape
    for key in (None, "c"):
        with pytest.raises(FileFormatError, match="choose one with key="):
            latents_shape(path, key)


# ------------------------------------------------------------------- several arrays in a file


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_key_chooses_an_array(tmp_path: Path, suffix: str) -> None:
    """One array needs no key, several do, and the error lists them."""
    path = tmp_path / f"a{suffix}"
    save(path, {"a": GRID})
    np.testing.assert_array_equal(read_latents(path), GRID)
    save(path, {"a": GRID, "b": np.asfortranarray(2 * GRID)})
    np.testing.assert_array_equal(read_latents(path, "b"), 2 * GRID)
    with pytest.raises(FileFormatError, match=r"not exactly one array.*key=: 'a', 'b'"):
        read_latents(path)
    with pytest.raises(FileFormatError, match="no array 'c'; choose one with key=: 'a', 'b'"):
        read_latents(path, "c")


def test_npy_takes_no_key(tmp_path: Path) -> None:
    """A key for a file without names is a mistake."""
    write_npy(tmp_path / "a.npy", GRID)
    with pytest.raises(FileFormatError, match="leave key out"):
        read_latents(tmp_path / "a.npy", "a")


@pytest.mark.parametrize(
    ("count", "end"), [(0, "key=: none"), (20, "'019'"), (21, "'019', ..."), (30, "'019', ...")]
)
def test_long_lists_of_keys_are_cut(tmp_path: Path, count: int, end: str) -> None:
    """An error does not list a thousand names, and says where it left some out."""
    path = tmp_path / "a.safetensors"
    save(path, {f"{i:03d}": GRID for i in range(count)})
    with pytest.raises(FileFormatError) as caught:
        read_latents(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: there is not exactly one array; choose one with key=: ")
    assert message.endswith(end)


def test_longest_npy_header(tmp_path: Path) -> None:
    """NumPy's own limit may be reached."""
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(HEADER.ljust(10_000), struct.pack("<2f", 1, 2)))
    assert read_latents(path).tolist() == [[1.0, 2.0]]
    path.write_bytes(npy_bytes(HEADER.ljust(10_001), struct.pack("<2f", 1, 2)))
    with pytest.raises(FileFormatError, match="a header of 10001 bytes"):
        read_latents(path)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compress", [True, False])
def test_npz_layouts(tmp_path: Path, order: Any, compress: bool) -> None:
    """Stored and deflated members, of both orders and larger than a block, are read exactly."""
    array = np.random.default_rng(0).standard_normal((1000, 200)).copy(order)
    (np.savez_compressed if compress else np.savez)(tmp_path / "a.npz", x=array)
    read = read_latents(tmp_path / "a.npz")
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.flags.f_contiguous == array.flags.f_contiguous


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy_of(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_npz_bomb_is_refused(tmp_path: Path) -> None:
    """A member that unpacks to far more than its size is refused before it is unpacked."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros((1 << 20, 8), np.float32))
    assert path.stat().st_size < 1 << 16
    with pytest.raises(FileFormatError, match="like a bomb"):
        read_latents(path)


def test_npz_of_harmless_size_may_compress_well(tmp_path: Path) -> None:
    """Small arrays of zeros are no bomb."""
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((1 << 18, 8), np.float32))
    assert not read_latents(tmp_path / "a.npz").any()


def test_npz_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member beyond the limit is refused, whatever its ratio."""
    np.savez(tmp_path / "a.npz", a=GRID)
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(FileFormatError, match="the limit is 100; unpack it yourself"):
        read_latents(tmp_path / "a.npz")
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", len(npy_of(GRID)))
    np.testing.assert_array_equal(read_latents(tmp_path / "a.npz"), GRID)


def test_npz_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the harmless size a member may unpack to so many times its size, and no more."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros((100, 10)))
    with zipfile.ZipFile(path) as archive:
        (member,) = archive.infolist()
    ratio = -(-member.file_size // member.compress_size)
    for harmless, most, is_read in (
        (member.file_size, 1, True),
        (member.file_size - 1, 1, False),
        (0, ratio, True),
        (0, ratio - 1, False),
    ):
        monkeypatch.setattr(npz, "_HARMLESS_BYTES", harmless)
        monkeypatch.setattr(npz, "_MAX_RATIO", most)
        if is_read:
            assert read_latents(path).shape == (100, 10)
        else:
            with pytest.raises(FileFormatError, match="like a bomb"):
                read_latents(path)


def test_npz_member_longer_than_its_file(tmp_path: Path) -> None:
    """A member that claims to be packed into more bytes than there are is refused."""
    path = tmp_path / "a.npz"
    archive(path, {"a.npy": npy_of(GRID)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 20, 1 << 30)
    path.write_bytes(content)
    claim = f"claims {1 << 30} bytes of a file of {len(content)}"
    with pytest.raises(FileFormatError, match=claim):
        read_latents(path)


def test_npz_members_that_are_refused(tmp_path: Path) -> None:
    """Members of other kinds, methods or sizes are refused by name."""
    path = tmp_path / "a.npz"
    archive(path, {"a.txt": b"hello"})
    with pytest.raises(FileFormatError, match=r"'a.txt' is not an .npy file"):
        read_latents(path)
    archive(path, {"a.npy": npy_of(GRID)}, zipfile.ZIP_LZMA)
    with pytest.raises(FileFormatError, match="method 14"):
        read_latents(path)
    archive(path, {"a.npy": npy_of(GRID) + b"!"})
    with pytest.raises(FileFormatError, match=r"\['a'\].*found 49"):
        read_latents(path)
    archive(path, {"a.npy": b"", "b.npy": npy_of(np.array([{}]))})
    with pytest.raises(FileFormatError, match=r"is no .npy file"):
        read_latents(path, "a")
    with pytest.raises(FileFormatError, match="pickled"):
        read_latents(path, "b")


def test_npz_with_repeated_names(tmp_path: Path) -> None:
    """Two members of one name are refused, for they leave open which one is meant."""
    path = tmp_path / "a.npz"
    archive(path, {"a.npy": npy_of(GRID), "b.npy": npy_of(GRID)})
    path.write_bytes(path.read_bytes().replace(b"b.npy", b"a.npy"))
    with pytest.raises(FileFormatError, match="repeated"):
        read_latents(path, "a")


def test_npz_that_says_it_is_encrypted(tmp_path: Path) -> None:
    """An encrypted member is refused, not asked a password for."""
    path = tmp_path / "a.npz"
    archive(path, {"a.npy": npy_of(GRID)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"'a\.npy' is encrypted; unpack it"):
        read_latents(path)


@pytest.mark.parametrize(("before", "after"), [(b"#!/bin/sh\n", b""), (b"", b"junk")])
def test_npz_is_the_whole_file(tmp_path: Path, before: bytes, after: bytes) -> None:
    """An archive with other bytes around it is refused, though zip programs would open it."""
    path = tmp_path / "a.npz"
    np.savez(path, a=GRID)
    path.write_bytes(before + path.read_bytes() + after)
    assert zipfile.is_zipfile(path)
    with pytest.raises(FileFormatError, match="nothing else"):
        read_latents(path)


def test_npz_that_promises_a_comment(tmp_path: Path) -> None:
    """An archive that says that five more bytes follow was cut short."""
    path = tmp_path / "a.npz"
    np.savez(path, a=GRID)
    path.write_bytes(path.read_bytes()[:-2] + b"\5\0")
    assert zipfile.is_zipfile(path)
    with pytest.raises(FileFormatError, match="nothing else"):
        read_latents(path)


@pytest.mark.parametrize("compress", [True, False])
def test_npz_flipped_data_is_noticed(tmp_path: Path, compress: bool) -> None:
    """The checksum of a member is verified."""
    path = tmp_path / "a.npz"
    (np.savez_compressed if compress else np.savez)(path, a=GRID)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") - 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"not a readable .npz archive"):
        read_latents(path)


def test_npz_of_very_many_members(tmp_path: Path) -> None:
    """An archive whose list of members alone is long is refused before the list is read."""
    path = tmp_path / "a.npz"
    archive(path, {f"{i:0300}.npy": b"" for i in range(3500)}, zipfile.ZIP_STORED)
    with pytest.raises(FileFormatError, match=r"list of arrays takes .* the limit is 1048576"):
        read_latents(path, "1")


def test_npz_of_very_many_members_in_64_bits(tmp_path: Path) -> None:
    """The sizes that count where an archive has more than 65 535 members are looked at too."""
    path = tmp_path / "a.npz"
    archive(path, {"a.npy": npy_of(GRID)})
    content = path.read_bytes()
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 10**6, 10**6, 10**8, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(content) - 22, 1)
    path.write_bytes(content[:-22] + record + locator + content[-22:])
    with pytest.raises(FileFormatError, match="list of arrays takes 100000000 bytes"):
        read_latents(path, "a")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_npz_member_that_ends_early(tmp_path: Path, method: int) -> None:
    """One that unpacks to fewer bytes than it claims, with a checksum of those, is refused."""
    path = tmp_path / "a.npz"
    whole = npy_of(GRID)
    archive(path, {"a.npy": whole[:-4]}, method)
    content = bytearray(path.read_bytes())
    for start, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = content.index(start) + place
        assert struct.unpack_from("<I", content, at) == (len(whole) - 4,)
        struct.pack_into("<I", content, at, len(whole))
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.npz\['a'\]: is cut short"):
        read_latents(path)


def test_npz_member_that_unpacks_to_more_is_read_to_its_size(tmp_path: Path) -> None:
    """What follows is never unpacked, so it cannot take memory."""
    path = tmp_path / "a.npz"
    whole = npy_of(GRID)
    archive(path, {"a.npy": whole + bytes(1 << 20)})
    content = bytearray(path.read_bytes())
    for start, place in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        at = content.index(start) + place
        struct.pack_into("<I", content, at, zlib.crc32(whole))
        struct.pack_into("<I", content, at + 8, len(whole))
    path.write_bytes(content)
    np.testing.assert_array_equal(read_latents(path), GRID)


def test_npz_that_does_not_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound archive too large for memory is a ResourceError with the bytes it needs."""

    def empty(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    np.savez(tmp_path / "a.npz", a=GRID)
    size = len(npy_of(GRID))
    with monkeypatch.context() as patch:
        patch.setattr(npy.np, "empty", empty)
        with pytest.raises(ResourceError, match=rf"\['a'\]: there is no memory for {size} bytes"):
            read_latents(tmp_path / "a.npz")


def test_npz_writes_nothing(tmp_path: Path) -> None:
    """Members with paths for names are never extracted."""
    folder = tmp_path / "in"
    folder.mkdir()
    archive(folder / "a.npz", {"../evil.npy": npy_of(GRID)})
    np.testing.assert_array_equal(read_latents(folder / "a.npz"), GRID)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]
    assert [entry.name for entry in folder.iterdir()] == ["a.npz"]


def test_safetensors_of_bfloat16(tmp_path: Path) -> None:
    """A number type that NumPy lacks is named with the cure."""
    header = b'{"a":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(FileFormatError, match=r"BF16.*convert it, for instance to F32"):
        read_latents(path)


def test_safetensors_of_a_large_model(tmp_path: Path) -> None:
    """Headers longer than a codebook's are read."""
    path = tmp_path / "a.safetensors"
    text = "x" * (1 << 20)
    header = f'{{"__metadata__":{{"k":"{text}"}},"a":{{"dtype":"F32","shape":[1,1],'
    raw = (header + '"data_offsets":[0,4]}}').encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + struct.pack("<f", 3))
    assert read_latents(path).tolist() == [[3.0]]
    assert latents_shape(path) == (1, 1)


# ------------------------------------------------------------------------------- other files


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.csv", r"suffix '.csv'; save them with numpy.save"),
        ("a", "suffix ''"),
        ("a.ckpt", r"can run code.*numpy.save\(path, tensor"),
        ("a.PKL", "can run code"),
        *((f"a{suffix}", "can run code") for suffix in (".pickle", ".joblib", ".bin")),
    ],
)
def test_other_suffixes(tmp_path: Path, name: str, message: str) -> None:
    """Files of other kinds are refused with what is supported and how to get there."""
    (tmp_path / name).write_bytes(b"1,2\n")
    with pytest.raises(FileFormatError, match=message) as caught:
        read_latents(tmp_path / name)
    assert ".npy, .npz, .safetensors, .parquet, " in str(caught.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
def test_missing_files_and_folders(tmp_path: Path, suffix: str) -> None:
    """A path without a file, or with a folder, is a FileFormatError."""
    path = tmp_path / f"a{suffix}"
    with pytest.raises(FileFormatError, match="no such file"):
        read_latents(path)
    path.mkdir()
    with pytest.raises(FileFormatError, match="not a regular file"):
        read_latents(str(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe without a writer does not make the reader wait."""
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(FileFormatError, match="not a regular file"):
        read_latents(tmp_path / "a.npy")


def test_conversion_without_memory_is_no_matter_of_the_argument() -> None:
    """An object that finds no memory to become an array is not called wrong."""

    class Large:
        def __array__(self, *arguments: Any, **options: Any) -> None:
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        check_latents(Large())
