"""Runs shard by shard say how far they are to whoever looks, and to nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq

if os.name == "nt":
    pytest.skip("needs a pseudo-terminal", allow_module_level=True)
pty = pytest.importorskip("pty")

if TYPE_CHECKING:
    from pathlib import Path

#: The bar is shown at once, as these runs are short.
_CODE = (
    "from geoquant.cli import main, progress_bar\nprogress_bar._PATIENCE = 0.0\n"
    "if __name__ == '__main__': main()"
)
COMMANDS = {
    "assign, local": ["assign", "shards", "--codebook", "book.safetensors", "-o", "codes"],
    "assign, dask": ["assign", "shards", "--codebook", "book.safetensors", "--engine", "dask"],
    "fit, dask": ["fit", "shards", "-k", "3", "--engine", "dask"],
}
STAGES = {
    "assign, local": "assign shard",
    "assign, dask": "assign shard",
    "fit, dask": "stage shard",
}


@pytest.fixture(autouse=True)
def shards(folder: Path) -> None:
    """Latents in three shards, and a codebook."""
    x = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    (folder / "shards").mkdir()
    for i, block in enumerate(np.array_split(x, 3)):
        np.save(folder / "shards" / f"part{i}.npy", block)
    gq.fit_codebook(x, 3, random_state=0).codebook.save("book.safetensors")


def on_terminal(command: list[str]) -> tuple[str, str]:
    """What a command prints on stdout, and on a stderr that is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, *command],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    # The end of a pseudo-terminal is an error on Linux.
    try:
        while block := os.read(ours, 1 << 16):
            shown += block
    except OSError:
        pass
    finally:
        os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out.decode(), shown.decode()


def with_workers(name: str) -> list[str]:
    if "dask" not in name:
        return COMMANDS[name]
    pytest.importorskip("distributed")
    return [*COMMANDS[name], "--workers", "1"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bar_on_a_terminal(name: str) -> None:
    """It names the tasks; no dashboard is needed."""
    assert STAGES[name] in on_terminal(with_workers(name))[1]


@pytest.mark.parametrize(
    ("name", "option"),
    [("assign, local", "-q"), ("assign, dask", "--format=json"), ("fit, dask", "-q")],
)
def test_no_bar_where_none_is_wanted(name: str, option: str) -> None:
    """Neither with -q nor with JSON; of that, stdout has one object."""
    out, shown = on_terminal([*with_workers(name), option])
    assert shown == ""
    assert out == "" if option == "-q" else json.loads(out)["k"] == 3


@pytest.mark.parametrize("name", ["assign, local", "fit, dask"])
def test_no_bar_in_a_file(name: str) -> None:
    """Where stderr is no terminal, nothing is on it."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *with_workers(name)], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
