"""What a process that lives long relies on: it can be interrupted, and nothing leaks."""

from __future__ import annotations

import gc
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant.memory import resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

pytestmark = pytest.mark.hard

N_INTERRUPTIONS, N_FITS = 200, 300
#: Seconds within which Ctrl-C must be obeyed: of 99 in 100, and always.
_MOST_P99, _MOST = 0.2, 1.0
_KIB = 1024


@pytest.mark.timeout(2400)
def test_interruptions(scaled: Callable[[int], int], note: Callable[..., None]) -> None:
    """SIGINT at random moments of a fit of 100 000 latents becomes KeyboardInterrupt at once."""
    rng = np.random.default_rng(6)
    latents = rng.normal(size=(100_000, 8)).astype(np.float32)
    usual = min(seconds_of_fit(latents) for _ in range(2))
    delays: list[float] = []
    n_wanted = scaled(N_INTERRUPTIONS)
    while len(delays) < n_wanted:
        sent = []

        def interrupt(sent: list[float] = sent) -> None:
            sent.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)

        timer = threading.Timer(rng.uniform(0, 0.9 * usual), interrupt)
        timer.start()
        try:
            gq.fit_codebook(latents, 32, random_state=0)
            timer.cancel()  # it was faster than usual
            timer.join()
        except KeyboardInterrupt:
            delays.append(time.perf_counter() - sent[0])
    p99, longest = float(np.quantile(delays, 0.99)), max(delays)
    note("interruptions", count=len(delays), p99_seconds=p99, longest_seconds=longest)
    assert longest <= _MOST
    assert p99 <= _MOST_P99


def seconds_of_fit(latents: npt.NDArray[np.float32]) -> float:
    """Wall time of the fit that is interrupted."""
    begin = time.perf_counter()
    gq.fit_codebook(latents, 32, random_state=0)
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
