"""Every bottleneck in an autoencoder, trained for a few steps on digits."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sklearn.datasets import load_digits

from geoquant.errors import FileFormatError, InputError
from geoquant.torch import (
    Autoencoder,
    NamedAutoencoder,
    VAEAdapter,
    begin_centres,
    load_model,
    mean_losses,
    seeded,
    train_autoencoder,
)
from geoquant.torch.bottlenecks import CentrePull

if TYPE_CHECKING:
    from pathlib import Path

BOTTLENECKS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("none", {}),
    "gaussian": ("gaussian", {"weight": 0.1}),
    "zero pull": ("zero-pull", {}),
    "one centre": ("centre-pull", {"n_centres": 1, "n_extra": 8}),
    "centres": ("centre-pull", {"n_centres": 5, "n_extra": 8, "decoder_weight": 0.1}),
    "moving centres": ("centre-pull", {"n_centres": 5, "n_extra": 8, "momentum": 0.1}),
    "codebook": ("vector-quantizer", {"n_codes": 8, "update": "ema"}),
    "codebook beside": ("vq-ae", {"n_codes": 8, "update": "gradient"}),
}
NAMES = pytest.mark.parametrize("name", BOTTLENECKS)


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    """Four hundred digits of 8 × 8."""
    return torch.from_numpy(load_digits().images[:400] / 16).float()[:, None]


def made(name: str, network: Any = "mlp", **options: Any) -> NamedAutoencoder:
    bottleneck, arguments = BOTTLENECKS[name]
    given = {"latent_dim": 4, "width": 32, "network": network} | options
    with seeded(0):
        return NamedAutoencoder(
            (1, 8, 8), bottleneck=bottleneck, bottleneck_options=arguments, **given
        )


@NAMES
@pytest.mark.parametrize("network", ["mlp", "residual", "multi-vector"])
def test_loss_falls(digits: torch.Tensor, name: str, network: Any) -> None:
    """A few epochs take the reconstruction down, and every reported loss is in the history."""
    if network == "multi-vector" and BOTTLENECKS[name][0] == "centre-pull":
        pytest.skip("centres are of one vector an image")
    model = made(name, network, width=16)
    history = train_autoencoder(model, digits, epochs=6, batch_size=32, learning_rate=3e-3)
    assert history[-1]["reconstruction"] < 0.9 * history[0]["reconstruction"]
    parts = set(history[-1]) - {"epoch", "loss"}
    assert history[-1]["loss"] == pytest.approx(sum(history[-1][p] for p in parts), rel=1e-4)


@NAMES
def test_gradients_reach_encoder_and_decoder(digits: torch.Tensor, name: str) -> None:
    """Encoder, decoder and learnable centres all have gradients of the loss."""
    model = made(name).train()
    model.loss(digits[:32])["loss"].backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@NAMES
def test_interrupted_run_resumes_to_the_same_bits(
    digits: torch.Tensor, name: str, tmp_path: Path
) -> None:
    """A run stopped in its second epoch ends like one never stopped; buffers are kept too."""
    options: dict[str, Any] = {"epochs": 3, "batch_size": 64}
    whole = made(name)
    train_autoencoder(whole, digits, **options)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(made(name), digits, checkpoint=path, progress=stop, **options)
    resumed = made(name)
    train_autoencoder(resumed, digits, checkpoint=path, **options)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@NAMES
def test_saved_is_loaded(digits: torch.Tensor, name: str, tmp_path: Path) -> None:
    """A folder gives the model back, and the adapter takes it."""
    model = made(name)
    train_autoencoder(model, digits, epochs=1)
    model.eval().save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, NamedAutoencoder)
    assert torch.equal(loaded(digits[:5]), model(digits[:5]))
    adapter = VAEAdapter.wrap(tmp_path)
    assert torch.equal(adapter.encode(digits[:5]), model.encode(digits[:5]))
    assert adapter.check(digits).is_deterministic


def test_extra_images_are_not_reconstructed(digits: torch.Tensor) -> None:
    """In training the last images of a batch are for the centres; never more than half of them."""
    model = made("centres")
    seen: list[int] = []
    model.encoder.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    model.loss(digits[:32])
    model.loss(digits[:6])
    assert seen == [24, 8, 3, 3]


def test_measured_in_evaluation(digits: torch.Tensor) -> None:
    """Losses on other images are the same twice, and move no centre."""
    model = made("moving centres").eval()
    before = model.bottleneck.centres.clone()
    assert mean_losses(model, digits) == mean_losses(model, digits)
    assert torch.equal(model.bottleneck.centres, before)


def test_centres_settle(digits: torch.Tensor) -> None:
    """One centre moves less and less from epoch to epoch."""
    model = made("one centre")
    bottleneck = model.bottleneck
    assert isinstance(bottleneck, CentrePull)
    places = [bottleneck.centres.detach().clone()]
    train_autoencoder(
        model,
        digits,
        epochs=15,
        batch_size=32,
        schedule="linear",
        learning_rate=3e-3,
        after_epoch=lambda *_: places.append(bottleneck.centres.detach().clone()),
    )
    drift = [float((b - a).norm()) for a, b in pairwise(places)]
    assert drift[-1] < drift[0] / 3


def test_cross_entropy_is_a_choice(digits: torch.Tensor) -> None:
    """'bce' is that of the logits, 'mse' the squared error, both summed over an image."""
    model = made("none", reconstruction="bce").eval()
    logits = model.decode_logits(model.encode(digits))
    found = model.loss(digits)["reconstruction"].item()
    p = logits.sigmoid()
    expected = -(digits * p.log() + (1 - digits) * (1 - p).log()).flatten(1).sum(1).mean()
    assert found == pytest.approx(expected.item(), rel=1e-4)
    squared = made("none").eval()
    expected = (squared(digits) - digits).square().flatten(1).sum(1).mean()
    assert squared.loss(digits)["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bottleneck": "dropout"}, "bottleneck must be one of none, gaussian.*found 'dropout'"),
        ({"bottleneck_options": {"depth": 2}}, "do not make a 'none'.*depth"),
        ({"bottleneck": "centre-pull"}, "do not make a 'centre-pull'.*n_centres"),
        ({"reconstruction": "l1"}, "'mse' or 'bce', found 'l1'"),
        ({"image_shape": (8, 8)}, "channels, height and width"),
        ({"network": "rnn"}, "network must be one of"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=message):
        NamedAutoencoder(**({"image_shape": (1, 8, 8), "latent_dim": 2} | options))


def test_bad_configuration_is_the_file_s_fault(tmp_path: Path) -> None:
    """A configuration that makes no model is an error of its folder."""
    made("centres").save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"n_centres": 5', '"n_centres": 0'))
    with pytest.raises(FileFormatError, match=r"config\.json.*n_centres"):
        load_model(tmp_path)


def test_own_parts(digits: torch.Tensor) -> None:
    """Any encoder and decoder will do."""
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    decoder = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.Unflatten(1, (1, 8, 8)))
    model = Autoencoder(encoder, CentrePull(4, 3), decoder, image_shape=(1, 8, 8))
    history = train_autoencoder(model, digits, epochs=5, learning_rate=0.01)
    assert history[-1]["loss"] < history[0]["loss"]


def test_centres_begin_at_encodings(digits: torch.Tensor) -> None:
    """Of the network as it is after the first epoch, which is that of a plain autoencoder."""
    model, plain = made("moving centres"), made("none")
    for part in ("encoder", "decoder"):
        getattr(plain, part).load_state_dict(getattr(model, part).state_dict())
    begin_centres(model, digits, batch_size=64, random_state=3)
    train_autoencoder(plain, digits, epochs=1, batch_size=64, random_state=3)
    encodings = model.encode(digits)
    assert torch.equal(encodings, plain.encode(digits))
    assert isinstance(model.bottleneck, CentrePull)
    assert torch.cdist(model.bottleneck.centres, encodings).min(1).values.max() < 1e-4
    assert model.bottleneck.centres.unique(dim=0).shape == (5, 4)


def test_only_centres_are_begun(digits: torch.Tensor) -> None:
    """Other bottlenecks, and more centres than images, are refused."""
    with pytest.raises(InputError, match="must be a CentrePull, found ZeroPull"):
        begin_centres(made("zero pull"), digits)
    with pytest.raises(InputError, match="at least 5"):
        begin_centres(made("moving centres"), digits[:4])
