"""``geoquant sample``: images of sampled codes, repeatable, and what does not fit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import geoquant as gq
from geoquant.torch import VAE, GRUPrior, seeded
from tests.cli.conftest import assert_one_line_error, assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


def book_of(vectors: np.ndarray) -> gq.Codebook:
    k = len(vectors)
    return gq.Codebook(vectors, vectors, np.zeros(k), np.arange(k, dtype=np.int32), 1, {})


@pytest.fixture
def parts(folder: Path) -> Path:
    """A model, a codebook of two stages, and a prior of their codes."""
    rng = np.random.default_rng(0)
    stages = tuple(book_of(rng.normal(size=(k, 2)).astype(np.float32)) for k in (4, 3))
    gq.MultistageCodebook(stages, "residual").save(folder / "book.safetensors")
    with seeded(0):
        VAE((1, 4, 5), latent_dim=2, hidden_dim=8).save_pretrained(folder / "model")
        GRUPrior([4, 3], 2).save_pretrained(folder / "prior")
    return folder


ARGUMENTS = ("--prior", "prior", "--codebook", "book.safetensors", "--model", "model")


def test_files_are_images_of_sampled_codes(run: Run, parts: Path) -> None:
    """The images are the decoded codes, the codes those of the seed, the grid nearly square."""
    outcome = run("sample", *ARGUMENTS, "-n", 5, "--seed", 3, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert json.loads(outcome.out)["n"] == 5
    codes, images = np.load("samples.codes.npy"), np.load("samples.npy")
    expected = GRUPrior.from_pretrained(parts / "prior").sample(5, generator=3)
    np.testing.assert_array_equal(codes, expected.numpy())
    book = gq.MultistageCodebook.load(parts / "book.safetensors")
    with torch.no_grad():
        decoded = VAE.from_pretrained(parts / "model").decode(torch.from_numpy(book.lookup(codes)))
    np.testing.assert_allclose(images, decoded.numpy(), atol=1e-6)
    grid = Image.open(io.BytesIO((parts / "samples.png").read_bytes()))
    assert grid.size == (3 * 5, 2 * 4)


def test_says_where_everything_is(run: Run, parts: Path) -> None:
    """Without --json three lines name the files; -q says nothing."""
    outcome = run("sample", *ARGUMENTS, "-n", 1, "-o", "new.png")
    assert outcome.out.split() == ["grid", "new.png", "images", "new.npy", "codes", "new.codes.npy"]
    assert run("sample", *ARGUMENTS, "-n", 1, "-q") == (0, "", "")


def test_limits_arrive(run: Run, parts: Path) -> None:
    """With temperature 0 all samples are the likeliest; top-k 1 as well."""
    for limit in (("--temperature", 0), ("--top-k", 1), ("--top-p", 1e-9)):
        run("sample", *ARGUMENTS, "-n", 9, *limit)
        assert len(np.unique(np.load("samples.codes.npy"), axis=0)) == 1


def test_classes(run: Run, parts: Path) -> None:
    """A class is for a prior that has classes, and needed there."""
    assert_usage_error(run("sample", *ARGUMENTS, "--class", 1), "this one has none")
    GRUPrior([4, 3], 2, n_classes=2).save_pretrained(parts / "prior")
    assert run("sample", *ARGUMENTS, "--class", 1, "-q").exit_code == 0
    assert_usage_error(run("sample", *ARGUMENTS), "2 classes")
    assert_usage_error(run("sample", *ARGUMENTS, "--class", 2), "[0, 2)")


def test_what_does_not_fit(run: Run, parts: Path) -> None:
    """A codebook of other stages, fewer codes or another dimension, and a missing prior."""
    book_of(np.zeros((4, 2), np.float32)).save(parts / "one.safetensors")
    one = (*ARGUMENTS, "--codebook", "one.safetensors")
    assert_usage_error(run("sample", *one), "sequences have 2 codes", "has 1 stages")
    few = book_of(np.zeros((1, 2), np.float32))
    gq.MultistageCodebook((few, few), "residual").save(parts / "few.safetensors")
    few_codes = run("sample", *ARGUMENTS, "--codebook", "few.safetensors", "-n", 50)
    assert_usage_error(few_codes, "few.safetensors", "[0, 1)")
    wide = book_of(np.zeros((4, 3), np.float32))
    gq.MultistageCodebook((wide, wide), "residual").save(parts / "wide.safetensors")
    outcome = run("sample", *ARGUMENTS, "--codebook", "wide.safetensors", "-n", 2)
    assert outcome.exit_code == 2
    assert "latents of shape (2, 3)" in outcome.err
    missing = run("sample", *ARGUMENTS, "--prior", "nowhere")
    assert_one_line_error(missing, 3, "nowhere: no such folder")
    assert not (parts / "samples.png").exists()
