"""``geoquant demo``: the whole way on data that scikit-learn brings along."""

from __future__ import annotations

import json
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from geoquant.cli.command import Command
from geoquant.cli.encode import encode
from geoquant.cli.explore import explore
from geoquant.cli.fit import fit
from geoquant.cli.options import output_options
from geoquant.cli.prior import prior
from geoquant.cli.reconstruct import reconstruct
from geoquant.cli.report import report
from geoquant.cli.sample import sample
from geoquant.cli.train import train

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
    make = _digits_of_a_vae if with_vae else _digits_themselves
    written = make(output, load_digits(), quiet=quiet or as_json)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "files": [str(file) for file in written]}))
    elif not quiet:
        _print_ways_on(output, with_vae=with_vae)


def _digits_themselves(folder: Path, digits: Any, *, quiet: bool) -> list[Path]:
    """Latents that are the images: every code can be seen without a decoder."""
    from geoquant.files import write_npy

    latents = folder / "digits.npy"
    write_npy(latents, (digits.data / digits.data.max()).astype("float32"))
    if not quiet:
        click.echo(f"latents   {latents}  (the 8 x 8 images themselves)")
    _run(fit, [latents, "-k", _N_CODES], quiet=quiet)
    codebook, codes = folder / "digits.codebook.safetensors", folder / "digits.codes.npy"
    labels, page = folder / "digits.labels.npy", folder / "explorer.html"
    write_npy(labels, digits.target)
    of_digits = [codebook, "--latents", latents, "--labels", labels, "--pixels", "8x8"]
    _run(explore, [*of_digits, "-o", page], quiet=quiet)
    written = [latents, labels, codebook, codes, page]
    if find_spec("matplotlib") is not None:
        _run(report, [*of_digits, "-o", folder / "report.html"], quiet=quiet)
        return [*written, folder / "report.html"]
    if not quiet:
        click.echo("\nno report: it is drawn with matplotlib; pip install 'geoquant[plot]'")
    return written


def _digits_of_a_vae(folder: Path, digits: Any, *, quiet: bool) -> list[Path]:
    """A VAE, several codes for each of its latents, a prior of them, and images drawn from it."""
    import numpy as np

    from geoquant.files import write_npy

    images = folder / "digits.npy"
    pixels = np.rint(digits.images / digits.images.max() * 255).astype(np.uint8)
    write_npy(images, pixels)
    model, latents = folder / "vae", folder / "latents.npy"
    codebook, codes = folder / "latents.codebook.safetensors", folder / "latents.codes.npy"
    rows, samples, page = folder / "rows.png", folder / "samples.png", folder / "report.html"
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
        (report, [codebook, "--latents", latents, *of_model, "-o", page]),
    ]
    for command, arguments in steps:
        _run(command, arguments, quiet=quiet)
    return [images, model, latents, codebook, codes, rows, folder / "prior", samples, page]


def _run(command: click.Command, arguments: list[Any], *, quiet: bool) -> None:
    """Run another command as the user would, who sees how it is called."""
    words = [str(argument) for argument in arguments]
    if not quiet:
        click.echo(f"\n$ geoquant {command.name} {shlex.join(words)}")
    shown = ["--format", "quiet" if quiet else "human"]
    command.main([*words, *shown], prog_name=f"geoquant {command.name}", standalone_mode=False)


def _print_ways_on(folder: Path, *, with_vae: bool) -> None:
    """Commands to try next, that work as they stand."""
    name = "latents" if with_vae else "digits"
    latents, codebook = folder / f"{name}.npy", folder / f"{name}.codebook.safetensors"
    more = folder / "more.codebook.safetensors"
    click.echo("\nTry next:")
    for words in (
        ["geoquant", "fit", latents, "-k", 64, "-o", more],
        ["geoquant", "compare", codebook, more, "--latents", latents],
        ["geoquant", "export", codebook, "--to", "folder", "-o", folder / "to-share"],
    ):
        click.echo("  " + shlex.join(str(word) for word in words))
