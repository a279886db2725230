"""The graph: undirected, weighted, compressed sparse rows, validated once when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.arguments import check_count
from geoquant.default_floats import default_floats
from geoquant.errors import InputError
from geoquant.latents import as_array
from geoquant.progress import n_threads
from geoquant.short_repr import ShortRepr

#: How nodes are numbered: int32, but for the build that meets the end of its numbers in a test.
NodeNumber: type[np.int32] = getattr(np, f"int{_core.NODE_BITS}")
MAX_NODES = int(np.iinfo(NodeNumber).max)
_CURE_OF_SPARSE = "make it anew with scipy.sparse.coo_array((data, (row, column)), shape)"


@dataclass(frozen=True, eq=False, repr=False)
class Graph(ShortRepr):
    """Undirected graph with one length per edge.

    Every edge is stored in both directions with the same length; rows are sorted by neighbour;
    there are no self loops and no parallel edges. Edges of length zero are edges.

    Parameters
    ----------
    indptr : ndarray of shape (n_nodes + 1,), int64
        Row ``i`` is ``indices[indptr[i]:indptr[i + 1]]``.
    indices : ndarray of shape (n_entries,), int32
        Neighbours.
    lengths : ndarray of shape (n_entries,), float32
        Edge lengths, finite and not negative, in the unit of the latents.
    recall : float, default=1.0
        Estimated share of the true nearest neighbours among the edges; 1.0 where the search was
        exact or the graph was given.

    Raises
    ------
    InputError
        If the arrays are not such a graph.

    See Also
    --------
    Graph.from_edges : Builds the graph from any list of edges.
    Graph.from_neighbors : Builds the graph from every node's nearest neighbours.
    Graph.from_scipy : Builds the graph from a sparse distance matrix.

    Examples
    --------
    >>> import geoquant as gq
    >>> graph = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 2.5])
    >>> graph.n_nodes, graph.n_edges
    (3, 2)
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.float32]
    recall: float = 1.0

    def __post_init__(self) -> None:
        self._own("indptr", _integers(self.indptr, "indptr").astype(np.int64))
        self._own("indices", _integers(self.indices, "indices", MAX_NODES).astype(NodeNumber))
        self._own("lengths", _lengths(self.lengths).copy())
        _check_canonical(self)

    @classmethod
    def _of_kernel(
        cls,
        arrays: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]],
        recall: float,
    ) -> Graph:
        """The graph that a kernel made: canonical already, so neither checked nor copied."""
        graph = object.__new__(cls)
        indptr, indices, lengths = arrays
        graph._own("indptr", indptr)
        graph._own("indices", indices)
        graph._own("lengths", lengths)
        object.__setattr__(graph, "recall", recall)
        return graph

    @classmethod
    def from_edges(
        cls,
        n_nodes: int,
        from_node: npt.ArrayLike,
        to_node: npt.ArrayLike,
        lengths: npt.ArrayLike,
        *,
        recall: float = 1.0,
    ) -> Graph:
        """Make the graph of a list of edges, each given in one direction or both.

        Self loops are dropped and parallel edges merged by the minimum length.

        Parameters
        ----------
        n_nodes : int
            Number of nodes.
        from_node, to_node : array-like of shape (n_edges,), int
            Ends of the edges, in ``[0, n_nodes)``.
        lengths : array-like of shape (n_edges,), float
            Lengths, finite and not negative; rounded to float32.
        recall : float, default=1.0
            See the class.

        Returns
        -------
        Graph

        Raises
        ------
        InputError
            If a node or length is out of range or the shapes differ.

        Examples
        --------
        >>> import geoquant as gq
        >>> gq.Graph.from_edges(3, [0, 1, 2], [1, 0, 2], [2.0, 1.0, 5.0]).lengths.tolist()
        [1.0, 1.0]
        """
        n_nodes = check_count(n_nodes, "n_nodes", 1, MAX_NODES)
        low = _node_ids(from_node, n_nodes, "from_node")
        high = _node_ids(to_node, n_nodes, "to_node")
        length = _lengths(lengths)
        if not low.shape == high.shape == length.shape:
            raise InputError(
                "from_node, to_node and lengths must have one shape, found "
                f"{low.shape}, {high.shape} and {length.shape}"
            )
        return cls._of_kernel(_core.symmetric_csr(n_nodes, low, high, length), recall)

    @classmethod
    def from_neighbors(
        cls,
        index: npt.ArrayLike,
        distance: npt.ArrayLike,
        *,
        recall: float = 1.0,
        n_jobs: int | None = None,
    ) -> Graph:
        """Make the graph of every node's nearest neighbours.

        An edge is kept if either end names the other (union); where both do and the distances
        differ, the smaller is taken. Nothing but the graph itself and 16 bytes for each node is
        held beside the arguments.

        Parameters
        ----------
        index : array-like of shape (n_nodes, n_neighbors), int
            Neighbours of each node, none twice, as `nearest_neighbors` returns them; -1 for none.
            A node that names itself is no edge.
        distance : array-like of shape (n_nodes, n_neighbors), float
            Lengths, finite and not negative; rounded to float32.
        recall : float, default=1.0
            See the class.
        n_jobs : int, optional
            Threads, all by default; the graph does not depend on it.

        Returns
        -------
        Graph

        Raises
        ------
        InputError
            If a neighbour is out of range or named twice by one node, a length cannot be used,
            or the shapes differ.

        Examples
        --------
        >>> import geoquant as gq
        >>> gq.Graph.from_neighbors([[1], [0], [1]], [[1.0], [1.0], [2.5]]).n_edges
        2
        """
        neighbors, length = as_array(index, "index"), _lengths(distance)
        if neighbors.ndim != 2 or len(neighbors) == 0 or neighbors.shape != length.shape:
            raise InputError(
                "index and distance must both have shape (n_nodes, n_neighbors), n_nodes > 0, "
                f"found {neighbors.shape} and {length.shape}"
            )
        n_nodes = check_count(len(neighbors), "the number of rows of index", 1, MAX_NODES)
        flat = _integers(neighbors.ravel(), "index", n_nodes - 1, least=-1)
        ids = np.ascontiguousarray(flat, dtype=NodeNumber).reshape(neighbors.shape)
        try:
            arrays = _core.neighbor_csr(ids, length, n_threads(n_jobs))
        except ValueError as error:
            raise InputError(str(error)) from None
        return cls._of_kernel(arrays, recall)

    def with_edges(
        self, from_node: npt.ArrayLike, to_node: npt.ArrayLike, lengths: npt.ArrayLike
    ) -> Graph:
        """The same graph with a few more edges.

        Parameters
        ----------
        from_node, to_node : array-like of shape (n_edges,), int
            Ends of the edges, in ``[0, n_nodes)``. No edge that is there already.
        lengths : array-like of shape (n_edges,), float
            Lengths, finite and not negative; rounded to float32.

        Returns
        -------
        Graph

        Raises
        ------
        InputError
            If a node or length is out of range, the shapes differ, or an edge is there already.

        Examples
        --------
        >>> import geoquant as gq
        >>> graph = gq.Graph.from_edges(3, [0], [1], [1.0])
        >>> graph.with_edges([1], [2], [9.0]).lengths.tolist()
        [1.0, 1.0, 9.0, 9.0]
        """
        added = Graph.from_edges(self.n_nodes, from_node, to_node, lengths)
        row = np.repeat(np.arange(self.n_nodes), np.diff(added.indptr))
        at = np.array(
            [self._place_of(int(u), int(v)) for u, v in zip(row, added.indices, strict=True)],
            np.int64,
        )
        arrays = (
            self.indptr + added.indptr,
            np.insert(self.indices, at, added.indices),
            np.insert(self.lengths, at, added.lengths),
        )
        return Graph._of_kernel(arrays, self.recall)

    @classmethod
    def from_scipy(cls, matrix: Any) -> Graph:
        """Make the graph of a sparse matrix of distances.

        Every stored entry is an edge, explicit zeros too; entries that are not stored are not.
        An entry without its mirror image counts for both directions; where the two differ, the
        smaller is taken. The diagonal is ignored.

        Parameters
        ----------
        matrix : scipy sparse array or matrix of shape (n_nodes, n_nodes)
            Distances, finite and not negative.

        Returns
        -------
        Graph

        Raises
        ------
        InputError
            If `matrix` is not sparse, not square, or holds anything but distances.

        Examples
        --------
        >>> import geoquant as gq
        >>> from scipy.sparse import csr_array
        >>> gq.Graph.from_scipy(csr_array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
        Graph(indptr=int64(4,), indices=int32(4,), lengths=float32(4,), recall=1.0)
        """
        if not hasattr(matrix, "tocoo"):
            raise InputError(
                "a precomputed graph must be a scipy sparse matrix of distances, found "
                f"{type(matrix).__name__}; convert it with scipy.sparse.csr_array"
            )
        if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
            raise InputError(f"a precomputed graph must be square, found shape {matrix.shape}")
        if matrix.dtype.kind not in "fiu":
            raise InputError(f"a precomputed graph must hold real numbers, found {matrix.dtype}")
        check_sparse(matrix, "a precomputed graph")
        coo = matrix.tocoo()
        return cls.from_edges(coo.shape[0], coo.coords[0], coo.coords[1], coo.data)

    def to_scipy(self) -> Any:
        """Give the graph as a scipy matrix, both directions, explicit zeros kept.

        Returns
        -------
        scipy.sparse.csr_array of shape (n_nodes, n_nodes), float32

        Examples
        --------
        >>> import geoquant as gq
        >>> gq.Graph.from_edges(2, [0], [1], [3.0]).to_scipy().toarray().tolist()
        [[0.0, 3.0], [3.0, 0.0]]
        """
        from scipy.sparse import csr_array

        shape = (self.n_nodes, self.n_nodes)
        # Older releases of scipy have no shortest paths for indices of 64 bits.
        is_narrow = self.indices.size <= np.iinfo(np.int32).max
        indptr = self.indptr.astype(np.int32) if is_narrow else self.indptr
        return csr_array((self.lengths, self.indices, indptr), shape=shape)

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return self.indptr.size - 1

    @property
    def n_edges(self) -> int:
        """Number of undirected edges."""
        return self.indices.size // 2

    @cached_property
    def arrays(self) -> _core.GraphArrays:
        """The graph as the compiled kernels take it."""
        return _core.graph_arrays(self.indptr, self.indices, self.lengths)

    def _place_of(self, node: int, neighbor: int) -> int:
        """Where a new neighbour of `node` belongs among the entries."""
        begin, end = self.indptr[node], self.indptr[node + 1]
        place = int(begin + np.searchsorted(self.indices[begin:end], neighbor))
        if place < end and self.indices[place] == neighbor:
            raise InputError(f"edges must be new, found {node} and {neighbor} joined already")
        return place

    def _own(self, name: str, array: npt.NDArray[Any]) -> None:
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.indptr, self.indices, self.lengths, self.recall)


def check_sparse(matrix: Any, name: str) -> None:
    """Refuse a sparse matrix whose arrays contradict one another; SciPy would read beyond them.

    Parameters
    ----------
    matrix : scipy sparse array or matrix
        Of any format; those made of Python's own lists and dictionaries cannot be read beyond.
    name : str
        What error messages call it.

    Raises
    ------
    InputError
        If there is no such matrix.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from geoquant.graph.csr import check_sparse
    >>> check_sparse(csr_array((3, 3)), "X")
    """
    if len(matrix.shape) != 2:
        raise InputError(f"{name} must have two axes, found shape {matrix.shape}")
    kind = getattr(matrix, "format", None)
    if kind == "coo":
        for ids, size in zip(matrix.coords, matrix.shape, strict=True):
            _integers(ids, f"the coordinates of {name}", size - 1)
    elif kind in ("csr", "csc", "bsr"):
        _check_compressed(matrix, name)


def _check_compressed(matrix: Any, name: str) -> None:
    block = getattr(matrix, "blocksize", (1, 1))
    sizes = [size // length for size, length in zip(matrix.shape, block, strict=True)]
    n_major, n_minor = reversed(sizes) if matrix.format == "csc" else sizes
    indptr = _integers(matrix.indptr, f"the indptr of {name}")
    indices = _integers(matrix.indices, f"the indices of {name}", n_minor - 1)
    # SciPy's own types; it refuses others, or reads them wrongly, in functions of its own.
    is_whole = {indptr.dtype, indices.dtype} <= {np.dtype(np.int32), np.dtype(np.int64)}
    if not is_whole or len(indptr) != n_major + 1 or len(matrix.data) != len(indices):
        raise InputError(
            f"{name} must have an indptr of {n_major + 1} int32 or int64 and as many indices as "
            f"data, found shapes {indptr.shape}, {indices.shape} and {matrix.data.shape} and "
            f"dtypes {indptr.dtype} and {indices.dtype}; {_CURE_OF_SPARSE}"
        )
    if indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any() or indptr[-1] != len(indices):
        raise InputError(
            f"the indptr of {name} must start at 0, never decrease and end at {len(indices)}; "
            f"{_CURE_OF_SPARSE}"
        )


def check_nodes(nodes: npt.ArrayLike, n_nodes: int, name: str) -> npt.NDArray[np.int32]:
    """Give node numbers as the kernels take them.

    Parameters
    ----------
    nodes : array-like of shape (n,), int
        At least one node number in ``[0, n_nodes)``.
    n_nodes : int
        Number of nodes of the graph.
    name : str
        What to call `nodes` in an error.

    Returns
    -------
    ndarray of shape (n,), int32

    Raises
    ------
    InputError
        If there is none, or one is not a node.
    """
    ids = _node_ids(nodes, n_nodes, name)
    if ids.size == 0:
        raise InputError(f"{name} must hold at least one node, found none")
    return ids


def _node_ids(nodes: npt.ArrayLike, n_nodes: int, name: str) -> npt.NDArray[np.int32]:
    ids = _integers(nodes, name, n_nodes - 1)
    return np.ascontiguousarray(ids, dtype=NodeNumber)


def _integers(
    values: npt.ArrayLike, name: str, most: int | None = None, least: int = 0
) -> npt.NDArray[Any]:
    """One-dimensional integers in ``[least, most]``, as given; an empty list will do."""
    array = as_array(values, name)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size > 0):
        raise InputError(
            f"{name} must be a one-dimensional array of integers, found shape {array.shape} "
            f"and dtype {array.dtype}"
        )
    largest = np.iinfo(np.int64).max if most is None else most
    if array.size and not (array.min() >= least and array.max() <= largest):
        outside = array[(array < least) | (array > largest)]
        upper = "" if most is None else f" and at most {most}"
        raise InputError(f"{name} must be at least {least}{upper}, found {outside[0]}")
    return array


def _lengths(values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Lengths as float32, or an error that says what is wrong with them."""
    array = as_array(values, "edge lengths")
    if array.dtype.kind not in "fiu" and array.size > 0:
        raise InputError(f"edge lengths must be real numbers, found dtype {array.dtype}")
    with default_floats(), np.errstate(over="ignore"):
        lengths = np.ascontiguousarray(array, dtype=np.float32)
    # NaN, which min and max pass on, fails the test too.
    if lengths.size and not (array.min() >= 0 and lengths.max() < np.inf):
        is_bad = ~(np.isfinite(lengths) & (array >= 0))
        raise InputError(
            "edge lengths must be finite in float32 and not negative, found "
            f"{array[is_bad][0]} and {int(is_bad.sum()) - 1} more"
        )
    return lengths


def _check_canonical(graph: Graph) -> None:
    indptr, indices = graph.indptr, graph.indices
    if indptr.size < 2 or indices.shape != graph.lengths.shape:
        _refuse_shapes(graph)
    defect = _core.csr_defect(indptr, indices, graph.lengths)
    if defect is _core.CsrDefect.OFFSETS:
        _refuse_shapes(graph)
    if defect is _core.CsrDefect.RANGE:
        raise InputError(f"indices must lie in [0, {graph.n_nodes})")
    if defect is _core.CsrDefect.ORDER:
        raise InputError(
            "rows must be sorted, without parallel edges or self loops; "
            "Graph.from_edges makes them so"
        )
    if defect is _core.CsrDefect.ASYMMETRIC:
        raise InputError(
            "the graph must hold every edge in both directions with one length; "
            "Graph.from_edges makes it so"
        )


def _refuse_shapes(graph: Graph) -> NoReturn:
    indptr = graph.indptr
    if indptr.size < 2 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise InputError("indptr must start at 0 and never decrease, with one entry per node + 1")
    raise InputError(
        f"indices and lengths must have shape ({indptr[-1]},), as indptr says, found "
        f"{graph.indices.shape} and {graph.lengths.shape}"
    )
