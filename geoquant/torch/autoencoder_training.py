"""Training autoencoders on images, and measuring them on others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from geoquant.arguments import check_count
from geoquant.errors import InputError
from geoquant.torch.autoencoders import VAE, VQVAE, Autoencoder, check_image_shape
from geoquant.torch.bottlenecks import Bottleneck, CentrePull
from geoquant.torch.datasets import ImageSet
from geoquant.torch.training import History, seeded, train

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoquant.files import PathLike
    from geoquant.progress import Progress

_BLOCK_ROWS = 1000


def train_autoencoder(
    model: VAE | VQVAE | Autoencoder,
    images: torch.Tensor | ImageSet,
    *,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: Literal["constant", "linear"] = "constant",
    random_state: int = 0,
    after_epoch: Callable[[int, dict[str, float]], None] | None = None,
    checkpoint: PathLike | None = None,
    progress: Progress | None = None,
) -> History:
    """Train a model on images, in place.

    Parameters
    ----------
    model : VAE, VQVAE or Autoencoder
        Or any module with ``image_shape`` and ``loss(images)`` as these have.
    images : Tensor of shape (n, C, H, W), float, or ImageSet
        In [0, 1].
    epochs : int
        As for `train`.
    batch_size : int, default=128
        As for `train`.
    learning_rate : float, default=0.001
        As for `train`.
    schedule : {'constant', 'linear'}, default='constant'
        As for `train`.
    random_state : int, default=0
        As for `train`.
    after_epoch : callable, optional
        As for `train`.
    checkpoint : path, optional
        As for `train`. One of other images is refused.
    progress : callable, optional
        As for `train`.

    Returns
    -------
    list of dict
        Means of the model's losses in each epoch.

    Raises
    ------
    InputError
        If an argument is out of range or the images do not fit the model.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import VAE, train_autoencoder
    >>> images = torch.rand(64, 1, 4, 4)
    >>> vae = VAE(image_shape=(1, 4, 4), latent_dim=2, hidden_dim=16)
    >>> history = train_autoencoder(vae, images, epochs=2)
    >>> sorted(history[-1])
    ['bce', 'epoch', 'kl', 'loss']
    """
    data = _checked_data(images, model.image_shape)
    device = next(model.parameters()).device
    return train(
        model,
        lambda rows: model.loss(data.images(rows.numpy()).to(device)),
        len(data),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=schedule,
        random_state=random_state,
        after_epoch=after_epoch,
        checkpoint=checkpoint,
        identity="" if checkpoint is None else _hash_of(data),
        progress=progress,
    )


def begin_centres(
    model: Autoencoder,
    images: torch.Tensor | ImageSet,
    *,
    epochs: int = 1,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    random_state: int = 0,
    progress: Progress | None = None,
) -> None:
    """Train a model for a little without its centres, then put these at its encodings.

    Centres that begin anywhere, among hundreds, mostly find the same few encodings nearest and
    fall together.

    Parameters
    ----------
    model : Autoencoder
        With a `CentrePull`, changed in place.
    images : Tensor of shape (n, C, H, W), float, or ImageSet
        In [0, 1]; at least as many as there are centres.
    epochs : int, default=1
        As for `train`.
    batch_size : int, default=128
        As for `train`.
    learning_rate : float, default=0.001
        As for `train`.
    random_state : int, default=0
        As for `train`.
    progress : callable, optional
        As for `train`.

    Raises
    ------
    InputError
        If the model's bottleneck is another, an argument is out of range, or the images are too few
        or do not fit the model.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import NamedAutoencoder, begin_centres, train_autoencoder
    >>> options = {"n_centres": 5, "n_extra": 8, "momentum": 0.05}
    >>> model = NamedAutoencoder((1, 8, 8), 3, bottleneck="centre-pull", bottleneck_options=options)
    >>> images = torch.rand(64, 1, 8, 8)
    >>> begin_centres(model, images)
    >>> len(train_autoencoder(model, images, epochs=2))
    2
    """
    if not isinstance(model.bottleneck, CentrePull):
        found = type(model.bottleneck).__name__
        raise InputError(f"the model's bottleneck must be a CentrePull, found {found}")
    plain = Autoencoder(model.encoder, Bottleneck(), model.decoder, image_shape=model.image_shape)
    plain.reconstruction = model.reconstruction
    train_autoencoder(
        plain,
        images,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        random_state=random_state,
        progress=progress,
    )
    model.bottleneck.begin_at(_encodings(plain, images), random_state=random_state)


@torch.no_grad()
def _encodings(model: Autoencoder, images: torch.Tensor | ImageSet) -> torch.Tensor:
    data = _checked_data(images, model.image_shape)
    device = next(model.parameters()).device
    return torch.cat(
        [
            model.encode(data.images(slice(start, start + _BLOCK_ROWS)).to(device))
            for start in range(0, len(data), _BLOCK_ROWS)
        ]
    )


def mean_losses(
    model: VAE | VQVAE | Autoencoder,
    images: torch.Tensor | ImageSet,
    *,
    batch_size: int = 1000,
    random_state: int = 0,
) -> dict[str, float]:
    """Losses of a model on images, such as those that it was not trained on.

    Parameters
    ----------
    model : VAE, VQVAE or Autoencoder
        Measured in the mode it is in; `load_model` gives one in evaluation mode.
    images : Tensor of shape (n, C, H, W), float, or ImageSet
        In [0, 1].
    batch_size : int
        Images at a time.
    random_state : int
        Seeds what the loss draws, such as the latents of a VAE.

    Returns
    -------
    dict of float
        Means over images of what ``model.loss`` gives.

    Raises
    ------
    InputError
        If the images do not fit the model, or an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import VAE, mean_losses
    >>> vae = VAE(image_shape=(1, 4, 4), latent_dim=2, hidden_dim=16)
    >>> sorted(mean_losses(vae, torch.rand(64, 1, 4, 4)))
    ['bce', 'kl', 'loss']
    """
    data = _checked_data(images, model.image_shape)
    batch_size = check_count(batch_size, "batch_size", 1)
    device = next(model.parameters()).device
    totals: dict[str, float] = {}
    with torch.no_grad(), seeded(check_count(random_state, "random_state", 0), model):
        for start in range(0, len(data), batch_size):
            batch = data.images(slice(start, start + batch_size)).to(device)
            for name, value in model.loss(batch).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch)
    return {name: total / len(data) for name, total in totals.items()}


def _checked_data(images: torch.Tensor | ImageSet, image_shape: tuple[int, int, int]) -> ImageSet:
    """Images that fit a model, not copied."""
    given = images.pixels if isinstance(images, ImageSet) else images
    check_image_shape(tuple(given.shape), image_shape)
    if isinstance(images, torch.Tensor):
        images = ImageSet(images.detach().cpu().float().numpy(), None, "images")
    if len(images) == 0:
        raise InputError("images must not be none at all, found 0 of them")
    if images.pixels.dtype == np.float32:
        low, high = float(images.pixels.min()), float(images.pixels.max())
        if not 0 <= low <= high <= 1:
            raise InputError(
                f"images must lie in [0, 1], found {low:.3g} to {high:.3g}; rescale them"
            )
    return images


def _hash_of(images: ImageSet) -> str:
    return hashlib.sha256(np.ascontiguousarray(images.pixels).data).hexdigest()
