"""Arrays in few bytes, as the page takes them: quantised, packed, and as base64."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]
UInt8Array = npt.NDArray[np.uint8]

# A multiple of 8, so that each block ends with a whole byte.
_PACKED_AT_ONCE = 1 << 18


class Quantised(NamedTuple):
    """Columns of numbers in whole steps.

    Attributes
    ----------
    levels : ndarray of shape (n, d), uint16
        Steps above the lowest.
    low, step : ndarray of shape (d,), float64
        A number is about ``low + step * level``, to half a step.
    """

    levels: npt.NDArray[np.uint16]
    low: npt.NDArray[np.float64]
    step: npt.NDArray[np.float64]

    def numbers(self) -> npt.NDArray[np.float64]:
        """The numbers as the page has them, shape (n, d)."""
        return self.low + self.step * self.levels


def quantised(columns: AnyArray, n_bits: int) -> Quantised:
    """Each column in equal steps from its least to its greatest number.

    Parameters
    ----------
    columns : ndarray of shape (n, d), float
        Finite numbers.
    n_bits : int
        Bits of a level, at most 16.

    Returns
    -------
    Quantised

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer.encoding import quantised
    >>> quantised(np.array([[0.0], [1.0], [3.0]]), 2).levels.ravel().tolist()
    [0, 1, 3]
    """
    numbers = columns.astype(np.float64)
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    step = (high - low) / (2**n_bits - 1)
    levels = np.rint((numbers - low) / np.where(step > 0, step, 1))
    return Quantised(levels.astype(np.uint16), low, step)


def packed_bits(levels: npt.NDArray[np.uint16], n_bits: int) -> UInt8Array:
    """Numbers one after the other in a stream of bits, the lower bits first.

    Parameters
    ----------
    levels : ndarray of uint16
        Of any shape, taken row by row; below ``2**n_bits``.
    n_bits : int
        Bits of each, at most 16.

    Returns
    -------
    ndarray of uint8
        The last byte is filled with zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer.encoding import packed_bits
    >>> packed_bits(np.array([0x123, 0xABC], np.uint16), 12).tobytes().hex()
    '23c1ab'
    """
    flat = levels.astype("<u2").ravel()
    blocks = []
    for start in range(0, flat.size, _PACKED_AT_ONCE):
        bytes_of_each = flat[start : start + _PACKED_AT_ONCE, None].view(np.uint8)
        bits = np.unpackbits(bytes_of_each, axis=1, bitorder="little")[:, :n_bits]
        blocks.append(np.packbits(bits, bitorder="little"))
    return np.concatenate(blocks)


def varints(numbers: AnyArray) -> UInt8Array:
    """Whole numbers in as few bytes as each needs: 7 bits a byte, the lower first (LEB128).

    Parameters
    ----------
    numbers : ndarray of int
        Not negative, below 2**35.

    Returns
    -------
    ndarray of uint8
        The highest bit of a byte says that another one follows.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer.encoding import varints
    >>> varints(np.array([1, 300])).tolist()
    [1, 172, 2]
    """
    left = numbers.astype(np.int64).ravel()
    digits = (left[:, None] >> np.arange(0, 35, 7)) & 127
    n_bytes = np.maximum(1, (left[:, None] >= 1 << np.arange(0, 35, 7)).sum(axis=1))
    place = np.arange(5)
    digits |= np.where(place < n_bytes[:, None] - 1, 128, 0)
    stream: UInt8Array = digits[place < n_bytes[:, None]].astype(np.uint8)
    return stream


def edge_numbers(
    low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], n_nodes: int
) -> npt.NDArray[np.int64]:
    """The edges of a graph as small numbers.

    Parameters
    ----------
    low, high : ndarray of shape (n_edges,), int64
        Ends of each edge, ``low < high``, sorted by `low`, then `high`.
    n_nodes : int
        Number of nodes.

    Returns
    -------
    ndarray of shape (n_nodes + n_edges,), int64
        For each node how many edges lead to higher ones, then those: the first less the node,
        each further one less the one before.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer.encoding import edge_numbers
    >>> edge_numbers(np.array([0, 0, 1]), np.array([1, 3, 3]), 4).tolist()
    [2, 1, 2, 1, 2, 0, 0]
    """
    count = np.bincount(low, minlength=n_nodes)
    first = np.cumsum(count) - count
    before = np.concatenate([[0], high[:-1]])
    is_first = np.zeros(len(low), np.bool_)
    is_first[first[count > 0]] = True
    return np.insert(high - np.where(is_first, low, before), first, count)


def base64_of(array: AnyArray) -> str:
    """The bytes of an array, row by row, the lower bytes first, in base64.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer.encoding import base64_of
    >>> base64_of(np.array([1], np.uint16))
    'AQA='
    """
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(little.tobytes()).decode("ascii")
