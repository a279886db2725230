"""E4, figure 3.6: all encodings pulled to zero, in place of the divergence of a VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.papers.rethinking_vae.e2_one_centre import draw_grid

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.job import Job


def draw(job: Job, results: Any, output: Path) -> None:
    """The grid of E2, of the paper's basic network and of the convolutional one."""
    draw_grid(job, "mnist-zero-mlp", "mnist", output / "e4_mlp.png")
    draw_grid(job, "mnist-zero", "mnist", output / "e4_convolutional.png")
