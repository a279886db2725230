"""Tests of geoquant/report/subject.py."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant.report import subject as module
from geoquant.report.subject import centres_of, first_stage, n_neighbors_of, sample_of, subject_of
from tests.report.conftest import arc

if TYPE_CHECKING:
    from geoquant.fit import FittedCodebook


def test_graph_is_that_of_the_fit(fitted: FittedCodebook) -> None:
    """Codes, distances, centres and every edge are those that the fit had."""
    found = subject_of(fitted.codebook, arc())
    np.testing.assert_array_equal(found.codes, fitted.codes)
    np.testing.assert_array_equal(found.distance, fitted.distance)
    np.testing.assert_array_equal(found.centres, fitted.clustering.medoid_indices)
    for name in ("indptr", "indices", "lengths"):
        np.testing.assert_array_equal(getattr(found.graph, name), getattr(fitted.graph, name))
    assert (found.n_components, found.power, found.has_own_unit) == (fitted.n_components, 2, False)
    np.testing.assert_array_equal(found.node_of_row, np.arange(200))
    assert found.neighbors.index.shape == (200, 10)


def test_repeated_latents_are_the_anchors_all_the_same() -> None:
    """Rows that occur twice are one node, and every row knows its own."""
    x = np.concatenate([arc(60), arc(60)[:20]])
    fitted = gq.fit_codebook(x, 4, random_state=0)
    found = subject_of(fitted.codebook, x)
    np.testing.assert_array_equal(found.codes, fitted.codes)
    np.testing.assert_array_equal(found.nodes[found.node_of_row], x)


def test_other_latents_are_assigned(fitted: FittedCodebook) -> None:
    """Latents that are not the anchors get the codes that the codebook gives them."""
    shifted = subject_of(fitted.codebook, arc() + np.float32(0.01))
    assert shifted.node_of_row is None
    new = arc(300)[::2] + np.float32(0.01)
    found = subject_of(fitted.codebook, new)
    assert found.node_of_row is None
    np.testing.assert_array_equal(found.codes, fitted.codebook.assign(new))
    np.testing.assert_array_equal(
        found.straight_codes, fitted.codebook.assign(new, method="euclidean")
    )


def test_very_many_latents_are_sampled(
    fitted: FittedCodebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit both the latents and the anchors are a sample, each with its own code."""
    monkeypatch.setattr(module, "MOST_ROWS", 50)
    found = subject_of(fitted.codebook, arc())
    assert (len(found.latents), found.graph.n_nodes, found.node_of_row) == (50, 50, None)
    np.testing.assert_array_equal(found.latents, arc()[found.rows])
    np.testing.assert_array_equal(found.codes, fitted.codes[found.rows])
    assert "thinned" in found.codebook.metadata


def test_a_code_of_no_anchor_has_the_nearest_for_a_centre(fitted: FittedCodebook) -> None:
    """Centres are anchors of their codes; a code that none has is where its codeword is."""
    book = fitted.codebook
    vectors = np.concatenate([book.vectors, book.anchors[[7]] + np.float32(1e-3)])
    centres = centres_of(replace(book, vectors=vectors))
    assert centres[-1] == 7
    np.testing.assert_array_equal(book.anchor_code[centres[:-1]], np.arange(8))


def test_codebook_of_output_lengths_names_its_graph() -> None:
    """Such a codebook considers one anchor, and says how many neighbours its graph had."""
    x = arc()
    book = gq.fit_codebook(x, 4, n_neighbors=7, edge_outputs=x * 3, random_state=0).codebook
    assert (book.n_neighbors, n_neighbors_of(book)) == (1, 7)
    assert subject_of(book, x).has_own_unit


def test_sample_is_the_same_each_time() -> None:
    """It is sorted, has no row twice, and depends on the seed alone."""
    rows = sample_of(1000, 100)
    assert len(set(rows.tolist())) == 100
    np.testing.assert_array_equal(rows, np.sort(rows))
    np.testing.assert_array_equal(rows, sample_of(1000, 100))
    assert (rows != sample_of(1000, 100, seed=1)).any()


def test_first_residual_stage_is_coded_along_the_graph() -> None:
    """Its anchors are the latents, each with the code of the geodesically nearest codeword."""
    x = arc()
    book = gq.fit_multistage(x, 4, n_stages=2, random_state=0).codebook
    stage, columns = first_stage(book, x)
    assert (columns, stage.n_anchors) == (slice(0, 2), 200)
    np.testing.assert_array_equal(stage.vectors, book.stages[0].vectors)
    near = gq.nearest_neighbors(x, 1, stage.vectors).index[:, 0]
    graph = gq.bridge_components(gq.knn_graph(x, 10), x).graph
    expected = gq.nearest_source(graph, near)
    np.testing.assert_array_equal(stage.anchor_code, expected.source)
    np.testing.assert_array_equal(stage.anchor_distance, expected.distance)


def test_first_product_stage_is_of_its_columns() -> None:
    """It is the stage itself, and of the first columns only."""
    x = np.hstack([arc(), arc()[::-1]])
    book = gq.fit_multistage(x, 4, n_stages=2, kind="product", random_state=0).codebook
    stage, columns = first_stage(book, x)
    assert stage is book.stages[0]
    assert columns == slice(0, 2)


def test_what_cannot_be_reported_on(fitted: FittedCodebook) -> None:
    """Each error says what was expected and what to do."""
    stages = gq.fit_multistage(arc(), 4, n_stages=2, random_state=0).codebook
    with pytest.raises(gq.InputError, match=r"one stage, found a MultistageCodebook; first_stage"):
        subject_of(stages, arc())
    with pytest.raises(gq.InputError, match="codebook must be a Codebook, found str"):
        subject_of("codebook", arc())
    with pytest.raises(gq.InputError, match=r"latents must have shape \(n, 2\).*found \(5, 3\)"):
        subject_of(fitted.codebook, np.zeros((5, 3)))
    with pytest.raises(gq.InputError, match=r"latents must have shape \(n, 2\).*found \(5, 3\)"):
        first_stage(stages, np.zeros((5, 3)))
    with pytest.raises(gq.InputError, match="at least three distinct rows, found 1"):
        first_stage(stages, np.zeros((5, 2)))
    two = gq.fit_codebook([[0.0], [9.0]], 2, random_state=0).codebook
    with pytest.raises(gq.InputError, match="at least three anchors for a graph, found 2"):
        subject_of(two, [[0.0]])
