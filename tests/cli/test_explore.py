"""``geoquant explore``: the page and what is said of it, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents, spiral
from tests.explorer.reading import content_of, read_page

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "spiral.codebook.safetensors"
COMMAND = ("explore", BOOK, "--latents", "spiral.npy")


@pytest.fixture
def book(run: Run, spiral_latents: Path) -> gq.Codebook:
    """Six codes of the spiral."""
    run("fit", spiral_latents, "-k", 6, "-q", "-o", BOOK)
    return gq.Codebook.load(BOOK)


def test_a_page_is_written(run: Run, book: gq.Codebook, folder: Path) -> None:
    """It holds the codes of the latents, and the names of the files; the summary says how large."""
    outcome = run(*COMMAND)
    assert (outcome.exit_code, outcome.err) == (0, "")
    first, second = outcome.out.splitlines()
    assert first == "300 latents, 6 codes, not decoded; --model or --pixels shows images"
    assert second.startswith("page      latent.html  (0.")
    content = content_of((folder / "latent.html").read_text())
    assert content["title"] == f"{BOOK}, spiral.npy"
    page = read_page(content)
    assert page.code == book.assign(spiral())[page.row].tolist()


def test_options_arrive(run: Run, book: gq.Codebook, folder: Path) -> None:
    """Labels, a map, images, pixels and a sample are in the page, and in the summary."""
    pytest.importorskip("PIL")
    np.save("classes.npy", np.arange(300) // 100)
    np.save("map.npy", spiral()[:, ::-1])
    np.save("images.npy", np.zeros((300, 5, 4), np.uint8))
    options = ("--labels", "classes.npy", "--map", "map.npy", "--images", "images.npy")
    more = ("--pixels", "1x2", "--max-points", 50, "-o", "page.html", "--json")
    outcome = run(*COMMAND, *options, *more)
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert json.loads(outcome.out) == {
        "schema_version": 1,
        "n": 300,
        "n_shown": 50,
        "n_codes": 6,
        "decoder": "layers",
        "n_samples": 50,
        "bytes": (folder / "page.html").stat().st_size,
        "page": "page.html",
    }
    content = content_of((folder / "page.html").read_text())
    assert content["samples"]["shape"] == [1, 5, 4]
    assert content["decoder"]["shape"] == [1, 1, 2]
    assert content["decoder"]["white"] == pytest.approx(spiral().max())
    page = read_page(content)
    assert page.label == [str(row // 100) for row in page.row]
    x = np.ptp(page.place[:, 0]) / np.ptp(spiral()[page.row][:, 1])
    y = np.ptp(page.place[:, 1]) / np.ptp(spiral()[page.row][:, 0])
    assert x == pytest.approx(y, rel=1e-3)
    np.save("images.npy", np.zeros((300, 5, 4, 3), np.float32))
    assert run(*COMMAND, "--images", "images.npy", "-q") == (0, "", "")
    assert content_of((folder / "latent.html").read_text())["samples"]["shape"] == [3, 5, 4]
    human = run(*COMMAND, "--max-points", 50, "--pixels", "1x2").out
    assert human.startswith("50 of 300 latents, 6 codes, decoded by the page\n")


def test_a_model_decodes(run: Run, book: gq.Codebook, folder: Path) -> None:
    """A VAE's decoder is in the page."""
    pytest.importorskip("torch")
    from geoquant.torch import VAE, seeded

    with seeded(0):
        VAE((1, 4, 5), latent_dim=2, hidden_dim=8).save_pretrained(folder / "model")
    assert run(*COMMAND, "--model", "model", "-q") == (0, "", "")
    decoder = content_of((folder / "latent.html").read_text())["decoder"]
    assert [layer["activation"] for layer in decoder["layers"]] == ["relu", "sigmoid"]
    with seeded(0):
        VAE((1, 4, 5), latent_dim=3, hidden_dim=8).save_pretrained(folder / "model")
    assert_usage_error(run(*COMMAND, "--model", "model"), "decode")


def test_what_does_not_fit(run: Run, book: gq.Codebook, folder: Path) -> None:
    """Nothing is written, and the error names the option or the file."""
    np.save("few.npy", np.zeros(9, np.int64))
    np.save("wide.npy", np.zeros((9, 3), np.float32))
    np.save("images.npy", np.zeros((9, 5, 4), np.uint8))
    gq.MultistageCodebook((book, book), "residual").save("two.safetensors")
    before = contents(folder)
    for arguments, words in (
        (("--pixels", "2"), ("'2' is no shape",)),
        (("--pixels", "4x4"), ("decode must give 16 numbers",)),
        (("--pixels", "1x2", "--model", "model"), ("--pixels and --model",)),
        (("--images", "images.npy", "--data", "mnist"), ("--images and --data",)),
        (("--map", "wide.npy"), ("plane must have shape (300, 2)",)),
        (("--split", "test"), ("is a part of --data",)),
        (("-o", "spiral.npy"), ("is an input",)),
        (("-o", "nowhere/page.html"), ("does not exist",)),
    ):
        assert_usage_error(run(*COMMAND, *arguments), *words)
    assert_one_line_error(run(*COMMAND, "--labels", "few.npy"), 3, "few.npy", "300 integers")
    assert_one_line_error(run(*COMMAND, "--images", "images.npy"), 3, "images.npy", "(300, H, W)")
    assert_usage_error(run("explore", BOOK, "--latents", "wide.npy"), "must have 2 columns")
    two = run("explore", "two.safetensors", "--latents", "spiral.npy")
    assert_usage_error(two, "2 stages", "fit one stage")
    assert_one_line_error(run("explore", "nowhere", "--latents", "spiral.npy"), 3, "no such file")
    assert contents(folder) == before
