"""What is measured on: latents by name and size; all but those of MNIST are generated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from benchmarks.peers import NotAvailable

Latents = npt.NDArray[np.float32]

_BLOCK = 60_000  # rows that are drawn at a time, so that a small set begins a large one


@dataclass(frozen=True, eq=False)
class Dataset:
    """Latents with a name for tables."""

    name: str
    latents: Latents

    @property
    def n(self) -> int:
        return len(self.latents)

    def __str__(self) -> str:
        return f"{self.name}, {self.n:,} × {self.latents.shape[1]}"


def data_file(name: str) -> Path:
    """A file below GEOQUANT_DATA."""
    folder = os.environ.get("GEOQUANT_DATA")
    if not folder:
        raise NotAvailable(
            f"GEOQUANT_DATA is not set; set it to the folder that holds latents/ (wanted: {name})"
        )
    path = Path(folder, name)
    if not path.is_file():
        raise NotAvailable(f"{path} does not exist; GEOQUANT_DATA must be the folder with {name}")
    return path


def has_mnist() -> bool:
    try:
        data_file("latents/mnist_vae20_train_mean.npy")
    except NotAvailable:
        return False
    return True


def latents(n: int, source: str = "auto") -> Dataset:
    """The first n latents of a source.

    Parameters
    ----------
    n : int
        How many.
    source : {'auto', 'mnist', 'draws', 'mixture'}
        'mnist': means of the posteriors of MNIST's training images. 'draws': draws of those
        posteriors, any number. 'mixture': generated. 'auto': the first of these that is there and
        has enough rows.
    """
    if source == "auto":
        source = "mixture" if not has_mnist() else "mnist" if n <= mnist().n else "draws"
    if source == "mnist":
        whole = mnist()
        if n > whole.n:
            raise NotAvailable(f"MNIST has {whole.n} latents, not {n}; choose draws or mixture")
        return Dataset(whole.name, whole.latents[:n])
    return mnist_draws(n) if source == "draws" else mixture(n)


def growing(n: int) -> Dataset:
    """Latents of one kind for every n: draws of MNIST's posteriors, or the mixture without them."""
    return latents(n, "draws" if has_mnist() else "mixture")


@lru_cache(maxsize=1)
def mnist() -> Dataset:
    """Means of the posteriors of a VAE of MNIST's training images."""
    return Dataset("MNIST latents", np.load(data_file("latents/mnist_vae20_train_mean.npy")))


def mnist_draws(n: int) -> Dataset:
    """Draws of the posteriors of MNIST's training images, image after image, round after round."""
    mean, logvar = (
        np.load(data_file(f"latents/mnist_vae20_train_{part}.npy")) for part in ("mean", "logvar")
    )
    deviation = np.exp(logvar / 2)
    rounds = []
    for r in range(-(-n // len(mean))):
        noise = np.random.default_rng([1, r]).standard_normal(mean.shape, np.float32)
        rounds.append((mean + deviation * noise)[: n - r * len(mean)])
    return Dataset("draws of MNIST posteriors", np.concatenate(rounds).astype(np.float32))


def mixture(n: int, dim: int = 20, *, start: int = 0) -> Dataset:
    """Generated latents: ten Gaussians in 8 dimensions, bent by a smooth map, and some noise.

    Parameters
    ----------
    n, dim : int
        Rows and columns.
    start : int
        Rows to leave out, so that there can be others from the same source. A smaller set begins
        a larger one.
    """
    fixed = np.random.default_rng([2, dim])
    means = 1.6 * fixed.standard_normal((10, 8))
    inner, phase = 0.5 * fixed.standard_normal((8, 48)), fixed.uniform(0, 2 * np.pi, 48)
    outer = fixed.standard_normal((48, dim)) / np.sqrt(12)
    rows = []
    for b in range(start // _BLOCK, -(-(start + n) // _BLOCK)):
        rng = np.random.default_rng([3, dim, b])
        t = means[rng.integers(0, 10, _BLOCK)] + 0.6 * rng.standard_normal((_BLOCK, 8))
        x = np.sin(t @ inner + phase) @ outer + 0.15 * rng.standard_normal((_BLOCK, dim))
        wanted = slice(max(0, start - b * _BLOCK), max(0, start + n - b * _BLOCK))
        rows.append(x[wanted].astype(np.float32))
    return Dataset("generated mixture", np.concatenate(rows))


def digits() -> Dataset:
    """The images of scikit-learn's digits."""
    return Dataset("digits", load_digits().data.astype(np.float32))


def swiss_roll(n: int) -> Dataset:
    """A rolled-up sheet in space."""
    from sklearn.datasets import make_swiss_roll

    return Dataset(
        "swiss roll", make_swiss_roll(n, noise=0.3, random_state=0)[0].astype(np.float32)
    )


def new_latents(n: int, source: Dataset) -> Latents:
    """Latents that are like those of the source and not among them."""
    if source.name == "MNIST latents":
        return np.load(data_file("latents/mnist_vae20_test_mean.npy"))[:n]
    return mixture(n, source.latents.shape[1], start=source.n).latents
