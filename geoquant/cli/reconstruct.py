"""``geoquant reconstruct``: images beside what is left of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from geoquant.cli.command import Command
from geoquant.cli.encode import images_for
from geoquant.cli.options import (
    check_outputs,
    data_option,
    download_option,
    model_option,
    output_options,
    split_option,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from geoquant.torch import VAEAdapter

_ROWS = ("images", "from latents", "from codes")


@click.command(
    cls=Command,
    examples=[
        "geoquant reconstruct --model runs/vae --codebook latents.codebook.safetensors "
        "--data mnist -o rows.png",
    ],
)
@model_option
@data_option
@split_option("test")
@download_option
@click.option(
    "--codebook",
    "codebook_path",
    type=click.Path(path_type=Path),
    default=None,
    help="What `geoquant fit` wrote for latents of the model; a vq-vae has codes of its own.",
)
@click.option(
    "-n", "--number", "n_images", type=click.IntRange(min=1), default=10, show_default=True
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("rows.png"),
    show_default=True,
    help="The picture: a row of images, one from their latents, one from their codes.",
)
@click.option(
    "--output-npy", "with_npy", is_flag=True, help="Write the rows beside it as .npy too."
)
@output_options
def reconstruct(
    model_path: Path,
    data: str,
    split: Literal["train", "test"],
    download: bool,
    codebook_path: Path | None,
    n_images: int,
    output: Path,
    with_npy: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show images before and after quantization.

    What a model makes of the first images, of their latents and of their codes.

    Codes of a codebook that was fitted through a decoder are chosen by their images.
    """
    import numpy as np

    from geoquant.files import npy_blocks, write_together
    from geoquant.pictures import png_of_grid
    from geoquant.torch import VAEAdapter, load_model

    npy = output.with_suffix(".npy")
    check_outputs([output, npy], inputs=[Path(data), *([codebook_path] if codebook_path else [])])
    model = load_model(model_path)
    images = images_for(model, data, split, limit=n_images, download=download)
    adapter = VAEAdapter.wrap(model)
    latents = adapter.encode_array(images)
    pixels = images.images()
    codewords = _codewords(adapter, latents, pixels, codebook_path)
    rows = np.stack([pixels.numpy(), *map(adapter.decode_array, (latents, codewords))])
    files: dict[Any, Any] = {
        output: png_of_grid(rows.reshape(-1, *images.image_shape), n_columns=len(images))
    }
    if with_npy:
        files[npy] = npy_blocks(rows)
    write_together(files)
    errors = np.square(rows - rows[0]).mean((1, 2, 3, 4)).tolist()
    facts = {"n": len(images), "rows": list(_ROWS), "mean_squared_error": errors}
    facts |= {"picture": str(output), **({"arrays": str(npy)} if with_npy else {})}
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts}))
    elif not quiet:
        for name, error in list(zip(_ROWS, errors, strict=True))[1:]:
            click.echo(f"{name}: mean squared error {error:.4f} of a pixel")
        for name in ("picture", "arrays"):
            if name in facts:
                click.echo(f"{name:<10}{facts[name]}")


def _codewords(
    adapter: VAEAdapter, latents: npt.NDArray[np.float32], images: Any, path: Path | None
) -> npt.NDArray[np.float32]:
    """What each latent is after quantization; by its image, if the codewords are so as well."""
    from geoquant.multistage import load_codebook
    from geoquant.torch import VQVAE, reassign

    model = adapter.module
    if path is None:
        if not isinstance(model, VQVAE):
            raise click.BadParameter(
                "is missing; a vae has no codes of its own: fit some with `geoquant fit`",
                param_hint="--codebook",
            )
        codewords = model.codebook.detach().numpy()
        indices = model.quantize(model.codebook.new_tensor(latents)).indices
        return codewords[indices.numpy()]  # type: ignore[no-any-return]
    book = load_codebook(path)
    if book.dim != latents.shape[1]:
        raise click.BadParameter(
            f"{path} is of {book.dim} dimensions, the model's latents have {latents.shape[1]}",
            param_hint="--codebook",
        )
    codes = book.assign(latents)
    if book.metadata.get("codewords") == "decoder":
        codes = reassign(book, adapter, latents, images, codes=codes)
    return book.lookup(codes)
