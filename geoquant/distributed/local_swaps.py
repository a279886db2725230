"""Swaps within a partition, all else staying as it is: what one partition proposes to the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.clustering.swap import affordable_evaluations
from geoquant.distributed.graph import whereabouts
from geoquant.distributed.search import places_of
from geoquant.graph.csr import Graph

if TYPE_CHECKING:
    from geoquant.distributed.search import PartedState

    Ints = npt.NDArray[np.int64]

#: Centres elsewhere weigh so many times what all nodes do: they do not move.
_FIXED_WEIGHT = 1e6
#: Parts of a region that nothing joins are as far apart as so many of its longest edges.
_APART = 1e3


class Proposal(NamedTuple):
    """What swaps in a partition lead to.

    Attributes
    ----------
    position : ndarray of int64
        Places of the centres that move.
    node : ndarray of int32
        Where they move.
    gain : float
        By how much that lowers the energy of the region, at least, if no other centre moves.
    """

    position: Ints
    node: npt.NDArray[np.int32]
    gain: float


class _Region(NamedTuple):
    """Own nodes of a partition, those elsewhere whose centre is an own node, then fixed centres.

    A fixed centre stands for one elsewhere: it is as far from the nodes as that centre.
    """

    graph: Graph
    weight: npt.NDArray[np.float64]
    n_fixed: int


def propose_swaps(
    state: PartedState,
    p: int,
    centres: npt.NDArray[np.int32],
    power: int,
    seed: int,
    max_evaluations: int | None,
) -> Proposal:
    """Swap own centres of a partition for own nodes until that helps no more (a task).

    The nodes of the region see all centres at the distances that they have on the whole graph, so
    the gain is real, and there may be more beyond the region.

    Parameters
    ----------
    state : PartedState
        Of a search from the centres.
    p : int
        Which partition.
    centres : ndarray of shape (n_clusters,), int32
        Nodes, as one machine numbers them.
    power : {1, 2}
        Power of the distance in the energy.
    seed : int
        For the order of the candidates.
    max_evaluations : int or None
        Most candidates tried, one tried twice counting twice; None: what a time allows that grows
        no faster than the region.

    Returns
    -------
    Proposal
    """
    place = places_of(state.graph, p, centres)
    own = np.flatnonzero(place >= 0)
    nothing = Proposal(own[:0], centres[:0], 0.0)
    if not own.size:
        return nothing
    region = _region(state, p, place >= 0)
    n_nodes = region.graph.n_nodes
    start = np.r_[place[own], np.arange(n_nodes - region.n_fixed, n_nodes)].astype(np.int32)
    if len(start) < 2:
        return nothing
    n_own = state.graph.partition.sizes[p]
    candidates = np.random.default_rng([seed, p]).permutation(n_own).astype(np.int32)
    arrays = region.graph.arrays
    before = _energy(arrays, region.weight, power, start)
    if max_evaluations is None:
        max_evaluations = affordable_evaluations(n_nodes, own.size)  # fixed centres are far
    moved, *_ = _core.swap_centres(arrays, region.weight, power, start, candidates, max_evaluations)
    if (moved[len(own) :] != start[len(own) :]).any():
        return nothing
    gain = before - _energy(arrays, region.weight, power, moved)
    is_moved = moved[: len(own)] != start[: len(own)]
    node = state.graph.scratch.load(f"part{p}-node")[moved[: len(own)][is_moved]]
    return Proposal(own[is_moved], node, gain)


def _energy(
    arrays: _core.GraphArrays,
    weight: npt.NDArray[np.float64],
    power: int,
    centres: npt.NDArray[np.int32],
) -> float:
    distance = _core.nearest_source(arrays, centres)[0]
    return float((weight * distance**power).sum())


def _region(state: PartedState, p: int, is_own_centre: npt.NDArray[np.bool_]) -> _Region:
    """The graph of a region, its weights, and how many of its nodes are fixed centres."""
    graph = state.graph
    places: list[Ints] = []
    for q in range(graph.n_partitions):
        source = state.load(q, "source")[: graph.partition.sizes[q]]
        everything = np.arange(len(source))
        places.append(everything if q == p else np.flatnonzero(is_own_centre[source]))
    parts = [p, *(q for q in range(graph.n_partitions) if q != p and places[q].size)]
    number = {q: np.full(graph.partition.sizes[q], -1) for q in range(graph.n_partitions)}
    n_inside = 0
    for q in parts:
        number[q][places[q]] = n_inside + np.arange(len(places[q]))
        n_inside += len(places[q])
    pieces = [_edges_from(state, q, places[q], number) for q in parts]
    node, other, length, label = (np.concatenate(column) for column in zip(*pieces, strict=True))
    outside = other < 0
    fixed, rank = np.unique(label[outside], return_inverse=True)
    other[outside] = n_inside + rank
    n_nodes = n_inside + len(fixed)
    whole = _joined_up(Graph.from_edges(n_nodes, node, other, length))
    weights = [graph.scratch.load(f"part{q}-weight")[places[q]] for q in parts]
    weight = np.concatenate([*weights, np.empty(len(fixed))])
    weight[n_inside:] = _FIXED_WEIGHT * weight[:n_inside].sum()
    return _Region(whole, weight, len(fixed))


def _edges_from(
    state: PartedState, q: int, places: Ints, number: dict[int, Ints]
) -> tuple[Ints, Ints, npt.NDArray[np.float32], Ints]:
    """Edges of some nodes of a partition: from, to or -1, length, and label where to is outside.

    The length of one that leads outside is that of the way to the centre of its end.
    """
    graph = state.graph
    indptr = graph.load(q, "indptr")
    degree = np.diff(indptr)[places]
    entry = np.repeat(indptr[places] - (np.cumsum(degree) - degree), degree) + np.arange(
        degree.sum()
    )
    part, place = whereabouts(graph, q)
    target = graph.load(q, "indices")[entry]
    part, place = part[target], place[target]
    length = graph.load(q, "lengths")[entry].astype(np.float64)
    other, label = np.empty(len(entry), np.int64), np.full(len(entry), -1)
    for r in np.unique(part).tolist():
        here = np.flatnonzero(part == r)
        other[here] = number[r][place[here]]
        leaving = here[other[here] < 0]
        length[leaving] += state.load(r, "distance")[place[leaving]]
        label[leaving] = state.load(r, "source")[place[leaving]]
    node = np.repeat(number[q][places], degree)
    return node, other, length.astype(np.float32), label


def _joined_up(graph: Graph) -> Graph:
    """The graph with its components joined, too far apart to matter."""
    component = _core.connected_components(graph.arrays)
    first = np.unique(component, return_index=True)[1]
    if len(first) == 1:
        return graph
    far = np.full(len(first) - 1, _APART * max(1e-30, float(graph.lengths.max(initial=0.0))))
    return graph.with_edges(np.full(len(far), first[0]), first[1:], far)
