"""Graph of nearest neighbours, beside faiss, scikit-learn and pynndescent.

``python -m benchmarks.speed.graph [--quick | --bench | --full]``
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from benchmarks import datasets, machine, peers, stage
from benchmarks.measure import Contender, said_by_module, timed, times_in_turn
from benchmarks.table import Row, time_rows
from benchmarks.verify import (
    recall_of_graph,
    recall_of_ids,
    require_equal,
    require_recall,
    sampled_rows,
    true_reaches,
)
from geoquant.graph.knn import nearest_neighbors
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.datasets import Dataset
    from benchmarks.measure import Timing
    from benchmarks.stage import Plan

K = 10
#: What geoquant promises of a graph that is not exact.
RECALL = 0.995
#: Rows that are compared with an exact search in float64, and what such a sample may be off by.
N_SAMPLED, SAMPLING_ERROR = 1000, 0.002
OURS, LISTS, FLAT, IVF = "geoquant", "geoquant, lists only", "faiss IndexFlatL2", "faiss IVFFlat"


# --------------------------------------------------------------------------------- contenders


def ours(data: Dataset, least: float, n_jobs: int | None = None) -> Contender:
    """The whole graph: search, lengths, symmetry, duplicates merged."""
    rows = sampled_rows(data.n, N_SAMPLED)

    def check(graph: gq.Graph) -> str:
        recall = recall_of_graph(graph, data.latents, K, rows)
        require_recall("graph", recall, least)
        return f"recall {recall:.4f}"

    return Contender(OURS, partial(gq.knn_graph, data.latents, K, n_jobs=n_jobs), check)


def our_lists(data: Dataset, least: float, n_jobs: int | None = None) -> Contender:
    """The neighbours of each latent, as the peers give them."""
    search = partial(nearest_neighbors, data.latents, K, n_jobs=n_jobs)
    return by_ids(LISTS, data, search, lambda found: found.index, least)


def by_ids(name: str, data: Dataset, run: Any, ids_of: Any, least: float) -> Contender:
    """A contender whose result holds the ids of the neighbours."""
    rows = sampled_rows(data.n, N_SAMPLED)

    def check(result: Any) -> str:
        recall = recall_of_ids(data.latents, ids_of(result), K, rows)
        require_recall("neighbours", recall, least)
        return f"recall {recall:.4f}"

    return Contender(name, run, check)


def faiss_flat(data: Dataset) -> Contender:
    faiss = peers.load("faiss")

    def run() -> Any:
        index = faiss.IndexFlatL2(data.latents.shape[1])
        index.add(data.latents)
        return index.search(data.latents, K + 1)[1]

    return by_ids(FLAT, data, run, lambda ids: ids, 0.999)


def faiss_ivf(data: Dataset, least: float) -> Contender:
    """Cells and probes of the least time, on a sample of queries, that have the recall."""
    n_lists, n_probes = tuned_ivf(data, least)

    def run() -> Any:
        index = trained_ivf(data, n_lists)
        index.nprobe = n_probes
        return index.search(data.latents, K + 1)[1]

    contender = by_ids(IVF, data, run, lambda ids: ids, least - SAMPLING_ERROR)
    how = f"; {n_lists} lists, {n_probes} probes"
    return Contender(IVF, run, lambda ids: contender.check(ids) + how)


def trained_ivf(data: Dataset, n_lists: int) -> Any:
    faiss = peers.load("faiss")
    d = data.latents.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, n_lists)
    index.train(data.latents[np.random.default_rng(0).permutation(data.n)[: 50 * n_lists]])
    index.add(data.latents)
    return index


def tuned_ivf(data: Dataset, least: float) -> tuple[int, int]:
    """Least time of all, training and adding included, for as many queries as there are latents."""
    judged = sampled_rows(data.n, N_SAMPLED)
    reaches = true_reaches(data.latents, judged, K)
    queries = sampled_rows(data.n, 4000)
    reached: list[tuple[float, int, int]] = []
    for per_root in (1, 2, 4):
        n_lists = int(per_root * np.sqrt(data.n))
        build: list[float] = []
        with timed(build):
            index = trained_ivf(data, n_lists)
        for n_probes in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
            index.nprobe = n_probes
            ids = np.full((data.n, K + 1), -1)
            ids[judged] = index.search(data.latents[judged], K + 1)[1]
            if recall_of_ids(data.latents, ids, K, judged, reaches) >= least:
                search: list[float] = []
                with timed(search):
                    index.search(data.latents[queries], K + 1)
                total = build[0] + search[0] * data.n / len(queries)
                reached.append((total, n_lists, n_probes))
                break
    return min(reached)[1:]


def sklearn_graph(data: Dataset) -> Contender:
    neighbors = peers.load("sklearn.neighbors")
    run = partial(
        neighbors.kneighbors_graph, data.latents, K, mode="distance", n_jobs=n_threads(None)
    )
    return by_ids(
        "scikit-learn kneighbors_graph",
        data,
        run,
        lambda matrix: matrix.indices.reshape(data.n, K),
        0.9999,
    )


def pynndescent(data: Dataset) -> Contender:
    """Compiled by a small run first; asked for more neighbours than needed, for the recall."""
    library = peers.load("pynndescent")
    options = {"random_state": 0, "n_jobs": n_threads(None)}
    _ = library.NNDescent(data.latents[:2000], n_neighbors=2 * K, **options).neighbor_graph

    def run() -> Any:
        return library.NNDescent(data.latents, n_neighbors=2 * K, **options).neighbor_graph

    return by_ids("pynndescent", data, run, lambda graph: graph[0][:, : K + 1], 0.9)


# -------------------------------------------------------------------------------------- rows


def beside_all(plan: Plan) -> list[Row]:
    """The graph of the latents that the figures speak of."""
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    makers = {
        OURS: partial(ours, data, 1.0),
        LISTS: partial(our_lists, data, 1.0),
        FLAT: partial(faiss_flat, data),
        IVF: partial(faiss_ivf, data, RECALL),
        "pynndescent": partial(pynndescent, data),
        "scikit-learn kneighbors_graph": partial(sklearn_graph, data),
    }
    contenders, missing = peers.available(makers)
    timings = times_in_turn(contenders, plan.pick(1, 3, 7), plan.pick(1, 12, 60))
    title = f"{K}-NN graph, {data}"
    rows = time_rows(title, timings, OURS, missing, {"kind": "graph", "n": data.n})
    return [*rows, share_row(title, timings, OURS, FLAT, 1 / 4, "graph-60k")]


def share_row(
    title: str, timings: dict[str, Timing], ours_name: str, peer: str, target: float, figure: str
) -> Row:
    """Our time over that of a peer."""
    mine, theirs = timings[ours_name], timings[peer]
    return Row(
        title,
        f"share of the time of {peer}",
        mine.median / theirs.median,
        "share",
        target=target,
        figure=figure,
        note=f"{ours_name} {mine.median:.3g} s ({mine.found}), {peer} {theirs.median:.3g} s "
        f"({theirs.found})",
    )


def by_dimension(plan: Plan) -> Iterator[list[Row]]:
    """Whether the choice of engine is right where distances cost more."""
    n = plan.pick(2_000, 60_000, 60_000)
    for dim in (64, 256):
        data = datasets.mixture(n, dim)
        contenders = [ours(data, 1.0), faiss_flat(data)]
        timings = times_in_turn(contenders, plan.pick(1, 2, 5), plan.pick(1, 12, 60))
        title = f"{K}-NN graph, {data}"
        rows = time_rows(title, timings, OURS, {}, {"kind": f"graph, d = {dim}", "n": n})
        yield [*rows, share_row(title, timings, OURS, FLAT, 1.05, f"graph-d{dim}")]


def small_sets(plan: Plan) -> Iterator[list[Row]]:
    """Sets that anyone has."""
    for data in (datasets.digits(), datasets.swiss_roll(plan.pick(1_000, 20_000, 20_000))):
        contenders = [ours(data, 1.0), faiss_flat(data), sklearn_graph(data)]
        timings = times_in_turn(contenders, plan.pick(1, 5, 15), 10)
        yield time_rows(f"{K}-NN graph, {data}", timings, OURS, {})


def by_size(plan: Plan) -> Iterator[list[Row]]:
    """More latents than an exact search is for."""
    for n in plan.pick((3_000,), (250_000,), (250_000, 1_000_000)):
        data = datasets.growing(n)
        contenders = [ours(data, RECALL - SAMPLING_ERROR), faiss_ivf(data, RECALL)]
        timings = times_in_turn(contenders, plan.pick(1, 1, 3), plan.pick(1, 20, 120))
        title = f"{K}-NN graph at recall ≥ {RECALL}, {data}"
        rows = time_rows(title, timings, OURS, {}, {"kind": "graph, recall 0.995", "n": n})
        figure = "graph-1m" if n == 1_000_000 else ""
        yield [*rows, share_row(title, timings, OURS, IVF, 1 / 6, figure)]


def by_threads(plan: Plan) -> list[Row]:
    """Two threads against one."""
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    contenders = [
        Contender(str(n), our_lists(data, 1.0, n).run, our_lists(data, 1.0).check) for n in (1, 2)
    ]
    timings = times_in_turn(contenders, plan.pick(1, 3, 9), plan.pick(1, 10, 60))
    one, two = timings["1"].median, timings["2"].median
    return [
        Row(f"Two threads, {data}", "join, faster than with one", one / two, "×", target=1.8,
            at_least=True, figure="threads-join", note=f"{one:.3g} s with one, {two:.3g} s",
            numbers={name: t.numbers() for name, t in timings.items()})
    ]  # fmt: skip


def bits(plan: Plan) -> list[Row]:
    """The same bits for each number of threads and instruction set; the time of each set."""
    n = plan.pick(1_000, 20_000, 60_000)
    rows, digests = [], {}
    for simd in machine.instruction_sets():
        env = dict(os.environ) | {"GEOQUANT_SIMD": simd}
        found = said_by_module("benchmarks.speed.bits", str(n), plan.source, env=env)
        digests |= {f"{simd}, {t} threads": digest for t, digest in found["digests"].items()}
        rows.append(
            Row(f"Instruction sets, {K}-NN graph of {n:,} latents", simd, found["seconds"], "s",
                note="bits equal for 1, 2, 3 and 8 threads and every set", numbers=found)
        )  # fmt: skip
    first = next(iter(digests.values()))
    for name, digest in digests.items():
        require_equal(f"bits of {name}", digest, first)
    return rows


def groups(plan: Plan) -> Iterator[list[Row]]:
    yield beside_all(plan)
    yield by_threads(plan)
    yield bits(plan)
    yield from by_dimension(plan)
    yield from small_sets(plan)
    yield from by_size(plan)


if __name__ == "__main__":
    sys.exit(stage.main("graph", groups))
