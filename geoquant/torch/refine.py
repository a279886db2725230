"""Codebooks fitted through a decoder: codewords, codes, and a decoder that knows of them.

Everything is measured by the loss of the images that the decoder makes of codewords, so
distances between latents no longer matter, except that few near codes are tried.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.codebook import Codebook, check_codes
from geoquant.errors import InputError
from geoquant.graph.knn import nearest_neighbors
from geoquant.multistage import MultistageCodebook, check_stage_codes
from geoquant.torch.training import History, train
from geoquant.torch.vae_adapter import latent_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from geoquant.progress import Progress

AnyCodebook: TypeAlias = Codebook | MultistageCodebook
CodebookT = TypeVar("CodebookT", Codebook, MultistageCodebook)
ModelT = TypeVar("ModelT", bound=nn.Module)
Int32Array: TypeAlias = "npt.NDArray[np.int32]"
#: The loss of images: 'bernoulli', 'gaussian', or ``loss(decoded, images)`` of shape (b,).
ImageLoss: TypeAlias = (
    Literal["bernoulli", "gaussian"] | Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
)
#: Gives nats, shape (b,), of token sequences, shape (b, M).
Rate: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

#: Rows of it are images.
Images: TypeAlias = "torch.Tensor | _DecodedLatents"

#: Decoded images in memory at once, in pixels; few enough for a cache: 1.5 times as fast as 2^24.
_PIXELS = 1 << 21


@dataclass(frozen=True)
class RefinedCodebook(Generic[CodebookT]):
    """A codebook fitted through a decoder.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        With the new codewords.
    codes : ndarray of int32, shape (n,) or (n, M)
        Of the latents that it was fitted to.
    history : list of dict
        Of each epoch: "round" from 0, "epoch" from 1, and "loss", the mean per image.
    """

    codebook: CodebookT
    codes: Int32Array
    history: History


@dataclass(frozen=True)
class RectifiedDecoder(Generic[ModelT, CodebookT]):
    """A decoder that was trained on quantized latents, and the codebook that belongs to it.

    Parameters
    ----------
    model : Module
        A copy of the model that was given.
    codebook : Codebook or MultistageCodebook
        Its codewords have moved along.
    history : list of dict
        Of each epoch: "epoch" from 1, and "loss", the mean per image.
    """

    model: ModelT
    codebook: CodebookT
    history: History


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
    score = _Score(decoder, loss, z, images)
    with _frozen(decoder), torch.no_grad():
        rows = _batches(len(z), score.pixels)
        losses = [score(z[batch], images[batch]).double() for batch in rows]
    return torch.cat(losses).cpu().numpy()


def refine_codebook(
    codebook: CodebookT,
    decoder: Any,
    latents: npt.ArrayLike,
    images: torch.Tensor | None = None,
    *,
    codes: npt.ArrayLike | None = None,
    loss: ImageLoss = "bernoulli",
    epochs: int = 3,
    batch_size: int = 512,
    learning_rate: float = 0.02,
    n_rounds: int = 0,
    n_candidates: int = 8,
    rate: Rate | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> RefinedCodebook[CodebookT]:
    """Fit each codeword to the images of its cell, through a decoder that stays as it is.

    The codewords of all stages are fitted together. What assigns new latents stays, the anchors
    or the codewords before the fit: only what codes stand for changes. `reassign` finds better
    codes.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        Where to begin.
    decoder : object
        Makes images of latents: something with ``decode``, such as a model or a `VAEAdapter`, or
        a callable. For the loss 'bernoulli' ``decode_logits`` is taken where there is one.
        A module is in evaluation mode meanwhile, and no parameter of it changes.
    latents : array_like of shape (n, d)
        Of the images.
    images : Tensor of shape (n, C, H, W), float, optional
        In [0, 1] for the loss 'bernoulli'. Default: what the decoder makes of the latents.
    codes : array_like of int, shape (n,) or (n, M), optional
        Of the latents; default: what the codebook assigns.
    loss : {'bernoulli', 'gaussian'} or callable
        'bernoulli': cross-entropy of every pixel; 'gaussian': half the squared error, a Gaussian
        of variance 1 but for its constant; both summed over an image. Or ``loss(decoded,
        images)``, which gives shape (b,) and can be differentiated.
    epochs, batch_size : int
        Of the first fit; each further one takes two thirds of the epochs.
    learning_rate : float
        Of Adam, in standard deviations of the latents; falls to 0 within each fit. Half as much
        after the first.
    n_rounds : int, default=0
        How often to find codes anew (`reassign`, one sweep) and fit again.
    n_candidates : int
        As for `reassign`.
    rate : callable, optional
        As for `reassign`.
    random_state : int
        Seeds the order of the images.
    progress : callable, optional
        ``progress(stage, done, total)``; may raise to stop.

    Returns
    -------
    RefinedCodebook

    Raises
    ------
    InputError
        If an argument is out of range, or codebook, latents, images and decoder do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import geoquant as gq
    >>> from geoquant.torch import refine_codebook
    >>> latents = np.array([[0.0], [0.2], [4.0], [4.4]], np.float32)
    >>> images = torch.tensor([0.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1, 1)
    >>> vectors = np.array([[0.0], [4.0]], np.float32)
    >>> book = gq.Codebook(vectors, vectors, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> decoder = lambda z: torch.sigmoid(z - 2)[..., None, None]
    >>> refined = refine_codebook(book, decoder, latents, images, epochs=200)
    >>> bool((refined.codebook.vectors - vectors)[1] > 1)  # a clearer white
    True
    """
    z = latent_rows(latents)
    epochs = check_count(epochs, "epochs", 0)
    n_rounds = check_count(n_rounds, "n_rounds", 0)
    tokens = _checked_tokens(codebook, z, codes)
    targets = _DecodedLatents(decoder, z) if images is None else images
    score = _Score(decoder, loss, z, targets)
    history: History = []
    for turn in range(n_rounds + 1):
        if turn:
            tokens = _swept(codebook, score, z, targets, tokens, n_candidates, 1, rate, progress)
        codebook, fitted = _with_fitted_codewords(
            codebook,
            decoder,
            lambda latents, rows: score(latents, targets[rows]),
            tokens,
            scale=_spread(z),
            epochs=epochs if turn == 0 else -(-2 * epochs // 3),
            batch_size=batch_size,
            learning_rate=learning_rate if turn == 0 else learning_rate / 2,
            random_state=random_state + turn,
            progress=progress,
        )
        history += [{"round": turn, **record} for record in fitted]
    return RefinedCodebook(codebook, _as_codes(tokens, codebook), history)


def reassign(
    codebook: AnyCodebook,
    decoder: Any,
    latents: npt.ArrayLike,
    images: torch.Tensor | None = None,
    *,
    codes: npt.ArrayLike | None = None,
    loss: ImageLoss = "bernoulli",
    n_candidates: int = 8,
    n_sweeps: int = 2,
    rate: Rate | None = None,
    progress: Progress | None = None,
) -> Int32Array:
    """Codes whose decoded images are better than those of the nearest codes.

    Coordinate descent: each token in turn becomes the best of the one it is and of some near ones.
    Those are the codes of the nearest anchors, so that they follow the data; of a residual
    codebook, the codewords nearest to what the other tokens leave of the latent. The loss of no
    image ever rises.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        Whose codes are given.
    decoder : object
        As for `refine_codebook`.
    latents : array_like of shape (n, d)
        Of the images.
    images : Tensor of shape (n, C, H, W), float, optional
        Default: what the decoder makes of the latents.
    codes : array_like of int, shape (n,) or (n, M), optional
        Where to begin; default: what the codebook assigns.
    loss : {'bernoulli', 'gaussian'} or callable
        As for `refine_codebook`.
    n_candidates : int, default=8
        Nearest anchors, or codewords, whose codes are tried for each token.
    n_sweeps : int, default=2
        How often to go through all tokens.
    rate : callable, optional
        Nats that token sequences cost, ``rate(tokens)`` for int64 (b, M) of shape (b,), such as
        ``prior.nats(tokens).sum(1)``: loss and cost are lowered together.
    progress : callable, optional
        ``progress("codes", done, total)``; may raise to stop.

    Returns
    -------
    ndarray of int32, shape (n,) or (n, M)

    Raises
    ------
    InputError
        If an argument is out of range, or codebook, latents, images and decoder do not fit.

    Notes
    -----
    Costs ``n_sweeps * n * M * (n_candidates + 1)`` decoded images.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import geoquant as gq
    >>> from geoquant.torch import reassign
    >>> vectors = np.array([[0.0], [4.0]], np.float32)
    >>> book = gq.Codebook(vectors, vectors, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> decoder = lambda z: torch.sigmoid(z - 2)[..., None, None]
    >>> white = torch.ones(1, 1, 1, 1)
    >>> book.assign([[1.0]]), reassign(book, decoder, [[1.0]], white)
    (array([0], dtype=int32), array([1], dtype=int32))
    """
    z = latent_rows(latents)
    n_sweeps = check_count(n_sweeps, "n_sweeps", 0)
    tokens = _checked_tokens(codebook, z, codes)
    targets = _DecodedLatents(decoder, z) if images is None else images
    score = _Score(decoder, loss, z, targets)
    with _frozen(decoder):
        tokens = _swept(codebook, score, z, targets, tokens, n_candidates, n_sweeps, rate, progress)
    return _as_codes(tokens, codebook)


def rectify_decoder(
    model: ModelT,
    codebook: CodebookT,
    codes: npt.ArrayLike,
    images: torch.Tensor,
    *,
    loss: ImageLoss = "bernoulli",
    epochs: int = 8,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    codeword_learning_rate: float = 0.01,
    random_state: int = 0,
    progress: Progress | None = None,
) -> RectifiedDecoder[ModelT, CodebookT]:
    """Train a copy of a model's decoder on quantized latents, and the codewords with it.

    Parameters
    ----------
    model : Module
        With ``decode``, and ``decode_logits`` for the loss 'bernoulli' if it has it. It is
        copied; of the copy, what ``decode`` uses is trained, and the rest stays as it is.
    codebook : Codebook or MultistageCodebook
        What the codes stand for.
    codes : array_like of int, shape (n,) or (n, M)
        Of the images.
    images : Tensor of shape (n, C, H, W), float
        What should come out.
    loss : {'bernoulli', 'gaussian'} or callable
        As for `refine_codebook`.
    epochs, batch_size : int
        Of training.
    learning_rate : float
        Of Adam, for the decoder; falls to 0.
    codeword_learning_rate : float
        The same for codewords, in standard deviations of the codewords' latents; 0 leaves them.
    random_state : int
        Seeds the order of the images.
    progress : callable, optional
        ``progress("decoder", done, total)``; may raise to stop.

    Returns
    -------
    RectifiedDecoder

    Raises
    ------
    InputError
        If an argument is out of range, or model, codebook, codes and images do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import geoquant as gq
    >>> from geoquant.torch import VAE, rectify_decoder
    >>> vectors = np.array([[0.0], [4.0]], np.float32)
    >>> book = gq.Codebook(vectors, vectors, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> images = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    >>> model = VAE(image_shape=(1, 1, 1), latent_dim=1, hidden_dim=4)
    >>> rectified = rectify_decoder(model, book, [0, 1], images, epochs=100)
    >>> rectified.history[-1]["loss"] < rectified.history[0]["loss"]
    True
    """
    copied = copy.deepcopy(model)
    tokens = _checked_codes(codebook, codes)
    z = torch.from_numpy(np.atleast_2d(codebook.lookup(np.asarray(codes))))
    score = _Score(copied, loss, z, images)
    moves = codeword_learning_rate > 0
    share = codeword_learning_rate / learning_rate if moves else 1.0
    codewords = Codewords(codebook, scale=_spread(z) * share).requires_grad_(moves)
    history = train(
        nn.ModuleList([codewords, copied]),
        lambda rows: {"loss": score(codewords(tokens[rows]), images[rows]).mean()},
        len(tokens),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule="linear",
        random_state=random_state,
        progress=progress,
        stage="decoder",
    )
    return RectifiedDecoder(copied, codewords.put_into(codebook), history)


class Codewords(nn.Module):
    """The codewords of a codebook's stages as parameters.

    Parameters
    ----------
    codebook : Codebook or MultistageCodebook
        Where they begin.
    scale : float
        A codeword is where it began plus `scale` times its parameter, so that one learning rate
        suits codewords of any spread.
    """

    def __init__(self, codebook: AnyCodebook, *, scale: float = 1.0) -> None:
        super().__init__()
        self._scale = scale
        self._is_product = isinstance(codebook, MultistageCodebook) and codebook.kind == "product"
        self._starts = [torch.from_numpy(book.vectors.copy()) for book in _stages(codebook)]
        self.moves = nn.ParameterList([torch.zeros_like(start) for start in self._starts])

    def vectors(self) -> list[torch.Tensor]:
        """Codewords of each stage, shape (K_m, d_m)."""
        pairs = zip(self._starts, self.moves, strict=True)
        return [start + self._scale * move for start, move in pairs]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Latents, shape (n, d), of tokens, shape (n, M)."""
        found = [
            functional.embedding(tokens[:, m], stage) for m, stage in enumerate(self.vectors())
        ]
        if self._is_product:
            return torch.cat(found, 1)
        return torch.stack(found).sum(0)

    def put_into(self, codebook: CodebookT) -> CodebookT:
        """The codebook with these codewords."""
        vectors = [stage.detach().numpy() for stage in self.vectors()]
        metadata = codebook.metadata | {"codewords": "decoder"}
        if isinstance(codebook, Codebook):
            return replace(codebook, vectors=vectors[0], metadata=metadata)
        moved = codebook.replace_vectors(vectors, keep_codes=True)
        return replace(moved, metadata=metadata)


class _DecodedLatents:
    """What a decoder makes of latents, made when asked for."""

    def __init__(self, decoder: Any, latents: torch.Tensor) -> None:
        self._decode, self._device = _decode_of(decoder), _device_of(decoder)
        self._latents = latents

    def __getitem__(self, rows: torch.Tensor | slice) -> torch.Tensor:
        with torch.no_grad():
            return self._decode(self._latents[rows].to(self._device))


class _Score:
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
        if not isinstance(images, _DecodedLatents):
            _check_images(images, len(latents), loss)
        with _frozen(decoder), torch.no_grad():
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


def _with_fitted_codewords(
    codebook: CodebookT,
    decoder: Any,
    score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    tokens: torch.Tensor,
    *,
    scale: float,
    **options: Any,
) -> tuple[CodebookT, History]:
    """The codebook with codewords that lower the score of its tokens, and how that went."""
    codewords = Codewords(codebook, scale=scale)
    with _frozen(decoder):
        history = train(
            codewords,
            lambda rows: {"loss": score(codewords(tokens[rows]), rows).mean()},
            len(tokens),
            schedule="linear",
            stage="codewords",
            **options,
        )
    return codewords.put_into(codebook), history


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
def _frozen(decoder: Any) -> Iterator[None]:
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


def _stages(codebook: AnyCodebook) -> tuple[Codebook, ...]:
    return (codebook,) if isinstance(codebook, Codebook) else codebook.stages


def _checked_tokens(
    codebook: AnyCodebook, latents: torch.Tensor, codes: npt.ArrayLike | None
) -> torch.Tensor:
    """Codes of latents as int64 of shape (n, M)."""
    if codes is None:
        codes = codebook.assign(latents.numpy())
    elif latents.shape[1] != codebook.dim:
        raise InputError(
            f"latents must have shape (n, {codebook.dim}) for this codebook, found "
            f"{tuple(latents.shape)}"
        )
    tokens = _checked_codes(codebook, codes)
    if len(tokens) != len(latents):
        raise InputError(
            f"codes and latents must be as many, found {len(tokens)} and {len(latents)}"
        )
    return tokens


def _checked_codes(codebook: AnyCodebook, codes: npt.ArrayLike) -> torch.Tensor:
    given = np.asarray(codes)
    n_axes = 1 if isinstance(codebook, Codebook) else 2
    if given.ndim != n_axes:
        shape = "(n,)" if n_axes == 1 else f"(n, {len(_stages(codebook))})"
        raise InputError(f"codes must have shape {shape} for this codebook, found {given.shape}")
    if isinstance(codebook, Codebook):
        columns = [check_codes(given, codebook.n_codes)]
    else:
        columns = check_stage_codes(given, codebook.n_codes)
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))


def _as_codes(tokens: torch.Tensor, codebook: AnyCodebook) -> Int32Array:
    codes = tokens.numpy().astype(np.int32)
    return codes[:, 0] if isinstance(codebook, Codebook) else codes


def _spread(latents: torch.Tensor) -> float:
    """Standard deviation of latents over all dimensions; 1 where there is none."""
    spread = float((latents - latents.mean(0)).square().mean().sqrt())
    return spread if spread > 0 else 1.0


def _batches(n: int, pixels_each: int) -> list[slice]:
    size = max(1, _PIXELS // pixels_each)
    return [slice(start, start + size) for start in range(0, n, size)]


def _swept(
    codebook: AnyCodebook,
    score: _Score,
    latents: torch.Tensor,
    images: Images,
    tokens: torch.Tensor,
    n_candidates: int,
    n_sweeps: int,
    rate: Rate | None,
    progress: Progress | None,
) -> torch.Tensor:
    """Tokens after some sweeps of coordinate descent."""
    n_candidates = check_count(n_candidates, "n_candidates", 1)
    books = _stages(codebook)
    codewords = Codewords(codebook).requires_grad_(False)
    near_codes = _near_codes(codebook, latents, n_candidates)
    rows = _batches(len(tokens), score.pixels * (n_candidates + 1))
    tokens = tokens.clone()
    with torch.no_grad():
        for done, batch in enumerate(rows):
            if progress is not None:
                progress("codes", done, len(rows))
            for stage in list(range(len(books))) * n_sweeps:
                own = tokens[batch]
                if near_codes is None:
                    near = _nearest_to_rest(codewords, stage, latents[batch], own, n_candidates)
                else:
                    near = near_codes[stage][batch]
                tried = _with_candidates(own, stage, near)
                tokens[batch] = _best_of_tried(codewords, score, images[batch], tried, rate)
    return tokens


def _near_codes(
    codebook: AnyCodebook, latents: torch.Tensor, n_candidates: int
) -> list[torch.Tensor] | None:
    """Codes of each stage's anchors nearest to latents, (n, c); None where tokens add up.

    Neighbours along the data, not codewords nearest in a straight line: on the MNIST latents, with
    64 codes, the images come out as well and the codes tell the digit in 93 of 100 instead of 89.
    """
    if isinstance(codebook, MultistageCodebook) and codebook.kind == "residual":
        return None
    books = _stages(codebook)
    chunks = np.split(latents.numpy(), np.cumsum([book.dim for book in books])[:-1], axis=1)
    found = []
    for book, chunk in zip(books, chunks, strict=True):
        n_near = min(n_candidates, book.n_anchors)
        near = nearest_neighbors(book.anchors, n_near, np.ascontiguousarray(chunk)).index
        found.append(torch.from_numpy(book.anchor_code[near].astype(np.int64)))
    return found


def _nearest_to_rest(
    codewords: Codewords,
    stage: int,
    latents: torch.Tensor,
    tokens: torch.Tensor,
    n_candidates: int,
) -> torch.Tensor:
    """Codes of a stage nearest to what the other stages leave of latents, (n, c)."""
    own = codewords.vectors()[stage]
    target = latents - codewords(tokens) + own[tokens[:, stage]]
    # |target|^2 is the same for all codes
    distance = own.square().sum(1) - 2 * target @ own.T
    near: torch.Tensor = distance.topk(min(n_candidates, len(own)), largest=False).indices
    return near


def _with_candidates(tokens: torch.Tensor, stage: int, near: torch.Tensor) -> torch.Tensor:
    """Tokens (n, c + 1, M): as they are, then with each candidate of one stage."""
    tried = tokens[:, None].repeat(1, near.shape[1] + 1, 1)
    tried[:, 1:, stage] = near
    return tried


def _best_of_tried(
    codewords: Codewords,
    score: _Score,
    images: torch.Tensor,
    tried: torch.Tensor,
    rate: Rate | None,
) -> torch.Tensor:
    """The best of the tokens (n, c, M) that were tried, (n, M)."""
    flat = tried.flatten(0, 1)
    losses = score(codewords(flat).reshape(*tried.shape[:2], -1), images).cpu()
    if rate is not None:
        losses = losses + rate(flat).cpu().reshape(losses.shape)
    # argmin takes the first of equal losses, so a token changes for the better only
    best = losses.argmin(1)
    return tried[torch.arange(len(tried)), best]
