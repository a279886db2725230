"""E2, figures 3.2 and 3.3: what lies around the one centre, and how the centre comes to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.pictures import draw_rows, save
from benchmarks.papers.rethinking_vae.job import decoded, encoded
from benchmarks.papers.rethinking_vae.measures import AMOUNTS, perturbation_grid
from benchmarks.plots import COLORS, STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Job

DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "celeba": "CelebA"}


def draw(job: Job, results: Mapping[str, Any], output: Path) -> None:
    """One grid for each data set, and the drift on all."""
    for data in DATA:
        draw_grid(job, f"{data}-centre-1", data, output / f"e2_{data}.png")
    draw_drift(results, job.seed, output / "e2_drift.png")


def draw_grid(job: Job, key: str, data: str, file: Path) -> None:
    """Dimensions across, what is added to one of them down, around the centre or the mean."""
    model = job.model(key)
    grid = perturbation_grid(model, encoded(model, job.images(data, "test")))
    rows = {
        f"{amount:+g}": decoded(model, np.ascontiguousarray(grid[:, i]))
        for i, amount in reversed(list(enumerate(AMOUNTS)))
    }
    draw_rows(rows, file, [str(i + 1) for i in range(len(grid))])


def draw_drift(results: Mapping[str, Any], seed: int, file: Path) -> None:
    """Distance of the centre from where it was an epoch before."""
    from matplotlib import pyplot as plt

    trained = results["seeds"][str(seed)]["train"]
    with plt.rc_context(STYLE | {"font.size": 11}):
        figure, ax = plt.subplots(figsize=(5.5, 3.5))
        for (data, name), color in zip(DATA.items(), COLORS, strict=False):
            drift = trained[f"{data}-centre-1"]["drift"]
            ax.plot(range(1, len(drift) + 1), drift, ".-", color=color, label=name)
        ax.set(xlabel="epoch", ylabel="way of the centre", yscale="log")
        ax.legend()
        save(figure, file)
