"""Disks that are full indeed, at workers and where the output goes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.distributed.dask_cluster import local_cluster
from tests.cli.conftest import assert_one_line_error, contents

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("distributed")
if shutil.which("mount") is None:
    pytest.skip("needs mount", allow_module_level=True)

Run = Callable[..., Any]
N_SHARDS = 6


def mount(*options: object) -> bool:
    """Whether the system allowed it."""
    command = ["mount", *map(str, options)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 KiB."""
    disk = folder / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64k", "geoquant-test", disk):
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a scheduler with two workers."""
    with local_cluster(2) as client:
        yield client.scheduler.address


@pytest.fixture
def shards(folder: Path) -> np.ndarray:
    """Latents in six shards, whose codes take 20 kB each, and a codebook."""
    x = np.random.default_rng(0).normal(size=(30_000, 2)).astype(np.float32).round(1)
    (folder / "shards").mkdir()
    for i, block in enumerate(np.array_split(x, N_SHARDS)):
        np.save(folder / "shards" / f"part{i}.npy", block)
    gq.fit_codebook(x[:500], 5, random_state=0).codebook.save("book.safetensors")
    return x


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_codes_of_shards(
    run: Run, disk: Path, shards: np.ndarray, address: str, engine: str
) -> None:
    """What is done stays, and the same command goes on once there is room."""
    command = ["assign", "shards", "--codebook", "book.safetensors", "-o", "disk/codes"]
    if engine == "dask":
        command += ["--engine", "dask", "--scheduler", address]
    outcome = run(*command)
    assert_one_line_error(outcome, 4, "disk/codes/part", "No space left", "free some space")
    kept = len(list((disk / "codes").glob("part*.codes.npy")))
    assert kept > 0
    assert mount("-o", "remount,size=4m", disk)
    outcome = run(*command, "--json")
    # A task that another worker had begun may have ended since.
    assert kept <= json.loads(outcome.out)["shards_done_before"] < N_SHARDS
    assert len(list((disk / "codes").iterdir())) == N_SHARDS + 1  # and the manifest
    codes = [np.load(disk / "codes" / f"part{i}.codes.npy") for i in range(N_SHARDS)]
    book = gq.Codebook.load("book.safetensors")
    assert np.concatenate(codes).tolist() == book.assign(shards).tolist()


@pytest.mark.usefixtures("shards")
def test_scratch_of_a_fit(run: Run, folder: Path, disk: Path, address: str) -> None:
    """The error names it, and the option for another; nothing is left in either place."""
    before = contents(folder)
    options = ["--engine", "dask", "--scheduler", address, "--scratch"]
    outcome = run("fit", "shards", "-k", 3, *options, disk)
    assert_one_line_error(outcome, 4, str(disk), "No space left", "--scratch names another")
    assert list(disk.iterdir()) == []
    assert contents(folder) == before
    (folder / "scratch").mkdir()
    assert run("fit", "shards", "-k", 3, *options, folder / "scratch", "-q").exit_code == 0


@pytest.mark.parametrize("engine", ["local", "dask"])
@pytest.mark.usefixtures("shards")
def test_output_of_a_fit(run: Run, folder: Path, disk: Path, address: str, engine: str) -> None:
    """Neither codebook nor codes are there."""
    command = ["fit", "shards", "-k", 3, "-o", "disk/book.safetensors"]
    if engine == "dask":
        (folder / "scratch").mkdir()
        command += ["--engine", "dask", "--scheduler", address, "--scratch", "scratch"]
    outcome = run(*command)
    assert_one_line_error(outcome, 4, "disk/book.safetensors", "No space left", "free some space")
    assert list(disk.iterdir()) == []
