"""The learned codebook: its loss and gradients by hand, its averages, its revival."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from geoquant.errors import InputError
from geoquant.torch import VectorQuantizer
from geoquant.torch.bottlenecks import nearest_codes


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
