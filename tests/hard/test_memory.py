"""What a fit is said to take is what it takes, for fits of many sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.datasets import mixture
from geoquant.estimate import estimate_fit

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.hard,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured through /proc"),
]

#: n, d, n_neighbors, n_clusters, algorithm, n_jobs; not among those that the model was fitted to.
FITS = [
    (7_000, 12, 8, 40, "auto", 2),
    (20_000, 12, 8, 40, "auto", 2),
    (18_000, 48, 12, 100, "swap", 1),
    (35_000, 16, 20, 500, "auto", 2),
    (50_000, 96, 10, 64, "auto", 2),
    (70_000, 20, 10, 64, "alternate", 2),
    (90_000, 40, 5, 2_000, "auto", 2),
    (130_000, 10, 15, 128, "auto", 1),
    (180_000, 24, 10, 64, "auto", 2),
    (260_000, 12, 10, 512, "auto", 2),
    (300_000, 8, 10, 64, "auto", 2),
]
_LEAST, _MOST = 0.9, 1.25


def said_over_measured(n: int, d: int, k: int, n_clusters: int, algorithm: str, jobs: int) -> float:
    """The estimate made before a fit over the peak of that fit in a fresh process."""
    said = estimate_fit(
        n,
        d,
        n_clusters,
        n_neighbors=k,
        algorithm=algorithm,
        n_jobs=jobs,
        latents=mixture(n, d).latents,
    )
    shape = ("mixture", n, d, k, n_clusters, algorithm, jobs)
    command = [sys.executable, "-m", "benchmarks.fit_cost_constants", "--one", *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return said.peak_bytes / max(json.loads(done.stdout)["bytes"].values())


@pytest.mark.timeout(1800)
def test_estimates_of_memory(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """Never a tenth too little, never a quarter too much."""
    ratios = [said_over_measured(*fit) for fit in FITS[: scaled(len(FITS))]]
    note("estimates of memory", fits=len(ratios), least=min(ratios), most=max(ratios))
    assert min(ratios) >= _LEAST
    assert max(ratios) <= _MOST
