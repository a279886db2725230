"""Probes of latent spaces: by hand, on tiny cases, and what cannot be probed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import geoquant as gq
from geoquant.errors import InputError
from geoquant.torch import NamedAutoencoder, train_autoencoder
from geoquant.torch.probes import (
    CentreDrift,
    along_geodesic,
    broadcast,
    closest_pair_share,
    compactness,
    embedded,
    evenly_spaced,
    interpolated,
    perturbed,
    perturbed_site,
    random_combinations,
    replaced_at_random,
    roughness,
    zero_padded,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def test_perturbed_one_dimension_at_a_time() -> None:
    """Row i changes dimension dims[i] only, column j by amounts[j]."""
    start = np.arange(4.0)
    found = perturbed(start, [3, 0], [-1.0, 0.0, 2.5])
    assert found.shape == (2, 3, 4)
    assert (found - start)[0, 2].tolist() == [0, 0, 0, 2.5]
    assert (found - start)[1, 0].tolist() == [-1, 0, 0, 0]
    assert (found[:, 1] == start).all()


def test_perturbed_site() -> None:
    """One number of one site changes."""
    start = np.random.default_rng(0).normal(size=(3, 2, 2)).astype(np.float32)
    found = perturbed_site(start, (1, 0), 2, [1.0, 100.0])
    changed = np.argwhere(found[1] != start)
    assert changed.tolist() == [[2, 1, 0]]
    assert found[1, 2, 1, 0] - start[2, 1, 0] == pytest.approx(100, abs=1e-4)


def test_even_distances_on_any_line() -> None:
    """Frames on a line of pieces are as far apart along it, and begin and end with it."""
    points = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    frames = evenly_spaced(points, 200)
    np.testing.assert_allclose(frames[[0, -1]], points[[0, -1]], atol=1e-6)
    steps = np.linalg.norm(np.diff(frames, axis=0), axis=1)
    length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    assert np.median(steps) == pytest.approx(length / 199, rel=1e-4)
    assert evenly_spaced(points[:1], 3).tolist() == [points[0].tolist()] * 3


def test_geodesic_stays_on_the_data() -> None:
    """On a circle the geodesic keeps the radius, where the straight line loses it."""
    angle = np.linspace(0, np.pi, 60)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)
    graph = gq.knn_graph(circle, 2)
    along = along_geodesic(graph, circle, 0, 59, 20)
    assert np.linalg.norm(along, axis=1).min() > 0.99
    assert np.linalg.norm(interpolated(circle[0], circle[-1], 20), axis=1).min() < 0.1


def test_random_combinations_are_codewords() -> None:
    """Every site is the codeword of its code; a seed repeats them."""
    book = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    latents, codes = random_combinations(book, (2, 4), 6, random_state=3)
    np.testing.assert_array_equal(np.moveaxis(latents, 1, 3), book[codes])
    np.testing.assert_array_equal(random_combinations(book, (2, 4), 6, random_state=3)[1], codes)
    assert len(np.unique(codes)) == 5


@pytest.mark.parametrize("n_sites", [0, 1, 5, 12])
def test_replaced_sites(n_sites: int) -> None:
    """Exactly so many sites of each latent become codewords, and the given array stays."""
    given = np.zeros((4, 2, 3, 4), np.float32)
    book = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    found = replaced_at_random(given, book, n_sites)
    changed = found.any(axis=1)
    assert (changed.sum((1, 2)) == n_sites).all()
    rows = np.moveaxis(found, 1, 3)[changed]
    assert {tuple(row) for row in rows.tolist()} <= {(1.0, 2.0), (3.0, 4.0)}
    assert not given.any()


def test_broadcast_and_padding() -> None:
    """A codeword at all sites, or at one and zero elsewhere."""
    book = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    everywhere, once = broadcast(book, (2, 3)), zero_padded(book, (2, 3), (1, 2))
    assert (everywhere == book[:, :, None, None]).all()
    np.testing.assert_array_equal(once[:, :, 1, 2], book)
    assert np.count_nonzero(once) == 4


def test_closest_pair() -> None:
    """The closest two centres as a share of the spread, 0 if they coincide."""
    rng = np.random.default_rng(0)
    rows, points = rng.normal(size=(50, 3)), rng.normal(size=(7, 3))
    between = np.linalg.norm(points[:, None] - points, axis=2) + 9 * np.eye(7)
    spread = np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean())
    assert closest_pair_share(points, rows) == pytest.approx(between.min() / spread, rel=1e-5)
    assert closest_pair_share([[1.0], [4.0], [1.0]], [[0.0], [1.0]]) == 0


def test_roughness() -> None:
    """One jump among n equal frames is n - 1 times the mean; nothing is even."""
    assert roughness(np.repeat([0.0, 1.0], [3, 4])[:, None, None]) == pytest.approx(6)
    assert roughness(np.zeros((4, 2))) == 1


def test_compactness_of_a_line() -> None:
    """Frames among the data are near, those beyond are not."""
    data = np.arange(20.0)[:, None]
    assert compactness(data + 0.5, data) == 1
    assert compactness(data + 50, data) == 0


def test_embedded_keeps_heaps_apart() -> None:
    """Centres come to lie in the heaps that they are centres of."""
    rng = np.random.default_rng(0)
    heaps = np.repeat([[0.0] * 5, [50.0] * 5], 40, axis=0)
    rows, points = embedded(heaps + rng.normal(size=heaps.shape), heaps[[0, 40]])
    first, second = rows[:40].mean(0), rows[40:].mean(0)
    assert np.linalg.norm(points[0] - first) < np.linalg.norm(points[0] - second)
    assert np.linalg.norm(points[1] - second) < np.linalg.norm(points[1] - first)


def test_drift_is_that_of_the_centres() -> None:
    """Distances add up to where the centres end, and one is noted for each epoch."""
    model = NamedAutoencoder(
        (1, 4, 4),
        2,
        bottleneck="centre-pull",
        bottleneck_options={"n_centres": 3, "n_extra": 4, "momentum": 0.5},
    )
    begin = model.bottleneck.centres.numpy().copy()  # type: ignore[operator, union-attr]
    drift = CentreDrift(model)
    train_autoencoder(model, torch.rand(32, 1, 4, 4), epochs=1, after_epoch=drift)
    moved = np.linalg.norm(model.bottleneck.centres.numpy() - begin, axis=1)  # type: ignore[operator, union-attr]
    np.testing.assert_allclose(drift.distances[0], moved, rtol=1e-6)
    with pytest.raises(InputError, match="must have centres, found Bottleneck"):
        CentreDrift(NamedAutoencoder((1, 4, 4), 2))


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (lambda: perturbed(np.zeros((2, 2)), [0], [1.0]), r"one vector, found shape \(2, 2\)"),
        (lambda: perturbed(np.zeros(2), [2], [1.0]), r"dims must lie in \[0, 2\), found 2"),
        (lambda: perturbed_site(np.zeros((2, 2)), (0, 0), 0, [1.0]), r"\(d, h, w\)"),
        (lambda: perturbed_site(np.zeros((2, 2, 2)), (0, 2), 0, [1.0]), "column must lie"),
        (lambda: interpolated([0.0], [0.0, 1.0], 3), "as long"),
        (lambda: interpolated([0.0], [1.0], 1), "n_frames"),
        (lambda: replaced_at_random(np.zeros((1, 3, 2, 2)), [[1.0]]), r"\(n, 1, h, w\)"),
        (lambda: replaced_at_random(np.zeros((1, 1, 2, 2)), [[1.0]], 5), "n_sites"),
        (lambda: zero_padded([[1.0]], (2, 2), (2, 0)), "row must lie"),
        (lambda: closest_pair_share([[1.0]], [[0.0], [1.0]]), "at least two"),
        (lambda: closest_pair_share([[1.0], [2.0]], [[0.0], [0.0]]), "all the same"),
        (lambda: roughness([[1.0]]), "at least two"),
        (lambda: compactness([[1.0]], [[1.0], [2.0]], quantile=0.0), "quantile"),
    ],
)
def test_what_cannot_be_probed(probe: Callable[[], Any], message: str) -> None:
    """Shapes and numbers that make no sense are named."""
    with pytest.raises(InputError, match=message):
        probe()


def test_no_path() -> None:
    """Two nodes of different components have no geodesic."""
    graph = gq.Graph.from_edges(3, [0], [1], [1.0])
    with pytest.raises(InputError, match="no path between 0 and 2"):
        along_geodesic(graph, np.zeros((3, 1)), 0, 2, 4)
