"""Numbering of distinct rows across shards: that of `distinct_rows` on one array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoquant import InputError, distinct
from geoquant.distinct import distinct_rows
from geoquant.distributed import nodes as module
from geoquant.distributed.nodes import (
    Nodes,
    node_of_row,
    nodes_of_shard,
    number_nodes,
    points_of,
    read_rows,
)
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import ArrayShard, ShardSet, shards_of_array, shards_of_files
from tests.distributed.parts import ENGINE

if TYPE_CHECKING:
    from pathlib import Path


def assert_numbered_as_one_array(x: np.ndarray, nodes: Nodes) -> None:
    expected = distinct_rows(x)
    shards = range(nodes.n_shards)
    assert nodes.n_nodes == len(expected.row)
    rows = np.concatenate([node_of_row(nodes, i) for i in shards])
    assert rows.tolist() == expected.node_of_row.tolist()
    point, weight = np.full((nodes.n_nodes, x.shape[1]), np.nan), np.zeros(nodes.n_nodes)
    for i in shards:
        here = nodes_of_shard(nodes, i)
        assert (np.diff(here.node) > 0).all()
        point[here.node], weight[here.node] = here.points, here.weight
    assert np.float32(point).tobytes() == x[expected.row].tobytes()
    assert weight.tolist() == expected.weight.tolist()
    order = np.random.default_rng(0).permutation(nodes.n_nodes)
    assert points_of(nodes, order, ENGINE).tobytes() == x[expected.row][order].tobytes()


ROWS = st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=1, max_size=30)


@given(ROWS, st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=60)
def test_equal_rows_in_any_shards(rows: list, n_shards: int, n_ranges: int) -> None:
    """Equal rows of one shard or of several become the node that one machine makes of them."""
    import tempfile

    x = np.array(rows, np.float32)
    x[x == 2] = -0.0  # equals 0.0
    with tempfile.TemporaryDirectory() as folder:
        shards = shards_of_array(x, min(n_shards, len(x)))
        nodes = number_nodes(shards, Scratch(folder), ENGINE, n_ranges=n_ranges)
        assert_numbered_as_one_array(x, nodes)


@pytest.mark.parametrize("n_values", [3, 10_000])
def test_rows_of_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_values: int) -> None:
    """Different rows that share a hash stay apart, in the order of their contents."""

    def poor(rows: np.ndarray) -> np.ndarray:
        return np.uint64(1 << 61) * (np.abs(rows[:, 0]).astype(np.uint64) % np.uint64(5))

    monkeypatch.setattr(distinct, "hash_rows", poor)
    monkeypatch.setattr(module, "hash_rows", poor)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)
    x = np.random.default_rng(0).integers(0, n_values, (200, 2)).astype(np.float32)
    nodes = number_nodes(shards_of_array(x, 4), Scratch(str(tmp_path)), ENGINE, n_ranges=3)
    assert_numbered_as_one_array(x, nodes)


def test_rows_that_are_not_mapped_are_read_once(tmp_path: Path) -> None:
    """They are kept in the scratch folder, also where their type is the right one."""
    x = np.random.default_rng(0).random((10, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x)
    nodes = number_nodes(shards_of_files(tmp_path / "a.npz"), Scratch(str(tmp_path)), ENGINE)
    assert nodes.staged[0].path == str(tmp_path / "rows0.npy")
    assert nodes.staged[0].read().tobytes() == x.tobytes()


def test_rows_are_read_from_their_shards(tmp_path: Path) -> None:
    """Float32 files are mapped where they lie; others are converted once."""
    x = np.random.default_rng(0).random((10, 3)).astype(np.float32)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for dtype in (np.float32, np.float64):
        folder = tmp_path / np.dtype(dtype).name
        folder.mkdir()
        np.save(folder / "a.npy", x[:6].astype(dtype))
        np.save(folder / "b.npy", x[6:].astype(dtype))
        nodes = number_nodes(shards_of_files(folder), Scratch(str(scratch)), ENGINE)
        assert all((str(folder) in s.path) == (dtype == np.float32) for s in nodes.staged)
        assert nodes.are_rows
        wanted = np.array([9, 0, 6, 5])
        assert read_rows(nodes, wanted).tobytes() == x[wanted].tobytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([[np.nan, 0.0]], np.float32), "shard 1"),
        (np.zeros((1, 2)), "shard 1: all shards must have the type of shard 0, float32"),
        (np.array([["a", "b"]]), "shard 1"),
    ],
)
def test_shards_that_cannot_be_used(tmp_path: Path, rows: np.ndarray, message: str) -> None:
    """Values that are no latents, or of another type, are refused with the shard's name."""
    shards = ShardSet(
        (ArrayShard(np.ones((1, 2), np.float32), "shard 0"), ArrayShard(rows, "shard 1"))
    )
    with pytest.raises(InputError, match=message):
        number_nodes(shards, Scratch(str(tmp_path)), ENGINE)


def test_more_rows_than_nodes_can_be_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the numbers of nodes the run ends before anything is read."""
    monkeypatch.setattr(module, "MAX_NODES", 4)
    with pytest.raises(InputError, match="at most 4 rows, found 5"):
        number_nodes(shards_of_array(np.ones((5, 2)), 1), Scratch(str(tmp_path)), ENGINE)
