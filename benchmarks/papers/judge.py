"""A small convolutional network that tells whether a sampled image is a digit, and which.

``python -m benchmarks.papers.judge`` trains it on MNIST and says how good it is.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.verify import require
from geoquant.torch import load_images, seeded, train

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.torch import ImageSet

LEAST_ACCURACY = 0.99
SURE = 0.9
EPOCHS, BATCH_SIZE, LEARNING_RATE = 4, 128, 3e-3
_BLOCK = 1_000


@dataclass(frozen=True)
class Verdict:
    """What the judge says of some images.

    Attributes
    ----------
    n : int
        Images judged.
    confident : float
        Share of the images that it is sure of: the likeliest digit has a probability of 0.9.
    digits : tuple of float
        Share of each digit, by the likeliest one, among all images.
    """

    n: int
    confident: float
    digits: tuple[float, ...]


def network() -> nn.Module:
    """The judge, untrained: three convolutions, images (n, 1, 28, 28) to logits (n, 10)."""
    return nn.Sequential(
        *_block(1, 16, kernel=5),
        nn.MaxPool2d(2),
        *_block(16, 32, kernel=3),
        nn.MaxPool2d(2),
        *_block(32, 64, kernel=3),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 10),
    )


def _block(n_in: int, n_out: int, *, kernel: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(n_out), nn.ReLU()


def trained(data: ImageSet, *, epochs: int = EPOCHS, random_state: int = 0) -> nn.Module:
    """A judge that has seen these images and labels."""
    images, labels = data.images(), torch.from_numpy(np.asarray(data.labels))
    with seeded(random_state):
        model = network()

    def loss(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": functional.cross_entropy(model(images[rows]), labels[rows])}

    train(
        model,
        loss,
        len(images),
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        schedule="linear",
        random_state=random_state,
    )
    return model.eval()


@torch.no_grad()
def logits_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits (n, 10) of images, in evaluation mode."""
    model.eval()
    return torch.cat([model(block) for block in images.split(_BLOCK)])


def accuracy(logits: torch.Tensor, labels: npt.NDArray[np.integer]) -> float:
    """Share of the images whose likeliest digit is the true one."""
    return float((logits.argmax(1).numpy() == labels).mean())


def verdict(logits: torch.Tensor, *, sure: float = SURE) -> Verdict:
    """What the logits of some images come to."""
    likeliest = logits.softmax(1).max(1)
    counts = torch.bincount(likeliest.indices, minlength=logits.shape[1])
    return Verdict(
        len(logits),
        float((likeliest.values >= sure).double().mean()),
        tuple((counts.double() / len(logits)).tolist()),
    )


def require_able(model: nn.Module, data: ImageSet, least: float = LEAST_ACCURACY) -> float:
    """Accuracy on test images; a judge worse than it should be is an error."""
    found = accuracy(logits_of(model, data.images()), np.asarray(data.labels))
    require(found >= least, f"the judge is right in {found:.4f} of the test images, not {least}")
    return found


def main() -> int:
    begin = time.perf_counter()
    model = trained(load_images("mnist"))
    seconds = time.perf_counter() - begin
    share = require_able(model, load_images("mnist", "test"))
    print(f"test accuracy {share:.4f} after {seconds:.0f} s of training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
