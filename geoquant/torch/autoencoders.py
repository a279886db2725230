"""Autoencoders to start from: a VAE and a VQ-VAE, and any encoder, bottleneck and decoder."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_choice, check_count
from geoquant.errors import FileFormatError, InputError
from geoquant.torch.bottlenecks import (
    Bottleneck,
    CentrePull,
    CodebookUpdate,
    GaussianBottleneck,
    Quantized,
    QuantizedBottleneck,
    VectorQuantizer,
    ZeroPull,
)
from geoquant.torch.networks import Network, make_networks
from geoquant.torch.pretrained import Pretrained, model_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geoquant.files import PathLike


_CARD_LIMITS = (
    "It takes images of the size and kind that it was trained on.",
    "What it was trained on, and how well it does, is for you to add.",
)


class GaussianEncoder(nn.Module):
    """Images to mean and log-variance of a Gaussian, by one hidden layer."""

    def __init__(self, n_pixels: int, hidden_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_pixels, hidden_dim)
        self.mean = nn.Linear(hidden_dim, latent_dim)
        self.logvar = nn.Linear(hidden_dim, latent_dim)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance, each (n, d)."""
        hidden = functional.relu(self.hidden(images.flatten(1)))
        return self.mean(hidden), self.logvar(hidden)


class PlainEncoder(nn.Module):
    """Images to latents, by one hidden layer."""

    def __init__(self, n_pixels: int, hidden_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_pixels, hidden_dim)
        self.output = nn.Linear(hidden_dim, latent_dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Latents, (n, d)."""
        latents: torch.Tensor = self.output(functional.relu(self.hidden(images.flatten(1))))
        return latents


class ImageDecoder(nn.Module):
    """Latents to the logits of pixels, by one hidden layer."""

    def __init__(self, latent_dim: int, hidden_dim: int, n_pixels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(latent_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, n_pixels)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Logits, (n, n_pixels)."""
        logits: torch.Tensor = self.output(functional.relu(self.hidden(latents)))
        return logits


class VAE(Pretrained, nn.Module, model_type="geoquant-vae"):
    """The variational autoencoder of the paper on geodesic quantization: 784-400-20.

    Parameters
    ----------
    image_shape : sequence of int
        Channels, height and width.
    latent_dim, hidden_dim : int
        Width of the latents and of the one hidden layer of encoder and decoder.

    Raises
    ------
    InputError
        If a size is no positive integer.

    References
    ----------
    Kingma, Welling: Auto-encoding variational Bayes. ICLR 2014.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import VAE
    >>> vae = VAE()
    >>> mean, logvar = vae.encode(torch.zeros(3, 1, 28, 28))
    >>> mean.shape, vae.decode(mean).shape
    (torch.Size([3, 20]), torch.Size([3, 1, 28, 28]))
    >>> bool((vae.decode_logits(mean).sigmoid() == vae.decode(mean)).all())
    True
    >>> sorted(vae.loss(torch.zeros(3, 1, 28, 28)))
    ['bce', 'kl', 'loss']
    """

    card_usage = "mean, logvar = model.encode(images)  # floats in [0, 1], (n, C, H, W)"
    card_limits = _CARD_LIMITS

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 20,
        hidden_dim: int = 400,
    ) -> None:
        super().__init__()
        self.image_shape = _checked_shape(image_shape)
        self.latent_dim = check_count(latent_dim, "latent_dim", 1)
        hidden_dim = check_count(hidden_dim, "hidden_dim", 1)
        n_pixels = math.prod(self.image_shape)
        self.encoder = GaussianEncoder(n_pixels, hidden_dim, latent_dim)
        self.decoder = ImageDecoder(latent_dim, hidden_dim, n_pixels)

    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of the latents of images.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        mean : Tensor of shape (n, d), float
            Of the Gaussian of each image.
        logvar : Tensor of shape (n, d), float
            Logarithms of its variances.

        Raises
        ------
        InputError
            If the images are not of the model's shape.
        """
        check_image_shape(images.shape, self.image_shape)
        found: tuple[torch.Tensor, torch.Tensor] = self.encoder(images)
        return found

    def decode_logits(self, latents: torch.Tensor) -> torch.Tensor:
        """Logits of the pixels of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d), float
            One row for each image.

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            Their sigmoid is the image.
        """
        return self.decoder(latents).reshape(-1, *self.image_shape)  # type: ignore[no-any-return]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d), float
            One row for each image.

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            In [0, 1].
        """
        return self.decode_logits(latents).sigmoid()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images as they are after the mean of their latents.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            In [0, 1].

        Raises
        ------
        InputError
            If the images are not of the model's shape.
        """
        return self.decode(self.encode(images)[0])

    def loss(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Negative evidence lower bound, in nats per image.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        dict of str to Tensor of shape (), float
            "loss", the sum of "bce" (of one sampled latent per image, pixels summed) and "kl".
        """
        mean, logvar = self.encode(images)
        sampled = mean + (logvar / 2).exp() * torch.randn_like(mean)
        bce = _cross_entropy(self.decode_logits(sampled), images)
        kl = (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean() / 2
        return {"loss": bce + kl, "bce": bce, "kl": kl}


class VQVAE(Pretrained, nn.Module, model_type="geoquant-vqvae"):
    """An autoencoder whose codebook is learned with it, with the VAE's networks.

    Parameters
    ----------
    image_shape : sequence of int
        Channels, height and width.
    latent_dim, hidden_dim : int
        Width of the latents and of the one hidden layer of encoder and decoder.
    n_codes : int
        Codes, K; one for each image.
    beta : float
        Weight of the commitment.
    codebook_update : {'gradient', 'ema'}
        As for `VectorQuantizer`: as published, or in a form in which the codes stay in use.

    Raises
    ------
    InputError
        If an argument is out of range.

    References
    ----------
    van den Oord, Vinyals, Kavukcuoglu: Neural discrete representation learning. NeurIPS 2017.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import VQVAE
    >>> model = VQVAE(n_codes=8).eval()
    >>> quantized, indices, loss = model.quantize(model.encode(torch.zeros(3, 1, 28, 28)))
    >>> model.decode(quantized).shape, indices.shape
    (torch.Size([3, 1, 28, 28]), torch.Size([3]))
    >>> model.decode_logits(quantized).shape
    torch.Size([3, 1, 28, 28])
    >>> sorted(model.loss(torch.zeros(3, 1, 28, 28)))
    ['bce', 'commitment', 'loss']
    """

    card_usage = "latents = model.encode(images)  # floats in [0, 1], (n, C, H, W)"
    card_limits = _CARD_LIMITS

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 20,
        hidden_dim: int = 400,
        n_codes: int = 64,
        beta: float = 0.25,
        codebook_update: CodebookUpdate = "ema",
    ) -> None:
        super().__init__()
        self.image_shape = _checked_shape(image_shape)
        self.latent_dim = check_count(latent_dim, "latent_dim", 1)
        hidden_dim = check_count(hidden_dim, "hidden_dim", 1)
        n_pixels = math.prod(self.image_shape)
        self.encoder = PlainEncoder(n_pixels, hidden_dim, latent_dim)
        self.quantizer = VectorQuantizer(n_codes, latent_dim, beta=beta, update=codebook_update)
        self.decoder = ImageDecoder(latent_dim, hidden_dim, n_pixels)

    @property
    def codebook(self) -> torch.Tensor:
        """Codewords, (K, d)."""
        return self.quantizer.codebook

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Latents of images, before quantization.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        Tensor of shape (n, d), float

        Raises
        ------
        InputError
            If the images are not of the model's shape.
        """
        check_image_shape(images.shape, self.image_shape)
        latents: torch.Tensor = self.encoder(images)
        return latents

    def quantize(self, latents: torch.Tensor) -> Quantized:
        """Codewords, codes and loss of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d), float
            One row for each image.

        Returns
        -------
        Quantized
            Unpacks into quantized, indices and loss.
        """
        found: Quantized = self.quantizer(latents)
        return found

    def decode_logits(self, latents: torch.Tensor) -> torch.Tensor:
        """Logits of the pixels of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d), float
            One row for each image.

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            Their sigmoid is the image.
        """
        return self.decoder(latents).reshape(-1, *self.image_shape)  # type: ignore[no-any-return]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d), float
            One row for each image.

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            In [0, 1].
        """
        return self.decode_logits(latents).sigmoid()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images as they are after their codes.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            In [0, 1].

        Raises
        ------
        InputError
            If the images are not of the model's shape.
        """
        return self.decode(self.quantize(self.encode(images)).quantized)

    def loss(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cross-entropy and the quantizer's loss, per image.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        dict of str to Tensor of shape (), float
            "loss", the sum of "bce" (pixels summed) and "commitment".
        """
        quantized, _, loss = self.quantize(self.encode(images))
        bce, commitment = _cross_entropy(self.decode_logits(quantized), images), loss.mean()
        return {"loss": bce + commitment, "bce": bce, "commitment": commitment}


class Autoencoder(nn.Module):
    """An autoencoder of any encoder, bottleneck and decoder.

    Parameters
    ----------
    encoder : Module
        Images (n, C, H, W) to encodings, (n, d) or (n, d, h, w).
    bottleneck : Bottleneck
        Encodings to latents, with its own losses.
    decoder : Module
        Latents to the logits of images.
    image_shape : sequence of int
        Channels, height and width.
    reconstruction : {'mse', 'bce'}
        Squared error, or cross-entropy in nats; summed over the pixels of an image.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import Autoencoder
    >>> from geoquant.torch.bottlenecks import CentrePull
    >>> from geoquant.torch.networks import make_networks
    >>> encoder, decoder = make_networks("convolutional", (1, 28, 28), 16, width=4)
    >>> model = Autoencoder(encoder, CentrePull(20, 16), decoder, image_shape=(1, 28, 28))
    >>> sorted(model.loss(torch.rand(128, 1, 28, 28)))
    ['loss', 'pull', 'reconstruction']
    >>> latents = model.encode(torch.rand(2, 1, 28, 28))
    >>> latents.shape, model.decode(latents).shape, model.decode_logits(latents).shape
    (torch.Size([2, 16]), torch.Size([2, 1, 28, 28]), torch.Size([2, 1, 28, 28]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        bottleneck: Bottleneck,
        decoder: nn.Module,
        *,
        image_shape: Sequence[int],
        reconstruction: Literal["mse", "bce"] = "mse",
    ) -> None:
        super().__init__()
        check_choice(reconstruction, "reconstruction", ("mse", "bce"))
        self.image_shape = _checked_shape(image_shape)
        self.encoder, self.bottleneck, self.decoder = encoder, bottleneck, decoder
        self.reconstruction = reconstruction

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Latents of images, without chance.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        Tensor of shape (n, d) or (n, d, h, w), float
            What the bottleneck makes of the encodings.

        Raises
        ------
        InputError
            If the images are not of the model's shape.
        """
        check_image_shape(tuple(images.shape), self.image_shape)
        return self.bottleneck.latents(self.encoder(images))

    def decode_logits(self, latents: torch.Tensor) -> torch.Tensor:
        """Logits of the pixels of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d) or (n, d, h, w), float
            As `encode` gives them.

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            Their sigmoid is the image.
        """
        logits: torch.Tensor = self.decoder(latents)
        return logits

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Images of latents.

        Parameters
        ----------
        latents : Tensor of shape (n, d) or (n, d, h, w), float
            As `encode` gives them.

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            In [0, 1].
        """
        return self.decode_logits(latents).sigmoid()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images as they are after their latents.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1].

        Returns
        -------
        Tensor of shape (n, C, H, W), float
            In [0, 1].

        Raises
        ------
        InputError
            If the images are not of the model's shape.
        """
        return self.decode(self.encode(images))

    def loss(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Reconstruction and the bottleneck's losses, per image.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), float
            In [0, 1]. In training the last of them, as many as the bottleneck asks for but never
            more than half, are not reconstructed but given to its `extra_losses`.

        Returns
        -------
        dict of str to Tensor of shape (), float
            "loss", the sum of "reconstruction" (pixels summed) and those of the bottleneck.
        """
        n_extra = min(self.bottleneck.n_extra, len(images) // 2)
        kept, extra = images[: len(images) - n_extra], images[len(images) - n_extra :]
        latents, losses = self.bottleneck(self.encoder(kept))
        if n_extra:
            losses = losses | self.bottleneck.extra_losses(extra, self.encoder, self.decode)
        error = self._error(self.decode_logits(latents), kept)
        total = torch.stack([error, *losses.values()]).sum()
        return {"loss": total, "reconstruction": error, **losses}

    def _error(self, logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        if self.reconstruction == "bce":
            return _cross_entropy(logits, images)
        return (logits.sigmoid() - images).square().sum() / len(images)


class NamedAutoencoder(Pretrained, Autoencoder, model_type="geoquant-autoencoder"):
    """An autoencoder whose parts have names, so that it can be saved and loaded.

    Parameters
    ----------
    image_shape : sequence of int
        Channels, height and width.
    latent_dim, width : int
        As for `make_networks`.
    network : {'mlp', 'convolutional', 'residual', 'multi-vector'}
        As for `make_networks`.
    bottleneck : str
        'none', 'gaussian', 'zero-pull', 'centre-pull', 'vector-quantizer' or 'vq-ae'; the last two
        are a `QuantizedBottleneck` that feeds codewords or encodings to the decoder.
    bottleneck_options : dict, optional
        Arguments of the bottleneck but for the dimension, such as ``{"n_centres": 20}``.
    reconstruction : {'mse', 'bce'}
        As for `Autoencoder`.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> from geoquant.torch import NamedAutoencoder
    >>> options = {"n_centres": 50, "momentum": 0.1}
    >>> model = NamedAutoencoder(bottleneck="centre-pull", bottleneck_options=options)
    >>> model.bottleneck.centres.shape
    torch.Size([50, 128])
    """

    card_usage = "latents = model.encode(images)  # floats in [0, 1], (n, C, H, W)"
    card_limits = _CARD_LIMITS

    def __init__(
        self,
        image_shape: Sequence[int] = (1, 28, 28),
        latent_dim: int = 128,
        width: int = 64,
        network: Network = "mlp",
        bottleneck: str = "none",
        bottleneck_options: dict[str, Any] | None = None,
        reconstruction: Literal["mse", "bce"] = "mse",
    ) -> None:
        shape = _checked_shape(image_shape)
        made = _named_bottleneck(bottleneck, latent_dim, bottleneck_options or {})
        encoder, decoder = make_networks(
            network, shape, latent_dim, width=width, n_outputs=made.n_outputs
        )
        super().__init__(encoder, made, decoder, image_shape=shape, reconstruction=reconstruction)
        self.latent_dim = latent_dim


def load_model(folder: PathLike) -> VAE | VQVAE | NamedAutoencoder:
    """A model that was saved in a folder, whichever it is.

    Parameters
    ----------
    folder : path
        What ``save_pretrained`` wrote.

    Returns
    -------
    VAE, VQVAE or NamedAutoencoder
        In evaluation mode.

    Raises
    ------
    FileFormatError
        If the folder is missing, or holds something else.

    Examples
    --------
    >>> import tempfile
    >>> from geoquant.torch import VAE, load_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     VAE(latent_dim=2).save_pretrained(folder)
    ...     load_model(folder).latent_dim
    2
    """
    models: dict[str, Any] = {m.model_type: m for m in (VAE, VQVAE, NamedAutoencoder)}
    found = model_config(folder).get("model_type")
    if found not in models:
        raise FileFormatError(
            f"{folder}: model_type must be one of {', '.join(models)}, found {found!r}; load other "
            "models with their own class and wrap them: VAEAdapter.wrap(model)"
        )
    return models[found].from_pretrained(folder)  # type: ignore[no-any-return]


def _named_bottleneck(name: str, dim: int, options: dict[str, Any]) -> Bottleneck:
    makers: dict[str, Callable[..., Bottleneck]] = {
        "none": Bottleneck,
        "gaussian": GaussianBottleneck,
        "zero-pull": ZeroPull,
        "centre-pull": partial(CentrePull, dim=dim),
        "vector-quantizer": partial(QuantizedBottleneck, dim=dim),
        "vq-ae": partial(QuantizedBottleneck, dim=dim, feeds_codewords=False),
    }
    if name not in makers:
        raise InputError(f"bottleneck must be one of {', '.join(makers)}, found {name!r}")
    try:
        return makers[name](**options)
    except TypeError as error:
        raise InputError(f"bottleneck_options do not make a {name!r}: {error}") from error


def _checked_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    shape = tuple(check_count(size, "image_shape", 1) for size in image_shape)
    if len(shape) != 3:
        raise InputError(f"image_shape must be channels, height and width, found {shape}")
    return shape


def check_image_shape(found: tuple[int, ...], image_shape: tuple[int, int, int]) -> None:
    """Raise `InputError` unless images, by their shape, are what a model takes."""
    if found[1:] != image_shape:
        expected = ", ".join(map(str, image_shape))
        raise InputError(
            f"images must have shape (n, {expected}) for this model, found {tuple(found)}"
        )


def _cross_entropy(logits: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean over images of the sum over pixels."""
    total = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
    return total / len(images)
