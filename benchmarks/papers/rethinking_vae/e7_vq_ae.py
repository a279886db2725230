"""E7, figures 4.4 to 4.8 and appendix A.1: an autoencoder with a codebook beside it, by site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.pictures import draw_rows, save, strip
from benchmarks.papers.rethinking_vae.job import decoded, encoded
from benchmarks.papers.rethinking_vae.measures import by_site, centres_of, quantized
from benchmarks.plots import STYLE
from geoquant.assignment import nearest_codeword
from geoquant.torch.probes import (
    broadcast,
    perturbed_site,
    random_combinations,
    replaced_at_random,
    zero_padded,
)

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Float32Array, Job
    from geoquant.torch import NamedAutoencoder

MODEL = "fashion-mnist-vqae"
AMOUNTS = (0.0, 1.0, 5.0, 10.0, 15.0, 30.0, 50.0, 100.0)
REPLACED = (0, 1, 5, 10, 25, 49)
N_SHOWN, N_CODES, N_GRIDS = 12, 16, 6


def draw(job: Job, results: Any, output: Path) -> None:
    """All of them, of the first test images."""
    model, test = job.model(MODEL), job.images("fashion-mnist", "test")
    images = test.images(slice(0, N_SHOWN)).numpy()
    encodings, codebook = encoded(model, test)[:N_SHOWN], centres_of(model)
    assert codebook is not None
    grid = encodings.shape[2:]
    rows = {
        "original": images,
        "direct": decoded(model, encodings),
        "quantized": decoded(model, quantized(model.bottleneck, encodings)),
    }
    draw_rows(rows, output / "e7_reconstruction.png")
    mixed, _ = random_combinations(codebook, grid, N_SHOWN, job.seed)
    draw_rows({"random codewords": decoded(model, mixed)}, output / "e7_combinations.png")
    draw_perturbed(model, encodings, output / "e7_perturbation.png")
    few = codebook[:N_CODES]
    rows = {
        "everywhere": decoded(model, broadcast(few, grid)),
        "first site": decoded(model, zero_padded(few, grid)),
        "middle site": decoded(model, zero_padded(few, grid, site=(grid[0] // 2, grid[1] // 2))),
    }
    draw_rows(rows, output / "e7_codewords.png", [str(code) for code in range(N_CODES)])
    rows = {
        f"{n} replaced": decoded(model, replaced_at_random(encodings, codebook, n, job.seed))
        for n in REPLACED
    }
    draw_rows(rows, output / "e7_replacement.png")
    codes = nearest_codeword(by_site(encodings), codebook).reshape(N_SHOWN, *grid)
    draw_codes(images[:N_GRIDS], codes[:N_GRIDS], output / "e7_codes.png")


def draw_perturbed(model: NamedAutoencoder, encodings: Float32Array, file: Path) -> None:
    """What is added to the first dimension of the first site, and of the one in the middle."""
    middle = encodings.shape[2] // 2
    rows = {
        f"{name}, image {i + 1}": decoded(model, perturbed_site(encodings[i], site, 0, AMOUNTS))
        for name, site in (("first site", (0, 0)), ("middle site", (middle, middle)))
        for i in range(3)
    }
    draw_rows(rows, file, [f"+{amount:g}" for amount in AMOUNTS])


def draw_codes(images: Float32Array, codes: Any, file: Path) -> None:
    """Images, and below each the codes of its sites."""
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE | {"axes.grid": False, "font.size": 8}):
        figure, axes = plt.subplots(2, len(images), figsize=(2.3 * len(images), 4.6))
        for column, image, grid in zip(axes.T, images, codes, strict=True):
            column[0].imshow(strip(image[None]), cmap="gray_r", vmin=0, vmax=1)
            column[1].imshow(grid, cmap="tab20", alpha=0.35)
            for (y, x), code in np.ndenumerate(grid):
                column[1].text(x, y, str(code), ha="center", va="center")
            for ax in column:
                ax.set_axis_off()
        save(figure, file)
