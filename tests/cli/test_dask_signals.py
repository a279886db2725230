"""Runs at workers of Dask that are stopped, at several moments of their cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.cli.conftest import contents

if TYPE_CHECKING:
    from pathlib import Path

psutil = pytest.importorskip("psutil")
pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

_CODE = "from geoquant.cli import main; main()"


def begun_fit(folder: Path) -> subprocess.Popen[str]:
    """A fit that takes long, in a session of its own, as a terminal's foreground job is."""
    x = np.random.default_rng(0).normal(size=(40_000, 8)).astype(np.float32)
    np.save(folder / "latents.npy", x)
    (folder / "temporary").mkdir()
    options = ["fit", "latents.npy", "-k", "64", "--engine", "dask", "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
        start_new_session=True,
    )


def workers_begun(pid: int) -> list[psutil.Process]:
    """The processes that a run has started, as soon as one of them is to become a worker."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = psutil.Process(pid).children(recursive=True)
        if any("spawn_main" in " ".join(child.cmdline()) for child in found):
            return found
        time.sleep(0.01)
    raise AssertionError("no worker was started")


@pytest.mark.parametrize(
    ("name", "seconds", "exit_code", "word"),
    [
        ("SIGINT", 0.0, 130, "interrupted"),
        ("SIGINT", 0.4, 130, "interrupted"),
        ("SIGINT", 2.0, 130, "interrupted"),
        ("SIGTERM", 0.2, 143, "terminated"),
    ],
)
def test_signals_while_a_cluster_starts_and_works(
    folder: Path, name: str, seconds: float, exit_code: int, word: str
) -> None:
    """One line and the signal's exit code; no process, no file and no temporary folder is left."""
    run = begun_fit(folder)
    before = contents(folder)
    workers = workers_begun(run.pid)
    time.sleep(seconds)
    # A terminal sends Ctrl-C to workers too; who asks to end does so of one process.
    (os.killpg if name == "SIGINT" else os.kill)(run.pid, getattr(signal, name))
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (
        exit_code,
        "",
        f"\nError: {word}; nothing was written\n",
    )
    assert contents(folder) == before
    assert list((folder / "temporary").iterdir()) == []
    assert psutil.wait_procs(workers, timeout=10)[1] == []
