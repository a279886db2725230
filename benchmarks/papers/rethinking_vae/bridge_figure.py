"""Learned centres beside codebooks fitted afterwards, over all seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.pictures import save
from benchmarks.papers.rethinking_vae.bridge import EUCLIDEAN, GEODESIC, LEARNED, MODELS
from benchmarks.papers.rethinking_vae.configs import CONFIGS
from benchmarks.plots import COLORS, OURS_COLOR, STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.papers.rethinking_vae.job import Job

LOOKS = {LEARNED: COLORS[6], GEODESIC: OURS_COLOR, EUCLIDEAN: COLORS[0]}
PANELS = {"mse": "squared error per test image", "accuracy": "accuracy of the codes"}


def draw(job: Job, results: Mapping[str, Any], output: Path) -> None:
    """Error and accuracy where centres were learned, and agreement against smoothness."""
    from matplotlib import pyplot as plt

    bridges = [seed["bridge"] for seed in results["seeds"].values() if "bridge" in seed]
    with plt.rc_context(STYLE | {"font.size": 10}):
        figure, axes = plt.subplots(1, 3, figsize=(15, 4.2))
        for ax, (column, title) in zip(axes, PANELS.items(), strict=False):
            _draw_bars(ax, bridges, column)
            ax.set_title(title)
        axes[0].legend(fontsize=8)  # of both panels of bars
        _draw_agreement(axes[2], results["seeds"])
        figure.tight_layout()
        save(figure, output / "bridge.png")


def _draw_bars(ax: Axes, bridges: list[Any], column: str) -> None:
    keys = [key for key in MODELS if LEARNED in bridges[0].get(key, {"codebooks": {}})["codebooks"]]
    for i, (method, color) in enumerate(LOOKS.items()):
        means = [
            np.mean([b[key]["codebooks"][method][column] for b in bridges if key in b])
            for key in keys
        ]
        ax.bar(np.arange(len(keys)) + 0.27 * (i - 1), means, 0.25, color=color, label=method)
    names = [f"{_data(key)}\n{CONFIGS[key].title}" for key in keys]
    ax.set_xticks(range(len(keys)), [name.replace(", ", "\n") for name in names], fontsize=8)
    ax.grid(axis="x", visible=False)


def _draw_agreement(ax: Axes, seeds: Mapping[str, Any]) -> None:
    """A point for each model with 20 codes and each seed."""
    keys = [key for key, n_codes in MODELS.items() if n_codes == 20]
    for key, color in zip(keys, COLORS, strict=False):
        points = [
            (seed["measure"][key]["roughness"], seed["bridge"][key]["agreement"])
            for seed in seeds.values()
            if key in seed.get("bridge", {}) and key in seed.get("measure", {})
        ]
        marker = "s" if _data(key) == "MNIST" else "o"
        name = f"{_data(key)}, {CONFIGS[key].title}"
        if points:
            ax.plot(*zip(*points, strict=True), marker, color=color, label=name)
    ax.set(
        title="agreement of geodesic and Euclidean codes, K = 20",
        xlabel="roughness of interpolation",
        ylabel="adjusted Rand index",
    )
    ax.legend(fontsize=7)


def _data(key: str) -> str:
    return {"mnist": "MNIST", "fashion-mnist": "Fashion"}[CONFIGS[key].data]
