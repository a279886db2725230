"""Shards: files or arrays of one width, none twice, none empty, refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geoquant import InputError
from geoquant.distributed import shards as module
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import (
    ArrayShard,
    FileShard,
    ShardSet,
    shards_of_array,
    shards_of_files,
)
from geoquant.errors import FileFormatError
from geoquant.latents import read_latents, read_rows

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(shards: ShardSet) -> np.ndarray:
    return np.concatenate([shard.read() for shard in shards.shards])


def shard(n: int, d: int = 2, name: str = "a") -> ArrayShard:
    return ArrayShard(np.zeros((n, d), np.float32), name)


def test_rows_are_numbered_through() -> None:
    """Offsets, width and number of rows are those of all shards."""
    shards = ShardSet((shard(3), shard(1, name="b")))
    assert (shards.n_rows, shards.width, shards.offsets.tolist()) == (4, 2, [0, 3, 4])


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ((), "shards must be at least one"),
        ((shard(0),), r"a: a shard must have shape \(n, d\) with rows, found \(0, 2\)"),
        ((shard(3), shard(3, 5, "b")), "b: all shards must have the 2 columns of a, found 5"),
        ((shard(3), shard(3)), "a: the shard is there twice"),
    ],
)
def test_shards_that_do_not_fit_together(shards: tuple, message: str) -> None:
    """None, an empty one, another width, and one given twice are refused by name."""
    with pytest.raises(InputError, match=message):
        ShardSet(shards)


def test_a_folder_is_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    """As read_latents reads it; a list of files keeps its order, and a folder holds no others."""
    for i, n in ((10, 2), (9, 3)):
        np.save(tmp_path / f"part{i}.npy", np.full((n, 2), i, np.float32))
    (tmp_path / "_notes.txt").write_text("")
    shards = shards_of_files(tmp_path)
    assert shards.offsets.tolist() == [0, 3, 5]
    assert rows_of(shards).tobytes() == read_latents(tmp_path).tobytes()
    listed = shards_of_files([tmp_path / "part10.npy", tmp_path / "part9.npy"])
    assert listed.offsets.tolist() == [0, 2, 5]
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileFormatError, match=r"must be of one format.*notes.txt"):
        shards_of_files(tmp_path)


def write_parquet(path: Path, x: np.ndarray) -> None:
    """Rows in groups of forty, in a column of lists."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"z": list(x)}), path, row_group_size=40)


def write_columns(path: Path, x: np.ndarray) -> None:
    """Rows in groups of forty, in columns of numbers."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({f"c{i}": x[:, i] for i in range(3)}), path, row_group_size=40)


def write_zarr(path: Path, x: np.ndarray) -> None:
    """Rows in chunks of forty, columns in chunks of two."""
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("numcodecs")
    zarr.create_array(str(path), data=x, chunks=(40, 2))


WRITERS = {
    "a.npy": np.save,
    "b.parquet": write_parquet,
    "c.parquet": write_columns,
    "d.zarr": write_zarr,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("n_bytes", [1, 400, 40 * 12, 1000, 100 * 12])
def test_large_files_are_cut(
    tmp_path: Path, name: str, n_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into rows that are packed together; the rows are those of the file."""
    monkeypatch.setattr(module, "_SHARD_BYTES", n_bytes)
    x = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    WRITERS[name](tmp_path / name, x)
    shards = shards_of_files(tmp_path / name)
    assert rows_of(shards).tobytes() == x.tobytes()
    packed = 1 if name == "a.npy" else 40
    n_rows = max(packed, n_bytes // 12 // packed * packed)
    expected = [*range(0, 100, n_rows), 100] if n_bytes < 1200 else [0, 100]
    assert shards.offsets.tolist() == expected
    assert list(shards.by_source) == [str(tmp_path / name)]


@pytest.mark.parametrize("name", WRITERS)
def test_any_range_of_rows(tmp_path: Path, name: str) -> None:
    """It is that of the whole array, also beyond its end and of no rows."""
    x = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    WRITERS[name](tmp_path / name, x)
    for start, stop in [(0, 100), (0, 1), (39, 41), (40, 80), (79, 100), (95, 120), (30, 30)]:
        found = read_rows(tmp_path / name, start, stop)
        assert found.tobytes() == x[start:stop].tobytes(), (start, stop)
    assert read_rows(tmp_path / name, 120, 130).shape == (0, 3)


@pytest.mark.parametrize("name", ["b.parquet", "d.zarr"])
def test_a_shard_is_read_without_the_rest(tmp_path: Path, name: str) -> None:
    """What is damaged elsewhere in the file does not matter, what is damaged here does."""
    WRITERS[name](tmp_path / name, np.random.default_rng(0).random((100, 3)).astype(np.float32))
    file = tmp_path / name if name == "b.parquet" else tmp_path / name / "c" / "0" / "0"
    content = file.read_bytes()
    is_store = name == "d.zarr"
    file.write_bytes(content[:20] if is_store else content[:10] + bytes(50) + content[60:])
    assert read_rows(tmp_path / name, 40, 100).shape == (60, 3)
    with pytest.raises(FileFormatError, match=name):
        read_rows(tmp_path / name, 30, 50)


def test_arrays_that_cannot_be_cut_are_one_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in .npz, and in .npy by columns."""
    monkeypatch.setattr(module, "_SHARD_BYTES", 100)
    x = np.arange(60.0).reshape(20, 3)
    np.savez(tmp_path / "a.npz", z=x)
    np.save(tmp_path / "b.npy", np.asfortranarray(x))
    shards = shards_of_files([f"{tmp_path / 'a.npz'}::z", tmp_path / "b.npy"])
    assert shards.offsets.tolist() == [0, 20, 40]
    assert rows_of(shards).tolist() == [*x.tolist()] * 2


@pytest.mark.parametrize("manifest", ["all.json", "all.txt"])
def test_manifests_name_shards_anywhere(tmp_path: Path, manifest: str) -> None:
    """In their order, beside the manifest or elsewhere, in several formats."""
    x = np.random.default_rng(0).random((100, 3)).astype(np.float32)
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    np.savez(tmp_path / "there" / "b.npz", z=x[:40], other=x)
    np.save(tmp_path / "here" / "a.npy", x[40:])
    names = [f"{tmp_path / 'there' / 'b.npz'}::z", "a.npy"]
    text = json.dumps({"shards": names}) if manifest == "all.json" else "\n \n".join(names)
    path = tmp_path / "here" / manifest
    path.write_text(text)
    assert shards_of_files(path).offsets.tolist() == [0, 40, 100]
    assert rows_of(shards_of_files(path)).tobytes() == x.tobytes()
    assert read_latents(path).tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.json", b'{"shards": []}', "m.json: must name shards.*found none"),
        ("m.json", b"{}", "m.json: must name shards"),
        ("m.json", b'{"shards": ["a.npy", 3]}', "m.json: must name shards"),
        ("m.json", b"[", "m.json"),
        ("m.txt", b" \n\n", "m.txt: must name shards"),
        ("m.txt", b"\xff\n", "m.txt: is no text in UTF-8"),
        ("m.txt", b"a\0.npy\n", "m.txt: is no list of shards"),
        ("m.txt", b"a.npy\na.npy\n", "m.txt: names the shard a.npy twice; name each once"),
        ("m.txt", b"m.txt\n", "m.txt: names .*m.txt, a manifest too"),
        ("m.txt", b"a.npy\nabsent.npy\n", "absent.npy: no such file"),
        ("m.txt", b"a.npy\nnotes.md\n", "notes.md"),
    ],
    ids=[
        *("empty", "no list", "a number", "no JSON", "blank", "bytes", "zero byte"),
        *("twice", "itself", "missing shard", "no latents"),
    ],
)
def test_manifests_that_cannot_be_used(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """They are refused by name, and so is what they name."""
    np.save(tmp_path / "a.npy", np.zeros((3, 2), np.float32))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        shards_of_files(tmp_path / name)
    with pytest.raises(FileFormatError, match=message):
        read_latents(tmp_path / name)


def test_folders_and_files_that_hold_no_shard(tmp_path: Path) -> None:
    """An empty folder, a missing file and a truncated one are refused by name."""
    with pytest.raises(FileFormatError, match="holds no shard"):
        shards_of_files(tmp_path)
    with pytest.raises(FileFormatError, match=r"absent\.npy"):
        shards_of_files([tmp_path / "absent.npy"])
    whole = tmp_path / "whole.npy"
    np.save(whole, np.zeros((3, 2), np.float32))
    whole.write_bytes(whole.read_bytes()[:-4])
    with pytest.raises(FileFormatError, match=r"whole\.npy"):
        shards_of_files(tmp_path)


def test_a_shard_that_changed_meanwhile(tmp_path: Path) -> None:
    """A file of another shape than when the run began is refused."""
    np.save(tmp_path / "a.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match=r"a.npy: the shard had shape \(4, 2\)"):
        FileShard(str(tmp_path / "a.npy"), (4, 2)).read()
    with pytest.raises(InputError, match=r"a.npy, from row 2 on: the shard had shape \(2, 2\)"):
        FileShard(str(tmp_path / "a.npy"), (2, 2), start=2).read()


def test_arrays_are_cut_evenly() -> None:
    """Shards of an array differ by one row at most, and have names of their own."""
    shards = shards_of_array(np.arange(14).reshape(7, 2), 3)
    assert shards.offsets.tolist() == [0, 3, 5, 7]
    assert np.concatenate([s.read() for s in shards.shards]).ravel().tolist() == list(range(14))


def test_scratch_arrays_are_found_or_said_to_be_missing(tmp_path: Path) -> None:
    """What another worker cannot see is named, with the cure."""
    scratch = Scratch(str(tmp_path))
    scratch.save("ten", np.arange(10))
    assert scratch.load("ten").tolist() == list(range(10))
    scratch.remove("ten")
    scratch.remove("ten")
    with pytest.raises(FileFormatError, match=r"ten\.npy.*all workers must see the scratch folder"):
        scratch.load("ten")
