from __future__ import annotations

import numpy as np
import pytest

import geoquant as gq


def spiral(n: int = 300) -> np.ndarray:
    """A curve whose turns lie close: paths along it are much longer than chords."""
    angle = np.linspace(2, 14, n)
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def latents() -> np.ndarray:
    """Three hundred latents along a spiral, in an order of their own."""
    return np.random.default_rng(0).permutation(spiral())


@pytest.fixture(scope="session")
def codebook(latents: np.ndarray) -> gq.Codebook:
    """Twelve codes of theirs."""
    return gq.fit_codebook(latents, 12, n_neighbors=4, random_state=0).codebook
