"""A map of latents to the plane, for pictures; codes and distances never depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_choice, check_count
from geoquant.clustering.seeding import as_generator, seed_centres
from geoquant.errors import InputError
from geoquant.graph.components import require_connected
from geoquant.graph.shortest_paths import nearest_source
from geoquant.latents import check_latents

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph

Map = npt.NDArray[np.float32]


def plane_map(
    graph: Graph,
    latents: npt.ArrayLike,
    *,
    method: str = "geodesic",
    n_landmarks: int = 256,
    random_state: Any = 0,
) -> Map:
    """Place latents in the plane so that distances there resemble those along the data.

    Parameters
    ----------
    graph : Graph
        Connected, of the latents.
    latents : array-like of shape (n, d)
        The latents, one per node.
    method : {'geodesic', 'pca'}, default='geodesic'
        'geodesic': landmark multidimensional scaling of distances in the graph [1]_. 'pca': the
        two directions of the latents with most variance; straight lines stay straight.
    n_landmarks : int, default=256
        Latents whose distances to all others are measured, one search of the graph each.
    random_state : None, int, numpy Generator or numpy RandomState, default=0
        Chooses the landmarks.

    Returns
    -------
    ndarray of shape (n, 2), float32
        Centred, in the unit of the distances, most variance along the first axis. The same up to
        rounding for the same arguments; an axis along which nothing varies is zero.

    Raises
    ------
    InputError
        If the latents are not those of the graph, or `method` is another.
    NotConnectedError
        If the graph falls apart.

    References
    ----------
    .. [1] V. de Silva, J. B. Tenenbaum, "Sparse multidimensional scaling using landmark points",
       Stanford University, 2004.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.plane import plane_map
    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> graph = gq.knn_graph(x, n_neighbors=1)
    >>> abs(plane_map(graph, x)[:, 0]).tolist()
    [1.5, 0.5, 0.5, 1.5]
    """
    x = check_latents(latents)
    check_choice(method, "method", ("geodesic", "pca"))
    check_count(n_landmarks, "n_landmarks", 1)
    if len(x) != graph.n_nodes:
        raise InputError(
            f"latents must be those of the graph's {graph.n_nodes} nodes, found {len(x)}"
        )
    if method == "pca":
        return _principal(x.astype(np.float64) - x.mean(axis=0, dtype=np.float64))
    require_connected(graph)
    landmarks = seed_centres(
        graph,
        min(n_landmarks, graph.n_nodes),
        weights=np.ones(graph.n_nodes),
        generator=as_generator(random_state),
    )
    return _scaled(graph, landmarks)


def _scaled(graph: Graph, landmarks: npt.NDArray[np.int32]) -> Map:
    """Scale the landmarks, and place every node by its distances to them."""
    squared = np.empty((len(landmarks), graph.n_nodes), np.float32)
    for row, landmark in enumerate(landmarks):
        squared[row] = np.square(nearest_source(graph, [landmark]).distance)
    among = squared[:, landmarks].astype(np.float64)
    # Of a product of centred coordinates: distances once from each side, less their means.
    inner = -0.5 * (among - among.mean(axis=0) - among.mean(axis=1)[:, None] + among.mean())
    value, vector = np.linalg.eigh((inner + inner.T) / 2)
    largest = value[::-1][:2]
    real = largest > 1e-9 * max(value[-1], 1e-300)
    directions = np.where(real, vector[:, ::-1][:, :2] / np.sqrt(np.where(real, largest, 1)), 0)
    placed = -0.5 * (squared.T - among.mean(axis=1)) @ directions
    return _principal(placed)


def _principal(points: npt.NDArray[np.float64]) -> Map:
    """Turn points onto their two directions of most variance, each to a side that is its own."""
    centred = points - points.mean(axis=0)
    _, vector = np.linalg.eigh(centred.T @ centred)
    turned = centred @ vector[:, ::-1][:, :2]
    out = np.zeros((len(points), 2), np.float32)
    # Mirrored so that the longer tail is on the positive side: eigenvectors have no sign.
    side = np.where((turned**3).sum(axis=0) < 0, -1, 1)
    out[:, : turned.shape[1]] = turned * side
    return out
