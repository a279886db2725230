"""Several codes for each latent: encoding, fitting, files."""

from __future__ import annotations

import numpy as np

import geoquant as gq


def cloud(n: int = 300, d: int = 4, seed: int = 0) -> np.ndarray:
    """Latents of no particular shape."""
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_fit_gives_the_codes_of_its_codebook() -> None:
    """The codes of the training latents are those that the codebook assigns to them."""
    x = cloud()
    for kind in ("residual", "product"):
        for metric in ("geodesic", "euclidean"):
            fitted = gq.fit_multistage(x, 8, 3, kind=kind, metric=metric, random_state=0)
            np.testing.assert_array_equal(fitted.codes, fitted.codebook.assign(x))
