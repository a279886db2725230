"""The graph: what it accepts, what it refuses, what it keeps."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix

from geoquant import Graph, InputError
from geoquant.graph.csr import check_nodes
from tests import reference
from tests.graphs import edge_lists, graph_of, graphs, path

INDPTR, INDICES = np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])
LENGTHS = np.array([1.0, 1.0, 2.5, 2.5])


def assert_same(a: Graph, b: Graph) -> None:
    assert a.indptr.tobytes() == b.indptr.tobytes()
    assert a.indices.tobytes() == b.indices.tobytes()
    assert a.lengths.tobytes() == b.lengths.tobytes()
    assert a.recall == b.recall


def test_stores_both_directions() -> None:
    """A path of three nodes has the rows that one writes down by hand."""
    graph = path(1.0, 2.5)
    assert graph.indptr.tolist() == [0, 1, 3, 4]
    assert graph.indices.tolist() == [1, 0, 2, 1]
    assert graph.lengths.tolist() == [1.0, 1.0, 2.5, 2.5]
    assert (graph.n_nodes, graph.n_edges) == (3, 2)


@given(edge_lists())
def test_from_edges_merges_parallel_edges_by_minimum(drawn: tuple) -> None:
    """Parallel edges become the shortest of them, never their sum; self loops go; zeros stay."""
    n_nodes, edges = drawn
    assert reference.edges_of(graph_of(n_nodes, edges)) == reference.merged(edges)


def test_mutual_edge_is_not_summed() -> None:
    """An edge given in both directions has the length that was given, not twice it."""
    assert Graph.from_edges(2, [0, 1], [1, 0], [1.5, 1.5]).lengths.tolist() == [1.5, 1.5]


def test_zero_lengths_are_edges() -> None:
    """An edge of length zero is stored, through scipy and back too."""
    graph = path(0.0, 1.0)
    assert graph.n_edges == 2
    assert graph.to_scipy().nnz == 4
    # What every release of scipy that is allowed has shortest paths for.
    assert graph.to_scipy().indptr.dtype == graph.to_scipy().indices.dtype == np.int32
    assert_same(Graph.from_scipy(graph.to_scipy()), graph)


@given(graphs())
def test_rows_are_canonical(graph: Graph) -> None:
    """Whatever the edges were, their graph passes the checks of the constructor unchanged."""
    assert_same(Graph(graph.indptr, graph.indices, graph.lengths), graph)
    assert_same(Graph.from_scipy(graph.to_scipy()), graph)


def test_from_neighbors_by_hand() -> None:
    """Node 2 names 1, which does not name it back; mutual edges take the smaller distance."""
    graph = Graph.from_neighbors([[1], [0], [1]], [[1.0], [0.5], [2.5]], recall=0.9)
    assert reference.edges_of(graph) == {(0, 1): 0.5, (1, 2): 2.5}
    assert graph.indices.tolist() == [1, 0, 2, 1]
    assert graph.recall == 0.9


def drawn_neighbors(seed: int, n_nodes: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct neighbours of each node, some of them -1 or the node itself; many equal lengths."""
    rng = np.random.default_rng(seed)
    index = np.stack([rng.permutation(n_nodes)[:k] for _ in range(n_nodes)]).astype(np.int32)
    index[rng.random(index.shape) < 0.1] = -1
    return index, rng.integers(0, 4, index.shape).astype(np.float32)


@pytest.mark.parametrize(("n_nodes", "k"), [(1, 1), (2, 2), (7, 3), (40, 1), (40, 40), (9000, 4)])
def test_from_neighbors_is_the_union_of_the_edges(n_nodes: int, k: int) -> None:
    """The graph is that of the list of edges, canonical, for any number of threads."""
    index, distance = drawn_neighbors(n_nodes + k, n_nodes, k)
    row, column = np.nonzero(index >= 0)
    expected = Graph.from_edges(n_nodes, row, index[row, column], distance[row, column])
    for n_jobs in (1, 2, 8):
        graph = Graph.from_neighbors(index, distance, n_jobs=n_jobs)
        assert_same(graph, expected)
        assert not graph.indices.flags.writeable
    assert_same(Graph(graph.indptr, graph.indices, graph.lengths), expected)


def test_from_neighbors_takes_any_layout() -> None:
    """Other integer types, Fortran order and float64 distances make the same graph."""
    index, distance = drawn_neighbors(3, 20, 4)
    expected = Graph.from_neighbors(index, distance)
    fortran = np.asfortranarray(index.astype(np.int64)), np.asfortranarray(distance, np.float64)
    assert_same(Graph.from_neighbors(*fortran), expected)
    assert_same(Graph.from_neighbors(index.tolist(), distance.tolist()), expected)


def test_from_neighbors_without_any_gives_no_edge() -> None:
    """Nodes that name nobody, or have no places to name anybody in, are nodes without edges."""
    for graph in (
        Graph.from_neighbors([[-1], [-1]], [[1.0], [1.0]]),
        Graph.from_neighbors(np.empty((2, 0), int), np.empty((2, 0))),
    ):
        assert (graph.n_nodes, graph.n_edges) == (2, 0)


@pytest.mark.parametrize(
    ("index", "distance", "message"),
    [
        ([1, 0], [1.0, 1.0], r"both have shape \(n_nodes, n_neighbors\).* found \(2,\)"),
        ([[1], [0]], [[1.0, 1.0]], r"found \(2, 1\) and \(1, 2\)"),
        (np.empty((0, 1), int), np.empty((0, 1)), "n_nodes > 0"),
        ([[1], [2]], [[1.0], [1.0]], "index must be at least -1 and at most 1, found 2"),
        ([[-2], [0]], [[1.0], [1.0]], "index must be at least -1 .* found -2"),
        ([[2**32], [0]], [[1.0], [1.0]], "found 4294967296"),
        ([[0.0], [1.0]], [[1.0], [1.0]], "integers"),
        ([[1], [0]], [[np.nan], [1.0]], "finite"),
        ([[1], [0]], [[-1.0], [1.0]], "not negative"),
        ([[1, 1], [0, -1]], [[1.0, 1.0], [1.0, 1.0]], "index must not name a neighbour twice"),
    ],
)
def test_from_neighbors_refuses(index: object, distance: object, message: str) -> None:
    """Neighbours that make no graph are named, not used."""
    with pytest.raises(InputError, match=message):
        Graph.from_neighbors(index, distance)


@given(graphs(min_nodes=2))
def test_with_edges_adds_what_from_edges_would(graph: Graph) -> None:
    """A graph and new edges are the graph of all edges; the recall stays."""
    edges = reference.edges_of(graph)
    pairs = [(i, j) for i in range(graph.n_nodes) for j in range(i) if (j, i) not in edges][::2]
    lengths = [float(i) for i in range(len(pairs))]
    ends = [list(ends) for ends in zip(*pairs, strict=True)] or [[], []]
    wider = Graph(graph.indptr, graph.indices, graph.lengths, 0.5).with_edges(*ends, lengths)
    new = {(j, i): length for (i, j), length in zip(pairs, lengths, strict=True)}
    assert_same(wider, Graph(wider.indptr, wider.indices, wider.lengths, 0.5))
    assert reference.edges_of(wider) == edges | new


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        (([0], [1], [9.0]), "edges must be new, found 0 and 1 joined already"),
        (([0], [3], [9.0]), "to_node must .* found 3"),
        (([0], [2], [np.nan]), "finite"),
    ],
)
def test_with_edges_refuses(edge: tuple, message: str) -> None:
    """Edges that are there already or cannot be are named."""
    with pytest.raises(InputError, match=message):
        path(1.0, 2.5).with_edges(*edge)


@given(graphs(min_nodes=2, max_nodes=6), st.data())
def test_a_graph_with_one_entry_changed_is_refused(graph: Graph, data: st.DataObject) -> None:
    """Whatever entry is moved, lengthened or dropped, the check of given arrays sees it."""
    assume(graph.indices.size > 0)
    e = data.draw(st.integers(0, graph.indices.size - 1))
    indices, lengths = graph.indices.copy(), graph.lengths.copy()
    longer = lengths.copy()
    longer[e] += 1
    lengths_differ = float(longer[e]) != float(lengths[e])
    moved = indices.copy()
    moved[e] = data.draw(st.integers(0, graph.n_nodes - 1).filter(lambda v: v != indices[e]))
    dropped = graph.indptr - (graph.indptr > e)
    broken = [(graph.indptr, moved, lengths)]
    broken += [(graph.indptr, indices, longer)] if lengths_differ else []
    broken += [(dropped, np.delete(indices, e), np.delete(lengths, e))]
    for arrays in broken:
        with pytest.raises(InputError):
            Graph(*arrays)


@pytest.mark.parametrize("container", [csr_array, csr_matrix, coo_array])
def test_from_scipy_takes_one_sided_entries_and_the_smaller_of_two(container: type) -> None:
    """Entries without a mirror count for both directions; of two that differ the smaller counts."""
    data = ([0.0, 3.0, 2.0, 7.0], ([0, 1, 2, 2], [1, 2, 1, 2]))
    graph = Graph.from_scipy(container(data, shape=(4, 4)))
    assert reference.edges_of(graph) == {(0, 1): 0.0, (1, 2): 2.0}
    assert graph.n_nodes == 4


def test_from_scipy_takes_the_minimum_of_repeated_entries() -> None:
    """Entries repeated in COO form are parallel edges, not parts of a sum."""
    repeated = coo_array(([2.0, 5.0], ([0, 0], [1, 1])), shape=(2, 2))
    assert Graph.from_scipy(repeated).lengths.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_from_scipy_takes_both_index_types(index: type) -> None:
    """Scipy matrices come with 32-bit or 64-bit indices, and both are taken."""
    matrix = path(1.0, 2.5).to_scipy()
    matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(index)
    assert_same(Graph.from_scipy(matrix), path(1.0, 2.5))


@pytest.mark.parametrize("index", [np.int32, np.int64, np.uint32, np.dtype(">i8")])
def test_index_types_are_converted(index: type) -> None:
    """Indices of any integer type and byte order make the same graph."""
    graph = Graph(INDPTR.astype(index), INDICES.astype(index), LENGTHS)
    assert_same(graph, path(1.0, 2.5))
    assert (graph.indptr.dtype, graph.indices.dtype) == (np.int64, np.int32)
    assert graph.lengths.dtype == np.float32


def test_layouts_give_the_same_graph() -> None:
    """Strided, reversed, read-only and big-endian lengths make the same graph."""
    strided = np.repeat(LENGTHS, 2)[::2]
    backwards = LENGTHS[::-1].copy()[::-1]
    read_only = LENGTHS.copy()
    read_only.flags.writeable = False
    for lengths in (strided, backwards, read_only, LENGTHS.astype(">f4"), LENGTHS.tolist()):
        assert_same(Graph(INDPTR, INDICES, lengths), path(1.0, 2.5))


def test_arrays_are_read_only() -> None:
    """What was validated cannot be written to."""
    graph = path(1.0, 2.5)
    for array in (graph.indptr, graph.indices, graph.lengths):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_owns_its_arrays() -> None:
    """Writing to the arrays that a graph was made of does not change what was validated."""
    indices, lengths = INDICES.astype(np.int32), LENGTHS.astype(np.float32)
    graph = Graph(INDPTR.copy(), indices, lengths)
    indices[0], lengths[0] = 7, -1.0
    assert_same(graph, path(1.0, 2.5))


def test_making_a_graph_leaves_its_input_writable() -> None:
    """The caller's own arrays are neither changed nor locked."""
    lengths = LENGTHS.astype(np.float32)
    Graph(INDPTR, INDICES, lengths)
    lengths[0] = 2.0
    assert lengths.tolist() == [2.0, 1.0, 2.5, 2.5]


@pytest.mark.parametrize("clone", [lambda g: pickle.loads(pickle.dumps(g)), copy.deepcopy])
def test_round_trip_by_pickle(clone: object) -> None:
    """A copy by pickle equals the original, is read-only, and works."""
    graph = Graph(INDPTR, INDICES, LENGTHS, recall=0.75)
    assert graph.arrays is graph.arrays
    twin = clone(graph)
    assert_same(twin, graph)
    assert not twin.lengths.flags.writeable
    assert twin.arrays is not graph.arrays


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indptr": [0, 1, 3, 5]}, r"shape \(5,\), as indptr says, found \(4,\)"),
        ({"indptr": [1, 1, 3, 4]}, "start at 0"),
        ({"indptr": [0, 3, 1, 4]}, "never decrease"),
        ({"indptr": [[0, 1, 3, 4]]}, "indptr must"),
        ({"indptr": [0], "indices": [], "lengths": []}, "one entry per node"),
        ({"indptr": []}, "indptr must start"),
        ({"lengths": [1.0, 1.0, 2.5]}, r"found \(4,\) and \(3,\)"),
        ({"lengths": [[1.0, 1.0, 2.5, 2.5]]}, "shape"),
        ({"indices": [1, 0, 3, 1]}, r"indices must lie in \[0, 3\)"),
        ({"indices": [1, 0, -1, 1]}, "indices must .*0"),
        ({"indices": [1, 2, 0, 1]}, "sorted"),
        ({"indices": [1, 2, 2, 1]}, "parallel"),
        ({"indices": [0, 0, 2, 1]}, "self loops"),
        ({"indices": [2, 0, 2, 1]}, "both directions"),
        ({"lengths": [1.0, 2.0, 2.5, 2.5]}, "one length"),
        ({"lengths": [np.nan, np.nan, 2.5, 2.5]}, "finite.*found nan and 1 more"),
        ({"lengths": [1.0, 1.0, np.inf, np.inf]}, "finite.*found inf"),
        ({"lengths": [-1.0, -1.0, 2.5, 2.5]}, "not negative, found -1.0"),
    ],
)
def test_refuses_what_is_no_graph(changes: dict, message: str) -> None:
    """Each way in which the arrays can be no undirected graph is named."""
    arrays = {"indptr": INDPTR, "indices": INDICES, "lengths": LENGTHS} | changes
    with pytest.raises(InputError, match=message):
        Graph(**arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": INDICES + 2**32},
        {"indices": INDICES + 0.5},
        {"indptr": INDPTR + 0.5},
        {"indices": INDICES.astype(complex)},
        {"lengths": LENGTHS.astype(complex)},
        {"lengths": LENGTHS.astype(str)},
        {"lengths": np.full(4, 1e300)},
        {"lengths": [None] * 4},
    ],
    ids=[
        "wrapping indices",
        "fractional indices",
        "fractional indptr",
        "complex indices",
        "complex lengths",
        "text lengths",
        "lengths beyond float32",
        "no lengths",
    ],
)
def test_refuses_arrays_that_a_cast_would_change(changes: dict) -> None:
    """Nothing is wrapped, truncated or parsed into a graph in silence."""
    with pytest.raises(InputError):
        Graph(**({"indptr": INDPTR, "indices": INDICES, "lengths": LENGTHS} | changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, [], [], []), r"n_nodes must .*2147483647.* found 0"),
        ((-1, [], [], []), "n_nodes must .* found -1"),
        ((2**31, [], [], []), "n_nodes must .* found 2147483648"),
        ((2, [0], [2], [1.0]), "to_node must .* found 2"),
        ((2, [-1], [1], [1.0]), "from_node must .* found -1"),
        ((2, [2**32], [1], [1.0]), "from_node must .* found 4294967296"),
        ((2, [0.0], [1], [1.0]), "from_node must be .* integers, found .* float64"),
        ((2, [True], [1], [1.0]), "from_node must be .* integers"),
        ((2, [[0]], [[1]], [[1.0]]), "one-dimensional"),
        ((2, [0, 1], [1], [1.0]), r"one shape, found \(2,\), \(1,\) and \(1,\)"),
        ((2, [0], [1], [1.0, 2.0]), "one shape"),
        ((2, [0], [1], [np.nan]), "finite"),
        ((2, [0], [1], [-0.5]), "not negative, found -0.5 and 0 more"),
        ((2, [0], [1], [np.inf]), "finite"),
        ((2.5, [0], [1], [1.0]), "n_nodes"),
        (("2", [0], [1], [1.0]), "n_nodes"),
        ((2, [0], [1], [1e300]), "finite"),
        ((2, [0], [1], ["x"]), "lengths"),
    ],
)
def test_from_edges_refuses(arguments: tuple, message: str) -> None:
    """Nodes and lengths that make no graph are named, not used."""
    with pytest.raises(InputError, match=message):
        Graph.from_edges(*arguments)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 2)), "sparse matrix of distances, found ndarray"),
        (None, "found NoneType"),
        (csr_array((2, 3)), r"square, found shape \(2, 3\)"),
        (csr_array(np.array([[0, 1j], [0, 0]])), "real numbers, found complex128"),
        (csr_array(np.array([[False, True], [False, False]])), "real numbers, found bool"),
        (csr_array(np.array([[0, -1.0], [0, 0]])), "not negative"),
        (csr_array(np.array([[0, np.nan], [0, 0]])), "finite"),
        (csr_array((0, 0)), "n_nodes"),
    ],
)
def test_from_scipy_refuses(matrix: object, message: str) -> None:
    """What is no sparse matrix of distances is refused with its cure."""
    with pytest.raises(InputError, match=message):
        Graph.from_scipy(matrix)


def test_check_nodes_gives_int32() -> None:
    """Node numbers of any integer type become contiguous int32."""
    nodes = check_nodes(np.array([2, 9, 0, 9], np.uint64)[::2], 3, "nodes")
    assert (nodes.tolist(), nodes.dtype, nodes.flags.c_contiguous) == ([2, 0], np.int32, True)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "seeds must hold at least one node, found none"),
        ([3], "seeds must .* found 3"),
        ([-1], "seeds must .* found -1"),
        ([2**40], "seeds must .* found 1099511627776"),
        ([0.5], "integers, found shape .* float64"),
        (["0"], "integers"),
        (1, r"one-dimensional array of integers, found shape \(\)"),
        (None, "integers"),
        ([[0], [1, 2]], "seeds"),
    ],
)
def test_check_nodes_refuses(nodes: object, message: str) -> None:
    """What is no list of nodes is refused under the name of the argument."""
    with pytest.raises(InputError, match=message):
        check_nodes(nodes, 3, "seeds")
