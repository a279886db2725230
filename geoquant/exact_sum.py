"""Sums without rounding, so that neither the order of the terms nor their partition shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: All finite float64 are whole multiples of 2 ** -1074.
_UNIT_EXPONENT = 1074
_MANTISSA_BITS = 53
_LOW_BITS = 27
#: Terms at once: few enough for a cache, and for sums of halves of a mantissa to be exact.
_BLOCK_TERMS = 1 << 17


def exact_sum(terms: npt.NDArray[np.float64]) -> int:
    """Sum of finite numbers, as a whole multiple of 2**-1074; such sums may be added up.

    Parameters
    ----------
    terms : ndarray of float64
        Finite.

    Returns
    -------
    int

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.exact_sum import exact_sum, rounded_sum
    >>> whole = np.array([1e16, 1.0, -1e16])
    >>> rounded_sum(exact_sum(whole[:2]) + exact_sum(whole[2:])), float(whole.sum())
    (1.0, 0.0)
    """
    total = 0
    flat = terms.ravel()
    for start in range(0, flat.size, _BLOCK_TERMS):
        fraction, exponent = np.frexp(flat[start : start + _BLOCK_TERMS])
        mantissa = np.ldexp(fraction, _MANTISSA_BITS).astype(np.int64)
        least = int(exponent.min())
        high = np.bincount(exponent - least, mantissa >> _LOW_BITS)
        low = np.bincount(exponent - least, mantissa & ((1 << _LOW_BITS) - 1))
        for above, (more, less) in enumerate(zip(high.tolist(), low.tolist(), strict=True)):
            at_exponent = (int(more) << _LOW_BITS) + int(less)
            shift = above + least - _MANTISSA_BITS + _UNIT_EXPONENT
            total += at_exponent << shift if shift >= 0 else at_exponent >> -shift
    return total


def rounded_sum(total: int) -> float:
    """The float64 nearest to an exact sum, ties to even; infinite beyond the largest.

    Parameters
    ----------
    total : int
        Of `exact_sum`, or of several added up.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.exact_sum import exact_sum, rounded_sum
    >>> rounded_sum(exact_sum(np.full(10, 0.1)))
    1.0
    """
    try:
        return total / (1 << _UNIT_EXPONENT)
    except OverflowError:
        return float("inf") if total > 0 else float("-inf")
