"""``geoquant prior``: a prior over the codes of a data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from geoquant.cli.command import Command
from geoquant.cli.options import (
    going_on_later,
    load_codes,
    new_model_folder,
    output_options,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@click.command(
    cls=Command,
    examples=[
        "geoquant prior latents.codes.npy --codebook latents.codebook.safetensors -o runs/prior",
    ],
)
@click.argument("codes_path", metavar="CODES", type=click.Path(path_type=Path))
@click.option(
    "--codebook",
    "codebook_path",
    type=click.Path(path_type=Path),
    required=True,
    help="What the codes are of; says how many there are.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The folder of the prior. A run that was interrupted goes on from what is there.",
)
@click.option("--overwrite", is_flag=True, help="Replace a prior that is there.")
@click.option(
    "--test-codes",
    "test_path",
    type=click.Path(path_type=Path),
    default=None,
    help="Codes to measure on [default: the last tenth of CODES, which is then not trained on].",
)
@click.option(
    "--labels",
    "labels_path",
    type=click.Path(path_type=Path),
    default=None,
    help="An .npy of classes, one for each image: the prior can then be asked for a class.",
)
@click.option(
    "--window",
    type=click.IntRange(min=2),
    default=None,
    help="Learn this many consecutive images as one sequence, as the paper does [default: each "
    "image's own codes].",
)
@click.option("--embedding-dim", type=click.IntRange(min=1), default=64, show_default=True)
@click.option("--hidden-dim", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=15, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=3e-3,
    show_default=True,
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@output_options
def prior(
    codes_path: Path,
    codebook_path: Path,
    output: Path,
    overwrite: bool,
    test_path: Path | None,
    labels_path: Path | None,
    window: int | None,
    embedding_dim: int,
    hidden_dim: int,
    seed: int,
    as_json: bool,
    quiet: bool,
    **training: Any,
) -> None:
    """Learn which codes go together.

    And how many nats the codes of an image cost.
    """
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.multistage import MultistageCodebook, load_codebook
    from geoquant.torch import GRUPrior, mean_nats, seeded, train_prior

    checkpoint = new_model_folder(output, overwrite=overwrite)
    book = load_codebook(codebook_path)
    n_codes = book.n_codes if isinstance(book, MultistageCodebook) else (book.n_codes,)
    data = _read(codes_path, test_path, labels_path, n_codes)
    if window is not None:
        data = _in_windows(data, window)
    with seeded(seed):
        model = GRUPrior(
            n_codes if window is None else n_codes[0],
            data.codes.shape[1],
            embedding_dim=embedding_dim,
            hidden_dim=hidden_dim,
            n_classes=data.n_classes,
            positional=window is None,
        )
    bar = ProgressBar(enabled=not (quiet or as_json))
    with going_on_later(checkpoint), bar as progress:
        train_prior(
            model,
            data.codes,
            labels=data.labels,
            random_state=seed,
            checkpoint=checkpoint,
            progress=progress,
            **training,
        )
    nats = mean_nats(model, data.test, labels=data.test_labels)
    model.save_pretrained(output)
    checkpoint.unlink()
    facts = {
        "sequences": len(data.codes),
        "test_sequences": len(data.test),
        "length": data.codes.shape[1],
        "nats_per_token": float(nats.mean()),
        "nats_per_sequence": float(nats.sum()),
        "nats_of_positions": nats.tolist(),
    }
    _say(facts, output, as_json=as_json, quiet=quiet)


class _Data(NamedTuple):
    """Codes (n, L) and classes (n,) to train on, and to measure on."""

    codes: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None = None
    test_labels: npt.NDArray[np.int64] | None = None

    @property
    def n_classes(self) -> int | None:
        """Classes there are; None without labels."""
        parts = [part for part in (self.labels, self.test_labels) if part is not None]
        return 1 + max(int(part.max()) for part in parts) if parts else None


def _read(
    codes_path: Path, test_path: Path | None, labels_path: Path | None, n_codes: tuple[int, ...]
) -> _Data:
    codes, test = _both_parts(codes_path, test_path, n_codes)
    if labels_path is None:
        return _Data(codes, test)
    labels = _labels_of_parts(labels_path, test_path, len(codes), len(test))
    return _Data(codes, test, *labels)


def _both_parts(
    path: Path, test_path: Path | None, n_codes: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Codes to train on and to measure on, both (n, M)."""
    codes = load_codes(path, n_codes)
    if test_path is not None:
        return codes, load_codes(test_path, n_codes)
    n_test = len(codes) // 10
    if n_test == 0:
        raise click.BadParameter(
            f"{path} has {len(codes)} rows, too few to hold a tenth back; give some to measure on",
            param_hint="--test-codes",
        )
    return codes[:-n_test], codes[-n_test:]


def _labels_of_parts(
    path: Path, test_path: Path | None, n_train: int, n_test: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    from geoquant.cli.options import load_labels

    if test_path is not None:
        raise click.BadParameter(
            "is for codes of one file; leave --test-codes out, and a tenth of CODES is measured on",
            param_hint="--labels",
        )
    labels = load_labels(path, n_train + n_test)
    return labels[:n_train], labels[n_train:]


def _in_windows(data: _Data, window: int) -> _Data:
    from geoquant.torch import windows

    if data.codes.shape[1] != 1 or data.labels is not None:
        raise click.BadParameter(
            "is for one code an image, and without --labels", param_hint="--window"
        )
    return _Data(windows(data.codes[:, 0], window), windows(data.test[:, 0], window))


def _say(facts: dict[str, Any], output: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts, "prior": str(output)}))
    elif not quiet:
        click.echo(
            f"{facts['test_sequences']:,} sequences of {facts['length']} codes not trained on: "
            f"{facts['nats_per_sequence']:.2f} nats each, {facts['nats_per_token']:.3f} a code"
        )
        click.echo(f"prior     {output}")
