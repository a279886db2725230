"""What is gathered of latents: codes, distances, neighbours, a map, and what belongs to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.errors import InputError
from geoquant.export import latent_table
from geoquant.plane import plane_map
from tests import reference
from tests.export.conftest import N, some_images, some_latents


def test_codes_and_distances_by_hand(book: gq.Codebook) -> None:
    """Each latent, from all distances: the least way through its nearest anchors."""
    z = some_latents()
    table = latent_table(book, z)
    step = reference.distances_between(z, book.anchors).astype(np.float64)
    for row, distances in enumerate(step):
        near = np.argsort(distances, kind="stable")[: book.n_neighbors]
        through = distances[near] + book.anchor_distance[near]
        assert table.distance[row] == pytest.approx(through.min())
        assert table.codes[row] == book.anchor_code[near[through.argmin()]]
    assert table.unit.endswith("in units of the latents")
    assert (table.labels, table.images, table.plane, table.neighbors) == (None, None, None, None)
    assert table.row.tolist() == list(range(N))


def test_anchors_are_shown_where_no_latents_are_given(book: gq.Codebook) -> None:
    """With the codes and distances that the codebook keeps."""
    table = latent_table(book)
    assert np.array_equal(table.latents, book.anchors)
    assert np.array_equal(table.codes, book.anchor_code)
    assert np.array_equal(table.distance, book.anchor_distance)


def test_distances_in_outputs_have_no_step_added(book: gq.Codebook) -> None:
    """Where edges were measured in outputs, the nearest anchor has code and distance."""
    outputs = replace(book, n_neighbors=1, metadata={"edge_lengths": "outputs"})
    z = some_latents()
    table = latent_table(outputs, z)
    nearest = reference.distances_between(z, book.anchors).argmin(axis=1)
    assert np.array_equal(table.codes, book.anchor_code[nearest])
    assert np.array_equal(table.distance, book.anchor_distance[nearest])
    assert np.array_equal(table.codes, outputs.assign(z))
    assert table.unit.endswith("in units of the outputs")


def test_stages_have_a_column_each(stages: gq.MultistageCodebook) -> None:
    """And the distance to what the codes stand for together."""
    z = some_latents()
    table = latent_table(stages, z)
    columns = table.code_columns()
    assert list(columns) == ["code_1", "code_2"]
    assert np.array_equal(np.stack(list(columns.values()), axis=1), stages.assign(z))
    expected = np.sqrt(np.square(z.astype(float) - stages.lookup(table.codes)).sum(axis=1))
    assert table.distance == pytest.approx(expected)
    with pytest.raises(InputError, match="latents must be given for a codebook of stages"):
        latent_table(stages)


def test_neighbours_are_the_nearest_others(book: gq.Codebook) -> None:
    """Without the latent itself; as many as there are, if more are asked for."""
    z = some_latents()
    found = latent_table(book, z, n_neighbors=4).neighbors
    assert found is not None
    distance = reference.distances_between(z, z)
    np.fill_diagonal(distance, np.inf)
    assert np.array_equal(found.index, np.argsort(distance, axis=1, kind="stable")[:, :4])
    assert np.array_equal(found.distance, np.sort(distance, axis=1)[:, :4])
    few = latent_table(book, z[:3], n_neighbors=50, plane="geodesic")
    assert few.neighbors is not None
    assert few.neighbors.index.shape == (3, 2)
    assert latent_table(book, z[:1], n_neighbors=5, plane="geodesic").neighbors is None


def test_map_is_that_of_the_graph(book: gq.Codebook) -> None:
    """Geodesic in the connected graph of ten neighbours, whatever neighbours are asked for."""
    z = some_latents()
    graph = gq.bridge_components(gq.knn_graph(z, 10), z).graph
    for n_neighbors in (0, 3, 20):
        plane = latent_table(book, z, plane="geodesic", n_neighbors=n_neighbors).plane
        assert np.allclose(plane, plane_map(graph, z), atol=1e-5)
    plane = latent_table(book, z, plane="pca").plane
    assert np.allclose(plane, plane_map(graph, z, method="pca"), atol=1e-5)
    given = np.arange(2 * N).reshape(N, 2)
    assert np.array_equal(latent_table(book, z, plane=given).plane, given)


def test_heaps_apart_have_a_map(book: gq.Codebook) -> None:
    """Components are bridged, and places are finite."""
    z = np.concatenate([some_latents(20), some_latents(20) + 50])
    plane = latent_table(book, z, plane="geodesic").plane
    assert plane is not None
    assert np.isfinite(plane).all()
    assert abs(plane[:20, 0].mean() - plane[20:, 0].mean()) > 40


def test_a_sample_keeps_what_belongs_together(book: gq.Codebook) -> None:
    """Every column by the same rows, in order; the seed decides which."""
    z, images = some_latents(), some_images()
    table = latent_table(book, z, labels=np.arange(N), images=images, plane="pca", n_neighbors=2)
    part = table.sample(11, random_state=3)
    assert len(part) == 11
    assert part.neighbors is None
    assert np.all(np.diff(part.row) > 0)
    for name in ("latents", "codes", "distance", "plane", "labels"):
        assert np.array_equal(getattr(part, name), getattr(table, name)[part.row])
    assert part.images is not None
    assert len(part.images) == 11
    assert np.array_equal(part.images[:], images[part.row])
    assert np.array_equal(part.images[np.array([4, 2])], images[part.row[[4, 2]]])
    assert np.array_equal(part.sample(5).images[:], images[part.sample(5).row])
    assert not np.array_equal(part.row, table.sample(11, random_state=4).row)
    assert table.sample(N) is table


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"latents": np.zeros((5, 2))}, r"latents must have shape \(n, 3\)"),
        ({"labels": [1, 2]}, r"labels must have shape \(90,\), one for each latent, found \(2,\)"),
        ({"labels": np.zeros((90, 1))}, r"found \(90, 1\)"),
        ({"labels": np.array([None] * 90)}, r"found dtype object; convert them with"),
        ({"images": some_images(89)}, "images must be 90, one for each latent, found 89"),
        ({"plane": np.zeros((90, 3))}, r"plane must have shape \(90, 2\)"),
        ({"plane": np.full((90, 2), np.nan)}, "plane must be finite"),
        ({"plane": "umap"}, "plane must be 'geodesic' or 'pca'"),
        ({"n_neighbors": -1}, "n_neighbors must be"),
    ],
)
def test_what_does_not_belong(book: gq.Codebook, given: dict[str, Any], message: str) -> None:
    """The error names the argument, what was expected and what was found."""
    with pytest.raises(InputError, match=message):
        latent_table(book, **{"latents": some_latents(), **given})
