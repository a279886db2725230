"""``geoquant assign``: codes for new latents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from geoquant.cli.command import Command
from geoquant.cli.engines import (
    EngineOptions,
    engine_options,
    faults_of_shards,
    holds_shards,
    opened_engine,
    shards_at,
    taken_engine_options,
)
from geoquant.cli.fit_decoder import (
    images_of,
    model_options,
    refuse_images_without_model,
)
from geoquant.cli.options import (
    beside,
    check_outputs,
    going_on_later,
    key_option,
    latents_argument,
    load_latents,
    n_jobs_option,
    output_options,
)
from geoquant.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from geoquant.codebook import Codebook
    from geoquant.multistage import MultistageCodebook


@click.command(
    cls=Command,
    examples=[
        "geoquant assign new.npy --codebook latents.codebook.safetensors -o new.codes.npy",
    ],
)
@latents_argument
@click.option(
    "--codebook",
    "codebook_path",
    type=click.Path(path_type=Path),
    required=True,
    help="A file that `geoquant fit` wrote.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=None,
    help="Where the codes go [default: LATENTS with .codes.npy]. For shards, and with --engine "
    "dask, a folder: a file for each, and the same command goes on where it was stopped.",
)
@click.option(
    "--method",
    type=click.Choice(["geodesic", "euclidean"]),
    default="geodesic",
    show_default=True,
    help="geodesic: along the training latents; euclidean: nearest codeword.",
)
@model_options("Folder of a model: codes whose decoded images are best among the nearest.")
@key_option
@n_jobs_option
@engine_options(parts=False)
@output_options
def assign(
    latents_path: Path,
    codebook_path: Path,
    output: Path | None,
    method: Literal["geodesic", "euclidean"],
    model_path: Path | None,
    data: str | None,
    split: str | None,
    key: str | None,
    n_jobs: int | None,
    as_json: bool,
    quiet: bool,
    **engine: Any,
) -> None:
    """Give each latent in a file its code."""
    given = taken_engine_options(engine)
    if _goes_to_folder(latents_path, output, given):
        if model_path or data or split:
            raise click.BadParameter("is for codes in one file", param_hint="--model")
        summary = _assigned_shards(
            latents_path, codebook_path, output, method, key, n_jobs, given, as_json or quiet
        )
        _say(summary, as_json=as_json, quiet=quiet)
        return
    if output is not None and output.is_dir():
        raise click.BadParameter(
            f"{output} is a directory, a file name is missing", param_hint="--output"
        )
    refuse_images_without_model(model_path, data, split)
    images = None if model_path is None else (model_path, data, split)
    output = output or beside(latents_path, ".codes.npy")
    check_outputs([output], inputs=[latents_path, codebook_path])
    summary = _assigned_file(latents_path, codebook_path, output, method, key, n_jobs, images)
    _say(summary, as_json=as_json, quiet=quiet)


def _assigned_file(
    latents_path: Path,
    codebook_path: Path,
    output: Path,
    method: Literal["geodesic", "euclidean"],
    key: str | None,
    n_jobs: int | None,
    images: tuple[Path, str | None, str | None] | None,
) -> dict[str, Any]:
    """Write the codes of one file, and say how they are used."""
    from geoquant.files import write_npy
    from geoquant.multistage import MultistageCodebook, load_codebook

    codebook = load_codebook(codebook_path)
    has_stages = isinstance(codebook, MultistageCodebook)
    if has_stages and method != "geodesic":
        raise click.BadParameter(
            f"{codebook_path} has several stages, which say themselves how they assign",
            param_hint="--method",
        )
    latents = load_latents(latents_path, key)
    if latents.shape[1] != codebook.dim:
        raise click.BadParameter(
            f"{latents_path} has {latents.shape[1]} columns, the codebook {codebook.dim}",
            param_hint="--codebook",
        )
    options: dict[str, Any] = {"n_jobs": n_jobs} | ({} if has_stages else {"method": method})
    codes = codebook.assign(latents, **options)
    if images is not None:
        codes = _better_codes(codebook, codes, latents, images)
    write_npy(output, codes)
    if isinstance(codebook, MultistageCodebook):
        used = {"k": list(codebook.n_codes), **_use_of_stages(codes, codebook)}
    else:
        used = {"k": codebook.n_codes, **_use(codes, codebook.n_codes)}
    return {"n": len(codes), **used, "codes": str(output)}


def _say(summary: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **summary}))
    elif not quiet:
        click.echo(f"{_in_words(summary)}\ncodes     {summary['codes']}")


def _goes_to_folder(latents_path: Path, output: Path | None, engine: EngineOptions) -> bool:
    """Whether the codes of each file are to be a file of their own in a folder."""
    if engine.is_dask and output is not None and output.suffix == ".npy":
        raise click.BadParameter(
            f"{output} is the name of a file; with --engine dask codes go to a folder",
            param_hint="--output",
        )
    if holds_shards(latents_path):
        return engine.is_dask or (output is not None and output.suffix != ".npy")
    return engine.is_dask


def _assigned_shards(
    latents_path: Path,
    codebook_path: Path,
    output: Path | None,
    method: Literal["geodesic", "euclidean"],
    key: str | None,
    n_jobs: int | None,
    engine: EngineOptions,
    is_silent: bool,
) -> dict[str, Any]:
    """Assign shard by shard, and summarize all codes in the folder."""
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.distributed.assign import assign_shards

    folder = output or beside(latents_path, ".codes")
    check_outputs([folder], inputs=[latents_path, codebook_path])
    shards = shards_at(latents_path, key)
    with (
        ProgressBar(enabled=not is_silent) as progress,
        going_on_later(folder, "the same command goes on with the shards that are left"),
        opened_engine(engine, progress, n_jobs) as opened,
        faults_of_shards(shards),
    ):
        # Each worker is a core of its own.
        done = assign_shards(
            codebook_path, shards, folder, opened, method=method, n_jobs=n_jobs or 1
        )
    uses = [_use_of_counts(counts) for counts in done.counts]
    k = [len(counts) for counts in done.counts]
    is_one = len(k) == 1
    return {
        "n": shards.n_rows,
        "k": k[0] if is_one else k,
        **{name: uses[0][name] if is_one else [use[name] for use in uses] for name in uses[0]},
        "shards": len(done.paths),
        "shards_done_before": done.n_done_before,
        "codes": str(folder),
    }


def _use_of_counts(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    from geoquant import quality

    codes, k = range(len(counts)), len(counts)
    return {
        "usage": quality.usage(codes, k, counts),
        "perplexity": quality.perplexity(codes, k, counts),
    }


def _better_codes(
    codebook: Codebook | MultistageCodebook,
    codes: npt.NDArray[np.int32],
    latents: npt.NDArray[np.float32],
    target: tuple[Path, str | None, str | None],
) -> npt.NDArray[np.int32]:
    """Codes by the images that a model decodes of them."""
    from geoquant.torch import VAEAdapter, reassign

    model_path, data, split = target
    adapter = VAEAdapter.wrap(model_path)
    images = images_of(data, split, len(latents))
    try:
        return reassign(codebook, adapter, latents, images, codes=codes)
    except InputError as error:
        raise click.BadParameter(str(error), param_hint="--model") from error


def _use(codes: npt.NDArray[np.int32], n_codes: int) -> dict[str, Any]:
    from geoquant import quality

    return {
        "usage": quality.usage(codes, n_codes),
        "perplexity": quality.perplexity(codes, n_codes),
    }


def _use_of_stages(
    codes: npt.NDArray[np.int32], codebook: MultistageCodebook
) -> dict[str, list[float]]:
    uses = [_use(column, k) for column, k in zip(codes.T, codebook.n_codes, strict=True)]
    return {name: [use[name] for use in uses] for name in uses[0]}


def _in_words(summary: dict[str, Any]) -> str:
    if not isinstance(summary["k"], list):
        return (
            f"{summary['n']:,} codes, {summary['usage']:.1%} of {summary['k']} used, "
            f"perplexity {summary['perplexity']:.2f}"
        )
    columns = zip(summary["k"], summary["usage"], summary["perplexity"], strict=True)
    return "\n".join(
        [f"{summary['n']:,} x {len(summary['k'])} codes"]
        + [
            f"stage {m + 1}   {usage:.1%} of {k} used, perplexity {perplexity:.2f}"
            for m, (k, usage, perplexity) in enumerate(columns)
        ]
    )
