"""Graphs that are wrong, odd or as unlike those of latents as can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import bsr_array, coo_array, csc_array, csr_array, dok_array, lil_array
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from geoquant import Graph
from geoquant.errors import InputError
from tests.graphs import grid, path

#: A path of three nodes, as SciPy has it.
INDPTR, INDICES, DATA = [0, 1, 3, 4], [1, 0, 2, 1], [1.0, 1.0, 2.5, 2.5]


def damaged(container: type = csr_array, **changes: Any) -> Any:
    """A matrix whose arrays were exchanged behind SciPy's back."""
    matrix = container((3, 3))
    arrays = {"indptr": INDPTR, "indices": INDICES, "data": DATA} | changes
    for name, array in arrays.items():
        setattr(matrix, name, np.array(array))
    return matrix


DAMAGE: dict[str, dict[str, Any]] = {
    "indptr decreases": {"indptr": [0, 3, 1, 4]},
    "indptr negative": {"indptr": [0, -1, 3, 4]},
    "indptr starts late": {"indptr": [1, 1, 3, 4]},
    "indptr ends beyond": {"indptr": [0, 1, 3, 9]},
    "indptr ends early": {"indptr": [0, 1, 3, 3]},
    "indptr too short": {"indptr": [0, 4]},
    "indptr too long": {"indptr": [0, 1, 2, 3, 4]},
    "indptr empty": {"indptr": np.empty(0, int)},
    "indptr of floats": {"indptr": [0.0, 1.0, 3.0, 4.0]},
    "column beyond": {"indices": [1, 0, 7, 1]},
    "column negative": {"indices": [1, 0, -1, 1]},
    "column far beyond": {"indices": [1, 0, 2**40, 1]},
    "columns of floats": {"indices": [1.0, 0.0, 2.0, 1.0]},
    "fewer data": {"data": [1.0, 1.0, 2.5]},
    "more data": {"data": [1.0, 1.0, 2.5, 2.5, 2.5]},
}


@pytest.mark.parametrize("container", [csr_array, csc_array])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_matrices_are_refused(damage: str, container: type) -> None:
    """Arrays that SciPy would read out of bounds are refused by every way in, and left alone."""
    matrix = damaged(container, **DAMAGE[damage])
    before = [array.tobytes() for array in (matrix.indptr, matrix.indices, matrix.data)]
    fitted = gq.GeodesicKMedoids(2, metric="precomputed", random_state=0).fit(damaged())
    for take in (
        Graph.from_scipy,
        gq.GeodesicKMeans(2, metric="precomputed").fit,
        fitted.predict,
        fitted.transform,
    ):
        with pytest.raises(InputError, match=r"(X|precomputed graph) must"):
            take(matrix)
    after = [array.tobytes() for array in (matrix.indptr, matrix.indices, matrix.data)]
    assert before == after


@pytest.mark.parametrize("node", [3, -1, 2**40])
def test_coordinates_out_of_bounds_are_refused(node: int) -> None:
    """Coordinates exchanged behind SciPy's back are refused before they are converted."""
    matrix = coo_array((DATA, ([0, 1, 1, 2], INDICES)), shape=(3, 3))
    matrix.coords = (np.array([0, 1, 1, node]), np.array(INDICES))
    for take in (Graph.from_scipy, gq.GeodesicKMeans(2, metric="precomputed").fit):
        with pytest.raises(InputError, match=f"coordinates of .* found {node}"):
            take(matrix)


def test_one_axis_is_refused() -> None:
    """SciPy has sparse arrays of one axis, which are no graphs."""
    for take in (Graph.from_scipy, gq.GeodesicKMeans(2, metric="precomputed").fit):
        with pytest.raises(InputError, match=r"shape \(3,\)"):
            take(coo_array([1.0, 0.0, 2.0]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1.0])
@pytest.mark.parametrize("take", ["from_scipy", "fit", "predict"])
def test_lengths_that_are_none_are_refused(value: float, take: str) -> None:
    """NaN, infinite and negative distances of a given graph are errors, not warnings."""
    est = gq.GeodesicKMedoids(2, metric="precomputed", random_state=0)
    call = {"from_scipy": Graph.from_scipy, "fit": est.fit, "predict": est.fit(damaged()).predict}
    with pytest.raises(ValueError, match=r"finite|negative|NaN|infinity"):
        call[take](damaged(data=[1.0, 1.0, value, value]))


@pytest.mark.parametrize("container", [csr_array, csc_array, bsr_array, lil_array, dok_array])
def test_formats_of_scipy(container: type) -> None:
    """A matrix of any format makes the same graph, and is as it was afterwards."""
    matrix = container(csr_array((DATA, INDICES, INDPTR), shape=(3, 3)))
    before = matrix.toarray()
    graph = Graph.from_scipy(matrix)
    assert (graph.indices.tolist(), graph.lengths.tolist()) == (INDICES, DATA)
    np.testing.assert_array_equal(matrix.toarray(), before)


def test_unsorted_columns_are_sorted() -> None:
    """SciPy allows columns in any order; the graph has them sorted."""
    shuffled = damaged(indices=[1, 2, 0, 1], data=[1.0, 2.5, 1.0, 2.5])
    graph = Graph.from_scipy(shuffled)
    assert (graph.indices.tolist(), graph.lengths.tolist()) == (INDICES, DATA)


@pytest.mark.parametrize("index", ["int32", "int64"])
def test_index_types_of_scipy(index: str) -> None:
    """Indices of both types that SciPy makes give the same graph."""
    matrix = damaged(indptr=np.array(INDPTR, index), indices=np.array(INDICES, index))
    assert Graph.from_scipy(matrix).indices.tolist() == INDICES
    est = gq.GeodesicKMedoids(2, metric="precomputed", random_state=0).fit(matrix)
    assert est.predict(matrix).shape == (3,)


@pytest.mark.parametrize("index", ["int8", "uint8", "uint32", "uint64", ">i4"])
def test_index_types_that_scipy_does_not_make(index: str) -> None:
    """Indices of other types, put in behind SciPy's back, are refused with the types found."""
    matrix = damaged(indptr=np.array(INDPTR, index), indices=np.array(INDICES, index))
    for take in (Graph.from_scipy, gq.GeodesicKMeans(2, metric="precomputed").fit):
        with pytest.raises(InputError, match=f"dtypes {np.dtype(index)} and"):
            take(matrix)


def torch_lengths(**options: Any) -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor([1.0, 2.0], **options)


@pytest.mark.parametrize(
    "lengths",
    [
        lambda: np.ma.array([1.0, 2.0], mask=[False, True]),
        lambda: torch_lengths(requires_grad=True),
        lambda: torch_lengths(device="meta"),
        lambda: np.zeros(2, "m8[s]"),
        lambda: np.array([True, False]),
        lambda: np.array([1.0, 2.0], object),
        lambda: csr_array([[1.0, 2.0]]),
    ],
    ids=["masked", "gradient", "device", "timedelta", "bool", "objects", "sparse"],
)
def test_lengths_of_other_kinds_are_refused(lengths: Any) -> None:
    """What would be taken for numbers in silence, or fail in other words, is an InputError."""
    with pytest.raises(InputError, match="edge lengths"):
        Graph.from_edges(3, [0, 1], [1, 2], lengths())
    with pytest.raises(InputError, match="edge lengths"):
        Graph(INDPTR, INDICES, np.ma.array(DATA, mask=[True, False, False, False]))


def test_masked_nodes_are_refused() -> None:
    """A masked node is none."""
    with pytest.raises(InputError, match="to_node must have no masked entries"):
        Graph.from_edges(3, [0, 1], np.ma.array([1, 2], mask=[False, True]), [1.0, 1.0])


def test_tiny_lengths_are_edges() -> None:
    """The least float32 is kept, what is less becomes zero, and both are edges."""
    graph = Graph.from_edges(3, [0, 1], [1, 2], [1e-45, 1e-300])
    assert graph.lengths.tolist() == [np.float32(1e-45), np.float32(1e-45), 0.0, 0.0]
    assert gq.nearest_source(graph, [0]).distance.tolist() == [0.0, *[np.float32(1e-45)] * 2]


# --------------------------------------------------------------------------- shapes of their own


def test_long_path() -> None:
    """A path of a million nodes, as deep as a graph can be, is searched without recursion."""
    n = 10**6
    graph = Graph.from_edges(n, np.arange(n - 1), np.arange(1, n), np.ones(n - 1))
    np.testing.assert_array_equal(gq.nearest_source(graph, [0]).distance, np.arange(n))
    two = gq.two_nearest_sources(graph, [0, n - 1])
    np.testing.assert_array_equal(two.distance.sum(axis=1), n - 1)
    assert len(gq.path_between(graph, 0, n - 1)) == n
    assert not gq.connected_components(graph).any()


def test_star_of_many_leaves() -> None:
    """A million leaves around one node, which all searches go through."""
    n = 10**6
    graph = Graph.from_edges(n, np.zeros(n - 1, int), np.arange(1, n), np.ones(n - 1))
    distance = gq.nearest_source(graph, [1]).distance
    assert (distance[:3].tolist(), distance.max()) == ([1.0, 0.0, 2.0], 2.0)
    assert gq.path_between(graph, 1, n - 1).tolist() == [1, 0, n - 1]


def lollipop(n_clique: int, n_tail: int) -> Graph:
    """A clique with a long tail."""
    low, high = np.triu_indices(n_clique, 1)
    tail = np.arange(n_clique - 1, n_clique + n_tail - 1)
    ends = np.r_[low, tail], np.r_[high, tail + 1]
    return Graph.from_edges(n_clique + n_tail, *ends, np.ones(len(ends[0])))


def complete(n: int) -> Graph:
    """Each node beside every other, at lengths that differ."""
    low, high = np.triu_indices(n, 1)
    return Graph.from_edges(n, low, high, 1 + np.random.default_rng(0).random(len(low)))


SHAPES = {
    "path": path(*[1.0] * 400),
    "star": Graph.from_edges(400, np.zeros(399, int), np.arange(1, 400), np.ones(399)),
    "lollipop": lollipop(60, 300),
    "complete": complete(300),
    "grid": grid(20, 20),
    "all lengths zero": path(*[0.0] * 300),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("algorithm", ["auto", "swap", "alternate"])
def test_clustering_of_shapes(shape: str, algorithm: str) -> None:
    """Codes are those of the nearest centre, for any shape and number of threads."""
    graph = SHAPES[shape]
    options: dict[str, Any] = {"algorithm": algorithm, "random_state": 0}
    result = gq.geodesic_kmedoids(graph, 5, n_jobs=1, **options)
    many = gq.geodesic_kmedoids(graph, 5, n_jobs=3, **options)
    assert result.medoid_indices.tobytes() == many.medoid_indices.tobytes()
    dense = dijkstra(graph.to_scipy().astype(np.float64), indices=result.medoid_indices)
    np.testing.assert_array_equal(result.distance, dense.min(axis=0))
    is_nearest = dense[result.labels, np.arange(graph.n_nodes)] == result.distance
    assert is_nearest.all()
    assert set(result.labels) == set(range(5))


def test_more_components_than_codes() -> None:
    """Seven heaps and two codes: bridges join the heaps, and every latent gets a code."""
    centre = 100.0 * np.arange(7)[:, None]
    x = (centre + np.random.default_rng(0).normal(size=(7, 12))).reshape(-1, 1)
    fitted = gq.fit_codebook(x, 2, n_neighbors=3, random_state=0)
    assert fitted.n_components >= 7
    assert set(fitted.codes) == {0, 1}
    assert np.isfinite(fitted.distance).all()
