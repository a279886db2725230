"""Sums without rounding: those of `math.fsum`, in any order and in any partition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant import exact_sum as module
from geoquant.exact_sum import exact_sum, rounded_sum

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, max_size=40), st.integers(0, 40))
def test_sums_are_those_of_fsum(terms: list[float], place: int) -> None:
    """Numbers of all sizes, subnormal ones too, cut in two anywhere, sum to the nearest float."""
    total = exact_sum(np.array(terms[:place])) + exact_sum(np.array(terms[place:]))
    try:
        expected = math.fsum(terms)
    except OverflowError:  # on the way, where the sum itself is finite
        assert exact_sum(np.array(terms)) == total
        return
    assert rounded_sum(total) == expected


@pytest.mark.parametrize(("term", "expected"), [(1e308, math.inf), (-1e308, -math.inf)])
def test_sums_beyond_the_largest_float(term: float, expected: float) -> None:
    """A sum that no float holds is infinite."""
    assert rounded_sum(exact_sum(np.full(2, term))) == expected


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """More terms than one block takes sum to the same."""
    terms = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.linspace(-300, 300, 1000)
    expected = exact_sum(terms)
    monkeypatch.setattr(module, "_BLOCK_TERMS", 7)
    assert exact_sum(terms) == expected
    assert rounded_sum(expected) == math.fsum(terms)


def test_a_full_block_is_exact() -> None:
    """The largest mantissas of a whole block lose nothing."""
    n = module._BLOCK_TERMS
    term = np.nextafter(2.0, 0.0)
    terms = np.lib.stride_tricks.as_strided(np.array([term]), (n,), (0,))
    assert exact_sum(terms) == n * exact_sum(np.array([term]))
