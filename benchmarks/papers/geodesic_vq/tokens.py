"""The steps that give each image several tokens, and the samples of the best of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

import geoquant as gq
from benchmarks.papers.geodesic_vq import metrics
from benchmarks.papers.geodesic_vq.fits import rate_of, reassigned, refined, trained_prior
from benchmarks.papers.geodesic_vq.job import BEAM, use_of_codes
from benchmarks.papers.geodesic_vq.models import judge_network, verdict_of
from benchmarks.papers.geodesic_vq.rows import totals
from benchmarks.papers.spread import Measured
from geoquant.multistage import MultistageCodebook
from geoquant.multistage_fit import least_squares_codewords
from geoquant.torch import GRUPrior, mean_nats, reconstruction_loss, rectify_decoder

if TYPE_CHECKING:
    from benchmarks.papers.geodesic_vq.job import Codes, Job

N_REFITS = 5


def stages_step(job: Job, metric: Any) -> list[Measured]:
    """All stages of a residual codebook, each as it was fitted; stages never look at later ones."""
    n_stages = max(*job.settings.tokens, *job.settings.curve_tokens)
    fitted = gq.fit_multistage(
        job.arrays("latents")["train_mean"],
        job.settings.n_codes,
        n_stages,
        metric=metric,
        beam=BEAM,
        n_refits=0,
        n_jobs=1,
        random_state=job.seed,
    )
    fitted.codebook.save(job.folder / f"stages-{metric}.safetensors")
    return []


def first_stages(job: Job, metric: str, m: int) -> MultistageCodebook:
    """The first stages of that codebook, fitted jointly by least squares and encoding in turn."""
    everything = MultistageCodebook.load(job.folder / f"stages-{metric}.safetensors")
    book = MultistageCodebook(everything.stages[:m], "residual", BEAM)
    x = job.arrays("latents")["train_mean"]
    for _ in range(N_REFITS):
        vectors = [stage.vectors for stage in book.stages]
        book = book.replace_vectors(least_squares_codewords(x, book.assign(x, n_jobs=1), vectors))
    return book


def tokens_step(job: Job, metric: str, m: int) -> list[Measured]:
    """A codebook of m tokens fitted through the frozen decoder, and a prior of its tokens."""
    vae, name = job.model("vae"), f"{metric}-{m}"
    book = first_stages(job, metric, m)
    fitted = refined(job, book, book.assign(job.arrays("latents")["train_mean"], n_jobs=1))
    fitted.codebook.save(job.folder / f"{name}.safetensors")
    test_codes = fitted.codebook.assign(job.arrays("latents")["test_mean"], n_jobs=1)
    return _rows_of_tokens(job, name, fitted.codebook, vae, fitted.codes, test_codes)


def rectified_step(job: Job, metric: str, m: int) -> list[Measured]:
    """The same codebook with a decoder trained on what its tokens stand for."""
    name = f"{metric}-{m}"
    book = MultistageCodebook.load(job.folder / f"{name}.safetensors")
    codes, test_codes = (job.arrays(f"{name}-codes")[part] for part in ("train", "test"))
    rectified = rectify_decoder(
        job.model("vae"),
        book,
        codes,
        job.train.images,
        epochs=job.settings.rectify_epochs,
        random_state=job.seed,
    )
    name += "-rectified"
    model: Any = rectified.model
    model.eval().save_pretrained(job.folder / f"{name}-vae")
    rectified.codebook.save(job.folder / f"{name}.safetensors")
    return _rows_of_tokens(job, name, rectified.codebook, model, codes, test_codes)


def _rows_of_tokens(
    job: Job, name: str, book: Any, decoder: Any, train_codes: Codes, test_codes: Codes
) -> list[Measured]:
    """By reconstruction alone, and by reconstruction and rate; leaves codes and prior.

    The codes given are where the search for better ones begins.
    """
    train_codes = reassigned(job, book, decoder, "train", codes=train_codes, n_sweeps=1)
    prior = trained_prior(job, train_codes)
    prior.save_pretrained(job.folder / f"{name}-prior")
    plain = reassigned(job, book, decoder, "test", codes=test_codes)
    rated = reassigned(job, book, decoder, "test", codes=plain, rate=rate_of(prior))
    job.keep(f"{name}-codes", {"train": train_codes, "test": plain, "test_rated": rated})
    return [
        _token_row(job, name, book, decoder, prior, train_codes, plain),
        _token_row(job, f"{name}-rated", book, decoder, prior, train_codes, rated),
    ]


def _token_row(
    job: Job, key: str, book: Any, decoder: Any, prior: GRUPrior, train_codes: Codes, codes: Codes
) -> Measured:
    bce = float(reconstruction_loss(decoder, book.lookup(codes), job.test.images).mean())
    nats = metrics.of_nats(mean_nats(prior, codes))
    return Measured(key, totals({"bce": bce, **nats, **use_of_codes(job, train_codes, codes)}))


def samples_step(job: Job, best: str, judge_job: Job) -> dict[str, Any]:
    """Images sampled from priors and decoders of rectified codebooks, beside the VAE's, judged."""
    judged_by, vae = judge_network(judge_job), job.model("vae")
    noise = torch.randn(job.settings.n_samples, vae.latent_dim, generator=_generator(job))
    with torch.no_grad():
        theirs = vae.decode(noise)
    ours = sampled(job, best, 1.0)
    job.keep("samples", {"geo_vq": ours[:100].numpy(), "vae": theirs[:100].numpy()})
    names = [f"geodesic-{m}-rectified" for m in job.settings.rectified_tokens]
    asked = [(name, t) for name in names for t in job.settings.temperatures]
    return {
        "name": best,
        "geo_vq": asdict(verdict_of(judged_by, ours)),
        "vae": asdict(verdict_of(judged_by, theirs)),
        "by_temperature": [
            {"name": name, "temperature": t, **asdict(verdict_of(judged_by, sampled(job, name, t)))}
            for name, t in asked
        ],
    }


@torch.no_grad()
def sampled(job: Job, name: str, temperature: float) -> torch.Tensor:
    """Images of tokens drawn from the prior of a rectified codebook."""
    prior = GRUPrior.from_pretrained(job.folder / f"{name}-prior")
    n, generator = job.settings.n_samples, _generator(job)
    tokens = prior.sample(n, temperature=temperature, generator=generator).numpy()
    book = MultistageCodebook.load(job.folder / f"{name}.safetensors")
    images: torch.Tensor = job.model(f"{name}-vae").decode(torch.from_numpy(book.lookup(tokens)))
    return images


def _generator(job: Job) -> torch.Generator:
    return torch.Generator().manual_seed(job.seed)
