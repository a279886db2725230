"""The same seed gives the same bits, however and wherever a fit is run."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest

from geoquant import _core
from tests.same_bits import CHUNKS, chunked, cloud, digest, layouts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Run = tuple[int, Callable[[], str]]

pytestmark = pytest.mark.hard

SEEDS, THREADS = (0, 1, 2), (1, 2, 3, 8)
STARTS = multiprocessing.get_all_start_methods()
#: What decides which BLAS kernels run, and with how many threads.
BLAS = [
    {"OPENBLAS_CORETYPE": core, "OMP_NUM_THREADS": threads}
    for core in ("Haswell", "SkylakeX", "Sandybridge", "Nehalem")
    for threads in ("1", "2", "none")
]


def digest_of_seed(seed: int, n_jobs: int) -> str:
    """What a child process is asked for."""
    return digest(cloud(seed), seed, n_jobs)


def digest_in_fresh_process(seed: int, n_jobs: int, root: Path, **environment: str) -> str:
    """The same of an interpreter that did nothing else."""
    code = f"from tests.same_bits import *; print(digest(cloud({seed}), {seed}, {n_jobs}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.strip()


def digest_in_child(start: str, seed: int, n_jobs: int) -> str:
    """The same of a process that multiprocessing starts."""
    with multiprocessing.get_context(start).Pool(1) as pool:
        return pool.apply_async(digest_of_seed, (seed, n_jobs)).get(300)


def in_this_process(folder: Path) -> list[Run]:
    """Every layout, with every number of threads, chunk and instruction set."""
    forms = layouts(folder)

    def run(seed: int, n_jobs: int, form: str, chunk: tuple[int, int, int], simd: str) -> str:
        with chunked(*chunk[:2]), mock.patch.dict(os.environ, GEOQUANT_SIMD=simd):
            return digest(forms[form](cloud(seed)), seed, n_jobs, chunk[2])

    cells = itertools.product(SEEDS, THREADS, forms, CHUNKS, _core.available_simd())
    return [(cell[0], partial(run, *cell)) for cell in cells]


def in_other_processes(root: Path) -> list[Run]:
    """Every kind of process with every number of threads, and every kind of BLAS."""
    cells = list(itertools.product(SEEDS, THREADS))
    children = [(s, partial(digest_in_child, how, s, n)) for how in STARTS for s, n in cells]
    fresh = [(s, partial(digest_in_fresh_process, s, n, root)) for s, n in cells]
    with_blas = [
        (seed, partial(digest_in_fresh_process, seed, 2, root, **variables))
        for seed in SEEDS
        for variables in BLAS
    ]
    return children + fresh + with_blas


@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_same_bits(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    scaled: Callable[[int], int],
    note: Callable[..., None],
) -> None:
    """Threads, layouts, chunks, instruction sets, kinds of processes and BLAS do not show."""
    root = request.config.rootpath
    runs = in_this_process(tmp_path) + in_other_processes(root)
    order = np.random.default_rng(8).permutation(len(runs))[: scaled(len(runs))]
    hashes = {seed: {digest_in_fresh_process(seed, 1, root)} for seed in SEEDS}
    for seed, run in (runs[i] for i in order):
        hashes[seed].add(run())
    most = max(map(len, hashes.values()))
    note("same bits", runs=len(order), seeds=len(SEEDS), distinct_hashes_per_seed=most)
    assert most == 1
