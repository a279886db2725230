"""Failures below Python: builds tests/faults.c, and steers it in the process it is loaded into."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(__file__).with_suffix(".c")
ROOT = SOURCE.parents[1]

#: Whose allocations fail, and from how many bytes on: those of the kernels and of C++, and large
#: arrays. NumPy 2.4 reads from address 0 if there is no memory for a buffer of at most 64 KiB with
#: which it indexes; CPython and glibc end the process where they lack the first bytes of a thread.
CALLERS = {"_core.": 0, "libstdc++.so": 0, "_multiarray_umath.": (64 << 10) + 1}
#: Fits of tests/failing_memory.py.
FITS = (
    "fit",
    "fit of parts",
    "alternation",
    "cells",
    "coarse",
    "wide swaps",
    "searches",
    "tiny graph",
    "lengths",
    "assignment",
    "stages",
)
#: A process may die so often before its campaign is given up.
_MOST_DEATHS = 20
#: The first points fill caches.
_WARM = 10


def built(folder: Path) -> Path:
    """The library, compiled into a folder; skips where it cannot be made or loaded."""
    compiler = shutil.which("cc")
    if platform.libc_ver()[0] != "glibc" or compiler is None:
        pytest.skip("needs glibc and a C compiler")
    if "LD_PRELOAD" in os.environ:
        pytest.skip("another library is loaded before the C library")
    library = folder / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run([*command, "-ldl", "-pthread"], check=True)
    return library


def run_with(library: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the library loaded first, in the tree that the tests are of."""
    # What is not written to holds no zeros, nor what an earlier run has left.
    own = {"LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT), "MALLOC_PERTURB_": "165"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=os.environ | own, capture_output=True, text=True, check=False
    )


class Allocations:
    """The allocations of the kernels and of NumPy in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self.n_counted = self.n_in_workers = 0
        for begin, end, least in _code_of_callers():
            n_given = (ctypes.c_size_t(begin), ctypes.c_size_t(end), ctypes.c_size_t(least))
            if self._library.faults_add_callers(*n_given) != 0:
                raise RuntimeError("more ranges of addresses than tests/faults.c has room for")

    @contextmanager
    def failing(self, first: int, last: int) -> Iterator[None]:
        """Those from number `first` to number `last` in the block fail; 0, 0: count only."""
        end, in_workers = self._library.faults_end_allocations, self._library.faults_in_workers
        end.restype = in_workers.restype = ctypes.c_long
        limits = (first, last) if first else (sys.maxsize, sys.maxsize)
        self._library.faults_set_allocations(*map(ctypes.c_long, limits))
        try:
            yield
        finally:
            self.n_counted, self.n_in_workers = end(), in_workers()


def _code_of_callers() -> Iterator[tuple[int, int, int]]:
    """Where the code of `CALLERS` is loaded, and what is counted of it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, permissions, *_, path = line.split()
        for name, least in CALLERS.items():
            if name in path.rsplit("/", 1)[-1] and "x" in permissions:
                begin, end = (int(address, 16) for address in addresses.split("-"))
                yield begin, end, least


#: What a call that writes or reads does in place of failing: half of it; say that the file ends.
HALF, END = -1, -2


class Calls:
    """The system calls of this process on what is in a folder."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(None)
        self._folder = os.fsencode(folder)

    def failing(self, name: str, first: int, last: int, code: int) -> None:
        """From now on, those of this name fail from number `first` to number `last`; 0, 0: none."""
        numbers = ctypes.c_long(first), ctypes.c_long(last), ctypes.c_int(code)
        self._library.faults_set_call(self._folder, name.encode(), *numbers)

    def n_counted(self) -> int:
        """How often the call has been made since it was named."""
        count = self._library.faults_calls
        count.restype = ctypes.c_long
        return int(count())


# ------------------------------------------------------------------------------- campaigns


@dataclass
class FailedFits:
    """What came of failures in the allocations of one fit."""

    n_points: int = 0
    n_failed: int = 0
    n_in_workers: int = 0
    unclean: list[str] = field(default_factory=list)
    kib_per_point: float = 0.0


def share_of_fits(
    library: Path, n_points: int, *, names: Sequence[str] = FITS
) -> dict[str, FailedFits]:
    """Fail so many allocations of each fit, in a process that is started anew if it dies."""
    found = {}
    for name in names:
        found[name] = fits = FailedFits()
        while len(fits.unclean) < _MOST_DEATHS and _goes_on(library, name, n_points, fits):
            pass
    return found


def _goes_on(library: Path, name: str, n_points: int, fits: FailedFits) -> bool:
    """Try the points that are left; whether there still are some, as the process has died."""
    words = ("-m", "tests.failing_memory", name, str(n_points), str(fits.n_points))
    process = run_with(library, *words)
    lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    if process.returncode != 0:
        where = lines[-1] if lines else "the beginning"
        fits.unclean.append(f"ends with {process.returncode} at {where}: {process.stderr[-500:]}")
        fits.n_points = lines[-1]["point"] + 1 if lines else fits.n_points
        return bool(lines)
    figures = lines[-1]
    resident = figures["resident"][_WARM:]
    if len(resident) > 2 * _WARM:
        slope = np.polyfit(np.arange(len(resident)), resident, 1)[0]
        fits.kib_per_point = float(slope) / 1024
    fits.n_points += figures["points"]
    fits.n_failed += figures["failed"]
    fits.n_in_workers += figures["in_workers"]
    fits.unclean += figures["unclean"]
    return False


def share_of_calls(library: Path, folder: Path, share: float) -> dict[str, Any]:
    """Fail that share of the system calls of each work of tests/failing_files.py."""
    process = run_with(library, "-m", "tests.failing_files", str(folder), str(share))
    assert process.returncode == 0, process.stderr
    return dict(json.loads(process.stdout.splitlines()[-1]))
