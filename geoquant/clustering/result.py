"""What a clustering function returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoquant.short_repr import ShortRepr

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False, repr=False)
class Clustering(ShortRepr):
    """Centres among the nodes of a graph, and the cell of every node.

    Attributes
    ----------
    labels : ndarray of shape (n_nodes,), int32
        Code of each node, in ``[0, n_clusters)``; no code is unused.
    medoid_indices : ndarray of shape (n_clusters,), int32
        The node that is the centre of each cell.
    distance : ndarray of shape (n_nodes,), float64
        Geodesic distance of each node to its centre.
    inertia : float
        The energy: the weighted sum of ``distance ** power``.
    inertia_history : tuple of float
        Energy after the seeds and after each later step; never rises.
    n_iter : int
        Rounds: of assignment and update, or passes over all candidates of a swap. At least 1.
    is_converged : bool
        Whether the last round changed nothing (for swaps: a local optimum).
    centers : ndarray of shape (n_clusters, d), float32, or None
        Weighted means of the cells' latents, where latents were given.

    Examples
    --------
    >>> import geoquant as gq
    >>> line = gq.Graph.from_edges(6, range(5), range(1, 6), [1.0, 1.0, 9.0, 1.0, 1.0])
    >>> result = gq.geodesic_kmedoids(line, n_clusters=2, random_state=0)
    >>> result.distance.tolist(), result.inertia
    ([1.0, 0.0, 1.0, 1.0, 0.0, 1.0], 4.0)
    """

    labels: npt.NDArray[np.int32]
    medoid_indices: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    inertia: float
    inertia_history: tuple[float, ...]
    n_iter: int
    is_converged: bool
    centers: npt.NDArray[np.float32] | None = None
