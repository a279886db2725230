"""Sums of the latents of each cell, the same bits however the latents are parted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geoquant.default_floats import default_floats
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.search import own_labels

if TYPE_CHECKING:
    from geoquant.distributed.search import PartedState

#: Every latent is cut into so many pieces of so many bits, below the largest of all. Sums of one
#: kind of piece are exact as long as the weights, which count equal rows, sum to below 2**32.
_N_PIECES = 4
_PIECE_BITS = 20


def parted_cell_means(
    state: PartedState, centres: npt.NDArray[np.int32], engine: Engine
) -> npt.NDArray[np.float32]:
    """Weighted mean latent of each cell, in which every centre is its own.

    Parameters
    ----------
    state : PartedState
        Of a search from the centres that reached every node.
    centres : ndarray of shape (n_clusters,), int32
        Nodes.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    ndarray of shape (n_clusters, d), float32
    """
    parts = range(state.graph.n_partitions)
    largest = max(map_tasks(engine, largest_of, [(state, p) for p in parts]))
    unit = int(np.frexp(largest)[1])  # all are below 2 ** unit
    sums = map_tasks(engine, sum_cells, [(state, p, centres, unit) for p in parts])
    with default_floats():
        pieces = np.sum([piece for piece, _ in sums], axis=0)  # exact
        total = np.sum([weight for _, weight in sums], axis=0)
        added = pieces[-1]
        for piece in pieces[-2::-1]:
            added = piece + added
        means: npt.NDArray[np.float32] = (added / total[:, None]).astype(np.float32)
    return means


def largest_of(state: PartedState, p: int) -> float:
    """The largest magnitude among the latents of a partition (a task)."""
    return float(np.abs(state.graph.scratch.load(f"part{p}-point")).max())


def sum_cells(
    state: PartedState, p: int, centres: npt.NDArray[np.int32], unit: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums over the cells of the pieces of latents, and of weights, in a partition (a task)."""
    scratch, n_cells = state.graph.scratch, len(centres)
    label = own_labels(state, p, centres)
    weight = np.array(scratch.load(f"part{p}-weight"))
    points = scratch.load(f"part{p}-point")
    sums = np.empty((_N_PIECES, n_cells, points.shape[1]))
    with default_floats():
        for column in range(points.shape[1]):
            rest = points[:, column].astype(np.float64)
            for i in range(_N_PIECES):
                size = 2.0 ** (unit - (i + 1) * _PIECE_BITS)
                piece = np.rint(rest / size) * size
                rest -= piece
                sums[i, :, column] = np.bincount(label, weight * piece, n_cells)
        return sums, np.bincount(label, weight, n_cells).astype(np.float64)
