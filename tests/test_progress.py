"""Progress callbacks, and numbers of jobs."""

from __future__ import annotations

import os

import numpy as np
import pytest

from geoquant import InputError
from geoquant.progress import n_threads, of_stage


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on four cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6}, raising=False)


@pytest.mark.parametrize(
    ("n_jobs", "expected"),
    [
        *((None, 4), (1, 1), (9, 9), (10_000, 64), (2**40, 64), (np.int64(2), 2)),
        *((-1, 4), (-2, 3), (-4, 1), (-5, 1), (-100, 1)),
    ],
)
@pytest.mark.usefixtures("four_cores")
def test_jobs_become_threads(n_jobs: int | None, expected: int) -> None:
    """None and -1 are all cores allowed, negative numbers leave some out; 1 to 64 at least."""
    assert n_threads(n_jobs) == expected


def test_counts_cores_where_there_is_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems without sched_getaffinity count the cores of the machine, one if unknown."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert n_threads(None) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert n_threads(None) == 1


@pytest.mark.parametrize("n_jobs", [0, 1.0, "2", True, np.True_, [1], np.nan])
def test_refuses_what_is_no_number_of_jobs(n_jobs: object) -> None:
    """Zero, fractions, text and booleans are no numbers of jobs."""
    with pytest.raises(InputError, match="n_jobs must be None or a non-zero integer, found"):
        n_threads(n_jobs)


def test_stage_is_bound() -> None:
    """Kernels report (done, total); the callback hears the stage too."""
    heard: list[tuple[str, int, int]] = []
    report = of_stage(lambda *args: heard.append(args), "seeds")
    assert report is not None
    report(1, 2)
    assert heard == [("seeds", 1, 2)]


def test_no_callback_is_no_callback() -> None:
    """Without a callback kernels get none."""
    assert of_stage(None, "seeds") is None
