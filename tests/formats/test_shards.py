"""Folders of shards: their order, and what must be alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant.errors import FileFormatError, ResourceError
from geoquant.formats import shards
from geoquant.latents import latents_shape, read_latents
from geoquant.tensor_files import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

GRID = np.arange(24, dtype=np.float32).reshape(8, 3)


def save(folder: Path, *names: str, array: np.ndarray = GRID) -> Path:
    """A folder of shards of one row each, in the order of the names."""
    folder.mkdir(exist_ok=True)
    for row, name in zip(array, names, strict=False):
        np.save(folder / name, row[None])
    return folder


def test_order_of_numbers(tmp_path: Path) -> None:
    """Numbers in names count as numbers, and zeros before them do not."""
    names = ["a1.npy", "a02.npy", "a2.npy", "a10.npy", "b1-9.npy", "b1-10.npy", "b2.npy", "c.npy"]
    folder = save(tmp_path / "in", *names)
    for name in ("_SUCCESS", ".hidden", ".npy"):
        (folder / name).write_bytes(b"")
    assert latents_shape(folder) == (8, 3)
    np.testing.assert_array_equal(read_latents(folder), GRID, strict=True)
    np.testing.assert_array_equal(read_latents(f"{folder}/"), GRID, strict=True)


@given(names=st.lists(st.text("aB1209.-٣²", min_size=1), min_size=1, max_size=9))
def test_any_names_have_an_order(names: list[str]) -> None:
    """Whatever the names, they can be sorted, always in the same way."""
    assert sorted(names, key=shards._natural) == sorted(reversed(names), key=shards._natural)


def test_order_of_a_manifest(tmp_path: Path) -> None:
    """A manifest says which files are shards, and in which order."""
    folder = save(tmp_path / "in", "a.npy", "b.npy", "c.npy")
    (folder / "notes.txt").write_text("not a shard")
    (folder / "manifest.json").write_text('{"shards": ["c.npy", "a.npy"], "by": "me"}')
    np.testing.assert_array_equal(read_latents(folder), GRID[[2, 0]])


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{}", 'must hold {"shards"'),
        ('{"shards": []}', "at least one name"),
        ('{"shards": "a.npy"}', "at least one name"),
        ('{"shards": [3]}', "no paths to elsewhere"),
        ('{"shards": ["../a.npy"]}', "no paths to elsewhere"),
        ('{"shards": ["a\\\\b.npy"]}', "no paths to elsewhere"),
        ('{"shards": [".."]}', "no paths to elsewhere"),
        ('{"shards": ["a.npy", "a.npy"]}', "names a shard twice"),
        ('{"shards": ["gone.npy"]}', r"gone\.npy: no such file"),
        ("[]", "must hold a JSON object"),
        ("{", "not strict JSON"),
    ],
)
def test_manifests_that_are_refused(tmp_path: Path, manifest: str, message: str) -> None:
    """By name; no manifest leads out of its folder."""
    folder = save(tmp_path / "in", "a.npy")
    np.save(tmp_path / "a.npy", GRID)
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(FileFormatError, match=message):
        read_latents(folder)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    """Empty ones, several formats, and files that are no latents."""
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(FileFormatError, match=r"in: holds no shard; give a folder"):
        latents_shape(folder)
    (folder / "b.csv").write_text("1,2")
    with pytest.raises(FileFormatError, match=r"b\.csv: is no file of latents.*manifest\.json"):
        latents_shape(folder)
    np.save(folder / "a.npy", GRID)
    with pytest.raises(FileFormatError, match=r"must be of one format, found 'a\.npy', 'b\.csv'"):
        latents_shape(folder)
    (folder / "b.csv").unlink()
    (folder / "b.npy").mkdir()
    with pytest.raises(FileFormatError, match=r"b\.npy: is not a regular file"):
        latents_shape(folder)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (GRID[:, :2], r"rows of shape \(3,\) of float32 .*, found \(2,\) of float32"),
        (GRID.astype(np.float64), r"found \(3,\) of float64; write all shards alike"),
        (GRID[0], r"found \(\) of float32"),
        (np.float32(3), "must have rows, found a single number"),
    ],
)
def test_shards_that_differ(tmp_path: Path, other: Any, message: str) -> None:
    """The first one that is not like those before it is named."""
    folder = save(tmp_path / "in", "a.npy", "b.npy")
    np.save(folder / "c.npy", other)
    with pytest.raises(FileFormatError, match=rf"c\.npy: .*{message}"):
        latents_shape(folder)


def test_shards_of_other_byte_orders(tmp_path: Path) -> None:
    """The same numbers in another order of bytes or of axes are alike."""
    folder = save(tmp_path / "in")
    np.save(folder / "a.npy", GRID.astype(">f4"))
    np.save(folder / "b.npy", np.asfortranarray(GRID))
    np.save(folder / "c.npy", GRID[:0])
    np.testing.assert_array_equal(read_latents(folder), np.tile(GRID, (2, 1)), strict=True)


def test_shards_of_labels(tmp_path: Path) -> None:
    """Arrays of one axis are put together too."""
    folder = save(tmp_path / "in")
    np.save(folder / "a.npy", np.arange(3))
    np.save(folder / "b.npy", np.arange(2))
    assert read_latents(folder).tolist() == [0, 1, 2, 0, 1]


def test_damaged_shard_is_named(tmp_path: Path) -> None:
    """The error is that of the file."""
    folder = save(tmp_path / "in", "a.npy", "b.npy")
    (folder / "b.npy").write_bytes((folder / "b.npy").read_bytes()[:-1])
    with pytest.raises(FileFormatError, match=r"b\.npy: .*cut short"):
        read_latents(folder)


def test_keys_are_those_of_every_shard(tmp_path: Path) -> None:
    """One without the array is named."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        write_safetensors(folder / f"{name}.safetensors", {"z": GRID, "y": GRID[:1]}, {})
    assert read_latents(folder, "y").shape == (2, 3)
    assert read_latents(f"{folder}::z").shape == (16, 3)
    write_safetensors(folder / "b.safetensors", {"z": GRID}, {})
    with pytest.raises(FileFormatError, match=r"b\.safetensors: there is no array 'y'"):
        latents_shape(folder, "y")


def test_shard_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has other rows when it is read is refused."""
    folder = save(tmp_path / "in", "a.npy", "b.npy")

    def room(*arguments: Any, **options: Any) -> None:
        np.save(folder / "b.npy", GRID)

    monkeypatch.setattr(shards, "require_room", room)
    with pytest.raises(FileFormatError, match=r"b\.npy: changed while it was read"):
        read_latents(folder)


def test_shards_beyond_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them together, and the largest once more, are held against what there is."""
    folder = save(tmp_path / "in", "a.npy", "b.npy", "c.npy")
    monkeypatch.setattr("geoquant.memory.available_memory", lambda: 4 * 12)
    assert read_latents(folder).shape == (3, 3)
    monkeypatch.setattr("geoquant.memory.available_memory", lambda: 4 * 12 - 1)
    with pytest.raises(ResourceError, match="in, or set max_memory"):
        read_latents(folder)


def test_no_memory_at_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that gives none is a ResourceError too."""

    def empty(*arguments: Any, **options: Any) -> None:
        raise MemoryError

    folder = save(tmp_path / "in", "a.npy")
    monkeypatch.setattr("geoquant.formats.stored.np.empty", empty)
    with pytest.raises(ResourceError, match=r"a\.npy: there is no memory for shape \(1, 3\)"):
        read_latents(folder)


def test_many_shards(tmp_path: Path) -> None:
    """None stays open."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(300):
        np.save(folder / f"{i}.npy", np.full((1, 1), i))
    assert read_latents(folder).ravel().tolist() == list(range(300))
