"""Figure 1 of the paper, and two of our own, from the models that the steps left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import torch

import geoquant as gq
from benchmarks.papers.geodesic_vq.job import Job
from benchmarks.papers.geodesic_vq.models import vqvae_codes
from benchmarks.papers.pictures import GAP, draw_rows, save, typical_rows
from benchmarks.plots import COLORS, MARKERS, OURS_COLOR, STYLE
from geoquant.files import write_atomically
from geoquant.graph.shortest_paths import path_between
from geoquant.multistage import MultistageCodebook
from geoquant.pictures import png_of_grid
from geoquant.torch.probes import evenly_spaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes

    from benchmarks.papers.geodesic_vq.settings import Settings

RECONSTRUCTIONS, SAMPLES = "reconstructions.png", "samples.png"
RATE_DISTORTION, PATH = "rate_distortion.png", "path.png"
N_FRAMES = 12
PATH_DIGITS = ((1, 8), (0, 7), (2, 4))


def draw_all(
    build: Path, settings: Settings, results: Mapping[str, Any], seed: int, output: Path
) -> None:
    """All pictures, of one seed."""
    mpl.use("Agg")
    job = Job(seed, settings, build / f"seed{seed}")
    best = results["seeds"][str(seed)]["samples"]["name"]
    draw_reconstructions(job, best, output / RECONSTRUCTIONS)
    draw_samples(job, output / SAMPLES)
    draw_rate_distortion(results, seed, output / RATE_DISTORTION)
    draw_path(job, output / PATH)


# -------------------------------------------------------------------------------- Figure 1


def draw_reconstructions(job: Job, best: str, file: Path) -> None:
    """Figure 1(a): input, VAE, VQ-VAE as published and healthy, Geo-VQ of one token and of M."""
    shown = first_of_each_digit(job.test.labels)
    images, latents = job.test.images[shown], job.arrays("latents")["test_mean"][shown]
    vae, codes = job.model("vae"), job.arrays(f"{best}-codes")["test"][shown]
    one = gq.Codebook.load(job.folder / "geo-fitted.safetensors")
    many = MultistageCodebook.load(job.folder / f"{best}.safetensors")
    rows = {
        "input": images.numpy(),
        "VAE": _decoded(vae, latents),
        "VQ-VAE": _by_vqvae(job.model("vqvae-gradient"), images),
        "VQ-VAE, healthy": _by_vqvae(job.model("vqvae-ema"), images),
        "Geo-VQ": _decoded(vae, one.lookup(one.assign(latents, n_jobs=1))),
        f"Geo-VQ, {many.n_stages} tokens": _decoded(job.model(f"{best}-vae"), many.lookup(codes)),
    }
    draw_rows(rows, file)


def first_of_each_digit(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Row of the first image of each digit that there is."""
    return np.unique(labels, return_index=True)[1]


@torch.no_grad()
def _decoded(model: Any, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = model.decode(torch.from_numpy(np.array(latents))).numpy()
    return found


def _by_vqvae(model: Any, images: torch.Tensor) -> npt.NDArray[np.float32]:
    codes = vqvae_codes(model, images)
    return _decoded(model, model.codebook.detach().numpy()[codes])


def draw_samples(job: Job, file: Path) -> None:
    """Figure 1(b): 25 images sampled from the prior over codes."""
    images = 1 - job.arrays("samples")["geo_vq"][:25]
    white = np.pad(images, ((0, 0), (0, 0), (GAP, GAP), (GAP, GAP)), constant_values=1)
    write_atomically(file, png_of_grid(white.repeat(2, axis=2).repeat(2, axis=3), 5))


# ---------------------------------------------------------------------------- our own figures


def draw_rate_distortion(results: Mapping[str, Any], seed: int, file: Path) -> None:
    """BCE against nats per image: quantizers as they come, ours fitted, and the two models."""
    from matplotlib import pyplot as plt

    rows = {row["key"]: row["values"] for row in results["seeds"][str(seed)]["rows"]}
    with plt.rc_context(STYLE | {"font.size": 11}):
        figure, ax = plt.subplots(figsize=(7.5, 5))
        for (name, points), color, marker in zip(
            results["curves"].items(), COLORS, MARKERS, strict=False
        ):
            _draw_curve(ax, points, f"{name}, as it comes", color=color, marker=marker)
        for ending, style in (("", "-"), ("-rectified", "--")):
            label = f"geodesic, decoder-fitted{ending.replace('-', ', ')}"
            _draw_curve(ax, points_of(rows, ending), label, color=OURS_COLOR, marker="o", ls=style)
        _draw_point(ax, rows["vqvae-ema"], "nll_image", "VQ-VAE, healthy, one token", "P")
        _draw_point(ax, rows["vae-sampled"], "regularizer", "VAE: KL and BCE of sampled z", "*")
        ax.set(xlabel="nats of the codes per image (GRU prior)", ylabel="BCE per image (nats)")
        ax.legend(fontsize=9)
        save(figure, file)


def points_of(rows: Mapping[str, Mapping[str, float]], ending: str) -> list[Mapping[str, float]]:
    """The rows of geodesic tokens with this ending, by number of tokens."""
    keys = [key for key in rows if key.startswith("geodesic-") and key.count("-") < 3]
    chosen = [key for key in keys if key == f"geodesic-{key.split('-')[1]}{ending}"]
    return [rows[key] for key in sorted(chosen, key=lambda key: int(key.split("-")[1]))]


def _draw_curve(ax: Axes, points: Sequence[Mapping[str, float]], label: str, **look: Any) -> None:
    x, y = ([p[key] for p in points] for key in ("nll_image", "bce"))
    ax.plot(x, y, label=label, lw=1.6, ms=6, **look)


def _draw_point(ax: Axes, row: Mapping[str, float], x: str, label: str, marker: str) -> None:
    ax.plot(row[x], row["bce"], marker, color="black", ms=9, label=label)


def draw_path(job: Job, file: Path) -> None:
    """Decoded frames along shortest paths of the graph, and along straight lines."""
    latents, vae = job.arrays("latents")["train_mean"], job.model("vae")
    graph = gq.knn_graph(latents, 10, n_jobs=1)
    rows = {}
    for pair in PATH_DIGITS:
        start, end = typical_rows(latents, job.train.labels, pair)
        path = path_between(graph, start, end)
        name = f"{pair[0]} to {pair[1]}, "
        along, straight = (evenly_spaced(latents[via], N_FRAMES) for via in (path, [start, end]))
        rows[name + "geodesic"] = _decoded(vae, along)
        rows[name + "straight"] = _decoded(vae, straight)
    draw_rows(rows, file)
