"""Learned centres beside codebooks fitted to the same latents afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import geoquant as gq
from benchmarks.papers.rethinking_vae.job import encoded
from benchmarks.papers.rethinking_vae.measures import centres_of, mean_error
from geoquant.assignment import nearest_codeword
from geoquant.quality import majority_vote_accuracy, perplexity
from geoquant.torch.bottlenecks import CentrePull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.papers.rethinking_vae.job import Codes, Float32Array, Job
    from benchmarks.papers.rethinking_vae.settings import Config

#: Models whose latents are quantized, and into how many codes: as many as they have centres, or
#: as those they are compared with.
MODELS = {
    "mnist-ae": 20,
    "mnist-vae": 20,
    "mnist-centre-1": 20,
    "mnist-centre-20": 20,
    "fashion-mnist-ae": 20,
    "fashion-mnist-vae": 20,
    "fashion-mnist-centre-1": 20,
    "fashion-mnist-centre-20": 20,
    "fashion-mnist-centre-20-ema": 20,
    "fashion-mnist-centre-50-ema": 50,
    "fashion-mnist-centre-500-ema": 500,
}
LEARNED, GEODESIC, EUCLIDEAN = "learned", "geodesic", "euclidean"


def bridge_step(job: Job, key: str, config: Config) -> dict[str, Any]:
    """Numbers of each codebook on the latents of one model, and how far two of them agree."""
    model, n_codes = job.model(key), MODELS[key]
    train, test = (job.images(config.data, split) for split in ("train", "test"))
    latents, new = encoded(model, train), encoded(model, test)
    books = fitted_afterwards(latents, new, n_codes, job.seed)
    centres = centres_of(model)
    if isinstance(model.bottleneck, CentrePull) and centres is not None and len(centres) == n_codes:
        codes, test_codes = (nearest_codeword(z, centres, n_jobs=1) for z in (latents, new))
        books = {LEARNED: (centres, codes, test_codes), **books}
    job.keep(f"bridge-{key}", {name: book[0] for name, book in books.items()})
    labels = np.asarray(train.labels), np.asarray(test.labels)
    found: dict[str, Any] = {
        name: {"mse": mean_error(model, words[test_codes], test)}
        | use_of(codes, test_codes, labels, n_codes)
        for name, (words, codes, test_codes) in books.items()
    }
    agreed = adjusted_rand_score(books[GEODESIC][2], books[EUCLIDEAN][2])
    return {"codebooks": found, "agreement": float(agreed)}


def fitted_afterwards(
    latents: Float32Array, new: Float32Array, n_codes: int, seed: int
) -> Mapping[str, tuple[Float32Array, Codes, Codes]]:
    """Codewords, codes and codes of new latents, by shortest paths and by straight lines."""
    fit = gq.fit_codebook(latents, n_codes, random_state=seed, n_jobs=1)
    kmeans = KMeans(n_codes, n_init=3, random_state=seed).fit(latents)
    words = kmeans.cluster_centers_.astype(np.float32)
    return {
        GEODESIC: (fit.codebook.vectors, fit.codes, fit.codebook.assign(new, n_jobs=1)),
        EUCLIDEAN: (words, kmeans.labels_, nearest_codeword(new, words, n_jobs=1)),
    }


def use_of(
    codes: Codes, test_codes: Codes, labels: tuple[Codes, Codes], n_codes: int
) -> dict[str, float]:
    """How many codes are in use, and what they say of the class."""
    return {
        "active_train": float(len(np.unique(codes))),
        "active_test": float(len(np.unique(test_codes))),
        "perplexity": perplexity(test_codes, n_codes),
        "accuracy": majority_vote_accuracy(codes, labels[0], test_codes, labels[1]),
    }
