"""A codebook as a module: latents in, codewords and codes out, in plain tensor operations."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias, get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_choice, check_count
from geoquant.card import Card, codebook_facts
from geoquant.codebook import Codebook
from geoquant.errors import InputError
from geoquant.torch.pretrained import Pretrained

if TYPE_CHECKING:
    from collections.abc import Callable

Assign: TypeAlias = Literal["geodesic", "codeword"]
#: From rows (n, d) to something of points, (n, m).
OfRows: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"
Gradient: TypeAlias = Literal["straight-through", "rotation", "none"]

#: Distances in memory at once: on a CPU what its caches hold, elsewhere what keeps it busy.
_DISTANCES_ON_CPU, _DISTANCES_ELSEWHERE = 1 << 21, 1 << 26


class QuantizeOutput(NamedTuple):
    """What a quantizer gives.

    Parameters
    ----------
    quantized : Tensor of the shape and dtype of the latents
        Codewords in place of latents.
    indices : Tensor of int64, of the shape of the latents without their channels
        Codes; of several stages with a last axis of them.
    loss : Tensor of shape (), float
        Mean squared distance of latents to codewords, by which an encoder is pulled to them,
        times `commitment_weight`.

    Examples
    --------
    >>> import torch
    >>> from geoquant.torch import GeodesicQuantizer
    >>> found = GeodesicQuantizer(2, codebook_size=1)(torch.tensor([[3.0, 0.0]]))
    >>> found.quantized.tolist(), found.indices.tolist(), found.loss.item()
    ([[0.0, 0.0]], [0], 4.5)
    """

    quantized: torch.Tensor
    indices: torch.Tensor
    loss: torch.Tensor


class Quantizer(Pretrained, nn.Module):
    """What quantizers have in common: layouts of latents, gradients and the loss.

    Parameters
    ----------
    dim : int
        Channels of a latent, d.
    gradient, channel_dim, commitment_weight, metadata
        As for `GeodesicQuantizer`.
    """

    card_usage = "quantized, indices, loss = model(latents)  # a tensor of latents, any layout"
    card_limits = (
        "The codes mean something for latents of the encoder that the codebook was fitted to, and "
        "for no others.",
    )

    def __init__(
        self,
        dim: int,
        *,
        gradient: Gradient,
        channel_dim: int | None,
        commitment_weight: float,
        metadata: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        check_choice(gradient, "gradient", get_args(Gradient))
        self.dim = check_count(dim, "dim", 1)
        self.gradient, self.channel_dim = gradient, channel_dim
        self.commitment_weight = commitment_weight
        self.metadata = dict(metadata or {})

    def codes_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes of latents.

        Parameters
        ----------
        rows : Tensor of shape (n, d), float
            Latents, in the dtype of the codewords.

        Returns
        -------
        Tensor of shape (n,) or (n, M), int64
        """
        raise NotImplementedError

    def codewords_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Codewords of codes, which are not checked.

        Parameters
        ----------
        codes : Tensor of shape (...) or (..., M), int64
            In range.

        Returns
        -------
        Tensor of shape (..., d), float
        """
        raise NotImplementedError

    def checked_codes(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes as the quantizer takes them.

        Parameters
        ----------
        indices : Tensor of any shape, int
            In ``[0, codebook_size)``.

        Returns
        -------
        Tensor of int64, of the same shape

        Raises
        ------
        InputError
            If a code is out of range or not an integer.
        """
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where the codewords are."""
        return next(self.buffers()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the codewords."""
        return next(self.buffers()).dtype

    def forward(self, z: torch.Tensor) -> QuantizeOutput:
        """Quantize latents.

        Parameters
        ----------
        z : Tensor of shape (B, D), (B, N, D), (B, C, H, W) …
            Latents, floating, on the module's device.

        Returns
        -------
        QuantizeOutput
            Unpacks into quantized, indices and loss.

        Raises
        ------
        InputError
            If the latents have another dimension, type or device.
        """
        axis = self._channel_axis(z)
        last = z.movedim(axis, -1)
        rows = last.reshape(-1, self.dim)
        with torch.no_grad():
            codes = self.codes_of(rows.detach().to(self.dtype))
        codewords = self.codewords_of(codes).to(z.dtype)
        loss = self.commitment_weight * functional.mse_loss(rows, codewords)
        quantized = self._with_gradient(rows, codewords).reshape(last.shape).movedim(-1, axis)
        indices = codes.reshape(*last.shape[:-1], *codes.shape[1:])
        return QuantizeOutput(quantized, indices, loss)

    def get_codes_from_indices(self, indices: torch.Tensor) -> torch.Tensor:
        """Codewords, channels last.

        Parameters
        ----------
        indices : Tensor of int64, of shape (B,), (B, N), (B, H, W) …; of several stages (..., M)
            Codes in ``[0, K)``.

        Returns
        -------
        Tensor of shape (..., d), float

        Raises
        ------
        InputError
            If a code is out of range or not an integer.
        """
        return self.codewords_of(self.checked_codes(indices))

    def get_output_from_indices(self, indices: torch.Tensor) -> torch.Tensor:
        """Codewords, laid out as `forward` gives them, for a decoder.

        Parameters
        ----------
        indices : Tensor of int64, of shape (B,), (B, N), (B, H, W) …; of several stages (..., M)
            Codes in ``[0, K)``.

        Returns
        -------
        Tensor of shape (B, D), (B, N, D), (B, C, H, W) …, float

        Raises
        ------
        InputError
            As `get_codes_from_indices`.
        """
        codewords = self.get_codes_from_indices(indices)
        axis = self._default_axis(codewords.ndim) if self.channel_dim is None else self.channel_dim
        return codewords.movedim(-1, axis)

    @staticmethod
    def _default_axis(n_axes: int) -> int:
        return 1 if n_axes > 3 else n_axes - 1

    def _channel_axis(self, z: torch.Tensor) -> int:
        if not isinstance(z, torch.Tensor) or not z.is_floating_point():
            found = getattr(z, "dtype", type(z).__name__)
            raise InputError(f"z must be a floating tensor, found {found}")
        if z.device != self.device:
            raise InputError(
                f"z is on {z.device}, the quantizer on {self.device}; move one of them: "
                f"quantizer.to({str(z.device)!r})"
            )
        axis = self._default_axis(z.ndim) if self.channel_dim is None else self.channel_dim
        if z.ndim < 2 or not -z.ndim <= axis < z.ndim or z.shape[axis] != self.dim:
            raise InputError(
                f"z must have {self.dim} channels in axis {axis}, found shape {tuple(z.shape)}; "
                "channel_dim names another axis, and a codebook fits latents of its own dimension"
            )
        return axis % z.ndim

    def _with_gradient(self, rows: torch.Tensor, codewords: torch.Tensor) -> torch.Tensor:
        if self.gradient == "none" or not (torch.is_grad_enabled() and rows.requires_grad):
            return codewords
        if self.gradient == "rotation":
            return _rotated(rows, codewords)
        return rows + (codewords - rows).detach()


class GeodesicQuantizer(Quantizer, model_type="geoquant-quantizer"):
    """A fitted codebook that quantizes latents within a model.

    Codewords and anchors are buffers: they move with the module to a device, are saved with it,
    and no optimizer changes them. ``torch.compile``, ``torch.export`` and the ONNX exporter
    take the module as it is.

    Parameters
    ----------
    dim : int
        Channels of a latent, d.
    codebook_size : int
        Codes, K.
    n_anchors : int, default=0
        Anchors of geodesic assignment.
    n_neighbors : int, default=10
        Nearest anchors that the assignment of a latent considers.
    assignment : {'geodesic', 'codeword'}
        'geodesic': the code of the anchor through which a centre is nearest, as
        `Codebook.assign` has it. 'codeword': the nearest codeword.
    gradient : {'straight-through', 'rotation', 'none'}
        What reaches the latents of a gradient at their codewords: all of it, all of it rotated and
        scaled as the latent is to become its codeword, or nothing.
    channel_dim : int, optional
        The axis of channels. Default: 1 of four and more axes, as in (B, C, H, W), and the last of
        two or three, as in (B, D) and (B, N, D).
    commitment_weight : float, default=1.0
        Of the loss.
    metadata : dict, optional
        Of the codebook; kept, and saved with the module.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    Geodesic assignment compares every latent with every anchor, in blocks of 2^21 distances, on
    a GPU of 2^26; in one block when it is compiled or exported. Its codes equal those of
    `Codebook.assign` but where two ways differ by a rounding error. `Codebook.thinned` gives
    fewer anchors.

    References
    ----------
    Bengio, Leonard, Courville: Estimating or propagating gradients through stochastic neurons for
    conditional computation. 2013 (straight-through). Fifty et al.: Restructuring vector
    quantization with the rotation trick. 2024, arXiv 2410.06424.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import geoquant as gq
    >>> from geoquant.torch import GeodesicQuantizer
    >>> vectors = np.array([[0.0, 0.0], [4.0, 0.0]], np.float32)
    >>> book = gq.Codebook(vectors, vectors, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    >>> quantizer = GeodesicQuantizer.from_codebook(book)
    >>> quantized, indices, loss = quantizer(torch.tensor([[3.0, 0.0]]))
    >>> quantized.tolist(), indices.tolist(), loss.item()
    ([[4.0, 0.0]], [1], 0.5)
    >>> quantizer(torch.zeros(5, 2, 8, 8)).indices.shape
    torch.Size([5, 8, 8])

    Codes are those of a grid of sites, and become what a decoder takes:

    >>> codes = torch.zeros(5, 8, 8, dtype=torch.int64)
    >>> quantizer.get_codes_from_indices(codes).shape
    torch.Size([5, 8, 8, 2])
    >>> quantizer.get_output_from_indices(codes).shape
    torch.Size([5, 2, 8, 8])

    Without checks and layouts, on rows:

    >>> codes = quantizer.codes_of(torch.tensor([[3.0, 0.0]]))
    >>> quantizer.codewords_of(quantizer.checked_codes(codes)).tolist()
    [[4.0, 0.0]]
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        n_anchors: int = 0,
        n_neighbors: int = 10,
        assignment: Assign = "codeword",
        gradient: Gradient = "straight-through",
        channel_dim: int | None = None,
        commitment_weight: float = 1.0,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            dim,
            gradient=gradient,
            channel_dim=channel_dim,
            commitment_weight=commitment_weight,
            metadata=metadata,
        )
        self.codebook_size = check_count(codebook_size, "codebook_size", 1)
        n_anchors = check_count(n_anchors, "n_anchors", 0)
        self.n_neighbors = check_count(n_neighbors, "n_neighbors", 1)
        check_choice(assignment, "assignment", get_args(Assign))
        if assignment == "geodesic" and n_anchors == 0:
            raise InputError(
                "assignment 'geodesic' needs anchors: n_anchors must be at least 1, found 0; "
                "GeodesicQuantizer.from_codebook(book) has those of the codebook"
            )
        self.assignment = assignment
        self.codebook: torch.Tensor
        self.anchors: torch.Tensor
        self.anchor_distance: torch.Tensor
        self.anchor_code: torch.Tensor
        self.register_buffer("codebook", torch.zeros(codebook_size, dim))
        self.register_buffer("anchors", torch.zeros(n_anchors, dim))
        self.register_buffer("anchor_distance", torch.zeros(n_anchors, dtype=torch.float64))
        self.register_buffer("anchor_code", torch.zeros(n_anchors, dtype=torch.int64))

    @classmethod
    def from_codebook(
        cls,
        codebook: Codebook,
        *,
        assignment: Assign = "geodesic",
        gradient: Gradient = "straight-through",
        channel_dim: int | None = None,
        commitment_weight: float = 1.0,
    ) -> Self:
        """The module of a codebook.

        Parameters
        ----------
        codebook : Codebook
            Of one stage.
        assignment : {'geodesic', 'codeword'}
            As for the class.
        gradient : {'straight-through', 'rotation', 'none'}
            As for the class.
        channel_dim : int, optional
            As for the class.
        commitment_weight : float, default=1.0
            As for the class.

        Returns
        -------
        GeodesicQuantizer
            Without anchors if it assigns by codewords.

        Raises
        ------
        InputError
            If it is no codebook of one stage, or an argument is out of range.
        """
        if not isinstance(codebook, Codebook):
            raise InputError(
                f"codebook must be a Codebook, found {type(codebook).__name__}; a codebook of "
                "stages has one for each in .stages"
            )
        is_geodesic = assignment == "geodesic"
        quantizer = cls(
            codebook.dim,
            codebook.n_codes,
            n_anchors=codebook.n_anchors if is_geodesic else 0,
            n_neighbors=codebook.n_neighbors,
            assignment=assignment,
            gradient=gradient,
            channel_dim=channel_dim,
            commitment_weight=commitment_weight,
            metadata=codebook.metadata,
        )
        quantizer.codebook.copy_(torch.tensor(codebook.vectors))
        if is_geodesic:
            quantizer.anchors.copy_(torch.tensor(codebook.anchors))
            quantizer.anchor_distance.copy_(torch.tensor(codebook.anchor_distance))
            quantizer.anchor_code.copy_(torch.tensor(codebook.anchor_code))
        return quantizer

    def card(self) -> Card:
        """What the model card says; with anchors, what is measured on them as well.

        Returns
        -------
        Card
            As for every model, and with the facts of the codebook.

        Examples
        --------
        >>> from geoquant.torch import GeodesicQuantizer
        >>> GeodesicQuantizer(2, 8).card().title
        'GeodesicQuantizer of geoquant'
        """
        card = super().card()
        if self.assignment != "geodesic":
            limit = "Latents get the nearest codeword in a straight line, not along the data."
            return replace(card, limits=(*card.limits, limit))
        # A module whose buffers were never filled, or not with numbers, is saved all the same.
        with suppress(InputError):
            return replace(card, facts={**card.facts, **codebook_facts(self._as_codebook())})
        return card

    def _as_codebook(self) -> Codebook:
        return Codebook(
            vectors=self.codebook.float().cpu().numpy(),
            anchors=self.anchors.float().cpu().numpy(),
            anchor_distance=self.anchor_distance.double().cpu().numpy(),
            anchor_code=self.anchor_code.cpu().numpy().astype(np.int32),
            n_neighbors=self.n_neighbors,
            metadata=self.metadata,
        )

    def extra_repr(self) -> str:
        """What is printed of the module.

        Returns
        -------
        str
        """
        anchors = f", n_anchors={len(self.anchors)}" if len(self.anchors) else ""
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, assignment={self.assignment!r}"
            f"{anchors}, gradient={self.gradient!r}"
        )

    def codewords_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Codewords of codes, which are not checked.

        Parameters
        ----------
        codes : Tensor of any shape, int64
            In ``[0, codebook_size)``.

        Returns
        -------
        Tensor of that shape and a last axis d, float
        """
        return functional.embedding(codes, self.codebook)

    def checked_codes(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes as the quantizer takes them.

        Parameters
        ----------
        indices : Tensor of any shape, int
            In ``[0, codebook_size)``.

        Returns
        -------
        Tensor of int64, of the same shape

        Raises
        ------
        InputError
            If a code is out of range or not an integer.
        """
        return checked_codes(indices, self.codebook_size)

    def codes_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes of latents.

        Parameters
        ----------
        rows : Tensor of shape (n, d), float
            Latents, in the dtype of the codewords.

        Returns
        -------
        Tensor of shape (n,), int64
        """
        if self.assignment == "geodesic":
            find = _nearest(self.anchors, min(self.n_neighbors, len(self.anchors)))
            return in_blocks(partial(self._geodesic_codes, find), rows, len(self.anchors))
        order = order_of_distances(self.codebook)
        return in_blocks(lambda block: order(block).argmin(1), rows, self.codebook_size)

    def _geodesic_codes(self, find_near: OfRows, rows: torch.Tensor) -> torch.Tensor:
        near = find_near(rows)
        # The products only propose neighbours; differences decide how far they are.
        step = (rows[:, None] - self.anchors[near]).square().sum(2).sqrt()
        through = step.double() + self.anchor_distance[near]
        # A latent that is an anchor has that anchor's code, whatever else is near.
        is_there = step == 0
        through = through.masked_fill(is_there.any(1, keepdim=True) & ~is_there, torch.inf)
        is_least = through == through.amin(1, keepdim=True)
        codes: torch.Tensor = self.anchor_code[near].masked_fill(~is_least, self.codebook_size)
        return codes.amin(1)


def checked_codes(indices: torch.Tensor, n_codes: int, name: str = "indices") -> torch.Tensor:
    """Codes as int64.

    Parameters
    ----------
    indices : Tensor of int, any shape
        In ``[0, n_codes)``; not looked at while it is compiled or exported.
    n_codes : int
        Codes there are.
    name : str
        What the error calls them.

    Returns
    -------
    Tensor of int64

    Raises
    ------
    InputError
        If a code is out of range or not an integer.
    """
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise InputError(f"{name} must be integers, found {indices.dtype}")
    if not torch.compiler.is_compiling() and indices.numel():
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= n_codes:
            raise InputError(
                f"{name} must lie in [0, {n_codes}), found {low if low < 0 else high}; use the "
                "codes of this codebook"
            )
    return indices.long()


def in_blocks(
    find: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor, n_columns: int
) -> torch.Tensor:
    """What a function finds for rows, (n, ...), called with so many rows that memory suffices.

    Parameters
    ----------
    find : callable
        Takes rows (b, d), gives (b, ...), each row of which depends on that row alone.
    rows : Tensor of shape (n, d)
        All rows.
    n_columns : int
        Distances of each row that are in memory meanwhile.

    Returns
    -------
    Tensor of shape (n, ...)
        In one call where it is compiled or exported.
    """
    n_distances = _DISTANCES_ON_CPU if rows.device.type == "cpu" else _DISTANCES_ELSEWHERE
    size = max(1, n_distances // n_columns)
    if torch.compiler.is_compiling() or len(rows) <= size:
        return find(rows)
    return torch.cat([find(block) for block in torch.split(rows, size)])


def order_of_distances(points: torch.Tensor, n_columns: int | None = None) -> OfRows:
    """A function that gives, for rows, numbers which order points as their distances do.

    Parameters
    ----------
    points : Tensor of shape (m, d)
        What distances are measured to.
    n_columns : int, optional
        At least m; the columns beyond m are infinitely far.

    Returns
    -------
    callable
        From rows (n, d) to squared distances (n, m), less the same number in each row.
    """
    # About one of the points, so that products do not cancel where all are far from zero; and
    # whole numbers stay whole.
    origin = points[:1]
    beyond = 0 if n_columns is None else n_columns - points.shape[0]
    offsets = functional.pad(points - origin, (0, 0, 0, beyond))
    squares = functional.pad(
        offsets.square().sum(1)[: points.shape[0]], (0, beyond), value=torch.inf
    )
    return lambda rows: torch.addmm(squares, rows - origin, offsets.T, alpha=-2)


def columns_of_least(values: torch.Tensor, k: int) -> torch.Tensor:
    """Columns of the k least values of each row, ascending; of equal values the first.

    Parameters
    ----------
    values : Tensor of shape (n, m)
        Where they are NaN, any columns are given.
    k : int
        At most m.

    Returns
    -------
    Tensor of int64, shape (n, k)
    """
    if k == 1:
        return values.argmin(1, keepdim=True)
    # What topk chooses among equal values is anyone's guess, so that it only finds the bound.
    bound = values.topk(k, largest=False).values[:, -1:]
    is_less, is_equal = values < bound, values == bound
    n_missing = k - is_less.sum(1, keepdim=True)
    is_least = is_less | (is_equal & (is_equal.cumsum(1) <= n_missing))
    last = values.shape[1] - 1
    columns = torch.arange(last + 1, device=values.device).expand_as(values)
    found = columns.masked_fill(~is_least, last + 1).topk(k, largest=False).values
    # Among values that are not numbers there may be no k least; any column will do then.
    return found.clamp_max(last)


def _nearest(points: torch.Tensor, k: int) -> OfRows:
    """A function that gives the points, (n, k), nearest to rows; of equally far ones the first.

    The k nearest are in those k groups of points whose nearest are nearest, so that only these
    are sorted.
    """
    n_points = points.shape[0]
    # The least number of values to sort, in steps that vector instructions fill.
    width = 16 * math.ceil(math.sqrt(n_points / k) / 16)
    n_groups = math.ceil(n_points / width)
    if n_groups < 2 * k:
        order = order_of_distances(points)
        return lambda rows: columns_of_least(order(rows), k)
    order = order_of_distances(points, n_groups * width)
    within = torch.arange(width, device=points.device)

    def find(rows: torch.Tensor) -> torch.Tensor:
        grouped = order(rows).reshape(-1, n_groups, width)
        groups = columns_of_least(grouped.amin(2), k)[..., None]
        candidates = grouped.gather(1, groups.expand(-1, -1, width)).flatten(1)
        return (groups * width + within).flatten(1).gather(1, columns_of_least(candidates, k))

    return find


def _rotated(rows: torch.Tensor, codewords: torch.Tensor) -> torch.Tensor:
    """Codewords as the latents rotated and scaled by constants, so that gradients are as well."""
    with torch.no_grad():
        norm = rows.norm(dim=1, keepdim=True)
        start, target = functional.normalize(rows, dim=1), functional.normalize(codewords, dim=1)
        middle = functional.normalize(start + target, dim=1)
        scale = codewords.norm(dim=1, keepdim=True) / norm
    along_middle = (rows * middle).sum(1, keepdim=True)
    along_start = (rows * start).sum(1, keepdim=True)
    rotated = scale * (rows - 2 * along_middle * middle + 2 * along_start * target)
    # A latent of no length has no direction to be rotated from.
    return torch.where(norm > 0, rotated, rows + (codewords - rows).detach())
