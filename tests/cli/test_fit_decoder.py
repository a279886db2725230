"""``fit --codewords decoder`` and ``assign --model``: codes and codewords by decoded images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.torch import (
    VAE,
    VAEAdapter,
    load_images,
    reassign,
    reconstruction_loss,
    refine_codebook,
    seeded,
)
from tests.cli.conftest import assert_one_line_error, assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "latents.codebook.safetensors"
MODEL = ("--model", "model")
DATA = ("--data", "images.npy")


@pytest.fixture
def adapter(folder: Path) -> VAEAdapter:
    """A model, images, and their latents; the images are not what the model decodes."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 4, 5), np.uint8)
    np.save(folder / "images.npy", pixels)
    with seeded(0):
        VAE((1, 4, 5), latent_dim=2, hidden_dim=8).save_pretrained(folder / "model")
    adapter = VAEAdapter.wrap(folder / "model")
    latents = adapter.encode_array(load_images(folder / "images.npy"))
    np.save(folder / "latents.npy", latents * 5)
    return adapter


def test_one_stage(run: Run, adapter: VAEAdapter) -> None:
    """The codes are those of a plain fit; the codewords those of refine_codebook."""
    assert run("fit", "latents.npy", "-k", 6, "--codewords", "decoder", *MODEL, *DATA, "-q") == (
        0,
        "",
        "",
    )
    z, images = np.load("latents.npy"), load_images("images.npy").images()
    plain = gq.fit_codebook(z, 6, random_state=0)
    expected = refine_codebook(plain.codebook, adapter, z, images, codes=plain.codes).codebook
    book = gq.Codebook.load(BOOK)
    np.testing.assert_array_equal(np.load("latents.codes.npy"), plain.codes)
    np.testing.assert_array_equal(book.vectors, expected.vectors)
    losses = [
        reconstruction_loss(adapter, b.lookup(plain.codes), images).mean()
        for b in (book, plain.codebook)
    ]
    assert losses[0] < losses[1]


def test_stages_with_rounds(run: Run, adapter: VAEAdapter) -> None:
    """Stages look for better codes once, or as often as asked, without images too."""
    arguments = ("fit", "latents.npy", "-k", 5, "--stages", 2, "--codewords", "decoder", *MODEL)
    z = np.load("latents.npy")
    plain = gq.fit_multistage(z, 5, 2, random_state=0)
    for options, n_rounds in (((), 1), (("--rounds", 2), 2)):
        assert run(*arguments, *options, "-q").exit_code == 0
        expected = refine_codebook(plain.codebook, adapter, z, codes=plain.codes, n_rounds=n_rounds)
        np.testing.assert_array_equal(np.load("latents.codes.npy"), expected.codes)
        found = gq.MultistageCodebook.load(BOOK)
        np.testing.assert_array_equal(found.stages[1].vectors, expected.codebook.stages[1].vectors)


@pytest.mark.parametrize("stages", [(), ("--stages", 2)])
def test_assign_by_images(run: Run, adapter: VAEAdapter, stages: tuple[Any, ...]) -> None:
    """Codes are those of reassign, with images or without."""
    run("fit", "latents.npy", "-k", 5, *stages, "-q")
    book = gq.load_codebook(BOOK)
    z, images = np.load("latents.npy"), load_images("images.npy").images()
    for options, target in (((), None), (DATA, images)):
        arguments = ("--codebook", BOOK, "-o", "c.npy", *MODEL, *options, "-q")
        assert run("assign", "latents.npy", *arguments) == (0, "", "")
        np.testing.assert_array_equal(np.load("c.npy"), reassign(book, adapter, z, target))


def test_options_that_belong_together(run: Run, adapter: VAEAdapter) -> None:
    """Each option without the one that it is for is named."""
    fit = ("fit", "latents.npy", "-k", 5)
    assert_usage_error(run(*fit, "--codewords", "decoder"), "--codewords", "needs --model")
    assert_usage_error(run(*fit, *MODEL), "--model", "is for --codewords decoder")
    decoder = (*fit, "--codewords", "decoder", *MODEL)
    assert_usage_error(run(*decoder, "--rounds", 1), "--rounds", "several stages")
    assert_usage_error(run(*decoder, "--split", "test"), "--split", "--data")
    assert_usage_error(run(*decoder, "--estimate"), "--estimate", "decoder")
    assert_usage_error(run(*decoder, *DATA, "--split", "test"), "20 images", "180 latents")
    run(*fit, "-q")
    assign = ("assign", "latents.npy", "--codebook", BOOK, "-o", "c.npy")
    assert_usage_error(run(*assign, *DATA), "--data", "give --model")


def test_another_model(run: Run, adapter: VAEAdapter, folder: Path) -> None:
    """A model of another dimension, a missing one, and one that needs unpickling are named."""
    VAE((1, 4, 5), latent_dim=3, hidden_dim=8).save_pretrained(folder / "wide")
    arguments = ("fit", "latents.npy", "-k", 5, "--codewords", "decoder", "--model")
    assert_usage_error(run(*arguments, "wide", "-q"), "--model", "latents of shape (2, 2)")
    assert_one_line_error(run(*arguments, "nowhere", "-q"), 3, "nowhere: no such folder")
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    assert_one_line_error(run(*arguments, "model", "-q"), 3, "pytorch_model.bin", "could run code")
    assert not (folder / BOOK).exists()
