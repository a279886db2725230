"""``geoquant inspect``: what is in a codebook file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.options import output_options

if TYPE_CHECKING:
    from geoquant.codebook import Codebook
    from geoquant.multistage import MultistageCodebook


@click.command(
    cls=Command,
    examples=[
        "geoquant inspect latents.codebook.safetensors",
        "geoquant inspect latents.codebook.safetensors --json",
    ],
)
@click.argument("codebook_path", metavar="CODEBOOK", type=click.Path(path_type=Path))
@output_options
def inspect(codebook_path: Path, as_json: bool, quiet: bool) -> None:
    """Show what a codebook holds and how it was made.

    The file is verified on the way.
    """
    from geoquant.codebook import codebook_file
    from geoquant.multistage import MultistageCodebook, load_codebook

    book = load_codebook(codebook_path)
    facts = _facts_of_stages(book) if isinstance(book, MultistageCodebook) else _facts(book)
    facts |= {"bytes": os.path.getsize(codebook_file(codebook_path))}
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts}))
        return
    if quiet:
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {value}")


def _facts(book: Codebook) -> dict[str, Any]:
    from geoquant import quality

    return {
        "codes": book.n_codes,
        "dimensions": book.dim,
        "anchors": book.n_anchors,
        "neighbours considered": book.n_neighbors,
        "perplexity of the anchors": quality.perplexity(book.anchor_code, book.n_codes),
        "unused codes": len(quality.dead_codes(book.anchor_code, book.n_codes)),
        "mean geodesic distance": float(book.anchor_distance.mean()),
        **book.metadata,
    }


def _facts_of_stages(book: MultistageCodebook) -> dict[str, Any]:
    return {
        "stages": book.n_stages,
        "kind": book.kind,
        "codes": list(book.n_codes),
        "dimensions": book.dim,
        "dimensions of the stages": [stage.dim for stage in book.stages],
        "anchors": [stage.n_anchors for stage in book.stages],
        "beam": book.beam,
        **book.metadata,
    }
