"""Encodings of the explorer's page, read back by the oracle in tests/explorer/reading.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant.explorer import encoding
from geoquant.explorer.encoding import (
    base64_of,
    edge_numbers,
    packed_bits,
    quantised,
    varints,
)
from tests.explorer import reading


@given(st.lists(st.integers(0, 2**35 - 1)))
def test_varints_are_read_back(numbers: list[int]) -> None:
    """Any list of numbers below 2**35, none too."""
    stream = base64_of(varints(np.array(numbers, np.int64)))
    assert reading.varint_numbers(stream) == numbers


@pytest.mark.parametrize(("number", "n_bytes"), [(0, 1), (127, 1), (128, 2), (2**14, 3)])
def test_varints_take_as_few_bytes_as_there_are(number: int, n_bytes: int) -> None:
    """One byte for each seven bits."""
    assert len(varints(np.array([number]))) == n_bytes


@given(st.integers(1, 16), st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40))
def test_bits_are_read_back(n_bits: int, numbers: list[int]) -> None:
    """Numbers of any width, in as many bytes as their bits fill."""
    levels = np.array(numbers, np.uint16) & np.uint16(2**n_bits - 1)
    stream = packed_bits(levels, n_bits)
    assert len(stream) == -(-len(numbers) * n_bits // 8)
    assert reading.bit_numbers(base64_of(stream), n_bits, len(numbers)) == levels.tolist()


def test_bits_of_several_blocks_are_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where numbers are packed a part at a time, nothing is lost between the parts."""
    levels = np.arange(50, dtype=np.uint16) * 40
    whole = packed_bits(levels, 11).tolist()
    monkeypatch.setattr(encoding, "_PACKED_AT_ONCE", 16)
    assert packed_bits(levels, 11).tolist() == whole


@given(st.integers(1, 12), st.integers(0, 10_000))
def test_edges_are_read_back(n_nodes: int, seed: int) -> None:
    """Random graphs, nodes without edges among them."""
    is_edge = np.triu(np.random.default_rng(seed).random((n_nodes, n_nodes)) < 0.3, k=1)
    low, high = np.nonzero(is_edge)
    numbers = edge_numbers(low, high, n_nodes).tolist()
    assert reading.edges(numbers, n_nodes) == list(zip(low.tolist(), high.tolist(), strict=True))


@pytest.mark.parametrize("n_bits", [1, 8, 11, 16])
def test_quantised_numbers_are_half_a_step_off_at_most(n_bits: int) -> None:
    """Each column has its own step, and its ends are exact; a constant column is."""
    columns = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) * [1, 1e6, 0]
    levels = quantised(columns, n_bits)
    assert levels.levels.max() == 2**n_bits - 1
    error = np.abs(levels.numbers() - columns)
    assert (error <= levels.step / 2 * (1 + 1e-9) + 1e-9).all()
    np.testing.assert_allclose(levels.numbers().max(axis=0), columns.max(axis=0), rtol=1e-12)


def test_base64_is_little_endian() -> None:
    """Whatever the order of bytes of the array."""
    assert base64_of(np.array([1, 256], ">u2")) == base64_of(np.array([1, 256], "<u2"))
    assert base64_of(np.array([1, 256], ">u2")) == "AQAAAQ=="
