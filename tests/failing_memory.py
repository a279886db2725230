"""Small fits in which the n-th allocation fails, in a process with tests/faults.c before libc.

``python -m tests.failing_memory FIT N_POINTS FIRST`` runs one of `FITS` with failures spread evenly
over its allocations and prints, as JSON lines, each point before it is tried and figures at the
end. A process that prints no figures has died or hangs at the last point it printed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from geoquant.errors import ResourceError
from geoquant.graph import knn
from geoquant.memory import resident_bytes
from tests.faults import FITS as NAMES
from tests.faults import Allocations

if TYPE_CHECKING:
    from collections.abc import Callable

#: A point that takes so many seconds hangs.
MOST_SECONDS = 60

_rng = np.random.default_rng(0)
X = _rng.normal(size=(400, 3)).astype(np.float32)
APART = np.concatenate([X[:150], X[150:300] + 20, X[300:] - 20]).astype(np.float32)
WIDE = _rng.normal(size=(2_500, 2)).astype(np.float32)
GRAPH = gq.bridge_components(gq.knn_graph(APART, 4), APART).graph
WIDE_GRAPH = gq.bridge_components(gq.knn_graph(WIDE, 4), WIDE).graph
BOOK = gq.fit_codebook(X, 6, random_state=0, n_jobs=1).codebook
OPTIONS: dict[str, Any] = {"random_state": 0, "n_jobs": 2}


def unused(graph: gq.Graph) -> gq.Graph:
    """The same graph, whose packed arrays are still to be made."""
    return gq.Graph(graph.indptr, graph.indices, graph.lengths)


def fit(latents: Any, n_clusters: int = 6, **options: Any) -> list[Any]:
    """A whole fit, in one stage."""
    fitted = gq.fit_codebook(latents, n_clusters, **OPTIONS, **options)
    return [fitted.codes, fitted.distance, fitted.codebook.vectors, fitted.codebook.anchor_code]


def cells() -> list[Any]:
    """A search that compares points of near cells only."""
    before, knn.EXACT_LIMIT = knn.EXACT_LIMIT, 100
    try:
        found = gq.nearest_neighbors(WIDE, 5, recall_target=0.5, n_jobs=2)
    finally:
        knn.EXACT_LIMIT = before
    return [found.index, found.distance]


def coarse() -> list[Any]:
    """Centres from a contracted graph."""
    from geoquant.clustering.multilevel import coarse_centres

    generator = np.random.default_rng(0)
    weights = np.ones(WIDE_GRAPH.n_nodes)
    options: dict[str, Any] = {"power": 2, "weights": weights, "generator": generator}
    return [coarse_centres(unused(WIDE_GRAPH), 5, n_coarse=200, n_threads=2, **options)]


def wide_swaps() -> list[Any]:
    """Swaps in a graph of so many nodes that threads share the evaluations."""
    from geoquant import _core

    weights = np.ones(WIDE_GRAPH.n_nodes)
    centres = np.arange(8, dtype=np.int32)
    candidates = np.arange(0, 2500, 20, dtype=np.int32)
    swapped, *_ = _core.swap_centres(
        unused(WIDE_GRAPH).arrays, weights, 2, centres, candidates, 200, 2
    )
    return [swapped]


def searches() -> list[Any]:
    """Searches on a graph, which share scratch that an earlier one left."""
    graph = unused(GRAPH)
    near = gq.nearest_source(graph, [0, 7, 300])
    again = gq.nearest_source(graph, [5])
    two = gq.two_nearest_sources(graph, [0, 7, 300])
    return [near.distance, again.distance, *two, gq.connected_components(graph)]


def tiny_graph() -> list[Any]:
    """So few allocations that each can fail in a moment: those of handing a graph over, too."""
    from geoquant import _core

    graph = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 2.0, 3.0])
    _, cell = _core.contracted_graph(graph.arrays, np.array([0, 3], np.int32))
    return [cell]


def lengths() -> list[Any]:
    """Edges measured between outputs."""
    graph = gq.with_lengths(GRAPH, gq.output_lengths(GRAPH, APART[:, :2].copy(), n_jobs=2))
    return [graph.lengths]


def assignment() -> list[Any]:
    """New latents, assigned and looked up."""
    codes = BOOK.assign(X[:200] + 0.01, n_jobs=2)
    return [codes, BOOK.lookup(codes)]


def stages() -> list[Any]:
    """Several codes for each latent, fitted and assigned."""
    fitted = gq.fit_multistage(X[:100], 3, n_stages=2, **OPTIONS)
    return [fitted.codes, fitted.codebook.assign(X[:100] + 0.01, n_jobs=2)]


FITS: dict[str, Callable[[], list[Any]]] = {
    "fit": lambda: fit(X),
    "fit of parts": lambda: fit(APART, n_neighbors=4, codewords="medoid"),
    "alternation": lambda: fit(X, algorithm="alternate", init="random"),
    "cells": cells,
    "coarse": coarse,
    "wide swaps": wide_swaps,
    "searches": searches,
    "tiny graph": tiny_graph,
    "lengths": lengths,
    "assignment": assignment,
    "stages": stages,
}
assert tuple(FITS) == NAMES


def digest(arrays: list[Any]) -> str:
    """SHA-256 of some arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def held() -> tuple[int, int, int]:
    """What a failure must not leave: descriptors, threads; and bytes of memory."""
    threads = int(Path("/proc/self/status").read_text().split("Threads:")[1].split()[0])
    return len(os.listdir("/proc/self/fd")), threads, resident_bytes()


def campaign(name: str, n_points: int, first: int) -> dict[str, Any]:
    """Try the points from number `first` on, and say what was wrong."""
    work, allocations = FITS[name], Allocations()
    expected = digest(work())
    with allocations.failing(0, 0):
        work()
    places = np.unique(np.linspace(1, allocations.n_counted, n_points, dtype=int))
    unclean: list[str] = []
    resident: list[int] = []
    usual = (0, 0)
    n_failed = n_in_workers = 0
    for number, at in enumerate(places.tolist()[first:], first):
        # One allocation alone, or all from there on, in turn.
        last = at if number % 2 == 0 else sys.maxsize
        print(json.dumps({"point": number, "at": at, "alone": last == at}), flush=True)
        signal.alarm(MOST_SECONDS)
        found = outcome(work, allocations, at, last)
        n_failed += found != "done"
        n_in_workers += allocations.n_in_workers > 0
        if found not in ("done", "ResourceError"):
            unclean.append(f"{at}: {found}")
        if digest(work()) != expected:
            unclean.append(f"{at}: another result afterwards")
        gc.collect()
        n_open, n_threads, n_bytes = held()
        resident.append(n_bytes)
        if number == first:
            usual = n_open, n_threads
        if (n_open, n_threads) != usual:
            unclean.append(f"{at}: {n_open} descriptors, {n_threads} threads, not {usual}")
    signal.alarm(0)
    return {
        "points": len(places) - first,
        "failed": n_failed,
        "in_workers": n_in_workers,
        "allocations": allocations.n_counted,
        "unclean": unclean,
        "resident": resident,
    }


def outcome(work: Callable[[], Any], allocations: Allocations, first: int, last: int) -> str:
    """Name of the error that comes of failures, "done" if none does."""
    try:
        with allocations.failing(first, last):
            work()
    except ResourceError:
        return "ResourceError"
    except Exception as error:  # whatever it is, it is what is asked about
        return f"{type(error).__name__}: {error}"
    return "done"


if __name__ == "__main__":
    print(json.dumps(campaign(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
