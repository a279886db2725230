"""Tests of how things are timed, and of the laws that are put through the times."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks import datasets, peers, trends
from benchmarks.measure import (
    Contender,
    Timing,
    in_seconds,
    peak_of_command,
    run,
    seconds_in_turn,
    times_in_turn,
)
from benchmarks.peers import NotAvailable
from benchmarks.verify import WrongResult

if TYPE_CHECKING:
    from pathlib import Path


def test_contenders_are_timed_in_turn() -> None:
    """After a verified run of each, every round runs every contender once."""
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = seconds_in_turn(functions, 2)
    assert calls == list("ababab")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_nothing_is_timed_before_all_is_verified() -> None:
    """A wrong result ends it, and the message says whose it is."""
    calls: list[str] = []

    def refuse(_: object) -> str:
        raise WrongResult("3 of 9 entries differ")

    right = Contender("right", lambda: calls.append("right"), lambda _: "fine")
    wrong = Contender("wrong", lambda: calls.append("wrong"), refuse)
    with pytest.raises(WrongResult, match="wrong: 3 of 9"):
        times_in_turn([right, wrong], 5)
    assert calls == ["right", "wrong"]


def test_budget_bounds_the_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow contender counts from its verified run on, and is not repeated beyond its budget."""
    monkeypatch.setattr("benchmarks.measure.SLOW_S", 0.0)
    calls: list[int] = []
    slow = Contender("slow", lambda: calls.append(1), lambda _: "fine")
    timing = times_in_turn([slow], 3, budget_s=1e-12)["slow"]
    assert len(calls) == len(timing.seconds) == 1
    assert timing.found == "fine"


def test_spread_is_least_and_most() -> None:
    """The median stands alone, the spread beside it."""
    timing = Timing([3.0, 1.0, 2.0])
    assert timing.median == 2.0
    assert timing.spread() == "1 s to 3 s in 3 runs"


def test_seconds_have_a_fitting_unit() -> None:
    """Milliseconds for little, no decimals for much."""
    assert [in_seconds(s) for s in (0.0123, 1.234, 2150.4)] == ["12.3 ms", "1.23 s", "2150 s"]


def test_failed_command_is_a_wrong_result() -> None:
    """What it said is in the message."""
    with pytest.raises(WrongResult, match="exited 3"):
        run(sys.executable, "-S", "-c", "raise SystemExit(3)")


def test_peak_of_a_command_is_its_own() -> None:
    """The peak holds what the command took, and nothing of this process."""
    ballast = bytearray(300_000_000)
    little = peak_of_command(sys.executable, "-S", "-c", "pass")
    much = peak_of_command(sys.executable, "-S", "-c", "bytearray(100_000_000)")
    assert little < 100 < much < 300 < len(ballast) / 1e6 + 1


def test_power_law_is_found() -> None:
    """Times of n to the power of 1.5 have that slope, and go on so."""
    seconds_at = {n: 2e-6 * n**1.5 for n in (1_000, 4_000, 9_000)}
    exponent, factor = trends.power_law(seconds_at)
    assert exponent == pytest.approx(1.5)
    assert factor == pytest.approx(2e-6)
    assert trends.extrapolated(seconds_at, 60_000) == pytest.approx(2e-6 * 60_000**1.5)


def test_one_size_has_no_slope() -> None:
    """It takes two."""
    with pytest.raises(ValueError, match="two sizes"):
        trends.power_law({10: 1.0})


def test_missing_peer_is_reported() -> None:
    """It is left out of the contest and named with the cure."""

    def absent() -> Contender:
        peers.load("no_such_library")
        raise AssertionError

    there = Contender("there", lambda: None, lambda _: "")
    contenders, missing = peers.available({"there": lambda: there, "absent": absent})
    assert contenders == [there]
    assert list(missing) == ["absent"]
    assert "make bench installs it" in missing["absent"]


def test_threads_are_set_and_put_back() -> None:
    """faiss has as many as told, and as many as before afterwards."""
    import faiss

    before = faiss.omp_get_max_threads()
    with peers.threads(1):
        assert faiss.omp_get_max_threads() == 1
    assert faiss.omp_get_max_threads() == before


def test_mixture_is_the_same_every_time_and_a_small_one_begins_a_large_one() -> None:
    """Rows depend on nothing but their number, across blocks too."""
    large = datasets.mixture(60_010, 3).latents
    assert large.shape == (60_010, 3)
    assert large.dtype == np.float32
    assert np.array_equal(datasets.mixture(50, 3).latents, large[:50])
    assert np.array_equal(datasets.mixture(20, 3, start=59_990).latents, large[59_990:])


def test_new_latents_are_none_of_the_old() -> None:
    """They follow the rows of the source."""
    old = datasets.mixture(100, 4)
    new = datasets.new_latents(50, old)
    assert np.array_equal(new, datasets.mixture(150, 4).latents[100:])


def test_without_data_there_is_a_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything runs on a machine that has no latents of MNIST; asking for them names the cure."""
    monkeypatch.delenv("GEOQUANT_DATA", raising=False)
    assert datasets.latents(10).name == datasets.growing(10).name == "generated mixture"
    with pytest.raises(NotAvailable, match="GEOQUANT_DATA is not set; set it to the folder"):
        datasets.latents(10, "mnist")


def test_latents_of_mnist_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means as far as they go, then draws, round after round, each other than the last."""
    rng = np.random.default_rng(0)
    (tmp_path / "latents").mkdir()
    mean = rng.normal(size=(30, 4)).astype(np.float32)
    for part, array in (("mean", mean), ("logvar", np.full_like(mean, -20.0))):
        np.save(tmp_path / f"latents/mnist_vae20_train_{part}.npy", array)
    monkeypatch.setenv("GEOQUANT_DATA", str(tmp_path))
    datasets.mnist.cache_clear()
    try:
        assert np.array_equal(datasets.latents(20).latents, mean[:20])
        draws = datasets.latents(70)
        assert draws.name == "draws of MNIST posteriors"
        assert draws.latents.shape == (70, 4)
        assert np.allclose(draws.latents, np.tile(mean, (3, 1))[:70], atol=1e-3)
        assert not np.array_equal(draws.latents[:30], draws.latents[30:60])
        with pytest.raises(NotAvailable, match="choose draws or mixture"):
            datasets.latents(31, "mnist")
        with pytest.raises(NotAvailable, match=r"latents/none\.npy does not exist"):
            datasets.data_file("latents/none.npy")
    finally:
        datasets.mnist.cache_clear()
