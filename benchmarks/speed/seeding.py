"""Seeds by geodesic distance (greedy k-means++), beside the same with SciPy's searches.

``python -m benchmarks.speed.seeding [--quick | --bench | --full]``
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse.csgraph import dijkstra

from benchmarks import datasets, peers, stage
from benchmarks.measure import Contender, times_in_turn
from benchmarks.table import Row, time_rows
from benchmarks.verify import as_scipy, energy, require
from geoquant.clustering.seeding import seed_centres
from geoquant.fit import connected_graph
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    import geoquant as gq
    from benchmarks.datasets import Dataset
    from benchmarks.stage import Plan
    from benchmarks.verify import Ids

N_NEIGHBORS, POWER = 10, 2
OURS = "geoquant"
#: Draws differ from one generator to the next; so much more energy than the mean of some drawn by
#: scipy's distances is no luck any more.
MOST_OVER_SCIPY = 1.15


def n_trials(n_seeds: int) -> int:
    """Draws per seed, of which the best is kept."""
    return 2 + int(np.log(n_seeds))


def ours(graph: gq.Graph, n_seeds: int, seed: int = 0) -> Ids:
    return seed_centres(
        graph,
        n_seeds,
        power=POWER,
        weights=np.ones(graph.n_nodes),
        generator=np.random.default_rng(seed),
    )


def by_scipy(graph: gq.Graph, n_seeds: int, seed: int = 0) -> Ids:
    """The same algorithm, with one search of scipy per draw, bounded where it cannot matter."""
    matrix, rng = as_scipy(graph), np.random.default_rng(seed)
    seeds = [int(rng.integers(graph.n_nodes))]
    distance = dijkstra(matrix, indices=seeds[0])
    while len(seeds) < n_seeds:
        mass = distance**POWER
        draws = rng.choice(graph.n_nodes, n_trials(n_seeds), p=mass / mass.sum())
        limit = distance.max()
        trials = [np.minimum(distance, dijkstra(matrix, indices=d, limit=limit)) for d in draws]
        best = int(np.argmin([(t**POWER).sum() for t in trials]))
        seeds.append(int(draws[best]))
        distance = trials[best]
    return np.array(seeds)


def checked(graph: gq.Graph, n_seeds: int, most: float) -> partial[str]:
    return partial(check, graph, n_seeds, most)


def check(graph: gq.Graph, n_seeds: int, most: float, seeds: Ids) -> str:
    """Distinct seeds, and as good as greedy k-means++ makes them."""
    require(len(seeds) == n_seeds, f"{len(seeds)} seeds, expected {n_seeds}")
    require(len(np.unique(seeds)) == n_seeds, "some seeds are equal")
    found = energy(as_scipy(graph), seeds, POWER)
    require(found <= most, f"energy of the seeds {found:,.0f}, expected at most {most:,.0f}")
    return f"energy {found:,.0f}"


def euclidean(data: Dataset, graph: gq.Graph, n_seeds: int) -> Contender:
    """scikit-learn's, by straight distance: another question, for orientation."""
    cluster = peers.load("sklearn.cluster")

    def run() -> Ids:
        return cluster.kmeans_plusplus(data.latents, n_seeds, random_state=0)[1]

    name = "scikit-learn kmeans_plusplus (straight distance)"
    return Contender(name, run, checked(graph, n_seeds, np.inf))


def seeding_rows(data: Dataset, n_seeds: int, plan: Plan, with_scipy: bool) -> list[Row]:
    """Contenders on one graph; `with_scipy` where its searches do not take minutes."""
    graph, _ = connected_graph(data.latents, N_NEIGHBORS)
    matrix = as_scipy(graph)
    # Uniform seeds are the mark to beat where scipy takes too long to give one.
    random = np.random.default_rng(0).choice(graph.n_nodes, n_seeds, replace=False)
    most = energy(matrix, random, POWER)
    makers = {OURS: lambda: Contender(OURS, partial(ours, graph, n_seeds), is_good)}
    if with_scipy:
        drawn = [energy(matrix, by_scipy(graph, n_seeds, seed), POWER) for seed in (1, 2)]
        most = min(most, MOST_OVER_SCIPY * float(np.mean(drawn)))
        scipy_run = partial(by_scipy, graph, n_seeds)
        makers["scipy"] = lambda: Contender("scipy, a search per draw", scipy_run, is_good)
    is_good = checked(graph, n_seeds, most)
    makers["scikit-learn"] = lambda: euclidean(data, graph, n_seeds)
    contenders, missing = peers.available(makers)
    timings = times_in_turn(contenders, plan.pick(1, 5, 15), plan.pick(1, 5, 30))
    title = f"{n_seeds} seeds, p = {POWER}, graph of {data}, {n_threads(None)} threads"
    plot = {"kind": f"seeding, K = {n_seeds}", "n": data.n}
    return time_rows(title, timings, OURS, missing, plot)


def pyamg_rows(plan: Plan) -> list[Row]:
    """PyAMG's k-means++ on a graph, for few nodes: it says itself that it is for testing only."""
    data = datasets.latents(plan.pick(200, 500, 1_000), plan.source)
    n_seeds = 16
    graph, _ = connected_graph(data.latents, N_NEIGHBORS)
    most = energy(as_scipy(graph), np.arange(n_seeds), POWER)

    def pyamg() -> Contender:
        kmeanspp_seed = peers.load("pyamg.graph").kmeanspp_seed
        run = partial(kmeanspp_seed, as_scipy(graph), n_seeds)
        return Contender("PyAMG kmeanspp_seed", run, checked(graph, n_seeds, np.inf))

    def own() -> Contender:
        return Contender(OURS, partial(ours, graph, n_seeds), checked(graph, n_seeds, most))

    contenders, missing = peers.available({OURS: own, "PyAMG kmeanspp_seed": pyamg})
    timings = times_in_turn(contenders, plan.pick(1, 3, 9), plan.pick(1, 5, 20))
    title = f"{n_seeds} seeds, p = {POWER}, graph of {data}"
    return time_rows(title, timings, OURS, missing)


def groups(plan: Plan) -> Iterator[list[Row]]:
    small = datasets.latents(plan.pick(1_000, 10_000, 10_000), plan.source)
    yield seeding_rows(small, 64, plan, with_scipy=True)
    large = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    yield seeding_rows(large, 64, plan, with_scipy=plan.is_full)
    yield seeding_rows(large, plan.pick(128, 1024, 1024), plan, with_scipy=False)
    yield pyamg_rows(plan)


if __name__ == "__main__":
    sys.exit(stage.main("seeding", groups))
