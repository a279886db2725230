"""The steps that train models: the judge, the VAE, and the VQ-VAE in both forms."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.papers import judge
from benchmarks.papers.geodesic_vq.job import BLOCK, with_one_token
from benchmarks.papers.spread import Measured
from geoquant.torch import (
    VAE,
    VQVAE,
    load_images,
    reconstruction_loss,
    seeded,
    train_autoencoder,
)

if TYPE_CHECKING:
    from benchmarks.papers.geodesic_vq.job import Codes, Float32Array, Images, Job


def judge_step(job: Job) -> dict[str, Any]:
    """Train the judge; its accuracy."""
    data = load_images("mnist", limit=job.settings.n_train)
    model = judge.trained(data, epochs=job.settings.judge_epochs)
    test = load_images("mnist", "test")
    accuracy = judge.require_able(model, test, job.settings.least_judge_accuracy)
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    job.keep("judge-network", arrays)
    return {"accuracy": accuracy, "test": asdict(verdict_of(model, job.test.images))}


def judge_network(job: Job) -> torch.nn.Module:
    """The judge that `judge_step` left."""
    model = judge.network()
    arrays = {name: torch.from_numpy(a) for name, a in job.arrays("judge-network").items()}
    model.load_state_dict(arrays)
    return model.eval()


def verdict_of(model: torch.nn.Module, images: torch.Tensor) -> judge.Verdict:
    return judge.verdict(judge.logits_of(model, images))


def vae_step(job: Job) -> list[Measured]:
    """Train the VAE; leave it and its latents."""
    with seeded(job.seed):
        model = VAE()
    train_autoencoder(
        model, job.train.images, epochs=job.settings.vae_epochs, random_state=job.seed
    )
    model.eval().save_pretrained(job.folder / "vae")
    parts = {"train": _gaussians(model, job.train), "test": _gaussians(model, job.test)}
    job.keep(
        "latents",
        {f"{split}_{name}": a for split, part in parts.items() for name, a in part.items()},
    )
    return _vae_rows(model, parts["test"], job)


@torch.no_grad()
def _gaussians(model: VAE, data: Images) -> dict[str, Float32Array]:
    blocks = [model.encode(block) for block in data.images.split(BLOCK)]
    mean, logvar = (torch.cat(part).numpy() for part in zip(*blocks, strict=True))
    return {"mean": mean, "logvar": logvar}


def _vae_rows(model: VAE, latents: dict[str, Float32Array], job: Job) -> list[Measured]:
    mean, logvar = latents["mean"].astype(np.float64), latents["logvar"].astype(np.float64)
    kl = float((np.square(mean) + np.exp(logvar) - 1 - logvar).sum(axis=1).mean() / 2)
    noise = np.random.default_rng(job.seed).normal(size=mean.shape)
    sampled = (mean + np.exp(logvar / 2) * noise).astype(np.float32)
    rows = []
    for name, z in (("sampled", sampled), ("mean", latents["mean"])):
        bce = float(reconstruction_loss(model, z, job.test.images).mean())
        values = {"bce": bce, "regularizer": kl}
        if name == "sampled":
            values["total"] = bce + kl  # the negative evidence lower bound
        rows.append(Measured(f"vae-{name}", values))
    return rows


def vqvae_step(job: Job, update: Any) -> list[Measured]:
    """Train a VQ-VAE with this update of its codebook; leave it."""
    with seeded(job.seed):
        model = VQVAE(n_codes=job.settings.n_codes, codebook_update=update)
    train_autoencoder(
        model, job.train.images, epochs=job.settings.vqvae_epochs, random_state=job.seed
    )
    model.eval().save_pretrained(job.folder / f"vqvae-{update}")
    codes = [vqvae_codes(model, data.images) for data in (job.train, job.test)]
    with torch.no_grad():
        blocks = job.test.images.split(BLOCK)
        shares = [len(block) / len(job.test.images) for block in blocks]
        losses = [model.loss(block) for block in blocks]
    values = {
        "bce": sum(s * float(loss["bce"]) for s, loss in zip(shares, losses, strict=True)),
        "regularizer": sum(
            s * float(loss["commitment"]) for s, loss in zip(shares, losses, strict=True)
        ),
    }
    return [Measured(f"vqvae-{update}", with_one_token(job, values, *codes))]


@torch.no_grad()
def vqvae_codes(model: VQVAE, images: torch.Tensor) -> Codes:
    """Code of each image."""
    found = [model.quantize(model.encode(block)).indices for block in images.split(BLOCK)]
    return torch.cat(found).numpy().astype(np.int32)
