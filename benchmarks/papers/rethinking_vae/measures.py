"""The step that measures a model: the numbers where the paper has pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.papers.rethinking_vae.features import LEAST_ACCURACY, feature_space
from benchmarks.papers.rethinking_vae.job import decoded, encoded
from geoquant.assignment import nearest_codeword
from geoquant.quality import perplexity
from geoquant.torch.bottlenecks import CentrePull, QuantizedBottleneck
from geoquant.torch.probes import (
    closest_pair_share,
    evenly_spaced,
    perturbed,
    random_combinations,
    roughness,
)

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.papers.rethinking_vae.features import FeatureSpace
    from benchmarks.papers.rethinking_vae.job import Float32Array, Job
    from benchmarks.papers.rethinking_vae.settings import Config
    from geoquant.torch import ImageSet, NamedAutoencoder

N_FRAMES = 11
#: What is added to one number of an encoding at a time, as in the paper's grids.
AMOUNTS = np.linspace(-3, 3, 7)
_N_DIMS = 16
#: What is added to one of the first numbers of some encodings: E1's least and most.
CHANGES = {"change_small": 0.1, "change_large": 15.0}
_N_CHANGED, _N_CHANGED_DIMS = 200, 8
#: Pairs whose frames are held at once.
_PAIRS = 50


def measure_step(job: Job, key: str, config: Config, features: Path) -> dict[str, float]:
    """Everything that can be said of one model in numbers."""
    model, test = job.model(key), job.images(config.data, "test")
    space = feature_space(features, config.data) if config.data in LEAST_ACCURACY else None
    encodings = encoded(model, test)
    latents = fed(model, encodings)
    values = {"mse": mean_error(model, latents, test)}
    values |= of_codes(job, model, config, encodings)
    values |= of_interpolation(model, latents, space, job)
    if latents.ndim == 2:
        values |= of_space(model, latents, space, job)
    elif space is not None:
        values |= of_random_codewords(model, encodings, space, job)
    return values


def fed(model: NamedAutoencoder, encodings: Float32Array) -> Float32Array:
    """What the decoder is fed for encodings: themselves, or codewords."""
    bottleneck = model.bottleneck
    if isinstance(bottleneck, QuantizedBottleneck) and bottleneck.feeds_codewords:
        return quantized(bottleneck, encodings)
    return encodings


@torch.no_grad()
def quantized(bottleneck: QuantizedBottleneck, encodings: Float32Array) -> Float32Array:
    """Codewords in place of encodings, with sites or without."""
    at = bottleneck.quantizer.codebook.device
    blocks = torch.from_numpy(encodings).split(1_000)
    return torch.cat([bottleneck.quantize(b.to(at)).quantized.cpu() for b in blocks]).numpy()


def mean_error(model: NamedAutoencoder, latents: Float32Array, images: ImageSet) -> float:
    """Squared error of decoded latents, summed over an image's pixels."""
    off = decoded(model, latents) - images.images().numpy()
    return float(np.square(off, dtype=np.float64).sum() / len(off))


# ------------------------------------------------------------------------- centres and codes


def of_codes(
    job: Job, model: NamedAutoencoder, config: Config, encodings: Float32Array
) -> dict[str, float]:
    """Which centres or codewords are nearest to something, and how far apart they are."""
    centres = centres_of(model)
    if centres is None:
        return {}
    values = {"n_codes": float(len(centres))}
    rows = by_site(encodings)
    codes = nearest_codeword(rows, centres)
    values["active_test"] = float(len(np.unique(codes)))
    values["perplexity"] = perplexity(codes, len(centres))
    if encodings.ndim == 2:
        trained = nearest_codeword(encoded(model, job.images(config.data, "train")), centres)
        values["active_train"] = float(len(np.unique(trained)))
    elif isinstance(model.bottleneck, QuantizedBottleneck):
        test = job.images(config.data, "test")
        replaced = quantized(model.bottleneck, encodings)
        values["mse_quantized"] = mean_error(model, replaced, test)
    if isinstance(model.bottleneck, CentrePull):
        values["centre_mse"] = centre_error(model, encodings, job.images(config.data, "test"))
    if len(centres) > 1:
        values["closest_pair"] = closest_pair_share(centres, rows)
    return values


def centre_error(model: NamedAutoencoder, encodings: Float32Array, images: ImageSet) -> float:
    """Squared error of each decoded centre as the image whose encoding is nearest to it."""
    centres = centres_of(model)
    assert centres is not None
    nearest = nearest_codeword(centres, encodings)
    off = decoded(model, centres) - images.images(nearest).numpy()
    return float(np.square(off, dtype=np.float64).sum() / len(off))


def centres_of(model: NamedAutoencoder) -> Float32Array | None:
    """Centres or codewords of a model, (K, d), if it has any."""
    found: torch.Tensor
    if isinstance(model.bottleneck, CentrePull):
        found = model.bottleneck.centres
    elif isinstance(model.bottleneck, QuantizedBottleneck):
        found = model.bottleneck.quantizer.codebook
    else:
        return None
    centres: Float32Array = found.detach().cpu().numpy().copy()
    return centres


def by_site(encodings: Float32Array) -> Float32Array:
    """Encodings (n, d) as they are, those of sites (n, d, h, w) one row for each site."""
    last = np.moveaxis(encodings, 1, -1)
    return np.ascontiguousarray(last.reshape(-1, last.shape[-1]))


# --------------------------------------------------------------------- between two encodings


def of_interpolation(
    model: NamedAutoencoder, latents: Float32Array, space: FeatureSpace | None, job: Job
) -> dict[str, float]:
    """Roughness of decoded straight lines between test images, and the share near images."""
    rng = np.random.default_rng(job.seed)
    pairs = rng.integers(0, len(latents), (job.settings.n_pairs, 2))
    rough, features = [], []
    for chosen in np.array_split(pairs, -(-len(pairs) // _PAIRS)):
        frames = np.stack([decoded(model, straight(latents[pair])) for pair in chosen])
        rough += [roughness(of_pair) for of_pair in frames]
        if space is not None:
            features.append(space.of(frames[:, 1:-1].reshape(-1, *frames.shape[2:])))
    values = {"roughness": float(np.mean(rough))}
    if space is not None:
        values["near_path"] = space.share_near(np.concatenate(features))
    return values


def straight(ends: Float32Array) -> Float32Array:
    """Frames on the straight line between two latents, (N_FRAMES, ...)."""
    return evenly_spaced(ends.reshape(2, -1), N_FRAMES).reshape(-1, *ends.shape[1:])


# ----------------------------------------------------------------------------- the space itself


def of_space(
    model: NamedAutoencoder, latents: Float32Array, space: FeatureSpace | None, job: Job
) -> dict[str, float]:
    """Spread of latents, and how much of what lies around and between them is like images."""
    off = latents - latents.mean(0, dtype=np.float64)
    values = {"spread": float(np.sqrt(np.square(off).sum(1).mean()))}
    values |= of_change(model, latents, job)
    if space is not None:
        drawn = like(latents, job.settings.n_drawn, job.seed)
        values["near_drawn"] = space.share_near(space.of(decoded(model, drawn)))
        grid = perturbation_grid(model, latents)
        around = decoded(model, grid.reshape(-1, grid.shape[2]))
        values["near_grid"] = space.share_near(space.of(around))
    return values


def of_change(model: NamedAutoencoder, latents: Float32Array, job: Job) -> dict[str, float]:
    """Squared change of images by a small and a large amount added to one number.

    As a share of the squared distance of two images of different latents.
    """
    few = latents[:_N_CHANGED]
    images = decoded(model, few)
    others = decoded(model, np.random.default_rng(job.seed).permutation(latents)[: len(few)])
    usual = np.square(images - others).mean()
    values: dict[str, float] = {}
    if usual == 0:
        return values  # a single code in use
    for name, amount in CHANGES.items():
        grids = [perturbed(z, list(range(_N_CHANGED_DIMS)), [amount])[:, 0] for z in few]
        changed = decoded(model, np.concatenate(grids)).reshape(len(few), -1, *images.shape[1:])
        values[name] = float(np.square(changed - images[:, None]).mean() / usual)
    return values


def of_random_codewords(
    model: NamedAutoencoder, encodings: Float32Array, space: FeatureSpace, job: Job
) -> dict[str, float]:
    """How much is like images: reconstructions from codewords, and codewords at random sites."""
    bottleneck, codebook = model.bottleneck, centres_of(model)
    assert isinstance(bottleneck, QuantizedBottleneck)
    assert codebook is not None
    n, grid = job.settings.n_drawn, encodings.shape[2:]
    mixed, _ = random_combinations(codebook, grid, min(n, len(encodings)), job.seed)
    made = {"near_drawn": mixed, "near_quantized": quantized(bottleneck, encodings[:n])}
    return {name: space.share_near(space.of(decoded(model, z))) for name, z in made.items()}


def like(latents: Float32Array, n: int, seed: int) -> Float32Array:
    """Draws from the Gaussian that has the mean and covariance of latents."""
    rng = np.random.default_rng(seed)
    exact = latents.astype(np.float64)
    drawn = rng.multivariate_normal(exact.mean(0), np.cov(exact.T), n, check_valid="ignore")
    return drawn.astype(np.float32)


def perturbation_grid(model: NamedAutoencoder, latents: Float32Array) -> Any:
    """The paper's grid around the one centre, or around the mean: (dims, amounts, d)."""
    start = latents.mean(0)
    if isinstance(model.bottleneck, CentrePull) and len(model.bottleneck.centres) == 1:
        start = model.bottleneck.centres.detach().cpu().numpy()[0]
    return perturbed(start, list(range(min(_N_DIMS, len(start)))), AMOUNTS.tolist())
