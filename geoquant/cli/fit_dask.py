"""``geoquant fit --engine dask``: a fit in partitions, at workers of Dask."""

from __future__ import annotations

import os
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.engines import (
    faults_of_shards,
    holds_shards,
    opened_engine,
    shards_at,
)
from geoquant.cli.options import check_outputs

if TYPE_CHECKING:
    from pathlib import Path

    from geoquant.cli.engines import EngineOptions
    from geoquant.codebook import Codebook
    from geoquant.distributed.fit import PartedFit
    from geoquant.distributed.shards import ShardSet

_PASSED_ON = (
    "codewords",
    "n_neighbors",
    "recall_target",
    "on_disconnected",
    "algorithm",
    "n_jobs",
)


def fit_with_dask(
    latents_path: Path,
    key: str | None,
    paths: tuple[Path, Path],
    options: dict[str, Any],
    engine_options: EngineOptions,
    *,
    anchors: int | None,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fit, write the codebook and the codes to `paths`, and say what came out."""
    from geoquant.cli.progress_bar import ProgressBar
    from geoquant.cli.summary import print_summary
    from geoquant.distributed.fit import fit_shards, write_codes
    from geoquant.distributed.scratch import Scratch
    from geoquant.distributed.summary import summarize_shards

    codebook_path, codes_path = paths
    if holds_shards(latents_path):
        codes_path = codes_path.with_suffix("")
    check_outputs([codebook_path, codes_path], inputs=[latents_path])
    shards = shards_at(latents_path, key)
    with faults_of_shards(shards):
        targets = code_files(shards, codes_path, latents_path)
    with (
        ProgressBar(enabled=not (quiet or as_json)) as progress,
        # Tasks that were cancelled may still write.
        TemporaryDirectory(
            prefix="geoquant-", dir=engine_options.scratch, ignore_cleanup_errors=True
        ) as folder,
        opened_engine(engine_options, progress, options["n_jobs"]) as engine,
        faults_of_shards(shards),
    ):
        fitted = fit_shards(
            shards,
            options["n_clusters"],
            engine,
            Scratch(os.path.abspath(folder)),
            n_partitions=engine_options.partitions,
            random_state=seed,
            progress=progress,
            **_passed_on(options, shards.n_rows),
        )
        written = write_codes(fitted, engine)
        summary = _summary(fitted, summarize_shards(fitted, written, engine, options["n_jobs"]))
        book = fitted.codebook if anchors is None else fitted.codebook.thinned(anchors)
        of_files = [[written[i][0] for i in numbers] for numbers in shards.by_source.values()]
        _write(book, codebook_path, dict(zip(targets, of_files, strict=True)))
    print_summary(summary, (latents_path, codebook_path, codes_path), as_json=as_json, quiet=quiet)


def _passed_on(options: dict[str, Any], n_rows: int) -> dict[str, Any]:
    """Options of the fit; those for graphs that are gathered only where one may be, or if given."""
    from geoquant.distributed.fit import GATHERED_NODES

    passed_on = {name: options[name] for name in _PASSED_ON}
    if n_rows <= GATHERED_NODES or options["n_init"] != 1:
        passed_on["n_init"] = options["n_init"]
    return passed_on


def code_files(shards: ShardSet, codes_path: Path, latents_path: Path) -> list[Path]:
    """Where the codes of each file go: into one file, or a folder that holds nothing else."""
    from geoquant.distributed.assign import names_of_codes

    if not holds_shards(latents_path):
        return [codes_path]
    targets = [codes_path / name for name in names_of_codes(shards)]
    if codes_path.is_dir():
        others = {path for path in codes_path.iterdir() if path.name[0] != "."} - {*targets}
        if others:
            raise click.BadParameter(
                f"{codes_path}, where the codes go, holds {min(others).name}, which is none of "
                "them; name another place, or remove it",
                param_hint="--output",
            )
    return targets


def _write(book: Codebook, codebook_path: Path, codes: dict[Path, list[str]]) -> None:
    """Write codebook and codes together; codes pass from file to file."""
    from geoquant.files import joined_npy_blocks, write_together
    from geoquant.latents import read_latents

    folder = min(codes).parent
    is_new = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        files: dict[Any, Any] = {
            target: joined_npy_blocks([read_latents(path) for path in paths])
            for target, paths in codes.items()
        }
        write_together({codebook_path: book.file_blocks(), **files})
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _summary(fitted: PartedFit, facts: dict[str, Any]) -> dict[str, Any]:
    """The same numbers as those of a fit in one process, in the same order."""
    from geoquant.cli.summary import peak_memory_mb

    nodes, clustering = fitted.nodes, fitted.clustering
    return {
        "n": nodes.offsets[-1],
        "d": nodes.width,
        "k": fitted.codebook.n_codes,
        "n_components": fitted.n_components,
        "graph_recall": fitted.graph.partition.recall,
        "energy": fitted.energy,
        "power": fitted.codebook.metadata["power"],
        "is_converged": clustering.is_converged,
        **facts,
        "seconds": {stage: round(s, 4) for stage, s in fitted.seconds.items()},
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
