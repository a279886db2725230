"""The options that say where the tasks of a command are computed, and the shards they read."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geoquant.cli.options import ByteCount
from geoquant.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from geoquant.distributed.engine import Engine
    from geoquant.distributed.shards import ShardSet
    from geoquant.progress import Progress

_FOR_DASK = ("workers", "scheduler", "scratch", "partitions", "memory_limit")


@dataclass(frozen=True)
class EngineOptions:
    """What was given of the options of `engine_options`."""

    engine: str
    workers: int | None
    scheduler: str | None
    memory_limit: int | None
    scratch: Path | None = None
    partitions: int | None = None

    @property
    def is_dask(self) -> bool:
        """Whether Dask is asked for."""
        return self.engine == "dask"


def engine_options(*, parts: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that say where tasks are computed, and perhaps into what they are cut."""
    options = [
        click.option(
            "--engine",
            type=click.Choice(["local", "dask"]),
            default="local",
            show_default=True,
            help="Compute in this process, or at workers of Dask, shard by shard; the options "
            "below are for dask.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            default=None,
            help="Processes to start on this machine [default: one for each core].",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            default=None,
            help="Use the workers of a cluster that runs already: tls://host:8786.",
        ),
        click.option(
            "--memory-limit",
            type=ByteCount(),
            default=None,
            help="Memory of each worker, such as 3GB [default: its share of the machine's].",
        ),
    ]
    if parts:
        options += [
            click.option(
                "--scratch",
                type=click.Path(path_type=Path, file_okay=False, exists=True, writable=True),
                default=None,
                help="A folder that all workers see, for arrays on the way [default: temporary].",
            ),
            click.option(
                "--partitions",
                type=click.IntRange(min=1),
                default=None,
                help="Into how many parts the graph is cut [default: 8, or one for each 500 000 "
                "latents].",
            ),
        ]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def taken_engine_options(options: dict[str, Any]) -> EngineOptions:
    """Take the options of the engine out of those of a command, and check them together."""
    names = [name for name in ("engine", *_FOR_DASK) if name in options]
    given = EngineOptions(**{name: options.pop(name) for name in names})
    for name in _FOR_DASK:
        if getattr(given, name) is not None and not given.is_dask:
            raise click.BadParameter("is for --engine dask", param_hint=_hint(name))
    if given.scheduler is not None:
        for name in ("workers", "memory_limit"):
            if getattr(given, name) is not None:
                raise click.BadParameter(
                    "is for workers on this machine; those of --scheduler have their own",
                    param_hint=_hint(name),
                )
        if "scratch" in names and given.scratch is None:
            raise click.BadParameter(
                "is needed with --scheduler: a folder that all its workers see",
                param_hint="--scratch",
            )
    return given


def refuse_with_dask(given: EngineOptions, others: dict[str, Any]) -> None:
    """Refuse options that a command has no use for with ``--engine dask``."""
    for hint, value in others.items():
        if given.is_dask and value:
            raise click.BadParameter("goes with --engine local only", param_hint=hint)


def _hint(name: str) -> str:
    return "--" + name.replace("_", "-")


@contextmanager
def opened_engine(given: EngineOptions, progress: Progress, n_jobs: int | None) -> Iterator[Engine]:
    """The engine that was asked for, for as long as the block lasts."""
    from geoquant.progress import n_threads

    if not given.is_dask:
        from geoquant.distributed.engine import LocalEngine

        yield LocalEngine(n_threads(n_jobs), progress=progress)
        return
    from geoquant.distributed.dask_cluster import connect, local_cluster
    from geoquant.distributed.dask_engine import DaskEngine

    if given.scheduler is not None:
        cluster = connect(given.scheduler)
    else:
        limit = "auto" if given.memory_limit is None else given.memory_limit
        cluster = local_cluster(given.workers or n_threads(None), memory_limit=limit)
    with cluster as client:
        yield DaskEngine(client, progress=progress)


def holds_shards(path: Path) -> bool:
    """Whether a path is a folder of shards, or a manifest of them."""
    from geoquant.formats.dispatch import is_folder_of_shards, is_manifest

    return is_manifest(path) or is_folder_of_shards(path)


def shards_at(path: Path, key: str | None) -> ShardSet:
    """The shards in a folder, in the order in which they are read as one array; or of a file."""
    from geoquant.distributed.shards import shards_of_files
    from geoquant.urls import url_of

    try:
        # Workers may have another working folder.
        return shards_of_files(url_of(path) or os.path.abspath(path), key)
    except InputError as error:
        raise FileFormatError(str(error)) from error


@contextmanager
def faults_of_shards(shards: ShardSet) -> Iterator[None]:
    """Make what is wrong with a shard the fault of its file."""
    try:
        yield
    except InputError as error:
        if any(str(error).startswith(shard.name) for shard in shards.shards):
            raise FileFormatError(str(error)) from error
        raise
