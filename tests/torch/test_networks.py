"""Encoders and decoders: shapes of every kind, and that residual blocks begin as nothing."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from geoquant.errors import InputError
from geoquant.torch.networks import Network, ResidualBlock, make_networks

KINDS = get_args(Network)


@pytest.mark.parametrize("network", KINDS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64), (1, 8, 8), (2, 9, 13)])
def test_decoder_mirrors_encoder(network: Any, shape: tuple[int, int, int]) -> None:
    """Images of any size become latents, and latents images of that size."""
    encoder, decoder = make_networks(network, shape, 5, width=4)
    latents = encoder(torch.zeros(2, *shape))
    assert latents.shape[:2] == (2, 5)
    assert latents.ndim == (4 if network == "multi-vector" else 2)
    assert decoder(latents).shape == (2, *shape)


def test_sites_of_digits() -> None:
    """Images of 28 × 28 have 7 × 7 sites, as in the paper; of 64 × 64, 4 × 4."""
    for side, sites in ((28, 7), (64, 4)):
        encoder, _ = make_networks("multi-vector", (1, side, side), 3, width=2)
        assert encoder(torch.zeros(1, 1, side, side)).shape == (1, 3, sites, sites)


@pytest.mark.parametrize("network", KINDS)
def test_two_outputs(network: Any) -> None:
    """Mean and log-variance take twice the channels, which the decoder is not fed."""
    encoder, decoder = make_networks(network, (1, 16, 16), 3, width=2, n_outputs=2)
    mean, _ = encoder(torch.zeros(1, 1, 16, 16)).chunk(2, 1)
    assert decoder(mean).shape == (1, 1, 16, 16)


@pytest.mark.parametrize("network", KINDS)
def test_every_layer_learns(network: Any) -> None:
    """Gradients reach every parameter but those behind a residual branch that begins as nothing."""
    torch.manual_seed(0)
    encoder, decoder = make_networks(network, (1, 16, 16), 8, width=16)
    decoder(encoder(torch.rand(8, 1, 16, 16))).square().sum().backward()
    for part in (encoder, decoder):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            if ".first." not in name:
                assert parameter.grad.abs().sum() > 0, name


def test_residual_block_begins_as_nothing() -> None:
    """Before training only the bias of its last convolution is added."""
    block = ResidualBlock(3)
    x = torch.randn(1, 3, 5, 5)
    added = block(x) - x
    assert torch.allclose(added, block.second.bias[:, None, None].expand_as(added), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "transformer"}, "mlp, convolutional, residual, multi-vector, found 'transf"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"width": 0}, "width"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    given = {"network": "mlp", "image_shape": (1, 8, 8), "latent_dim": 2} | options
    with pytest.raises(InputError, match=message):
        make_networks(**given)
