from __future__ import annotations

import numpy as np
import pytest

import geoquant as gq

N, DIM, K = 90, 3, 7


def some_latents(n: int = N, seed: int = 0) -> np.ndarray:
    """A bent sheet, so that distances along it are others than straight ones."""
    rng = np.random.default_rng(seed)
    u, v = rng.random((2, n))
    return np.stack([np.cos(3 * u), np.sin(3 * u), v], axis=1).astype(np.float32)


def some_images(n: int = N, height: int = 4, width: int = 5) -> np.ndarray:
    """Each of another brightness, so that their order shows."""
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (n, height, width), np.uint8)


@pytest.fixture(scope="session")
def book() -> gq.Codebook:
    return gq.fit_codebook(some_latents(seed=5), K, random_state=0).codebook


@pytest.fixture(scope="session")
def stages() -> gq.MultistageCodebook:
    return gq.fit_multistage(some_latents(seed=5), (4, 3), n_stages=2, random_state=0).codebook
