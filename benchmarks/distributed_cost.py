"""What a fit in partitions costs, measured on small ones and said of large ones.

    python -m benchmarks.distributed_cost draw 1000000 SHARDS         # latents to measure on
    python -m benchmarks.distributed_cost measure SHARDS --partitions 1 2 4 8
    python -m benchmarks.distributed_cost swap SHARDS                 # energy of one machine
    python -m benchmarks.distributed_cost predict 5000000 --partitions 8
    python -m benchmarks.distributed_cost table

`measure` fits at two workers of one thread and adds a row to `benchmarks/results/
distributed_cost.json` for each fit: the wall time of every kind of task, and what there was to do.
A constant is the time of a kind of work divided by its amount, over all rows but those that
`measure --apart` marks to be predicted. `table` prints those of `docs/how_to/scale.md`.

The latents drawn are mixtures of two near latents of MNIST with the noise of their encoder: draws
round 60 000 means alone fall apart into islands when there are 80 of each.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from benchmarks.datasets import data_file
from benchmarks.measure import ROOT
from geoquant.distributed import fit as parted_fit
from geoquant.distributed.dask_cluster import local_cluster
from geoquant.distributed.dask_engine import DaskEngine
from geoquant.distributed.grouping import MOST_LOAD
from geoquant.distributed.refine import MOST_ROUNDS_OF_FEW
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import shards_of_files
from geoquant.graph.knn import n_cells_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from geoquant.distributed.engine import Engine

RESULTS = ROOT / "benchmarks" / "results" / "distributed_cost.json"
_ROWS_PER_SHARD = 250_000
_NEIGHBORS = 10
_N_WORKERS = 2

#: Bytes of a worker without work, and for each node whose neighbours it finds.
_LIBRARIES, _BYTES_OF_OWN = 2e8, 640

Row = dict[str, Any]


# ------------------------------------------------------------------------------------ measuring


class TimedEngine:
    """An engine that notes how long each kind of task was waited for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.seconds: dict[str, float] = {}
        self._begin: tuple[str, float] | None = None

    def scatter(self, value: Any) -> Any:
        return self._engine.scatter(value)

    def submit(self, task: Callable[..., Any], *arguments: Any, near: int | None = None) -> Any:
        self._begin = self._begin or (task.__name__, time.perf_counter())
        return self._engine.submit(task, *arguments, near=near)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        results = self._engine.gather(handles)
        if self._begin is not None:
            name, begin = self._begin
            spent = self.seconds.get(name, 0.0) + time.perf_counter() - begin
            self.seconds[name], self._begin = spent, None
        return results

    def cancel(self, handles: Sequence[Any]) -> None:
        self._engine.cancel(handles)


def draw(n: int, folder: Path) -> None:
    """Write n latents in shards, each drawn by itself."""
    means = np.load(data_file("latents/mnist_vae20_train_mean.npy"))
    logvar = np.load(data_file("latents/mnist_vae20_train_logvar.npy"))
    near = gq.nearest_neighbors(means, _NEIGHBORS).index
    folder.mkdir(parents=True)
    for i, begin in enumerate(range(0, n, _ROWS_PER_SHARD)):
        rng = np.random.default_rng([0, i])
        size = min(_ROWS_PER_SHARD, n - begin)
        first = rng.integers(len(means), size=size)
        second = near[first, rng.integers(_NEIGHBORS, size=size)]
        share = rng.random((size, 1), dtype=np.float32)
        noise = rng.standard_normal((size, means.shape[1]), dtype=np.float32)
        mixed, spread = (
            (1 - share) * of[first] + share * of[second] for of in (means, 0.5 * logvar)
        )
        np.save(folder / f"part{i:05d}.npy", (mixed + np.exp(spread) * noise).astype(np.float32))


def measured(folder: Path, k: int, n_partitions: int | None, memory_limit: str) -> Row:
    """One fit at two workers, its graph in partitions whatever its size."""
    shards = shards_of_files(folder)
    parted_fit.GATHERED_NODES = 0
    with TemporaryDirectory() as scratch, local_cluster(2, memory_limit=memory_limit) as client:
        engine = TimedEngine(DaskEngine(client))
        begin = time.perf_counter()
        fit = parted_fit.fit_shards(
            shards, k, engine, Scratch(scratch), n_partitions=n_partitions, random_state=0
        )
        parted_fit.write_codes(fit, engine)
        seconds = time.perf_counter() - begin
        workers = list(client.run(usage_of_process).values())
        compared, foreign = n_compared(Path(scratch)), most_foreign(Path(scratch))
    return {
        "n": shards.n_rows,
        "d": shards.width,
        "k": k,
        "partitions": fit.graph.n_partitions,
        "memory_limit": memory_limit,
        "seconds": round(seconds, 1),
        "tasks": {name: round(s, 2) for name, s in engine.seconds.items()},
        "cells": n_cells_for(shards.n_rows, exact=False),
        "compared": round(compared),
        "most_foreign": foreign,
        "largest_partition": max(fit.graph.partition.sizes),
        "cut_share": round(fit.graph.cut_share, 4),
        "components": fit.n_components,
        "searches": fit.work.n_searches,
        "supersteps": fit.work.n_supersteps,
        "nodes_told": fit.work.n_messages,
        "rounds": fit.clustering.n_rounds,
        "energy": fit.energy,
        "bytes_written": sum(written for written, _ in workers),
        "peak_bytes": max(peak for _, peak in workers),
        "client_peak_bytes": usage_of_process()[1],
    }


def usage_of_process() -> tuple[int, int]:
    """Bytes that a process has written to files and pipes, and the most memory it has had."""
    text = Path("/proc/self/io").read_text()
    written = dict(line.split(": ") for line in text.splitlines())["wchar"]
    return int(written), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def n_compared(scratch: Path) -> float:
    """How many points a point is compared with, on average."""
    size = np.load(scratch / "block-size.npy").astype(float)
    pairs = np.load(scratch / "cell-pairs.npy")
    both = 2 * (size[pairs[:, 0]] * size[pairs[:, 1]]).sum()
    return float((both + (size**2).sum()) / size.sum())


def swapped(folder: Path, k: int) -> Row:
    """The energy of swaps on the whole graph in this process, until none helps."""
    x = np.concatenate([np.load(path) for path in sorted(folder.glob("*.npy"))])
    begin = time.perf_counter()
    graph = gq.bridge_components(gq.knn_graph(x, _NEIGHBORS), x).graph
    found = gq.geodesic_kmedoids(graph, k, power=2, algorithm="swap", random_state=0)
    seconds = round(time.perf_counter() - begin, 1)
    return {"n": len(x), "k": k, "energy": found.inertia, "seconds": seconds}


def most_foreign(scratch: Path) -> int:
    """How many points of other partitions one of them looks at, at most."""
    part, size = np.load(scratch / "block-part.npy"), np.load(scratch / "block-size.npy")
    pairs = np.load(scratch / "cell-pairs.npy")
    of_pair = part[pairs]
    seen = [np.unique(pairs[(of_pair == p).any(axis=1)]) for p in range(part.max() + 1)]
    return max(int(size[cells[part[cells] != p]].sum()) for p, cells in enumerate(seen))


# -------------------------------------------------------------------------------- the cost model

#: Tasks by the kind of work they are; what is in none is work of the client, which grows with n.
TASKS = {
    "rows": "stage_shard group_range number_shard pick_nodes search_shard route_shard "
    "collect_partition",
    "cells": "label_shard mark_shard",
    "neighbours": "join_partition",
    "edges": "link_partition label_partition pair_components number_components members_of "
    "search_from_members search_between extend_partition contract_partition",
    "searches": "search_partition sum_partition note_changes",
    "swaps": "propose_swaps",
    "codes": "largest_of sum_cells code_partition code_shard",
}


#: Kinds of work that are done partition by partition, by no more workers than there are of these.
BY_PARTITION = ("neighbours", "edges", "searches", "swaps", "codes")


def work_of(row: Row, n_workers: int = _N_WORKERS) -> dict[str, float]:
    """How much of each kind of work a worker has; see `docs/how_to/scale.md`."""
    n, d = row["n"], row["d"]
    amounts = {
        "rows": n * d,
        "cells": n * row["cells"] * d,
        "neighbours": n * row["compared"] * d,
        "edges": n * _NEIGHBORS,
        "searches": n * row["searches"],
        "swaps": min(row["rounds"] * (2e8 * row["partitions"] + 500 * n), 4 * n * n / row["k"]),
        "codes": n * d,
    }
    at_once = {kind: min(n_workers, row["partitions"]) for kind in BY_PARTITION}
    shares = {kind: amount / at_once.get(kind, n_workers) for kind, amount in amounts.items()}
    return shares | {"client": n}


def seconds_by_kind(row: Row) -> dict[str, float]:
    """Wall time of each kind of work in a measured fit."""
    tasks = row["tasks"]
    seconds = {kind: sum(tasks.get(t, 0.0) for t in names.split()) for kind, names in TASKS.items()}
    return seconds | {"client": row["seconds"] - sum(tasks.values())}


def constants(rows: list[Row]) -> dict[str, float]:
    """Seconds of one worker for each unit of work."""
    total: dict[str, list[float]] = {}
    for row in rows:
        spent, work = seconds_by_kind(row), work_of(row)
        for kind in work:
            pair = total.setdefault(kind, [0.0, 0.0])
            pair[0] += spent[kind]
            pair[1] += work[kind]
    return {kind: seconds / amount for kind, (seconds, amount) in total.items()}


def foreseen(n: int, partitions: int, rows: list[Row], n_workers: int = _N_WORKERS) -> Row:
    """What a fit of n latents would take: counts of the largest measured fit carried over."""
    known = max(rows, key=lambda row: (row["n"], row["partitions"]))
    cells = n_cells_for(n, exact=False)
    per_cell = known["compared"] / (known["n"] / known["cells"])
    row = {**known, "n": n, "partitions": partitions, "cells": cells}
    row["compared"] = per_cell * n / cells
    if n > known["n"]:  # a round has ever fewer of the candidates: none is the last by itself
        row["rounds"], row["searches"] = MOST_ROUNDS_OF_FEW, MOST_ROUNDS_OF_FEW + 2
    rate = constants(rows)
    row["kinds"] = {kind: share * rate[kind] for kind, share in work_of(row, n_workers).items()}
    row["seconds"] = sum(row["kinds"].values())
    row["bytes_written"] = known["bytes_written"] / known["n"] * n
    row["most_foreign"] = known["most_foreign"] / known["n"] * n
    row["peak_bytes"] = peak_of(row, rows)
    return row


def peak_of(row: Row, rows: list[Row]) -> float:
    """Memory of a worker: that of a shard of the same size, or of a partition's neighbours.

    The latter by its arrays: points of others twice and three numbers for each; own points with
    neighbours and candidates beside, in a partition of the most that it may hold.
    """
    own = MOST_LOAD * row["n"] / row["partitions"]
    joined = _LIBRARIES + own * _BYTES_OF_OWN + row["most_foreign"] * 4 * (2 * row["d"] + 6)
    return max(joined, *(known["peak_bytes"] for known in rows))


# ------------------------------------------------------------------------------------- commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("draw")
    drawing.add_argument("n", type=int)
    drawing.add_argument("folder", type=Path)
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("-k", type=int, default=256)
    measuring.add_argument("--partitions", type=int, nargs="+", default=[None])
    measuring.add_argument("--memory-limit", default="3GiB")
    measuring.add_argument("--apart", action="store_true", help="Not for the constants.")
    swapping = commands.add_parser("swap")
    swapping.add_argument("folder", type=Path)
    swapping.add_argument("-k", type=int, default=256)
    predicting = commands.add_parser("predict")
    predicting.add_argument("n", type=int)
    predicting.add_argument("--partitions", type=int, default=8)
    commands.add_parser("table")
    arguments = parser.parse_args()
    if arguments.command == "draw":
        draw(arguments.n, arguments.folder)
    elif arguments.command == "measure":
        measure(arguments)
    elif arguments.command == "swap":
        print(json.dumps(swapped(arguments.folder, arguments.k)))
    elif arguments.command == "predict":
        print(json.dumps(foreseen(arguments.n, arguments.partitions, known_rows()), indent=1))
    else:
        print(*tables(json.loads(RESULTS.read_text())), sep="\n\n")


def known_rows() -> list[Row]:
    """The measured fits that the constants are of."""
    rows: list[Row] = json.loads(RESULTS.read_text())
    return [row for row in rows if not row["is_apart"]]


def measure(arguments: argparse.Namespace) -> None:
    """Add a row for each number of partitions; what was predicted of it beside it."""
    for n_partitions in arguments.partitions:
        row = measured(arguments.folder, arguments.k, n_partitions, arguments.memory_limit)
        row["is_apart"] = arguments.apart
        rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        RESULTS.write_text(json.dumps([*rows, row], indent=1) + "\n")
        print(json.dumps(row))


def tables(rows: list[Row]) -> list[str]:
    """The tables of `docs/how_to/scale.md`: measured fits, constants, and what to expect."""
    known = [row for row in rows if not row["is_apart"]]
    measured_rows = [
        f"| {row['n']:,} | {row['partitions']} | {row['seconds']:.0f} "
        f"| {foreseen(row['n'], row['partitions'], known)['seconds']:.0f} "
        f"| {row['cut_share']:.1%} | {row['supersteps']} | {row['nodes_told']:,} "
        f"| {row['bytes_written'] / 1e9:.1f} GB | {row['peak_bytes'] / 2**30:.2f} GiB |"
        for row in rows
    ]
    rates = [
        f"| {kind} | {AMOUNTS[kind]} | {rate * 1e9:.3g} |"
        for kind, rate in constants(known).items()
    ]
    expected = []
    for power, n_workers, partitions in SCALES:
        row = foreseen(10**power, partitions, known, n_workers)
        shares = [row["kinds"][kind] / row["seconds"] for kind in ("neighbours", "swaps")]
        expected.append(
            f"| 10^{power} | {n_workers} | {partitions:,} | {row['seconds'] / 3600:,.1f} "
            f"| {shares[0]:.0%} | {shares[1]:.0%} | {row['bytes_written'] / 1e9:,.0f} GB "
            f"| {row['peak_bytes'] / 2**30:.1f} GiB |"
        )
    heads = (
        "| latents | partitions | seconds | foreseen | cut edges | supersteps | told | written "
        "| worker's peak |",
        "| work | amount | seconds for 10⁹ |",
        "| latents | workers | partitions | hours | of it neighbours | of it swaps | written "
        "| memory of a worker |",
    )
    return [
        "\n".join([head, "|---" * (head.count("|") - 1) + "|", *body])
        for head, body in zip(heads, (measured_rows, rates, expected), strict=True)
    ]


AMOUNTS = {
    "rows": "n · d",
    "cells": "n · cells · d",
    "neighbours": "n · points compared · d",
    "edges": "n · neighbours",
    "searches": "n · searches",
    "swaps": "rounds · (2·10⁸ · partitions + 500 · n), but at most 4 · n² / K",
    "codes": "n · d",
    "client": "n",
}
#: Power of ten of the latents, workers of one thread, partitions.
SCALES = [(7, 2, 32), (7, 16, 32), (8, 64, 256), (9, 256, 2048), (10, 1024, 16384)]

if __name__ == "__main__":
    main()
