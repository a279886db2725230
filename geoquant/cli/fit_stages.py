"""``geoquant fit --stages``: several codes for each latent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.fit_decoder import refitted
from geoquant.cli.options import (
    check_outputs,
    going_on_after_stages,
    load_latents,
    write_fitted,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from geoquant.multistage_fit import FittedMultistage

#: Options of `fit` that are those of `fit_codebook`, which a Euclidean stage has no use for.
_GEODESIC = ("n_neighbors", "recall_target", "algorithm", "on_disconnected", "max_memory")


class CodeCounts(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """Number of codes, or one for each stage: 64, or 64,32,16."""

    name = "integer[,…]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, ...]:
        """Give the number, or the numbers, or fail as for an integer."""
        if isinstance(value, int | tuple):
            return value
        counts = [click.IntRange(min=1).convert(part, param, ctx) for part in value.split(",")]
        return counts[0] if len(counts) == 1 else tuple(counts)


def stage_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how several stages are fitted."""
    options = (
        click.option(
            "--stages",
            "n_stages",
            type=click.IntRange(min=1),
            default=None,
            help="Give each latent this many codes [default: one, or as many as -k has numbers].",
        ),
        click.option(
            "--stage-kind",
            "kind",
            type=click.Choice(["residual", "product"]),
            default=None,
            show_default="residual",
            help="Stages of what the ones before leave, or of some columns each.",
        ),
        click.option(
            "--stage-metric",
            "metric",
            type=click.Choice(["geodesic", "euclidean"]),
            default=None,
            show_default="geodesic",
            help="Each stage a fit with a graph of its own, or k-means.",
        ),
        click.option(
            "--beam",
            type=click.IntRange(min=1),
            default=None,
            show_default="8",
            help="Codes kept after each stage of encoding; 1 is greedy.",
        ),
        click.option(
            "--refits",
            "n_refits",
            type=click.IntRange(min=0),
            default=None,
            show_default="5",
            help="How often to fit all stages together after the last.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def taken_stage_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of stages out of all options: what `fit_multistage` is to be told of them.

    Empty for a fit of one stage.
    """
    names = {"n_stages": "--stages", "kind": "--stage-kind", "metric": "--stage-metric"}
    names |= {"beam": "--beam", "n_refits": "--refits"}
    taken = {name: options.pop(name) for name in names}
    given = {name: value for name, value in taken.items() if value is not None}
    counts = options["n_clusters"]
    if isinstance(counts, tuple):
        given.setdefault("n_stages", len(counts))
    elif given and "n_stages" not in given:
        hint = names[next(iter(given))]
        raise click.BadParameter("is for several stages; give --stages too", param_hint=hint)
    return given


def fit_in_stages(
    latents_path: Path,
    key: str | None,
    paths: tuple[Path, Path],
    options: dict[str, Any],
    stages: dict[str, Any],
    decoder: dict[str, Any] | None,
    *,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fit, write the codebook and the codes to `paths`, and say what came out."""
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.multistage_fit import fit_multistage

    codebook_path, codes_path = paths
    check_outputs(paths, inputs=[latents_path])
    if options.pop("codewords") != "mean":
        raise click.BadParameter("codewords of stages are means", param_hint="--codewords")
    if stages.get("metric") == "euclidean":
        options = {name: value for name, value in options.items() if name not in _GEODESIC}
    latents = load_latents(latents_path, key)
    going_on, options = going_on_after_stages(options)
    with going_on, ProgressBar(enabled=not (quiet or as_json)) as progress:
        fitted = fit_multistage(latents, random_state=seed, progress=progress, **options, **stages)
        if decoder is not None:
            n_rounds = decoder["n_rounds"]
            fitted = refitted(
                fitted,
                latents,
                decoder,
                n_rounds=1 if n_rounds is None else n_rounds,
                seed=seed,
                progress=progress,
            )
    write_fitted(paths, fitted.codebook, fitted.codes, options["checkpoint"])
    facts = _facts(fitted)
    if as_json:
        files = {"latents": latents_path, "codebook": codebook_path, "codes": codes_path}
        facts |= {name: str(path) for name, path in files.items()}
        click.echo(json.dumps({"schema_version": 1, **facts}))
    elif not quiet:
        _print_table(f"{latents_path.name}: {len(latents):,} x {latents.shape[1]}", fitted, facts)
        click.echo(f"codebook  {codebook_path}\ncodes     {codes_path}")


def _facts(fitted: FittedMultistage) -> dict[str, Any]:
    from geoquant import quality
    from geoquant.cli.summary import peak_memory_mb

    book = fitted.codebook
    columns = list(zip(fitted.codes.T, book.n_codes, strict=True))
    refits = fitted.refit_distortion
    total = sum(fitted.distortion) if book.kind == "product" else fitted.distortion[-1]
    return {
        "n": len(fitted.codes),
        "d": book.dim,
        "k": list(book.n_codes),
        "kind": book.kind,
        "metric": book.metadata["metric"],
        "beam": book.beam,
        "usage": [quality.usage(codes, k) for codes, k in columns],
        "perplexity": [quality.perplexity(codes, k) for codes, k in columns],
        "stage_distortion": list(fitted.distortion),
        "refit_distortion": list(refits),
        "euclidean_distortion": refits[-1] if refits else total,
        "stage_seconds": [round(s, 4) for s in fitted.seconds],
        "refit_seconds": round(fitted.refit_seconds, 4),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def _print_table(title: str, fitted: FittedMultistage, facts: dict[str, Any]) -> None:
    click.echo(f"{title}, {facts['kind']}, {facts['metric']}")
    click.echo("stage  codes  perplexity  distortion   seconds")
    columns = ("k", "perplexity", "stage_distortion", "stage_seconds")
    for m, row in enumerate(zip(*(facts[name] for name in columns), strict=True)):
        k, perplexity, distortion, seconds = row
        click.echo(f"{m + 1:>5}{k:>7}{perplexity:>12.2f}{distortion:>12.5g}{seconds:>10.2f}")
    if fitted.refit_distortion:
        click.echo(f"refits{facts['euclidean_distortion']:>30.5g}{facts['refit_seconds']:>10.2f}")
