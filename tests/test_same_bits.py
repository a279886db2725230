"""The same seed gives the same bits: a few of the cells that tests/hard/test_same_bits.py fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from geoquant import _core
from tests.same_bits import CHUNKS, chunked, cloud, digest, layouts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def expected() -> str:
    """The digest of one thread."""
    return digest(cloud(0), 0, 1)


@pytest.mark.parametrize("number", range(8))
def test_neither_threads_nor_layout_nor_chunks_nor_instructions_show(
    expected: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole fits of both kinds, on exact and approximate graphs, to the last bit."""
    forms, simd = list(layouts(tmp_path).values()), _core.available_simd()
    chunk = CHUNKS[number % len(CHUNKS)]
    monkeypatch.setenv("GEOQUANT_SIMD", simd[number % len(simd)])
    with chunked(*chunk[:2]):
        found = digest(forms[number](cloud(0)), 0, (8, 3, 2, 1)[number % 4], chunk[2])
    assert found == expected


def test_the_digest_is_of_every_bit() -> None:
    """Another seed, or one number that is a little other, gives another digest."""
    x = cloud(0)
    changed = x.copy()
    changed[300, 0] = np.nextafter(changed[300, 0], np.float32(9))
    assert len({digest(x, 0), digest(x, 1), digest(changed, 0)}) == 3
