"""``geoquant compare``: what two codebooks make of the same latents."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.fit_decoder import (
    images_of,
    model_options,
    refuse_images_without_model,
)
from geoquant.cli.options import (
    key_option,
    labels_option,
    latents_option,
    load_labels,
    load_latents,
    n_jobs_option,
    output_options,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from geoquant.codebook import Codebook
    from geoquant.multistage import MultistageCodebook

    AnyCodebook = Codebook | MultistageCodebook


@click.command(
    cls=Command,
    examples=[
        "geoquant compare latents.codebook.safetensors four.codebook.safetensors --latents new.npy",
        "geoquant compare latents.codebook.safetensors decoded.codebook.safetensors "
        "--latents new.npy --model runs/vae",
    ],
)
@click.argument("first_path", metavar="CODEBOOK", type=click.Path(path_type=Path))
@click.argument("second_path", metavar="CODEBOOK", type=click.Path(path_type=Path))
@latents_option("Latents that both give codes to.")
@labels_option(": how far do codes agree with them?")
@model_options("Folder of the model of the latents: compare what it decodes of the codes.")
@key_option
@n_jobs_option
@output_options
def compare(
    first_path: Path,
    second_path: Path,
    latents_path: Path,
    labels_path: Path | None,
    model_path: Path | None,
    data: str | None,
    split: str | None,
    key: str | None,
    n_jobs: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show two codebooks side by side on the same latents.

    Use, error, and how far their codes agree.
    """
    refuse_images_without_model(model_path, data, split)
    latents = load_latents(latents_path, key)
    books = [_codebook_for(path, latents) for path in (first_path, second_path)]
    codes = [book.assign(latents, n_jobs=n_jobs) for book in books]
    labels = None if labels_path is None else load_labels(labels_path, len(latents))
    facts = [_facts(book, c, latents, labels) for book, c in zip(books, codes, strict=True)]
    if model_path is not None:
        words = [book.lookup(c) for book, c in zip(books, codes, strict=True)]
        errors = _image_errors(words, latents, model_path, data, split)
        for fact, error in zip(facts, errors, strict=True):
            fact["mean_squared_image_error"] = error
    agreement = {"n": len(latents), "adjusted_rand": _adjusted_rand(*codes)}
    if as_json:
        named = {"first": {"codebook": str(first_path)} | facts[0]}
        named |= {"second": {"codebook": str(second_path)} | facts[1]}
        click.echo(json.dumps({"schema_version": 1, **agreement, **named}))
    elif not quiet:
        _print_table((first_path, second_path), facts, agreement)


def _codebook_for(path: Path, latents: npt.NDArray[np.float32]) -> AnyCodebook:
    from geoquant.multistage import load_codebook

    book = load_codebook(path)
    if book.dim != latents.shape[1]:
        raise click.BadParameter(
            f"{path} is of {book.dim} columns, the latents have {latents.shape[1]}",
            param_hint="CODEBOOK",
        )
    return book


def _facts(
    book: AnyCodebook,
    codes: npt.NDArray[np.int32],
    latents: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
) -> dict[str, Any]:
    """Numbers of one codebook; codes of several stages count as the tuples that they are."""
    import numpy as np

    from geoquant import quality

    single = _single_codes(codes)
    counts = book.n_codes if isinstance(book.n_codes, tuple) else (book.n_codes,)
    n_used = int(single.max()) + 1
    facts: dict[str, Any] = {
        "k": list(counts) if len(counts) > 1 else counts[0],
        "codes_used": n_used,
        "usage": n_used / math.prod(counts),
        "perplexity": quality.perplexity(single, n_used),
        # Each latent beside its own row of what its code, or codes, stand for.
        "euclidean_distortion": quality.euclidean_distortion(
            latents, book.lookup(codes), np.arange(len(latents))
        ),
    }
    if labels is not None:
        facts["adjusted_rand_with_labels"] = _adjusted_rand(single, labels)
    return facts


def _single_codes(codes: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """One number for each distinct code or tuple of codes, from 0 on without gaps."""
    import numpy as np

    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)


def _adjusted_rand(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(_single_codes(first), _single_codes(second)))


def _image_errors(
    codewords: list[npt.NDArray[np.float32]],
    latents: npt.NDArray[np.float32],
    model_path: Path,
    data: str | None,
    split: str | None,
) -> list[float]:
    """Mean squared error of a pixel, beside the images or what the model decodes of the latents."""
    import numpy as np

    from geoquant.torch import VAEAdapter

    adapter = VAEAdapter.wrap(model_path)
    images = images_of(data, split, len(latents))
    expected = adapter.decode_array(latents) if images is None else images.numpy()
    return [float(np.square(adapter.decode_array(words) - expected).mean()) for words in codewords]


def _print_table(
    paths: tuple[Path, Path], facts: list[dict[str, Any]], agreement: dict[str, Any]
) -> None:
    rows = {"": [path.name for path in paths]}
    rows |= {name.replace("_", " "): [_shown(fact[name]) for fact in facts] for name in facts[0]}
    widths = [max(map(len, rows)), *(max(len(row[i]) for row in rows.values()) for i in (0, 1))]
    for name, (first, second) in rows.items():
        click.echo(f"{name:<{widths[0]}}  {first:>{widths[1]}}  {second:>{widths[2]}}")
    click.echo(
        f"agreement of the codes of {agreement['n']:,} latents (adjusted Rand, 1 is the same): "
        f"{agreement['adjusted_rand']:.3f}"
    )


def _shown(value: Any) -> str:
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
