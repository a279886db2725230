"""A codebook of stages as a module: several codes for each latent, in plain tensor operations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast, get_args

import torch
from torch import nn

from geoquant.arguments import check_choice, check_count
from geoquant.errors import InputError
from geoquant.multistage import Kind, MultistageCodebook
from geoquant.torch.quantizer import (
    GeodesicQuantizer,
    Gradient,
    Quantizer,
    checked_codes,
    columns_of_least,
    in_blocks,
    order_of_distances,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class MultistageQuantizer(Quantizer, model_type="geoquant-multistage-quantizer"):
    """A fitted codebook of stages that quantizes latents within a model.

    As `GeodesicQuantizer`, but codes have a last axis of M, one for each stage.

    Parameters
    ----------
    dims : sequence of int
        Channels of each stage: of a residual codebook all of the latents', of a product codebook
        those of its chunk.
    codebook_sizes : sequence of int
        Codes of each stage.
    kind : {'residual', 'product'}
        Whether the stages' codewords are added, or stand side by side.
    n_anchors, n_neighbors : sequence of int, optional
        Of the stages of a product codebook that assign along anchors; 0 anchors for those that
        take the nearest codeword. Of a residual codebook: as many as codes for stages that encode
        by other codewords than those that codes stand for. Default: none.
    beam : int, default=8
        Prefixes that the encoding of a residual codebook keeps after each stage.
    gradient : {'straight-through', 'rotation', 'none'}
        As for `GeodesicQuantizer`.
    channel_dim : int, optional
        As for `GeodesicQuantizer`.
    commitment_weight : float, default=1.0
        Of the loss.
    metadata : dict, optional
        Of the codebook; kept, and saved with the module.

    Raises
    ------
    InputError
        If an argument is out of range, or the sequences are of several lengths.

    Notes
    -----
    The codes equal those of `MultistageCodebook.assign` but where two ways differ by a rounding
    error.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import geoquant as gq
    >>> from geoquant.torch import MultistageQuantizer
    >>> v = np.array([[0.0, 0.0], [8.0, 4.0]], np.float32)
    >>> coarse, fine = (
    ...     gq.Codebook(x, x, np.zeros(2), np.array([0, 1], np.int32), 1, {}) for x in (v, v / 4)
    ... )
    >>> book = gq.MultistageCodebook((coarse, fine), "residual")
    >>> quantizer = MultistageQuantizer.from_codebook(book)
    >>> quantized, indices, loss = quantizer(torch.tensor([[9.0, 5.0], [2.0, 1.0]]))
    >>> indices.tolist(), quantized.tolist()
    ([[1, 1], [0, 1]], [[10.0, 5.0], [2.0, 1.0]])
    >>> quantizer(torch.zeros(5, 2, 8, 8)).indices.shape
    torch.Size([5, 8, 8, 2])
    >>> codes = quantizer.codes_of(torch.tensor([[2.0, 1.0]]))
    >>> quantizer.codewords_of(quantizer.checked_codes(codes)).tolist()
    [[2.0, 1.0]]
    """

    def __init__(
        self,
        dims: Sequence[int],
        codebook_sizes: Sequence[int],
        *,
        kind: Kind = "residual",
        n_anchors: Sequence[int] | None = None,
        n_neighbors: Sequence[int] | None = None,
        beam: int = 8,
        gradient: Gradient = "straight-through",
        channel_dim: int | None = None,
        commitment_weight: float = 1.0,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        check_choice(kind, "kind", get_args(Kind))
        dims = [check_count(dim, "dims", 1) for dim in dims]
        stages = _stages(dims, codebook_sizes, n_anchors, n_neighbors)
        allowed = [{0, size} for size in codebook_sizes]
        has_other = any(n not in two for n, two in zip(n_anchors or (), allowed, strict=False))
        if kind == "residual" and (len(set(dims)) > 1 or has_other):
            raise InputError(
                "the stages of a residual quantizer must have one dimension and no anchors but one "
                f"for each code, found dims {dims} and n_anchors {n_anchors}; those of "
                "kind='product' may differ"
            )
        super().__init__(
            dims[0] if kind == "residual" else sum(dims),
            gradient=gradient,
            channel_dim=channel_dim,
            commitment_weight=commitment_weight,
            metadata=metadata,
        )
        self.kind, self.beam = kind, check_count(beam, "beam", 1)
        self.stages = nn.ModuleList(stages)

    @classmethod
    def from_codebook(
        cls,
        codebook: MultistageCodebook,
        *,
        gradient: Gradient = "straight-through",
        channel_dim: int | None = None,
        commitment_weight: float = 1.0,
    ) -> Self:
        """The module of a codebook of stages.

        Parameters
        ----------
        codebook : MultistageCodebook
            Of either kind.
        gradient : {'straight-through', 'rotation', 'none'}
            As for the class.
        channel_dim : int, optional
            As for the class.
        commitment_weight : float, default=1.0
            As for the class.

        Returns
        -------
        MultistageQuantizer
            With the anchors of a product codebook, and with the codewords that a residual one
            encodes by.

        Raises
        ------
        InputError
            If it is no codebook of stages, or an argument is out of range.
        """
        if not isinstance(codebook, MultistageCodebook):
            raise InputError(
                f"codebook must be a MultistageCodebook, found {type(codebook).__name__}; "
                "GeodesicQuantizer.from_codebook takes a codebook of one stage"
            )
        stages = codebook.stages
        if codebook.kind == "residual":
            stages = codebook.replace_vectors(
                [stage.vectors for stage in stages], keep_codes=True
            ).stages
        quantizer = cls(
            [stage.dim for stage in stages],
            codebook.n_codes,
            kind=codebook.kind,
            n_anchors=[stage.n_anchors for stage in stages],
            n_neighbors=[stage.n_neighbors for stage in stages],
            beam=codebook.beam,
            gradient=gradient,
            channel_dim=channel_dim,
            commitment_weight=commitment_weight,
            metadata=codebook.metadata,
        )
        for own, stage in zip(quantizer._quantizers(), stages, strict=True):
            found = GeodesicQuantizer.from_codebook(stage, assignment="geodesic")
            own.load_state_dict(found.state_dict())
        return quantizer

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes of each stage."""
        return tuple(len(codebook) for codebook in self.codebooks)

    @property
    def codebooks(self) -> list[torch.Tensor]:
        """Codewords of each stage, (K_m, d_m)."""
        return [stage.codebook for stage in self._quantizers()]

    def codes_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Codes of latents.

        Parameters
        ----------
        rows : Tensor of shape (n, d), float
            Latents, in the dtype of the codewords.

        Returns
        -------
        Tensor of shape (n, M), int64
        """
        if self.kind == "product":
            chunks = torch.split(rows, [codebook.shape[1] for codebook in self.codebooks], 1)
            pairs = zip(self._quantizers(), chunks, strict=True)
            return torch.stack([stage.codes_of(chunk) for stage, chunk in pairs], 1)
        own = [
            stage.anchors if len(stage.anchors) else stage.codebook for stage in self._quantizers()
        ]
        find = partial(_residual_codes, own, self.beam)
        return in_blocks(find, rows, self.beam * max(self.codebook_sizes))

    def codewords_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Codewords of codes, which are not checked.

        Parameters
        ----------
        codes : Tensor of shape (..., M), int64
            In range.

        Returns
        -------
        Tensor of shape (..., d), float
        """
        pairs = zip(self._quantizers(), codes.unbind(-1), strict=True)
        parts = [stage.codewords_of(column) for stage, column in pairs]
        if self.kind == "product":
            return torch.cat(parts, -1)
        # As the codebook has it: added in float64 and rounded once.
        total = parts[0].double()
        for part in parts[1:]:
            total = total + part
        return total.to(self.dtype)

    def checked_codes(self, indices: torch.Tensor) -> torch.Tensor:
        """Codes as the quantizer takes them.

        Parameters
        ----------
        indices : Tensor of shape (..., M), int
            Codes of each stage.

        Returns
        -------
        Tensor of shape (..., M), int64

        Raises
        ------
        InputError
            If a code is out of range or not an integer, or the last axis is not of stages.
        """
        n_stages = len(self.stages)
        if indices.ndim == 0 or indices.shape[-1] != n_stages:
            raise InputError(
                f"indices must have shape (..., {n_stages}), one code of each stage, found "
                f"{tuple(indices.shape)}"
            )
        columns = [
            checked_codes(indices[..., m], n_codes, f"indices[..., {m}]")
            for m, n_codes in enumerate(self.codebook_sizes)
        ]
        return torch.stack(columns, -1)

    def _quantizers(self) -> list[GeodesicQuantizer]:
        return cast("list[GeodesicQuantizer]", list(self.stages))

    def extra_repr(self) -> str:
        """What is printed of the module.

        Returns
        -------
        str
        """
        beam = f", beam={self.beam}" if self.kind == "residual" else ""
        return f"dim={self.dim}, kind={self.kind!r}{beam}, gradient={self.gradient!r}"


def _stages(
    dims: Sequence[int],
    codebook_sizes: Sequence[int],
    n_anchors: Sequence[int] | None,
    n_neighbors: Sequence[int] | None,
) -> list[GeodesicQuantizer]:
    n_anchors = [0] * len(dims) if n_anchors is None else n_anchors
    n_neighbors = [1] * len(dims) if n_neighbors is None else n_neighbors
    lengths = [len(dims), len(codebook_sizes), len(n_anchors), len(n_neighbors)]
    if len(set(lengths)) > 1 or not dims:
        raise InputError(
            "dims, codebook_sizes, n_anchors and n_neighbors must have an entry for each stage, "
            f"found {lengths[0]}, {lengths[1]}, {lengths[2]} and {lengths[3]}"
        )
    return [
        GeodesicQuantizer(
            dim,
            size,
            n_anchors=anchors,
            n_neighbors=neighbors,
            assignment="geodesic" if anchors else "codeword",
            channel_dim=-1,
        )
        for dim, size, anchors, neighbors in zip(
            dims, codebook_sizes, n_anchors, n_neighbors, strict=True
        )
    ]


def _residual_codes(codebooks: list[torch.Tensor], beam: int, rows: torch.Tensor) -> torch.Tensor:
    """Codes, (n, M), by beam search; prefixes are in the order of their codes throughout."""
    residuals = rows[:, None]  # (n, prefixes, d)
    codes = rows.new_zeros((rows.shape[0], 1, 0), dtype=torch.int64)  # (n, prefixes, stages so far)
    for m, codebook in enumerate(codebooks):
        n_codes, n_prefixes = len(codebook), residuals.shape[1]
        flat = residuals.reshape(-1, codebook.shape[1])
        order = order_of_distances(codebook)(flat)
        own = (flat - codebook[:1]).square().sum(1, keepdim=True)
        errors = (order + own).reshape(-1, n_prefixes * n_codes)
        n_kept = 1 if m == len(codebooks) - 1 else min(beam, n_prefixes * n_codes)
        kept = columns_of_least(errors, n_kept)
        prefix, code = kept // n_codes, kept % n_codes
        codes = torch.cat([_chosen(codes, prefix), code[..., None]], 2)
        residuals = _chosen(residuals, prefix) - nn.functional.embedding(code, codebook)
    return codes[:, 0]


def _chosen(values: torch.Tensor, prefix: torch.Tensor) -> torch.Tensor:
    """Rows (n, p', c) of values (n, p, c)."""
    return values.gather(1, prefix[..., None].expand(-1, -1, values.shape[2]))
