"""What an autoencoder does between encoder and decoder."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.errors import InputError

CodebookUpdate: TypeAlias = Literal["gradient", "ema"]

_KMEANS_STEPS = 10


class Quantized(NamedTuple):
    """Latents replaced by codewords.

    Parameters
    ----------
    quantized : Tensor of shape (n, d)
        Codewords; gradients pass straight through to the latents.
    indices : Tensor of int64, shape (n,)
        Their codes.
    loss : Tensor of shape (n,)
        What is added to the loss of each image.
    """

    quantized: torch.Tensor
    indices: torch.Tensor
    loss: torch.Tensor


class VectorQuantizer(nn.Module):
    """A codebook that is learned with the autoencoder around it.

    Parameters
    ----------
    n_codes, dim : int
        Shape of the codebook.
    beta : float, default=0.25
        Weight of the commitment, ``|z - sg[e]|^2``, summed over dimensions.
    update : {'gradient', 'ema'}
        'gradient': codewords are parameters, pulled by ``|sg[z] - e|^2``, as in the paper that
        introduced the quantizer; begun at random. 'ema': begun by k-means on the first batch,
        each codeword the moving average of the latents it was nearest to, and a code that nothing
        was nearest to for long begun anew at a latent of the batch.
    decay : float, default=0.99
        Of the moving averages.
    dead_below : float, default=0.1
        A code is begun anew when its average count per batch falls below this share of what
        equal use would give.

    Raises
    ------
    InputError
        If an argument is out of range.

    References
    ----------
    van den Oord, Vinyals, Kavukcuoglu: Neural discrete representation learning. NeurIPS 2017.
    Razavi, van den Oord, Vinyals: Generating diverse high-fidelity images with VQ-VAE-2.
    NeurIPS 2019 (moving averages). Dhariwal et al.: Jukebox. 2020 (codes begun anew).

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch.bottlenecks import VectorQuantizer
    >>> quantizer = VectorQuantizer(2, 1)
    >>> with torch.no_grad():
    ...     _ = quantizer.codebook.copy_(torch.tensor([[0.0], [4.0]]))
    >>> found = quantizer(torch.tensor([[3.0]]))
    >>> found.indices.item(), found.quantized.item(), found.loss.item()  # (1 + beta) * 1
    (1, 4.0, 1.25)
    """

    def __init__(
        self,
        n_codes: int,
        dim: int,
        *,
        beta: float = 0.25,
        update: CodebookUpdate = "gradient",
        decay: float = 0.99,
        dead_below: float = 0.1,
    ) -> None:
        super().__init__()
        if update not in get_args(CodebookUpdate):
            raise InputError(f"update must be 'gradient' or 'ema', found {update!r}")
        n_codes, dim = check_count(n_codes, "n_codes", 1), check_count(dim, "dim", 1)
        self.beta, self.update, self.decay, self.dead_below = beta, update, decay, dead_below
        start = (torch.rand(n_codes, dim) * 2 - 1) / n_codes
        self.codebook: torch.Tensor
        if update == "gradient":
            self.codebook = nn.Parameter(start)
            return
        self.counts: torch.Tensor
        self.sums: torch.Tensor
        self.is_begun: torch.Tensor
        self.register_buffer("codebook", start)
        self.register_buffer("counts", torch.ones(n_codes))
        self.register_buffer("sums", start.clone())
        self.register_buffer("is_begun", torch.tensor(False))

    def forward(self, latents: torch.Tensor) -> Quantized:
        """Give each latent its nearest codeword; in training mode the codebook may move.

        Parameters
        ----------
        latents : Tensor of shape (n, d)

        Returns
        -------
        Quantized
        """
        if self.update == "ema" and self.training and not self.is_begun:
            self._begin(latents.detach())
        indices = nearest_codes(latents, self.codebook)
        codewords = functional.embedding(indices, self.codebook)
        loss = self.beta * (latents - codewords.detach()).square().sum(1)
        if self.update == "gradient":
            loss = loss + (latents.detach() - codewords).square().sum(1)
        elif self.training:
            self._move(latents.detach(), indices)
        return Quantized(latents + (codewords - latents).detach(), indices, loss)

    @torch.no_grad()
    def _begin(self, latents: torch.Tensor) -> None:
        """Put the codewords where a few steps of k-means put them."""
        n_codes = len(self.codebook)
        order = torch.randperm(len(latents), device=latents.device)
        codebook = latents[order.repeat(-(-n_codes // len(latents)))[:n_codes]]
        for _ in range(_KMEANS_STEPS):
            counts, sums = _counts_and_sums(latents, nearest_codes(latents, codebook), n_codes)
            codebook = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(1), codebook)
        self.codebook.copy_(codebook)
        self.counts.fill_(len(latents) / n_codes)
        self.sums.copy_(self.codebook * self.counts[:, None])
        self.is_begun.fill_(True)

    @torch.no_grad()
    def _move(self, latents: torch.Tensor, indices: torch.Tensor) -> None:
        n_codes = len(self.codebook)
        counts, sums = _counts_and_sums(latents, indices, n_codes)
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        equal_use = len(latents) / n_codes
        dead = self.counts < self.dead_below * equal_use
        if dead.any():
            chosen = latents[torch.randint(len(latents), (int(dead.sum()),), device=latents.device)]
            self.counts[dead] = equal_use
            self.sums[dead] = chosen * equal_use
        self.codebook.copy_(self.sums / self.counts[:, None])


def nearest_codes(latents: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Code of the nearest codeword of each latent; the smaller code where two are as near.

    Parameters
    ----------
    latents : Tensor of shape (n, d)
    codebook : Tensor of shape (K, d)

    Returns
    -------
    Tensor of int64, shape (n,)

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch.bottlenecks import nearest_codes
    >>> nearest_codes(torch.tensor([[1.0], [3.5]]), torch.tensor([[0.0], [4.0]]))
    tensor([0, 1])
    """
    # |z|^2 is the same for all codewords
    return (codebook.square().sum(1) - 2 * latents @ codebook.T).argmin(1)


def _counts_and_sums(
    latents: torch.Tensor, indices: torch.Tensor, n_codes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Number (K,) and sum (K, d) of the latents of each code."""
    counts = torch.bincount(indices, minlength=n_codes).to(latents.dtype)
    sums = latents.new_zeros(n_codes, latents.shape[1]).index_add_(0, indices, latents)
    return counts, sums
