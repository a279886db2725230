"""Lengths of edges measured in other outputs, and codebooks fitted with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.errors import InputError
from geoquant.graph.edge_lengths import edge_ends
from tests import reference
from tests.graphs import random_graph

if TYPE_CHECKING:
    from pathlib import Path


def square() -> gq.Graph:
    """The four sides of a square and one diagonal."""
    return gq.Graph.from_edges(4, [0, 1, 2, 3, 0], [1, 2, 3, 0, 2], np.ones(5))


def test_edges_by_hand() -> None:
    """Each edge comes once, the smaller end first, in the order of the rows."""
    assert edge_ends(square()).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]


def test_with_lengths_by_hand() -> None:
    """Each length arrives at both directions of its edge."""
    graph = gq.with_lengths(square(), [1, 2, 3, 4, 5])
    expected = {(0, 1): 1, (0, 2): 2, (0, 3): 3, (1, 2): 4, (2, 3): 5}
    assert reference.edges_of(graph) == expected
    np.testing.assert_array_equal(graph.indices, square().indices)


def test_with_lengths_keeps_the_recall() -> None:
    """The estimate of the search is still that of the edges."""
    graph = gq.Graph.from_edges(2, [0], [1], [1.0], recall=0.5)
    assert gq.with_lengths(graph, [0.0]).recall == 0.5


def test_output_lengths_by_hand() -> None:
    """Sides of three and four, a diagonal of five."""
    corners = [[0, 0], [3, 0], [3, 4], [0, 4]]
    assert gq.output_lengths(square(), corners).tolist() == [3, 5, 4, 4, 3]


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("p", [1, 3, 100])
def test_output_lengths_against_the_definition(p: int, n_jobs: int) -> None:
    """Every length is the distance of the outputs of the ends, to the bit, with any threads."""
    graph = random_graph(1, 300)
    outputs = np.random.default_rng(p).normal(size=(300, p)).astype(np.float32)
    distance = reference.distances_between(outputs, outputs)
    low, high = edge_ends(graph).T
    found = gq.output_lengths(graph, outputs, n_jobs=n_jobs)
    np.testing.assert_array_equal(found, distance[low, high])


def test_measured_by_its_latents_a_graph_stays_as_it_is() -> None:
    """The formula is that of the neighbour search."""
    x = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    graph = gq.knn_graph(x, 5)
    again = gq.with_lengths(graph, gq.output_lengths(graph, x))
    np.testing.assert_array_equal(again.lengths, graph.lengths)


def test_gaussian_w2_by_hand() -> None:
    """Means three apart and deviations of 1 and 5 are at a distance of five."""
    graph = gq.Graph.from_edges(2, [0], [1], [1.0])
    logvar = [[0.0], [2 * np.log(5.0)]]
    lengths = gq.gaussian_w2_lengths(graph, [[0.0], [3.0]], logvar)
    np.testing.assert_allclose(lengths, [5.0], rtol=1e-6)


def test_a_graph_without_edges() -> None:
    """A single node has no length to measure."""
    graph = gq.Graph.from_edges(1, [], [], [])
    assert gq.output_lengths(graph, [[1.0]]).shape == (0,)
    assert gq.with_lengths(graph, np.empty(0)).n_edges == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gq.with_lengths(square(), np.ones(10)), r"shape \(5,\).* found \(10,\)"),
        (lambda: gq.with_lengths(square(), [1, 1, 1, 1, -1]), "not negative"),
        (lambda: gq.output_lengths(square(), np.zeros((3, 2))), "outputs must have 4 rows"),
        (lambda: gq.output_lengths(square(), np.zeros(4)), "outputs must have shape"),
        (lambda: gq.output_lengths(square(), np.full((4, 1), np.nan)), "outputs must be finite"),
        (lambda: gq.gaussian_coordinates([[0.0]], [[0.0, 1.0]]), "one shape"),
        (lambda: gq.gaussian_coordinates([[0.0]], [[1e4]]), "standard deviation"),
    ],
)
def test_refuses(call: Any, message: str) -> None:
    """Arrays that do not fit are refused by name."""
    with pytest.raises(InputError, match=message):
        call()


def test_progress_may_stop_it() -> None:
    """What the callback raises comes out."""

    def stop(stage: str, done: int, total: int) -> None:
        raise KeyError(stage)

    graph = random_graph(0, 400)
    with pytest.raises(KeyError, match="edge lengths"):
        gq.output_lengths(graph, np.zeros((400, 2)), n_jobs=1, progress=stop)


# --------------------------------------------------------------------- codebooks fitted with them


def line_with_a_cliff() -> tuple[np.ndarray, np.ndarray]:
    """Latents evenly spaced on a line, whose outputs jump after the third of eight."""
    x = np.arange(8, dtype=np.float32)[:, None]
    return x, np.where(x < 3, x, x + 100)


def test_fit_cuts_where_the_outputs_jump() -> None:
    """Cells follow the outputs, which latents alone would not show."""
    x, outputs = line_with_a_cliff()
    fitted = gq.fit_codebook(x, 2, n_neighbors=2, edge_outputs=outputs, random_state=0)
    codes = fitted.codes
    assert len(set(codes[:3])) == len(set(codes[3:])) == 1
    assert codes[0] != codes[7]
    assert reference.edges_of(fitted.graph)[2, 3] == 101


def test_fit_measures_bridges_too() -> None:
    """The edge that joins two components has the length of its outputs."""
    x = np.float32([[0], [1], [10], [11]])
    fitted = gq.fit_codebook(x, 2, n_neighbors=1, edge_outputs=x * 2, random_state=0)
    assert fitted.n_components == 2
    assert reference.edges_of(fitted.graph) == {(0, 1): 2, (1, 2): 18, (2, 3): 2}


def test_fit_takes_the_outputs_of_the_rows_that_are_nodes() -> None:
    """Repeated latents are one node, with the outputs of their first row."""
    x = np.float32([[0], [0], [1], [3]])
    outputs = np.float32([[0], [7], [3], [9]])
    fitted = gq.fit_codebook(x, 2, edge_outputs=outputs, random_state=0)
    row = fitted.rows.row
    edges = reference.edges_of(fitted.graph)
    by_row = {tuple(sorted((row[i], row[j]))): length for (i, j), length in edges.items()}
    assert by_row == {(0, 2): 3, (0, 3): 9, (2, 3): 6}


def test_new_latents_get_the_code_of_the_nearest_anchor() -> None:
    """As distances of two units do not add up, one anchor decides; the file says so."""
    x, outputs = line_with_a_cliff()
    fitted = gq.fit_codebook(x, 2, n_neighbors=3, edge_outputs=outputs, random_state=0)
    book = fitted.codebook
    assert book.n_neighbors == 1
    assert book.metadata["edge_lengths"] == "outputs"
    new = np.linspace(-1, 8, 50)[:, None]
    nearest = np.abs(new - x.T).argmin(axis=1)
    np.testing.assert_array_equal(book.assign(new), fitted.codes[nearest])
    np.testing.assert_array_equal(book.assign(x), fitted.codes)


def test_measured_by_the_latents_a_fit_is_the_same() -> None:
    """Outputs that are the latents change no cell."""
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    plain = gq.fit_codebook(x, 5, random_state=0)
    measured = gq.fit_codebook(x, 5, edge_outputs=x, random_state=0)
    np.testing.assert_array_equal(plain.codes, measured.codes)
    np.testing.assert_array_equal(plain.codebook.vectors, measured.codebook.vectors)
    assert "edge_lengths" not in plain.codebook.metadata


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge_outputs": np.zeros((3, 2))}, "edge_outputs must have 4 rows"),
        ({"edge_outputs": np.full((4, 2), np.inf)}, "edge_outputs must be finite"),
        ({"edge_outputs": np.zeros((4, 2)), "sample_weight": [1, 1, 0, 1]}, "must be positive"),
    ],
)
def test_fit_refuses(options: dict[str, Any], message: str) -> None:
    """Outputs that do not fit the latents are refused before the work."""
    with pytest.raises(InputError, match=message):
        gq.fit_codebook(np.arange(4.0)[:, None], 2, **options)


def test_gaussians_of_real_latents(data_folder: Path) -> None:
    """On latents of MNIST, W2 is never shorter than the distance of the means."""
    folder = data_folder / "latents"
    mean = np.load(folder / "mnist_vae20_test_mean.npy")[:2000]
    logvar = np.load(folder / "mnist_vae20_test_logvar.npy")[:2000]
    graph = gq.knn_graph(mean, 10)
    w2 = gq.gaussian_w2_lengths(graph, mean, logvar)
    plain = gq.output_lengths(graph, mean)
    assert (w2 >= plain).all()
    assert (w2 > plain).mean() > 0.99
