"""The fixed space in which decoded frames are compared with images: that of a small classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from benchmarks.papers import judge
from geoquant.tensor_files import read_safetensors
from geoquant.torch.probes import compactness

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Float32Array, Job

#: Data sets with labels, and how good a classifier of their test images must be.
LEAST_ACCURACY = {"mnist": 0.99, "fashion-mnist": 0.9}
#: Of the last features of the classifier this many principal components are kept.
N_COMPONENTS = 32
#: Training images that the components are found of.
_N_FITTED = 20_000
_BLOCK = 1_000


@dataclass(frozen=True)
class FeatureSpace:
    """A classifier's last features, their principal components, and where training images lie.

    Attributes
    ----------
    network : Module
        Images (n, 1, 28, 28) to features.
    mean, components : Tensor
        Of the features, (f,) and (N_COMPONENTS, f).
    train : ndarray of float32, shape (n, N_COMPONENTS)
        Of training images.
    """

    network: torch.nn.Module
    mean: torch.Tensor
    components: torch.Tensor
    train: Float32Array

    @torch.no_grad()
    def of(self, images: Float32Array) -> Float32Array:
        """Components of images."""
        blocks = torch.from_numpy(images).split(_BLOCK)
        found = [(self.network(block) - self.mean) @ self.components.T for block in blocks]
        return cast("Float32Array", torch.cat(found).numpy())

    def share_near(self, features: Float32Array) -> float:
        """Share of features no further from a training image's than most of those are."""
        return compactness(features, self.train)


def features_step(job: Job, data: str) -> dict[str, float]:
    """Train the classifier of a data set and leave it, with the components of its features."""
    train, test = job.images(data, "train"), job.images(data, "test")
    classifier = judge.trained(train, epochs=job.settings.judge_epochs)
    is_full = job.settings.judge_epochs == judge.EPOCHS
    accuracy = judge.require_able(classifier, test, LEAST_ACCURACY[data] if is_full else 0.0)
    found = torch.cat(_features(classifier, train.images()))
    mean, components, explained = principal(found[:_N_FITTED])
    state = {f"network.{name}": value for name, value in classifier.state_dict().items()}
    arrays = state | {
        "mean": mean,
        "components": components,
        "train": (found - mean) @ components.T,
    }
    job.keep(data, {name: value.numpy() for name, value in arrays.items()})
    return {"accuracy": accuracy, "explained": explained}


def feature_space(folder: Path, data: str) -> FeatureSpace:
    """What `features_step` left."""
    arrays: dict[str, Any] = read_safetensors(folder / f"{data}.safetensors")[0]
    classifier = judge.network()
    classifier.load_state_dict(
        {
            name.removeprefix("network."): torch.from_numpy(value)
            for name, value in arrays.items()
            if name.startswith("network.")
        }
    )
    mean, components = torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["components"])
    return FeatureSpace(_without_last(classifier), mean, components, arrays["train"])


def _without_last(classifier: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(*list(classifier.children())[:-1]).eval()


@torch.no_grad()
def _features(classifier: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    network = _without_last(classifier)
    return [network(block) for block in images.split(_BLOCK)]


def principal(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mean and first principal components of rows, and the share of variance they explain."""
    mean = rows.mean(0)
    centred = (rows - mean).numpy()
    values, vectors = np.linalg.eigh(centred.T @ centred)
    first = vectors[:, ::-1][:, :N_COMPONENTS].T.copy()
    explained = float(values[::-1][:N_COMPONENTS].sum() / values.sum())
    return mean, torch.from_numpy(first), explained
