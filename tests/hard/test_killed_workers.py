"""Workers of Dask killed at random points of a fit and of an assignment."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.distributed.clusters import WORKS, CountingEngine, equal_after_a_kill, made_shards

pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.hard
@pytest.mark.parametrize("name", WORKS)
def test_workers_killed_at_random_points(
    tmp_path: Path, name: str, note: Callable[..., None], scaled: Callable[[int], int]
) -> None:
    """The same bits each time."""
    shards, counting = made_shards(tmp_path), CountingEngine()
    expected = WORKS[name](shards, counting, tmp_path / "whole")
    points = random.Random(0).choices(range(1, counting.n_begun + 1), k=scaled(20))
    same = [
        equal_after_a_kill(WORKS[name], shards, tmp_path / f"run{i}", at, expected)
        for i, at in enumerate(points)
    ]
    note(f"killed_workers_{name}", cases=len(same), same_bits=sum(same))
    assert all(same)
