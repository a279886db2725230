"""Workers that die, and disks that are full, in the middle of a fit and of an assignment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant.distributed.assign import assign_shards
from geoquant.distributed.dask_cluster import local_cluster
from geoquant.distributed.dask_engine import DaskEngine
from geoquant.distributed.engine import LocalEngine
from geoquant.errors import FileFormatError, ResourceError
from tests.distributed.clusters import (
    N_SHARDS,
    WORKS,
    CountingEngine,
    X,
    assigned,
    equal_after_a_kill,
    fitted,
    made_shards,
)

pytest.importorskip("distributed")

if TYPE_CHECKING:
    from pathlib import Path

    from geoquant.distributed.shards import ShardSet


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    """Latents in files, and a codebook beside them."""
    return made_shards(tmp_path)


@pytest.mark.parametrize("name", WORKS)
def test_a_killed_worker_does_not_show(tmp_path: Path, shards: ShardSet, name: str) -> None:
    """In the middle of a fit, and of an assignment."""
    counting = CountingEngine()
    expected = WORKS[name](shards, counting, tmp_path / "whole")
    at = counting.n_begun // 2
    assert equal_after_a_kill(WORKS[name], shards, tmp_path, at, expected)


def cut_when_read(name: str) -> None:
    """Cut a shard short as soon as this process has mapped it: to read it is then SIGBUS."""
    from geoquant.distributed.shards import FileShard

    read = FileShard.read

    def cutting(shard: FileShard) -> np.ndarray:
        rows = read(shard)
        if shard.path.endswith(name):
            os.truncate(shard.path, 0)
        return rows

    FileShard.read = cutting


@pytest.mark.parametrize("name", WORKS)
def test_a_shard_cut_short_under_a_worker(tmp_path: Path, shards: ShardSet, name: str) -> None:
    """It ends the worker; the next one finds what is wrong, and the error names the shard."""
    with local_cluster(2) as client:
        client.run(cut_when_read, "part3.npy")
        before = set(client.run(os.getpid).values())
        with pytest.raises(FileFormatError, match=r"part3\.npy"):
            WORKS[name](shards, DaskEngine(client), tmp_path / "work")
        client.wait_for_workers(2)
        assert set(client.run(os.getpid).values()) != before


def fill_disk() -> None:
    """Make every write of this process fail as where a disk is full."""
    import errno
    import os

    from geoquant import files

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files._write_all = full


def test_a_full_disk_at_one_worker(tmp_path: Path, shards: ShardSet) -> None:
    """The error names the file and the cure; shards that the other worker did are kept."""
    with local_cluster(2) as client:
        engine = DaskEngine(client)
        client.run(fill_disk, workers=[max(client.nthreads())])
        with pytest.raises(ResourceError, match=r"part\d.codes.npy: cannot be written, No space"):
            assigned(shards, engine, tmp_path / "codes")
        with pytest.raises(ResourceError, match=r"cannot be written, No space left .* free some"):
            fitted(shards, engine, tmp_path / "scratch")
    kept = len(list((tmp_path / "codes").glob("*.codes.npy")))
    book = gq.load_codebook(tmp_path / "book.safetensors")
    done = assign_shards(tmp_path / "book.safetensors", shards, tmp_path / "codes", LocalEngine())
    assert done.n_done_before == kept < N_SHARDS
    found = np.concatenate([np.load(path) for path in done.paths])
    assert found.tolist() == book.assign(X).tolist()
