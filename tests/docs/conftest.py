from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write bytes as the files of MNIST have them."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def small_mnist(folder: Path) -> np.ndarray:
    """A data set of MNIST's form made of scikit-learn's digits; gives its images for training."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.kron(digits.images * 255 / 16, np.ones((3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    (folder / "mnist").mkdir(parents=True)
    for part, rows in (("train", slice(0, 600)), ("t10k", slice(600, 700))):
        write_idx(folder / "mnist" / f"{part}-images-idx3-ubyte.gz", images[rows])
        write_idx(folder / "mnist" / f"{part}-labels-idx1-ubyte.gz", digits.target[rows])
    np.save(folder / "labels.npy", digits.target[:500])
    return images[:600]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take as given: latents, the model that they are of, and its images."""
    folder = tmp_path_factory.mktemp("workplace")
    images = small_mnist(folder)
    latents = np.random.default_rng(0).normal(size=(600, 20)).astype(np.float32)
    try:
        from geoquant.torch import VAE, VAEAdapter, seeded
    except ImportError:
        pass
    else:
        with seeded(0):
            vae = VAE(hidden_dim=16)
        vae.save_pretrained(folder / "runs" / "vae")
        latents = VAEAdapter.wrap(vae).encode_array(images[:, None].astype(np.uint8))
    np.save(folder / "latents.npy", latents[:500])
    np.save(folder / "new.npy", latents[500:])
    return folder
