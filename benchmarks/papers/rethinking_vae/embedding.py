"""Encodings and centres in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.papers.pictures import save
from benchmarks.papers.rethinking_vae.job import encoded
from benchmarks.papers.rethinking_vae.measures import centres_of
from benchmarks.plots import OURS_COLOR, STYLE
from geoquant.assignment import nearest_codeword
from geoquant.torch.probes import embedded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.papers.rethinking_vae.job import Job

#: Test images shown.
N_SHOWN = 3_000
#: Up to so many centres have their number beside them.
_MOST_NUMBERS = 50


def draw_embeddings(job: Job, panels: Mapping[str, tuple[str, str]], file: Path) -> None:
    """t-SNE of test encodings and centres, a panel for each title: of which model, and data."""
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE | {"axes.grid": False, "font.size": 11}):
        figure, axes = plt.subplots(1, len(panels), figsize=(6 * len(panels), 5.5), squeeze=False)
        for ax, (title, (key, data)) in zip(axes[0], panels.items(), strict=True):
            _draw_embedding(ax, job, key, data)
            ax.set(title=title, xticks=[], yticks=[])
        save(figure, file)


def _draw_embedding(ax: Axes, job: Job, key: str, data: str) -> None:
    model, test = job.model(key), job.images(data, "test")
    encodings, centres = encoded(model, test), centres_of(model)
    assert centres is not None
    is_active = np.isin(np.arange(len(centres)), nearest_codeword(encodings, centres))
    points, stars = embedded(encodings[:N_SHOWN], centres, random_state=job.seed)
    labels = np.asarray(test.labels)[:N_SHOWN]
    ax.scatter(*points.T, c=labels, cmap="tab10", s=4, alpha=0.5, linewidths=0)
    look = {"marker": "*", "edgecolors": "black", "linewidths": 0.5}
    ax.scatter(*stars[~is_active].T, c="white", s=50, label="nearest to nothing", **look)
    ax.scatter(*stars[is_active].T, c=OURS_COLOR, s=60, label="nearest to something", **look)
    if len(centres) <= _MOST_NUMBERS:
        for i, (x, y) in enumerate(stars):
            ax.annotate(str(i), (x, y), xytext=(3, 3), textcoords="offset points", fontsize=8)
    ax.legend(fontsize=8, loc="upper right")
