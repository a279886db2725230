"""The paper's system for one seed, step by step; each step gives rows and leaves its models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.cluster import KMeans

import geoquant as gq
from benchmarks.papers.geodesic_vq import judge, metrics
from benchmarks.papers.geodesic_vq.rows import Measured, totals
from geoquant.files import read_safetensors, write_safetensors
from geoquant.graph.edge_lengths import gaussian_coordinates
from geoquant.multistage import MultistageCodebook, anchored_at_codewords
from geoquant.multistage_fit import least_squares_codewords
from geoquant.torch import (
    VAE,
    VQVAE,
    GRUPrior,
    load_images,
    load_model,
    mean_nats,
    reassign,
    reconstruction_loss,
    rectify_decoder,
    refine_codebook,
    seeded,
    train_autoencoder,
    train_prior,
    windows,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from benchmarks.papers.geodesic_vq.settings import Settings

    Float32Array = npt.NDArray[np.float32]
    Codes = npt.NDArray[np.int32]

BEAM, N_REFITS = 8, 5
WINDOW = 32
_BLOCK = 5_000


@dataclass(frozen=True)
class Images:
    """Images in memory, and their digits."""

    images: torch.Tensor
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """One seed of a run, and the folder of its models."""

    seed: int
    settings: Settings
    folder: Path

    @property
    def train(self) -> Images:
        return _images("train", self.settings.n_train)

    @property
    def test(self) -> Images:
        return _images("test", self.settings.n_test)

    def model(self, name: str) -> Any:
        """A model that a step left."""
        return load_model(self.folder / name)

    def arrays(self, name: str) -> dict[str, Any]:
        """Arrays that a step left."""
        return read_safetensors(self.folder / f"{name}.safetensors")[0]

    def keep(self, name: str, arrays: dict[str, Any]) -> None:
        """Leave arrays for later steps."""
        write_safetensors(self.folder / f"{name}.safetensors", arrays, {})


@lru_cache(maxsize=2)
def _images(split: Any, limit: int) -> Images:
    data = load_images("mnist", split, limit=limit)
    return Images(data.images(), np.asarray(data.labels))


# ------------------------------------------------------------------------------- the models


def judge_step(job: Job) -> dict[str, Any]:
    """Train the judge; its accuracy."""
    data = load_images("mnist", limit=job.settings.n_train)
    model = judge.trained(data, epochs=job.settings.judge_epochs)
    test = load_images("mnist", "test")
    accuracy = judge.require_able(model, test, job.settings.least_judge_accuracy)
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    job.keep("judge-network", arrays)
    return {"accuracy": accuracy, "test": asdict(_verdict(model, job.test.images))}


def judge_network(job: Job) -> torch.nn.Module:
    """The judge that `judge_step` left."""
    model = judge.network()
    arrays = {name: torch.from_numpy(a) for name, a in job.arrays("judge-network").items()}
    model.load_state_dict(arrays)
    return model.eval()


def _verdict(model: torch.nn.Module, images: torch.Tensor) -> judge.Verdict:
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
    blocks = [model.encode(block) for block in data.images.split(_BLOCK)]
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
        blocks = job.test.images.split(_BLOCK)
        shares = [len(block) / len(job.test.images) for block in blocks]
        losses = [model.loss(block) for block in blocks]
    values = {
        "bce": sum(s * float(loss["bce"]) for s, loss in zip(shares, losses, strict=True)),
        "regularizer": sum(
            s * float(loss["commitment"]) for s, loss in zip(shares, losses, strict=True)
        ),
    }
    return [Measured(f"vqvae-{update}", _with_one_token(job, values, *codes))]


@torch.no_grad()
def vqvae_codes(model: VQVAE, images: torch.Tensor) -> Codes:
    """Code of each image."""
    found = [model.quantize(model.encode(block)).indices for block in images.split(_BLOCK)]
    return torch.cat(found).numpy().astype(np.int32)


def _with_one_token(
    job: Job, values: dict[str, float], train_codes: Codes, test_codes: Codes
) -> dict[str, float]:
    """The numbers that follow from one code for each image, added."""
    k = job.settings.n_codes
    nats = metrics.unigram_nats(train_codes, test_codes, k)
    return totals(
        {**values, "nll_token": nats, "nll_image": nats, **_use(job, train_codes, test_codes)}
    )


def _use(job: Job, train_codes: Codes, test_codes: Codes) -> dict[str, float]:
    labels, k = (job.train.labels, job.test.labels), job.settings.n_codes
    return metrics.of_codes(train_codes, labels[0], test_codes, labels[1], k)


# ------------------------------------------------------------------------------- one token


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
        _reassigned_row(job, "geo-reassigned", book, codes),
        *_window_rows(job, codes, _test_codes(job, book)),
    ]


def _decoded_length_rows(job: Job, latents: dict[str, Any]) -> list[Measured]:
    model = job.model("vae")
    with torch.no_grad():
        blocks = torch.from_numpy(latents["train_mean"]).split(_BLOCK)
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
    return Measured(key, _with_one_token(job, {"bce": bce}, train_codes, test_codes))


def _fitted_row(job: Job, key: str, book: Any, codes: Codes, *, keep: str = "") -> Measured:
    """Codewords fitted to their cells through the decoder; the codes stay."""
    refined = refine_codebook(
        book,
        job.model("vae"),
        job.arrays("latents")["train_mean"],
        job.train.images,
        codes=codes,
        epochs=job.settings.refine_epochs,
        random_state=job.seed,
    )
    if keep:
        refined.codebook.save(job.folder / f"{keep}.safetensors")
    return _decoded_row(job, key, refined.codebook, codes)


def _reassigned_row(job: Job, key: str, book: Any, codes: Codes) -> Measured:
    """The same, in turn with codes chosen by reconstruction, in training and of test images."""
    refined = _refined(job, book, codes)
    test_codes = _reassigned(job, refined.codebook, job.model("vae"), "test")
    return _decoded_row(job, key, refined.codebook, refined.codes, test_codes)


def _refined(job: Job, book: Any, codes: Codes) -> Any:
    return refine_codebook(
        book,
        job.model("vae"),
        job.arrays("latents")["train_mean"],
        job.train.images,
        codes=codes,
        epochs=job.settings.refine_epochs,
        n_rounds=job.settings.n_rounds,
        n_candidates=job.settings.n_candidates,
        random_state=job.seed,
    )


def _reassigned(job: Job, book: Any, decoder: Any, split: str, **options: Any) -> Codes:
    data = job.train if split == "train" else job.test
    options = {"n_sweeps": job.settings.n_sweeps, **options}
    latents = job.arrays("latents")[f"{split}_mean"]
    n_candidates = job.settings.n_candidates
    return reassign(book, decoder, latents, data.images, n_candidates=n_candidates, **options)


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


# ------------------------------------------------------------------------------ several tokens


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
    refined = _refined(job, book, book.assign(job.arrays("latents")["train_mean"], n_jobs=1))
    refined.codebook.save(job.folder / f"{name}.safetensors")
    return _rows_of_tokens(job, name, refined.codebook, vae, refined.codes)


def rectified_step(job: Job, metric: str, m: int) -> list[Measured]:
    """The same codebook with a decoder trained on what its tokens stand for."""
    name = f"{metric}-{m}"
    book = MultistageCodebook.load(job.folder / f"{name}.safetensors")
    codes = job.arrays(f"{name}-codes")["train"]
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
    return _rows_of_tokens(job, name, rectified.codebook, model, codes)


def _rows_of_tokens(
    job: Job, name: str, book: Any, decoder: Any, train_codes: Codes
) -> list[Measured]:
    """By reconstruction alone, and by reconstruction and rate; leaves codes and prior."""
    train_codes = _reassigned(job, book, decoder, "train", codes=train_codes, n_sweeps=1)
    prior = trained_prior(job, train_codes)
    prior.save_pretrained(job.folder / f"{name}-prior")
    plain = _reassigned(job, book, decoder, "test")
    rated = _reassigned(job, book, decoder, "test", codes=plain, rate=rate_of(prior))
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
    return Measured(key, totals({"bce": bce, **nats, **_use(job, train_codes, codes)}))


def trained_prior(job: Job, codes: Codes) -> GRUPrior:
    """A prior of each image's own tokens."""
    with seeded(job.seed):
        prior = GRUPrior(job.settings.n_codes, codes.shape[1])
    train_prior(prior, codes, epochs=job.settings.prior_epochs, random_state=job.seed)
    return prior.eval()


def rate_of(prior: GRUPrior) -> Callable[[torch.Tensor], torch.Tensor]:
    """Nats of token sequences, for `reassign`."""
    return lambda tokens: prior.nats(tokens).sum(1)


# ---------------------------------------------------------------------------------- samples


def samples_step(job: Job, name: str, judge_job: Job) -> dict[str, Any]:
    """Images sampled from prior and decoder of a rectified codebook, beside the VAE's, judged."""
    n, judged_by = job.settings.n_samples, judge_network(judge_job)
    generator = torch.Generator().manual_seed(job.seed)
    prior = GRUPrior.from_pretrained(job.folder / f"{name}-prior")
    tokens = prior.sample(n, generator=generator).numpy()
    book = MultistageCodebook.load(job.folder / f"{name}.safetensors")
    vae = job.model("vae")
    noise = torch.randn(n, vae.latent_dim, generator=generator)
    with torch.no_grad():
        ours = job.model(f"{name}-vae").decode(torch.from_numpy(book.lookup(tokens)))
        theirs = vae.decode(noise)
    job.keep("samples", {"geo_vq": ours[:100].numpy(), "vae": theirs[:100].numpy()})
    verdicts = {"geo_vq": _verdict(judged_by, ours), "vae": _verdict(judged_by, theirs)}
    return {"name": name, **{key: asdict(found) for key, found in verdicts.items()}}


# -------------------------------------------------------------------- rate-distortion, one seed


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
