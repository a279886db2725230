"""E3, figures 3.4 and 3.5: where twenty centres go, and what they are decoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.papers.pictures import draw_rows
from benchmarks.papers.rethinking_vae.embedding import draw_embeddings
from benchmarks.papers.rethinking_vae.job import decoded
from benchmarks.papers.rethinking_vae.measures import centres_of

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Job

DATA = {"fashion-mnist": "Fashion-MNIST", "mnist": "MNIST"}


def draw(job: Job, results: Any, output: Path) -> None:
    """Both figures."""
    panels = {name: (f"{data}-centre-20", data) for data, name in DATA.items()}
    draw_embeddings(job, panels, output / "e3_tsne.png")
    rows = {}
    for data, name in DATA.items():
        images = decoded_centres(job, f"{data}-centre-20")
        rows |= {f"{name}, {i} to {i + 9}": images[i : i + 10] for i in (0, 10)}
    draw_rows(rows, output / "e3_centres.png")


def decoded_centres(job: Job, key: str) -> Any:
    """Images of all centres of a model."""
    model = job.model(key)
    return decoded(model, centres_of(model))
