"""``geoquant explore``: latents and their codes as a page to look around in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.fit_decoder import images_of, model_options
from geoquant.cli.options import (
    check_outputs,
    key_option,
    load_labels,
    load_latents,
    n_jobs_option,
    output_options,
    pixels_option,
)
from geoquant.errors import FileFormatError, InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@click.command(
    cls=Command,
    examples=[
        "geoquant explore latents.codebook.safetensors --latents latents.npy -o latent.html",
        "geoquant explore latents.codebook.safetensors --latents latents.npy "
        "--model runs/vae --data mnist -o decoded.html",
    ],
)
@click.argument("codebook_path", metavar="CODEBOOK", type=click.Path(path_type=Path))
@click.option(
    "--latents",
    "latents_path",
    type=click.Path(path_type=Path),
    required=True,
    help="Those that the codebook was fitted on, or others of their kind.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("latent.html"),
    show_default=True,
    help="The page.",
)
@click.option(
    "--labels",
    "labels_path",
    type=click.Path(path_type=Path),
    default=None,
    help="An .npy of a class for each latent, to colour by.",
)
@click.option(
    "--map",
    "plane_path",
    type=click.Path(path_type=Path),
    default=None,
    help="An .npy of two numbers for each latent: where to draw it [default: a map made so that "
    "distances resemble those along the data].",
)
@click.option(
    "--images",
    "images_path",
    type=click.Path(path_type=Path),
    default=None,
    help="An .npy of an image for each latent, bytes or floats in [0, 1].",
)
@pixels_option
@model_options("Folder of the model of the latents: show what it decodes.")
@click.option(
    "--max-points",
    type=click.IntRange(min=2),
    default=200_000,
    show_default=True,
    help="Show a sample of more latents.",
)
@key_option
@n_jobs_option
@output_options
def explore(
    codebook_path: Path,
    latents_path: Path,
    output: Path,
    key: str | None,
    max_points: int,
    n_jobs: int | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Write a page to look around among latents and codes.

    One file that needs neither server nor network: point at a latent to see its code, click two for
    the shortest path along the data beside the straight chord.
    """
    from geoquant.explorer import write_explorer
    from geoquant.multistage import load_codebook

    paths = (given[name] for name in ("labels_path", "plane_path", "images_path"))
    check_outputs([output], inputs=[codebook_path, latents_path, *filter(None, paths)])
    _refuse_both({"--images": given["images_path"], "--data": given["data"]})
    _refuse_both({"--pixels": given["pixels"], "--model": given["model_path"]})
    codebook = load_codebook(codebook_path)
    latents = load_latents(latents_path, key)
    shown = _shown(latents, **given)
    try:
        summary = write_explorer(
            output,
            codebook,  # type: ignore[arg-type]  # of several stages it is refused, with the cure
            latents,
            max_points=max_points,
            title=f"{codebook_path.name}, {latents_path.name}",
            n_jobs=n_jobs,
            **shown,
        )
    except InputError as error:
        raise click.UsageError(str(error)) from error
    _print(summary | {"page": str(output)}, as_json=as_json, quiet=quiet)


def _shown(
    latents: npt.NDArray[np.float32],
    *,
    labels_path: Path | None,
    plane_path: Path | None,
    images_path: Path | None,
    data: str | None,
    split: str | None,
    model_path: Path | None,
    pixels: tuple[int, int, int] | None,
) -> dict[str, Any]:
    """What else than latents the page is to show, read from its files."""
    from geoquant.latents import read_latents

    n = len(latents)
    images = images_of(data, split, n) if images_path is None else _load_images(images_path, n)
    return {
        "labels": None if labels_path is None else load_labels(labels_path, n),
        "plane": None if plane_path is None else read_latents(plane_path, mapped=False),
        "images": images,
        "decode": _decoder(model_path, pixels, latents),
    }


def _refuse_both(options: dict[str, Any]) -> None:
    if all(value is not None for value in options.values()):
        first, second = options
        raise click.UsageError(f"{first} and {second} were both given; give one of them")


def _decoder(
    model_path: Path | None,
    pixels: tuple[int, int, int] | None,
    latents: npt.NDArray[np.float32],
) -> Any:
    """What makes images of latents, if anything does."""
    if pixels is not None:
        from geoquant.explorer import LayeredDecoder

        return LayeredDecoder((), image_shape=pixels, white=max(1.0, float(latents.max())))
    if model_path is None:
        return None
    from geoquant.torch import VAEAdapter

    return VAEAdapter.wrap(model_path)


def _load_images(path: Path, n: int) -> npt.NDArray[Any]:
    """Images as they are stored, not read whole, in the shape (n, C, H, W)."""
    import numpy as np

    from geoquant.latents import read_latents

    images = read_latents(path)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = np.moveaxis(images, 3, 1)
    if images.ndim != 4 or len(images) != n or images.shape[1] not in (1, 3):
        raise FileFormatError(
            f"{path}: images must have shape ({n}, H, W), ({n}, C, H, W) or ({n}, H, W, C) with "
            f"C = 1 or 3, found {images.shape}"
        )
    return images


def _print(summary: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **summary}))
    elif not quiet:
        shown = f"{summary['n_shown']:,}"
        of_all = "" if summary["n_shown"] == summary["n"] else f" of {summary['n']:,}"
        how = {"layers": "decoded by the page", "atlas": "decoded pictures in the page"}
        images = how.get(summary["decoder"], "not decoded; --model or --pixels shows images")
        click.echo(f"{shown}{of_all} latents, {summary['n_codes']} codes, {images}")
        size = f"{summary['bytes'] / 1e6:.1f} MB"
        click.echo(f"page      {summary['page']}  ({size}; open it in a browser)")
