"""The map of latents to the plane."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA

import geoquant as gq
from geoquant.plane import plane_map


def complete_graph(points: np.ndarray) -> gq.Graph:
    """Every pair of points joined by its straight distance."""
    u, v = np.triu_indices(len(points), 1)
    return gq.Graph.from_edges(len(points), u, v, cdist(points, points)[u, v])


@pytest.mark.parametrize("n_landmarks", [3, 10, 256])
def test_points_of_a_plane_keep_their_distances(n_landmarks: int) -> None:
    """Where distances are those of a plane, three landmarks find it."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(40, 2))
    placed = plane_map(complete_graph(flat), flat, n_landmarks=n_landmarks)
    np.testing.assert_allclose(pdist(placed), pdist(flat), rtol=1e-3, atol=1e-4)


def test_a_bent_line_is_unrolled() -> None:
    """Distance along the data is what counts: a spiral becomes a line as long as it is."""
    turn = np.linspace(0, 9, 400)
    spiral = np.column_stack([turn * np.cos(turn), turn * np.sin(turn)])
    placed = plane_map(gq.knn_graph(spiral, n_neighbors=2), spiral)
    length = np.linalg.norm(np.diff(spiral, axis=0), axis=1).sum()
    assert np.ptp(placed[:, 0]) == pytest.approx(length, rel=1e-2)
    assert np.ptp(placed[:, 1]) < 0.02 * length
    step = np.diff(placed[:, 0])
    assert (step > 0).all() or (step < 0).all()


def test_pca_is_that_of_scikit_learn() -> None:
    """The other method gives the principal components, up to their sides."""
    x = np.random.default_rng(1).normal(size=(50, 5)) * [5, 4, 3, 2, 1]
    expected = PCA(2).fit_transform(x)
    placed = plane_map(complete_graph(x), x, method="pca")
    np.testing.assert_allclose(abs(placed), abs(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["geodesic", "pca"])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_latents(method: str, n: int) -> None:
    """One latent lies in the middle, two on an axis; nothing is made of rounding."""
    x = np.arange(n, dtype=np.float32)[:, None] * 2
    graph = gq.Graph.from_edges(n, range(n - 1), range(1, n), [2.0] * (n - 1))
    placed = plane_map(graph, x, method=method)
    np.testing.assert_allclose(abs(placed[:, 0]), abs(x[:, 0] - x.mean()), atol=1e-5)
    np.testing.assert_allclose(placed[:, 1], 0, atol=1e-3)


def test_equal_latents_lie_together() -> None:
    """Distances of zero are distances."""
    x = np.zeros((4, 3), np.float32)
    graph = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [0.0, 0.0, 0.0])
    assert (plane_map(graph, x) == 0).all()


def test_same_arguments_same_map() -> None:
    """The seed decides the landmarks, and nothing else is random."""
    x = np.random.default_rng(2).normal(size=(300, 4))
    graph = gq.bridge_components(gq.knn_graph(x), x).graph
    first, again = (plane_map(graph, x, n_landmarks=20, random_state=3) for _ in range(2))
    np.testing.assert_allclose(first, again, rtol=1e-5, atol=1e-5)
    other = plane_map(graph, x, n_landmarks=20, random_state=4)
    assert not np.allclose(first, other, rtol=1e-3)


def test_what_does_not_fit_is_refused() -> None:
    """Other latents, another method, a graph in pieces: each is said by name."""
    x = np.array([[0.0], [1.0], [50.0], [51.0]])
    pieces = gq.knn_graph(x, n_neighbors=1)
    whole = gq.bridge_components(pieces, x).graph
    with pytest.raises(
        gq.InputError, match="latents must be those of the graph's 4 nodes, found 3"
    ):
        plane_map(whole, x[:3])
    with pytest.raises(gq.InputError, match="method"):
        plane_map(whole, x, method="tsne")
    with pytest.raises(gq.InputError, match="n_landmarks"):
        plane_map(whole, x, n_landmarks=0)
    with pytest.raises(gq.NotConnectedError):
        plane_map(pieces, x)
