"""What a partition sees of the whole graph when it moves its own centres: small enough for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.distributed.graph import whereabouts
from geoquant.graph.csr import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoquant.distributed.search import PartedState

    Ints = npt.NDArray[np.int64]
    Int32s = npt.NDArray[np.int32]
    _Edges = tuple[Int32s, Int32s, npt.NDArray[np.float32]]

#: Centres elsewhere weigh so many times what all nodes do: they do not move.
_FIXED_WEIGHT = 1e6
#: Parts of a region that nothing joins are as far apart as so many of its longest edges.
_APART = 1e3
#: Nodes whose edges are looked at together.
_NODES_AT_ONCE = 1 << 16


class Region(NamedTuple):
    """Own nodes of a partition, those elsewhere whose centre is an own node, then fixed centres.

    A fixed centre stands for one elsewhere: it is as far from the nodes as that centre.

    Attributes
    ----------
    graph : Graph
        Connected.
    weight : ndarray of shape (n_nodes,), float64
        Of each node; a fixed centre outweighs all others.
    n_fixed : int
        How many of the nodes, the last, are fixed centres.
    """

    graph: Graph
    weight: npt.NDArray[np.float64]
    n_fixed: int


class _Numbering(NamedTuple):
    """Places of the nodes inside, by partition, and the number in the region of any node or -1.

    `number` has the nodes of all partitions one after another, from `first` of each on.
    """

    places: dict[int, Ints]
    first: Ints
    number: Int32s


def region_of(state: PartedState, p: int, is_own_centre: npt.NDArray[np.bool_]) -> Region:
    """The region of a partition.

    Parameters
    ----------
    state : PartedState
        Of a search from the centres.
    p : int
        Which partition.
    is_own_centre : ndarray of shape (n_clusters,), bool
        Which centres are own nodes.

    Returns
    -------
    Region
    """
    inside = _numbering(state, p, is_own_centre)
    pieces = [piece for q in inside.places for piece in _edges_from(state, q, inside)]
    columns = list(zip(*pieces, strict=True))
    node, other, length = (np.concatenate(column) for column in columns[:3])
    del pieces, columns
    leaves = np.flatnonzero(other < 0)
    fixed, rank = np.unique(other[leaves], return_inverse=True)
    n_inside = sum(map(len, inside.places.values()))
    other[leaves] = n_inside + rank
    n_nodes = n_inside + len(fixed)
    whole = _joined_up(Graph.from_edges(n_nodes, node, other, length))
    weights = [
        state.graph.scratch.load(f"part{q}-weight")[places] for q, places in inside.places.items()
    ]
    weight = np.concatenate([*weights, np.empty(len(fixed))])
    weight[n_inside:] = _FIXED_WEIGHT * weight[:n_inside].sum()
    return Region(whole, weight, len(fixed))


def _numbering(state: PartedState, p: int, is_own_centre: npt.NDArray[np.bool_]) -> _Numbering:
    sizes = state.graph.partition.sizes
    first = np.concatenate([[0], np.cumsum(sizes)])
    number = np.full(first[-1], -1, np.int32)
    places: dict[int, Ints] = {}
    n_inside = 0
    for q in (p, *(q for q in range(len(sizes)) if q != p)):
        source = state.load(q, "source")[: sizes[q]]
        here = np.arange(sizes[q]) if q == p else np.flatnonzero(is_own_centre[source])
        if here.size:
            places[q] = here
            number[first[q] + here] = np.arange(n_inside, n_inside + len(here))
            n_inside += len(here)
    return _Numbering(places, first, number)


def _edges_from(state: PartedState, q: int, inside: _Numbering) -> Iterator[_Edges]:
    """Edges of the nodes of a partition that are inside, some nodes at a time.

    From, to and length; one between two nodes inside is there once. One that leads outside has -1
    less the label of its end in place of that, and the length of the way to that centre.
    """
    graph = state.graph
    part, place = whereabouts(graph, q)
    at = inside.first[part] + place
    indptr, indices = graph.load(q, "indptr"), graph.load(q, "indices")
    lengths = graph.load(q, "lengths")
    for begin in range(0, len(inside.places[q]), _NODES_AT_ONCE):
        places = inside.places[q][begin : begin + _NODES_AT_ONCE]
        degree = np.diff(indptr)[places]
        skipped = indptr[places] - (np.cumsum(degree) - degree)
        entry = np.repeat(skipped, degree) + np.arange(degree.sum())
        node = np.repeat(inside.number[inside.first[q] + places], degree)
        target = indices[entry]
        other = inside.number[at[target]]
        kept = np.flatnonzero((other < 0) | (node < other))
        node, other, target = node[kept], other[kept], target[kept]
        length = lengths[entry[kept]]
        _lead_outside(state, part[target], place[target], other, length)
        yield node, other, length


def _lead_outside(
    state: PartedState, part: Int32s, place: Int32s, other: Int32s, length: npt.NDArray[np.float32]
) -> None:
    """Make of the edges that lead outside ways to the centres there."""
    leaving = np.flatnonzero(other < 0)
    for r in np.unique(part[leaving]).tolist():
        here = leaving[part[leaving] == r]
        distance = state.load(r, "distance")[place[here]]
        length[here] = (length[here] + distance).astype(np.float32)
        other[here] = -1 - state.load(r, "source")[place[here]]


def _joined_up(graph: Graph) -> Graph:
    """The graph with its components joined, too far apart to matter."""
    component = _core.connected_components(graph.arrays)
    first = np.unique(component, return_index=True)[1]
    if len(first) == 1:
        return graph
    far = np.full(len(first) - 1, _APART * max(1e-30, float(graph.lengths.max(initial=0.0))))
    return graph.with_edges(np.full(len(far), first[0]), first[1:], far)
