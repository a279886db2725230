"""The rows of Table 1: what the paper printed, what is measured, and its spread over seeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.papers.spread import Column, Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


COLUMNS = (
    Column("bce", "BCE", 2),
    Column("regularizer", "KL / commitment", 2),
    Column("nll_token", "NLL per token", 3),
    Column("nll_image", "NLL per image", 2),
    Column("total", "NLL + BCE", 2),
    Column("used", "codes used", 1),
    Column("perplexity", "perplexity", 1),
    Column("accuracy", "accuracy", 3),
    Column("nmi", "NMI", 3),
)


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes
    ----------
    key : str
        Its name in the results.
    title : str
        What it is.
    paper : dict of str to float
        What the paper printed, per image, by column.
    """

    key: str
    title: str
    paper: dict[str, float] = field(default_factory=dict)


def lines(
    tokens: Sequence[int], euclidean: Sequence[int], rectified: Sequence[int]
) -> tuple[Line, ...]:
    """All rows, in order, for these numbers of tokens."""
    return (
        *ONE_TOKEN,
        *(Line(f"geodesic-{m}", f"Geo-VQ, {m} tokens") for m in tokens),
        *(Line(f"geodesic-{m}-rated", f"Geo-VQ, {m} tokens, for NLL + BCE") for m in tokens),
        *(Line(f"euclidean-{m}", f"Euclidean stages, {m} tokens") for m in euclidean),
        *(
            Line(f"euclidean-{m}-rated", f"Euclidean stages, {m} tokens, for NLL + BCE")
            for m in euclidean
        ),
        *(Line(f"geodesic-{m}-rectified", f"Geo-VQ, {m} tokens, rectified") for m in rectified),
        *(
            Line(f"geodesic-{m}-rectified-rated", f"Geo-VQ, {m} tokens, rectified, for NLL + BCE")
            for m in rectified
        ),
        *WINDOWS,
    )


ONE_TOKEN = (
    Line("vae-sampled", "VAE, sampled z", {"bce": 80.19, "regularizer": 25.34, "total": 105.53}),
    Line("vae-mean", "VAE, mean z"),
    Line("vqvae-gradient", "VQ-VAE as published", {"bce": 195.97, "regularizer": 46.49}),
    Line("vqvae-ema", "VQ-VAE, healthy"),
    Line("kmeans-mean", "Euclidean k-means, mean"),
    Line("kmeans-fitted", "Euclidean k-means, decoder-fitted"),
    Line("kmeans-reassigned", "Euclidean k-means, decoder-fitted, re-assigned"),
    Line("geo-medoid", "Geo-VQ, medoid", {"bce": 112.69}),
    Line("geo-mean", "Geo-VQ, mean"),
    Line("geo-fitted", "Geo-VQ, decoder-fitted"),
    Line("geo-few", "Geo-VQ, decoder-fitted, re-assigned among 5"),
    Line("geo-reassigned", "Geo-VQ, decoder-fitted, re-assigned"),
    Line("geo-decoded-mean", "Geo-VQ, decoder-aware lengths, mean"),
    Line("geo-decoded-fitted", "Geo-VQ, decoder-aware lengths, decoder-fitted"),
    Line("geo-w2-mean", "Geo-VQ, W2 lengths, mean"),
    Line("geo-w2-fitted", "Geo-VQ, W2 lengths, decoder-fitted"),
)
WINDOWS = (
    Line(
        "windows-train", "AR as published, on the images it was trained on", {"nll_token": 3.1321}
    ),
    Line("windows-test", "AR as published, on test images"),
)


def best_total(rows: Iterable[Measured], ending: str) -> Measured:
    """The row of least NLL + BCE among those whose key ends so; the first of equal ones."""
    chosen = [row for row in rows if row.key.endswith(ending)]
    return min(chosen, key=lambda row: row.values["total"])


def paper_text(line: Line, column: Column) -> str:
    """What the paper printed, as it is shown beside ours."""
    value = line.paper.get(column.key)
    digits = max(column.digits, 4 if column.key == "nll_token" else 2)
    return "" if value is None else f"{value:.{digits}f}"


def totals(values: Mapping[str, float]) -> dict[str, float]:
    """The same with what an image costs in all, where both parts are known."""
    if "bce" in values and "nll_image" in values:
        return {**values, "total": values["bce"] + values["nll_image"]}
    return dict(values)
