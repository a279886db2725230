"""Clusters of Dask that cannot be used, and workers that see other files than who asks them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.distributed import dask_cluster
from tests.cli.conftest import assert_one_line_error, assert_usage_error

distributed = pytest.importorskip("distributed")

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


@contextmanager
def scheduler(n_workers: int = 0) -> Iterator[Any]:
    """With workers that are threads of this process, if any."""
    with distributed.LocalCluster(
        n_workers=n_workers,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is another one for workers."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def apart(elsewhere: Path) -> Iterator[str]:
    """The address of a scheduler with a worker that sees an empty disk in that folder."""
    unshare = ["unshare", "--mount"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False).returncode
    ):
        pytest.skip("only root may give a process a disk of its own")
    mount = 'mount -t tmpfs geoquant-test "$0" && exec "$@"'
    worker = [sys.executable, "-m", "dask", "worker", "--nthreads", "1", "--no-nanny"]
    with scheduler() as cluster:
        command = [*unshare, "sh", "-c", mount, str(elsewhere), *worker, cluster.scheduler_address]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with distributed.Client(cluster) as client:
                client.wait_for_workers(1, timeout=60)
            yield cluster.scheduler_address
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture
def shards(folder: Path) -> Path:
    """Latents in two shards, and a codebook."""
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    (folder / "shards").mkdir()
    for i, block in enumerate(np.array_split(x, 2)):
        np.save(folder / "shards" / f"part{i}.npy", block)
    gq.fit_codebook(x, 5, random_state=0).codebook.save("book.safetensors")
    return folder / "shards"


@pytest.mark.parametrize("what", ["shards of a fit", "scratch", "shards", "codebook", "codes"])
def test_what_workers_do_not_see(
    run: Run, folder: Path, shards: Path, elsewhere: Path, apart: str, what: str
) -> None:
    """One line that names it, and says that workers must see it; exit code 3."""
    there = elsewhere / what.replace(" ", "")
    there.mkdir()
    for path in [folder / "book.safetensors"] if what == "codebook" else shards.iterdir():
        shutil.copy(path, there)
    (folder / "scratch").mkdir()
    fit = ["fit", shards, "-k", 3, "--scratch", folder / "scratch"]
    assign = ["assign", shards, "--codebook", "book.safetensors", "-o", "codes"]
    command = {
        "shards of a fit": ["fit", there, *fit[2:]],
        "scratch": [*fit[:-1], there],
        "shards": ["assign", there, *assign[2:]],
        "codebook": [*assign[:3], there / "book.safetensors", *assign[4:]],
        "codes": [*assign[:-1], there / "codes"],
    }[what]
    outcome = run(*command, "--engine", "dask", "--scheduler", apart)
    assert_one_line_error(outcome, 3, str(there), "a worker does not find it", "the same paths")


@pytest.fixture(params=["fit", "assign"])
def command(request: pytest.FixtureRequest, shards: Path) -> list[object]:
    """A command that lacks the address of a scheduler."""
    if request.param == "fit":
        start = ["fit", shards, "-k", 3, "--scratch", "."]
    else:
        start = ["assign", shards, "--codebook", "book.safetensors", "-o", "codes"]
    return [*start, "--engine", "dask", "--scheduler"]


def test_a_scheduler_without_workers(run: Run, command: list[object]) -> None:
    """One line that says what to start; exit code 2."""
    with scheduler() as cluster:
        outcome = run(*command, cluster.scheduler_address)
    words = f"{cluster.scheduler_address} has no workers; start `dask worker` there"
    assert_one_line_error(outcome, 2, words)


@pytest.mark.parametrize("does_listen", [False, True], ids=["refused", "silent"])
def test_a_scheduler_that_does_not_answer(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[object], does_listen: bool
) -> None:
    """One line that names it; exit code 2."""
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 0.5)
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        if does_listen:
            hole.listen()
        address = f"tcp://127.0.0.1:{hole.getsockname()[1]}"
        outcome = run(*command, address)
    assert_one_line_error(outcome, 2, f"scheduler {address} cannot be used", "`dask scheduler`")


def test_workers_of_another_version(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: list[object]
) -> None:
    """One line with both versions and the cure; exit code 2."""
    monkeypatch.setattr(dask_cluster, "_own_version", lambda: "99.0")
    with scheduler(n_workers=1) as cluster:
        outcome = run(*command, cluster.scheduler_address)
    words = f"has geoquant {gq.__version__}, this is 99.0", "install geoquant 99.0 at every worker"
    assert_one_line_error(outcome, 2, *words)


def test_a_scratch_folder_that_cannot_be_written(run: Run, shards: Path) -> None:
    """It is refused before a cluster is asked; so is a file, and what is not there."""
    common = ["fit", shards, "-k", 3, "--engine", "dask", "--scratch"]
    assert_usage_error(run(*common, "/proc/self"), "--scratch", "not writable")
    assert_usage_error(run(*common, "book.safetensors"), "--scratch", "is a file")
    assert_usage_error(run(*common, "nowhere"), "--scratch", "does not exist")
