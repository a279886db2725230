"""Collapsing equal rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoquant import distinct as module
from geoquant.distinct import DistinctRows, distinct_rows
from geoquant.errors import InputError
from geoquant.latents import check_latents

GRID = np.arange(12, dtype=np.float32).reshape(4, 3)
FLOAT32 = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0]),
)


def assert_is_collapsed(
    nodes: DistinctRows, latents: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]
) -> None:
    """Hold the result against a dictionary of rows."""
    total: dict[tuple[float, ...], float] = {}
    first: dict[tuple[float, ...], int] = {}
    rows = [tuple(row) for row in (latents + np.float32(0)).tolist()]
    for i, row in enumerate(rows):
        total[row] = total.get(row, 0.0) + float(weight[i])
        first.setdefault(row, i)
    kept = {row for row in rows if total[row] > 0}
    assert len(nodes.row) == len(nodes.weight) == len(kept)
    for i, row in enumerate(rows):
        node = nodes.node_of_row[i]
        assert (node == -1) == (row not in kept)
        if node >= 0:
            assert nodes.row[node] == first[row]
            assert nodes.weight[node] == total[row]


@given(FLOAT32, st.data())
def test_distinct_rows_agree_with_a_dictionary(
    latents: np.ndarray[Any, Any], data: st.DataObject
) -> None:
    """Nodes, weights and first rows are those that a dictionary of rows gives."""
    n = len(latents)
    weight = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    weight[data.draw(st.integers(0, n - 1))] = 1
    nodes = distinct_rows(latents, weight)
    assert nodes.row.dtype == np.int64
    assert nodes.node_of_row.dtype == np.int32
    assert nodes.weight.dtype == np.float64
    assert_is_collapsed(nodes, latents, weight)


def test_distinct_rows_by_hand() -> None:
    """Equal rows share a node, also 0.0 and -0.0; rows of weight zero have none of their own."""
    latents = np.array([[1, 0], [5, 5], [1, -0.0], [7, 7], [5, 5]], np.float32)
    nodes = distinct_rows(latents, [2, 0, 3, 0, 1])
    pairs = dict(zip(nodes.row.tolist(), nodes.weight.tolist(), strict=True))
    assert pairs == {0: 5.0, 1: 1.0}
    np.testing.assert_array_equal(nodes.row[nodes.node_of_row[[0, 1, 2, 4]]], [0, 1, 0, 1])
    assert nodes.node_of_row[3] == -1


@pytest.mark.parametrize("weight", [None, [1, 2, 3, 4], [0.5, 0.25, 1.0, 2.0]])
def test_nothing_to_collapse(weight: Any) -> None:
    """Where rows are distinct and count, node i is row i and the weights are their own array."""
    nodes = distinct_rows(GRID, weight)
    np.testing.assert_array_equal(nodes.row, np.arange(4))
    np.testing.assert_array_equal(nodes.node_of_row, np.arange(4))
    np.testing.assert_array_equal(nodes.weight, np.ones(4) if weight is None else weight)
    assert not np.shares_memory(nodes.weight, distinct_rows(GRID, nodes.weight).weight)


def test_one_row() -> None:
    """A single latent is a single node."""
    assert distinct_rows(GRID[:1]).row.tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_repetition_equals_weights(seed: int) -> None:
    """Repeated, shuffled rows and integer weights lead to the same nodes in the same order."""
    random = np.random.default_rng(seed)
    latents = random.standard_normal((500, 5)).astype(np.float32)
    latents[0] = 0.0
    times = random.integers(0, 4, size=500)
    times[:3] = (3, 0, 2)
    repeated = np.repeat(np.arange(500), times)
    random.shuffle(repeated)
    rows = latents[repeated]
    rows[random.permutation(np.flatnonzero(repeated == 0))[0]] *= -1.0
    shuffled, weighted = distinct_rows(rows), distinct_rows(latents, times)
    np.testing.assert_array_equal(rows[shuffled.row], latents[weighted.row])
    np.testing.assert_array_equal(shuffled.weight, weighted.weight)
    np.testing.assert_array_equal(shuffled.node_of_row, weighted.node_of_row[repeated], strict=True)


def colliding_rows() -> np.ndarray[Any, Any]:
    """Two different rows of three numbers with one and the same hash."""
    rows = np.zeros((400_000, 3), np.float32)
    rows[:, :2] = np.random.default_rng(0).standard_normal((400_000, 2))
    # The last step is undone: it was a product and a shift, with a number whose bits are zero.
    key = module.hash_rows(rows)
    state = (key ^ (key >> np.uint64(32))) * np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
    # Two states that differ only in their lower half are made equal by the third number.
    order = np.argsort(state)
    twins = np.flatnonzero(np.diff(state[order] >> np.uint64(32)) == 0)
    pair = order[twins[:1, None] + [0, 1]][0]
    rows[pair[1], 2] = np.uint32(state[pair[0]] ^ state[pair[1]]).view(np.float32)
    return check_latents(rows[pair])


def test_colliding_hashes_are_told_apart() -> None:
    """Different rows of one hash stay different nodes, in an order of their contents."""
    pair = colliding_rows()
    assert len(set(module.hash_rows(pair).tolist())) == 1
    assert distinct_rows(pair).row.tolist() == [0, 1]
    rows = np.concatenate([pair, GRID, pair, pair[:1]])
    nodes = distinct_rows(rows)
    assert_is_collapsed(nodes, rows, np.ones(len(rows)))
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = distinct_rows(rows[order])
    np.testing.assert_array_equal(rows[order][shuffled.row], rows[nodes.row])
    np.testing.assert_array_equal(shuffled.weight, nodes.weight)


def test_hashes_of_similar_rows_differ() -> None:
    """Rows of small integers, permuted columns included, have hashes of their own."""
    grid = np.stack(np.meshgrid(*[np.arange(-10, 10)] * 4), axis=-1).reshape(-1, 4)
    hashes = module.hash_rows(grid.astype(np.float32))
    assert len(np.unique(hashes)) == len(grid) == 160_000


def test_more_rows_than_nodes_can_number_are_refused() -> None:
    """At once, not after they were sorted."""
    many = np.broadcast_to(np.zeros((1, 1), np.float32), (1 << 31, 1))
    with pytest.raises(InputError, match=r"fewer than 2\*\*31 rows, found 2147483648; take a sam"):
        distinct_rows(many)
