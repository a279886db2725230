"""Codes chosen by the images that a decoder makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.codebook import Codebook, check_codes
from geoquant.errors import InputError
from geoquant.graph.knn import nearest_neighbors
from geoquant.multistage import MultistageCodebook, check_stage_codes
from geoquant.torch.reconstruction import (
    DecodedLatents,
    ImageLoss,
    Images,
    ReconstructionScore,
    batches_of_images,
    frozen,
)
from geoquant.torch.vae_adapter import latent_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.progress import Progress

AnyCodebook: TypeAlias = Codebook | MultistageCodebook
CodebookT = TypeVar("CodebookT", Codebook, MultistageCodebook)
Int32Array: TypeAlias = "npt.NDArray[np.int32]"
#: Gives nats, shape (b,), of token sequences, shape (b, M).
Rate: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


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
    tokens = checked_tokens(codebook, z, codes)
    targets = DecodedLatents(decoder, z) if images is None else images
    score = ReconstructionScore(decoder, loss, z, targets)
    with frozen(decoder):
        tokens = swept(codebook, score, z, targets, tokens, n_candidates, n_sweeps, rate, progress)
    return as_codes(tokens, codebook)


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
        self._starts = [torch.from_numpy(book.vectors.copy()) for book in _stages_of(codebook)]
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


def _stages_of(codebook: AnyCodebook) -> tuple[Codebook, ...]:
    return (codebook,) if isinstance(codebook, Codebook) else codebook.stages


def checked_tokens(
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
    tokens = checked_codes(codebook, codes)
    if len(tokens) != len(latents):
        raise InputError(
            f"codes and latents must be as many, found {len(tokens)} and {len(latents)}"
        )
    return tokens


def checked_codes(codebook: AnyCodebook, codes: npt.ArrayLike) -> torch.Tensor:
    """Codes of a codebook as int64 of shape (n, M), or an InputError."""
    given = np.asarray(codes)
    n_axes = 1 if isinstance(codebook, Codebook) else 2
    if given.ndim != n_axes:
        shape = "(n,)" if n_axes == 1 else f"(n, {len(_stages_of(codebook))})"
        raise InputError(f"codes must have shape {shape} for this codebook, found {given.shape}")
    if isinstance(codebook, Codebook):
        columns = [check_codes(given, codebook.n_codes)]
    else:
        columns = check_stage_codes(given, codebook.n_codes)
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))


def as_codes(tokens: torch.Tensor, codebook: AnyCodebook) -> Int32Array:
    """Tokens (n, M) in the shape and dtype in which a codebook gives codes."""
    codes = tokens.numpy().astype(np.int32)
    return codes[:, 0] if isinstance(codebook, Codebook) else codes


def swept(
    codebook: AnyCodebook,
    score: ReconstructionScore,
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
    books = _stages_of(codebook)
    codewords = Codewords(codebook).requires_grad_(False)
    near_codes = _near_codes(codebook, latents, n_candidates)
    rows = batches_of_images(len(tokens), score.pixels * (n_candidates + 1))
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

    Neighbours along the data, not codewords nearest in a straight line: images come out about as
    well, and the codes keep more of what they say of the data.
    """
    if isinstance(codebook, MultistageCodebook) and codebook.kind == "residual":
        return None
    books = _stages_of(codebook)
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
    score: ReconstructionScore,
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
