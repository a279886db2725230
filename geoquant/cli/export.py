"""``geoquant export``: latents, codes and codebooks for other programs."""

from __future__ import annotations

import json
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.command import Command
from geoquant.cli.fit_decoder import image_set_of, model_options
from geoquant.cli.options import (
    check_outputs,
    key_option,
    load_latents,
    n_jobs_option,
    output_options,
)
from geoquant.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt
    from diffusers import VQModel

    from geoquant.codebook import Codebook
    from geoquant.export import LatentTable
    from geoquant.export.table import Images
    from geoquant.multistage import MultistageCodebook
    from geoquant.torch import VAEAdapter

    AnyCodebook = Codebook | MultistageCodebook

_MODULES = ("vector-quantize-pytorch", "diffusers")
_FORMATS = ("parquet", "projector", *_MODULES, "folder")
_OF_ROWS = ("parquet", "projector")
#: Which formats an option is for; those not listed are for all.
_USES = {
    "latents_path": (*_OF_ROWS, *_MODULES),
    "key": (*_OF_ROWS, *_MODULES),
    "labels_path": _OF_ROWS,
    "images_path": _OF_ROWS,
    "data": _OF_ROWS,
    "split": _OF_ROWS,
    "model_path": (*_OF_ROWS, "diffusers"),
    "map_of": ("parquet",),
    "n_neighbors": ("parquet",),
}
_N_NEIGHBORS = 15


@click.command(
    cls=Command,
    examples=[
        "geoquant export latents.codebook.safetensors --to parquet --latents latents.npy "
        "--data mnist -o latents.parquet",
        "geoquant export latents.codebook.safetensors --to projector --latents new.npy "
        "--labels new.labels.npy -o projector",
        "geoquant export latents.codebook.safetensors --to vector-quantize-pytorch -o module",
        "geoquant export latents.codebook.safetensors --to diffusers -o quantizer",
        "geoquant export latents.codebook.safetensors --to folder -o shared",
    ],
)
@click.argument("codebook_path", metavar="CODEBOOK", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "kind",
    type=click.Choice(_FORMATS),
    required=True,
    help="parquet: a row for each latent, for viewers such as Embedding Atlas; projector: a folder "
    "for TensorBoard and the Embedding Projector; vector-quantize-pytorch, diffusers: a folder "
    "with their module; folder: config, safetensors and model card, to share.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The file of parquet; else a folder.",
)
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds something already.")
@click.option(
    "--latents",
    "latents_path",
    type=click.Path(path_type=Path),
    default=None,
    help="Latents to show; of modules, those to count on which codes become others [default: "
    "those that the codebook keeps].",
)
@key_option
@click.option(
    "--labels",
    "labels_path",
    type=click.Path(path_type=Path),
    default=None,
    help="A label for each latent: an .npy of numbers, or a .txt with one in each line.",
)
@click.option(
    "--images",
    "images_path",
    type=click.Path(path_type=Path),
    default=None,
    help="An .npy with an image of each latent, as thumbnails; --data reads more.",
)
@model_options(
    "Folder of a model: thumbnails are what it decodes of the latents; of diffusers, the VQModel "
    "that gets the codewords."
)
@click.option(
    "--map",
    "map_of",
    default=None,
    show_default="geodesic",
    help="How parquet gets x and y: geodesic, pca, or an .npy with two numbers for each latent.",
)
@click.option(
    "--neighbors",
    "n_neighbors",
    type=click.IntRange(min=0),
    default=None,
    show_default=str(_N_NEIGHBORS),
    help="Nearest latents that parquet has for each.",
)
@n_jobs_option
@output_options
def export(
    codebook_path: Path,
    kind: str,
    output: Path,
    overwrite: bool,
    n_jobs: int | None,
    as_json: bool,
    quiet: bool,
    **asked: Any,
) -> None:
    """Write codes or a codebook for other programs."""
    from geoquant.multistage import load_codebook

    _check_asked(kind, asked)
    inputs = [codebook_path, *(value for value in asked.values() if isinstance(value, Path))]
    check_outputs([output], inputs=inputs)
    _check_kind_of_output(kind, output, overwrite=overwrite)
    book = load_codebook(codebook_path)
    if kind in _OF_ROWS:
        table = _table(book, kind, asked, n_jobs, quiet=as_json or quiet)
        facts = _write_rows(kind, output, table)
    elif kind in _MODULES:
        facts = _write_module(kind, output, book, asked, n_jobs)
    else:
        facts = _write_folder(output, book)
    if as_json:
        facts.pop("words")
        click.echo(json.dumps({"schema_version": 1, "to": kind, **facts, "output": str(output)}))
    elif not quiet:
        click.echo("\n".join([*facts["words"], f"{kind}: {output}"]))


def _check_asked(kind: str, asked: dict[str, Any]) -> None:
    """Refuse options that would go unheeded."""
    context = click.get_current_context()
    hints = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for name, kinds in _USES.items():
        if asked[name] is not None and kind not in kinds:
            raise click.BadParameter(f"is for --to {', '.join(kinds)}", param_hint=hints[name])
    if asked["key"] is not None and asked["latents_path"] is None:
        raise click.BadParameter("names an array of --latents; give that too", param_hint="--key")
    names = ("images_path", "data", "model_path")
    given = [hints[name] for name in names if asked[name] is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} each say what the images are; give one")


def _check_kind_of_output(kind: str, output: Path, *, overwrite: bool) -> None:
    """Fail before the work: a folder in the way of a file, or something that would be lost."""
    if kind == "parquet":
        if output.is_dir():
            raise click.BadParameter(f"{output} is a folder; name a file", param_hint="--output")
        return
    if output.exists() and not output.is_dir():
        raise click.BadParameter(f"{output} is a file; name a folder", param_hint="--output")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise click.BadParameter(
            f"{output} holds something already; name another folder, or give --overwrite",
            param_hint="--output",
        )


# --------------------------------------------------------------------------------- rows of latents


def _table(
    book: AnyCodebook, kind: str, asked: dict[str, Any], n_jobs: int | None, *, quiet: bool
) -> LatentTable:
    """What is known of the latents, as far as the format takes it."""
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.export import latent_table
    from geoquant.export.parquet import load_pyarrow

    is_parquet = kind == "parquet"
    if is_parquet:
        load_pyarrow()  # fails before the work, not after it
    given = _latents(book, asked)
    shown = _anchors(book) if given is None else given
    n_neighbors = _N_NEIGHBORS if asked["n_neighbors"] is None else asked["n_neighbors"]
    with ProgressBar(enabled=not quiet) as progress, _errors_name_options():
        return latent_table(
            book,
            given,
            labels=_labels(asked["labels_path"]),
            images=_images(asked, shown),
            plane=_plane(asked["map_of"]) if is_parquet else None,
            n_neighbors=n_neighbors if is_parquet else 0,
            n_jobs=n_jobs,
            progress=progress,
        )


def _latents(book: AnyCodebook, asked: dict[str, Any]) -> npt.NDArray[np.float32] | None:
    path = asked["latents_path"]
    if path is None:
        return None
    latents = load_latents(path, asked["key"])
    if latents.shape[1] != book.dim:
        raise click.BadParameter(
            f"{path} has {latents.shape[1]} columns, the codebook {book.dim}",
            param_hint="--latents",
        )
    return latents


def _anchors(book: AnyCodebook) -> npt.NDArray[np.float32]:
    """The latents that a codebook keeps."""
    from geoquant.codebook import Codebook

    if not isinstance(book, Codebook):
        raise click.BadParameter(
            "is missing; a codebook of stages keeps none", param_hint="--latents"
        )
    return book.anchors


@contextmanager
def _errors_name_options() -> Iterator[None]:
    """What is wrong with an argument is said of the option that it came from."""
    options = {"labels": "--labels", "images": "--images", "plane": "--map"}
    try:
        yield
    except InputError as error:
        name = str(error).partition(" ")[0]
        if name not in options:
            raise
        raise click.BadParameter(str(error), param_hint=options[name]) from error


def _labels(path: Path | None) -> Any:
    from geoquant.files import open_regular
    from geoquant.latents import read_latents

    if path is None:
        return None
    if path.suffix.lower() != ".txt":
        return read_latents(path, mapped=False)
    with open_regular(path) as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FileFormatError(f"{path}: is not text in UTF-8: {error}; save it anew") from error
    # Not splitlines(), for which half a dozen other characters end a line.
    lines = text.removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


def _images(asked: dict[str, Any], latents: npt.NDArray[np.float32]) -> Images | None:
    """Images as they are named: a file, a set of data, or what a model decodes."""
    from geoquant.latents import read_latents

    if asked["images_path"] is not None:
        found: Images = read_latents(asked["images_path"], mapped=False)
        return found
    if asked["model_path"] is not None:
        from geoquant.torch import VAEAdapter

        return _Decoded(VAEAdapter.wrap(asked["model_path"]), latents)
    data = image_set_of(asked["data"], asked["split"], len(latents))
    return None if data is None else data.pixels


class _Decoded:
    """Images that a model decodes of latents when they are asked for."""

    def __init__(self, adapter: VAEAdapter, latents: npt.NDArray[np.float32]) -> None:
        self._adapter, self._latents = adapter, latents

    def __len__(self) -> int:
        return len(self._latents)

    def __getitem__(self, rows: Any, /) -> Any:
        return self._adapter.decode_array(self._latents[rows])


def _plane(map_of: str | None) -> Any:
    if map_of in (None, "geodesic", "pca"):
        return map_of or "geodesic"
    if Path(map_of).suffix.lower() != ".npy":
        raise click.BadParameter(
            f"must be geodesic, pca or an .npy, found {map_of}", param_hint="--map"
        )
    return load_latents(Path(map_of), None)


def _write_rows(kind: str, output: Path, table: LatentTable) -> dict[str, Any]:
    from geoquant.export import write_parquet, write_projector

    if kind == "projector":
        shown = write_projector(output, table)
        return {
            "n": shown.n,
            "n_shown": shown.n_shown,
            "distance": table.unit,
            "words": _words_of_projector(shown.n, shown.n_shown, output),
        }
    write_parquet(output, table)
    columns = table.columns()
    look = f"embedding-atlas {shlex.quote(str(output))} --x x --y y"
    look += "".join(f" --{name} {name}" for name in ("neighbors", "image") if name in columns)
    return {
        "n": len(table),
        "columns": columns,
        "distance": table.unit,
        "words": [
            f"{len(table):,} latents with {', '.join(columns)}",
            f"distance: {table.unit}",
            f"to look at it: {look}",
        ],
    }


def _words_of_projector(n: int, n_shown: int, output: Path) -> list[str]:
    part = "" if n_shown == n else f" of {n:,}, a random part: more images have no room in a sprite"
    look = f"to look at it: tensorboard --logdir {shlex.quote(str(output))}"
    return [f"{n_shown:,} latents{part}", look]


# ------------------------------------------------------------------------- modules and codebooks


def _write_module(
    kind: str, output: Path, book: AnyCodebook, asked: dict[str, Any], n_jobs: int | None
) -> dict[str, Any]:
    from geoquant.codebook import Codebook
    from geoquant.torch import share_of_other_codes
    from geoquant.torch.exchange_folders import write_diffusers, write_vector_quantize_pytorch

    latents = _latents(book, asked)
    share = None
    if latents is not None or isinstance(book, Codebook):
        share = share_of_other_codes(book, latents, n_jobs=n_jobs)
    if kind == "diffusers":
        model = _vq_model(asked["model_path"])
        write_diffusers(output, book, model, share_of_others=share)  # type: ignore[arg-type]
    else:
        write_vector_quantize_pytorch(output, book, share_of_others=share)
    return {
        "share_of_other_codes": share,
        "words": [_words_of_share(share), f"how to load it: {output / 'README.md'}"],
    }


def _words_of_share(share: float | None) -> str:
    how = "it assigns by the straight distance to codewords, not along the data"
    if share is None:
        return f"{how}; --latents says how many codes become others"
    return f"{share:.1%} of the latents get another code from it: {how}"


def _vq_model(path: Path | None) -> VQModel | None:
    """A model of diffusers in a folder; nothing is unpickled and nothing fetched."""
    from geoquant.torch.exchange_folders import load_vq_model

    return None if path is None else load_vq_model(path)


def _write_folder(output: Path, book: AnyCodebook) -> dict[str, Any]:
    from geoquant.export import write_codebook_folder

    write_codebook_folder(output, book)
    return {"words": [f"to load it: geoquant.load_codebook({str(output)!r})"]}
