"""Two lower bounds for the time of each kernel, and what it takes: ``python -m benchmarks.bounds``.

Operations over the rate at which this machine can do them, and bytes over the rate at which it can
read them; a third for what walks a graph, reads at random places over their rate. The rates come
from benchmarks/bounds.cpp, which is compiled and run here; the counts from the data.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from benchmarks import datasets, machine, peers, stage
from benchmarks.measure import Contender, in_seconds, times_in_turn
from benchmarks.peers import NotAvailable
from benchmarks.stage import Plan
from benchmarks.verify import as_scipy, two_nearest
from geoquant.clustering.seeding import seed_centres
from geoquant.fit import connected_graph
from geoquant.graph.knn import nearest_neighbors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.verify import Ids

    Rates = dict[str, dict[int, float]]

SOURCE = Path(__file__).with_suffix(".cpp")
K, N_NEIGHBORS = 64, 10
MEMORY, CACHE = "bytes_read", "bytes_read_from_cache"
CACHE_BYTES = 16 << 20
BYTES_PER_ENTRY = 8  # a neighbour, int32, and a length, float32


@dataclass(frozen=True)
class Kernel:
    """What a kernel has to do at the least, and the time it takes.

    Attributes
    ----------
    name, on : str
        What is done, on what.
    threads : int
        By how many threads.
    operations : float
        Multiply-adds of whole registers' lanes, or additions with a comparison, one lane each.
    rate : str
        Which of the machine's rates bounds the operations.
    n_bytes : float
        Read and written, at the least.
    bytes_rate : str
        Which of the rates bounds them: of memory, or of the cache that they stay in.
    random_reads : float
        Reads at places that the data decides; 0 where there are none to speak of.
    working_set : float
        Bytes that these reads are scattered over.
    seconds : float
        Measured, the median.
    counted : str
        How the counts come about.
    """

    name: str
    on: str
    threads: int
    operations: float
    rate: str
    n_bytes: float
    bytes_rate: str
    random_reads: float
    working_set: float
    seconds: float
    counted: str


# -------------------------------------------------------------------------------- the machine


def machine_rates() -> Rates:
    """Rates per second by name and number of threads."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++"))), None)
    if compiler is None:
        raise NotAvailable("no C++ compiler was found; install one or set CXX")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "bounds"))
        subprocess.run(
            [compiler, "-std=c++17", "-O2", "-pthread", str(SOURCE), "-o", program], check=True
        )
        done = subprocess.run([program], capture_output=True, text=True, check=True)
    return parsed_rates(done.stdout)


def parsed_rates(text: str) -> Rates:
    rates: Rates = {}
    for line in text.splitlines():
        name, threads, rate = line.split()
        rates.setdefault(name, {})[int(threads)] = float(rate)
    return rates


def best_multiply_add(rates: Rates) -> str:
    """The widest instruction set that was measured."""
    return max((name for name in rates if name.startswith("fma_")), key=lambda n: rates[n][1])


def random_rate(rates: Rates, working_set: float, threads: int) -> float:
    """Rate of independent reads in the smallest measured table that holds the working set."""
    sizes = sorted(int(name.split("_")[2]) for name in rates if name.startswith("free_reads"))
    size = next((s for s in sizes if s * 1024 >= working_set), sizes[-1])
    return rates[f"free_reads_{size}_kib"][threads]


def bounds_of(kernel: Kernel, rates: Rates) -> dict[str, float]:
    """Least seconds by operations, by bytes, and by random reads."""
    return {
        "operations": kernel.operations / rates[kernel.rate][kernel.threads],
        "bytes": kernel.n_bytes / rates[kernel.bytes_rate][kernel.threads],
        "random_reads": kernel.random_reads
        / random_rate(rates, kernel.working_set, kernel.threads),
    }


# -------------------------------------------------------------------------------- the kernels


def median_seconds(run: Callable[[], Any], repeats: int) -> float:
    """Results are verified by the stages; here is only the time."""
    return times_in_turn([Contender("", run, lambda _: "")], repeats, 20)[""].median


def join(data: datasets.Dataset, rates: Rates, repeats: int) -> Kernel:
    n, d = data.latents.shape
    run = partial(nearest_neighbors, data.latents, N_NEIGHBORS, n_jobs=2)
    return Kernel(
        "k-NN join",
        str(data),
        2,
        n * (n - 1) / 2 * d,
        best_multiply_add(rates),
        n * d * 4 + n * N_NEIGHBORS * 8,
        MEMORY,
        0,
        0,
        median_seconds(run, repeats),
        "n (n − 1) / 2 pairs, each once, d multiply-adds; latents read, neighbours written, once",
    )


def assign(data: datasets.Dataset, rates: Rates, repeats: int) -> Kernel:
    new = datasets.new_latents(min(10_000, data.n // 2), data)
    fitted = gq.fit_codebook(data.latents, K, algorithm="alternate", random_state=0)
    (n, d), q = data.latents.shape, len(new)
    return Kernel(
        "assign",
        f"{q:,} new latents, anchors {data}",
        2,
        n * q * d,
        best_multiply_add(rates),
        (n + q) * d * 4 + q * 4,
        MEMORY,
        0,
        0,
        median_seconds(partial(fitted.codebook.assign, new, n_jobs=2), repeats),
        "every new latent with every anchor, d multiply-adds",
    )


def walk(name: str, on: str, threads: int, graph: gq.Graph, visits: tuple[float, float],
         seconds: float, counted: str) -> Kernel:  # fmt: skip
    """A kernel that settles so many nodes and looks along so many entries of the graph."""
    nodes, entries = visits
    bytes_rate = CACHE if len(graph.indices) * BYTES_PER_ENTRY <= CACHE_BYTES else MEMORY
    n_bytes = entries * BYTES_PER_ENTRY + 8 * nodes
    return Kernel(name, on, threads, 2 * entries, "fma_portable", n_bytes, bytes_rate, entries,
                  8.0 * graph.n_nodes, seconds, counted)  # fmt: skip


def nearest_source(graph: gq.Graph, on: str, repeats: int) -> Kernel:
    sources = np.random.default_rng(0).choice(graph.n_nodes, K, replace=False).astype(np.int32)
    seconds = median_seconds(partial(gq.nearest_source, graph, sources), 5 * repeats)
    visits = (graph.n_nodes, len(graph.indices))
    counted = "every node settled once, every entry of the graph looked along once"
    return walk(f"nearest of {K} sources", on, 1, graph, visits, seconds, counted)


def seeding(graph: gq.Graph, on: str, repeats: int) -> Kernel:
    run = partial(
        seed_centres,
        graph,
        K,
        power=2,
        weights=np.ones(graph.n_nodes),
    )
    seeds = run(generator=np.random.default_rng(0))
    visits, n_searches = seeding_visits(graph, seeds)
    seconds = median_seconds(lambda: run(generator=np.random.default_rng(0)), repeats)
    counted = (
        f"{n_searches} searches, nodes that each brings nearer: counted by SciPy for some draws "
        "at every eighth seed"
    )
    return walk(f"{K} seeds, greedy k-means++", on, 1, graph, visits, seconds, counted)


def seeding_visits(
    graph: gq.Graph, seeds: Ids, n_draws: int = 3
) -> tuple[tuple[float, float], int]:
    """Nodes and entries that the searches of the draws and of the seeds visit, and how many."""
    matrix, degree = as_scipy(graph), np.diff(graph.indptr)
    rng = np.random.default_rng(0)
    per_search = []
    for n_before in range(1, len(seeds), 8):
        distance = dijkstra(matrix, indices=seeds[:n_before], min_only=True)
        mass = distance**2
        for draw in rng.choice(graph.n_nodes, n_draws, p=mass / mass.sum()):
            is_nearer = dijkstra(matrix, indices=draw) < distance
            per_search.append((is_nearer.sum(), degree[is_nearer].sum()))
    # One search per draw and one more to take the best, for every seed but the first.
    n_searches = (len(seeds) - 1) * (2 + int(np.log(len(seeds))) + 1)
    nodes, entries = np.mean(per_search, axis=0) * n_searches
    whole = graph.n_nodes, len(graph.indices)  # the search of the first seed
    return (float(nodes + whole[0]), float(entries + whole[1])), n_searches + 1


def swap_pass(graph: gq.Graph, on: str, repeats: int) -> Kernel:
    """All candidates once, at the local optimum, where no swap follows."""
    options: dict[str, Any] = {"power": 2, "algorithm": "swap", "n_perturbations": 0, "n_jobs": 2}
    optimum = gq.geodesic_kmedoids(graph, K, random_state=0, **options).medoid_indices
    run = partial(gq.geodesic_kmedoids, graph, K, init=optimum, random_state=1, **options)
    nodes, entries = swap_visits(graph, optimum)
    visits = (nodes * graph.n_nodes, entries * graph.n_nodes)
    counted = (
        f"{nodes:,.0f} nodes and {entries:,.0f} entries per candidate: counted by SciPy for 200 "
        "candidates, the nodes nearer to it than to their second centre"
    )
    seconds = median_seconds(run, repeats)
    return walk("swap, a pass that ends at once", on, 2, graph, visits, seconds, counted)


def swap_visits(graph: gq.Graph, centres: Ids, n_sampled: int = 200) -> tuple[float, float]:
    """Mean numbers of nodes and of entries that the search of a candidate visits."""
    matrix, degree = as_scipy(graph), np.diff(graph.indptr)
    _, _, d2 = two_nearest(matrix, centres)
    size = min(n_sampled, graph.n_nodes)
    sample = np.random.default_rng(0).choice(graph.n_nodes, size, replace=False)
    counts = []
    for node in sample.tolist():
        is_entered = dijkstra(matrix, indices=node, limit=float(d2.max())) < d2
        counts.append((is_entered.sum(), degree[is_entered].sum()))
    nodes, entries = np.mean(counts, axis=0)
    return float(nodes), float(entries)


def kernels(plan: Plan, rates: Rates) -> Iterator[Kernel]:
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    repeats = plan.pick(1, 3, 7)
    yield join(data, rates, repeats)
    graph, _ = connected_graph(data.latents, N_NEIGHBORS)
    on = f"graph of {data}"
    yield nearest_source(graph, on, repeats)
    yield seeding(graph, on, repeats)
    yield swap_pass(graph, on, 1)
    yield assign(data, rates, repeats)


# --------------------------------------------------------------------------------- the tables


def as_json(about: dict[str, Any], rates: Rates, measured: Sequence[Kernel]) -> str:
    content = {
        "schema_version": 1,
        "run": about,
        "rates": rates,
        "kernels": [asdict(kernel) | {"bounds": bounds_of(kernel, rates)} for kernel in measured],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def as_markdown(text: str) -> str:
    """The machine's rates and the kernels beside their bounds, from what `as_json` wrote."""
    content = json.loads(text)
    run = content["run"]
    head = (
        f"Measured {run['date'][:10]} at {run['commit'][:10]} on {run['cpu']}, "
        f"{run['cores']} cores."
    )
    return "\n\n".join([head, rates_table(content["rates"]), kernels_table(content["kernels"])])


def rates_table(rates: dict[str, dict[str, float]]) -> str:
    lines = ["| what the machine can do, per second | 1 thread | 2 threads |", "|---|---|---|"]
    for name, by_threads in rates.items():
        cells = [rate_text(name, by_threads[threads]) for threads in ("1", "2")]
        lines.append(f"| {rate_name(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rate_name(name: str) -> str:
    words = name.split("_")
    if words[0] == "fma":
        return f"float32 multiply-adds, {words[1]}"
    if name in (MEMORY, CACHE):
        where = "memory" if name == MEMORY else "8 MiB in cache"
        return f"bytes read in order from {where}"
    size = f"{int(words[2])} KiB" if int(words[2]) < 1024 else f"{int(words[2]) // 1024} MiB"
    kind = "each after the one before" if words[0] == "chained" else "independent"
    return f"reads at random in {size}, {kind}"


def rate_text(name: str, rate: float) -> str:
    if name in (MEMORY, CACHE):
        return f"{rate / 1e9:.1f} GB"
    if name.startswith("chained"):
        return f"{rate / 1e6:,.0f} M ({1e9 / rate:.1f} ns)"
    return f"{rate / 1e9:.2f} G"


def kernels_table(measured: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| kernel | by operations | by bytes | by random reads | measured | over the largest bound "
        "| counted |",
        "|---|---|---|---|---|---|---|",
    ]
    for kernel in measured:
        bound = kernel["bounds"]
        ratio = kernel["seconds"] / max(bound.values())
        threads = "1 thread" if kernel["threads"] == 1 else f"{kernel['threads']} threads"
        cells = [
            f"{kernel['name']}, {kernel['on']}, {threads}",
            in_seconds(bound["operations"]),
            in_seconds(bound["bytes"]),
            in_seconds(bound["random_reads"]) if kernel["random_reads"] else "",
            in_seconds(kernel["seconds"]),
            f"{ratio:.1f}×",
            kernel["counted"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    options = stage.parsed("Lower bounds of the kernels, beside their times.", argv)
    plan = Plan(options.size, options.source)
    try:
        rates = machine_rates()
        with peers.threads(2):
            measured = list(kernels(plan, rates))
    except NotAvailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    text = as_json(machine.about() | {"size": plan.size}, rates, measured)
    print(as_markdown(text))
    folder = options.results or (stage.folder_of(plan) if plan.is_judged else None)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bounds.json").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
