"""Squared error of several tokens a latent, beside the quantizers of faiss.

``python -m benchmarks.quality.tokens [--quick | --bench | --full]``
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import geoquant as gq
from benchmarks import datasets, peers, stage
from benchmarks.table import Row
from benchmarks.verify import require, require_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.datasets import Dataset, Latents
    from benchmarks.stage import Plan

    # Fits to training latents; gives back the codes of new latents and what these stand for.
    Quantizer = Callable[[Latents, Latents, int], tuple[Any, Latents]]

BITS, BEAM = 6, 8


@dataclass(frozen=True, eq=False)
class Task:
    """Latents to fit, and new ones to judge by."""

    data: Dataset
    new: Latents


def task(plan: Plan) -> Task:
    data = datasets.latents(plan.pick(2_000, 60_000, 60_000), plan.source)
    return Task(data, datasets.new_latents(plan.pick(500, 10_000, 10_000), data))


def ours(kind: Any, metric: Any, n_refits: int, train: Latents, new: Latents, m: int) -> Any:
    """A fit of several stages."""
    options = {"kind": kind, "metric": metric, "beam": BEAM, "n_refits": n_refits}
    fitted = gq.fit_multistage(train, 2**BITS, m, random_state=0, **options)
    book = fitted.codebook
    require_equal("codes of training latents", book.assign(train), fitted.codes)
    codes = book.assign(new)
    return codes, book.lookup(codes)


def by_faiss_residual(is_well_set: bool, train: Latents, new: Latents, m: int) -> Any:
    """As it comes, or with k-means run to its end and faiss's own joint refinement."""
    faiss = peers.load("faiss")
    quantizer = faiss.ResidualQuantizer(train.shape[1], m, BITS)
    quantizer.max_beam_size = BEAM
    if is_well_set:
        quantizer.train_type = faiss.ResidualQuantizer.Train_default
        quantizer.train_type |= faiss.ResidualQuantizer.Train_refine_codebook
        quantizer.niter_codebook_refine = 10
        quantizer.cp.niter = 25
    quantizer.train(train)
    codes = quantizer.compute_codes(new)
    return codes, quantizer.decode(codes)


def by_faiss_product(train: Latents, new: Latents, m: int) -> Any:
    faiss = peers.load("faiss")
    quantizer = faiss.ProductQuantizer(train.shape[1], m, BITS)
    quantizer.train(train)
    codes = quantizer.compute_codes(new)
    return codes, quantizer.decode(codes)


RESIDUAL: dict[str, Quantizer] = {
    "geoquant geodesic": partial(ours, "residual", "geodesic", 5),
    "geoquant geodesic, 10 refits": partial(ours, "residual", "geodesic", 10),
    "geoquant geodesic, no refits": partial(ours, "residual", "geodesic", 0),
    "geoquant euclidean": partial(ours, "residual", "euclidean", 5),
    "geoquant euclidean, no refits": partial(ours, "residual", "euclidean", 0),
    "faiss ResidualQuantizer": partial(by_faiss_residual, False),
    "faiss ResidualQuantizer, well set": partial(by_faiss_residual, True),
}
PRODUCT: dict[str, Quantizer] = {
    "geoquant geodesic": partial(ours, "product", "geodesic", 0),
    "geoquant euclidean": partial(ours, "product", "euclidean", 0),
    "faiss ProductQuantizer": by_faiss_product,
}


def distortion_row(title: str, name: str, quantizer: Quantizer, work: Task, m: int) -> Row:
    """Mean squared error of new latents; the note says how long fit and encoding took."""
    begin = time.perf_counter()
    codes, decoded = quantizer(work.data.latents, work.new, m)
    seconds = time.perf_counter() - begin
    require_equal("latents", decoded.shape, work.new.shape)
    require_equal("rows of codes", len(codes), len(work.new))
    errors = np.square(work.new.astype(np.float64) - decoded).sum(axis=1)
    spread = np.square(work.new - work.data.latents.mean(axis=0)).sum(axis=1).mean()
    require(errors.mean() < spread, f"{name}: worse than one code for everything")
    note = f"{seconds:.1f} s, once"
    return Row(title, name, float(errors.mean()), "distortion", note=note)


def rows(kind: str, quantizers: dict[str, Quantizer], work: Task, m: int) -> list[Row]:
    title = f"{m} {kind} tokens of {2**BITS} codes, {work.data}"
    return [distortion_row(title, name, q, work, m) for name, q in quantizers.items()]


def groups(plan: Plan) -> Iterator[list[Row]]:
    work = task(plan)
    for m in plan.pick((2,), (4,), (1, 4, 8)):
        yield rows("residual", RESIDUAL, work, m)
    for m in plan.pick((2,), (4,), (2, 4)):
        yield rows("product", PRODUCT, work, m)


if __name__ == "__main__":
    sys.exit(stage.main("tokens", groups))
