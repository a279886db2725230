"""How much memory a step takes beside its input, in a process of its own (Linux).

``python -m benchmarks.speed.memory cluster|fit OPTIONS`` prints JSON, in 10^6 bytes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from benchmarks import datasets

if TYPE_CHECKING:
    from collections.abc import Callable


def resident_mb(entry: str) -> float:
    """VmRSS, the resident size now, or VmHWM, the largest so far, of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith(entry + ":"))
    return int(kib) * 1024 / 1e6


def forget_peak() -> None:
    """Give freed memory back, so that it is not used unseen, and let the peak start anew."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def growth(step: Callable[[], Any]) -> dict[str, Any]:
    """Peak of a step over what was there before, and its time."""
    gq.fit_codebook([[0.0], [1.0], [3.0]], 2, random_state=0)  # loads what is loaded on first use
    forget_peak()
    before = resident_mb("VmRSS")
    begin = time.perf_counter()
    result = step()
    seconds = time.perf_counter() - begin
    inertia = getattr(result, "clustering", result).inertia
    return {
        "growth_mb": resident_mb("VmHWM") - before,
        "before_mb": before,
        "seconds": seconds,
        "energy": inertia,
        "stages": getattr(result, "seconds", {}),
    }


def cluster(graph: str, n_clusters: int, power: int) -> dict[str, Any]:
    """Clustering a graph that was saved with numpy."""
    with np.load(graph) as arrays:
        given = gq.Graph(arrays["indptr"], arrays["indices"], arrays["lengths"])
    return growth(lambda: gq.geodesic_kmedoids(given, n_clusters, power=power, random_state=0))


def fit(n: int, n_clusters: int) -> dict[str, Any]:
    """A whole fit of the latents that there are any number of; recall and labels are checked."""
    latents = datasets.growing(n).latents
    kept = []

    def step() -> gq.FittedCodebook:
        kept.append(gq.fit_codebook(latents, n_clusters, random_state=0))
        return kept[0]

    found = growth(step)
    fitted = kept[0]
    some = np.linspace(0, n - 1, 200).astype(int)
    codes = fitted.codebook.assign(latents[some])
    return found | {
        "recall": fitted.graph.recall,
        "n_codes_used": len(np.unique(fitted.codes)),
        "agreement_on_training_rows": float((codes == fitted.codes[some]).mean()),
    }


if __name__ == "__main__":
    print(json.dumps({"cluster": cluster, "fit": fit}[sys.argv[1]](**json.loads(sys.argv[2]))))
