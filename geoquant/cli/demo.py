"""``geoquant demo``: the whole way on data that scikit-learn brings along."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.encode import encode
from geoquant.cli.fit import fit
from geoquant.cli.options import output_options
from geoquant.cli.prior import prior
from geoquant.cli.reconstruct import reconstruct
from geoquant.cli.sample import sample
from geoquant.cli.train import train

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_N_CODES = 32


@click.command(cls=Command, examples=["geoquant demo", "geoquant demo --vae -o geoquant-demo-vae"])
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("geoquant-demo"),
    show_default=True,
    help="Folder for the files.",
)
@click.option(
    "--vae",
    "with_vae",
    is_flag=True,
    help="Train a small VAE on the digits and quantize its latents; learn a prior of the codes, "
    "and draw new digits. Needs PyTorch.",
)
@output_options
def demo(output: Path, with_vae: bool, as_json: bool, quiet: bool) -> None:
    """Quantize handwritten digits, and look at what came out.

    The 1,797 digits of scikit-learn, 8 x 8 pixels each; nothing is fetched.
    """
    from sklearn.datasets import load_digits

    output.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    make = _digits_of_a_vae if with_vae else _digits_themselves
    written, facts = make(output, digits, quiet=quiet or as_json)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts, "files": [str(f) for f in written]}))
    elif not quiet:
        _print_ways_on(output, with_vae=with_vae)


def _digits_themselves(
    folder: Path, digits: Any, *, quiet: bool
) -> tuple[list[Path], dict[str, Any]]:
    """Latents that are the images: every code can be seen without a decoder."""
    from geoquant.files import write_npy

    latents = folder / "digits.npy"
    write_npy(latents, (digits.data / digits.data.max()).astype("float32"))
    if not quiet:
        click.echo(f"latents   {latents}  (the 8 x 8 images themselves)")
    _run(fit, [latents, "-k", _N_CODES], quiet=quiet)
    codebook, codes = folder / "digits.codebook.safetensors", folder / "digits.codes.npy"
    facts = {"accuracy": _accuracies(codes, digits.data, digits.target)}
    if not quiet:
        for name, accuracy in facts["accuracy"].items():
            click.echo(f"digit told by the code's majority: {accuracy:.1%}  ({name})")
    return [latents, codebook, codes], facts


def _digits_of_a_vae(
    folder: Path, digits: Any, *, quiet: bool
) -> tuple[list[Path], dict[str, Any]]:
    """A VAE, several codes for each of its latents, a prior of them, and images drawn from it."""
    import numpy as np

    from geoquant.files import write_npy

    images = folder / "digits.npy"
    pixels = np.rint(digits.images / digits.images.max() * 255).astype(np.uint8)
    write_npy(images, pixels)
    model, latents = folder / "vae", folder / "latents.npy"
    codebook, codes = folder / "latents.codebook.safetensors", folder / "latents.codes.npy"
    rows, samples = folder / "rows.png", folder / "samples.png"
    of_model: list[Any] = ["--model", model, "--data", images]
    steps: list[tuple[click.Command, list[Any]]] = [
        (train, ["vae", "--data", images, "--epochs", 40, "-o", model, "--overwrite"]),
        (encode, [*of_model, "-o", latents]),
        (fit, [latents, "-k", _N_CODES, "--stages", 3]),
        (reconstruct, [*of_model, "--codebook", codebook, "-o", rows]),
        (prior, [codes, "--codebook", codebook, "-o", folder / "prior", "--overwrite"]),
        (
            sample,
            ["--prior", folder / "prior", "--codebook", codebook, "--model", model, "-o", samples],
        ),
    ]
    for command, arguments in steps:
        _run(command, arguments, quiet=quiet)
    return [images, model, latents, codebook, codes, rows, folder / "prior", samples], {}


def _run(command: click.Command, arguments: list[Any], *, quiet: bool) -> None:
    """Run another command as the user would, who sees how it is called."""
    words = [str(argument) for argument in arguments]
    if not quiet:
        click.echo(f"\n$ geoquant {command.name} {shlex.join(words)}")
    shown = ["--format", "quiet" if quiet else "human"]
    command.main([*words, *shown], prog_name=f"geoquant {command.name}", standalone_mode=False)


def _accuracies(
    codes_path: Path, images: npt.NDArray[np.float64], digit: npt.NDArray[np.int64]
) -> dict[str, float]:
    import numpy as np
    from sklearn.cluster import KMeans

    from geoquant.quality import majority_vote_accuracy

    kmeans = KMeans(_N_CODES, n_init=10, random_state=0).fit_predict(images)
    named = {"geodesic": np.load(codes_path), "KMeans, n_init=10": kmeans}
    return {name: majority_vote_accuracy(c, digit, c, digit) for name, c in named.items()}


def _print_ways_on(folder: Path, *, with_vae: bool) -> None:
    """Commands to try next, that work as they stand."""
    name = "latents" if with_vae else "digits"
    latents, codebook = folder / f"{name}.npy", folder / f"{name}.codebook.safetensors"
    click.echo("\nTry next:")
    for words in (
        ["geoquant", "inspect", codebook],
        ["geoquant", "fit", latents, "-k", 64, "-o", folder / "more.codebook.safetensors"],
        [
            "geoquant",
            "compare",
            codebook,
            folder / "more.codebook.safetensors",
            "--latents",
            latents,
        ],
    ):
        click.echo("  " + shlex.join(str(word) for word in words))
