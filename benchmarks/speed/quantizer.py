"""Forward of the quantizer module, beside what one writes with PyTorch.

``python -m benchmarks.speed.quantizer [--quick | --bench | --full]``
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
from benchmarks.speed.assign import expected_code
from benchmarks.table import Row, time_rows
from benchmarks.verify import (
    TIE_TOLERANCE,
    distances_to_all,
    require,
    require_equal,
    sampled_rows,
)
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.datasets import Dataset
    from benchmarks.measure import Timing
    from benchmarks.stage import Plan

K, N_NEIGHBORS = 64, 10
OURS, PEER = "geoquant, nearest codeword", "torch.cdist + argmin + lookup"
KERNEL = "geoquant, geodesic, the kernel of Codebook.assign"


@dataclass(frozen=True, eq=False)
class Task:
    """Latents, and a codebook that was fitted to them."""

    data: Dataset
    codebook: gq.Codebook
    thinned: gq.Codebook


def task(plan: Plan) -> Task:
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    options = {"algorithm": "alternate", "random_state": 0}  # any codes will do
    codebook = gq.fit_codebook(data.latents, K, n_neighbors=N_NEIGHBORS, **options).codebook
    return Task(data, codebook, codebook.thinned(max(K, data.n // 10)))


def check_nearest(task: Task, result: Any) -> str:
    """Codewords nearest in float64, but for near ties, and the rows of these codes."""
    quantized, codes = (part.numpy() for part in result[:2])
    require_equal("codes", codes.shape, (task.data.n,))
    for row in sampled_rows(task.data.n, 2_000).tolist():
        distance = distances_to_all(task.codebook.vectors, task.data.latents[row])
        is_nearest = distance[codes[row]] <= distance.min() * (1 + TIE_TOLERANCE)
        require(bool(is_nearest), f"code of row {row}: {codes[row]}, not {distance.argmin()}")
    # A straight-through output is the latent plus the difference, rounded twice.
    error = np.abs(quantized - task.codebook.vectors[codes]).max()
    require(error <= 1e-5, f"quantized latents are {error:.3g} from their codewords")
    return "nearest codewords"


def check_geodesic(codebook: gq.Codebook, data: Dataset, codes: Any) -> str:
    """Codes as the definition has them, in float64."""
    require_equal("codes", codes.shape, (data.n,))
    for row in sampled_rows(data.n, 100).tolist():
        expected = expected_code(codebook, data.latents[row])
        require(int(codes[row]) in expected, f"code of row {row}: {codes[row]}, not {expected}")
    share = (codes == codebook.assign(data.latents)).mean()
    require(share >= 0.9999, f"{share:.5f} of the codes are those of the codebook")
    return f"{share:.5f} of the codes are those of the codebook"


def forward(codebook: gq.Codebook, assignment: str, data: Dataset) -> Callable[[], Any]:
    """Call of a module without gradients, as at encoding."""
    torch = peers.load("torch")
    from geoquant.torch import GeodesicQuantizer

    quantizer = GeodesicQuantizer.from_codebook(codebook, assignment=assignment)  # type: ignore[arg-type]
    z = torch.from_numpy(data.latents.copy())

    def run() -> Any:
        with torch.no_grad():
            return quantizer(z)

    return run


def ours(task: Task) -> Contender:
    run = forward(task.codebook, "codeword", task.data)
    return Contender(OURS, run, partial(check_nearest, task))


def by_cdist(task: Task) -> Contender:
    """What most modules do; without a gradient and a loss, which ours has."""
    torch = peers.load("torch")
    z = torch.from_numpy(task.data.latents.copy())
    codebook = torch.tensor(task.codebook.vectors)

    def run() -> Any:
        with torch.no_grad():
            indices = torch.cdist(z, codebook).argmin(1)
            return codebook[indices], indices

    return Contender(PEER, run, partial(check_nearest, task))


def geodesic(codebook: gq.Codebook, data: Dataset) -> Contender:
    run = forward(codebook, "geodesic", data)
    name = f"geoquant, geodesic, {codebook.n_anchors:,} anchors"
    return Contender(name, run, lambda found: check_geodesic(codebook, data, found.indices.numpy()))


def by_codebook(task: Task) -> Contender:
    run = partial(task.codebook.assign, task.data.latents)
    return Contender(KERNEL, run, partial(check_geodesic, task.codebook, task.data))


def nearest_rows(task: Task, plan: Plan) -> list[Row]:
    """The nearest codeword: the module beside the two lines that it replaces."""
    timings = times_in_turn([ours(task), by_cdist(task)], plan.pick(1, 31, 101), 30)
    title = f"Quantizer, K = {K}, {task.data}, {n_threads(None)} threads"
    return [*time_rows(title, timings, OURS, {}), ratio_row(title, timings)]


def ratio_row(title: str, timings: dict[str, Timing]) -> Row:
    """Our time over that of the peer."""
    mine, theirs = timings[OURS].median, timings[PEER].median
    note = f"{OURS} {mine:.3g} s, {PEER} {theirs:.3g} s"
    name = f"time over that of {PEER}"
    return Row(title, name, mine / theirs, "share", target=1.2, figure="quantizer", note=note)


def geodesic_rows(task: Task, plan: Plan) -> list[Row]:
    """Geodesic codes: with every anchor, with a tenth, and by the kernels that a codebook has.

    A module compares each latent with each anchor, which any device and any exporter can do; the
    kernels search.
    """
    contenders = [
        geodesic(task.codebook, task.data),
        geodesic(task.thinned, task.data),
        by_codebook(task),
    ]
    timings = times_in_turn(contenders, plan.pick(1, 2, 5), plan.pick(1, 30, 120))
    title = f"Quantizer, geodesic codes, {task.data}, {n_threads(None)} threads"
    return time_rows(title, timings, contenders[0].name, {})


def groups(plan: Plan) -> Iterator[list[Row]]:
    peers.load("torch").set_num_threads(n_threads(None))
    work = task(plan)
    yield nearest_rows(work, plan)
    yield geodesic_rows(work, plan)


if __name__ == "__main__":
    sys.exit(stage.main("quantizer", groups))
