"""Measure fits in fresh processes and write `geoquant/cost_constants.py`.

    python -m benchmarks.fit_cost_constants            # minutes: up to 64 000 latents, and 200 000
    python -m benchmarks.fit_cost_constants --large    # a million latents as well

Each run fits once in a process of its own and tells, for every stage, its seconds and its peak
memory beyond what the process held with the latents loaded. Times are fitted in logarithms by least
squares; the memory beyond the arrays with names by non-negative least squares.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, run
from geoquant.cost import (
    STAGES,
    FitShape,
    bytes_by_stage,
    named_bytes,
    scratch_features,
    scratch_key,
    seconds_by_stage,
    time_features,
    time_key,
)
from geoquant.cost_constants import SCRATCH, TIME

TARGET = ROOT / "geoquant" / "cost_constants.py"
#: What the time of each stage is taken to depend on.
TIME_FEATURES = {
    "rows": ("one", "log n", "log d"),
    "neighbours": ("one", "log n", "log² n", "log d", "log k", "log threads"),
    "graph": ("one", "log n", "log k"),
    "clustering": ("one", "log n", "log k", "log K", "log n log K", "log threads"),
    "codebook": ("one", "log n", "log d"),
}
SCRATCH_FEATURES = {
    "neighbours": ("latents", "nodes", "fixed"),
    "clustering": ("nodes", "nodes of each thread", "edges", "fixed"),
    "codebook": ("nodes", "nodes of each thread", "edges", "fixed"),
}
#: (n, d, n_neighbors, n_clusters)
GRID = [
    (2_000, 20, 10, 16),
    (4_000, 20, 10, 64),
    (4_000, 20, 10, 16),
    (8_000, 10, 10, 64),
    (8_000, 20, 10, 256),
    (16_000, 20, 10, 64),
    (16_000, 40, 15, 64),
    (32_000, 20, 10, 64),
    (32_000, 10, 15, 512),
    (60_000, 20, 10, 64),
    (60_000, 20, 10, 1024),
    (100_000, 20, 10, 1024),
    (200_000, 10, 10, 1024),
    (200_000, 20, 15, 2048),
]
LARGE = [(500_000, 20, 10, 1024), (1_000_000, 20, 10, 1024)]


def cloud(n: int, d: int) -> np.ndarray:
    """A curved five-dimensional sheet in d dimensions, with noise: as latents are."""
    rng = np.random.default_rng(0)
    inner = rng.standard_normal((n, 5)).astype(np.float32)
    bend, spread = (rng.standard_normal(s).astype(np.float32) for s in ((5, 16), (16, d)))
    noise = rng.standard_normal((n, d)).astype(np.float32)
    return np.ascontiguousarray(np.tanh(inner @ bend) @ spread + 0.1 * noise)


# ------------------------------------------------------------------------- in the fresh process


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(s for s in status.splitlines() if s.startswith("VmHWM:")).split()[1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Recorder:
    """Wraps the functions that begin a stage of a fit, and notes what each stage took."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.peak = dict.fromkeys(STAGES, 0)
        self.stage: str | None = None
        self.begin = 0.0

    def enter(self, stage: str | None) -> None:
        if self.stage is not None:
            self.seconds[self.stage] += time.perf_counter() - self.begin
            self.peak[self.stage] = max(self.peak[self.stage], peak_bytes())
        forget_peak()
        self.stage, self.begin = stage, time.perf_counter()

    def wrap(self, owner: Any, name: str, stage: str, after: str) -> None:
        function = getattr(owner, name)

        def entered(*arguments: Any, **options: Any) -> Any:
            self.enter(stage)
            result = function(*arguments, **options)
            self.enter(after)
            return result

        setattr(owner, name, entered)


def measure(n: int, d: int, k: int, n_clusters: int, algorithm: str, n_jobs: int) -> dict[str, Any]:
    """Fit once; seconds and bytes beyond the start of each stage."""
    import geoquant as gq
    import geoquant.fit as fit
    from geoquant.memory import resident_bytes

    gq.fit_codebook(cloud(300, d), 8, algorithm=algorithm, random_state=0)  # loads everything
    x = cloud(n, d)
    ctypes.CDLL(None).malloc_trim(0)  # what making them left behind is not memory of the fit
    before, recorder = resident_bytes(), Recorder()
    recorder.wrap(fit, "distinct_rows", "rows", "neighbours")
    recorder.wrap(fit, "nearest_neighbors", "neighbours", "graph")
    recorder.wrap(fit, "geodesic_kmedoids", "clustering", "codebook")
    fitted = fit.fit_codebook(
        x, n_clusters, n_neighbors=k, algorithm=algorithm, n_jobs=n_jobs, random_state=0
    )
    recorder.enter(None)
    return {
        "shape": [n, d, k, n_clusters, algorithm, n_jobs],
        "is_exact": fitted.graph.recall == 1,
        "entries_per_neighbor": fitted.graph.indices.size / (n * k),
        "seconds": recorder.seconds,
        "bytes": {stage: peak - before for stage, peak in recorder.peak.items()},
    }


# --------------------------------------------------------------------------------- in this one


def measured(*shape: Any) -> dict[str, Any]:
    result = json.loads(run(sys.executable, "-m", __spec__.name, "--one", *map(str, shape)))
    print(json.dumps(result), flush=True)
    return result


def shape_of(result: dict[str, Any]) -> FitShape:
    n, d, k, n_clusters, algorithm, n_jobs = result["shape"]
    return FitShape(
        n, d, n_clusters, k, algorithm, result["is_exact"], n_jobs, result["entries_per_neighbor"]
    )


def fit_times(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    samples: dict[str, list[tuple[list[float], float]]] = {}
    names = {}
    for result in results:
        shape = shape_of(result)
        features = time_features(shape)
        for stage in STAGES:
            key = time_key(stage, shape)
            names[key] = TIME_FEATURES[stage]
            # Large fits count more: they are what is estimated, and small ones are noisy.
            weight = math.sqrt(shape.n / 10_000)
            row = [features[name] * weight for name in names[key]]
            samples.setdefault(key, []).append((row, weight * math.log(result["seconds"][stage])))
    return {key: _least_squares(names[key], rows) for key, rows in sorted(samples.items())}


def _least_squares(
    names: tuple[str, ...], rows: list[tuple[list[float], float]]
) -> dict[str, float]:
    """Least squares with a little ridge about zero, for what the measurements do not tell."""
    a, y = np.array([r for r, _ in rows]), np.array([v for _, v in rows])
    ridge = 0.1 * np.eye(len(names))
    ridge[0] = 0
    solution = np.linalg.lstsq(
        np.vstack([a, ridge]), np.append(y, np.zeros(len(names))), rcond=None
    )
    return {name: round(float(c), 4) for name, c in zip(names, solution[0], strict=True)}


def fit_scratch(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    from scipy.optimize import nnls

    samples: dict[str, list[tuple[list[float], float]]] = {}
    names = {}
    for result in results:
        shape = shape_of(result)
        features = scratch_features(shape)
        for stage, wanted in SCRATCH_FEATURES.items():
            key = scratch_key(stage, shape)
            names[key] = wanted
            named = sum(named_bytes(shape)[stage].values())
            beyond = max(0, result["bytes"][stage] - named)
            # Relative errors count, so that small runs are not drowned.
            weight = 1 / max(result["bytes"][stage], 8 << 20)
            row = [features[name] * weight for name in wanted]
            samples.setdefault(key, []).append((row, beyond * weight))
    fitted = {}
    for key, rows in sorted(samples.items()):
        solution, _ = nnls(np.array([r for r, _ in rows]), np.array([v for _, v in rows]))
        fitted[key] = {n: round(float(c), 4) for n, c in zip(names[key], solution, strict=True)}
    return fitted


def report(results: list[dict[str, Any]]) -> None:
    """How far the model is from what it was fitted to."""
    print(f"{'shape':46}{'MB':>8}{'model':>8}{'ratio':>7}{'s':>9}{'model':>9}{'ratio':>7}")
    for result in results:
        shape = shape_of(result)
        bytes_, model = max(result["bytes"].values()), max(bytes_by_stage(shape).values())
        taken, expected = sum(result["seconds"].values()), sum(seconds_by_stage(shape).values())
        print(
            f"{result['shape']!s:46}{bytes_ / 1e6:8.1f}{model / 1e6:8.1f}{model / bytes_:7.2f}"
            f"{taken:9.2f}{expected:9.2f}{expected / taken:7.2f}"
        )


def write() -> None:
    """Replace the module of constants, in the layout that the formatter wants."""
    lines = [
        '"""Constants of `cost`, written by ``python -m benchmarks.fit_cost_constants``."""',
        "",
    ]
    for comment, name, table in (
        ("Bytes of scratch, per byte of each feature.", "SCRATCH", SCRATCH),
        ("The logarithm of seconds, per unit of each feature.", "TIME", TIME),
    ):
        lines += [f"#: {comment}", f"{name}: dict[str, dict[str, float]] = {{"]
        for key, constants in table.items():
            lines += [f'    "{key}": {{', *(f'        "{n}": {c},' for n, c in constants.items())]
            lines += ["    },"]
        lines += ["}", ""]
    TARGET.write_text("\n".join(lines))


def main() -> None:
    from geoquant.clustering.kmedoids import ALGORITHMS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="a million latents as well")
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    parser.add_argument(
        "--from", dest="recorded", help="take measurements from a file of these lines"
    )
    arguments = parser.parse_args()
    if arguments.one:
        n, d, k, n_clusters, algorithm, n_jobs = arguments.one
        found = measure(int(n), int(d), int(k), int(n_clusters), algorithm, int(n_jobs))
        print(json.dumps(found))
        return
    if arguments.recorded:
        results = [json.loads(s) for s in Path(arguments.recorded).read_text().splitlines() if s]
    else:
        grid = GRID + (LARGE if arguments.large else [])
        results = [
            measured(*shape, algorithm, n_jobs)
            for algorithm in ALGORITHMS
            for i, shape in enumerate(grid)
            for n_jobs in ([2, 1] if i % 5 == 3 else [2])
            if algorithm != "alternate" or shape[0] / shape[3] <= 1000
        ]
    for table, fitted in ((SCRATCH, fit_scratch(results)), (TIME, fit_times(results))):
        table.clear()
        table.update(fitted)
    write()
    report(results)


if __name__ == "__main__":
    main()
