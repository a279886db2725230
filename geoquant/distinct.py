"""Equal rows become one weighted node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.default_floats import default_floats
from geoquant.errors import InputError
from geoquant.latents import check_sample_weight
from geoquant.short_repr import ShortRepr

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]

_BLOCK_ROWS = 8192


@dataclass(frozen=True, repr=False)
class DistinctRows(ShortRepr):
    """The distinct rows of a data set, as weighted nodes.

    Parameters
    ----------
    row : ndarray of int64, shape (m,)
        For each node, the first row with its content.
    node_of_row : ndarray of int32, shape (n,)
        For each row, its node, or -1 if no row of that content has a positive weight.
    weight : ndarray of float64, shape (m,)
        For each node, the total weight of its rows; positive.
    """

    row: npt.NDArray[np.int64]
    node_of_row: npt.NDArray[np.int32]
    weight: Float64Array


def distinct_rows(latents: Float32Array, sample_weight: object = None) -> DistinctRows:
    """Collapse equal rows into one weighted node each, and leave out rows of weight zero.

    Where nothing is to be collapsed or left out, node i is row i. Otherwise the order of the
    nodes depends on the contents of the rows alone: shuffling the rows, or exchanging some of the
    repetitions for integer weights, leads to the same nodes in the same order.

    Parameters
    ----------
    latents : ndarray of float32, shape (n, d)
        Finite, as `check_latents` returns it. -0.0 equals 0.0.
    sample_weight : array_like, shape (n,), optional
        Weights as for `check_sample_weight`. Default: 1.

    Returns
    -------
    DistinctRows
        As many nodes as rows only if node i is row i.

    Raises
    ------
    InputError
        If the weights cannot be used, or there are 2**31 rows or more.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distinct import distinct_rows
    >>> nodes = distinct_rows(np.array([[1.0], [5.0], [1.0]], dtype=np.float32))
    >>> np.sort(nodes.weight), nodes.node_of_row[0] == nodes.node_of_row[2]
    (array([1., 2.]), np.True_)
    """
    n = len(latents)
    if n >= 1 << 31:
        raise InputError(f"latents must have fewer than 2**31 rows, found {n}; take a sample")
    weight = check_sample_weight(sample_weight, n)
    with default_floats():
        order, is_first = _grouped_by_content(latents)
    if is_first.all() and np.all(weight > 0):
        return DistinctRows(np.arange(n), np.arange(n, dtype=np.int32), weight.copy())
    group = np.empty(n, dtype=np.int64)
    group[order] = np.cumsum(is_first) - 1
    group_weight = np.bincount(group, weights=weight).astype(np.float64, copy=False)
    kept = group_weight > 0
    node_of_group = np.where(kept, np.cumsum(kept) - 1, -1).astype(np.int32)
    # The order is stable, so the first of a group is its smallest row.
    return DistinctRows(order[is_first][kept], node_of_group[group], group_weight[kept])


def _grouped_by_content(
    latents: Float32Array,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows in an order of their contents, equal ones together, and where each group starts."""
    key = hash_rows(latents)
    order = np.argsort(key, kind="stable")
    twins = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    equal = rows_equal(latents, order[twins], order[twins + 1])
    if not equal.all():
        # Different rows share a hash: let the contents decide within it.
        order = order_within_hash(latents, key)
        twins = np.arange(len(order) - 1)
        equal = rows_equal(latents, order[:-1], order[1:])
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1 + twins[equal]] = False
    return order.astype(np.int64, copy=False), is_first


def order_within_hash(latents: Float32Array, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Order rows by their hashes, and those of one hash by their contents.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distinct import order_within_hash
    >>> rows = np.array([[2.0], [1.0], [0.0]], np.float32)
    >>> order_within_hash(rows, np.array([7, 7, 9], np.uint64)).tolist()
    [1, 0, 2]
    """
    return np.lexsort((*latents.T[::-1], key)).astype(np.int64, copy=False)


def hash_rows(latents: Float32Array) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row's content; every step is a bijection of the hash so far.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distinct import hash_rows
    >>> key = hash_rows(np.array([[0.0], [-0.0], [1.0]], np.float32))
    >>> bool(key[0] == key[1] != key[2])
    True
    """
    key = np.full(len(latents), 0x243F6A8885A308D3, dtype=np.uint64)
    for start in range(0, len(latents), _BLOCK_ROWS):
        part = key[start : start + _BLOCK_ROWS]
        # Adding zero turns -0.0 into 0.0.
        block = latents[start : start + _BLOCK_ROWS] + np.float32(0)
        for column in np.ascontiguousarray(block.T).view(np.uint32):
            part ^= column
            part *= np.uint64(0x9E3779B97F4A7C15)
            part ^= part >> np.uint64(32)
    return key


def rows_equal(
    latents: Float32Array, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Whether rows are equal, pair by pair; -0.0 equals 0.0.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distinct import rows_equal
    >>> rows = np.array([[0.0], [-0.0], [1.0]], np.float32)
    >>> rows_equal(rows, np.array([0, 0]), np.array([1, 2])).tolist()
    [True, False]
    """
    equal = np.empty(len(first), dtype=np.bool_)
    for start in range(0, len(first), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        equal[block] = (latents[first[block]] == latents[second[block]]).all(axis=1)
    return equal
