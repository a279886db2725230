"""``geoquant compare``: two codebooks on the same latents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import geoquant as gq
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents, spiral

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
FILES = ("few.codebook.safetensors", "several.codebook.safetensors")
COMMAND = ("compare", *FILES, "--latents", "spiral.npy")


@pytest.fixture
def books(run: Run, spiral_latents: Path) -> list[Any]:
    """One codebook of one stage and one of two."""
    run("fit", spiral_latents, "-k", 6, "-q", "-o", FILES[0])
    run("fit", spiral_latents, "-k", 4, "--stages", 2, "-q", "-o", FILES[1])
    return [gq.load_codebook(file) for file in FILES]


def test_json_has_the_numbers_of_both(run: Run, books: list[Any], folder: Path) -> None:
    """They are those of the codes that the codebooks give; nothing is written."""
    np.save("classes.npy", np.arange(300) // 100)
    before = contents(folder)
    outcome = run(*COMMAND, "--labels", "classes.npy", "--json")
    assert (outcome.exit_code, outcome.err, contents(folder)) == (0, "", before)
    found = json.loads(outcome.out)
    single = books[0].assign(spiral())
    pairs = books[1].assign(spiral()) @ [4, 1]
    assert found["adjusted_rand"] == pytest.approx(adjusted_rand_score(single, pairs))
    assert (found["first"]["k"], found["second"]["k"]) == (6, [4, 4])
    assert found["second"]["codes_used"] == len(set(pairs.tolist()))
    assert found["second"]["usage"] == found["second"]["codes_used"] / 16
    for side, codes in (("first", single), ("second", pairs)):
        assert found[side]["adjusted_rand_with_labels"] == pytest.approx(
            adjusted_rand_score(codes, np.arange(300) // 100)
        )
    error = np.square(spiral() - books[0].lookup(single)).sum(axis=1).mean()
    assert found["first"]["euclidean_distortion"] == pytest.approx(error, rel=1e-5)


def test_a_codebook_is_like_itself(run: Run, books: list[Any]) -> None:
    """In words: the same numbers twice, and full agreement."""
    outcome = run("compare", FILES[0], FILES[0], "--latents", "spiral.npy")
    lines = outcome.out.splitlines()
    assert lines[0].split() == [FILES[0], FILES[0]]
    assert all(line.split()[-1] == line.split()[-2] for line in lines[:-1])
    assert lines[-1].endswith("adjusted Rand, 1 is the same): 1.000")


def test_what_does_not_fit(run: Run, books: list[Any]) -> None:
    """Latents of another width, a file that is no codebook, images without a model."""
    np.save("wide.npy", np.zeros((5, 3)))
    outcome = run("compare", *FILES, "--latents", "wide.npy")
    assert_usage_error(outcome, "is of 2 columns, the latents have 3")
    outcome = run("compare", FILES[0], "spiral.npy", "--latents", "spiral.npy")
    assert_one_line_error(outcome, 3, "spiral.npy")
    assert_usage_error(run(*COMMAND, "--data", "mnist"), "--data", "--model")
    assert_usage_error(run(*COMMAND, "--split", "test"), "--split", "--model")
    assert_usage_error(run("compare", *FILES), "--latents")
    np.save("classes.npy", np.arange(299))
    outcome = run(*COMMAND, "--labels", "classes.npy")
    assert_one_line_error(outcome, 3, "labels must be 300 integers")


def test_images_are_compared_through_the_decoder(run: Run, folder: Path) -> None:
    """Beside given images, or beside what the model decodes of the latents themselves."""
    torch = pytest.importorskip("geoquant.torch")
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (90, 4, 5), np.uint8))
    with torch.seeded(0):
        torch.VAE((1, 4, 5), latent_dim=2, hidden_dim=8).save_pretrained(folder / "model")
    adapter = torch.VAEAdapter.wrap(folder / "model")
    images = torch.load_images("images.npy")
    z = adapter.encode_array(images)
    np.save("z.npy", z)
    books = [gq.fit_codebook(z, k, random_state=0).codebook for k in (3, 9)]
    for book, file in zip(books, FILES, strict=True):
        book.save(file)
    decoded = [adapter.decode_array(book.lookup(book.assign(z))) for book in books]
    command = ("compare", *FILES, "--latents", "z.npy", "--model", "model", "--json")
    for options, expected in (
        ((), adapter.decode_array(z)),
        (("--data", "images.npy"), images.images().numpy()),
    ):
        found = json.loads(run(*command, *options).out)
        for side, seen in zip(("first", "second"), decoded, strict=True):
            error = np.square(seen - expected).mean()
            assert found[side]["mean_squared_image_error"] == pytest.approx(error, rel=1e-5)
