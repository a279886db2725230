"""What a fit is said to take, against what it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.clustering.kmedoids import ALGORITHMS
from geoquant.cost import (
    STAGES,
    FitShape,
    bytes_by_array,
    bytes_by_stage,
    named_bytes,
    scratch_key,
    seconds_by_stage,
    time_key,
)
from geoquant.cost_constants import SCRATCH, TIME
from geoquant.errors import InputError, ResourceError
from geoquant.estimate import default_algorithm, estimate_fit

SHAPE = FitShape(1000, 4, 8, 10, "swap", True, 2, 1.5)


def cloud(n: int, d: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


# ------------------------------------------------------------------------------------------- model


def test_named_arrays_by_hand() -> None:
    """A thousand nodes with ten neighbours have the bytes that one adds up on paper."""
    arrays = named_bytes(SHAPE)
    assert list(arrays) == list(STAGES)
    assert SHAPE.n_entries == 15_000
    assert arrays["neighbours"]["neighbours and distances"] == 1000 * 10 * (4 + 4)
    assert arrays["graph"]["edges"] == 15_000 * (4 + 4) + 1001 * 8
    assert arrays["codebook"]["anchors with codes and distances"] == 1000 * (4 * 4 + 4 + 8)


def test_stages_are_the_sums_of_their_arrays() -> None:
    """Scratch included, which is never negative."""
    arrays = bytes_by_array(SHAPE)
    assert bytes_by_stage(SHAPE) == {s: sum(named.values()) for s, named in arrays.items()}
    assert all(size >= 0 for named in arrays.values() for size in named.values())


def test_a_complete_graph_has_no_more_entries_than_pairs() -> None:
    """Few nodes with many neighbours cannot have more edges than there are pairs."""
    assert replace(SHAPE, n=5, n_neighbors=4).n_entries == 20


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("is_exact", [True, False])
def test_every_algorithm_has_its_constants(algorithm: str, is_exact: bool) -> None:
    """Whatever may be chosen has been measured: python -m benchmarks.fit_cost_constants."""
    shape = replace(SHAPE, algorithm=algorithm, is_exact=is_exact)
    assert {time_key(stage, shape) for stage in STAGES} <= set(TIME)
    assert {scratch_key(s, shape) for s in ("neighbours", "clustering", "codebook")} <= set(SCRATCH)
    assert list(seconds_by_stage(shape)) == list(STAGES)


@pytest.mark.parametrize("name", ["n", "n_neighbors"])
def test_more_takes_more(name: str) -> None:
    """More latents, or neighbours, take more memory and time."""
    more = replace(SHAPE, **{name: 4 * getattr(SHAPE, name)})
    assert max(bytes_by_stage(more).values()) > max(bytes_by_stage(SHAPE).values())
    assert sum(seconds_by_stage(more).values()) > sum(seconds_by_stage(SHAPE).values())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measured through /proc")
@pytest.mark.parametrize(
    "shape",
    [
        ("mixture", 40_000, 30, 15, 1024, "alternate", 2),
        ("mixture", 90_000, 10, 10, 2048, "alternate", 1),
        ("mixture", 45_000, 10, 10, 64, "auto", 2),
    ],
)
def test_peak_memory_is_as_said(request: pytest.FixtureRequest, shape: tuple) -> None:
    """The peak of a fit in a fresh process is within 25 % of the model, and 3 MB."""
    root = request.config.rootpath
    if not (root / "benchmarks").is_dir():
        pytest.skip("this copy of the tree has no benchmarks")
    command = [sys.executable, "-m", "benchmarks.fit_cost_constants", "--one", *map(str, shape)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    _, n, d, k, n_clusters, algorithm, n_jobs = shape
    model = FitShape(
        n,
        d,
        n_clusters,
        k,
        algorithm,
        measured["is_exact"],
        n_jobs,
        measured["entries_per_neighbor"],
        measured["compared"],
    )
    peak = max(measured["bytes"].values())
    assert max(bytes_by_stage(model).values()) == pytest.approx(peak, rel=0.25, abs=3e6)


def test_random_draws_widen_the_range() -> None:
    """Where a pass over all nodes costs too much, three draws are least, all affordable most."""
    few, many = (
        [
            sum(seconds_by_stage(replace(SHAPE, n=n, n_clusters=64, algorithm="auto"), t).values())
            for t in ("least", "likely", "most")
        ]
        for n in (60_000, 1_000_000)
    )
    assert few[0] == few[1] == few[2]
    assert many[0] < many[1] < many[2]


def test_points_are_compared_with_near_cells_only_where_those_are_few() -> None:
    """Half of all points or more: then all are."""
    shape = replace(SHAPE, n=100_000, is_exact=False)
    assert replace(shape, compared=60_000.0).n_compared == 100_000
    assert replace(shape, compared=40_000.0).n_compared == 40_000
    assert replace(shape, compared=40_000.0, is_exact=True).n_compared == 100_000


# ---------------------------------------------------------------------------------------- estimate


def test_an_estimate_names_the_fit_and_its_stages() -> None:
    """Every stage has bytes and seconds, and the peak and the total are theirs."""
    estimate = estimate_fit(5000, 3, 16, latents=cloud(5000), n_jobs=1)
    assert (estimate.n, estimate.d, estimate.n_clusters, estimate.n_neighbors) == (5000, 3, 16, 10)
    assert estimate.algorithm == default_algorithm()
    assert estimate.is_exact
    assert estimate.input_bytes == 60_000
    assert list(estimate.bytes) == list(estimate.seconds) == list(estimate.arrays) == list(STAGES)
    assert estimate.peak_bytes == max(estimate.bytes.values())
    assert estimate.total_seconds == pytest.approx(sum(estimate.seconds.values()))
    assert all(seconds > 0 for seconds in estimate.seconds.values())
    least, most = estimate.seconds_range
    assert least < estimate.total_seconds < most


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 2), (3, 2, 1), (30, 2, 30)])
def test_the_smallest_fits_are_estimated(shape: tuple) -> None:
    """One latent, one cluster, as many clusters as latents."""
    assert estimate_fit(*shape).total_seconds > 0


def test_duplicates_do_not_stop_an_estimate() -> None:
    """A sample with fewer distinct rows than clusters is fitted with as many as it has."""
    assert estimate_fit(3000, 2, 64, latents=np.zeros((3000, 2))).total_seconds > 0


def test_only_the_rows_of_the_sample_are_read() -> None:
    """An array that cannot be read as a whole is estimated from some of its rows."""

    class Lazy(np.ndarray):
        def __getitem__(self, rows: Any) -> Any:
            assert len(rows) < 50_000
            return super().__getitem__(rows)

    x = cloud(60_000).view(Lazy)
    assert estimate_fit(60_000, 3, 64, latents=x).n == 60_000


def test_starting_anew_takes_as_many_times_as_long() -> None:
    """The seconds of clustering are those of one run, times the runs."""
    x = cloud(2000)
    once, thrice = (estimate_fit(2000, 3, 4, latents=x, n_init=i, n_jobs=1) for i in (1, 300))
    assert thrice.seconds["clustering"] > 10 * once.seconds["clustering"]
    assert thrice.peak_bytes == once.peak_bytes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n must be"),
        ({"n": 2**31}, "n must be"),
        ({"d": 0}, "d must be"),
        ({"n_clusters": 0}, "n_clusters must be"),
        ({"n_clusters": 101}, r"n_clusters must be an integer in \[1, 100\], found 101"),
        ({"n_neighbors": 0}, "n_neighbors must be"),
        ({"n_init": 0}, "n_init must be"),
        ({"recall_target": 0}, "recall_target must be"),
        ({"algorithm": "lloyd"}, "algorithm must be one of"),
        ({"n_jobs": 0}, "n_jobs must be"),
        ({"latents": np.zeros((99, 2))}, r"latents must have shape \(100, 2\), found \(99, 2\)"),
        ({"latents": np.full((100, 2), np.nan)}, "finite"),
    ],
)
def test_estimates_refuse(changes: dict, message: str) -> None:
    """Arguments that no fit would take are refused by name."""
    with pytest.raises(InputError, match=message):
        estimate_fit(**{"n": 100, "d": 2, "n_clusters": 4} | changes)


# ----------------------------------------------------------------------------------------- refusal


def test_a_fit_that_does_not_fit_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is searched, naming what is needed, what there is, the cure."""

    def search(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("the search has begun")

    monkeypatch.setattr("geoquant.fit.nearest_neighbors", search)
    message = "needs about .* of memory, 0.1 MB may be used .*: lower n_neighbors, .* max_memory"
    with pytest.raises(ResourceError, match=message):
        gq.fit_codebook(cloud(2000), 4, max_memory=100_000)
    with pytest.raises(ResourceError, match=message):
        gq.GeodesicKMedoids(4, max_memory=100_000).fit(cloud(2000))


def test_who_knows_better_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """max_memory counts instead of what the machine has."""
    monkeypatch.setattr("geoquant.memory.available_memory", lambda: 1000)
    with pytest.raises(ResourceError, match="are available"):
        gq.fit_codebook(cloud(100), 4)
    assert gq.fit_codebook(cloud(100), 4, max_memory=10**9, random_state=0).codes.size == 100
