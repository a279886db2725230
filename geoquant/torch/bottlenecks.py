"""What an autoencoder does between encoder and decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_choice, check_count
from geoquant.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

CodebookUpdate: TypeAlias = Literal["gradient", "ema"]

Distance: TypeAlias = Literal["mse", "dot", "cosine"]

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


class Passed(NamedTuple):
    """What a bottleneck lets through.

    Parameters
    ----------
    latents : Tensor
        What the decoder is fed.
    losses : dict of Tensor
        Scalars that are added to the reconstruction, by name.
    """

    latents: torch.Tensor
    losses: dict[str, torch.Tensor]


class Bottleneck(nn.Module):
    """What stands between encoder and decoder; this one lets everything through.

    A new one is a subclass that changes what it must.

    Attributes
    ----------
    n_outputs : int
        Encodings that the encoder gives for each number of a latent.
    n_extra : int
        Images of each batch that are not reconstructed, but given to `extra_losses`.
    """

    n_outputs = 1
    n_extra = 0

    def forward(self, encodings: torch.Tensor) -> Passed:
        """Latents for the decoder, and losses, in training."""
        return Passed(self.latents(encodings), {})

    def latents(self, encodings: torch.Tensor) -> torch.Tensor:
        """The latents that encodings stand for, without chance."""
        return encodings

    def extra_losses(
        self,
        images: torch.Tensor,
        encode: Callable[[torch.Tensor], torch.Tensor],
        decode: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Losses of the extra images of a batch, in training."""
        return {}


class GaussianBottleneck(Bottleneck):
    """A Gaussian for each image, sampled in training and pulled to the standard one: a VAE.

    Parameters
    ----------
    weight : float, default=1.0
        Of the divergence, in nats.
    """

    n_outputs = 2

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, encodings: torch.Tensor) -> Passed:
        """Sampled latents, and "kl"."""
        mean, logvar = encodings.chunk(2, 1)
        kl = (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean() / 2
        sampled = mean + (logvar / 2).exp() * torch.randn_like(mean)
        return Passed(sampled if self.training else mean, {"kl": self.weight * kl})

    def latents(self, encodings: torch.Tensor) -> torch.Tensor:
        """Means."""
        return encodings.chunk(2, 1)[0]


class ZeroPull(Bottleneck):
    """All encodings pulled to zero, instead of a divergence: the ablation of the paper.

    Parameters
    ----------
    weight : float, default=1.0
        Of the mean square of the encodings.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, encodings: torch.Tensor) -> Passed:
        """The encodings, and "pull"."""
        return Passed(encodings, {"pull": self.weight * encodings.square().mean()})


class CentrePull(Bottleneck):
    """Learnable centres, to each of which the nearest of some extra encodings is pulled.

    Parameters
    ----------
    n_centres, dim : int
        Shape of the centres.
    n_extra : int, default=64
        Images of each batch among which the nearest are looked for.
    weight : float, default=1.0
        λ1, of the pull between encoding and centre, a mean square that both follow.
    decoder_weight : float, default=0.0
        λ2, of the mean square between the nearest image and the decoded centre.
    distance : {'mse', 'dot', 'cosine'}
        By what the nearest encoding is chosen.
    momentum : float, optional
        Centres are no parameters, but move by this share of the way to the nearest encoding in
        each batch: moving averages, which keep them from falling together.

    Raises
    ------
    InputError
        If an argument is out of range.

    References
    ----------
    Shi: Rethinking VAE: From continuous to discrete representations without probabilistic
    assumptions. 2025.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch.bottlenecks import CentrePull
    >>> pull = CentrePull(1, 1, n_extra=2)
    >>> with torch.no_grad():
    ...     _ = pull.centres.fill_(1.0)
    >>> encodings = torch.tensor([[4.0], [3.0]])
    >>> pull.extra_losses(encodings, encode=lambda x: x, decode=lambda z: z)["pull"].item()
    4.0
    """

    def __init__(
        self,
        n_centres: int,
        dim: int,
        *,
        n_extra: int = 64,
        weight: float = 1.0,
        decoder_weight: float = 0.0,
        distance: Distance = "mse",
        momentum: float | None = None,
    ) -> None:
        super().__init__()
        shape = check_count(n_centres, "n_centres", 1), check_count(dim, "dim", 1)
        check_choice(distance, "distance", get_args(Distance))
        if momentum is not None and not 0 < momentum <= 1:
            raise InputError(f"momentum must be in (0, 1], found {momentum!r}")
        self.n_extra = check_count(n_extra, "n_extra", 1)
        self.weight, self.decoder_weight, self.distance = weight, decoder_weight, distance
        self.momentum = momentum
        self.centres: torch.Tensor
        if momentum is None:
            self.centres = nn.Parameter(torch.randn(shape))
        else:
            self.register_buffer("centres", torch.randn(shape))

    def extra_losses(
        self,
        images: torch.Tensor,
        encode: Callable[[torch.Tensor], torch.Tensor],
        decode: Callable[[torch.Tensor], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """The pull of each centre's nearest encoding, and of its image on the decoded centre."""
        encodings = encode(images)
        if encodings.ndim != 2:
            raise InputError(
                f"centres are of one vector an image, found encodings of {tuple(encodings.shape)}; "
                "use an encoder without sites, or QuantizedBottleneck"
            )
        nearest = self._distances(encodings.detach()).argmin(0)
        chosen = encodings[nearest]
        losses = {"pull": self.weight * (chosen - self.centres).square().mean()}
        if self.decoder_weight:
            made = (images[nearest] - decode(self.centres)).square().mean()
            losses["decoded_centres"] = self.decoder_weight * made
        if self.momentum is not None and self.training:
            self._move(chosen.detach())
        return losses

    @torch.no_grad()
    def begin_at(self, encodings: torch.Tensor, random_state: int = 0) -> None:
        """Put the centres at encodings drawn at random, such as those of a first epoch.

        Centres that begin anywhere, among hundreds, mostly find the same few encodings nearest and
        fall together.

        Parameters
        ----------
        encodings : Tensor of shape (n, d)
            At least as many as there are centres.
        random_state : int
            Seeds the draw.

        Raises
        ------
        InputError
            If the encodings are too few or of another dimension.
        """
        n_centres, dim = self.centres.shape
        if encodings.ndim != 2 or encodings.shape[1] != dim or len(encodings) < n_centres:
            raise InputError(
                f"encodings must have shape (n, {dim}) with n of at least {n_centres}, found "
                f"{tuple(encodings.shape)}"
            )
        generator = torch.Generator().manual_seed(random_state)
        drawn = torch.randperm(len(encodings), generator=generator)[:n_centres]
        self.centres.copy_(encodings[drawn.to(encodings.device)])

    @torch.no_grad()
    def _move(self, chosen: torch.Tensor) -> None:
        self.centres.lerp_(chosen, self.momentum or 0.0)

    @torch.no_grad()
    def _distances(self, encodings: torch.Tensor) -> torch.Tensor:
        """By what the nearest is chosen, (n, K)."""
        if self.distance == "mse":
            return torch.cdist(encodings, self.centres)
        centres = self.centres
        if self.distance == "cosine":
            encodings = functional.normalize(encodings, dim=1)
            centres = functional.normalize(centres, dim=1)
        return -encodings @ centres.T


class QuantizedBottleneck(Bottleneck):
    """A learned codebook, at each site if there are several: a VQ-VAE, or a VQ-AE.

    Parameters
    ----------
    n_codes, dim : int
        Shape of the codebook.
    feeds_codewords : bool, default=True
        Whether the decoder is fed codewords, as in a VQ-VAE, or encodings, with the codebook
        trained beside it: a VQ-AE.
    **options
        As for `VectorQuantizer`: beta, update, decay, dead_below.

    Raises
    ------
    InputError
        If an argument is out of range.
    """

    def __init__(
        self, n_codes: int, dim: int, *, feeds_codewords: bool = True, **options: Any
    ) -> None:
        super().__init__()
        self.quantizer = VectorQuantizer(n_codes, dim, **options)
        self.feeds_codewords = feeds_codewords

    def forward(self, encodings: torch.Tensor) -> Passed:
        """Codewords or encodings, and the "commitment" of each site, summed over dimensions."""
        quantized, _, loss = self.quantize(encodings)
        passed = quantized if self.feeds_codewords else encodings
        return Passed(passed, {"commitment": loss.mean()})

    def latents(self, encodings: torch.Tensor) -> torch.Tensor:
        """What the decoder is fed."""
        return self.quantize(encodings).quantized if self.feeds_codewords else encodings

    def quantize(self, encodings: torch.Tensor) -> Quantized:
        """Codewords in place of encodings (n, d) or (n, d, h, w), codes (n,) or (n, h, w)."""
        last = encodings.movedim(1, -1)
        found: Quantized = self.quantizer(last.reshape(-1, last.shape[-1]))
        grid = last.shape[:-1]
        quantized = found.quantized.reshape(last.shape).movedim(-1, 1)
        return Quantized(quantized, found.indices.reshape(grid), found.loss.reshape(grid))


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
        check_choice(update, "update", get_args(CodebookUpdate))
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
        latents : Tensor of shape (n, d), float
            One row for each image.

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
