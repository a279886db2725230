"""Clusters for tests, and workers of theirs that die."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from geoquant.distributed.assign import assign_shards
from geoquant.distributed.dask_cluster import local_cluster
from geoquant.distributed.dask_engine import DaskEngine
from geoquant.distributed.engine import Engine, LocalEngine
from geoquant.distributed.fit import fit_shards, write_codes
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import ShardSet, shards_of_files

if TYPE_CHECKING:
    from collections.abc import Callable


X = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32).round(2)
N_SHARDS = 6


class KillingEngine(DaskEngine):
    """Ends a worker with SIGKILL just after the n-th task was begun."""

    def __init__(self, client: Any, at: int) -> None:
        super().__init__(client)
        self.n_begun, self.at, self.n_killed = 0, at, 0

    def submit(self, task: Callable[..., Any], *arguments: Any, near: int | None = None) -> Any:
        """Begin a task, and perhaps end a worker."""
        handle = super().submit(task, *arguments, near=near)
        self.n_begun += 1
        if self.n_begun == self.at:
            self.kill_one()
        return handle

    def kill_one(self) -> None:
        """End one worker or another, as the number of the task says."""
        pids = self._client.run(os.getpid)
        pid = random.Random(self.at).choice(sorted(pids.values()))
        os.kill(pid, signal.SIGKILL)
        self.n_killed += 1


class CountingEngine(LocalEngine):
    """Counts the tasks that are begun."""

    n_begun = 0

    def submit(self, *arguments: Any, **options: Any) -> Any:
        """Begin a task."""
        self.n_begun += 1
        return super().submit(*arguments, **options)


def made_shards(folder: Path) -> ShardSet:
    """Latents in files, and a codebook beside them."""
    (folder / "shards").mkdir()
    for i, block in enumerate(np.array_split(X, N_SHARDS)):
        np.save(folder / "shards" / f"part{i}.npy", block)
    gq.fit_codebook(X[:200], 5, random_state=0).codebook.save(folder / "book.safetensors")
    return shards_of_files(folder / "shards")


def fitted(shards: ShardSet, engine: Engine, folder: Path) -> bytes:
    """The bytes of the codebook of a fit, of the codes and of the distances."""
    folder.mkdir(parents=True)
    fit = fit_shards(shards, 6, engine, Scratch(str(folder)), n_partitions=3, random_state=0)
    files = [Path(path).read_bytes() for pair in write_codes(fit, engine) for path in pair]
    return b"".join([*map(bytes, fit.codebook.file_blocks()), *files])


def assigned(shards: ShardSet, engine: Engine, folder: Path) -> bytes:
    """The bytes of the codes."""
    book = Path(shards.shards[0].name).parents[1] / "book.safetensors"
    done = assign_shards(book, shards, folder, engine, n_jobs=1)
    return b"".join(Path(path).read_bytes() for path in done.paths)


WORKS = {"fit": fitted, "assign": assigned}


def equal_after_a_kill(
    work: Callable[..., bytes], shards: ShardSet, folder: Path, at: int, expected: bytes
) -> bool:
    """Whether a run whose worker is killed as the n-th task begins gives the same bytes."""
    with local_cluster(2) as client:
        engine = KillingEngine(client, at)
        found = work(shards, engine, folder / "killed")
        assert engine.n_killed == 1
    return found == expected
