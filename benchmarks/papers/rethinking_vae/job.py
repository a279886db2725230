"""One seed of a run: images, models and arrays that its steps leave for each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from geoquant.tensor_files import read_safetensors, write_safetensors
from geoquant.torch import load_images, load_model

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from benchmarks.papers.rethinking_vae.settings import Settings
    from geoquant.torch import ImageSet, NamedAutoencoder

    Float32Array = npt.NDArray[np.float32]
    Codes = npt.NDArray[np.int32]

#: Images or latents that a model is given at once.
_BLOCK = 1_000


@dataclass(frozen=True)
class Job:
    """One seed of a run, and the folder of its models."""

    seed: int
    settings: Settings
    folder: Path

    def images(self, data: str, split: str) -> ImageSet:
        """Training or test images of a data set."""
        limit = self.settings.n_train if split == "train" else self.settings.n_test
        return images_of(data, split, limit)

    def model(self, key: str) -> NamedAutoencoder:
        """A model that a step left, on the device that there is."""
        return cast("NamedAutoencoder", load_model(self.folder / key)).to(device())

    def arrays(self, name: str) -> dict[str, Any]:
        """Arrays that a step left."""
        return read_safetensors(self.folder / f"{name}.safetensors")[0]

    def keep(self, name: str, arrays: dict[str, Any]) -> None:
        """Leave arrays for later steps."""
        write_safetensors(self.folder / f"{name}.safetensors", arrays, {})


def device() -> torch.device:
    """CUDA where it is, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=4)
def images_of(data: str, split: Any, limit: int) -> ImageSet:
    """The first images of a data set, kept in memory for the steps that follow."""
    return load_images(data, split, limit=limit)


@torch.no_grad()
def encoded(model: NamedAutoencoder, images: ImageSet) -> Float32Array:
    """What a model's encoder makes of images, before any codebook: means, if it is a VAE."""
    at = next(model.parameters()).device
    found = []
    for start in range(0, len(images), _BLOCK):
        encodings = model.encoder(images.images(slice(start, start + _BLOCK)).to(at))
        found.append(encodings.chunk(model.bottleneck.n_outputs, 1)[0].cpu())
    return torch.cat(found).numpy()


@torch.no_grad()
def decoded(model: NamedAutoencoder, latents: npt.NDArray[Any]) -> Float32Array:
    """Images (n, C, H, W) of latents."""
    at = next(model.parameters()).device
    blocks = torch.from_numpy(np.asarray(latents, np.float32)).split(_BLOCK)
    return torch.cat([model.decode(block.to(at)).cpu() for block in blocks]).numpy()
