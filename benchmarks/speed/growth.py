"""How much memory `geodesic_kmedoids` takes beside the graph; run by `benchmarks.speed.fit`.

``python -m benchmarks.speed.growth GRAPH.npz N_CLUSTERS POWER`` prints JSON, in 10^6 bytes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np

import geoquant as gq


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


def main(file: str, n_clusters: str, power: str) -> None:
    with np.load(file) as arrays:
        graph = gq.Graph(arrays["indptr"], arrays["indices"], arrays["lengths"])
    # Brings in the modules that are loaded on first use.
    line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    gq.geodesic_kmedoids(line, 2, power=int(power), random_state=0)
    forget_peak()
    before = resident_mb("VmRSS")
    result = gq.geodesic_kmedoids(graph, int(n_clusters), power=int(power), random_state=0)
    growth = resident_mb("VmHWM") - before
    print(json.dumps({"growth_mb": growth, "before_mb": before, "energy": result.inertia}))


if __name__ == "__main__":
    main(*sys.argv[1:])
