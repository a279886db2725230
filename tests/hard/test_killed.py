"""Processes that are killed: files whole, and fits that go on to the same bits."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.hard,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]

N_SAVES, N_FITS = 2_000, 100
_BLOCK = 1 << 18


def killed_after(seconds: float, work: Callable[[], Any]) -> bool:
    """Do some work in a process of its own and kill it; whether it had not ended yet."""
    child = os.fork()
    if child == 0:  # pragma: no cover  the child is killed, or leaves without a word
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def content_of(number: int) -> bytes:
    """Bytes that say themselves whether they are whole."""
    body = np.random.default_rng(number).bytes(_BLOCK)
    return hashlib.sha256(body).digest() + body


@pytest.mark.timeout(1800)
def test_killed_in_saves(
    tmp_path: Path, scaled: Callable[[int], int], note: Callable[..., None]
) -> None:
    """kill -9 at random moments of a writer that never stops: the file is always a whole one."""
    path, rng = tmp_path / "out", np.random.default_rng(4)
    contents = [content_of(number) for number in range(4)]
    write_atomically(path, contents[0])
    n_saves, in_work = scaled(N_SAVES), 0

    def save_again_and_again() -> None:
        for number in range(10**6):
            write_atomically(path, contents[number % 4])

    for _ in range(n_saves):
        in_work += killed_after(rng.uniform(0, 0.02), save_again_and_again)
        assert path.read_bytes() in contents
    write_atomically(path, contents[0])
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    note("kills in saves", kills=n_saves, before_the_end=in_work, torn_or_lost=0)


@pytest.mark.timeout(1800)
def test_killed_fits_go_on_to_the_same_bits(
    tmp_path: Path, scaled: Callable[[int], int], note: Callable[..., None]
) -> None:
    """Killed up to three times, each gives codebook and codes of one that never was."""
    rng = np.random.default_rng(5)
    latents = rng.normal(size=(3_000, 4)).astype(np.float32)
    options: dict[str, Any] = {"random_state": 0, "n_init": 2, "n_jobs": 1}
    begin = time.perf_counter()
    expected = digest_of(gq.fit_codebook(latents, 12, **options))
    usual = time.perf_counter() - begin
    n_fits, kills = scaled(N_FITS), 0
    for number in range(n_fits):
        kept: dict[str, Any] = {"checkpoint": tmp_path / str(number), "resume": True, **options}
        for _ in range(rng.integers(1, 4)):
            kills += killed_after(
                rng.uniform(0, usual), lambda kept=kept: gq.fit_codebook(latents, 12, **kept)
            )
        assert digest_of(gq.fit_codebook(latents, 12, **kept)) == expected
        assert not (tmp_path / str(number)).exists()
    note("kills of fits", fits=n_fits, kills=kills, other_bits=0)


def digest_of(fitted: gq.FittedCodebook) -> str:
    """SHA-256 of codebook and codes."""
    found = hashlib.sha256(b"".join(map(bytes, fitted.codebook.file_blocks())))
    found.update(fitted.codes.tobytes())
    return found.hexdigest()
