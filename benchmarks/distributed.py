"""Fits and assignments at workers of Dask on this machine, verified before they are timed.

``python -m benchmarks.distributed LATENTS.npy`` prints one JSON object. The single-machine fit of
the same latents says what is right: a run with other bits ends the script.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import geoquant as gq
from geoquant.distributed.assign import assign_shards
from geoquant.distributed.dask_cluster import local_cluster
from geoquant.distributed.dask_engine import DaskEngine
from geoquant.distributed.fit import fit_shards, write_codes
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import ShardSet, shards_of_files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("latents", type=Path)
    parser.add_argument("-k", type=int, default=256)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--partitions", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3, help="Of each assignment.")
    arguments = parser.parse_args()
    x = gq.read_latents(arguments.latents)
    begin = time.perf_counter()
    one = gq.fit_codebook(x, arguments.k, random_state=0)
    single = time.perf_counter() - begin
    with TemporaryDirectory() as folder:
        shards = cut(x, arguments.shards, Path(folder, "shards"))
        one.codebook.save(Path(folder, "book.safetensors"))
        fits = fit_rows(shards, one, arguments, Path(folder))
        assigns = assign_rows(shards, one.codebook.assign(x), arguments.repeats, Path(folder))
    facts = {"n": len(x), "d": x.shape[1], "k": arguments.k, "single_machine_seconds": single}
    print(json.dumps({**facts, "fits": fits, "assign": assigns}, indent=1))


def cut(x: np.ndarray, n_shards: int, folder: Path) -> ShardSet:
    """Write latents in shards."""
    folder.mkdir()
    for i, block in enumerate(np.array_split(x, n_shards)):
        np.save(folder / f"part{i:05d}.npy", block)
    return shards_of_files(folder)


def fit_rows(
    shards: ShardSet, one: gq.FittedCodebook, arguments: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """Time and cut share of fits in partitions, all of them with the bits of one machine."""
    expected = b"".join(map(bytes, one.codebook.file_blocks()))
    rows = []
    with local_cluster(2) as client:
        for n_partitions in arguments.partitions:
            scratch = folder / f"fit{n_partitions}"
            scratch.mkdir()
            begin = time.perf_counter()
            fit = fit_shards(
                shards,
                arguments.k,
                DaskEngine(client),
                Scratch(str(scratch)),
                n_partitions=n_partitions,
                random_state=0,
            )
            paths = write_codes(fit, DaskEngine(client))
            seconds = time.perf_counter() - begin
            codes = np.concatenate([np.load(path) for path, _ in paths])
            if b"".join(map(bytes, fit.codebook.file_blocks())) != expected:
                raise SystemExit(f"{n_partitions} partitions: another codebook")
            if fit.energy != one.clustering.inertia or not np.array_equal(codes, one.codes):
                raise SystemExit(f"{n_partitions} partitions: other codes")
            rows.append(
                {
                    "partitions": n_partitions,
                    "is_bit_equal": True,
                    "cut_share": round(fit.graph.cut_share, 4),
                    "seconds": round(seconds, 2),
                    "stages": {stage: round(s, 2) for stage, s in fit.seconds.items()},
                    "supersteps": fit.work.n_supersteps,
                    "nodes_told": fit.work.n_messages,
                }
            )
    return rows


def assign_rows(
    shards: ShardSet, expected: np.ndarray, n_repeats: int, folder: Path
) -> dict[str, float]:
    """Rows per second of one worker and of two, in turn; the fastest of some runs."""
    rates: dict[str, float] = {}
    for repeat in range(n_repeats):
        for n_workers in (1, 2):
            with local_cluster(n_workers) as client:
                engine = DaskEngine(client)
                # Each process has loaded its libraries and the codebook when it counts.
                timed_assign(shards, engine, folder, f"warm{repeat}-{n_workers}")
                seconds, codes = timed_assign(shards, engine, folder, f"codes{repeat}-{n_workers}")
            if not np.array_equal(codes, expected):
                raise SystemExit(f"{n_workers} workers: other codes")
            name = f"rows_per_second_{n_workers}"
            rates[name] = max(rates.get(name, 0.0), round(len(codes) / seconds))
    rates["ratio"] = round(rates["rows_per_second_2"] / rates["rows_per_second_1"], 3)
    return rates


def timed_assign(
    shards: ShardSet, engine: DaskEngine, folder: Path, name: str
) -> tuple[float, np.ndarray]:
    """Seconds of an assignment, and its codes."""
    begin = time.perf_counter()
    done = assign_shards(folder / "book.safetensors", shards, folder / name, engine, n_jobs=1)
    seconds = time.perf_counter() - begin
    return seconds, np.concatenate([np.load(path) for path in done.paths])


if __name__ == "__main__":
    main()
