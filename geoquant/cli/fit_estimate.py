"""``geoquant fit --estimate``: what a fit would take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from geoquant.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from geoquant.estimate import FitEstimate


def print_estimate(path: Path, key: str | None, options: dict[str, Any], *, as_json: bool) -> None:
    """Estimate the fit that `options` ask for, from the header of the file and a few rows."""
    from geoquant.memory import available_memory

    estimate = _estimated(path, key, options)
    limit = options["max_memory"]
    available = available_memory() if limit is None else limit
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **_facts(estimate, available)}))
    else:
        _print_table(path.name, estimate, available)


def _estimated(path: Path, key: str | None, options: dict[str, Any]) -> FitEstimate:
    from geoquant.estimate import estimate_fit
    from geoquant.latents import latents_shape, read_latents

    shape = latents_shape(path, key)
    if len(shape) != 2 or min(shape) == 0:
        raise FileFormatError(f"{path}: latents must have shape (n, d), n, d > 0, found {shape}")
    if options["n_clusters"] > shape[0]:
        raise InputError(f"n_clusters must be at most {shape[0]}, the number of latents in {path}")
    # An .npy file is mapped, so that only the rows of the sample are read.
    rows = read_latents(path) if path.suffix.lower() == ".npy" else None
    names = ("n_neighbors", "recall_target", "algorithm", "n_init", "n_jobs")
    return estimate_fit(
        *shape, options["n_clusters"], latents=rows, **{name: options[name] for name in names}
    )


def _facts(estimate: FitEstimate, available: int | None) -> dict[str, Any]:
    needed = estimate.input_bytes + estimate.peak_bytes
    return {
        "n": estimate.n,
        "d": estimate.d,
        "k": estimate.n_clusters,
        "n_neighbors": estimate.n_neighbors,
        "algorithm": estimate.algorithm,
        "exact_search": estimate.is_exact,
        "input_bytes": estimate.input_bytes,
        "bytes": estimate.bytes,
        "arrays": estimate.arrays,
        "peak_bytes": estimate.peak_bytes,
        "available_bytes": available,
        "fits_in_memory": available is None or needed <= available,
        "seconds": {stage: round(s, 4) for stage, s in estimate.seconds.items()},
        "total_seconds": round(estimate.total_seconds, 4),
        "seconds_range": [round(s, 4) for s in estimate.seconds_range],
    }


def _print_table(title: str, estimate: FitEstimate, available: int | None) -> None:
    from geoquant.memory import shown

    click.echo(
        f"{title}: {estimate.n:,} x {estimate.d}, {estimate.n_clusters} codes, "
        f"{estimate.algorithm}, {'exact' if estimate.is_exact else 'approximate'} neighbours"
    )
    for stage, seconds in estimate.seconds.items():
        click.echo(f"  {stage:<12}{seconds:>10.2f} s{shown(estimate.bytes[stage]):>14}")
    click.echo(f"  {'in all':<12}{estimate.total_seconds:>10.2f} s{shown(estimate.peak_bytes):>14}")
    least, most = estimate.seconds_range
    click.echo(f"between {least:.2f} and {most:.2f} s, by how soon the clustering stops improving")
    needed = estimate.input_bytes + estimate.peak_bytes
    there_is = "" if available is None else f"; {shown(available)} available"
    click.echo(
        f"with the latents, {shown(estimate.input_bytes)}: {shown(needed)}{there_is}, "
        "the interpreter and its libraries not counted"
    )
    if available is not None and needed > available:
        click.echo("It would be refused: lower --n-neighbors or fit a sample of the latents.")
