"""The cost model of fits in partitions: it says of a measured fit what was measured."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("distributed")

import geoquant.distributed
from benchmarks import distributed_cost as cost
from geoquant.distributed.engine import LocalEngine, map_tasks

if TYPE_CHECKING:
    from pathlib import Path


def row(n: int, partitions: int, seconds: float) -> cost.Row:
    tasks = {"join_partition": seconds / 2, "propose_swaps": seconds / 4}
    counts = {"k": 64, "compared": n // 10, "cells": max(1, n // 244), "searches": 4, "rounds": 3}
    sizes = {"peak_bytes": 10**8, "bytes_written": 900 * n, "most_foreign": n // 2}
    return {"n": n, "d": 20, "partitions": partitions, "seconds": seconds, "tasks": tasks} | (
        counts | sizes
    )


def test_of_a_measured_fit_the_model_says_what_was_measured() -> None:
    """With one row, each kind of work takes its time, and all of them the whole."""
    known = row(100_000, 8, 40.0)
    found = cost.foreseen(100_000, 8, [known])
    assert found["seconds"] == pytest.approx(40.0)
    assert found["kinds"]["neighbours"] == pytest.approx(20.0)
    assert found["kinds"]["client"] == pytest.approx(10.0)


def test_more_latents_cost_more_and_more_workers_less() -> None:
    """The client's own part is not shared out."""
    rows = [row(100_000, 4, 40.0), row(400_000, 8, 150.0)]
    two, four = (cost.foreseen(10**7, 8, rows, n_workers) for n_workers in (2, 4))
    assert two["seconds"] > 25 * 150
    assert four["kinds"]["neighbours"] == two["kinds"]["neighbours"] / 2
    assert four["kinds"]["client"] == two["kinds"]["client"]
    assert two["peak_bytes"] == pytest.approx(
        2e8 + 640 * 1.6 * 10**7 / 8 + two["most_foreign"] * 184
    )


def test_points_of_others_are_counted(tmp_path: Path) -> None:
    """Three blocks in two partitions: the second looks at five points, the first at three."""
    np.save(tmp_path / "block-size.npy", np.array([5, 7, 3]))
    np.save(tmp_path / "block-part.npy", np.array([0, 0, 1]))
    np.save(tmp_path / "cell-pairs.npy", np.array([[0, 1], [0, 2]]))
    assert cost.most_foreign(tmp_path) == 5


def test_points_compared_are_counted(tmp_path: Path) -> None:
    """Cells of 2, 3 and 5 points, the first two compared: (2 · 5 + 3 · 5 + 5 · 5) / 10."""
    np.save(tmp_path / "block-size.npy", np.array([2, 3, 5]))
    np.save(tmp_path / "cell-pairs.npy", np.array([[0, 1]]))
    assert cost.n_compared(tmp_path) == 5.0


def test_every_task_is_of_a_kind() -> None:
    """The tasks of a fit, which say that they are such, and no others."""
    of_fits = set()
    for module in pkgutil.iter_modules(geoquant.distributed.__path__):
        found = importlib.import_module(f"geoquant.distributed.{module.name}")
        of_fits |= {
            name
            for name, value in vars(found).items()
            if "(a task)" in (getattr(value, "__doc__", None) or "") and callable(value)
        }
    assert set(" ".join(cost.TASKS.values()).split()) <= of_fits
    others = of_fits - set(" ".join(cost.TASKS.values()).split())
    assert others <= {"assign_shard", "count_codes", "sum_shard", "write_block", "join_codes"}


def test_tasks_are_timed_by_name() -> None:
    """What is waited for counts under the name of its task, however many there are."""
    engine = cost.TimedEngine(LocalEngine())
    assert map_tasks(engine, pow, [(2, 3), (3, 2)]) == [8, 9]
    assert list(engine.seconds) == ["pow"]
    assert 0 < engine.seconds["pow"] < 60


def test_the_documented_tables_are_those_of_the_record() -> None:
    """`docs/how_to/scale.md` shows what the last measurements say, to the digit."""
    text = (cost.ROOT / "docs" / "how_to" / "scale.md").read_text()
    for table in cost.tables(json.loads(cost.RESULTS.read_text())):
        assert table in text
