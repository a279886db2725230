"""``geoquant encode``: latents of images, their classes, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from geoquant.torch import VAE, VQVAE, load_images, load_model
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


@pytest.fixture
def images(folder: Path) -> Path:
    """Thirty images of four by four."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4, 4), np.uint8)
    np.save(folder / "images.npy", pixels)
    return folder / "images.npy"


@pytest.fixture(params=[VAE, VQVAE])
def model(request: pytest.FixtureRequest, folder: Path) -> Any:
    """A model in the folder."""
    made = request.param((1, 4, 4), latent_dim=3, hidden_dim=8)
    made.save_pretrained(folder / "model")
    return made


ARGUMENTS = ("encode", "--model", "model", "-o", "z.npy")


def test_latents_are_those_of_the_model(run: Run, images: Path, model: Any) -> None:
    """Means of a VAE, latents before quantization of a VQ-VAE, as float32."""
    outcome = run(*ARGUMENTS, "--data", images, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "schema_version": 1,
        "n": 27,
        "d": 3,
        "latents": "z.npy",
    }
    found = model.encode(load_images(images).images())
    expected = (found[0] if isinstance(model, VAE) else found).detach().numpy()
    written = np.load("z.npy")
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("model")
def test_split_and_limit(run: Run, images: Path) -> None:
    """The part that is asked for, and no more rows than asked for."""
    assert run(*ARGUMENTS, "--data", images, "--split", "test").out == (
        "3 latents of 3 dimensions\nlatents   z.npy\n"
    )
    assert run(*ARGUMENTS, "--data", images, "--limit", 2, "-q") == (0, "", "")
    assert np.load("z.npy").shape == (2, 3)


@pytest.mark.usefixtures("model")
def test_classes_are_written(run: Run, folder: Path) -> None:
    """Images of a folder come with their classes, and in the size of the model."""
    for number in range(12):
        path = folder / "pictures" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 6), number).save(path)
    outcome = run(*ARGUMENTS, "--data", "pictures", "--labels-output", "y.npy")
    assert outcome.out.endswith("labels    y.npy\n")
    assert np.load("y.npy").tolist() == [0] * 6 + [1] * 5
    assert np.load("z.npy").shape == (11, 3)


@pytest.mark.usefixtures("model")
def test_no_classes(run: Run, images: Path, folder: Path) -> None:
    """Where images have no classes none can be asked for, and nothing is written."""
    before = contents(folder)
    outcome = run(*ARGUMENTS, "--data", images, "--labels-output", "y.npy")
    assert_usage_error(outcome, "--labels-output", "have no classes")
    assert contents(folder) == before


@pytest.mark.usefixtures("model")
def test_what_does_not_fit(run: Run, folder: Path) -> None:
    """Images of other channels, a missing model, and an input as output are named."""
    np.save(folder / "c.npy", np.zeros((30, 3, 4, 4), np.uint8))
    outcome = run(*ARGUMENTS, "--data", "c.npy")
    assert_one_line_error(outcome, 2, "(n, 1, 4, 4)", "found (27, 3, 4, 4)")
    outcome = run("encode", "--model", "none", "-o", "z.npy", "--data", "c.npy")
    assert_one_line_error(outcome, 3, "none: no such folder")
    outcome = run("encode", "--model", "model", "-o", "c.npy", "--data", "c.npy")
    assert_usage_error(outcome, "c.npy is an input")


def test_latents_are_fitted(run: Run, images: Path, folder: Path) -> None:
    """What train and encode write is what fit takes."""
    size = ("--latent-dim", 2, "--hidden-dim", 8, "--epochs", 1)
    assert run("train", "vae", "--data", images, "-o", "model", *size).exit_code == 0
    assert load_model("model").latent_dim == 2
    assert run(*ARGUMENTS, "--data", images).exit_code == 0
    assert run("fit", "z.npy", "-k", 3, "--n-neighbors", 5).exit_code == 0
    assert (folder / "z.codebook.safetensors").exists()
