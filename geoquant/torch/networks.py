"""Encoders and decoders of images: fully connected, convolutional, residual, and per site."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

Network: TypeAlias = Literal["mlp", "convolutional", "residual", "multi-vector"]

#: Images are halved until one side is shorter.
_SMALLEST_SIDE = 8


def make_networks(
    network: Network,
    image_shape: tuple[int, int, int],
    latent_dim: int,
    *,
    width: int = 32,
    n_outputs: int = 1,
) -> tuple[nn.Module, nn.Module]:
    """An encoder and the decoder that mirrors it.

    Parameters
    ----------
    network : {'mlp', 'convolutional', 'residual', 'multi-vector'}
        'mlp': three layers each. 'convolutional': a convolution of stride 2 for each halving of
        the image, down to sides shorter than 8, then one linear layer. 'residual': the same with
        two residual blocks at each size. 'multi-vector': as 'convolutional', but without the
        linear layer: a latent for each site, 7 × 7 for images of 28 × 28.
    image_shape : tuple of int
        Channels, height and width.
    latent_dim : int
        Numbers of a latent, or of each site's latent.
    width : int, default=32
        Units of a hidden layer, or channels of the first convolution; each further one has twice
        as many.
    n_outputs : int, default=1
        Encodings of each latent: 2 for mean and log-variance.

    Returns
    -------
    encoder, decoder : Module
        Images to (n, n_outputs * latent_dim) or (n, n_outputs * latent_dim, h, w), and latents to
        the logits of images.

    Raises
    ------
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch.networks import make_networks
    >>> encoder, decoder = make_networks("multi-vector", (1, 28, 28), 512, width=8)
    >>> sites = encoder(torch.zeros(2, 1, 28, 28))
    >>> sites.shape, decoder(sites).shape
    (torch.Size([2, 512, 7, 7]), torch.Size([2, 1, 28, 28]))
    """
    latent_dim, width = check_count(latent_dim, "latent_dim", 1), check_count(width, "width", 1)
    if network not in get_args(Network):
        raise InputError(
            f"network must be one of {', '.join(get_args(Network))}, found {network!r}"
        )
    if network == "mlp":
        n_pixels = math.prod(image_shape)
        return nn.Sequential(
            nn.Flatten(), _mlp(n_pixels, width, n_outputs * latent_dim)
        ), nn.Sequential(_mlp(latent_dim, width, n_pixels), nn.Unflatten(1, image_shape))
    encoder, decoder = _convolutional(network, image_shape, latent_dim, width, n_outputs)
    # Convolutions on a CPU are faster when the numbers of a pixel lie together.
    return (
        encoder.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        decoder.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
    )


def _convolutional(
    network: Network,
    image_shape: tuple[int, int, int],
    latent_dim: int,
    width: int,
    n_outputs: int,
) -> tuple[nn.Sequential, nn.Sequential]:
    sizes, channels = _sizes(image_shape, width)
    block = ResidualBlock if network == "residual" else None
    down, up = _downward(channels, block), _upward(channels, sizes, block)
    if network == "multi-vector":
        to_latent = nn.Conv2d(channels[-1], n_outputs * latent_dim, 1)
        return nn.Sequential(*down, to_latent), nn.Sequential(
            nn.Conv2d(latent_dim, channels[-1], 1), nn.ReLU(), *up
        )
    last = (channels[-1], *sizes[-1])
    to_latent_vector = nn.Linear(math.prod(last), n_outputs * latent_dim)
    return nn.Sequential(*down, nn.Flatten(), to_latent_vector), nn.Sequential(
        nn.Linear(latent_dim, math.prod(last)), nn.Unflatten(1, last), nn.ReLU(), *up
    )


class ResidualBlock(nn.Module):
    """Two convolutions around which the input is carried.

    Parameters
    ----------
    channels : int
        Of input and output.

    References
    ----------
    He, Zhang, Ren, Sun: Identity mappings in deep residual networks. ECCV 2016.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        # The block begins as nothing, so that deep stacks train without normalization.
        nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what the convolutions make of it."""
        changed: torch.Tensor = self.second(functional.relu(self.first(functional.relu(x))))
        return x + changed


class Enlarge(nn.Module):
    """Nearest-neighbour enlargement to a size, which need not be twice the size before."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The enlarged images."""
        return functional.interpolate(x, size=self.size)


def _mlp(n_in: int, width: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, n_out),
    )


def _sizes(
    image_shape: tuple[int, int, int], width: int
) -> tuple[list[tuple[int, int]], list[int]]:
    """Sizes from the image's to the smallest, and channels at each."""
    in_channels, height, side = image_shape
    sizes, channels = [(height, side)], [in_channels]
    while min(sizes[-1]) >= _SMALLEST_SIDE:
        high, wide = sizes[-1]
        sizes.append((-(-high // 2), -(-wide // 2)))
        channels.append(width * 2 ** (len(channels) - 1))
    return sizes, channels


def _downward(channels: list[int], block: Callable[[int], nn.Module] | None) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(channels):
        layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.ReLU()]
        layers += [block(n_out) for _ in range(2)] if block else []
    return layers


def _upward(
    channels: list[int], sizes: list[tuple[int, int]], block: Callable[[int], nn.Module] | None
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for level in range(len(channels) - 1, 0, -1):
        layers += [block(channels[level]) for _ in range(2)] if block else []
        is_last = level == 1
        n_out = channels[0] if is_last else channels[level - 1]
        layers += [Enlarge(sizes[level - 1]), nn.Conv2d(channels[level], n_out, 3, padding=1)]
        layers += [] if is_last else [nn.ReLU()]
    return layers
