"""What a fit reports: one dictionary, printed as a table or as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from geoquant.fit import FittedCodebook


def summarize(
    fitted: FittedCodebook, latents: npt.NDArray[np.float32], n_jobs: int | None
) -> dict[str, Any]:
    """Collect every number that is reported of a fit."""
    from geoquant import quality
    from geoquant.assignment import nearest_codeword

    codes, k = fitted.codes, fitted.codebook.n_codes
    vectors = fitted.codebook.vectors
    straight = nearest_codeword(latents, vectors, n_jobs=n_jobs)
    return {
        "n": len(latents),
        "d": latents.shape[1],
        "k": k,
        "n_components": fitted.n_components,
        "graph_recall": fitted.graph.recall,
        "energy": fitted.clustering.inertia,
        "power": fitted.codebook.metadata["power"],
        "is_converged": fitted.clustering.is_converged,
        "usage": quality.usage(codes, k),
        "dead_codes": len(quality.dead_codes(codes, k)),
        "perplexity": quality.perplexity(codes, k),
        "entropy_nats": quality.entropy(codes, k),
        "imbalance": quality.imbalance(codes, k),
        "geodesic_distortion": quality.geodesic_distortion(fitted.distance),
        "euclidean_distortion": quality.euclidean_distortion(latents, vectors, codes),
        "agreement_with_euclidean": quality.agreement(codes, straight),
        "seconds": {stage: round(s, 4) for stage, s in fitted.seconds.items()},
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would count the program that started this one
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def advice(summary: dict[str, Any]) -> str | None:
    """Say when the geodesic detour does not pay."""
    from geoquant.quality import KMEANS_WOULD_DO

    agreement = summary["agreement_with_euclidean"]
    if agreement <= KMEANS_WOULD_DO:
        return None
    return (
        f"Plain KMeans would do here: {agreement:.1%} of the codes are those of the codeword "
        "nearest in a straight line."
    )


def print_summary(
    summary: dict[str, Any], paths: tuple[Path, Path, Path], *, as_json: bool, quiet: bool
) -> None:
    """Print what came out of a fit, and the files of latents, codebook and codes."""
    hint = advice(summary)
    if as_json:
        files = dict(zip(("latents", "codebook", "codes"), map(str, paths), strict=True))
        click.echo(json.dumps({"schema_version": 1, **summary, **files, "advice": hint}))
    elif not quiet:
        print_table(f"{paths[0].name}: {summary['k']} codes", summary)
        click.echo(f"codebook  {paths[1]}\ncodes     {paths[2]}")
        if hint:
            click.echo(hint)


def print_table(title: str, summary: dict[str, Any]) -> None:
    """Print the numbers that matter most as a table on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), show_header=False, title_justify="left")
    table.add_column(style="cyan")
    table.add_column(justify="right")
    for name, value in _rows(summary):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _rows(s: dict[str, Any]) -> list[tuple[str, str]]:
    seconds = s["seconds"]
    return [
        ("latents (n x d)", f"{s['n']:,} x {s['d']}"),
        ("codes (k)", str(s["k"])),
        ("graph components, before bridging", str(s["n_components"])),
        ("neighbour recall", f"{s['graph_recall']:.4f}" if s["graph_recall"] < 1 else "exact"),
        (f"energy (sum of geodesic distance^{s['power']})", f"{s['energy']:,.6g}"),
        ("perplexity", f"{s['perplexity']:.2f}"),
        ("dead codes", str(s["dead_codes"])),
        ("imbalance (1 is even)", f"{s['imbalance']:.3f}"),
        ("agreement with Euclidean assignment", f"{s['agreement_with_euclidean']:.1%}"),
        *((f"time: {stage}", f"{value:.2f} s") for stage, value in seconds.items()),
        ("peak memory", f"{s['peak_memory_mb']:.0f} MB"),
    ]
