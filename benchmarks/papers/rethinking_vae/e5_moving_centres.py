"""E5, figure 4.1: fifty centres that are moving averages, and perturbations as large as 300."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.pictures import draw_rows, typical_rows
from benchmarks.papers.rethinking_vae.e3_twenty_centres import decoded_centres
from benchmarks.papers.rethinking_vae.embedding import draw_embeddings
from benchmarks.papers.rethinking_vae.job import decoded, encoded
from geoquant.torch.probes import perturbed

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Job

DATA = "fashion-mnist"
MODEL = f"{DATA}-centre-50-ema"
AMOUNTS = (0.0, 3.0, 10.0, 30.0, 100.0, 300.0)
T_SHIRT = 0
N_DIMS = 6


def draw(job: Job, results: Any, output: Path) -> None:
    """Decoded centres, the plane with 20, and perturbed encodings of a T-shirt."""
    images = decoded_centres(job, MODEL)
    rows = {f"{i} to {i + 9}": images[i : i + 10] for i in range(0, len(images), 10)}
    draw_rows(rows, output / "e5_centres.png")
    panels = {"20 centres, moving averages": (f"{DATA}-centre-20-ema", DATA)}
    draw_embeddings(job, panels, output / "e5_tsne.png")
    model, test = job.model(MODEL), job.images(DATA, "test")
    encodings = encoded(model, test)
    start = encodings[typical_rows(encodings, np.asarray(test.labels), [T_SHIRT])[0]]
    grid = perturbed(start, list(range(N_DIMS)), AMOUNTS)
    rows = {f"dimension {i + 1}": decoded(model, line) for i, line in enumerate(grid)}
    draw_rows(rows, output / "e5_perturbation.png", [f"+{amount:g}" for amount in AMOUNTS])
