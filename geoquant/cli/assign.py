"""``geoquant assign``: codes for new latents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from geoquant.cli.options import (
    beside,
    check_outputs,
    json_option,
    key_option,
    latents_argument,
    load_latents,
    n_jobs_option,
    quiet_option,
)


@click.command()
@latents_argument
@click.option(
    "--codebook",
    "codebook_path",
    type=click.Path(path_type=Path),
    required=True,
    help="A file that `geoquant fit` wrote.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Where the codes go [default: LATENTS with .codes.npy].",
)
@click.option(
    "--method",
    type=click.Choice(["geodesic", "euclidean"]),
    default="geodesic",
    show_default=True,
    help="geodesic: along the training latents; euclidean: nearest codeword.",
)
@key_option
@n_jobs_option
@json_option
@quiet_option
def assign(
    latents_path: Path,
    codebook_path: Path,
    output: Path | None,
    method: Literal["geodesic", "euclidean"],
    key: str | None,
    n_jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Give each latent in a file its code."""
    from geoquant import quality
    from geoquant.codebook import Codebook
    from geoquant.files import write_npy

    output = output or beside(latents_path, ".codes.npy")
    check_outputs([output], inputs=[latents_path, codebook_path])
    codebook = Codebook.load(codebook_path)
    latents = load_latents(latents_path, key)
    if latents.shape[1] != codebook.dim:
        raise click.BadParameter(
            f"{latents_path} has {latents.shape[1]} columns, the codebook {codebook.dim}",
            param_hint="--codebook",
        )
    codes = codebook.assign(latents, method=method, n_jobs=n_jobs)
    write_npy(output, codes)
    summary = {
        "n": len(codes),
        "k": codebook.n_codes,
        "usage": quality.usage(codes, codebook.n_codes),
        "perplexity": quality.perplexity(codes, codebook.n_codes),
        "codes": str(output),
    }
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **summary}))
    elif not quiet:
        click.echo(
            f"{len(codes):,} codes, {summary['usage']:.1%} of {codebook.n_codes} used, "
            f"perplexity {summary['perplexity']:.2f}\ncodes     {output}"
        )
