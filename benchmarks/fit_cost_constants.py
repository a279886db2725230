"""Measure fits in fresh processes and write `geoquant/cost_constants.py`.

    python -m benchmarks.fit_cost_constants            # minutes: up to 300 000 latents
    python -m benchmarks.fit_cost_constants --large    # a million latents as well

Each run fits once in a process of its own and tells, for every stage, its seconds and its peak
memory beyond what the process held with the latents loaded. The seconds of each step that
`geoquant.work` counts are fitted by least absolute errors, so that fits which had luck count
little; the memory beyond the arrays with names by least squares. Nothing is negative, and relative
errors count. What is printed last was not fitted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.datasets import latents, mixture
from benchmarks.measure import ROOT, run
from geoquant.cost import (
    STAGES,
    FitShape,
    bytes_by_stage,
    named_bytes,
    scratch_features,
    scratch_key,
    search_is_exact,
    seconds_by_stage,
    time_key,
)
from geoquant.cost_constants import SCRATCH, TIME
from geoquant.graph.knn import RECALL_TARGET
from geoquant.work import work_by_stage

TARGET = ROOT / "geoquant" / "cost_constants.py"
SCRATCH_FEATURES = {
    "neighbours": ("latents", "nodes", "fixed"),
    "clustering": ("nodes", "nodes of each thread", "edges", "fixed"),
    "codebook": ("nodes", "nodes of each thread", "edges", "fixed"),
}
#: (source, n, d, n_neighbors, n_clusters, algorithm, n_jobs); mnist and draws have 20 dimensions
GRID = [
    ("mnist", 2_000, 20, 10, 16, "auto", 2),
    ("mnist", 5_000, 20, 10, 64, "auto", 2),
    ("mixture", 8_000, 20, 10, 16, "auto", 2),
    ("mnist", 12_000, 20, 10, 16, "auto", 2),
    ("mnist", 16_000, 20, 10, 1024, "auto", 2),
    ("mnist", 20_000, 20, 10, 64, "auto", 1),
    ("mixture", 20_000, 8, 10, 64, "auto", 2),
    ("mixture", 20_000, 64, 10, 256, "auto", 2),
    ("mnist", 30_000, 20, 10, 16, "auto", 2),
    ("mnist", 30_000, 20, 10, 256, "auto", 2),
    ("mixture", 40_000, 20, 10, 64, "auto", 2),
    ("mnist", 60_000, 20, 10, 64, "auto", 2),
    ("mixture", 60_000, 64, 15, 64, "auto", 2),
    ("draws", 80_000, 20, 10, 64, "auto", 2),
    ("mixture", 100_000, 20, 10, 1024, "auto", 2),
    ("mixture", 100_000, 20, 10, 256, "auto", 1),
    ("mixture", 120_000, 8, 10, 256, "auto", 2),
    ("mixture", 150_000, 64, 10, 256, "auto", 2),
    ("mixture", 200_000, 20, 10, 64, "auto", 2),
    ("draws", 250_000, 20, 10, 512, "auto", 2),
    ("draws", 300_000, 20, 10, 1024, "auto", 2),
    ("mnist", 4_000, 20, 10, 16, "swap", 2),
    ("mixture", 16_000, 20, 10, 64, "swap", 2),
    ("mnist", 30_000, 20, 10, 256, "swap", 2),
    ("mixture", 8_000, 20, 10, 16, "alternate", 2),
    ("mnist", 16_000, 20, 10, 64, "alternate", 2),
    ("mixture", 60_000, 20, 10, 256, "alternate", 2),
    ("mixture", 60_000, 20, 10, 1024, "alternate", 2),
]
HELD_OUT = [
    ("mnist", 10_000, 20, 10, 64, "auto", 2),
    ("mixture", 25_000, 32, 10, 64, "auto", 2),
    ("mnist", 45_000, 20, 10, 128, "auto", 2),
    ("mixture", 60_000, 8, 10, 1024, "auto", 2),
    ("mixture", 100_000, 64, 10, 64, "auto", 2),
    ("draws", 120_000, 20, 10, 16, "auto", 2),
    ("mixture", 150_000, 32, 10, 64, "auto", 2),
    ("draws", 200_000, 20, 10, 1024, "auto", 2),
]
LARGE = [("draws", 1_000_000, 20, 10, 1024, "auto", 2)]


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


def points_compared(sizes: Any, pairs: Any) -> float:
    """With how many a point is compared, by the sizes of cells and the pairs of them compared."""
    sizes, pairs = np.asarray(sizes, float), np.asarray(pairs)
    compared = 2 * (sizes[pairs[:, 0]] @ sizes[pairs[:, 1]]) + sizes @ sizes
    return float(compared / sizes.sum())


def measure(
    source: str, n: int, d: int, k: int, n_clusters: int, algorithm: str, n_jobs: int
) -> dict[str, Any]:
    """Fit once; seconds and bytes beyond the start of each stage."""
    import geoquant as gq
    import geoquant.fit as fit
    from geoquant import _core
    from geoquant.memory import resident_bytes

    small = mixture(300, d).latents
    gq.fit_codebook(small, 8, algorithm=algorithm, random_state=0)  # loads everything
    x = mixture(n, d).latents if source == "mixture" else latents(n, source).latents.copy()
    compared, knn_join = [], _core.knn_join

    def noted(points: Any, order: Any, sizes: Any, pairs: Any, *others: Any) -> Any:
        compared.append(points_compared(sizes, pairs))
        return knn_join(points, order, sizes, pairs, *others)

    _core.knn_join = noted
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
        "shape": [source, n, d, k, n_clusters, algorithm, n_jobs],
        "is_exact": search_is_exact(n, RECALL_TARGET),
        "compared": compared[0],
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
    _, n, d, k, n_clusters, algorithm, n_jobs = result["shape"]
    return FitShape(
        n,
        d,
        n_clusters,
        k,
        algorithm,
        result["is_exact"],
        n_jobs,
        result["entries_per_neighbor"],
        result["compared"],
    )


def fit_times(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    samples: dict[str, list[tuple[dict[str, float], float]]] = {}
    for result in results:
        shape = shape_of(result)
        work = work_by_stage(shape)
        for stage in STAGES:
            taken = result["seconds"][stage]
            weight = 1 / (taken + 0.01)  # relative errors count, but not those of milliseconds
            row = {step: count * weight for step, count in work[stage].items()}
            samples.setdefault(time_key(stage, shape), []).append((row, taken * weight))
    return {key: _rates(rows) for key, rows in sorted(samples.items())}


def _rates(rows: list[tuple[dict[str, float], float]]) -> dict[str, float]:
    names = list(rows[0][0])
    counts = np.array([[row[name] for name in names] for row, _ in rows])
    scale = np.maximum(counts.max(axis=0), 1e-300)
    taken = np.array([relative for _, relative in rows])
    weight = np.ones(len(rows))
    for _ in range(30):  # least squares of errors over the root of what they were before
        root = np.sqrt(weight)
        solution, _ = nnls(root[:, None] * counts / scale, root * taken)
        weight = 1 / np.maximum(np.abs(counts / scale @ solution - taken), 0.03)
    return {n: float(f"{c:.4g}") for n, c in zip(names, solution / scale, strict=True) if c > 0}


def fit_scratch(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
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
        ("Seconds of each step, on the machine measured.", "TIME", TIME),
    ):
        lines += [f"#: {comment}", f"{name}: dict[str, dict[str, float]] = {{"]
        for key, constants in table.items():
            lines += [f'    "{key}": {{', *(f'        "{n}": {c},' for n, c in constants.items())]
            lines += ["    },"]
        lines += ["}", ""]
    TARGET.write_text("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="a million latents as well")
    parser.add_argument("--one", nargs=7, help=argparse.SUPPRESS)
    parser.add_argument(
        "--from", dest="recorded", help="take measurements from a file of these lines"
    )
    arguments = parser.parse_args()
    if arguments.one:
        source, *sizes, algorithm, n_jobs = arguments.one
        print(json.dumps(measure(source, *map(int, sizes), algorithm, int(n_jobs))))
        return
    if arguments.recorded:
        results = [json.loads(s) for s in Path(arguments.recorded).read_text().splitlines() if s]
    else:
        large = LARGE if arguments.large else []
        results = [measured(*shape) for shape in GRID + HELD_OUT + large]
    fitted = [r for r in results if tuple(r["shape"]) in GRID]
    for table, constants in ((SCRATCH, fit_scratch(fitted)), (TIME, fit_times(fitted))):
        table.clear()
        table.update(constants)
    write()
    report(fitted)
    report([r for r in results if r not in fitted])


if __name__ == "__main__":
    main()
