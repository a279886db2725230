"""What a fit costs, as arithmetic: bytes of each stage by array, and seconds of each stage.

Bytes are those of the arrays that each stage holds, by name, and a little scratch. Seconds are the
steps that `geoquant.work` counts, times the seconds of a step. The few numbers of `cost_constants`
are fitted to measurements by ``python -m benchmarks.fit_cost_constants``.
"""

from __future__ import annotations

from geoquant.clustering.multilevel import n_coarse_nodes
from geoquant.cost_constants import SCRATCH, TIME
from geoquant.graph.knn import EXACT_LIMIT, n_cells_for
from geoquant.progress import n_threads
from geoquant.work import FitShape, work_by_stage

#: What a fit consists of, in order.
STAGES = ("rows", "neighbours", "graph", "clustering", "codebook")


def search_is_exact(n: int, recall_target: float) -> bool:
    """Whether `nearest_neighbors` compares all pairs of so many points.

    Examples
    --------
    >>> from geoquant.cost import search_is_exact
    >>> search_is_exact(1000, 0.99), search_is_exact(10**9, 0.99), search_is_exact(10**9, 1.0)
    (True, False, True)
    """
    return n <= EXACT_LIMIT or recall_target >= 1


# It shows in small fits only; rather a little too much is said of them than too little.
_KEPT_BY_ALLOCATOR = 1_600_000


def bytes_by_array(shape: FitShape) -> dict[str, dict[str, int]]:
    """Bytes of everything that each stage holds at its peak, beyond the latents themselves.

    Parameters
    ----------
    shape : FitShape
        The fit.

    Returns
    -------
    dict of str to dict of str to int
        For each stage, in order, bytes by name of array. The latents are float32 in C order and
        without duplicates; otherwise a copy of them is needed too.

    Examples
    --------
    >>> from geoquant.cost import bytes_by_array
    >>> from geoquant.work import FitShape
    >>> shape = FitShape(1000, 2, 8, 10, "swap", True, 1)
    >>> bytes_by_array(shape)["neighbours"]["neighbours and distances"]
    80000
    """
    arrays = named_bytes(shape)
    for stage in ("neighbours", "clustering", "codebook"):
        features, key = scratch_features(shape), scratch_key(stage, shape)
        scratch = sum(c * features[name] for name, c in SCRATCH[key].items())
        arrays[stage]["scratch"] = int(scratch)
    for stage in ("neighbours", "codebook"):
        arrays[stage]["freed memory that the allocator keeps"] = _KEPT_BY_ALLOCATOR
    return arrays


def named_bytes(shape: FitShape) -> dict[str, dict[str, int]]:
    """Bytes of the arrays with names, without the scratch of the kernels."""
    n, entries = shape.n, shape.n_entries
    rows = {"rows, nodes and weights": 20 * n}
    near = {"neighbours and distances": 8 * n * shape.n_neighbors}
    edges = {"edges": 8 * entries + 8 * (n + 1)}
    packed = {"edges as searches walk them": 8 * entries + 16 * n}
    found = {
        "codes and distances": 24 * n,
        "anchors with codes and distances": 4 * n * shape.d + 12 * n,
    }
    return {
        "rows": {"hashes and their order": 42 * n},
        "neighbours": rows | near | _search_bytes(shape),
        "graph": rows | max(near | {"places in rows": 8 * n}, packed, key=_total) | edges,
        "clustering": rows | edges | packed | _clustering_bytes(shape),
        "codebook": rows | edges | packed | found,
    }


def _search_bytes(shape: FitShape) -> dict[str, int]:
    """What the search for neighbours holds: a slot for each point, and a few without one."""
    n_proposed = shape.n_neighbors + 2 + shape.n_neighbors // 4
    capacity = (n_proposed + n_proposed // 4 + 8 + 15) // 16 * 16
    n_cells = n_cells_for(shape.n, exact=shape.is_exact)
    slots = shape.n + 8 * n_cells
    pairs = int(n_cells**2 * shape.n_compared / shape.n / 2)
    return {
        "candidates of each point": (8 * capacity + 8) * slots,
        "points as they are compared": 4 * (shape.d + 3) * slots,
        "points in order of cells": 12 * shape.n,
        "pairs of cells": 40 * pairs,
    }


def _clustering_bytes(shape: FitShape) -> dict[str, int]:
    """The larger of what swaps and contraction hold; `alternate` holds less than either."""
    n = shape.n
    if shape.algorithm == "alternate":
        return {"labels, distances and medoids": 40 * n + 24 * n * shape.n_threads}
    swaps = {"swaps": 60 * n + 20 * n, "swaps of each thread": 8 * n * shape.n_threads}
    contraction = {"cells of nodes": 28 * n, "edges between cells": 8 * shape.n_entries}
    is_contracted = n_coarse_nodes(n, shape.n_clusters) > 0
    return max(swaps, contraction, key=_total) if is_contracted else swaps


def _total(arrays: dict[str, int]) -> int:
    return sum(arrays.values())


def shape_of_fit(
    n: int,
    d: int,
    n_clusters: int,
    *,
    n_neighbors: int,
    recall_target: float,
    algorithm: str,
    n_jobs: int | None,
) -> FitShape:
    """What a fit with the arguments of `fit_codebook` comes to.

    Examples
    --------
    >>> from geoquant.cost import shape_of_fit
    >>> shape_of_fit(
    ...     9, 2, 3, n_neighbors=10, recall_target=0.995, algorithm="swap", n_jobs=1
    ... ).n_neighbors
    8
    """
    return FitShape(
        n=n,
        d=d,
        n_clusters=n_clusters,
        n_neighbors=max(1, min(n_neighbors, n - 1)),
        algorithm=algorithm if n_clusters > 1 else "alternate",
        is_exact=search_is_exact(n, recall_target),
        n_threads=n_threads(n_jobs),
    )


def bytes_by_stage(shape: FitShape) -> dict[str, int]:
    """Peak bytes of each stage, beyond the latents and what the process held before.

    Examples
    --------
    >>> from geoquant.cost import bytes_by_stage
    >>> from geoquant.work import FitShape
    >>> list(bytes_by_stage(FitShape(1000, 2, 8, 10, "swap", True, 1)))
    ['rows', 'neighbours', 'graph', 'clustering', 'codebook']
    """
    return {stage: sum(arrays.values()) for stage, arrays in bytes_by_array(shape).items()}


def scratch_features(shape: FitShape) -> dict[str, float]:
    """What the scratch of a kernel may be proportional to, in bytes."""
    return {
        "fixed": 1.0,
        "latents": 4.0 * shape.n * shape.d,
        "nodes": 8.0 * shape.n,
        "nodes of each thread": 8.0 * shape.n * shape.n_threads,
        "edges": 8.0 * shape.n_entries,
    }


def scratch_key(stage: str, shape: FitShape) -> str:
    """Under which name the constants of a stage's scratch are kept.

    Examples
    --------
    >>> from geoquant.cost import scratch_key
    >>> from geoquant.work import FitShape
    >>> scratch_key("neighbours", FitShape(1000, 2, 8, 10, "swap", True, 1))
    'neighbours, exact'
    """
    if stage != "neighbours":
        return stage
    return "neighbours, exact" if shape.is_exact else "neighbours, cells"


def time_key(stage: str, shape: FitShape) -> str:
    """Under which name the constants of a stage's time are kept: 'auto' and 'swap' share theirs.

    Examples
    --------
    >>> from geoquant.cost import time_key
    >>> from geoquant.work import FitShape
    >>> time_key("clustering", FitShape(1000, 2, 8, 10, "swap", True, 1))
    'clustering, swaps'
    """
    if stage != "clustering":
        return scratch_key(stage, shape)
    return "clustering, alternate" if shape.algorithm == "alternate" else "clustering, swaps"


def seconds_by_stage(shape: FitShape, tries: str = "likely") -> dict[str, float]:
    """Seconds that each stage took, at such a shape, on the machine of the constants.

    `tries` as for `work_by_stage`.

    Examples
    --------
    >>> from geoquant.cost import seconds_by_stage
    >>> from geoquant.work import FitShape
    >>> small = FitShape(1000, 2, 8, 10, "swap", True, 1)
    >>> list(seconds_by_stage(small))
    ['rows', 'neighbours', 'graph', 'clustering', 'codebook']
    """
    work = work_by_stage(shape, tries)
    return {
        stage: sum(c * work[stage][step] for step, c in TIME[time_key(stage, shape)].items())
        for stage in STAGES
    }
