"""``geoquant encode``: images in, latents out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from geoquant.cli.command import Command
from geoquant.cli.options import (
    check_outputs,
    data_option,
    download_option,
    limit_option,
    model_option,
    output_options,
    split_option,
)

if TYPE_CHECKING:
    from geoquant.torch import VAE, VQVAE, ImageSet, NamedAutoencoder


@click.command(
    cls=Command,
    examples=[
        "geoquant encode --model runs/vae --data mnist -o latents.npy",
        "geoquant encode --model runs/vae --data mnist --split test -o new.npy "
        "--labels-output new.labels.npy",
    ],
)
@model_option
@data_option
@split_option("train")
@limit_option
@download_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the latents go, an .npy.",
)
@click.option(
    "--labels-output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Where the classes of the images go, an .npy [default: nowhere].",
)
@output_options
def encode(
    model_path: Path,
    data: str,
    split: Literal["train", "test"],
    limit: int | None,
    download: bool,
    output: Path,
    labels_output: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Give each image its latent.

    The mean, where a model gives a distribution.
    """
    from geoquant.files import npy_blocks, write_together
    from geoquant.torch import VAEAdapter, load_model

    outputs = [output] if labels_output is None else [output, labels_output]
    check_outputs(outputs, inputs=[Path(data)])
    model = load_model(model_path)
    images = images_for(model, data, split, limit=limit, download=download)
    latents = VAEAdapter.wrap(model).encode_array(images)
    files: dict[Any, Any] = {output: npy_blocks(latents)}
    if labels_output is not None:
        if images.labels is None:
            raise click.BadParameter(
                f"the images of {data} have no classes; leave it out", param_hint="--labels-output"
            )
        files[labels_output] = npy_blocks(images.labels)
    write_together(files)
    facts = {"n": len(images), "d": latents.shape[1], "latents": str(output)}
    if labels_output is not None:
        facts["labels"] = str(labels_output)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts}))
    elif not quiet:
        click.echo(f"{facts['n']:,} latents of {facts['d']} dimensions")
        for name in ("latents", "labels"):
            if name in facts:
                click.echo(f"{name:<10}{facts[name]}")


def images_for(
    model: VAE | VQVAE | NamedAutoencoder,
    data: str,
    split: Literal["train", "test"],
    *,
    limit: int | None,
    download: bool,
) -> ImageSet:
    """Images of the size that a model was trained on."""
    from geoquant.torch import load_images

    _, height, width = model.image_shape
    size = height if height == width else None
    return load_images(data, split, image_size=size, limit=limit, download=download)
