"""Codebooks, codes and priors fitted through a decoder, with the settings of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoquant.torch import GRUPrior, reassign, refine_codebook, seeded, train_prior

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from benchmarks.papers.geodesic_vq.job import Codes, Job


def refined(job: Job, book: Any, codes: Codes, **options: Any) -> Any:
    """A codebook fitted through the frozen VAE, in turn with codes chosen by reconstruction."""
    usual = {"n_rounds": job.settings.n_rounds, "n_candidates": job.settings.refine_candidates}
    return refine_codebook(
        book,
        job.model("vae"),
        job.arrays("latents")["train_mean"],
        job.train.images,
        codes=codes,
        epochs=job.settings.refine_epochs,
        random_state=job.seed,
        **usual | options,
    )


def reassigned(job: Job, book: Any, decoder: Any, split: str, **options: Any) -> Codes:
    """Codes of training or test images, chosen by reconstruction."""
    data = job.train if split == "train" else job.test
    usual = {"n_sweeps": job.settings.n_sweeps, "n_candidates": job.settings.n_candidates}
    latents = job.arrays("latents")[f"{split}_mean"]
    return reassign(book, decoder, latents, data.images, **usual | options)


def trained_prior(job: Job, codes: Codes) -> GRUPrior:
    """A prior of each image's own tokens."""
    with seeded(job.seed):
        prior = GRUPrior(job.settings.n_codes, codes.shape[1])
    train_prior(prior, codes, epochs=job.settings.prior_epochs, random_state=job.seed)
    return prior.eval()


def rate_of(prior: GRUPrior) -> Callable[[torch.Tensor], torch.Tensor]:
    """Nats of token sequences, for `reassign`."""
    return lambda tokens: prior.nats(tokens).sum(1)
