"""Decoders of linear layers as arrays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from geoquant.torch import VAE
from geoquant.torch.layers import plain_layers


def layers_of(*parts: nn.Module) -> Any:
    return plain_layers(SimpleNamespace(decoder=nn.Sequential(*parts)))


def test_parts_become_layers() -> None:
    """Nested, with and without what changes nothing, each with the function after it."""
    first, second = nn.Linear(2, 3), nn.Linear(3, 4, bias=False)
    found = layers_of(
        nn.Sequential(first, nn.Tanh()), nn.Dropout(), second, nn.SiLU(), nn.Unflatten(1, (1, 2, 2))
    )
    assert [activation for _, _, activation in found] == ["tanh", "silu"]
    np.testing.assert_array_equal(found[0][0], first.weight.detach().numpy())
    np.testing.assert_array_equal(found[0][1], first.bias.detach().numpy())
    assert found[1][1].tolist() == [0.0] * 4


def test_own_decoder() -> None:
    """That of a VAE has one hidden layer."""
    vae = VAE((1, 3, 4), latent_dim=2, hidden_dim=5)
    found = plain_layers(vae)
    assert found is not None
    assert [w.shape for w, _, _ in found] == [(5, 2), (12, 5)]
    assert [activation for _, _, activation in found] == ["relu", "none"]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [nn.ReLU(), nn.Linear(2, 2)],
        [nn.Linear(2, 2), nn.ReLU(), nn.Tanh()],
        [nn.Linear(2, 2), nn.LeakyReLU(0.2)],
        [nn.Linear(2, 2), nn.ELU(2.0)],
        [nn.Linear(2, 2), nn.LayerNorm(2)],
        [nn.Linear(2, 4), nn.Conv2d(1, 1, 1)],
    ],
    ids=lambda parts: "-".join(type(part).__name__ for part in parts) or "none",
)
def test_what_is_more_than_layers(parts: list[nn.Module]) -> None:
    """It has to be decoded by the model."""
    assert layers_of(*parts) is None


def test_models_without_decoder() -> None:
    """Callables have no parts."""
    assert plain_layers(None) is None
    assert plain_layers(SimpleNamespace(decoder=lambda z: z)) is None
