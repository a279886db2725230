"""How much everything is trained on: the full run, and a quick one; and what a model is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: Encodings of the conv networks; the paper does not say how many numbers theirs had.
LATENT_DIM = 16


@dataclass(frozen=True)
class Settings:
    """Sizes of one run; the defaults are the full run.

    Attributes
    ----------
    n_train, n_test : int
        Images, the first of each data set.
    max_epochs : int
        No model is trained for longer.
    judge_epochs : int
        Of the network whose features frames are compared by.
    n_pairs : int
        Pairs of test images between which is interpolated.
    n_drawn : int
        Latents drawn from a Gaussian like the encodings.
    """

    n_train: int = 60_000
    n_test: int = 10_000
    max_epochs: int = 20
    judge_epochs: int = 4
    n_pairs: int = 500
    n_drawn: int = 2_000


FULL = Settings()
QUICK = Settings(n_train=2_000, n_test=600, max_epochs=2, judge_epochs=1, n_pairs=20, n_drawn=100)


@dataclass(frozen=True)
class Config:
    """A model, and how it is trained; the defaults are a small convolutional autoencoder.

    Attributes
    ----------
    data : {'mnist', 'fashion-mnist', 'celeba'}
        What on.
    title : str
        Its name in tables.
    network, latent_dim, width, bottleneck, options
        As for `NamedAutoencoder`.
    epochs, batch_size : int
        With Adam, the rate falling linearly from 1e-3.
    is_begun : bool
        Whether its centres are put at encodings after a first epoch without them.
    is_large : bool
        Whether it is trained for the first seed only.
    """

    data: Literal["mnist", "fashion-mnist", "celeba"]
    title: str
    network: Literal["mlp", "convolutional", "residual", "multi-vector"] = "convolutional"
    latent_dim: int = LATENT_DIM
    width: int = 8
    bottleneck: str = "none"
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 20
    batch_size: int = 128
    is_begun: bool = False
    is_large: bool = False
