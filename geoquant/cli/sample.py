"""``geoquant sample``: new images from a prior."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.options import check_outputs, output_options
from geoquant.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@click.command(
    cls=Command,
    examples=[
        "geoquant sample --prior runs/prior --codebook latents.codebook.safetensors "
        "--model runs/vae -n 100 -o samples.png",
    ],
)
@click.option(
    "--prior",
    "prior_path",
    type=click.Path(path_type=Path),
    required=True,
    help="A folder that `geoquant prior` wrote.",
)
@click.option(
    "--codebook",
    "codebook_path",
    type=click.Path(path_type=Path),
    required=True,
    help="What the prior's codes stand for.",
)
@click.option(
    "--model",
    "model_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The model whose decoder makes images.",
)
@click.option(
    "-n", "--number", "n_samples", type=click.IntRange(min=1), default=25, show_default=True
)
@click.option("--temperature", type=click.FloatRange(min=0), default=1.0, show_default=True)
@click.option("--top-k", type=click.IntRange(min=1), default=None, help="Likeliest codes kept.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=None,
    help="Likeliest codes kept that are this probable together.",
)
@click.option("--class", "label", type=click.IntRange(min=0), default=None, help="Class to sample.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("samples.png"),
    show_default=True,
    help="The grid of images; the images and their codes go beside it as .npy.",
)
@output_options
def sample(
    prior_path: Path,
    codebook_path: Path,
    model_path: Path,
    n_samples: int,
    label: int | None,
    seed: int,
    output: Path,
    as_json: bool,
    quiet: bool,
    **limits: Any,
) -> None:
    """Draw codes from a prior and decode them.

    Writes a grid as PNG, images and codes as .npy.
    """
    from geoquant.files import npy_blocks, write_together
    from geoquant.multistage import load_codebook
    from geoquant.pictures import png_of_grid
    from geoquant.torch import GRUPrior, VAEAdapter
    from geoquant.torch.pretrained import model_config

    paths = (output, output.with_suffix(".npy"), output.with_suffix(".codes.npy"))
    check_outputs(paths, inputs=[codebook_path])
    model_config(prior_path)  # a folder that is missing is none of the Hub's
    prior = GRUPrior.from_pretrained(prior_path)
    book = load_codebook(codebook_path)
    adapter = VAEAdapter.wrap(model_path)
    labels = None if label is None else [label] * n_samples
    codes = prior.sample(n_samples, labels=labels, generator=seed, **limits).numpy()
    images = adapter.decode_array(_latents(book, codes, codebook_path))
    grid = png_of_grid(images, n_columns=_columns(n_samples))
    write_together({paths[0]: grid, paths[1]: npy_blocks(images), paths[2]: npy_blocks(codes)})
    facts = {"n": n_samples, "images": str(paths[1]), "codes": str(paths[2]), "grid": str(paths[0])}
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts}))
    elif not quiet:
        for name in ("grid", "images", "codes"):
            click.echo(f"{name:<10}{facts[name]}")


def _latents(book: Any, codes: npt.NDArray[np.int64], path: Path) -> npt.NDArray[np.float32]:
    n_stages = getattr(book, "n_stages", 1)
    if codes.shape[1] != n_stages:
        raise click.BadParameter(
            f"the prior's sequences have {codes.shape[1]} codes, {path} has {n_stages} stages",
            param_hint="--codebook",
        )
    try:
        found: npt.NDArray[np.float32] = book.lookup(codes if n_stages > 1 else codes[:, 0])
    except InputError as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--codebook") from error
    return found


def _columns(n: int) -> int:
    """Columns of a grid as square as it can be."""
    return next(columns for columns in range(1, n + 1) if columns * columns >= n)
