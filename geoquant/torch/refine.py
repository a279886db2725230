"""Codebooks fitted through a decoder: codewords, codes, and a decoder that knows of them.

Everything is measured by the loss of the images that the decoder makes of codewords, so
distances between latents no longer matter, except that few near codes are tried.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from geoquant.arguments import check_count
from geoquant.torch.reassignment import (
    CodebookT,
    Codewords,
    Int32Array,
    Rate,
    as_codes,
    checked_codes,
    checked_tokens,
    swept,
)
from geoquant.torch.reconstruction import DecodedLatents, ImageLoss, ReconstructionScore, frozen
from geoquant.torch.training import History, train
from geoquant.torch.vae_adapter import latent_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from geoquant.progress import Progress

ModelT = TypeVar("ModelT", bound=nn.Module)


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

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import geoquant as gq
    >>> from geoquant.torch import VAEAdapter, refine_codebook
    >>> adapter = VAEAdapter.wrap(
    ...     encode=lambda images: images.flatten(1), decode=lambda z: z.reshape(-1, 1, 1, 2)
    ... )
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], np.float32)
    >>> book = gq.fit_codebook(x, 2, random_state=0).codebook
    >>> refined = refine_codebook(book, adapter, x, torch.tensor(x).reshape(-1, 1, 1, 2), epochs=1)
    >>> refined.codebook.n_codes, refined.codes.shape, len(refined.history)
    (2, (4,), 1)
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
    >>> rectified = rectify_decoder(model, book, [0, 1], images, epochs=3)
    >>> rectified.model is model, rectified.codebook.n_codes, len(rectified.history)
    (False, 2, 3)
    """

    model: ModelT
    codebook: CodebookT
    history: History


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
    tokens = checked_tokens(codebook, z, codes)
    targets = DecodedLatents(decoder, z) if images is None else images
    score = ReconstructionScore(decoder, loss, z, targets)
    history: History = []
    for turn in range(n_rounds + 1):
        if turn:
            tokens = swept(codebook, score, z, targets, tokens, n_candidates, 1, rate, progress)
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
    return RefinedCodebook(codebook, as_codes(tokens, codebook), history)


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
    tokens = checked_codes(codebook, codes)
    z = torch.from_numpy(np.atleast_2d(codebook.lookup(np.asarray(codes))))
    score = ReconstructionScore(copied, loss, z, images)
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
    with frozen(decoder):
        history = train(
            codewords,
            lambda rows: {"loss": score(codewords(tokens[rows]), rows).mean()},
            len(tokens),
            schedule="linear",
            stage="codewords",
            **options,
        )
    return codewords.put_into(codebook), history


def _spread(latents: torch.Tensor) -> float:
    """Standard deviation of latents over all dimensions; 1 where there is none."""
    spread = float((latents - latents.mean(0)).square().mean().sqrt())
    return spread if spread > 0 else 1.0
