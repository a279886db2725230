"""Rows of images with names, as figures show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.plots import STYLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

GAP = 2  # white pixels between images
_BEHIND = ((0, 0), (0, 0), (0, GAP), (0, 0))


def draw_rows(
    rows: Mapping[str, npt.NDArray[np.float32]], file: Path, columns: Sequence[str] = ()
) -> None:
    """Rows of images (n, C, H, W), each with its name; grey ones with their ink dark on white.

    Columns may have names too.
    """
    from matplotlib import pyplot as plt

    n = max(map(len, rows.values()))
    with plt.rc_context(STYLE | {"axes.grid": False, "font.size": 11}):
        figure, axes = plt.subplots(
            len(rows), 1, figsize=(0.62 * n + 2.2, 0.68 * len(rows)), squeeze=False
        )
        for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
            height, width = images.shape[2:]
            ax.imshow(strip(images), cmap="gray_r", vmin=0, vmax=1)
            ax.set_xlim(-0.5, n * (width + GAP) - GAP - 0.5)
            ax.set_axis_off()
            ax.text(-width / 7, height / 2, name, ha="right", va="center")
        for i, title in enumerate(columns):
            middle = (i + 0.5) * (width + GAP)
            axes[0, 0].text(middle, -height / 7, title, ha="center", va="bottom", fontsize=9)
        save(figure, file)


def strip(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Images (n, C, H, W) side by side, (H, n * (W + gap) - gap), with colours (..., 3)."""
    last = images.transpose(0, 2, 3, 1)
    joined = np.hstack(list(np.pad(last, _BEHIND, constant_values=float(last.shape[3] == 3))))
    return joined[:, :-GAP, 0] if last.shape[3] == 1 else joined[:, :-GAP]


def save(figure: Any, file: Path) -> None:
    """Write a figure, and forget it."""
    from matplotlib import pyplot as plt

    figure.savefig(file, dpi=110, bbox_inches="tight")
    plt.close(figure)


def typical_rows(
    latents: npt.NDArray[np.float32], labels: npt.NDArray[np.integer[Any]], digits: Sequence[int]
) -> list[int]:
    """For each of some digits, the latent nearest to the mean of all of that digit."""
    rows = []
    for digit in digits:
        own = np.flatnonzero(labels == digit)
        off = latents[own] - latents[own].mean(axis=0)
        rows.append(int(own[np.square(off).sum(axis=1).argmin()]))
    return rows
