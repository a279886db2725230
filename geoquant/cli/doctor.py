"""``geoquant doctor``: what geoquant finds on this machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from geoquant.cli.command import Command
from geoquant.cli.options import output_options

#: Distributions that are needed, and those that add something.
_NEEDED = (
    "geoquant",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
    "click",
    "rich",
    "lazy-loader",
    "threadpoolctl",
)
_OPTIONAL = {
    "torch": "geoquant.torch, train, encode",
    "matplotlib": "pictures, report",
    "pyarrow": "Parquet, Arrow",
    "h5py": "HDF5",
    "zarr": "Zarr",
}
# In a process of its own: some of these libraries end the process if they are loaded together.
_LOAD_TOGETHER = """
import importlib, json
import sklearn.cluster
from threadpoolctl import threadpool_info
try:
    importlib.import_module("torch")
except ImportError:
    pass
print(json.dumps(threadpool_info()))
"""
_PATIENCE = 60  # seconds


@click.command(
    cls=Command,
    examples=[
        "geoquant doctor",
        "geoquant doctor -n 1000000 -d 20 -k 1024",
    ],
)
@click.option("-n", type=click.IntRange(min=1), default=60_000, show_default=True, help="Latents.")
@click.option("-d", type=click.IntRange(min=1), default=20, show_default=True, help="Columns.")
@click.option("-k", "n_clusters", type=click.IntRange(min=1), default=64, show_default=True)
@output_options
def doctor(n: int, d: int, n_clusters: int, as_json: bool, quiet: bool) -> None:
    """Show what there is on this machine, and what a fit would take.

    Releases, instruction sets, thread pools, caches and memory.
    """
    from geoquant.estimate import estimate_fit

    if n_clusters > n:
        raise click.BadParameter(f"must be at most {n}, the latents", param_hint="-k")
    estimate = estimate_fit(n, d, n_clusters)
    fit = {
        "n": n,
        "d": d,
        "k": n_clusters,
        "bytes": estimate.input_bytes + estimate.peak_bytes,
        "seconds": round(estimate.total_seconds, 1),
    }
    facts = _facts() | {"fit": fit}
    facts["advice"] = _advice(facts)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **facts}))
    elif not quiet:
        _print(facts)


def _facts() -> dict[str, Any]:
    from geoquant import _core
    from geoquant.memory import available_memory
    from geoquant.progress import n_threads

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: _version(name) for name in (*_NEEDED, *_OPTIONAL)},
        "kernels": _core.BUILD_TYPE,
        "instruction_set": _core.simd(),
        "instruction_sets": _core.available_simd(),
        "threads": n_threads(None),
        "available_bytes": available_memory(),
        "thread_pools": _thread_pools(),
        "caches": _caches(),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _thread_pools() -> list[dict[str, Any]] | None:
    """Libraries with threads of their own that users load beside geoquant, which brings none.

    None if they cannot be loaded together.
    """
    command = [sys.executable, "-c", _LOAD_TOGETHER]
    try:
        done = subprocess.run(  # noqa: S603  nothing of it comes from outside
            command, capture_output=True, text=True, check=True, timeout=_PATIENCE
        )
        pools = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    named = ("user_api", "internal_api", "version", "num_threads", "filepath")
    return [{name: pool.get(name) for name in named} for pool in pools]


def _caches() -> dict[str, str]:
    """Folders in which data are looked for, and whether they are there."""
    data = os.environ.get("GEOQUANT_DATA")
    folders = {"GEOQUANT_DATA": Path(data) if data else None}
    if _version("pooch") is not None:
        import pooch

        folders["downloads"] = Path(pooch.os_cache("geoquant"))
    return {name: _state_of(folder) for name, folder in folders.items()}


def _state_of(folder: Path | None) -> str:
    if folder is None:
        return "not set"
    if not folder.is_dir():
        return f"{folder}, not there yet"
    return f"{folder}" + ("" if os.access(folder, os.W_OK) else ", not writable")


def _advice(facts: dict[str, Any]) -> list[str]:
    """What the user may want to change."""
    advice = []
    available, needed = facts["available_bytes"], facts["fit"]["bytes"]
    if available is not None and needed > available:
        advice.append("such a fit needs more memory than is available: take a sample, or fewer -n")
    if facts["kernels"] != "release":
        advice.append(f"the kernels are a {facts['kernels']} build, which is slow")
    if facts["instruction_set"] == "portable":
        advice.append("no AVX2 is used, so that the search for neighbours takes longer")
    advice += _advice_on_threads(facts["thread_pools"])
    missing = [f"{name} ({use})" for name, use in _OPTIONAL.items() if not facts["versions"][name]]
    if missing:
        advice.append(f"not installed: {', '.join(missing)}")
    return advice


def _advice_on_threads(pools: list[dict[str, Any]] | None) -> list[str]:
    if pools is None:
        return [
            "scikit-learn and PyTorch cannot be loaded in one process here, likely for their "
            "copies of OpenMP: install both from one source"
        ]
    copies = sum(pool["user_api"] == "openmp" for pool in pools)
    if copies < 2:
        return []
    return [
        f"scikit-learn and PyTorch bring {copies} copies of OpenMP; geoquant uses none, but where "
        "both compute at once, OMP_NUM_THREADS keeps them from taking the cores twice"
    ]


def _shown_pools(pools: list[dict[str, Any]] | None) -> str:
    if pools is None:
        return "cannot be loaded together"
    shown = [
        f"{pool['internal_api']} {pool['version'] or ''}".strip() + f" ({pool['num_threads']})"
        for pool in pools
    ]
    return ", ".join(sorted(shown)) or "none"


def _print(facts: dict[str, Any]) -> None:
    from geoquant.memory import shown

    fit, available = facts["fit"], facts["available_bytes"]
    rows = {
        "python": f"{facts['python']}, {facts['system']}",
        **{name: found or "not installed" for name, found in facts["versions"].items()},
        "kernels": f"{facts['kernels']} build, {facts['instruction_set']} of "
        f"{', '.join(facts['instruction_sets'])}",
        "threads": str(facts["threads"]),
        "thread pools": _shown_pools(facts["thread_pools"]),
        **facts["caches"],
        "memory": "unknown" if available is None else f"{shown(available)} available",
        f"fit of {fit['n']:,} x {fit['d']}, k = {fit['k']}": f"about {shown(fit['bytes'])} and "
        f"{fit['seconds']:,} s",
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        click.echo(f"{name:<{width}}  {value}")
    for line in facts["advice"]:
        click.echo(f"- {line}")
