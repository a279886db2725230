"""``geoquant reconstruct``: rows of images, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import geoquant as gq
from geoquant.torch import VAE, VQVAE, load_images
from tests.cli.conftest import assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


@pytest.fixture
def images(folder: Path) -> Path:
    """Thirty images of four by five, so three for testing."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4, 5), np.uint8)
    np.save(folder / "images.npy", pixels)
    return folder / "images.npy"


@pytest.fixture
def vae(folder: Path) -> VAE:
    """A VAE in the folder."""
    made = VAE((1, 4, 5), latent_dim=2, hidden_dim=8)
    made.save_pretrained(folder / "model")
    return made


def save_book(path: Path, dim: int = 2, **metadata: object) -> np.ndarray:
    """A codebook of two codewords, each its own anchor."""
    vectors = np.stack([np.zeros(dim), np.ones(dim)]).astype(np.float32)
    ids = np.arange(2, dtype=np.int32)
    gq.Codebook(vectors, vectors, np.zeros(2), ids, 1, metadata).save(path)
    return vectors


ARGUMENTS = ("reconstruct", "--model", "model", "--data", "images.npy")
BOOK = ("--codebook", "book.safetensors")


@pytest.mark.usefixtures("images")
def test_rows_by_the_parts(run: Run, folder: Path, vae: VAE) -> None:
    """Images, decoded latents and decoded codewords, one below the other."""
    vectors = save_book(folder / "book.safetensors")
    outcome = run(*ARGUMENTS, *BOOK, "-n", 2, "--output-npy", "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    rows = np.load("rows.npy")
    given = load_images("images.npy", "test", limit=2).images()
    with torch.no_grad():
        latents = vae.encode(given)[0]
        codes = torch.cdist(latents, torch.from_numpy(vectors)).argmin(1).numpy()
        expected = [given, vae.decode(latents), vae.decode(torch.from_numpy(vectors[codes]))]
    np.testing.assert_allclose(rows, np.stack(expected), atol=1e-6)
    picture = np.asarray(Image.open("rows.png"))
    assert picture.shape == (3 * 4, 2 * 5)
    np.testing.assert_array_equal(picture[:4, 5:], np.rint(rows[0, 1, 0] * 255))
    said = json.loads(outcome.out)
    assert said["mean_squared_error"] == pytest.approx(
        ((rows - rows[0]) ** 2).mean((1, 2, 3, 4)).tolist(), rel=1e-5
    )
    assert (said["n"], said["picture"], said["arrays"]) == (2, "rows.png", "rows.npy")


@pytest.mark.usefixtures("images")
def test_codes_by_images_where_codewords_are(run: Run, folder: Path, vae: VAE) -> None:
    """Of a codebook fitted through a decoder each image gets the code whose image is best."""
    vectors = save_book(folder / "book.safetensors", codewords="decoder")
    run(*ARGUMENTS, *BOOK, "-n", 3, "--output-npy", "-q")
    given = load_images("images.npy", "test", limit=3).images()
    with torch.no_grad():
        either = vae.decode(torch.from_numpy(vectors))
    losses = torch.nn.functional.binary_cross_entropy(
        either.expand(3, *either.shape), given[:, None].expand(3, *either.shape), reduction="none"
    )
    best = losses.flatten(2).sum(2).argmin(1)
    np.testing.assert_allclose(np.load("rows.npy")[2], either[best].numpy(), atol=1e-6)


@pytest.mark.usefixtures("images", "vae")
def test_says_it_in_words(run: Run, folder: Path) -> None:
    """A line for each kind of reconstruction and one for the file; the .npy only when asked."""
    save_book(folder / "book.safetensors")
    lines = run(*ARGUMENTS, *BOOK).out.splitlines()
    assert lines[0].startswith("from latents: mean squared error 0.")
    assert lines[1].startswith("from codes: mean squared error 0.")
    assert lines[2:] == ["picture   rows.png"]
    assert not (folder / "rows.npy").exists()
    assert run(*ARGUMENTS, *BOOK, "-q") == (0, "", "")


@pytest.mark.usefixtures("images")
def test_own_codes_of_a_vq_vae(run: Run, folder: Path) -> None:
    """A VQ-VAE needs no codebook; the last row is the model's own output."""
    model = VQVAE((1, 4, 5), latent_dim=2, hidden_dim=8, n_codes=4).eval()
    model.save_pretrained(folder / "model")
    assert run(*ARGUMENTS, "--output-npy").exit_code == 0
    expected = model(load_images("images.npy", "test").images()).detach().numpy()
    np.testing.assert_allclose(np.load("rows.npy")[2], expected, atol=1e-6)


@pytest.mark.usefixtures("images", "vae")
def test_what_does_not_fit(run: Run, folder: Path) -> None:
    """A missing codebook and one of another dimension are named."""
    assert_usage_error(run(*ARGUMENTS), "--codebook", "a vae has no codes of its own")
    save_book(folder / "book.safetensors", dim=3)
    outcome = run(*ARGUMENTS, *BOOK)
    assert_usage_error(outcome, "--codebook", "of 3 dimensions", "latents have 2")
    outcome = run(*ARGUMENTS, *BOOK, "-o", "nowhere/rows.png")
    assert_usage_error(outcome, "folder nowhere does not exist")
