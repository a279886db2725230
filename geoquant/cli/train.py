"""``geoquant train``: an autoencoder to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.options import (
    data_option,
    download_option,
    going_on_later,
    limit_option,
    new_model_folder,
    output_options,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoquant.torch import VAE, VQVAE, ImageSet, NamedAutoencoder

_EPOCHS = {"vae": 10, "vq-vae": 30, "ae": 20}
#: Options that not all kinds have.
_KINDS_OF = {
    "hidden_dim": ("vae", "vq-vae"),
    "n_codes": ("vq-vae", "ae"),
    "codebook_update": ("vq-vae", "ae"),
    "network": ("ae",),
    "width": ("ae",),
    "bottleneck": ("ae",),
    "n_centres": ("ae",),
    "momentum": ("ae",),
}
_FLAGS = {"n_codes": "--codes", "n_centres": "--centres"}
_CODEBOOK = {"n_codes": "n_codes", "codebook_update": "update"}
_CENTRES = {"n_centres": "n_centres", "momentum": "momentum"}
#: What a bottleneck of an ae is given of these, under which name.
_OPTIONS_OF: dict[str, dict[str, str]] = {
    "none": {},
    "gaussian": {},
    "zero-pull": {},
    "centre-pull": _CENTRES,
    "vector-quantizer": _CODEBOOK,
    "vq-ae": _CODEBOOK,
}
_BLOCK_ROWS = 1000


@click.command(
    cls=Command,
    examples=[
        "geoquant train vae --data mnist -o runs/vae",
        "geoquant train ae --data images/ --network residual --bottleneck zero-pull -o runs/ae",
    ],
)
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
@click.option(
    "--hidden-dim",
    type=click.IntRange(min=1),
    default=None,
    show_default="400",
    help="Units of the one hidden layer of a vae or vq-vae.",
)
@click.option(
    "--codes",
    "n_codes",
    type=click.IntRange(min=1),
    default=None,
    show_default="64",
    help="Codes of a vq-vae, or of an ae with a codebook.",
)
@click.option(
    "--codebook-update",
    type=click.Choice(["ema", "gradient"]),
    default=None,
    show_default="ema",
    help="How codewords are learned: so that they stay in use, or as published.",
)
@click.option(
    "--network",
    type=click.Choice(["mlp", "convolutional", "residual", "multi-vector"]),
    default=None,
    show_default="convolutional",
    help="Encoder and decoder of an ae; multi-vector: a latent for each site.",
)
@click.option(
    "--width",
    type=click.IntRange(min=1),
    default=None,
    show_default="32",
    help="Units of an ae's hidden layers, or channels of its first convolution.",
)
@click.option(
    "--bottleneck",
    type=click.Choice(list(_OPTIONS_OF)),
    default=None,
    show_default="none",
    help="What an ae does with its encodings.",
)
@click.option(
    "--centres",
    "n_centres",
    type=click.IntRange(min=1),
    default=None,
    show_default="20",
    help="Learned centres of a centre-pull.",
)
@click.option(
    "--momentum",
    type=click.FloatRange(min=0, min_open=True, max=1),
    default=None,
    help="Centres are moving averages, begun at encodings, that go this share of the way.",
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
@output_options
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
    """Train an autoencoder on images.

    It is measured on those kept for testing.
    """
    sizes = _sizes_of_kind(kind, sizes)

    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.torch import begin_centres, load_images, mean_losses, seeded, train_autoencoder

    given: dict[str, Any] = {"image_size": image_size, "limit": limit, "download": download}
    images, test = load_images(data, **given), load_images(data, "test", **given)
    checkpoint = new_model_folder(output, overwrite=overwrite)
    with seeded(seed):
        model = _untrained(kind, images.image_shape, sizes)
    bar = ProgressBar(enabled=not (quiet or as_json))
    usual: dict[str, Any] = {
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "random_state": seed,
    }
    with going_on_later(checkpoint), bar as progress:
        if sizes.get("momentum") is not None and not checkpoint.exists():
            begin_centres(model, images, progress=progress, **usual)
        history = train_autoencoder(
            model,
            images,
            epochs=epochs or _EPOCHS[kind],
            checkpoint=checkpoint,
            progress=progress,
            **usual,
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
    for name in given:
        kinds = _KINDS_OF.get(name, (kind,))
        if kind not in kinds:
            raise click.BadParameter(
                f"is for {' and '.join(kinds)}; leave it out", param_hint=_flag(name)
            )
    taken = _OPTIONS_OF[given.get("bottleneck", "none")]
    for name in (_CODEBOOK.keys() | _CENTRES.keys()) & given.keys():
        if kind == "ae" and name not in taken:
            fitting = " and ".join(b for b, names in _OPTIONS_OF.items() if name in names)
            raise click.BadParameter(f"is for --bottleneck {fitting}", param_hint=_flag(name))
    return given


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def _untrained(kind: str, image_shape: tuple[int, int, int], sizes: dict[str, Any]) -> Any:
    from geoquant.torch import VAE, VQVAE, NamedAutoencoder

    if kind != "ae":
        return (VAE if kind == "vae" else VQVAE)(image_shape=image_shape, **sizes)
    bottleneck = sizes.get("bottleneck", "none")
    usual = {"n_centres": 20, "n_codes": 64, "codebook_update": "ema"}
    options = {
        argument: value
        for name, argument in _OPTIONS_OF[bottleneck].items()
        if (value := sizes.get(name, usual.get(name))) is not None
    }
    return NamedAutoencoder(
        image_shape,
        sizes["latent_dim"],
        sizes.get("width", 32),
        sizes.get("network", "convolutional"),
        bottleneck,
        options,
    )


def _use_of_codes(model: VAE | VQVAE | NamedAutoencoder, images: ImageSet) -> dict[str, float]:
    """How many codes or centres the images take, for a model that has some."""
    import numpy as np

    from geoquant import quality

    found = _codebook_of(model)
    if found is None:
        return {}
    n_codes, codes_of = found
    codes = np.concatenate(
        [
            codes_of(images.images(slice(start, start + _BLOCK_ROWS))).ravel()
            for start in range(0, len(images), _BLOCK_ROWS)
        ]
    )
    return {
        "n_codes": n_codes,
        "codes_used": n_codes - len(quality.dead_codes(codes, n_codes)),
        "perplexity": quality.perplexity(codes, n_codes),
    }


def _codebook_of(model: VAE | VQVAE | NamedAutoencoder) -> tuple[int, Callable[[Any], Any]] | None:
    """Number of codes or centres, and what finds the nearest for images."""
    from geoquant.assignment import nearest_codeword
    from geoquant.torch import VAE, VQVAE
    from geoquant.torch.bottlenecks import CentrePull, QuantizedBottleneck

    if isinstance(model, VAE):
        return None
    if isinstance(model, VQVAE):
        return len(model.codebook), lambda x: model.quantize(model.encode(x)).indices.numpy()
    bottleneck = model.bottleneck
    if isinstance(bottleneck, QuantizedBottleneck):
        codebook = bottleneck.quantizer.codebook
        return len(codebook), lambda x: bottleneck.quantize(model.encoder(x)).indices.numpy()
    if isinstance(bottleneck, CentrePull):
        centres = bottleneck.centres.detach().numpy()
        return len(centres), lambda x: nearest_codeword(model.encode(x).detach().numpy(), centres)
    return None


def _in_words(facts: dict[str, Any]) -> str:
    channels, height, width = facts["image_shape"]
    test, n_epochs = facts["test"], facts["train"]["epoch"]
    parts = [name for name in test if name in facts["train"] and name != "loss"]
    unit = "" if facts["kind"] == "ae" else " nats"
    lines = [
        f"{facts['n']:,} images of {channels} x {height} x {width}, {n_epochs} "
        f"{'epoch' if n_epochs == 1 else 'epochs'}",
        f"{facts['n_test']:,} images not trained on: {test['loss']:.2f}{unit} each, "
        + " + ".join(f"{name} {test[name]:.2f}" for name in parts),
    ]
    if "n_codes" in test:
        kind = "centres nearest to some" if "pull" in test else "codes used"
        lines.append(
            f"{test['codes_used']} of {test['n_codes']} {kind}, perplexity {test['perplexity']:.2f}"
        )
    return "\n".join(lines)
