"""E6, figures 4.2 and 4.3: five hundred centres of a deeper network, attracted or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.pictures import draw_rows
from benchmarks.papers.rethinking_vae.embedding import draw_embeddings
from benchmarks.papers.rethinking_vae.job import decoded, encoded
from benchmarks.papers.rethinking_vae.measures import centres_of
from geoquant.assignment import nearest_codeword

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from benchmarks.papers.rethinking_vae.job import Job

DATA = "fashion-mnist"
MODEL, ANYWHERE = f"{DATA}-centre-500-ema", f"{DATA}-centre-500-ema-anywhere"
N_SHOWN, N_COLUMNS = 100, 20


def draw(job: Job, results: Any, output: Path) -> None:
    """The plane, and decoded centres of both kinds.

    Of the run begun at encodings those that are nearest to something, of the one begun anywhere
    those that are not.
    """
    panels = {
        "begun at encodings": (MODEL, DATA),
        "begun anywhere": (ANYWHERE, DATA),
    }
    draw_embeddings(job, panels, output / "e6_tsne.png")
    for key, is_active, name in ((MODEL, True, "attracted"), (ANYWHERE, False, "unattracted")):
        images = decoded_of_kind(job, key, is_active)
        rows = {
            f"{i + 1} to {i + len(part)}": part
            for i in range(0, len(images), N_COLUMNS)
            for part in (images[i : i + N_COLUMNS],)
        }
        draw_rows(rows, output / f"e6_{name}.png")


def decoded_of_kind(job: Job, key: str, is_active: bool) -> npt.NDArray[np.float32]:
    """Up to 100 decoded centres, drawn at random from those that are active, or are not."""
    model = job.model(key)
    centres = centres_of(model)
    assert centres is not None
    active = np.unique(nearest_codeword(encoded(model, job.images(DATA, "test")), centres))
    others = np.setdiff1d(np.arange(len(centres)), active)
    chosen = np.random.default_rng(job.seed).permutation(active if is_active else others)
    return decoded(model, centres[np.sort(chosen[:N_SHOWN])])
