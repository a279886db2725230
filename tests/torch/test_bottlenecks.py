"""The learned codebook: its loss and gradients by hand, its averages, its revival."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from geoquant.errors import InputError
from geoquant.torch import VectorQuantizer
from geoquant.torch.bottlenecks import (
    Bottleneck,
    CentrePull,
    GaussianBottleneck,
    QuantizedBottleneck,
    ZeroPull,
    nearest_codes,
)


def quantizer(codewords: list[list[float]], **options: Any) -> VectorQuantizer:
    made = VectorQuantizer(len(codewords), len(codewords[0]), **options)
    with torch.no_grad():
        made.codebook.copy_(torch.tensor(codewords))
    if made.update == "ema":
        made.is_begun.fill_(True)
        made.sums.copy_(made.codebook)
    return made


def test_nearest_codes_agree_with_distances() -> None:
    """The code is that of the least distance, the first where two are equal."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(50, 3, generator=generator)
    codebook = torch.randn(7, 3, generator=generator)
    expected = torch.cdist(latents, codebook).argmin(1)
    assert torch.equal(nearest_codes(latents, codebook), expected)
    assert nearest_codes(torch.zeros(1, 1), torch.tensor([[1.0], [-1.0]])).item() == 0


def test_loss_and_gradients_by_hand() -> None:
    """(1 + beta) |z - e|^2; the commitment moves the latent, the rest the codeword."""
    made = quantizer([[0.0, 0.0], [4.0, 0.0]], beta=0.5)
    z = torch.tensor([[3.0, 1.0]], requires_grad=True)
    found = made(z)
    assert found.indices.tolist() == [1]
    assert found.quantized.tolist() == [[4.0, 0.0]]
    assert found.loss.tolist() == [1.5 * 2]
    found.loss.sum().backward()
    assert z.grad is not None
    assert made.codebook.grad is not None
    assert z.grad.tolist() == [[-1.0, 1.0]]  # beta * 2 (z - e)
    assert made.codebook.grad.tolist() == [[0.0, 0.0], [2.0, -2.0]]  # 2 (e - z)


def test_gradients_pass_straight_through() -> None:
    """What comes after the quantizer pulls at the latent as if nothing lay between."""
    z = torch.tensor([[3.0, 1.0]], requires_grad=True)
    found = quantizer([[0.0, 0.0], [4.0, 0.0]], beta=0.0)(z)
    (found.quantized * torch.tensor([[2.0, 5.0]])).sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[2.0, 5.0]]


def test_moving_average_by_hand() -> None:
    """Counts and sums move by a tenth to those of the batch; the codeword is their quotient."""
    made = quantizer([[0.0], [10.0]], update="ema", decay=0.9).train()
    found = made(torch.tensor([[1.0], [2.0], [12.0]]))
    assert found.quantized.flatten().tolist() == [0, 0, 10]
    assert made.counts.tolist() == pytest.approx([0.9 + 0.2, 0.9 + 0.1])
    assert made.codebook.flatten().tolist() == pytest.approx([0.3 / 1.1, (9 + 1.2) / 1.0])


def test_evaluation_moves_nothing() -> None:
    """In evaluation mode the codebook stays."""
    made = quantizer([[0.0], [10.0]], update="ema").eval()
    made(torch.tensor([[3.0]]))
    assert made.codebook.flatten().tolist() == [0, 10]


def test_dead_codes_begin_anew() -> None:
    """A code far from everything becomes a latent of a batch after a while."""
    torch.manual_seed(0)
    made = quantizer([[0.0], [1000.0]], update="ema", decay=0.9).train()
    latents = torch.linspace(-1, 1, 20)[:, None]
    for _ in range(60):
        made(latents)
    assert made.codebook.abs().max() < 2
    assert len(set(made.eval()(latents).indices.tolist())) == 2


def test_begins_by_kmeans() -> None:
    """The first batch in training mode puts the codewords into its heaps."""
    torch.manual_seed(1)
    heaps = torch.tensor([0.0, 10.0, 20.0]).repeat(20)[:, None]
    made = VectorQuantizer(6, 1, update="ema").train()
    found = made(heaps + 0.01 * torch.randn(60, 1))
    assert (found.quantized - heaps).abs().max() < 1
    assert made.is_begun


@pytest.mark.parametrize("n", [1, 3])
def test_begins_with_few_or_equal_latents(n: int) -> None:
    """A batch smaller than the codebook, or of equal latents, leaves finite codewords."""
    made = VectorQuantizer(8, 2, update="ema").train()
    assert torch.isfinite(made(torch.zeros(n, 2)).quantized).all()
    assert torch.isfinite(made.codebook).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"n_codes": 0}, "n_codes"), ({"dim": 0}, "dim"), ({"update": "adam"}, "'gradient' or 'ema'")],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=message):
        VectorQuantizer(**({"n_codes": 2, "dim": 2} | options))


def test_nothing_in_the_way() -> None:
    """The plain bottleneck lets encodings through, with no loss."""
    z = torch.randn(3, 2)
    latents, losses = Bottleneck()(z)
    assert torch.equal(latents, z)
    assert losses == {}


def test_gaussian_by_hand() -> None:
    """Mean 2 and variance e in one dimension: (4 + e - 1 - 1) / 2 nats; so are the samples."""
    encodings = torch.tensor([[2.0, 1.0]]).repeat(20_000, 1)
    bottleneck = GaussianBottleneck(weight=3.0).train()
    torch.manual_seed(0)
    latents, losses = bottleneck(encodings)
    assert losses["kl"].item() == pytest.approx(3 * (4 + math.e - 2) / 2, rel=1e-5)
    assert latents.mean().item() == pytest.approx(2, abs=0.05)
    assert latents.var().item() == pytest.approx(math.e, rel=0.05)
    assert torch.equal(bottleneck.eval()(encodings).latents, bottleneck.latents(encodings))
    assert bottleneck.latents(encodings)[0].tolist() == [2.0]


def test_zero_pull_by_hand() -> None:
    """The weight times the mean square; every encoding is pulled."""
    z = torch.tensor([[3.0, 1.0]], requires_grad=True)
    latents, losses = ZeroPull(weight=2.0)(z)
    assert losses["pull"].item() == 10
    losses["pull"].backward()
    assert z.grad is not None
    assert z.grad.tolist() == [[6.0, 2.0]]
    assert torch.equal(latents, z)


def centres(values: list[list[float]], **options: Any) -> CentrePull:
    made = CentrePull(len(values), len(values[0]), **options)
    with torch.no_grad():
        made.centres.copy_(torch.tensor(values))
    return made


def pulled(made: CentrePull, encodings: torch.Tensor) -> dict[str, torch.Tensor]:
    return made.extra_losses(encodings, lambda x: x, lambda z: z)


def test_only_the_nearest_is_pulled() -> None:
    """Of each centre one encoding and the centre itself have gradients, against each other."""
    z = torch.tensor([[1.0], [3.0], [9.0]], requires_grad=True)
    made = centres([[0.0], [10.0]])
    loss = pulled(made, z)["pull"]
    assert loss.item() == 1.0  # the mean of 1 and 1
    loss.backward()
    assert z.grad is not None
    assert made.centres.grad is not None
    assert z.grad.flatten().tolist() == [1.0, 0.0, -1.0]
    assert made.centres.grad.flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(("distance", "expected"), [("mse", 1), ("dot", 2), ("cosine", 0)])
def test_distances(distance: Any, expected: int) -> None:
    """The nearest by position, by product, and by direction are three different encodings."""
    z = torch.tensor([[0.1, 0.0], [1.0, 0.2], [5.0, 9.0]], requires_grad=True)
    pulled(centres([[1.0, 0.0]], distance=distance), z)["pull"].backward()
    assert z.grad is not None
    assert z.grad.abs().sum(1).argmax().item() == expected


def test_decoded_centres() -> None:
    """The optional loss is that of the nearest image and the decoded centre."""
    made = centres([[2.0]], decoder_weight=0.5)
    images = torch.tensor([[3.0], [7.0]])
    losses = made.extra_losses(images, lambda x: x, lambda z: 10 * z)
    assert losses["decoded_centres"].item() == 0.5 * (3 - 20) ** 2


def test_moving_centres() -> None:
    """With momentum a centre goes a share of the way, and is no parameter."""
    made = centres([[0.0], [10.0]], momentum=0.25).train()
    pulled(made, torch.tensor([[4.0], [8.0]]))
    assert made.centres.flatten().tolist() == [1.0, 9.5]
    assert not list(made.parameters())
    pulled(made.eval(), torch.tensor([[4.0], [8.0]]))
    assert made.centres.flatten().tolist() == [1.0, 9.5]


def test_sites_are_quantized_one_by_one() -> None:
    """A grid of encodings gets a grid of codes, and codewords in the layout it had."""
    made = QuantizedBottleneck(2, 2, update="gradient", beta=0.0)
    with torch.no_grad():
        made.quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [5.0, 5.0]]))
    z = torch.zeros(2, 2, 3, 4)
    z[1, :, 2, 3] = 4
    quantized, indices, loss = made.quantize(z)
    assert indices.shape == (2, 3, 4)
    assert indices.sum().item() == indices[1, 2, 3].item() == 1
    assert quantized[1, :, 2, 3].tolist() == [5, 5]
    assert loss[1, 2, 3].item() == 2  # sg[z] - e, squared and summed


@pytest.mark.parametrize("feeds_codewords", [True, False])
def test_what_the_decoder_is_fed(feeds_codewords: bool) -> None:
    """A VQ-VAE feeds codewords, a VQ-AE encodings; both train the codebook."""
    made = QuantizedBottleneck(3, 2, feeds_codewords=feeds_codewords, update="gradient")
    z = torch.randn(6, 2)
    latents, losses = made(z)
    expected = made.quantize(z).quantized if feeds_codewords else z
    assert torch.equal(latents, expected)
    assert torch.equal(made.latents(z), expected)
    losses["commitment"].backward()
    assert made.quantizer.codebook.grad is not None


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_centres_begin_at_encodings(momentum: float | None) -> None:
    """Centres are different encodings, drawn by the seed; too few encodings are refused."""
    made = CentrePull(4, 2, momentum=momentum)
    encodings = torch.arange(20.0).reshape(10, 2)
    made.begin_at(encodings, random_state=1)
    rows = {tuple(row) for row in made.centres.tolist()}
    assert len(rows) == 4
    assert rows <= {tuple(row) for row in encodings.tolist()}
    first = made.centres.clone()
    made.begin_at(encodings, random_state=1)
    assert torch.equal(made.centres, first)
    made.begin_at(encodings, random_state=2)
    assert not torch.equal(made.centres, first)
    with pytest.raises(InputError, match=r"n of at least 4, found \(3, 2\)"):
        made.begin_at(encodings[:3])


def test_centres_of_sites() -> None:
    """Encodings with sites have no one vector to be pulled."""
    with pytest.raises(InputError, match=r"one vector an image, found encodings of \(2, 2, 3, 3\)"):
        pulled(CentrePull(2, 2), torch.zeros(2, 2, 3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_centres": 0}, "n_centres"),
        ({"distance": "l1"}, "'mse', 'dot' or 'cosine', found 'l1'"),
        ({"momentum": 0.0}, "momentum"),
        ({"n_extra": 0}, "n_extra"),
    ],
)
def test_bad_centres(options: dict[str, Any], message: str) -> None:
    """An argument out of range is named."""
    with pytest.raises(InputError, match=message):
        CentrePull(**({"n_centres": 2, "dim": 2} | options))
