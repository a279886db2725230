"""One seed of a run: its images, and what its steps leave for each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.geodesic_vq import metrics
from benchmarks.papers.geodesic_vq.rows import totals
from geoquant.tensor_files import read_safetensors, write_safetensors
from geoquant.torch import load_images, load_model

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from benchmarks.papers.geodesic_vq.settings import Settings

    Float32Array = npt.NDArray[np.float32]
    Codes = npt.NDArray[np.int32]

BEAM = 8
#: Images that a model is given at once.
BLOCK = 5_000


@dataclass(frozen=True)
class Images:
    """Images in memory, and their digits."""

    images: torch.Tensor
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """One seed of a run, and the folder of its models."""

    seed: int
    settings: Settings
    folder: Path

    @property
    def train(self) -> Images:
        return images_of("train", self.settings.n_train)

    @property
    def test(self) -> Images:
        return images_of("test", self.settings.n_test)

    def model(self, name: str) -> Any:
        """A model that a step left."""
        return load_model(self.folder / name)

    def arrays(self, name: str) -> dict[str, Any]:
        """Arrays that a step left."""
        return read_safetensors(self.folder / f"{name}.safetensors")[0]

    def keep(self, name: str, arrays: dict[str, Any]) -> None:
        """Leave arrays for later steps."""
        write_safetensors(self.folder / f"{name}.safetensors", arrays, {})


@lru_cache(maxsize=2)
def images_of(split: Any, limit: int) -> Images:
    """The first images of MNIST, kept in memory for the steps that follow."""
    data = load_images("mnist", split, limit=limit)
    return Images(data.images(), np.asarray(data.labels))


def with_one_token(
    job: Job, values: dict[str, float], train_codes: Codes, test_codes: Codes
) -> dict[str, float]:
    """The numbers that follow from one code for each image, added."""
    nats = metrics.unigram_nats(train_codes, test_codes, job.settings.n_codes)
    use = use_of_codes(job, train_codes, test_codes)
    return totals({**values, "nll_token": nats, "nll_image": nats, **use})


def use_of_codes(job: Job, train_codes: Codes, test_codes: Codes) -> dict[str, float]:
    """Use of the codes of a run's images, and what they say of the digit."""
    train, test = job.train.labels, job.test.labels
    return metrics.of_codes(train_codes, train, test_codes, test, job.settings.n_codes)
