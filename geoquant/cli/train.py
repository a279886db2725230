"""``geoquant train``: an autoencoder to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.options import (
    data_option,
    download_option,
    going_on_later,
    json_option,
    limit_option,
    new_model_folder,
    quiet_option,
)

if TYPE_CHECKING:
    from geoquant.torch import VAE, VQVAE, ImageSet

_EPOCHS = {"vae": 10, "vq-vae": 30}
_VQ_ONLY = {"n_codes": "--codes", "codebook_update": "--codebook-update"}
_BLOCK_ROWS = 1000


@click.command()
@click.argument("kind", type=click.Choice(list(_EPOCHS)))
@data_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder of the model. A run that was interrupted goes on from what is there.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model that is there.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=None,
    show_default=", ".join(f"{kind} {epochs}" for kind, epochs in _EPOCHS.items()),
)
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
)
@click.option("--latent-dim", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--hidden-dim", type=click.IntRange(min=1), default=400, show_default=True)
@click.option(
    "--codes",
    "n_codes",
    type=click.IntRange(min=1),
    default=None,
    show_default="64",
    help="Codes of a vq-vae.",
)
@click.option(
    "--codebook-update",
    type=click.Choice(["ema", "gradient"]),
    default=None,
    show_default="ema",
    help="How a vq-vae learns its codewords: so that they stay in use, or as published.",
)
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    default=None,
    help="Resize the middle square of each image to this many pixels [default: as stored].",
)
@limit_option
@download_option
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@json_option
@quiet_option
def train(
    kind: str,
    data: str,
    output: Path,
    overwrite: bool,
    epochs: int | None,
    batch_size: int,
    learning_rate: float,
    image_size: int | None,
    limit: int | None,
    download: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
    **sizes: Any,
) -> None:
    """Train an autoencoder on images, and measure it on those kept for testing."""
    sizes = _sizes_of_kind(kind, sizes)

    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.torch import VAE, VQVAE, load_images, mean_losses, seeded, train_autoencoder

    given: dict[str, Any] = {"image_size": image_size, "limit": limit, "download": download}
    images, test = load_images(data, **given), load_images(data, "test", **given)
    checkpoint = new_model_folder(output, overwrite=overwrite)
    with seeded(seed):
        model = (VAE if kind == "vae" else VQVAE)(image_shape=images.image_shape, **sizes)
    bar = ProgressBar(enabled=not (quiet or as_json))
    with going_on_later(checkpoint), bar as progress:
        history = train_autoencoder(
            model,
            images,
            epochs=epochs or _EPOCHS[kind],
            batch_size=batch_size,
            learning_rate=learning_rate,
            random_state=seed,
            checkpoint=checkpoint,
            progress=progress,
        )
    model.eval()
    facts = {
        "kind": kind,
        "n": len(images),
        "n_test": len(test),
        "image_shape": list(images.image_shape),
        "train": history[-1],
        "test": mean_losses(model, test, random_state=seed) | _use_of_codes(model, test),
    }
    model.save_pretrained(output)
    checkpoint.unlink()
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts, "model": str(output)}))
    elif not quiet:
        click.echo(f"{_in_words(facts)}\nmodel     {output}")


def _sizes_of_kind(kind: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """The sizes that were given, if the kind of model has them."""
    given = {name: value for name, value in sizes.items() if value is not None}
    for name in _VQ_ONLY.keys() & given.keys():
        if kind != "vq-vae":
            raise click.BadParameter("is for vq-vae; leave it out", param_hint=_VQ_ONLY[name])
    return given


def _use_of_codes(model: VAE | VQVAE, images: ImageSet) -> dict[str, float]:
    """How many codes the images take, for a model that has codes."""
    import numpy as np

    from geoquant import quality
    from geoquant.torch import VQVAE

    if not isinstance(model, VQVAE):
        return {}
    codes = np.concatenate(
        [
            model.quantize(model.encode(images.images(slice(start, start + _BLOCK_ROWS)))).indices
            for start in range(0, len(images), _BLOCK_ROWS)
        ]
    )
    n_codes = len(model.codebook)
    return {
        "n_codes": n_codes,
        "codes_used": n_codes - len(quality.dead_codes(codes, n_codes)),
        "perplexity": quality.perplexity(codes, n_codes),
    }


def _in_words(facts: dict[str, Any]) -> str:
    channels, height, width = facts["image_shape"]
    test = facts["test"]
    second = "kl" if "kl" in test else "commitment"
    n_epochs = facts["train"]["epoch"]
    lines = [
        f"{facts['n']:,} images of {channels} x {height} x {width}, {n_epochs} "
        f"{'epoch' if n_epochs == 1 else 'epochs'}",
        f"{facts['n_test']:,} images not trained on: {test['loss']:.2f} nats each, "
        f"bce {test['bce']:.2f} + {second} {test[second]:.2f}",
    ]
    if "n_codes" in test:
        lines.append(
            f"{test['codes_used']} of {test['n_codes']} codes used, perplexity "
            f"{test['perplexity']:.2f}"
        )
    return "\n".join(lines)
