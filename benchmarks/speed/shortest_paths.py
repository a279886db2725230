"""Nearest source of every node, beside SciPy, PyAMG, networkit and igraph; one thread for all.

``python -m benchmarks.speed.shortest_paths [--quick | --bench | --full]``
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from benchmarks import datasets, peers, stage
from benchmarks.measure import Contender, times_in_turn
from benchmarks.table import Row, time_rows
from benchmarks.verify import as_scipy, require_equal
from geoquant.fit import connected_graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scipy.sparse import csr_matrix

    from benchmarks.stage import Plan
    from benchmarks.verify import Ids

K, N_NEIGHBORS = 64, 10
OURS = "geoquant"
SAME = "scipy, with predecessors and sources (as ours)"


class Task:
    """A graph in every form that a contender takes, the sources, and the right distances."""

    def __init__(self, graph: gq.Graph, n_sources: int = K) -> None:
        self.graph = graph
        self.matrix: csr_matrix = as_scipy(graph)
        rng = np.random.default_rng(0)
        self.sources: Ids = rng.choice(graph.n_nodes, n_sources, replace=False).astype(np.int32)
        self.expected = dijkstra(self.matrix, indices=self.sources, min_only=True)

    def contender(self, name: str, run: Any, distance_of: Any = lambda found: found) -> Contender:
        """Equal to scipy bit for bit, or not timed."""

        def check(found: Any) -> str:
            distance = np.asarray(distance_of(found), float)[: self.graph.n_nodes]
            require_equal("distances", distance, self.expected)
            return "distances bit-equal"

        return Contender(name, run, check)

    def with_super_source(self) -> tuple[Ids, Ids, Any]:
        """Edges, each once, and one more node that is at length zero from every source.

        So that libraries that search from one node answer the same question.
        """
        upper = np.repeat(np.arange(self.graph.n_nodes), np.diff(self.graph.indptr))
        once = upper < self.graph.indices
        start = np.concatenate([upper[once], np.full(len(self.sources), self.graph.n_nodes)])
        end = np.concatenate([self.graph.indices[once], self.sources]).astype(start.dtype)
        zeros = np.zeros(len(self.sources))
        return start, end, np.concatenate([self.graph.lengths[once].astype(float), zeros])


def ours(task: Task, nearest_source: Any = gq.nearest_source) -> Contender:
    run = partial(nearest_source, task.graph, task.sources)
    return task.contender(OURS, run, lambda found: found.distance)


def by_scipy(task: Task, name: str, **options: bool) -> Contender:
    run = partial(dijkstra, task.matrix, indices=task.sources, min_only=True, **options)
    if options.get("return_predecessors"):
        return task.contender(name, run, lambda found: found[0])
    return task.contender(name, run)


def by_pyamg(task: Task) -> Contender:
    bellman_ford = peers.load("pyamg.graph").bellman_ford
    run = partial(bellman_ford, task.matrix, task.sources)
    return task.contender("PyAMG bellman_ford", run, lambda found: found[0])


def by_networkit(task: Task) -> Contender:
    nk = peers.load("networkit")
    start, end, length = task.with_super_source()
    graph = nk.GraphFromCoo(
        (length, (start, end)), n=task.graph.n_nodes + 1, weighted=True, directed=False
    )

    def run() -> Any:
        search = nk.distance.Dijkstra(graph, task.graph.n_nodes, False, False)
        search.run()
        return search.getDistances()

    return task.contender("networkit Dijkstra", run)


def by_igraph(task: Task) -> Contender:
    igraph = peers.load("igraph")
    start, end, length = task.with_super_source()
    graph = igraph.Graph(
        n=task.graph.n_nodes + 1, edges=np.stack([start, end], axis=1), directed=False
    )
    weights = length.tolist()

    def run() -> Any:
        return graph.distances(task.graph.n_nodes, weights=weights, algorithm="dijkstra")[0]

    return task.contender("igraph distances", run)


def nearest_source_rows(
    task: Task, title: str, plan: Plan, nearest_source: Any = gq.nearest_source
) -> list[Row]:
    """All contenders; judged beside scipy giving what ours gives."""
    makers = {
        OURS: partial(ours, task, nearest_source),
        SAME: partial(by_scipy, task, SAME, return_predecessors=True),
        "scipy, distances": partial(by_scipy, task, "scipy, distances only"),
        "scipy, directed=False": partial(by_scipy, task, "scipy, directed=False", directed=False),
        "PyAMG bellman_ford": partial(by_pyamg, task),
        "networkit Dijkstra": partial(by_networkit, task),
        "igraph distances": partial(by_igraph, task),
    }
    contenders, missing = peers.available(makers)
    with peers.threads(1):
        timings = times_in_turn(contenders, plan.pick(2, 21, 51), plan.pick(1, 5, 20))
    plot = {"kind": "nearest source", "n": task.graph.n_nodes}
    rows = time_rows(title, timings, OURS, missing, plot)
    mine, theirs = timings[OURS].median, timings[SAME].median
    fastest = min((n for n in timings if n != OURS), key=lambda n: timings[n].median)
    ratio_note = (
        f"geoquant {1e3 * mine:.2f} ms, scipy {1e3 * theirs:.1f} ms; "
        f"fastest peer: {fastest}, {1e3 * timings[fastest].median:.1f} ms"
    )
    figure = "source-60k" if task.graph.n_nodes == 60_000 and len(task.sources) == K else ""
    return [
        *rows,
        Row(title, f"faster than {SAME}", theirs / mine, "×", target=8.0, at_least=True,
            note=ratio_note, figure=figure),
    ]  # fmt: skip


def groups(plan: Plan) -> Iterator[list[Row]]:
    for n in plan.pick((2_000,), (60_000,), (60_000, 250_000)):
        data = datasets.latents(n, plan.source) if n <= 60_000 else datasets.growing(n)
        graph, _ = connected_graph(data.latents, N_NEIGHBORS)
        for n_sources in plan.pick((K,), (K,), (1, K, 1024)):
            title = f"Nearest of {n_sources} sources, graph of {data}, one thread"
            yield nearest_source_rows(Task(graph, n_sources), title, plan)


if __name__ == "__main__":
    sys.exit(stage.main("shortest_paths", groups))
