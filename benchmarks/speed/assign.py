"""Codes of new latents, beside the searches of faiss and scikit-learn.

``python -m benchmarks.speed.assign [--quick | --bench | --full]``
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from benchmarks import datasets, peers, stage
from benchmarks.measure import Contender, times_in_turn
from benchmarks.table import Row, time_rows
from benchmarks.verify import distances_to_all, require, require_equal, sampled_rows
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.datasets import Dataset, Latents
    from benchmarks.stage import Plan
    from benchmarks.verify import Ids

K, N_NEIGHBORS = 64, 10
OURS, FLAT = "geoquant", "faiss IndexFlatL2"


@dataclass(frozen=True, eq=False)
class Task:
    """A codebook with its anchors, and new latents."""

    data: Dataset
    codebook: gq.Codebook
    new: Latents
    codes_of_training: Ids


def task(plan: Plan) -> Task:
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    options = {"algorithm": "alternate", "random_state": 0}  # any codes will do
    fitted = gq.fit_codebook(data.latents, K, n_neighbors=N_NEIGHBORS, **options)
    new = datasets.new_latents(plan.pick(500, 10_000, 10_000), data)
    return Task(data, fitted.codebook, new, fitted.codes)


def expected_code(codebook: gq.Codebook, latent: Latents) -> set[int]:
    """The definition, in float64: codes of the least way through one of the nearest anchors.

    Two where rounding may decide between them.
    """
    step = distances_to_all(codebook.anchors, latent)
    near = np.argsort(step, kind="stable")[: codebook.n_neighbors]
    way = step[near] + codebook.anchor_distance[near]
    return set(codebook.anchor_code[near[way <= way.min() * (1 + 1e-6)]].tolist())


def check_codes(task: Task, codes: Ids) -> str:
    """New latents get the code of the definition, training latents the one they were given."""
    require_equal("codes", codes.shape, (len(task.new),))
    for row in sampled_rows(len(task.new), 100).tolist():
        expected = expected_code(task.codebook, task.new[row])
        require(int(codes[row]) in expected, f"code of row {row}: {codes[row]}, not {expected}")
    some = sampled_rows(task.data.n, 2_000)
    again = task.codebook.assign(task.data.latents[some])
    require_equal("codes of training rows", again, task.codes_of_training[some])
    return "codes as defined; training rows keep theirs"


def check_neighbours(task: Task, ids: Ids) -> str:
    """The nearest anchors, but for near ties."""
    rows = sampled_rows(len(task.new), 100)
    hits = []
    for row in rows.tolist():
        step = distances_to_all(task.codebook.anchors, task.new[row])
        reach = np.partition(step, N_NEIGHBORS - 1)[N_NEIGHBORS - 1]
        hits.append((step[ids[row]] <= reach * (1 + 1e-5)).mean())
    require(np.mean(hits) > 0.99, f"recall {np.mean(hits):.4f}")
    return f"recall {np.mean(hits):.4f}"


def by_faiss(task: Task, n_probes: int | None = None) -> Contender:
    """A search of the nearest anchors alone, the index ready."""
    faiss = peers.load("faiss")
    anchors = task.codebook.anchors
    d = anchors.shape[1]
    index: Any = faiss.IndexFlatL2(d)
    if n_probes is not None:
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, int(np.sqrt(len(anchors))))
        index.train(anchors)
        index.nprobe = n_probes
    index.add(anchors)
    name = FLAT if n_probes is None else f"faiss IVFFlat, {n_probes} probes (not exact)"
    return Contender(
        name, lambda: index.search(task.new, N_NEIGHBORS)[1], partial(check_neighbours, task)
    )


def by_sklearn(task: Task) -> Contender:
    neighbors = peers.load("sklearn.neighbors")
    index = neighbors.NearestNeighbors(n_neighbors=N_NEIGHBORS, n_jobs=n_threads(None))
    index.fit(task.codebook.anchors)
    run = partial(index.kneighbors, task.new, return_distance=False)
    return Contender("scikit-learn NearestNeighbors", run, partial(check_neighbours, task))


def ours(task: Task, n_jobs: int | None = None) -> Contender:
    run = partial(task.codebook.assign, task.new, n_jobs=n_jobs)
    return Contender(OURS if n_jobs is None else str(n_jobs), run, partial(check_codes, task))


def assign_rows(task: Task, plan: Plan) -> list[Row]:
    """Codes by ours; the peers only search, which is less."""
    makers = {
        OURS: partial(ours, task),
        FLAT: partial(by_faiss, task),
        "faiss IVFFlat": partial(by_faiss, task, 24),
        "scikit-learn NearestNeighbors": partial(by_sklearn, task),
    }
    contenders, missing = peers.available(makers)
    timings = times_in_turn(contenders, plan.pick(1, 7, 15), plan.pick(1, 5, 30))
    title = f"{len(task.new):,} new latents, anchors {task.data}, {n_threads(None)} threads"
    mine, theirs = timings[OURS].median, timings[FLAT].median
    return [
        *time_rows(title, timings, OURS, missing),
        Row(title, f"share of the time of {FLAT}", mine / theirs, "share", target=1 / 4,
            figure="assign", note=f"{OURS} {mine:.3g} s, {FLAT} {theirs:.3g} s"),
    ]  # fmt: skip


def thread_rows(task: Task, plan: Plan) -> list[Row]:
    """Two threads against one, and one latent at a time."""
    contenders = [ours(task, 1), ours(task, 2)]
    timings = times_in_turn(contenders, plan.pick(1, 5, 15), plan.pick(1, 5, 30))
    one, two = timings["1"].median, timings["2"].median
    single = Contender("", lambda: task.codebook.assign(task.new[:1]), lambda _: "")
    seconds = times_in_turn([single], plan.pick(1, 9, 31), 5)[""]
    title = f"Assign, anchors {task.data}"
    note = f"{one:.3g} s with one, {two:.3g} s"
    return [
        Row(title, "two threads, faster than one", one / two, "×", note=note),
        Row(title, "one new latent", seconds.median, "s", note=seconds.spread()),
    ]


def groups(plan: Plan) -> Iterator[list[Row]]:
    work = task(plan)
    yield assign_rows(work, plan)
    yield thread_rows(work, plan)


if __name__ == "__main__":
    sys.exit(stage.main("assign", groups))
