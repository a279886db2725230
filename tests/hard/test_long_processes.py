"""What a process that lives long relies on: it can be interrupted, and nothing leaks."""

from __future__ import annotations

import gc
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.cli import _tidy_end
from geoquant.memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.hard

N_INTERRUPTIONS, N_FITS = 200, 300
#: Seconds within which Ctrl-C must be obeyed: of 99 in 100, and always.
_MOST_P99, _MOST = 0.2, 1.0
_KIB = 1024


@pytest.mark.timeout(2400)
def test_interruptions(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """Ctrl-C and SIGTERM at random moments of each part of a fit of 100 000 latents end it."""
    rng = np.random.default_rng(6)
    delays: list[float] = []
    for work, count in parts_of_a_fit():
        usual = min(seconds_of(work) for _ in range(2))
        for shot in range(scaled(count)):
            number = (signal.SIGINT, signal.SIGTERM)[shot % 2]
            # Which was sent after the end is sent again.
            while not delays_after(number, rng.uniform(0, 0.95 * usual), work, delays):
                pass
    p99, longest = float(np.quantile(delays, 0.99)), max(delays)
    note("interruptions", count=len(delays), p99_seconds=p99, longest_seconds=longest)
    assert longest <= _MOST
    assert p99 <= _MOST_P99


def parts_of_a_fit() -> list[tuple[Callable[[], Any], int]]:
    """What a fit does one after the other, and assignment; each with its share of all shots."""
    latents = np.random.default_rng(6).normal(size=(100_000, 8)).astype(np.float32)
    fitted = gq.fit_codebook(latents, 64, random_state=0)
    stages: dict[str, Any] = {"n_refits": 1, "metric": "euclidean", "random_state": 0}
    several = gq.fit_multistage(latents[:5_000], 32, 3, **stages).codebook
    return [
        (lambda: gq.knn_graph(latents), N_INTERRUPTIONS * 4 // 10),
        (lambda: gq.geodesic_kmedoids(fitted.graph, 64, random_state=0), N_INTERRUPTIONS // 5),
        (lambda: fitted.codebook.assign(latents), N_INTERRUPTIONS // 5),
        (lambda: several.assign(latents), N_INTERRUPTIONS * 3 // 20),
        (lambda: gq.fit_codebook(latents, 64, random_state=0), N_INTERRUPTIONS // 20),
    ]


def delays_after(
    number: signal.Signals, seconds: float, work: Callable[[], Any], delays: list[float]
) -> bool:
    """Send a signal into some work, and note how long it took to end; False if it had ended."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        signal.raise_signal(number)

    timer = threading.Timer(seconds, send)
    try:
        with _tidy_end():
            timer.start()
            work()
            timer.cancel()
            timer.join()
    except KeyboardInterrupt:
        delays.append(time.perf_counter() - sent[0])
        return True
    return False


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time of what is interrupted."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


@pytest.mark.timeout(1200)
def test_fits_leak_nothing(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """The memory of a process that fits again and again does not grow."""
    latents = np.random.default_rng(7).normal(size=(2_000, 8)).astype(np.float32)
    n_fits = scaled(N_FITS)
    held = []
    for number in range(n_fits + 20):
        gq.fit_codebook(latents, 16, random_state=number, n_jobs=2)
        gc.collect()
        if number >= 20:
            held.append(resident_bytes())
    slope = float(np.polyfit(np.arange(len(held)), held, 1)[0]) / _KIB if len(held) > 1 else 0.0
    note("leaks", fits=n_fits, kib_per_fit=slope)
    assert slope < 10
