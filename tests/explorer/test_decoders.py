"""How the page decodes: layers that it computes, and whether they give what the model gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.explorer import Layer, LayeredDecoder
from geoquant.explorer import decoders as decoders_module
from geoquant.explorer.decoders import as_decoder
from geoquant.explorer.thumbnails import most_thumbnails, shrunk


def test_layers_are_applied_in_turn() -> None:
    """A linear map, what is done to each number, and another map, computed by hand."""
    first = Layer(np.array([[1.0, -1.0], [2.0, 0.0]], np.float32), np.float32([0, 1]), "relu")
    second = Layer(np.array([[1.0, 0.5]], np.float32), np.float32([0.25]), "none")
    decoder = LayeredDecoder((first, second), (1, 1, 1), white=4.0)
    # (1, 3) gives (-2, 3), then (0, 3), then 1.75 of 4.
    assert decoder([[1.0, 3.0]]).tolist() == [[[[1.75 / 4]]]]
    assert decoder.n_weights == 9


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("none", [-2.0, 3.0]),
        ("relu", [0.0, 3.0]),
        ("leaky_relu", [-0.02, 3.0]),
        ("elu", [np.exp(-2.0) - 1, 3.0]),
        ("tanh", np.tanh([-2.0, 3.0])),
        ("sigmoid", 1 / (1 + np.exp([2.0, -3.0]))),
        ("silu", np.array([-2.0, 3.0]) / (1 + np.exp([2.0, -3.0]))),
    ],
)
def test_activations(activation: str, expected: list[float]) -> None:
    """Each is what its name says."""
    found = decoders_module._ACTIVATIONS[activation](np.array([-2.0, 3.0], np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_images_have_one_or_three_channels() -> None:
    """Others cannot be shown."""
    for shape in ((2, 4, 4), (4, 4), (1, 0, 4)):
        with pytest.raises(gq.InputError, match="image_shape"):
            LayeredDecoder((), shape)  # type: ignore[arg-type]


def test_large_images_are_shown_smaller() -> None:
    """By averaging squares, so that nothing but detail is lost, and more fit into a page."""
    steps = np.arange(200, dtype=np.float32)[None, None, :, None] / 200
    small = shrunk(np.broadcast_to(steps, (1, 3, 200, 100)), "images")
    assert small.shape == (1, 3, 66, 33)
    np.testing.assert_allclose(small[0, 0, :2, 0], [1 / 200, 4 / 200], rtol=1e-5)
    assert most_thumbnails((1, 8, 8)) == 1024
    assert most_thumbnails((1, 100, 1)) == 1024


def adapter_of(model: Any) -> Any:
    from geoquant.torch import VAEAdapter

    return VAEAdapter.wrap(model)


@pytest.mark.parametrize("kind", ["vae", "mlp"])
def test_linear_decoders_are_computed_by_the_page(kind: str) -> None:
    """They give the model's own images, to a sixty-fourth of white."""
    pytest.importorskip("torch")
    from geoquant.torch import VAE, NamedAutoencoder, seeded

    with seeded(0):
        model = (
            VAE((1, 6, 5), latent_dim=3, hidden_dim=20)
            if kind == "vae"
            else NamedAutoencoder((3, 6, 5), latent_dim=3, width=20)
        )
    z = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = as_decoder(adapter_of(model), z)
    assert isinstance(found, LayeredDecoder)
    expected = adapter_of(model).decode_array(z)
    np.testing.assert_allclose(found.rounded()(z), expected, atol=1 / 64)


def test_other_decoders_are_called() -> None:
    """Convolutions, layers around which more is done, and too many weights."""
    torch = pytest.importorskip("torch")
    from geoquant.torch import VAE, NamedAutoencoder, seeded

    class Inverted(VAE):
        """Decodes to negatives, which its layers do not tell."""

        def decode(self, latents: Any) -> Any:
            return 1 - super().decode(latents)

    z = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    with seeded(0):
        convolutional = NamedAutoencoder((1, 8, 8), 3, 4, network="convolutional")
        inverted = Inverted((1, 6, 5), latent_dim=3, hidden_dim=20)
        torch.nn.init.normal_(inverted.decoder.output.bias)
        large = VAE((1, 6, 5), latent_dim=3, hidden_dim=60_000)
    for model in (convolutional, inverted, large):
        found = as_decoder(adapter_of(model), z)
        assert not isinstance(found, LayeredDecoder)
        assert found is not None
        assert len(np.asarray(found(z))) == 50
