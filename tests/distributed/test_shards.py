"""Shards: files or arrays of one width, none twice, none empty, refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from geoquant import InputError
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import (
    ArrayShard,
    FileShard,
    ShardSet,
    shards_of_array,
    shards_of_files,
)
from geoquant.errors import FileFormatError

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """Files with other suffixes are left alone; a list of files keeps its order."""
    for name, n in (("b", 2), ("a", 3)):
        np.save(tmp_path / f"{name}.npy", np.zeros((n, 2), np.float32))
    (tmp_path / "notes.txt").write_text("")
    assert shards_of_files(tmp_path).offsets.tolist() == [0, 3, 5]
    listed = shards_of_files([tmp_path / "b.npy", tmp_path / "a.npy"])
    assert listed.offsets.tolist() == [0, 2, 5]
    assert listed.shards[0].read().shape == (2, 2)


def test_folders_and_files_that_hold_no_shard(tmp_path: Path) -> None:
    """An empty folder, a missing file and a truncated one are refused by name."""
    with pytest.raises(InputError, match="no shard"):
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
