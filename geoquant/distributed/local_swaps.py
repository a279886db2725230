"""Swaps within a partition, all else staying as it is: what one partition proposes to the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.clustering.multilevel import nodes_near_centres
from geoquant.clustering.swap import affordable_evaluations
from geoquant.distributed.region import region_of
from geoquant.distributed.search import places_of

if TYPE_CHECKING:
    from geoquant.distributed.search import PartedState

    Ints = npt.NDArray[np.int64]


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


class Round(NamedTuple):
    """What the partitions are told in a round of swaps.

    Attributes
    ----------
    centres : ndarray of shape (n_clusters,), int32
        Nodes, as one machine numbers them.
    is_changed : ndarray of shape (n_clusters,), bool
        Whose cells changed in the last round.
    number : int
        Of the round, from 0.
    power : {1, 2}
        Power of the distance in the energy.
    seed : int
        For the order of the candidates.
    max_evaluations : int or None
        Most candidates that a partition tries, one tried twice counting twice; None: what a time
        allows that grows no faster than its region.
    """

    centres: npt.NDArray[np.int32]
    is_changed: npt.NDArray[np.bool_]
    number: int
    power: int
    seed: int
    max_evaluations: int | None


def propose_swaps(state: PartedState, p: int, asked: Round) -> Proposal:
    """Swap own centres of a partition for own nodes until that helps no more (a task).

    The nodes of the region see all centres at the distances that they have on the whole graph, so
    the gain is real, and there may be more beyond the region. A node that was tried in vain is not
    tried again before its way to its centre has changed, unless it is near a centre.

    Parameters
    ----------
    state : PartedState
        Of a search from the centres.
    p : int
        Which partition.
    asked : Round
        What all partitions are told.

    Returns
    -------
    Proposal
    """
    place = places_of(state.graph, p, asked.centres)
    own = np.flatnonzero(place >= 0)
    is_tried = _tried_before(state, p, asked)
    candidates = _candidates(state, p, asked, is_tried)
    region = region_of(state, p, place >= 0) if own.size and candidates.size else None
    if region is None or own.size + region.n_fixed < 2:
        _note_tried(state, p, asked, is_tried)
        return Proposal(own[:0], asked.centres[:0], 0.0)
    n_nodes, arrays = region.graph.n_nodes, region.graph.arrays
    start = np.r_[place[own], np.arange(n_nodes - region.n_fixed, n_nodes)].astype(np.int32)
    most = asked.max_evaluations
    if most is None:
        most = affordable_evaluations(n_nodes, own.size)  # fixed centres are far
    before = _energy(arrays, region.weight, asked.power, start)
    moved, _, _, n_tried, _ = _core.swap_centres(
        arrays, region.weight, asked.power, start, candidates, most
    )
    is_tried[candidates[:n_tried]] = True
    _note_tried(state, p, asked, is_tried)
    gain = before - _energy(arrays, region.weight, asked.power, moved)
    is_moved = moved[: len(own)] != start[: len(own)]
    if (moved[len(own) :] != start[len(own) :]).any():
        is_moved[:] = False  # a fixed centre moved: the gain is none
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


def _tried_before(state: PartedState, p: int, asked: Round) -> npt.NDArray[np.bool_]:
    """Which own nodes were tried since their way to a centre last changed."""
    n_own = state.graph.partition.sizes[p]
    if asked.number == 0:
        return np.zeros(n_own, np.bool_)
    return state.graph.scratch.copy_of(tried_names(p, asked.number)[0])


def _note_tried(state: PartedState, p: int, asked: Round, is_tried: npt.NDArray[np.bool_]) -> None:
    """Under another name than what was read, as a task may be run twice."""
    state.graph.scratch.save(tried_names(p, asked.number)[1], is_tried)


def tried_names(p: int, number: int) -> tuple[str, str]:
    """Names of what a partition knows of its nodes before a round and after it.

    Parameters
    ----------
    p : int
        Which partition.
    number : int
        Of the round.

    Returns
    -------
    tuple of str
    """
    return f"tried{p}-before{number}", f"tried{p}-after{number}"


def _candidates(
    state: PartedState, p: int, asked: Round, is_tried: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Own nodes to try: those nearest to a centre first, then the others in random order."""
    order = np.random.default_rng([asked.seed, p]).permutation(len(is_tried))
    is_near = _near_nodes(state, p, asked)
    is_left = ~is_tried & ~is_near
    return np.concatenate([order[is_near[order]], order[is_left[order]]]).astype(np.int32)


def _near_nodes(state: PartedState, p: int, asked: Round) -> npt.NDArray[np.bool_]:
    """Marks of the nodes nearest to each centre whose cell changed."""
    n_own = state.graph.partition.sizes[p]
    source, distance = (np.array(state.load(p, kind)[:n_own]) for kind in ("source", "distance"))
    is_near = np.zeros(n_own, np.bool_)
    is_near[nodes_near_centres(source, distance, asked.is_changed)] = True
    return is_near


def note_changes(
    before: PartedState, after: PartedState, p: int, number: int, n_cells: int
) -> npt.NDArray[np.bool_]:
    """Let the nodes of a partition that a round of swaps changed be tried again (a task).

    Parameters
    ----------
    before, after : PartedState
        Of the searches from the centres before the round and after it.
    p : int
        Which partition.
    number : int
        Of the round.
    n_cells : int
        How many centres there are.

    Returns
    -------
    ndarray of shape (n_cells,), bool
        Which cells have other nodes here, or nodes at other distances.
    """
    scratch, n_own = before.graph.scratch, before.graph.partition.sizes[p]
    source, then = (np.array(s.load(p, "source")[:n_own]) for s in (before, after))
    differs = source != then
    differs |= before.load(p, "distance")[:n_own] != after.load(p, "distance")[:n_own]
    last, following = tried_names(p, number)[1], tried_names(p, number + 1)[0]
    scratch.save(following, scratch.load(last) & ~differs)
    is_changed = np.zeros(n_cells, np.bool_)
    is_changed[source[differs]] = True
    is_changed[then[differs]] = True
    return is_changed
