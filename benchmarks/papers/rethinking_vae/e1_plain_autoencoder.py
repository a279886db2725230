"""E1, figures 2.1 and 2.2: what a plain autoencoder makes of perturbed and mixed encodings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.pictures import draw_rows, typical_rows
from benchmarks.papers.rethinking_vae.job import decoded, encoded
from benchmarks.papers.rethinking_vae.measures import straight
from geoquant.torch.probes import perturbed

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Job

MODEL = "mnist-ae-mlp"
AMOUNTS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
N_DIMS = 8
PAIRS = ((7, 8), (3, 8))


def draw(job: Job, results: Any, output: Path) -> None:
    """Both figures."""
    model, test = job.model(MODEL), job.images("mnist", "test")
    encodings, labels = encoded(model, test), np.asarray(test.labels)
    start = encodings[typical_rows(encodings, labels, [7])[0]]
    grid = perturbed(start, list(range(N_DIMS)), AMOUNTS)
    rows = {f"dimension {i + 1}": decoded(model, line) for i, line in enumerate(grid)}
    draw_rows(rows, output / "e1_perturbation.png", [f"+{amount:g}" for amount in AMOUNTS])
    mixed = {
        f"{a} to {b}": decoded(model, straight(encodings[typical_rows(encodings, labels, (a, b))]))
        for a, b in PAIRS
    }
    draw_rows(mixed, output / "e1_interpolation.png")
