"""Every model of the paper, by experiment, with those that it is compared with."""

from __future__ import annotations

from typing import Any

from benchmarks.papers.rethinking_vae.settings import Config

#: Of a plain mean over the squares of 784 pixels beside one over the numbers of an encoding.
_PLAIN_MEANS = 784.0
_MLP: dict[str, Any] = {"network": "mlp", "latent_dim": 128, "width": 64}
_PULL: dict[str, Any] = {"bottleneck": "centre-pull"}
_SITES: dict[str, Any] = {
    "network": "multi-vector",
    "latent_dim": 512,
    "width": 16,
    "epochs": 5,
    "is_large": True,
}
_RESIDUAL: dict[str, Any] = {
    "network": "residual",
    "width": 16,
    "batch_size": 512,
    "epochs": 6,
    "is_large": True,
    **_PULL,
}


def _pull(n_centres: int, **options: Any) -> dict[str, Any]:
    return {**_PULL, "options": {"n_centres": n_centres, **options}}


def _many(**options: Any) -> dict[str, Any]:
    """500 centres, whose nearest are looked for among half of each batch."""
    wanted = {"n_centres": 500, "n_extra": 256, "weight": 0.1, **options}
    return {**_RESIDUAL, "options": wanted}


def _codebook(n_codes: int, **options: Any) -> dict[str, Any]:
    return {"options": {"n_codes": n_codes, "update": "ema", **options}}


E1 = {"mnist-ae-mlp": Config("mnist", "AE, MLP", **_MLP)}

E2 = {
    "celeba-centre-1": Config(
        "celeba", "1 centre", width=16, is_large=True, **_pull(1) | {"latent_dim": 64}
    ),
    **{
        f"{data}-{name}": Config(data, title, **options)
        for data in ("mnist", "fashion-mnist")
        for name, title, options in (
            ("ae", "AE", {}),
            ("centre-1", "1 centre", _pull(1)),
            ("vae", "VAE", {"bottleneck": "gaussian"}),
            ("vqvae", "VQ-VAE, 64 codes", {"bottleneck": "vector-quantizer", **_codebook(64)}),
        )
    },
    "mnist-centre-1-mlp": Config("mnist", "1 centre, MLP", **_MLP, **_pull(1)),
}

E3 = {
    f"{data}-centre-20": Config(data, "20 centres", **_pull(20))
    for data in ("mnist", "fashion-mnist")
}

E4 = {
    "mnist-zero-mlp": Config(
        "mnist",
        "zero pull, MLP",
        **_MLP,
        bottleneck="zero-pull",
        options={"weight": _PLAIN_MEANS},
    ),
    "mnist-zero-mlp-weak": Config(
        "mnist", "zero pull, MLP, weak", **_MLP, bottleneck="zero-pull", options={"weight": 1.0}
    ),
    "mnist-zero": Config(
        "mnist", "zero pull", bottleneck="zero-pull", options={"weight": _PLAIN_MEANS}
    ),
}

E5 = {
    "fashion-mnist-centre-20-ema": Config(
        "fashion-mnist", "20 centres, EMA", is_begun=True, **_pull(20, momentum=0.01)
    ),
    "fashion-mnist-centre-50-ema": Config(
        "fashion-mnist", "50 centres, EMA", is_begun=True, **_pull(50, momentum=0.01)
    ),
    "fashion-mnist-centre-50": Config("fashion-mnist", "50 centres", **_pull(50)),
}

E6 = {
    "fashion-mnist-centre-500-ema": Config(
        "fashion-mnist", "500 centres, EMA", is_begun=True, **_many(momentum=0.01)
    ),
    "fashion-mnist-centre-500": Config(
        "fashion-mnist", "500 centres, no EMA", is_begun=True, **_many()
    ),
    "fashion-mnist-centre-500-ema-anywhere": Config(
        "fashion-mnist", "500 centres, EMA, begun anywhere", **_many(momentum=0.01)
    ),
    "fashion-mnist-centre-500-ema-small": Config(
        "fashion-mnist",
        "500 centres, EMA, small network",
        is_begun=True,
        **_many(momentum=0.01) | {"network": "convolutional", "width": 8},
    ),
}

E7 = {
    "fashion-mnist-vqae": Config(
        "fashion-mnist",
        "VQ-AE, 100 codes",
        bottleneck="vq-ae",
        **_SITES,
        **_codebook(100, beta=50.0),
    ),
    "fashion-mnist-vqae-loose": Config(
        "fashion-mnist", "VQ-AE, β 0.25", bottleneck="vq-ae", **_SITES, **_codebook(100, beta=0.25)
    ),
    "fashion-mnist-vqvae-sites": Config(
        "fashion-mnist", "VQ-VAE by site", bottleneck="vector-quantizer", **_SITES, **_codebook(100)
    ),
}

EXPERIMENTS: dict[str, dict[str, Config]] = {
    "E1": E1,
    "E2": E2,
    "E3": E3,
    "E4": E4,
    "E5": E5,
    "E6": E6,
    "E7": E7,
}
CONFIGS: dict[str, Config] = {
    key: config for configs in EXPERIMENTS.values() for key, config in configs.items()
}
