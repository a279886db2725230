"""Zarr stores of versions 2 and 3, as zarr writes them, and forged ones."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant.errors import FileFormatError, ResourceError
from geoquant.latents import latents_shape, read_latents
from tests.formats.damage import outcomes_of_damage, truncations_refused

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")
codecs = pytest.importorskip("zarr.codecs")
zarr_codecs = pytest.importorskip("geoquant.formats.zarr_codecs")
zarr_store = pytest.importorskip("geoquant.formats.zarr_store")

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

GRID = (np.random.default_rng(0).normal(size=(23, 5)) * 10).astype(np.float32)
PACKED_2 = {
    "plain": None,
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "zstd": numcodecs.Zstd(),
    "lz4": numcodecs.LZ4(),
    "blosc": numcodecs.Blosc("lz4"),
    "blosc of zstd": numcodecs.Blosc("zstd", shuffle=2),
}
PACKED_3: dict[str, Any] = {
    "plain": None,
    "gzip": codecs.GzipCodec(),
    "zstd": codecs.ZstdCodec(checksum=True),
    "blosc": codecs.BloscCodec(),
    "checksum": [codecs.GzipCodec(), codecs.Crc32cCodec()],
    "packed twice": [codecs.GzipCodec(), codecs.ZstdCodec()],
}


@pytest.mark.parametrize("packed", PACKED_2)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f8", ">i2", "u1"])
def test_version_2(tmp_path: Path, dtype: str, order: str, packed: str) -> None:
    """Numbers, orders and codecs of all kinds are read as they are."""
    path, array = tmp_path / "a.zarr", np.abs(GRID).astype(dtype)
    compressor = PACKED_2[packed]
    zarr.create_array(
        path, data=array, chunks=(7, 2), zarr_format=2, compressors=compressor, order=order
    )
    assert latents_shape(path) == array.shape
    np.testing.assert_array_equal(read_latents(path), array)
    assert read_latents(path).dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("packed", PACKED_3)
@pytest.mark.parametrize("shards", [None, (8, 4)])
@pytest.mark.parametrize("turned", [False, True])
def test_version_3(tmp_path: Path, turned: bool, shards: Any, packed: str) -> None:
    """So are shards, turned axes and checksums."""
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array(
        "train/z",
        data=GRID,
        chunks=(4, 2),
        shards=shards,
        compressors=PACKED_3[packed],
        filters=[codecs.TransposeCodec(order=(1, 0))] if turned else None,
    )
    for key in (None, "train/z", "/train/z/"):
        np.testing.assert_array_equal(read_latents(path, key), GRID, strict=True)
    np.testing.assert_array_equal(read_latents(f"{path}::/train/z"), GRID)
    assert latents_shape(path) == GRID.shape


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint64"])
@pytest.mark.parametrize("endian", ["little", "big"])
def test_byte_orders_of_version_3(tmp_path: Path, endian: Any, dtype: str) -> None:
    """Both are read, of every kind of number."""
    array = np.abs(GRID).astype(dtype)
    one_byte = array.itemsize == 1
    serializer = codecs.BytesCodec(endian=None if one_byte else endian)
    zarr.create_array(tmp_path / "a.zarr", data=array, chunks=(5, 5), serializer=serializer)
    np.testing.assert_array_equal(read_latents(tmp_path / "a.zarr"), array, strict=True)


@given(
    shape=st.lists(st.integers(0, 7), max_size=3),
    chunk=st.integers(1, 5),
    version=st.sampled_from([2, 3]),
    n_written=st.integers(0, 7),
)
def test_any_shape(
    tmp_path: Path, shape: list[int], chunk: int, version: Any, n_written: int
) -> None:
    """Any number of axes; chunks that are not there hold the fill value."""
    path = tmp_path / "a.zarr"
    shutil.rmtree(path, ignore_errors=True)
    made = zarr.create_array(
        path,
        shape=shape,
        chunks=tuple(chunk for _ in shape),
        dtype="f4",
        zarr_format=version,
        fill_value=np.nan,
    )
    if shape and 0 not in shape:
        rows = min(n_written, shape[0])
        made[:rows] = np.arange(rows * np.prod(shape[1:]), dtype="f4").reshape(rows, *shape[1:])
    read = read_latents(path)
    assert latents_shape(path) == read.shape == tuple(shape)
    np.testing.assert_array_equal(read, made[...])


@pytest.mark.parametrize("index_at", ["start", "end"])
def test_shards_that_hold_a_part(tmp_path: Path, index_at: Any) -> None:
    """Chunks that a shard does not hold have the fill value, wherever its index is."""
    made = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(8, 3),
        dtype="f4",
        fill_value=-1.0,
        chunks=(8, 3),
        compressors=None,
        serializer=codecs.ShardingCodec(chunk_shape=(2, 3), index_location=index_at),
    )
    made[2:4] = 7
    np.testing.assert_array_equal(read_latents(tmp_path / "a.zarr"), made[:])


def test_keys(tmp_path: Path) -> None:
    """Errors list the arrays of the store, of both versions, and lead nowhere else."""
    path = tmp_path / "b.zarr"
    group = zarr.open_group(path, mode="w")
    for name in ("c/z", "train/z"):
        group.create_array(name, data=GRID, chunks=(4, 2))
    both = "choose one with key=: 'c/z', 'train/z'$"
    for key in (None, "train", "z", "../b.zarr/c/z", "c//z", "./c/z", "c\\z", "a\0b", "c/z/c"):
        with pytest.raises(FileFormatError, match=both):
            read_latents(path, key)
    old = zarr.open_group(tmp_path / "old.zarr", mode="w", zarr_format=2)
    old.create_array("a/b", data=GRID, chunks=(4, 2))
    np.testing.assert_array_equal(read_latents(tmp_path / "old.zarr"), GRID)


def test_folder_of_another_name(tmp_path: Path) -> None:
    """A folder that holds the metadata of a store is one."""
    for version in (2, 3):
        zarr.create_array(tmp_path / f"v{version}", data=GRID, chunks=(4, 2), zarr_format=version)
        np.testing.assert_array_equal(read_latents(tmp_path / f"v{version}"), GRID)


def zipped(path: Path) -> Path:
    """A store of one array in a zip file."""
    with zarr.storage.ZipStore(path, mode="w") as store:
        zarr.create_array(store, name="train/z", data=GRID, chunks=(7, 5))
    return path


def test_zip_files(tmp_path: Path) -> None:
    """A store in a zip file is read as one in a folder, packed or not."""
    path = zipped(tmp_path / "a.zarr.zip")
    np.testing.assert_array_equal(read_latents(path), GRID, strict=True)
    np.testing.assert_array_equal(read_latents(f"{path}::/train/z"), GRID)
    with pytest.raises(FileFormatError, match=r"no array 'z'; .*'train/z'"):
        latents_shape(path, "z")
    for method, name in ((zipfile.ZIP_DEFLATED, "b"), (zipfile.ZIP_LZMA, "c")):
        with (
            zipfile.ZipFile(path) as old,
            zipfile.ZipFile(tmp_path / f"{name}.zarr.zip", "w", method) as new,
        ):
            for member in old.namelist():
                new.writestr(member, old.read(member))
    np.testing.assert_array_equal(read_latents(tmp_path / "b.zarr.zip"), GRID)
    with pytest.raises(FileFormatError, match="packed by method 14 of zip"):
        read_latents(tmp_path / "c.zarr.zip")


def test_damaged_zip_files(tmp_path: Path) -> None:
    """Damage of any kind is read or refused."""
    path = zipped(tmp_path / "a.zarr.zip")
    assert outcomes_of_damage(path, "train/z", 250) == {"read", "refused"}
    assert truncations_refused(path, None, 11)


# --------------------------------------------------------------------------------- forged stores

METADATA_2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [2, 2],
    "chunks": [2, 2],
    "dtype": "<f4",
    "compressor": None,
    "fill_value": 0,
    "filters": None,
    "order": "C",
}
METADATA_3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [2, 2],
    "data_type": "float32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2]}},
    "chunk_key_encoding": {"name": "default"},
    "fill_value": 0.0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
}
BYTES = METADATA_3["codecs"][0]
SQUARE = np.float32([[1, 2], [3, 4]])


def forge(folder: Path, change: dict[str, Any], content: bytes = SQUARE.tobytes()) -> Path:
    """A store of version 2, or of version 3 where what is changed is of it, with one chunk."""
    path = folder / "a.zarr"
    is_old = change.keys() <= METADATA_2.keys() and change.get("zarr_format", 2) == 2
    metadata = {**(METADATA_2 if is_old else METADATA_3), **change}
    chunk = path / "0.0" if is_old else path / "c" / "0" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(content)
    gone = [key for key, value in metadata.items() if value == "gone"]
    text = json.dumps({key: value for key, value in metadata.items() if key not in gone})
    (path / (".zarray" if is_old else "zarr.json")).write_text(text)
    return path


def sharded(**change: Any) -> dict[str, Any]:
    configuration = {
        "chunk_shape": [1, 2],
        "codecs": [BYTES],
        "index_codecs": [BYTES],
        "index_location": "end",
    } | change
    return {"codecs": [{"name": "sharding_indexed", "configuration": configuration}]}


METADATA = {
    "pickle": ({"filters": [{"id": "pickle"}]}, "filters, which could run code, are not undone"),
    "objects": ({"dtype": "|O"}, r"dtype '\|O' is not one of numbers"),
    "structured": ({"dtype": [["x", "<f4"]]}, "is not one of numbers"),
    "codec that is pickle": ({"compressor": {"id": "pickle"}}, "codec 'pickle' is not undone"),
    "codec without a name": ({"compressor": {}}, "'id' is missing"),
    "no chunks": ({"chunks": "gone"}, "'chunks' is missing"),
    "chunks of nothing": ({"chunks": [0, 2]}, r"'\[0, 2\]' is no shape"),
    "negative shape": ({"shape": [-1, 2]}, "is no shape"),
    "shape of truth": ({"shape": [True, 2]}, "is no shape"),
    "shape of 33 axes": ({"shape": [1] * 33, "chunks": [1] * 33}, "is no shape"),
    "shape of text": ({"shape": "22"}, "is no shape"),
    "other axes": ({"chunks": [2]}, r"shape \(2, 2\) is cut into chunks of \(2,\)"),
    "order": ({"order": "A"}, "neither C nor F"),
    "fill value of text": ({"fill_value": "x"}, "'x' is no number"),
    "fill value of truth": ({"fill_value": True}, "is no number"),
    "fill value too large": ({"dtype": "|u1", "fill_value": 300}, "no readable Zarr array"),
    "version 1": ({"zarr_format": 1}, "format version 1 is not known"),
    "text": ({"data_type": "string"}, "'string' is not one of numbers"),
    "grid": ({"chunk_grid": {"name": "rectangular"}}, "only regular grids"),
    "transformers": ({"storage_transformers": [{"name": "x"}], "node_type": "array"}, "only reg"),
    "names": ({"chunk_key_encoding": {"name": "hash"}}, "names of chunks like 'hash'"),
    "separator": (
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/../"}}},
        "separator '/../'",
    ),
    "no codecs": ({"codecs": []}, "codec 'nothing' is not undone"),
    "unknown codec": ({"codecs": [BYTES, {"name": "numcodecs.pickle"}]}, "'numcodecs.pickle'"),
    "unknown first codec": ({"codecs": [{"name": "vlen-utf8"}]}, "codec 'vlen-utf8'"),
    "codecs that are none": ({"codecs": [3]}, "no readable Zarr array"),
    "byte order": (
        {"codecs": [{"name": "bytes", "configuration": {"endian": "middle"}}]},
        "neither little nor big",
    ),
    "axes": (
        {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0]}}, BYTES]},
        "order .* of axes is none of 2",
    ),
    "shard that is not divided": (sharded(chunk_shape=[3, 2]), "do not divide their shard"),
    "shard of other axes": (sharded(chunk_shape=[2]), "do not divide their shard"),
    "packed index": (sharded(index_codecs=[BYTES, {"name": "gzip"}]), "kept in an unknown way"),
    "index elsewhere": (sharded(index_location="middle"), "kept in an unknown way"),
    "index of another order": (
        sharded(index_codecs=[{"name": "bytes", "configuration": {"endian": "big"}}]),
        "must be little-endian",
    ),
    "shards in shards": (sharded(codecs=sharded()["codecs"]), "codec 'sharding_indexed'"),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_is_refused(tmp_path: Path, case: str) -> None:
    """Before any chunk is looked at; what could run code is named."""
    change, message = METADATA[case]
    path = forge(tmp_path, change)
    with pytest.raises(FileFormatError, match=message) as caught:
        latents_shape(path)
    assert str(path) in str(caught.value)


def test_fill_value_that_is_none(tmp_path: Path) -> None:
    """Is zero, as zarr has it."""
    path = forge(tmp_path, {"fill_value": None, "shape": [4, 2]})
    np.testing.assert_array_equal(read_latents(path)[2:], np.zeros((2, 2)))


def test_forged_stores_are_sound(tmp_path: Path) -> None:
    """What is forged is read where nothing is wrong with it."""
    np.testing.assert_array_equal(read_latents(forge(tmp_path, {})), SQUARE)
    shutil.rmtree(tmp_path / "a.zarr")
    np.testing.assert_array_equal(read_latents(forge(tmp_path, {"node_type": "array"})), SQUARE)
    shutil.rmtree(tmp_path / "a.zarr")
    index = struct.pack("<4Q", 8, 8, 0, 8)
    np.testing.assert_array_equal(
        read_latents(forge(tmp_path, sharded(), SQUARE.tobytes() + index)), SQUARE[::-1]
    )


BLOSC = bytes(numcodecs.blosc.compress(SQUARE.tobytes(), b"lz4", 5))
ZSTD = bytes(numcodecs.zstd.compress(bytes(1 << 24), 1))
CHUNKS = {
    "short": (None, SQUARE.tobytes()[:-1], "unpacks to 15"),
    "long": (None, SQUARE.tobytes() + b"!", "unpacks to 17"),
    "endless": (None, bytes(5000), "is longer than the 4128 bytes"),
    "bomb of gzip": ("gzip", gzip.compress(bytes(1 << 20)), "unpacks to more"),
    "bomb of zlib": ("zlib", zlib.compress(bytes(1 << 20)), "unpacks to more"),
    "bomb of zstd": ("zstd", ZSTD, "unpacks to more"),
    "gzip cut short": ("gzip", gzip.compress(SQUARE.tobytes())[:-3], "cut short"),
    "no gzip": ("gzip", b"none at all", "not a readable chunk of a Zarr array"),
    "zstd cut short": ("zstd", bytes(numcodecs.zstd.compress(SQUARE.tobytes(), 1))[:-3], "chunk"),
    "no blosc": ("blosc", b"short", "cut short"),
    "blosc cut short": ("blosc", BLOSC[:-1], "claims 16, 32 of them packed"),
    "blosc that claims 4 GB": ("blosc", BLOSC[:4] + b"\xff" * 4 + BLOSC[8:], "claims 4294967295"),
    "blosc of another kind": ("blosc", b"\xff" * 4 + BLOSC[4:], "not a readable chunk"),
    "lz4 that claims 4 GB": ("lz4", b"\xff" * 4 + b"12345678", "claims 4294967295"),
    "no lz4": ("lz4", b"\0\0", "claims 0"),
    "lz4 of nonsense": ("lz4", struct.pack("<I", 16) + b"\xff" * 4, "not a readable chunk"),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_that_are_refused(tmp_path: Path, case: str) -> None:
    """By the name of the chunk, and not unpacked to more than a chunk holds."""
    codec, content, message = CHUNKS[case]
    path = forge(tmp_path, {"compressor": codec and {"id": codec}}, content)
    assert latents_shape(path) == (2, 2)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_latents(path)
    assert "0.0" in str(caught.value)
    assert str(path) in str(caught.value)


SHARDS = {
    "no index": (b"short", "shorter than its index"),
    "beyond the end": (bytes(16) + struct.pack("<4Q", 0, 8, 1 << 40, 8), "than its index says"),
    "short chunk": (bytes(16) + struct.pack("<4Q", 0, 7, 8, 8), "unpacks to 7"),
}


@pytest.mark.parametrize("case", SHARDS)
def test_shards_that_are_refused(tmp_path: Path, case: str) -> None:
    """Indices are held against the shard."""
    content, message = SHARDS[case]
    with pytest.raises(FileFormatError, match=message):
        read_latents(forge(tmp_path, sharded(), content))


def test_checksum_of_an_index(tmp_path: Path) -> None:
    """An index that was changed is refused."""
    change = sharded(index_codecs=[BYTES, {"name": "crc32c"}])
    content = SQUARE.tobytes() + struct.pack("<4Q", 0, 8, 8, 8) + bytes(4)
    with pytest.raises(FileFormatError, match="a checksum does not hold"):
        read_latents(forge(tmp_path, change, content))


@pytest.mark.parametrize(
    ("shape", "chunks", "error", "message"),
    [
        ([1 << 40, 4], [1 << 10, 4], ResourceError, "17,592"),
        ([2, 2], [1 << 40, 4], ResourceError, "52,776"),
        ([1 << 61, 1 << 61], [2, 2], FileFormatError, "no memory can hold"),
        ([2, 2], [1 << 61, 1 << 61], FileFormatError, "claims chunks"),
        ([5_000_000, 2], [1, 2], FileFormatError, "has 5000000 chunks, the limit is 4194304"),
    ],
)
def test_a_terabyte_that_a_small_store_claims(
    tmp_path: Path, shape: list[int], chunks: list[int], error: type[Exception], message: str
) -> None:
    """Shapes and chunks that no memory holds, and chunks without number, are refused at once."""
    path = forge(tmp_path, {"shape": shape, "chunks": chunks})
    assert latents_shape(path) == tuple(shape)
    with pytest.raises(error, match=message) as caught:
        read_latents(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": NaN}', b"{" * 9000, bytes(17 << 20)])
def test_metadata_that_is_no_object(tmp_path: Path, content: bytes) -> None:
    """Any other JSON, or none, is refused by the name of the file."""
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"zarr\.json"):
        read_latents(tmp_path / "a.zarr")


def test_stores_without_arrays(tmp_path: Path) -> None:
    """Empty folders, missing ones and files are refused."""
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(FileFormatError, match="choose one with key=: none"):
        read_latents(tmp_path / "a.zarr")
    with pytest.raises(FileFormatError, match="no such file"):
        read_latents(tmp_path / "b.zarr")
    (tmp_path / "c.zarr").write_bytes(b"no archive")
    with pytest.raises(FileFormatError, match="not a readable Zarr store"):
        read_latents(tmp_path / "c.zarr")
