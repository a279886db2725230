"""The steps that give rate and distortion of quantizers as they come, faiss's among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.papers.geodesic_vq import metrics
from benchmarks.papers.geodesic_vq.fits import trained_prior
from benchmarks.papers.geodesic_vq.job import BEAM
from benchmarks.papers.geodesic_vq.rows import totals
from benchmarks.papers.geodesic_vq.tokens import first_stages
from geoquant.torch import mean_nats, reconstruction_loss

if TYPE_CHECKING:
    import numpy.typing as npt

    from benchmarks.papers.geodesic_vq.job import Codes, Float32Array, Job


def curve_step(job: Job, method: str) -> list[dict[str, float]]:
    """Points of one quantizer as it comes: codes of latents, decoded by the frozen VAE."""
    tokens = job.settings.product_tokens if method == "faiss PQ" else job.settings.curve_tokens
    latents = job.arrays("latents")
    return [_point(job, *_coded(job, method, latents, m)) for m in tokens]


def _point(job: Job, train_codes: Codes, test_codes: Codes, decoded: Any) -> dict[str, float]:
    bce = float(reconstruction_loss(job.model("vae"), decoded, job.test.images).mean())
    nats = metrics.of_nats(mean_nats(trained_prior(job, train_codes), test_codes))
    return totals({"tokens": train_codes.shape[1], "bce": bce, **nats})


def _coded(job: Job, method: str, latents: dict[str, Any], m: int) -> tuple[Codes, Codes, Any]:
    """Codes of training and test latents, and the test latents that the codes stand for."""
    train, test = latents["train_mean"], latents["test_mean"]
    if method.startswith("faiss"):
        return _coded_by_faiss(method, train, test, m)
    book = first_stages(job, method, m)
    codes = book.assign(test, n_jobs=1)
    return book.assign(train, n_jobs=1), codes, book.lookup(codes)


def _coded_by_faiss(
    method: str, train: Float32Array, test: Float32Array, m: int
) -> tuple[Codes, Codes, Any]:
    import faiss

    faiss.omp_set_num_threads(1)
    if method == "faiss RQ":
        quantizer = faiss.ResidualQuantizer(train.shape[1], m, 6)
        quantizer.max_beam_size = BEAM
    else:
        quantizer = faiss.ProductQuantizer(train.shape[1], m, 6)
    quantizer.train(train)
    packed = [quantizer.compute_codes(part) for part in (train, test)]
    train_codes, test_codes = (unpacked(part, m) for part in packed)
    return train_codes, test_codes, quantizer.decode(packed[1])


def unpacked(packed: npt.NDArray[np.uint8], m: int) -> Codes:
    """Codes (n, m) of six bits each, lowest bits first, as faiss packs them."""
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, : 6 * m].reshape(-1, m, 6)
    return (bits << np.arange(6, dtype=np.uint8)).sum(axis=2).astype(np.int32)
