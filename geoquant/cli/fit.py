"""``geoquant fit``: latents in, codebook and codes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geoquant.cli.command import Command
from geoquant.cli.engines import engine_options, refuse_with_dask, taken_engine_options
from geoquant.cli.fit_decoder import decoder_options, refitted, taken_decoder_options
from geoquant.cli.fit_stages import (
    CodeCounts,
    fit_in_stages,
    stage_options,
    taken_stage_options,
)
from geoquant.cli.options import (
    beside,
    check_outputs,
    going_on_after_stages,
    key_option,
    latents_argument,
    load_latents,
    max_memory_option,
    n_jobs_option,
    output_options,
    write_fitted,
)

_CODEBOOK_SUFFIX = ".codebook.safetensors"


class AlgorithmName(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """One of the algorithms there are; a type of its own so that they are looked up when needed."""

    name = "algorithm"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the name back, or fail listing the names there are."""
        from geoquant.clustering.kmedoids import ALGORITHMS

        return click.Choice(ALGORITHMS).convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """List the names in ``--help``."""
        from geoquant.clustering.kmedoids import ALGORITHMS

        return f"[{'|'.join(ALGORITHMS)}]"


def _default_algorithm() -> str:
    from inspect import signature

    from geoquant.clustering.kmedoids import geodesic_kmedoids

    return str(signature(geodesic_kmedoids).parameters["algorithm"].default)


@click.command(
    cls=Command,
    examples=[
        "geoquant fit latents.npy -k 64",
        "geoquant fit latents.npy -k 64 --estimate",
        "geoquant fit latents.npy -k 64 --stages 4 -o four.codebook.safetensors",
        "geoquant fit latents.npy -k 64 --codewords decoder --model runs/vae --data "
        "mnist -o decoded.codebook.safetensors",
    ],
)
@latents_argument
@click.option(
    "-k",
    "--n-clusters",
    type=CodeCounts(),
    required=True,
    help="Number of codes; for several stages one for all, or one each: 64,32,16.",
)
@click.option(
    "--codewords",
    type=click.Choice(["mean", "medoid", "decoder"]),
    default="mean",
    show_default=True,
    help="What a code decodes to: the mean of its cell (energy: squared distance), its medoid, or "
    "what a model's decoder makes the best images of.",
)
@click.option("--n-neighbors", type=click.IntRange(min=1), default=10, show_default=True)
@click.option(
    "--recall",
    "recall_target",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.995,
    show_default=True,
    help="Share of the true neighbours to find among very many latents; 1: exact.",
)
@click.option("--n-init", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--algorithm",
    type=AlgorithmName(),
    default=_default_algorithm,
    show_default="that of geodesic_kmedoids",
    help="swap: to a local optimum; auto: near one where that would take long; alternate: worse.",
)
@click.option(
    "--on-disconnected",
    type=click.Choice(["bridge", "raise"]),
    default="bridge",
    show_default=True,
    help="If the graph has several components.",
)
@click.option(
    "--anchors",
    type=click.IntRange(min=1),
    default=None,
    help="Latents kept in the codebook for assignment [default: all; fewer make it smaller].",
)
@stage_options
@decoder_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@key_option
@n_jobs_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help=f"The codebook file [default: LATENTS with {_CODEBOOK_SUFFIX}]; codes go beside it.",
)
@max_memory_option
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="A folder in which every stage is kept until codebook and codes are written.",
)
@click.option("--resume", is_flag=True, help="Go on from what a stopped fit left in --checkpoint.")
@click.option(
    "--estimate",
    "estimates",
    is_flag=True,
    help="Say what memory and time the fit would take, and do not begin it.",
)
@engine_options(parts=True)
@output_options
def fit(
    latents_path: Path,
    anchors: int | None,
    seed: int,
    key: str | None,
    output: Path | None,
    estimates: bool,
    checkpoint: Path | None,
    resume: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Make a codebook of the latents in a file.

    Of .npy, .npz, .safetensors, .pt, Parquet, Arrow, HDF5 (file.h5::/path) or Zarr, or a folder of
    such files or a list of them (.json, .txt), here or at an address; one latent a row.
    """
    codebook_path = output or beside(latents_path, _CODEBOOK_SUFFIX)
    codes_path = codes_beside(codebook_path)
    stages = taken_stage_options(options)
    decoder = taken_decoder_options(options)
    engine = taken_engine_options(options)
    for_one_stage = {"--estimate": estimates, "--anchors": anchors}
    _check_together(bool(stages), decoder, for_one_stage)
    if resume and checkpoint is None:
        raise click.BadParameter(
            "needs --checkpoint, the folder of the stopped fit", param_hint="--resume"
        )
    where = (latents_path, key, (codebook_path, codes_path))
    said: dict[str, Any] = {"seed": seed, "as_json": as_json, "quiet": quiet}
    kept = {"checkpoint": checkpoint, "resume": resume}
    if engine.is_dask:
        unheeded = {"--stages": stages, "--codewords": decoder, "--estimate": estimates}
        limits = {"--max-memory": options["max_memory"], "--checkpoint": checkpoint}
        refuse_with_dask(engine, unheeded | limits)
        from geoquant.cli.fit_dask import fit_with_dask

        fit_with_dask(*where, options, engine, anchors=anchors, **said)
    elif stages:
        fit_in_stages(*where, options | kept, stages, decoder, **said)
    elif estimates:
        from geoquant.cli.fit_estimate import print_estimate

        print_estimate(latents_path, key, options, as_json=as_json)
    else:
        fit_in_one_stage(*where, options | kept, decoder, anchors=anchors, **said)


def _check_together(
    has_stages: bool, decoder: dict[str, Any] | None, for_one_stage: dict[str, Any]
) -> None:
    """Refuse options that do not go together; of one stage, a decoder's rounds are taken out."""
    if decoder is not None and not has_stages and decoder.pop("n_rounds") is not None:
        raise click.BadParameter(
            "is for several stages; codes of one follow the graph, and `geoquant assign --model` "
            "looks for better ones",
            param_hint="--rounds",
        )
    if decoder is not None and for_one_stage["--estimate"]:
        raise click.BadParameter(
            "does not count what a decoder takes; leave one of the two out",
            param_hint="--estimate",
        )
    for hint, value in for_one_stage.items():
        if has_stages and value:
            raise click.BadParameter("is for a fit of one stage; leave it out", param_hint=hint)


def fit_in_one_stage(
    latents_path: Path,
    key: str | None,
    paths: tuple[Path, Path],
    options: dict[str, Any],
    decoder: dict[str, Any] | None,
    *,
    anchors: int | None,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fit, write the codebook and the codes to `paths`, and say what came out."""
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.cli.summary import print_summary, summarize
    from geoquant.fit import fit_codebook, require_fit_memory
    from geoquant.latents import latents_shape

    _codebook_path, _codes_path = paths
    check_outputs(paths, inputs=[latents_path])
    shape = latents_shape(latents_path, key)
    if len(shape) == 2 and min(shape) > 0:  # otherwise the reader says what is wrong
        limits = ("n_neighbors", "recall_target", "max_memory", "n_jobs")
        require_fit_memory(*shape, n_copied=shape[0], **{name: options[name] for name in limits})
    latents = load_latents(latents_path, key)
    going_on, options = going_on_after_stages(options)
    with going_on, ProgressBar(enabled=not (quiet or as_json)) as progress:
        fitted = fit_codebook(latents, random_state=seed, progress=progress, **options)
        if decoder is not None:
            fitted = refitted(fitted, latents, decoder, n_rounds=0, seed=seed, progress=progress)
    codebook = fitted.codebook if anchors is None else fitted.codebook.thinned(anchors)
    summary = summarize(fitted, latents, options["n_jobs"])
    write_fitted(paths, codebook, fitted.codes, options["checkpoint"])
    print_summary(summary, (latents_path, *paths), as_json=as_json, quiet=quiet)


def codes_beside(codebook_path: Path) -> Path:
    """Where the codes of a codebook are put."""
    name = codebook_path.name
    if not name:
        raise click.BadParameter("a file name is missing", param_hint="--output")
    stem = name.removesuffix(_CODEBOOK_SUFFIX) if name.endswith(_CODEBOOK_SUFFIX) else name
    return codebook_path.with_name(stem + ".codes.npy")
