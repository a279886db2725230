"""Geodesic k-medoids, beside all pairs with FasterPAM and whatever else clusters a graph.

``python -m benchmarks.speed.swap [--quick | --bench | --full]``
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from benchmarks import datasets, peers, stage
from benchmarks.measure import said_by_module, timed
from benchmarks.table import Row
from benchmarks.trends import extrapolated, power_law
from benchmarks.verify import (
    as_scipy,
    energy,
    require,
    require_equal,
    require_local_optimum,
    verified_energy,
)
from geoquant.fit import connected_graph
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.datasets import Dataset
    from benchmarks.stage import Plan
    from benchmarks.verify import Ids

    KMedoids = Callable[..., gq.Clustering]

K, N_NEIGHBORS = 64, 10
POWERS = (1, 2)
#: To the local optimum of single swaps and no further.
OPTIMUM = {"algorithm": "swap", "n_perturbations": 0}


# ------------------------------------------------------------- all pairs, by as many processes


def all_pairs(matrix: Any, n_processes: int, dtype: npt.DTypeLike = np.float64) -> Any:
    """Distances of all pairs by scipy, rows shared among processes."""
    n = matrix.shape[0]
    blocks = [slice(b, min(n, b + 500)) for b in range(0, n, 500)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs")
        pairs = np.memmap(file, dtype, "w+", shape=(n, n))
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        with context.Pool(n_processes) as pool:
            pool.map(partial(_fill, matrix, str(file), np.dtype(dtype).str), blocks, chunksize=1)
        return np.array(pairs)


def _fill(matrix: Any, file: str, dtype: str, rows: slice) -> None:
    n = matrix.shape[0]
    pairs = np.memmap(file, dtype, "r+", shape=(n, n))
    pairs[rows] = dijkstra(matrix, indices=np.arange(rows.start, rows.stop))


def fasterpam(dissimilarity: npt.NDArray[np.float32], n_clusters: int, seed: int) -> Ids:
    kmedoids = peers.load("kmedoids")
    found = kmedoids.fasterpam(dissimilarity, n_clusters, random_state=seed, n_cpu=n_threads(None))
    return np.asarray(found.medoids, np.int64)


# -------------------------------------------------------------- one clustering, time and energy


@dataclass(frozen=True)
class Outcome:
    """Seconds and energies of one method, an entry per seed."""

    method: str
    seconds: list[float]
    energies: list[float]
    is_ours: bool = False

    def row(self, title: str, best: float, plot: Mapping[str, Any] | None = None) -> Row:
        """The median time; the energies beside the best known."""
        listed = " · ".join(f"{value:,.0f}" for value in self.energies)
        excess = [100 * (value / best - 1) for value in self.energies]
        note = f"energy {listed}; {min(excess):.2f} to {max(excess):.2f} % over the best known"
        numbers: dict[str, Any] = {"seconds": self.seconds, "energies": self.energies}
        if plot is not None:
            numbers["plot"] = dict(plot) | {"method": self.method, "is_ours": self.is_ours}
        median = statistics.median(self.seconds)
        return Row(title, self.method, median, "s", note=note, numbers=numbers)


class Arena:
    """A graph with what the methods need of it, and verified runs on it."""

    def __init__(self, data: Dataset, kmedoids: KMedoids = gq.geodesic_kmedoids) -> None:
        self.data = data
        self.graph, _ = connected_graph(data.latents, N_NEIGHBORS)
        self.matrix = as_scipy(self.graph)
        self.kmedoids = kmedoids

    def ours(
        self, name: str, power: int, seeds: Sequence[int], n_clusters: int = K, **options: Any
    ) -> Outcome:
        """Our runs, each verified."""
        seconds: list[float] = []
        energies = []
        for seed in seeds:
            with timed(seconds):
                result = self.kmedoids(
                    self.graph, n_clusters, power=power, random_state=seed, **options
                )
            energies.append(verified_energy(self.matrix, result, n_clusters, power))
            if options.get("algorithm") == "swap":
                require(result.is_converged, f"{name}: the swaps did not end")
                require_local_optimum(self.matrix, result.medoid_indices, power, 20, seed)
        return Outcome(name, seconds, energies, is_ours=True)

    def peer(
        self, name: str, power: int, seeds: Sequence[int], run: Callable[[int], Ids]
    ) -> Outcome:
        """A peer's centres; their energy is what scipy finds."""
        seconds: list[float] = []
        energies = []
        for seed in seeds:
            with timed(seconds):
                centres = np.asarray(run(seed))
            require(len(np.unique(centres)) == K, f"{name}: {len(np.unique(centres))} centres")
            energies.append(energy(self.matrix, centres, power))
        return Outcome(name, seconds, energies)


# ---------------------------------------------------------------- (1) to the local optimum, 60k


def peer_seconds(sizes: Sequence[int], plan: Plan, power: int) -> dict[int, dict[str, float]]:
    """Seconds of all pairs and of FasterPAM at each size."""
    found = {}
    for n in sizes:
        arena = Arena(datasets.latents(n, plan.source))
        pairs_s: list[float] = []
        pam_s: list[float] = []
        with timed(pairs_s):
            pairs = all_pairs(arena.matrix, n_threads(None), np.float32)
        rows = np.random.default_rng(0).choice(n, 5, replace=False)
        expected = dijkstra(arena.matrix, indices=rows).astype(np.float32)
        require_equal("rows of all pairs", pairs[rows], expected)
        if power != 1:
            np.power(pairs, power, out=pairs)
        with timed(pam_s):
            medoids = fasterpam(pairs, K, 0)
        require(len(np.unique(medoids)) == K, "FasterPAM: centres are equal")
        found[n] = {"all_pairs": pairs_s[0], "fasterpam": pam_s[0]}
    return found


def local_optimum_rows(plan: Plan) -> Iterator[list[Row]]:
    """Time to the local optimum, its energy, and the default beside it, on all latents."""
    n = plan.pick(2_000, 60_000, 60_000)
    arena = Arena(datasets.latents(n, plan.source))
    title = f"Clustering the graph of {arena.data}, K = {K}, p = 2, {n_threads(None)} threads"
    seeds = plan.pick((0,), (0,), (0, 1, 2))
    swap = arena.ours("swap to the local optimum", 2, seeds, **OPTIMUM)
    default = arena.ours("default", 2, plan.pick((0,), (0, 1, 2), (0, 1, 2, 3, 4)))
    outcomes = [swap, default]
    if plan.is_full:
        outcomes.append(arena.ours("default, n_init=5", 2, (0, 1), n_init=5))
        outcomes.append(arena.ours("alternate", 2, seeds, algorithm="alternate"))
    best = min(value for outcome in outcomes for value in outcome.energies)
    plot = {"kind": "quality", "n": n, "power": 2}
    yield [outcome.row(title, best, plot) for outcome in outcomes]
    swap_s = statistics.median(swap.seconds)
    yield [
        Row(title, "swap to the local optimum, median time", swap_s, "s", target=6.0,
            figure="swap-time", note=f"energy {' · '.join(f'{e:,.0f}' for e in swap.energies)}"),
        Row(title, "default, energy over the best local optimum, worst seed",
            max(default.energies) / best, "ratio", target=1.01, figure="default-energy",
            note=f"best known here {best:,.0f}"),
        Row(title, "default, median time", statistics.median(default.seconds), "s", target=2.5,
            figure="default-time"),
    ]  # fmt: skip
    yield [threads_row(arena, swap, plan)]
    try:
        yield extrapolated_rows(title, swap_s, n, plan)
    except peers.NotAvailable as error:
        yield [Row(title, "share of all pairs + FasterPAM", None, "share", note=str(error))]


def threads_row(arena: Arena, two: Outcome, plan: Plan) -> Row:
    """Two threads against one, the same swaps."""
    one_s: list[float] = []
    two_s: list[float] = []
    energies = []
    for _ in range(plan.pick(1, 1, 3)):
        for seconds, n_jobs in ((two_s, 2), (one_s, 1)):
            with timed(seconds):
                result = arena.kmedoids(
                    arena.graph, K, power=2, random_state=0, n_jobs=n_jobs, **OPTIMUM
                )
            energies.append(result.inertia)
    require_equal(
        "energies for each number of threads", energies, two.energies[0:1] * len(energies)
    )
    one, both = statistics.median(one_s), statistics.median(two_s)
    return Row(
        f"Two threads, swap on {arena.data}",
        "swap, faster than with one",
        one / both,
        "×",
        target=1.8,
        at_least=True,
        figure="threads-swap",
        note=f"{one:.3g} s with one, {both:.3g} s; seeding included",
        numbers={"one_s": one_s, "two_s": two_s},
    )


def extrapolated_rows(title: str, swap_s: float, n: int, plan: Plan) -> list[Row]:
    """Beside what all pairs and FasterPAM would take, by the power laws through smaller sizes."""
    sizes = plan.pick((300, 600), (5_000, 10_000), (5_000, 10_000, 20_000))
    measured = peer_seconds(sizes, plan, power=2)
    parts, words = {}, []
    for part, name in (("all_pairs", "all pairs"), ("fasterpam", "FasterPAM")):
        seconds_at = {size: seconds[part] for size, seconds in measured.items()}
        parts[part] = extrapolated(seconds_at, n)
        words.append(f"{name} {parts[part]:,.0f} s (exponent {power_law(seconds_at)[0]:.2f})")
    total = sum(parts.values())
    listed = ", ".join(f"{size:,}" for size in sizes)
    curve = [
        Row(f"All pairs (scipy, {n_threads(None)} processes) + FasterPAM", f"{size:,} latents",
            sum(seconds.values()), "s",
            note=f"all pairs {seconds['all_pairs']:.3g} s, FasterPAM {seconds['fasterpam']:.3g} s",
            numbers=seconds | {"seconds": [sum(seconds.values())], "plot": {
                "kind": "fit", "n": size, "method": "all pairs + FasterPAM (graph given)"}})
        for size, seconds in measured.items()
    ]  # fmt: skip
    return [
        *curve,
        Row(title, "share of all pairs + FasterPAM, extrapolated", swap_s / total, "share",
            target=1 / 200, figure="swap-share",
            note=f"extrapolated from {listed}: {' + '.join(words)}; ours {swap_s:.3g} s",
            numbers={"measured": {str(s): v for s, v in measured.items()}, "extrapolated": parts}),
    ]  # fmt: skip


# --------------------------------------------------------------------- (2) quality against time


def quality_rows(plan: Plan, kmedoids: KMedoids = gq.geodesic_kmedoids) -> Iterator[list[Row]]:
    """Every method that ends in centres or cells, by time and energy, on a graph all can do."""
    arena = Arena(datasets.latents(plan.pick(500, 10_000, 10_000), plan.source), kmedoids)
    seeds = plan.pick((0,), (0,), (0, 1, 2))
    pairs_s: list[float] = []
    with timed(pairs_s):
        pairs = all_pairs(arena.matrix, n_threads(None))
    for power in POWERS:
        outcomes = our_outcomes(arena, power, seeds, plan)
        missing = {}
        for name, run in peer_runs(arena, pairs, pairs_s[0], power, plan).items():
            try:
                outcomes.append(run(name, seeds))
            except peers.NotAvailable as error:
                missing[name] = str(error)
        title = f"Quality against time, graph of {arena.data}, K = {K}, p = {power}"
        best = min(value for outcome in outcomes for value in outcome.energies)
        plot = {"kind": "quality", "n": arena.data.n, "power": power}
        rows = [outcome.row(title, best, plot) for outcome in outcomes]
        yield rows + [Row(title, name, None, "s", note=why) for name, why in missing.items()]


def our_outcomes(arena: Arena, power: int, seeds: Sequence[int], plan: Plan) -> list[Outcome]:
    outcomes = [
        arena.ours("geoquant, alternate", power, seeds, algorithm="alternate"),
        arena.ours("geoquant, default", power, seeds),
        arena.ours("geoquant, swap", power, seeds, **OPTIMUM),
        arena.ours("geoquant, default, n_init=5", power, seeds, n_init=plan.pick(2, 5, 5)),
    ]
    if plan.is_full:
        outcomes.append(arena.ours("geoquant, swap, n_init=5", power, seeds, n_init=5, **OPTIMUM))
    return outcomes


def peer_runs(
    arena: Arena, pairs: npt.NDArray[np.float64], pairs_s: float, power: int, plan: Plan
) -> dict[str, Callable[[str, Sequence[int]], Outcome]]:
    """What to run for each peer; one that fails to be imported says so then."""

    def faster_pam(name: str, seeds: Sequence[int]) -> Outcome:
        dense = (pairs**power).astype(np.float32)
        outcome = arena.peer(name, power, seeds, lambda seed: fasterpam(dense, K, seed))
        return Outcome(name, [s + pairs_s for s in outcome.seconds], outcome.energies)

    def cells(labels_of: Callable[[int], Ids]) -> Callable[[str, Sequence[int]], Outcome]:
        return lambda name, seeds: outcome_of_cells(arena, name, pairs, power, seeds, labels_of)

    def centres(run: Callable[[int], Ids]) -> Callable[[str, Sequence[int]], Outcome]:
        return lambda name, seeds: arena.peer(name, power, seeds, run)

    runs = {"all pairs (scipy) + FasterPAM (kmedoids)": faster_pam}
    if power == 2:
        runs |= {
            "scikit-learn KMeans, cells": cells(partial(kmeans_labels, arena, 1)),
            "scikit-learn KMeans, n_init=10, cells": cells(partial(kmeans_labels, arena, 10)),
            "PyAMG lloyd_cluster": centres(partial(pyamg_centres, arena, "lloyd_cluster")),
            "PyAMG balanced_lloyd_cluster": centres(
                partial(pyamg_centres, arena, "balanced_lloyd_cluster")
            ),
            "scikit-learn AgglomerativeClustering on the graph": cells(
                partial(agglomerative_labels, arena)
            ),
            "scikit-learn SpectralClustering on the graph": cells(partial(spectral_labels, arena)),
        }
    elif plan.is_full:
        runs["networkit GroupClosenessGrowShrink"] = centres(partial(networkit_centres, arena))
    return runs


def outcome_of_cells(
    arena: Arena,
    name: str,
    pairs: npt.NDArray[np.float64],
    power: int,
    seeds: Sequence[int],
    labels_of: Callable[[int], Ids],
) -> Outcome:
    """Cells without centres get the best that each can have; finding them is not timed."""
    seconds: list[float] = []
    energies = []
    for seed in seeds:
        with timed(seconds):
            labels = np.asarray(labels_of(seed))
        energies.append(energy(arena.matrix, medoids_of_cells(pairs, labels, power), power))
    return Outcome(f"{name} (best medoids of them)", seconds, energies)


def medoids_of_cells(pairs: npt.NDArray[np.float64], labels: Ids, power: int) -> Ids:
    """The node of each cell with the least summed distance to its cell."""
    medoids = []
    for label in np.unique(labels):
        nodes = np.flatnonzero(labels == label)
        cost = (pairs[np.ix_(nodes, nodes)] ** power).sum(axis=1)
        medoids.append(nodes[cost.argmin()])
    return np.array(medoids)


def kmeans_labels(arena: Arena, n_init: int, seed: int) -> Ids:
    cluster = peers.load("sklearn.cluster")
    return cluster.KMeans(K, n_init=n_init, random_state=seed).fit(arena.data.latents).labels_


def pyamg_centres(arena: Arena, function: str, seed: int) -> Ids:
    """Started from random nodes, as PyAMG does; until nothing changes, or 100 rounds."""
    graph = peers.load("pyamg.graph")
    start = np.random.default_rng(seed).choice(arena.data.n, K, replace=False).astype(np.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it stopped at the most rounds
        return getattr(graph, function)(arena.matrix, start, maxiter=100)[1]


def similarity(arena: Arena) -> Any:
    """Edge lengths as similarities for spectral clustering: Gaussian, of the median length."""
    matrix = arena.matrix.copy()
    matrix.data = np.exp(-((matrix.data / np.median(matrix.data)) ** 2))
    return matrix


def spectral_labels(arena: Arena, seed: int) -> Ids:
    cluster = peers.load("sklearn.cluster")
    model = cluster.SpectralClustering(K, affinity="precomputed", random_state=seed)
    return model.fit(similarity(arena)).labels_


def agglomerative_labels(arena: Arena, _seed: int) -> Ids:
    cluster = peers.load("sklearn.cluster")
    model = cluster.AgglomerativeClustering(K, connectivity=arena.matrix, linkage="ward")
    return model.fit(arena.data.latents).labels_


def networkit_centres(arena: Arena, seed: int) -> Ids:
    """k-median on a graph by exchanges with the neighbourhood of the group."""
    nk = peers.load("networkit")
    nk.setSeed(seed, False)
    matrix = arena.matrix.tocoo()
    once = matrix.row < matrix.col
    edges = (matrix.data[once], (matrix.row[once].astype(int), matrix.col[once].astype(int)))
    graph = nk.GraphFromCoo(edges, n=arena.data.n, weighted=True, directed=False)
    start = np.random.default_rng(seed).choice(arena.data.n, K, replace=False).tolist()
    search = nk.centrality.GroupClosenessGrowShrink(graph, start)
    search.run()
    return np.array(search.groupMaxCloseness())


# ----------------------------------------------------------------------- (3) K, and memory


def k_rows(plan: Plan) -> list[Row]:
    """From few centres to very many, the default."""
    arena = Arena(datasets.latents(plan.pick(1_000, 20_000, 60_000), plan.source))
    rows = []
    for n_clusters in plan.pick((2, 64), (16, 1024), (2, 16, 256, 1024, 4096, 16_384)):
        outcome = arena.ours("", 2, (0,), n_clusters)
        rows.append(
            Row(f"Default, p = 2, by K, graph of {arena.data}", f"K = {n_clusters:,}",
                outcome.seconds[0], "s", note=f"energy {outcome.energies[0]:,.0f}",
                numbers={"seconds": outcome.seconds, "energies": outcome.energies})
        )  # fmt: skip
    return rows


def memory_rows(plan: Plan) -> list[Row]:
    """Memory that clustering takes beside the graph, in a fresh process."""
    if sys.platform != "linux":
        return []
    arena = Arena(datasets.latents(plan.pick(1_000, 10_000, 60_000), plan.source))
    graph = arena.graph
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "graph.npz"))
        np.savez(file, indptr=graph.indptr, indices=graph.indices, lengths=graph.lengths)
        grown = said_by_module("benchmarks.speed.memory", "cluster", json.dumps(
            {"graph": file, "n_clusters": K, "power": 2}))  # fmt: skip
    dense_mb = graph.n_nodes**2 * 4 / 1e6
    return [
        Row("Memory of clustering beside the graph", str(arena.data), grown["growth_mb"], "MB",
            note=f"the dense float32 matrix alone: {dense_mb:,.0f} MB", numbers=grown)
    ]  # fmt: skip


def groups(plan: Plan) -> Iterator[list[Row]]:
    yield from local_optimum_rows(plan)
    yield from quality_rows(plan)
    yield k_rows(plan)
    yield memory_rows(plan)


if __name__ == "__main__":
    sys.exit(stage.main("swap", groups))
