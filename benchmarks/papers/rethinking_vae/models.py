"""The step that trains a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.papers.rethinking_vae.job import device
from geoquant.torch import NamedAutoencoder, begin_centres, seeded, train_autoencoder
from geoquant.torch.bottlenecks import CentrePull
from geoquant.torch.probes import CentreDrift

if TYPE_CHECKING:
    from benchmarks.papers.rethinking_vae.job import Job
    from benchmarks.papers.rethinking_vae.settings import Config
    from geoquant.torch import ImageSet


def train_step(job: Job, key: str, config: Config) -> dict[str, Any]:
    """Train a model and leave it; the losses of each epoch, and how far its centres moved."""
    images = job.images(config.data, "train")
    model = untrained(config, images, job.seed)
    if config.is_begun:
        begin_centres(model, images, batch_size=config.batch_size, random_state=job.seed)
    drift = CentreDrift(model) if isinstance(model.bottleneck, CentrePull) else None
    history = train_autoencoder(
        model,
        images,
        epochs=min(config.epochs, job.settings.max_epochs),
        batch_size=config.batch_size,
        schedule="linear",
        random_state=job.seed,
        after_epoch=drift,
    )
    model.eval().cpu().save_pretrained(job.folder / key)
    moved = [] if drift is None else [float(d.mean()) for d in drift.distances]
    return {"history": history, "drift": moved}


def untrained(config: Config, images: ImageSet, seed: int) -> NamedAutoencoder:
    """The model, on the device that there is."""
    with seeded(seed):
        model = NamedAutoencoder(
            images.image_shape,
            config.latent_dim,
            config.width,
            config.network,
            config.bottleneck,
            config.options,
        )
    return model.to(device())
