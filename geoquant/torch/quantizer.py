"""A codebook as a module: latents in, codewords and codes out, in plain tensor operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeAlias, get_args

import torch
from torch import nn
from torch.nn import functional

from geoquant.arguments import check_count
from geoquant.codebook import Codebook
from geoquant.errors import InputError
from geoquant.torch.pretrained import Pretrained

if TYPE_CHECKING:
    from collections.abc import Iterator

Assign: TypeAlias = Literal["geodesic", "codeword"]
Gradient: TypeAlias = Literal["straight-through", "rotation", "none"]

#: Distances in memory at once, and latents at once where the codewords are few.
_DISTANCES, _ROWS = 1 << 24, 1 << 13


class QuantizeOutput(NamedTuple):
    """What a quantizer gives.

    Parameters
    ----------
    quantized : Tensor of the shape of the latents
        Codewords in place of latents.
    indices : Tensor of int64
        Codes: the shape of the latents without their channels.
    loss : Tensor of shape ()
        Mean squared distance of latents to codewords, by which an encoder is pulled to them,
        times `commitment_weight`.
    """

    quantized: torch.Tensor
    indices: torch.Tensor
    loss: torch.Tensor


class GeodesicQuantizer(Pretrained, nn.Module, model_type="geoquant-quantizer"):
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
    Geodesic assignment compares every latent with every anchor, in blocks of 2^24 distances; one
    block when it is compiled or exported. Its codes equal those of `Codebook.assign` but where two
    ways differ by a rounding error. `Codebook.thinned` gives fewer anchors.

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
        super().__init__()
        self.dim = check_count(dim, "dim", 1)
        self.codebook_size = check_count(codebook_size, "codebook_size", 1)
        n_anchors = check_count(n_anchors, "n_anchors", 0)
        self.n_neighbors = check_count(n_neighbors, "n_neighbors", 1)
        _check_choice(assignment, "assignment", get_args(Assign))
        _check_choice(gradient, "gradient", get_args(Gradient))
        if assignment == "geodesic" and n_anchors == 0:
            raise InputError(
                "assignment 'geodesic' needs anchors: n_anchors must be at least 1, found 0; "
                "GeodesicQuantizer.from_codebook(book) has those of the codebook"
            )
        self.assignment, self.gradient, self.channel_dim = assignment, gradient, channel_dim
        self.commitment_weight = commitment_weight
        self.metadata = dict(metadata or {})
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
        assignment, gradient, channel_dim, commitment_weight
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
            indices = self._codes(rows.detach().to(self.codebook.dtype))
        codewords = functional.embedding(indices, self.codebook).to(z.dtype)
        loss = self.commitment_weight * functional.mse_loss(rows, codewords)
        quantized = self._with_gradient(rows, codewords).reshape(last.shape).movedim(-1, axis)
        return QuantizeOutput(quantized, indices.reshape(last.shape[:-1]), loss)

    def get_codes_from_indices(self, indices: torch.Tensor) -> torch.Tensor:
        """Codewords, channels last.

        Parameters
        ----------
        indices : Tensor of int64, any shape
            Codes in ``[0, K)``.

        Returns
        -------
        Tensor of shape (*indices.shape, d)

        Raises
        ------
        InputError
            If a code is out of range or not an integer.
        """
        return functional.embedding(self._checked(indices), self.codebook)

    def get_output_from_indices(self, indices: torch.Tensor) -> torch.Tensor:
        """Codewords, laid out as `forward` gives them, for a decoder.

        Parameters
        ----------
        indices : Tensor of int64
            Codes of shape (B,), (B, N), (B, H, W) …

        Returns
        -------
        Tensor of shape (B, D), (B, N, D), (B, C, H, W) …

        Raises
        ------
        InputError
            As `get_codes_from_indices`.
        """
        codewords = self.get_codes_from_indices(indices)
        axis = self._default_axis(codewords.ndim) if self.channel_dim is None else self.channel_dim
        return codewords.movedim(-1, axis)

    def extra_repr(self) -> str:
        """What is printed of the module."""
        anchors = f", n_anchors={len(self.anchors)}" if len(self.anchors) else ""
        return (
            f"dim={self.dim}, codebook_size={self.codebook_size}, assignment={self.assignment!r}"
            f"{anchors}, gradient={self.gradient!r}"
        )

    @staticmethod
    def _default_axis(n_axes: int) -> int:
        return 1 if n_axes > 3 else n_axes - 1

    def _channel_axis(self, z: torch.Tensor) -> int:
        if not isinstance(z, torch.Tensor) or not z.is_floating_point():
            found = getattr(z, "dtype", type(z).__name__)
            raise InputError(f"z must be a floating tensor, found {found}")
        if z.device != self.codebook.device:
            raise InputError(
                f"z is on {z.device}, the quantizer on {self.codebook.device}; move one of them: "
                f"quantizer.to({str(z.device)!r})"
            )
        axis = self._default_axis(z.ndim) if self.channel_dim is None else self.channel_dim
        if z.ndim < 2 or not -z.ndim <= axis < z.ndim or z.shape[axis] != self.dim:
            raise InputError(
                f"z must have {self.dim} channels in axis {axis}, found shape {tuple(z.shape)}; "
                "channel_dim names another axis, and a codebook fits latents of its own dimension"
            )
        return axis % z.ndim

    def _checked(self, indices: torch.Tensor) -> torch.Tensor:
        if indices.is_floating_point() or indices.dtype == torch.bool:
            raise InputError(f"indices must be integers, found {indices.dtype}")
        if not torch.compiler.is_compiling() and indices.numel():
            low, high = int(indices.min()), int(indices.max())
            if low < 0 or high >= self.codebook_size:
                raise InputError(
                    f"indices must lie in [0, {self.codebook_size}), found "
                    f"{low if low < 0 else high}; use the codes of this codebook"
                )
        return indices.long()

    def _codes(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes, (n,), of latents (n, d)."""
        find = self._geodesic_codes if self.assignment == "geodesic" else self._nearest_codes
        if torch.compiler.is_compiling():
            return find(rows)
        n_columns = len(self.anchors) if self.assignment == "geodesic" else self.codebook_size
        blocks = list(_blocks(rows, n_columns))
        return find(rows) if len(blocks) < 2 else torch.cat([find(block) for block in blocks])

    def _nearest_codes(self, rows: torch.Tensor) -> torch.Tensor:
        return _without_own_square(rows, self.codebook).argmin(1)

    def _geodesic_codes(self, rows: torch.Tensor) -> torch.Tensor:
        n_near = min(self.n_neighbors, len(self.anchors))
        near = _without_own_square(rows, self.anchors).topk(n_near, largest=False).indices
        # The products only propose neighbours; differences decide how far they are.
        step = (rows[:, None] - self.anchors[near]).square().sum(2).sqrt()
        through = step.double() + self.anchor_distance[near]
        # A latent that is an anchor has that anchor's code, whatever else is near.
        is_there = step == 0
        through = through.masked_fill(is_there.any(1, keepdim=True) & ~is_there, torch.inf)
        is_least = through == through.amin(1, keepdim=True)
        codes: torch.Tensor = self.anchor_code[near].masked_fill(~is_least, self.codebook_size)
        return codes.amin(1)

    def _with_gradient(self, rows: torch.Tensor, codewords: torch.Tensor) -> torch.Tensor:
        if self.gradient == "none":
            return codewords
        if self.gradient == "rotation":
            return _rotated(rows, codewords)
        return rows + (codewords - rows).detach()


def _check_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, found {value!r}")


def _blocks(rows: torch.Tensor, n_columns: int) -> Iterator[torch.Tensor]:
    size = max(1, min(_ROWS, _DISTANCES // n_columns))
    return iter(torch.split(rows, size))


def _without_own_square(rows: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Squared distances of rows to points, less the rows' own squares, which order nothing."""
    return torch.addmm(points.square().sum(1), rows, points.T, alpha=-2)


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
