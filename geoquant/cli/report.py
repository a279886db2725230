"""``geoquant report``: one page of what a codebook is, beside plain KMeans."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.fit_decoder import (
    images_of,
    model_options,
    refuse_images_without_model,
)
from geoquant.cli.options import (
    check_outputs,
    codebook_argument,
    key_option,
    labels_option,
    latents_option,
    load_labels,
    load_latents,
    load_map,
    map_option,
    n_jobs_option,
    output_options,
    page_option,
    pixels_option,
)

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from geoquant.report.decoded import Decode


@click.command(
    cls=Command,
    examples=[
        "geoquant report latents.codebook.safetensors --latents latents.npy",
        "geoquant report latents.codebook.safetensors --latents new.npy --labels new.labels.npy "
        "--model runs/vae --data mnist --split test -o new.html",
    ],
)
@codebook_argument
@latents_option("Those that the codebook was fitted on, or others of their kind.")
@labels_option(": how far do codes agree with them?")
@pixels_option
@model_options("Folder of the model of the latents: show what it decodes of codes and paths.")
@map_option
@page_option("report.html")
@key_option
@n_jobs_option
@output_options
def report(
    codebook_path: Path,
    latents_path: Path,
    labels_path: Path | None,
    model_path: Path | None,
    data: str | None,
    split: str | None,
    map_path: Path | None,
    pixels: tuple[int, int, int] | None,
    output: Path,
    key: str | None,
    n_jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what a codebook is and whether KMeans would do.

    One page that needs nothing else: a verdict in words, pictures, and all numbers as JSON.
    """
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.multistage import load_codebook
    from geoquant.report import write_report

    refuse_images_without_model(model_path, data, split)
    if pixels is not None and model_path is not None:
        raise click.UsageError("--pixels and --model were both given; give one of them")
    given = (codebook_path, latents_path, labels_path, map_path)
    check_outputs([output], inputs=[path for path in given if path is not None])
    book = load_codebook(codebook_path)
    latents = load_latents(latents_path, key)
    options: dict[str, Any] = {
        "labels": None if labels_path is None else load_labels(labels_path, len(latents)),
        "coordinates": None if map_path is None else load_map(map_path, len(latents)),
    }
    if pixels is not None:
        options["decode"], options["images"] = _as_images(latents, pixels)
    if model_path is not None:
        options["decode"], options["images"] = _decoder(model_path, latents, data, split)
    with ProgressBar(enabled=not (quiet or as_json)) as progress:
        numbers = write_report(
            output,
            book,
            latents,
            title=codebook_path.name,
            n_jobs=n_jobs,
            progress=progress,
            **options,
        )
    if not quiet:
        files = {"codebook": str(codebook_path), "report": str(output)}
        click.echo(_said(numbers, files, as_json=as_json))


def _said(numbers: dict[str, Any], files: dict[str, str], *, as_json: bool) -> str:
    """The verdict and the page in words, or everything as one JSON object."""
    from geoquant.report import verdict

    said = verdict(numbers)
    if as_json:
        words = {"headline": said.headline, "verdict": list(said.points)}
        return json.dumps({**numbers, **files, **words})
    return "\n".join([said.headline, *said.points, f"report    {files['report']}"])


def _as_images(
    latents: npt.NDArray[np.float32], shape: tuple[int, int, int]
) -> tuple[Decode, npt.NDArray[np.float32]]:
    """What makes images of latents that are images, white where they are largest; and these."""
    if math.prod(shape) != latents.shape[1]:
        raise click.BadParameter(
            f"must be of {latents.shape[1]} pixels, as many as a latent has numbers, found "
            f"{math.prod(shape)}",
            param_hint="--pixels",
        )
    white = max(1.0, float(latents.max()))

    def decode(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return (x / white).clip(0, 1).reshape(-1, *shape)

    return decode, decode(latents)


def _decoder(
    model_path: Path, latents: npt.NDArray[np.float32], data: str | None, split: str | None
) -> tuple[Decode, Any]:
    """What decodes latents, and the images they are of; tried on one before anything long."""
    from geoquant.errors import InputError
    from geoquant.torch import VAEAdapter

    adapter = VAEAdapter.wrap(model_path)
    images = images_of(data, split, len(latents))
    try:
        adapter.decode_array(latents[:1])
    except InputError as error:
        raise click.BadParameter(str(error), param_hint="--model") from error
    return adapter.decode_array, images
