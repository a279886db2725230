"""What was measured on, and with what: processor, threads, releases, BLAS kernels, commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from geoquant.progress import n_threads

#: Every distribution whose release matters to a number.
DISTRIBUTIONS = (
    "geoquant",
    "numpy",
    "scipy",
    "scikit-learn",
    "faiss-cpu",
    "kmedoids",
    "pyamg",
    "networkit",
    "igraph",
    "pynndescent",
    "numba",
)
#: OpenBLAS chooses its kernels by the processor; an old one does not know a new processor. These
#: are what it is told instead, in the order in which they are tried.
CORE_TYPES = ("Haswell", "SkylakeX", "Zen")


def about(*more: str) -> dict[str, Any]:
    """Everything, for the record of a run; of more distributions the releases too."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": n_threads(None),
        "simd": list(instruction_sets()),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": n_threads(None),
        "versions": {name: installed(name) for name in (*DISTRIBUTIONS, *more)},
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", "chosen by OpenBLAS"),
        "blas": blas_kernels(),
    }


def cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or "?"


def instruction_sets() -> tuple[str, ...]:
    """What GEOQUANT_SIMD may name on this processor."""
    flags = set(_cpuinfo("flags").split())
    sets = ["portable"]
    if {"avx2", "fma"} <= flags:
        sets.append("avx2")
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags:
        sets.append("avx512")
    return tuple(sets)


def _cpuinfo(entry: str) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((s.partition(":")[2].strip() for s in lines if s.startswith(entry)), "")


def memory_gib() -> float:
    if not hasattr(os, "sysconf"):  # Windows
        return 0.0
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


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


def installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def blas_kernels() -> list[str]:
    """The BLAS libraries of numpy, scipy and faiss, each with the kernels that it chose."""
    import faiss  # noqa: F401  brings its own
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    return [
        f"{Path(i['filepath']).parent.name.removesuffix('.libs')}: {i['internal_api']} "
        f"{i['version']}, {i.get('architecture', '?')}"
        for i in threadpool_info()
        if i["user_api"] == "blas"
    ]


_TIME_FAISS = """
import time, faiss, numpy as np
x = np.random.default_rng(0).normal(size=(20000, 20)).astype(np.float32)
index = faiss.IndexFlatL2(20)
index.add(x)
index.search(x[:256], 11)
begin = time.perf_counter()
found = index.search(x[:4096], 11)[1]
seconds = time.perf_counter() - begin
true = ((x[:32, None].astype(float) - x[None]) ** 2).sum(axis=2).argsort(axis=1)[:, :11]
hits = np.mean([np.isin(a, b).mean() for a, b in zip(true, found)])
print(seconds if hits > 0.999 else "inf")
"""


def fastest_core_type() -> str | None:
    """What OPENBLAS_CORETYPE should be for faiss to be right and fast; None: nothing.

    One that the environment sets is left alone.
    """
    if "OPENBLAS_CORETYPE" in os.environ or not _cpuinfo("flags"):
        return os.environ.get("OPENBLAS_CORETYPE")
    seconds = {None: _faiss_seconds(None)} | {name: _faiss_seconds(name) for name in CORE_TYPES}
    fastest = min(seconds, key=lambda name: seconds[name])
    # Within the noise, leave it to OpenBLAS.
    return fastest if seconds[fastest] < 0.9 * seconds[None] else None


def _faiss_seconds(core_type: str | None) -> float:
    env = dict(os.environ) | ({"OPENBLAS_CORETYPE": core_type} if core_type else {})
    done = subprocess.run(
        [sys.executable, "-c", _TIME_FAISS], env=env, capture_output=True, text=True, check=False
    )
    return float(done.stdout) if done.returncode == 0 else float("inf")
