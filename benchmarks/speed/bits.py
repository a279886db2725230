"""Digests of a fit for several numbers of threads, under the GEOQUANT_SIMD of the environment.

``python -m benchmarks.speed.bits N SOURCE`` prints JSON.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
from typing import TYPE_CHECKING

import geoquant as gq
from benchmarks import datasets
from benchmarks.measure import timed

if TYPE_CHECKING:
    import numpy as np

THREADS = (1, 2, 3, 8)
N_CLUSTERS = 64


def digest(*arrays: np.ndarray) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}".encode())
        content.update(array.tobytes())
    return content.hexdigest()


def digest_of_fit(latents: np.ndarray, n_jobs: int, seconds: list[float]) -> str:
    """Of the graph, and, where that takes little time, of a clustering and of new codes too."""
    with timed(seconds):
        graph = gq.knn_graph(latents, n_jobs=n_jobs)
    arrays = [graph.indptr, graph.indices, graph.lengths]
    if len(latents) > N_CLUSTERS:
        some = latents[:5_000]
        fitted = gq.fit_codebook(some, N_CLUSTERS, random_state=0, n_jobs=n_jobs)
        new = fitted.codebook.assign(latents[-1_000:], n_jobs=n_jobs)
        arrays += [fitted.codes, fitted.distance, fitted.codebook.vectors, new]
    return digest(*arrays)


def main(n: str, source: str) -> None:
    latents = datasets.latents(int(n), source).latents
    two: list[float] = []
    digests = {}
    for n_jobs in THREADS:
        seconds: list[float] = two if n_jobs == 2 else []
        digests[n_jobs] = digest_of_fit(latents, n_jobs, seconds)
        if n_jobs == 2:
            digest_of_fit(latents, n_jobs, seconds)
    print(json.dumps({"digests": digests, "seconds": statistics.median(two)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
