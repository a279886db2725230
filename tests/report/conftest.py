"""Codebooks that the tests of the report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq

if TYPE_CHECKING:
    from geoquant.fit import FittedCodebook


def arc(n: int = 200) -> np.ndarray:
    """Latents along three quarters of a circle, a little beside it."""
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(0, 1.5 * np.pi, n))
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (10 * points + rng.normal(scale=0.1, size=(n, 2))).astype(np.float32)


def pixels(latents: np.ndarray) -> np.ndarray:
    """A decoder for two dimensions: a bright spot that moves with the latent."""
    row, column = np.mgrid[-12:13:4, -12:13:4]
    squared = (row - latents[:, 0, None, None]) ** 2 + (column - latents[:, 1, None, None]) ** 2
    return np.exp(-squared[:, None] / 40).astype(np.float32)


@pytest.fixture(scope="session")
def fitted() -> FittedCodebook:
    """Eight codes along the arc."""
    return gq.fit_codebook(arc(), 8, n_neighbors=5, random_state=0)
