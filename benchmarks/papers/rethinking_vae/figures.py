"""All figures, from the models that the steps left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from benchmarks.papers.rethinking_vae import (
    bridge_figure,
    e1_plain_autoencoder,
    e2_one_centre,
    e3_twenty_centres,
    e4_zero_pull,
    e5_moving_centres,
    e6_five_hundred_centres,
    e7_vq_ae,
)
from benchmarks.papers.rethinking_vae.job import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.settings import Settings

DRAWERS = {
    "E1": e1_plain_autoencoder.draw,
    "E2": e2_one_centre.draw,
    "E3": e3_twenty_centres.draw,
    "E4": e4_zero_pull.draw,
    "E5": e5_moving_centres.draw,
    "E6": e6_five_hundred_centres.draw,
    "E7": e7_vq_ae.draw,
    "bridge": bridge_figure.draw,
}


def draw_all(
    names: Sequence[str],
    build: Path,
    settings: Settings,
    results: Mapping[str, Any],
    seed: int,
    output: Path,
) -> None:
    """Figures of some experiments, of one seed."""
    mpl.use("Agg")
    job = Job(seed, settings, build / f"seed{seed}")
    for name in names:
        DRAWERS[name](job, results, output)
