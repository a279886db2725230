"""The paper's models: losses by hand, that they learn, and that they come back from a folder."""

from __future__ import annotations

import errno
import json
import math
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.tensor_files import read_safetensors
from geoquant.torch import (
    VAE,
    VQVAE,
    GRUPrior,
    ImageSet,
    load_model,
    mean_losses,
    train_autoencoder,
)

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (1, 4, 4)


def images(n: int = 256) -> torch.Tensor:
    """Bars at one of four places, with some grey."""
    generator = torch.Generator().manual_seed(0)
    made = torch.rand(n, *SHAPE, generator=generator) * 0.2
    made[torch.arange(n), 0, torch.arange(n) % 4] += 0.8
    return made


def small(kind: type[VAE | VQVAE], **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(**({"image_shape": SHAPE, "latent_dim": 2, "hidden_dim": 32} | options))


def zeroed(model: torch.nn.Module) -> Any:
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    return model


def test_vae_loss_by_hand() -> None:
    """With all weights zero a pixel costs ln 2 and the posterior is the prior."""
    losses = zeroed(small(VAE)).loss(images())
    assert losses["bce"].item() == pytest.approx(16 * math.log(2), rel=1e-5)
    assert losses["kl"].item() == 0
    assert losses["loss"].item() == losses["bce"].item()


def test_kl_by_hand() -> None:
    """(m^2 + v - 1 - ln v) / 2 for mean 2 and variance e in each of two dimensions."""
    model = zeroed(small(VAE))
    torch.nn.init.constant_(model.encoder.mean.bias, 2)
    torch.nn.init.constant_(model.encoder.logvar.bias, 1)
    assert model.loss(images())["kl"].item() == pytest.approx(4 + math.e - 2, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "options"), [(VAE, {}), (VQVAE, {"n_codes": 4}),
                          (VQVAE, {"n_codes": 4, "codebook_update": "gradient"})]
)  # fmt: skip
def test_training_lowers_the_loss(kind: type[VAE | VQVAE], options: dict[str, Any]) -> None:
    """Thirty epochs take the cross-entropy well below its start, reported in parts."""
    model = small(kind, **options)
    history = train_autoencoder(model, images(), epochs=30, batch_size=32, learning_rate=3e-3)
    assert history[-1]["bce"] < history[0]["bce"] - 1
    parts = set(history[-1]) - {"epoch", "loss"}
    assert history[-1]["loss"] == pytest.approx(sum(history[-1][part] for part in parts), rel=1e-4)


def test_codes_tell_the_bars_apart() -> None:
    """The healthy VQ-VAE gives the four bars codes of their own."""
    model = small(VQVAE, n_codes=8)
    train_autoencoder(model, images(), epochs=40, batch_size=32, learning_rate=3e-3)
    codes = model.eval().quantize(model.encode(images())).indices
    used = [set(codes[bar::4].tolist()) for bar in range(4)]
    assert all(not used[a] & used[b] for a in range(4) for b in range(a))


@pytest.mark.parametrize("kind", [VAE, VQVAE])
def test_saved_is_loaded(kind: type[VAE | VQVAE], tmp_path: Path) -> None:
    """A folder gives back a model of the same kind that makes the same images."""
    model = small(kind).eval()
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is kind
    assert torch.equal(loaded(images()), model(images()))


def test_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is ResourceError for the folder as for the files in it."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("geoquant.files.os.makedirs", fail)
    with pytest.raises(ResourceError, match="new: cannot be written, No space left"):
        GRUPrior(2, 2).save_pretrained(tmp_path / "new")


def test_other_models_are_refused(tmp_path: Path) -> None:
    """A prior is no autoencoder, and says so."""
    GRUPrior(2, 2).save_pretrained(tmp_path)
    with pytest.raises(FileFormatError, match=r"geoquant-vae, .*found 'geoquant-gru"):
        load_model(tmp_path)


def test_configuration_names_the_sizes(tmp_path: Path) -> None:
    """What a model was made with is in its configuration, defaults too."""
    VAE(latent_dim=3).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "hidden_dim": 400,
        "image_shape": [1, 28, 28],
        "latent_dim": 3,
        "model_type": "geoquant-vae",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (28, 28)}, "channels, height and width"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"hidden_dim": 1.5}, "hidden_dim"),
    ],
)
def test_bad_sizes(options: dict[str, Any], message: str) -> None:
    """A size that is no positive integer is named."""
    with pytest.raises(InputError, match=message):
        small(VAE, **options)


def test_bad_images() -> None:
    """Images of another shape or range are named."""
    model = small(VAE)
    with pytest.raises(InputError, match=r"shape \(n, 1, 4, 4\).*found \(1, 1, 5, 5\)"):
        model.encode(torch.zeros(1, 1, 5, 5))
    with pytest.raises(InputError, match=r"in \[0, 1\], found 0 to 255"):
        train_autoencoder(model, torch.tensor([0.0, 255.0]).repeat(8).reshape(1, 1, 4, 4), epochs=1)
    with pytest.raises(InputError, match="found 0 of them"):
        mean_losses(model, images()[:0])


@pytest.mark.parametrize("kind", [VAE, VQVAE])
def test_bytes_train_as_their_floats(kind: type[VAE | VQVAE]) -> None:
    """An image set of bytes gives the very parameters that its images as a tensor give."""
    data = ImageSet((images(50) * 255).byte().numpy(), None, "bars")
    models = small(kind), small(kind)
    for model, given in zip(models, (data, data.images()), strict=True):
        train_autoencoder(model, given, epochs=2, batch_size=16)
    for name, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[name])


def test_checkpoint_of_other_images_is_refused(tmp_path: Path) -> None:
    """A run goes on only with the images that it began with."""
    path = tmp_path / "checkpoint.safetensors"
    train_autoencoder(small(VAE), images(), epochs=1, checkpoint=path)
    with pytest.raises(InputError, match="a run with identity"):
        train_autoencoder(small(VAE), images().flip(0), epochs=1, checkpoint=path)


def test_mean_losses_agree_with_one_batch() -> None:
    """Batches of unequal size give the mean over images, and draw the same twice."""
    model = small(VQVAE, n_codes=4).eval()
    expected = {name: value.item() for name, value in model.loss(images()).items()}
    assert mean_losses(model, images(), batch_size=100) == pytest.approx(expected, rel=1e-5)
    vae = small(VAE)
    before = torch.random.get_rng_state()
    assert mean_losses(vae, images()) == mean_losses(vae, images())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_given_weights_fit(data_folder: Path) -> None:
    """The weights of the paper's VAE that come with the data load, and encode as recorded."""
    import numpy as np

    from geoquant.torch import load_images

    arrays, _ = read_safetensors(data_folder / "latents" / "mnist_vae20.safetensors")
    model = VAE()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    mean, _ = model.encode(load_images("mnist", "test", limit=100).images())
    expected = np.load(data_folder / "latents" / "mnist_vae20_test_mean.npy", mmap_mode="r")[:100]
    np.testing.assert_allclose(mean.detach().numpy(), expected, atol=1e-4)
