"""The steps that give each image one code: k-means, and the paper's way with its variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.cluster import KMeans

import geoquant as gq
from benchmarks.papers.geodesic_vq.fits import reassigned, refined
from benchmarks.papers.geodesic_vq.job import BLOCK, with_one_token
from benchmarks.papers.spread import Measured
from geoquant.graph.edge_lengths import gaussian_coordinates
from geoquant.multistage import anchored_at_codewords
from geoquant.torch import (
    GRUPrior,
    mean_nats,
    reconstruction_loss,
    refine_codebook,
    seeded,
    train_prior,
    windows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.papers.geodesic_vq.job import Codes, Job

WINDOW = 32


def one_token_step(job: Job, name: str) -> list[Measured]:
    """Rows of one way to make one code of each image."""
    latents = job.arrays("latents")
    return _ONE_TOKEN[name](job, latents)


def _kmeans_rows(job: Job, latents: dict[str, Any]) -> list[Measured]:
    k, n_init = job.settings.n_codes, job.settings.n_init
    found = KMeans(k, n_init=n_init, random_state=job.seed).fit(latents["train_mean"])
    book = anchored_at_codewords(found.cluster_centers_.astype(np.float32), {})
    codes = book.assign(latents["train_mean"], n_jobs=1)
    return [
        _decoded_row(job, "kmeans-mean", book, codes),
        _fitted_row(job, "kmeans-fitted", book, codes),
        _reassigned_row(job, "kmeans-reassigned", book, codes),
    ]


def _medoid_rows(job: Job, latents: dict[str, Any]) -> list[Measured]:
    fitted = _geodesic(job, latents, codewords="medoid")
    return [_decoded_row(job, "geo-medoid", fitted.codebook, fitted.codes)]


def _mean_rows(job: Job, latents: dict[str, Any]) -> list[Measured]:
    fitted = _geodesic(job, latents)
    book, codes = fitted.codebook, fitted.codes
    job.keep("one-token", {"train_codes": codes, "test_codes": _test_codes(job, book)})
    return [
        _decoded_row(job, "geo-mean", book, codes),
        _fitted_row(job, "geo-fitted", book, codes, keep="geo-fitted"),
        _reassigned_row(job, "geo-few", book, codes, n_candidates=FEW),
        _reassigned_row(job, "geo-reassigned", book, codes),
        *_window_rows(job, codes, _test_codes(job, book)),
    ]


def _decoded_length_rows(job: Job, latents: dict[str, Any]) -> list[Measured]:
    model = job.model("vae")
    with torch.no_grad():
        blocks = torch.from_numpy(latents["train_mean"]).split(BLOCK)
        decoded = torch.cat([model.decode(block).flatten(1) for block in blocks]).numpy()
    fitted = _geodesic(job, latents, edge_outputs=decoded)
    return [
        _decoded_row(job, "geo-decoded-mean", fitted.codebook, fitted.codes),
        _fitted_row(job, "geo-decoded-fitted", fitted.codebook, fitted.codes),
    ]


def _w2_rows(job: Job, latents: dict[str, Any]) -> list[Measured]:
    outputs = gaussian_coordinates(latents["train_mean"], latents["train_logvar"])
    fitted = _geodesic(job, latents, edge_outputs=outputs)
    return [
        _decoded_row(job, "geo-w2-mean", fitted.codebook, fitted.codes),
        _fitted_row(job, "geo-w2-fitted", fitted.codebook, fitted.codes),
    ]


#: Near latents whose codes are tried where the codes are to tell the digit as well as they did.
FEW = 5

_ONE_TOKEN: dict[str, Callable[[Job, dict[str, Any]], list[Measured]]] = {
    "kmeans": _kmeans_rows,
    "medoid": _medoid_rows,
    "mean": _mean_rows,
    "decoded": _decoded_length_rows,
    "w2": _w2_rows,
}


def _geodesic(job: Job, latents: dict[str, Any], **options: Any) -> gq.FittedCodebook:
    k = job.settings.n_codes
    return gq.fit_codebook(latents["train_mean"], k, n_jobs=1, random_state=job.seed, **options)


def _test_codes(job: Job, book: Any) -> Codes:
    codes: Codes = book.assign(job.arrays("latents")["test_mean"], n_jobs=1)
    return codes


def _decoded_row(
    job: Job, key: str, book: Any, train_codes: Codes, test_codes: Codes | None = None
) -> Measured:
    """Codewords decoded as they are; test codes are those that the codebook assigns, or given."""
    if test_codes is None:
        test_codes = _test_codes(job, book)
    latents = book.lookup(test_codes)
    bce = float(reconstruction_loss(job.model("vae"), latents, job.test.images).mean())
    return Measured(key, with_one_token(job, {"bce": bce}, train_codes, test_codes))


def _fitted(job: Job, book: Any, codes: Codes) -> Any:
    """The codebook with codewords fitted to their cells through the decoder; the codes stay."""
    return refine_codebook(
        book,
        job.model("vae"),
        job.arrays("latents")["train_mean"],
        job.train.images,
        codes=codes,
        epochs=job.settings.refine_epochs,
        random_state=job.seed,
    ).codebook


def _fitted_row(job: Job, key: str, book: Any, codes: Codes, *, keep: str = "") -> Measured:
    """Codewords fitted, codes as the codebook assigns them."""
    fitted = _fitted(job, book, codes)
    if keep:
        fitted.save(job.folder / f"{keep}.safetensors")
    return _decoded_row(job, key, fitted, codes)


def _reassigned_row(
    job: Job, key: str, book: Any, codes: Codes, *, n_candidates: int | None = None
) -> Measured:
    """The same, in turn with codes chosen by reconstruction, in training and of test images."""
    n_candidates = n_candidates or job.settings.one_token_candidates
    options = {"n_rounds": job.settings.one_token_rounds, "n_candidates": n_candidates}
    fitted = refined(job, book, codes, **options)
    book, vae = fitted.codebook, job.model("vae")
    test_codes = reassigned(job, book, vae, "test", n_candidates=n_candidates, n_sweeps=1)
    return _decoded_row(job, key, fitted.codebook, fitted.codes, test_codes)


def _window_rows(job: Job, train_codes: Codes, test_codes: Codes) -> list[Measured]:
    """The paper's own prior: windows of the codes of images that follow each other by chance."""
    k = job.settings.n_codes
    with seeded(job.seed):
        prior = GRUPrior(k, WINDOW, positional=False)
    train_prior(
        prior,
        windows(train_codes, WINDOW),
        epochs=job.settings.paper_prior_epochs,
        batch_size=64,
        learning_rate=1e-3,
        random_state=job.seed,
    )
    pairs = (("windows-train", train_codes), ("windows-test", test_codes))
    return [
        Measured(key, {"nll_token": float(mean_nats(prior, windows(codes, WINDOW)).mean())})
        for key, codes in pairs
    ]
