"""What a decoder makes of latents, held against images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from geoquant.errors import InputError
from geoquant.torch.vae_adapter import latent_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

#: The loss of images: 'bernoulli', 'gaussian', or ``loss(decoded, images)`` of shape (b,).
ImageLoss: TypeAlias = (
    Literal["bernoulli", "gaussian"] | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
)
#: Rows of it are images.
Images: TypeAlias = "torch.Tensor | DecodedLatents"

#: Decoded images in memory at once, in pixels; few enough for a cache.
_PIXELS = 1 << 21


def reconstruction_loss(
    decoder: Any,
    latents: npt.ArrayLike,
    images: torch.Tensor,
    *,
    loss: ImageLoss = "bernoulli",
) -> npt.NDArray[np.float64]:
    """Loss of each image as a decoder makes it of a latent.

    Parameters
    ----------
    decoder : object
        As for `refine_codebook`.
    latents : array_like of shape (n, d)
        What is decoded, such as ``codebook.lookup(codes)``.
    images : Tensor of shape (n, C, H, W), float
        What should come out.
    loss : {'bernoulli', 'gaussian'} or callable
        As for `refine_codebook`.

    Returns
    -------
    ndarray of float64, shape (n,)
        Nats, for the losses with a name.

    Raises
    ------
    InputError
        If latents or images do not fit each other or the decoder.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import reconstruction_loss
    >>> images = torch.tensor([[[[0.0, 1.0]]]])
    >>> halves = lambda z: torch.full((len(z), 1, 1, 2), 0.5)
    >>> reconstruction_loss(halves, [[0.0]], images).round(4)  # two bits, in nats
    array([1.3863])
    """
    z = latent_rows(latents)
    score = ReconstructionScore(decoder, loss, z, images)
    with frozen(decoder), torch.no_grad():
        rows = batches_of_images(len(z), score.pixels)
        losses = [score(z[batch], images[batch]).double() for batch in rows]
    return torch.cat(losses).cpu().numpy()


class DecodedLatents:
    """What a decoder makes of latents, made when asked for."""

    def __init__(self, decoder: Any, latents: torch.Tensor) -> None:
        self._decode, self._device = _decode_of(decoder), _device_of(decoder)
        self._latents = latents

    def __getitem__(self, rows: torch.Tensor | slice) -> torch.Tensor:
        with torch.no_grad():
            return self._decode(self._latents[rows].to(self._device))


class ReconstructionScore:
    """The loss of images that are decoded from latents."""

    def __init__(
        self, decoder: Any, loss: ImageLoss, latents: torch.Tensor, images: Images
    ) -> None:
        if not (callable(loss) or loss in ("bernoulli", "gaussian")):
            raise InputError(f"loss must be 'bernoulli', 'gaussian' or a callable, found {loss!r}")
        self._loss = loss
        self._takes_logits = loss == "bernoulli" and hasattr(decoder, "decode_logits")
        self._decode = decoder.decode_logits if self._takes_logits else _decode_of(decoder)
        self._device = _device_of(decoder)
        if not isinstance(images, DecodedLatents):
            _check_images(images, len(latents), loss)
        with frozen(decoder), torch.no_grad():
            first = self._first_decoded(latents[:2].to(self._device))
            self._check_decoded(first, images[:2])
        self.pixels = first[0].numel()

    def __call__(self, latents: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Losses, shape (b,) or (b, c), of latents of shape (b, d) or (b, c, d)."""
        latents, images = latents.to(self._device), images.to(self._device)
        decoded = self._decode(latents.flatten(0, -2))
        if callable(self._loss):
            n_each = latents.shape[1] if latents.ndim == 3 else 1
            repeated = images.repeat_interleave(n_each, 0) if n_each > 1 else images
            return self._loss(decoded, repeated).reshape(latents.shape[:-1])
        found = decoded.reshape(*latents.shape[:-1], -1)
        x = images.flatten(1) if latents.ndim == 2 else images.flatten(1)[:, None]
        if self._loss == "gaussian":
            return (found - x).square().sum(-1) / 2
        if self._takes_logits:
            # log(1 + exp(l)) - x l, the cross-entropy of a pixel with logit l
            return functional.softplus(found).sum(-1) - (found * x).sum(-1)
        entropy = functional.binary_cross_entropy(found, x.expand_as(found), reduction="none")
        return entropy.sum(-1)

    def _first_decoded(self, latents: torch.Tensor) -> torch.Tensor:
        try:
            return self._decode(latents)
        except RuntimeError as error:
            raise InputError(
                f"the decoder cannot take latents of shape {tuple(latents.shape)}: {error}; give "
                "the decoder of the model that the latents are of"
            ) from error

    def _check_decoded(self, decoded: object, images: torch.Tensor) -> None:
        if not isinstance(decoded, torch.Tensor):
            raise InputError(f"the decoder must give a tensor, found {type(decoded).__name__}")
        if decoded.shape[1:] != images.shape[1:]:
            raise InputError(
                f"the decoder makes images of shape {tuple(decoded.shape[1:])}, but images have "
                f"{tuple(images.shape[1:])}; give the images that the model was trained on"
            )
        if not torch.isfinite(decoded).all():
            raise InputError("the decoder makes values that are not finite of these latents")
        if (
            self._loss == "bernoulli"
            and not self._takes_logits
            and not ((decoded >= 0) & (decoded <= 1)).all()
        ):
            raise InputError(
                "for the loss 'bernoulli' the decoder must give values in [0, 1], found "
                f"{decoded.min():.3g} to {decoded.max():.3g}; apply a sigmoid, or use 'gaussian'"
            )


def _decode_of(decoder: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    if hasattr(decoder, "decode"):
        return decoder.decode  # type: ignore[no-any-return]
    if callable(decoder):
        return decoder  # type: ignore[no-any-return]
    raise InputError(f"decoder must have decode or be callable, found {type(decoder).__name__}")


def _module_of(decoder: Any) -> nn.Module | None:
    """The module whose parameters a decoder has, as far as can be seen."""
    module = decoder if isinstance(decoder, nn.Module) else getattr(decoder, "decoder", None)
    return module if isinstance(module, nn.Module) else None


def _device_of(decoder: Any) -> torch.device:
    module = _module_of(decoder)
    parameters = iter(()) if module is None else module.parameters()
    first = next(parameters, None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def frozen(decoder: Any) -> Iterator[None]:
    """Keep a decoder's parameters out of gradients, and it in evaluation mode."""
    module = _module_of(decoder)
    parts = [] if module is None else [(part, part.training) for part in module.modules()]
    parameters = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    try:
        for part, _ in parts:
            part.training = False
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, was_training in parts:
            part.training = was_training
        for parameter in parameters:
            parameter.requires_grad_(True)


def _check_images(images: torch.Tensor, n: int, loss: ImageLoss) -> None:
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        found = getattr(images, "dtype", type(images).__name__)
        raise InputError(f"images must be a floating tensor, found {found}")
    if len(images) != n:
        raise InputError(f"images and latents must be as many, found {len(images)} and {n}")
    if loss == "bernoulli" and n and not 0 <= float(images.min()) <= float(images.max()) <= 1:
        raise InputError(
            "for the loss 'bernoulli' images must lie in [0, 1], found "
            f"{float(images.min()):.3g} to {float(images.max()):.3g}; use 'gaussian' or rescale"
        )


def batches_of_images(n: int, pixels_each: int) -> list[slice]:
    """Slices of `n` rows that make so many decoded pixels each as are to be in memory at once."""
    size = max(1, _PIXELS // pixels_each)
    return [slice(start, start + size) for start in range(0, n, size)]
