"""How things are measured: in turn, in processes of their own, and only if they are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[1]

# The peak that a process reports of its child never falls below what the process itself weighed
# when it started the child. This one weighs little.
_PEAK_OF_CHILD = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


class WrongResult(Exception):
    """What was to be timed is not what it should be; its time means nothing."""


class NotAvailable(Exception):
    """Data or a peer is missing; the message names the cure."""


def require_equal(what: str, ours: npt.ArrayLike, theirs: npt.ArrayLike) -> None:
    """Raise unless two arrays are equal bit for bit."""
    a, b = np.asarray(ours), np.asarray(theirs)
    if a.shape != b.shape:
        raise WrongResult(f"{what}: shapes {a.shape} and {b.shape} differ")
    n_different = int((a != b).sum())
    if n_different:
        raise WrongResult(f"{what}: {n_different} of {a.size} entries differ")


def require_close(what: str, ours: float, theirs: float) -> None:
    """Raise unless two numbers are equal but for the order of summation."""
    if not np.isclose(ours, theirs, rtol=1e-9, atol=0):
        raise WrongResult(f"{what}: {ours!r} is not {theirs!r}")


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Append the wall time that the block takes."""
    begin = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - begin)


def seconds_in_turn(
    functions: Mapping[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
    """Time functions one after the other, that many times over, after a round of warming up."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            with timed(seconds[name]):
                function()
    return seconds


def run(*command: str) -> str:
    """Output of a command run in the root of the project."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongResult(f"{' '.join(command)} exited {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def peak_of_command(*command: str) -> float:
    """Largest resident size of a command, in 10^6 bytes."""
    peak = int(run(sys.executable, "-S", "-c", _PEAK_OF_CHILD, *command))
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def said_by_module(*command: str) -> Any:
    """What ``python -m`` a module prints, in JSON."""
    return json.loads(run(sys.executable, "-m", *command))


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((s.partition(":")[2].strip() for s in lines if s.startswith("model name")), "?")


def commit() -> str:
    """The commit that is measured, with a mark if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "none"


def data_file(name: str) -> Path:
    """A file below GEOQUANT_DATA."""
    folder = os.environ.get("GEOQUANT_DATA")
    if not folder:
        raise NotAvailable(
            f"GEOQUANT_DATA is not set; set it to the folder that holds latents/ (wanted: {name})"
        )
    path = Path(folder, name)
    if not path.is_file():
        raise NotAvailable(f"{path} does not exist; GEOQUANT_DATA must be the folder with {name}")
    return path
