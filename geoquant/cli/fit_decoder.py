"""``--codewords decoder``: a codebook fitted through the decoder of a model."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geoquant.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from geoquant.fit import FittedCodebook
    from geoquant.multistage_fit import FittedMultistage
    from geoquant.progress import Progress
    from geoquant.torch import ImageSet

CommandT = TypeVar("CommandT", bound="Callable[..., Any]")
FittedT = TypeVar("FittedT", "FittedCodebook", "FittedMultistage")

_NAMES = {"model_path": "--model", "data": "--data", "split": "--split", "n_rounds": "--rounds"}


def model_options(help_of_model: str) -> Callable[[CommandT], CommandT]:
    """Add the options that name a model and the images of latents."""
    options = (
        click.option(
            "--model",
            "model_path",
            type=click.Path(path_type=Path),
            default=None,
            help=help_of_model,
        ),
        click.option(
            "--data",
            default=None,
            help="Images that the latents are of, in their order: mnist, fashion-mnist, celeba, a "
            "folder or an .npy [default: what the model decodes of the latents].",
        ),
        click.option(
            "--split",
            type=click.Choice(["train", "test"]),
            default=None,
            show_default="train",
            help="Part of the data.",
        ),
    )
    return lambda command: reduce(lambda found, option: option(found), reversed(options), command)


def decoder_options(command: CommandT) -> CommandT:
    """Add the options that say through what codewords are fitted."""
    rounds = click.option(
        "--rounds",
        "n_rounds",
        type=click.IntRange(min=0),
        default=None,
        show_default="1",
        help="How often to look for better codes of stages by their images, and fit again.",
    )
    of_model = model_options(
        "Folder of the model that the latents are of; for --codewords decoder."
    )
    return of_model(rounds(command))


def taken_decoder_options(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of a decoder out of all options; None if none is wanted."""
    taken = {name: options.pop(name) for name in _NAMES}
    if options["codewords"] == "decoder":
        if taken["model_path"] is None:
            raise click.BadParameter("decoder needs --model as well", param_hint="--codewords")
        options["codewords"] = "mean"
        return taken
    for name, value in taken.items():
        if value is not None:
            raise click.BadParameter("is for --codewords decoder", param_hint=_NAMES[name])
    return None


def refitted(
    fitted: FittedT,
    latents: npt.NDArray[np.float32],
    decoder: dict[str, Any],
    *,
    n_rounds: int,
    seed: int,
    progress: Progress | None,
) -> FittedT:
    """What was fitted, with codewords and codes that suit the decoder of a model."""
    from dataclasses import replace

    from geoquant.torch import VAEAdapter, refine_codebook

    adapter = VAEAdapter.wrap(decoder["model_path"])
    images = images_of(decoder["data"], decoder["split"], len(latents))
    try:
        refined = refine_codebook(
            fitted.codebook,
            adapter,
            latents,
            images,
            codes=fitted.codes,
            n_rounds=n_rounds,
            random_state=seed,
            progress=progress,
        )
    except InputError as error:
        raise click.BadParameter(str(error), param_hint="--model") from error
    return replace(fitted, codebook=refined.codebook, codes=refined.codes)


def refuse_images_without_model(
    model_path: Path | None, data: str | None, split: str | None
) -> None:
    """Refuse images that would go unheeded, before any work."""
    if model_path is None and (data is not None or split is not None):
        hint = "--split" if data is None else "--data"
        raise click.BadParameter(
            "is for images that a model decodes; give --model", param_hint=hint
        )


def images_of(data: str | None, split: str | None, n: int) -> Any:
    """Images of `n` latents as floats in [0, 1], or None where no data is named."""
    found = image_set_of(data, split, n)
    return None if found is None else found.images()


def image_set_of(data: str | None, split: str | None, n: int) -> ImageSet | None:
    """Images of `n` latents as they are stored, or None where no data is named."""
    if data is None:
        if split is not None:
            raise click.BadParameter("is a part of --data; give that too", param_hint="--split")
        return None
    from geoquant.torch import load_images

    found = load_images(data, split or "train")  # type: ignore[arg-type]
    if len(found) != n:
        raise click.BadParameter(
            f"{data} has {len(found)} images, and there are {n} latents; give the images that were "
            "encoded",
            param_hint="--data",
        )
    return found
