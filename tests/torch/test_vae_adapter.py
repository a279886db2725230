"""Any autoencoder through one face: plain modules, callables, diffusers, and what is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import geoquant as gq
from geoquant.errors import FileFormatError, InputError
from geoquant.torch import VAE, VQVAE, ImageSet, VAEAdapter, refine_codebook

if TYPE_CHECKING:
    from pathlib import Path


def images(n: int = 4, channels: int = 1, side: int = 8) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0))


class Halves(nn.Module):
    """Latents are images at half size, doubled again; `form` says how encode gives them."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.scale = nn.Parameter(torch.ones(()))

    def encode(self, x: torch.Tensor) -> Any:
        z = nn.functional.avg_pool2d(x, 2) * self.scale
        return {
            "tensor": z,
            "pair": (z, torch.zeros_like(z)),
            "single": (z,),
            "distribution": torch.distributions.Normal(z, 1.0),
            "latents": SimpleNamespace(latents=z),
            "latent": SimpleNamespace(latent=z),
            "embedding": SimpleNamespace(embedding=z),
            "latent_dist": SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: z)),
            "unknown": SimpleNamespace(other=z),
            "three": (z, z, z),
            "nothing": None,
        }[self.form]

    def decode(self, z: torch.Tensor) -> Any:
        x = nn.functional.interpolate(z, scale_factor=2)
        return SimpleNamespace(sample=x) if self.form == "latent_dist" else x


FORMS = [
    "tensor",
    "pair",
    "single",
    "distribution",
    "latents",
    "latent",
    "embedding",
    "latent_dist",
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_encode(form: str) -> None:
    """Whatever encode gives, the latents are taken out of it and decoded again."""
    x = images()
    adapter = VAEAdapter.wrap(Halves(form))
    rows = adapter.encode(x)
    assert torch.equal(rows, nn.functional.avg_pool2d(x, 2).flatten(1))
    assert adapter.decode(rows).shape == x.shape
    assert form.split("_")[0].replace("pair", "mean").replace("single", "tensor") in repr(adapter)


@pytest.mark.parametrize("form", ["unknown", "three", "nothing"])
def test_unknown_form_is_named(form: str) -> None:
    """What encode gives is named, and what it may give."""
    found = {"unknown": "SimpleNamespace", "three": "tuple of Tensor, Tensor, Tensor"}
    with pytest.raises(InputError, match=f"encode gives a {found.get(form, 'NoneType')}.*encode="):
        VAEAdapter.wrap(Halves(form)).check(images())


def test_sites_are_rows() -> None:
    """Per site, row (i, y, x) holds the channels there; decoding puts them back."""
    x = images(3, channels=2)
    adapter = VAEAdapter.wrap(Halves(), granularity="site")
    rows = adapter.encode_array(x)
    assert rows.shape == (3 * 16, 2)
    pooled = nn.functional.avg_pool2d(x, 2)
    np.testing.assert_array_equal(rows.reshape(3, 4, 4, 2)[1, 2, 3], pooled[1, :, 2, 3])
    decoded = adapter.decode_array(rows, batch_size=2)
    np.testing.assert_allclose(decoded, Halves().decode(pooled).numpy(), atol=1e-6)


def test_sites_of_a_known_shape_decode_at_once() -> None:
    """With the shape of a latent said, nothing has to be encoded before."""
    rows = np.zeros((32, 2), np.float32)
    known = VAEAdapter.wrap(Halves(), granularity="site", latent_shape=(2, 4, 4))
    assert known.decode_array(rows).shape == (2, 2, 8, 8)
    with pytest.raises(InputError, match="not known yet; encode or check"):
        VAEAdapter.wrap(Halves(), granularity="site").decode_array(rows)
    with pytest.raises(InputError, match="must be 16 rows for each image, found 30"):
        known.decode_array(rows[:30])


def test_callables_take_the_place_of_the_model() -> None:
    """Explicit callables go before the model's own methods."""
    adapter = VAEAdapter.wrap(Halves("unknown"), encode=lambda x: x.flatten(1))
    assert torch.equal(adapter.encode(images()), images().flatten(1))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_arrays_in_batches(batch_size: int) -> None:
    """Bytes, numbers and sets of images give the same latents in batches of any size."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8), np.uint8)
    adapter = VAEAdapter.wrap(Halves())
    expected = adapter.encode(torch.from_numpy(pixels / np.float32(255))).detach().numpy()
    for given in (pixels, pixels / 255, torch.from_numpy(pixels), ImageSet(pixels, None, "x")):
        found = adapter.encode_array(given, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32


def test_model_is_left_in_its_mode() -> None:
    """Arrays are made in evaluation mode, and the model's mode is put back."""
    model = nn.Sequential(nn.Dropout(0.9), nn.Flatten())
    model.train()
    adapter = VAEAdapter.wrap(model, encode=model, decode=lambda z: z.reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(adapter.encode_array(images()), images().flatten(1))
    assert model.training
    assert model[0].training


def test_gradients_pass_through_decode() -> None:
    """What decode gives can be differentiated, so codewords can be fitted through an adapter."""
    latents = VAEAdapter.wrap(Halves()).encode_array(images(20))
    book = gq.fit_codebook(latents, 3, random_state=0).codebook
    adapter = VAEAdapter.wrap(Halves())
    adapter.encode(images())
    darker = images(20) / 2
    refined = refine_codebook(book, adapter, latents, darker, loss="gaussian", epochs=100)
    assert refined.history[-1]["loss"] < 0.8 * refined.history[0]["loss"]


@pytest.mark.parametrize("kind", [VAE, VQVAE])
def test_our_own_models_from_a_folder(kind: Any, tmp_path: Path) -> None:
    """A folder is wrapped as the model in it, and decode_logits is handed on."""
    model = kind(image_shape=(1, 8, 8), latent_dim=3).eval()
    model.save_pretrained(tmp_path)
    adapter = VAEAdapter.wrap(tmp_path)
    rows = adapter.encode(images())
    expected = model.encode(images())
    assert torch.equal(rows, expected[0] if kind is VAE else expected)
    assert torch.equal(adapter.decode_logits(rows).sigmoid(), adapter.decode(rows))
    with pytest.raises(FileFormatError, match="no such folder"):
        VAEAdapter.wrap(tmp_path / "nowhere")


def diffusers_model(name: str) -> Any:
    import diffusers

    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "layers_per_block": 1,
    }
    if name == "AutoencoderTiny":
        options: dict[str, Any] = {
            "encoder_block_out_channels": (8, 8),
            "decoder_block_out_channels": (8, 8),
            "num_encoder_blocks": (1, 1),
            "num_decoder_blocks": (1, 1),
        }
        return diffusers.AutoencoderTiny(**options).eval()
    if name == "VQModel":
        return diffusers.VQModel(**blocks, latent_channels=3, num_vq_embeddings=5).eval()
    return diffusers.AutoencoderKL(
        **blocks, latent_channels=4, scaling_factor=0.5, shift_factor=0.1
    ).eval()


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderTiny", "VQModel"])
def test_models_of_diffusers(name: str) -> None:
    """Their latents are those of the library, of images brought to [-1, 1], and come back."""
    model = diffusers_model(name)
    x = images(2, channels=3, side=16)
    adapter = VAEAdapter.wrap(model, granularity="site")
    check = adapter.check(x)
    output = model.encode(x * 2 - 1)
    latents = output.latent_dist.mode() if name == "AutoencoderKL" else output.latents
    assert check.latent_shape == tuple(latents.shape[1:])
    assert check.is_deterministic
    rows = adapter.encode(x)
    assert torch.equal(rows, latents.movedim(1, -1).reshape(-1, latents.shape[1]))
    options = {"force_not_quantize": True} if name == "VQModel" else {}
    expected = ((model.decode(latents, **options).sample + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(adapter.decode(rows), expected)
    assert adapter.image_range == (-1, 1)
    assert f"diffusers {name}" in str(check)


def test_scales_travel() -> None:
    """Scale and shift of a model's configuration can be kept with a codebook."""
    found = VAEAdapter.wrap(diffusers_model("AutoencoderKL")).metadata
    assert found == {"scaling_factor": 0.5, "shift_factor": 0.1}
    book = gq.fit_codebook(np.random.default_rng(0).normal(size=(20, 2)), 2).codebook
    from dataclasses import replace

    assert replace(book, metadata=book.metadata | found).metadata["scaling_factor"] == 0.5


def test_check_tells_shapes_and_errors() -> None:
    """A sound model: shapes, rows, determinism, error of the round trip, in words too."""
    check = VAEAdapter.wrap(Halves(), granularity="site").check(images(channels=2))
    assert (check.image_shape, check.latent_shape) == ((2, 8, 8), (2, 4, 4))
    assert (check.rows_per_image, check.dim, check.is_deterministic) == (16, 2, True)
    pooled = nn.functional.avg_pool2d(images(channels=2), 2)
    expected = (Halves().decode(pooled) - images(channels=2)).abs().mean().item()
    assert check.round_trip_error == pytest.approx(expected)
    assert check.warnings == ()
    text = str(check)
    for words in ("2 × 8 × 8", "16 rows of 2 numbers", "the same twice", "float32 on cpu"):
        assert words in text


def test_check_warns_of_noise() -> None:
    """An encoding that is not the same twice is named."""
    noisy = VAEAdapter.wrap(Halves(), encode=lambda x: x + torch.randn_like(x), decode=lambda z: z)
    check = noisy.check(images())
    assert not check.is_deterministic
    assert "not the same twice" in str(check)
    assert any("give encode= the mean" in text for text in check.warnings)


def test_check_warns_of_a_wrong_range() -> None:
    """Images far from what they were are a sign of a wrong range."""
    adapter = VAEAdapter.wrap(encode=lambda x: x * 2, decode=lambda z: z.reshape(-1, 1, 8, 8))
    assert any("image_range=(0, 1)" in text for text in adapter.check(images()).warnings)


def test_check_warns_of_sites_in_one_row() -> None:
    """Spatial latents taken as one row are pointed out, as that is easily overlooked."""
    check = VAEAdapter.wrap(Halves()).check(images())
    assert any("16 sites: granularity='site' would give 16 rows" in w for w in check.warnings)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(2, 8, 8), r"shape \(n, C, H, W\), found \(2, 8, 8\)"),
        (torch.zeros(0, 1, 8, 8), "at least one"),
        (torch.zeros(2, 3, 8, 8), r"encode of images of shape \(2, 3, 8, 8\) failed.*channels"),
    ],
)
def test_check_of_bad_images(given: torch.Tensor, message: str) -> None:
    """Images of another shape are named, with what the model said."""
    model = nn.Conv2d(1, 2, 3)
    with pytest.raises(InputError, match=message):
        VAEAdapter.wrap(model, encode=model, decode=lambda z: z).check(given)


def test_check_of_a_broken_model() -> None:
    """Latents that are not finite, images of another shape, and too few latents are named."""
    nan = VAEAdapter.wrap(encode=lambda x: x * torch.nan, decode=lambda z: z)
    with pytest.raises(InputError, match="not finite"):
        nan.check(images())
    small = VAEAdapter.wrap(encode=lambda x: x, decode=lambda z: z[:, :, :4])
    with pytest.raises(InputError, match=r"shape \(4, 1, 4, 8\), expected \(4, 1, 8, 8\)"):
        small.check(images())
    few = VAEAdapter.wrap(encode=lambda x: x[:1], decode=lambda z: z)
    with pytest.raises(InputError, match="for 4 images"):
        few.check(images())
    with pytest.raises(InputError, match=r"decode gives a NoneType.*decode="):
        VAEAdapter.wrap(encode=lambda x: x, decode=lambda z: None).check(images())


def test_arrays_of_a_broken_model() -> None:
    """Values that are not finite and images out of range are named while arrays are made."""
    nan = VAEAdapter.wrap(encode=lambda x: x * torch.nan, decode=lambda z: z * torch.nan)
    with pytest.raises(InputError, match="encode gives values that are not finite"):
        nan.encode_array(images())
    with pytest.raises(InputError, match="decode gives values that are not finite"):
        nan.decode_array(np.ones((2, 64)))
    for wrong, found in ((np.full((2, 1, 8, 8), 255.0), "255 to 255"), (images() * np.nan, "nan")):
        with pytest.raises(InputError, match=rf"lie in \[0, 1\], found {found}"):
            VAEAdapter.wrap(Halves()).encode_array(wrong)


def test_latents_of_another_model() -> None:
    """Rows of another dimension are named, and so are images of another size."""
    adapter = VAEAdapter.wrap(VAE(image_shape=(1, 8, 8), latent_dim=3))
    with pytest.raises(InputError, match=r"decode of latents of shape \(2, 5\) failed"):
        adapter.decode_array(np.zeros((2, 5)))
    adapter.encode(images())
    with pytest.raises(InputError, match=r"rows of 3 numbers, 1 for each .*shape \(2, 5\)"):
        adapter.decode_array(np.zeros((2, 5)))
    halves = VAEAdapter.wrap(Halves())
    halves.encode(images())
    with pytest.raises(InputError, match=r"gave or was said to give \(1, 4, 4\); wrap"):
        halves.encode(images(side=16))


def test_out_of_memory_is_not_bad_input() -> None:
    """What is no fault of the images is passed on."""

    def full(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        VAEAdapter.wrap(encode=full, decode=full).encode(images())


def test_other_ranges_are_clipped() -> None:
    """A model that works with [-1, 1] may leave it; images do not."""
    adapter = VAEAdapter.wrap(encode=lambda x: x, decode=lambda z: 2 * z, image_range=(-1, 1))
    adapter.latent_shape = (1, 1, 3)
    decoded = adapter.decode(torch.tensor([[-1.0, 0.25, 1.0]]))
    assert decoded.tolist() == [[[[0.0, 0.75, 1.0]]]]


def test_half_precision() -> None:
    """A model in another precision is given its own, and gives float32."""
    adapter = VAEAdapter.wrap(VAE(image_shape=(1, 8, 8), latent_dim=3).to(torch.bfloat16))
    rows = adapter.encode(images())
    assert rows.dtype == adapter.decode(rows).dtype == torch.float32
    assert adapter.check(images()).dtype == "bfloat16"


def test_logits_are_those_of_decode() -> None:
    """Where decode is given, the model's logits are of something else."""
    model = VAE(image_shape=(1, 8, 8), latent_dim=3)
    assert hasattr(VAEAdapter.wrap(model), "decode_logits")
    assert not hasattr(VAEAdapter.wrap(model, decode=lambda z: z), "decode_logits")


def test_images_on_another_device() -> None:
    """Images elsewhere than the model are named with both places."""
    with pytest.raises(InputError, match=r"images are on meta, the model on cpu"):
        VAEAdapter.wrap(Halves()).encode(torch.zeros(1, 1, 8, 8, device="meta"))
    with pytest.raises(InputError, match=r"floating tensor in \[0, 1\], found torch\.uint8"):
        VAEAdapter.wrap(Halves()).encode(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "encode is needed, and no model was given"),
        ({"model": nn.Flatten()}, "encode is needed, and Flatten has none"),
        ({"model": Halves(), "granularity": "pixel"}, "'image' or 'site', found 'pixel'"),
        ({"model": Halves(), "image_range": (1, 0)}, r"\(black, white\), found \(1, 0\)"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument out of range, or a model without the methods, is named."""
    with pytest.raises(InputError, match=message):
        VAEAdapter.wrap(**options)


def test_sites_of_flat_latents() -> None:
    """Sites are only in latents that have some."""
    flat = VAEAdapter.wrap(VAE(image_shape=(1, 8, 8), latent_dim=3), granularity="site")
    with pytest.raises(InputError, match=r"for latents \(n, C, H, W\), found \(4, 3\)"):
        flat.encode(images())
