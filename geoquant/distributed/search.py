"""Nearest sources in supersteps: each partition searches as far as it can, and tells the others.

A search keeps its state with the partitions: arrays in the scratch folder, of the superstep that
wrote them. A superstep of a partition reads its last state and what others told it, and writes
its next state and what it tells; so it may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.graph import held_graph
from geoquant.exact_sum import exact_sum, rounded_sum

if TYPE_CHECKING:
    from geoquant.distributed.graph import PartedGraph

_STATE = np.dtype([("distance", "f8"), ("source", "i4"), ("predecessor", "i4")])
_TOLD = np.dtype([("distance", "f8"), ("source", "i4"), ("place", "i4")])


@dataclass
class Work:
    """What searches took, added up.

    Attributes
    ----------
    n_searches, n_supersteps, n_tasks, n_messages : int
        Searches; rounds of tasks; partitions that had something to do in them; and nodes told.
    n_relabelled : int
        Searches that had to find their labels anew because sums rounded.
    """

    n_searches: int = 0
    n_supersteps: int = 0
    n_tasks: int = 0
    n_messages: int = 0
    n_relabelled: int = 0


@dataclass(frozen=True)
class PartedState:
    """The outcome of a search, with the partitions.

    Attributes
    ----------
    graph : PartedGraph
        Where.
    name : str
        Of the search.
    steps : tuple of int
        The superstep whose state is the last of each partition; -1 where nothing came.
    """

    graph: PartedGraph
    name: str
    steps: tuple[int, ...]

    def load(self, p: int, kind: str) -> npt.NDArray[Any]:
        """``distance``, ``source`` or ``predecessor`` of the nodes that a partition knows.

        Those of own nodes are final. Of ghosts only what mattered was told.
        """
        return _load_state(self.graph, self.name, p, self.steps[p])[kind]

    def remove(self) -> None:
        """Remove the arrays of the search."""
        for p, step in enumerate(self.steps):
            self.graph.scratch.remove(_name(self.name, p, step))
        self.graph.scratch.remove(f"{self.name}-sources")


_Offers = tuple[npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.int32]]
#: Who told something: its partition, the superstep, and which of its records, from and up to.
_Told = tuple[int, int, int, int]


class _Step(NamedTuple):
    """One superstep of a partition."""

    graph: PartedGraph
    name: str
    p: int
    step: int  # that it writes
    last: int  # of its state so far, -1: none
    senders: tuple[_Told, ...]
    begins_labels: bool  # whether the labels so far are to be forgotten, as distances are known
    distances_are_known: bool


@dataclass
class _Search:
    """A search under way: which partitions have which state, and who told whom."""

    graph: PartedGraph
    name: str
    engine: Engine
    work: Work
    steps: list[int] = field(default_factory=list)
    step: int = 0

    def run(self) -> None:
        """Search for distances, and for labels once more if rounding hid some of them."""
        self.work.n_searches += 1
        self.steps = [-1] * self.graph.n_partitions
        if self._to_the_end(distances_are_known=False):
            self.work.n_relabelled += 1
            self._to_the_end(distances_are_known=True)

    def _to_the_end(self, *, distances_are_known: bool) -> bool:
        """Supersteps until nobody is told anything; whether rounding hid a change of source."""
        is_hidden = False
        inbox: dict[int, list[_Told]] = {p: [] for p in range(self.graph.n_partitions)}
        is_first = True
        while inbox:
            told, hid = self._superstep(inbox, is_first, distances_are_known)
            inbox = self._inbox(told)
            is_hidden |= hid
            is_first = False
            self.step += 1
        return is_hidden

    def _superstep(
        self, inbox: dict[int, list[_Told]], is_first: bool, distances_are_known: bool
    ) -> tuple[dict[int, npt.NDArray[np.int64]], bool]:
        """One task for each partition that was told something; how many nodes each tells whom."""
        steps = [
            _Step(
                self.graph,
                self.name,
                p,
                self.step,
                self.steps[p],
                tuple(senders),
                is_first and distances_are_known,
                distances_are_known,
            )
            for p, senders in sorted(inbox.items())
        ]
        near = [step.p for step in steps]
        done = map_tasks(self.engine, search_partition, [(s, is_first) for s in steps], near)
        self._forget(steps)
        told = {p: counts for p, (counts, _) in zip(near, done, strict=True)}
        self._count(told)
        return told, any(hid for _, hid in done)

    def _inbox(self, told: dict[int, npt.NDArray[np.int64]]) -> dict[int, list[_Told]]:
        """Who was told, by whom, and where that is written."""
        inbox: dict[int, list[_Told]] = {}
        for p, counts in told.items():
            ends = np.cumsum(counts)
            for q in np.flatnonzero(counts).tolist():
                here = int(ends[q] - counts[q]), int(ends[q])
                inbox.setdefault(q, []).append((p, self.step, *here))
        return inbox

    def _count(self, told: dict[int, npt.NDArray[np.int64]]) -> None:
        self.work.n_supersteps += 1
        self.work.n_tasks += len(told)
        self.work.n_messages += int(sum(counts.sum() for counts in told.values()))

    def _forget(self, tasks: list[_Step]) -> None:
        """Remove states that are no longer the last, and messages that were read."""
        scratch = self.graph.scratch
        for task in tasks:
            scratch.remove(_name(self.name, task.p, task.last))
            self.steps[task.p] = self.step
            for q, step, *_ in task.senders:
                scratch.remove(_name(self.name, q, step) + "-told")


def parted_nearest_source(
    graph: PartedGraph,
    sources: npt.ArrayLike,
    engine: Engine,
    *,
    name: str = "search",
    work: Work | None = None,
) -> PartedState:
    """Find the nearest of several sources for every node, in all partitions.

    Distances and labels equal those of `nearest_source` on one machine in every bit, however the
    nodes are parted.

    Parameters
    ----------
    graph : PartedGraph
        May have several components.
    sources : array-like of shape (n_sources,), int
        Nodes, as one machine numbers them.
    engine : Engine
        Where the tasks run.
    name : str, default="search"
        A search replaces the last of the same name.
    work : Work, optional
        Added to.

    Returns
    -------
    PartedState
    """
    graph.scratch.save(f"{name}-sources", np.asarray(sources, np.int32))
    search = _Search(graph, name, engine, Work() if work is None else work)
    search.run()
    return PartedState(graph, name, tuple(search.steps))


def _name(name: str, p: int, step: int) -> str:
    return f"{name}-{p}-step{step}"


def _load_state(graph: PartedGraph, name: str, p: int, step: int) -> npt.NDArray[np.void]:
    if step >= 0:
        return _loaded(graph, _name(name, p, step), _STATE)
    unknown = np.array([(np.inf, -1, -1)], _STATE)
    return np.repeat(unknown, len(graph.load(p, "indptr")) - 1)


def _loaded(graph: PartedGraph, name: str, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Records that were saved as their bytes."""
    return graph.scratch.load(name).view(dtype)[:, 0]


def _save(graph: PartedGraph, name: str, records: npt.NDArray[np.void]) -> None:
    graph.scratch.save(name, records.view(np.uint8).reshape(len(records), records.itemsize))


def _records(dtype: np.dtype[np.void], *columns: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    records = np.empty(len(columns[0]), dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        records[name] = column
    return records


def search_partition(step: _Step, offers_sources: bool) -> tuple[npt.NDArray[np.int64], bool]:
    """Go on with a search in one partition (a task).

    Parameters
    ----------
    step : _Step
        Where, and from what.
    offers_sources : bool
        Whether the own sources are offered: in the first superstep.

    Returns
    -------
    counts : ndarray of shape (n_partitions,), int64
        How many nodes each other partition is told of.
    is_hidden : bool
        Whether rounding hid a change of source.
    """
    graph, p = step.graph, step.p
    known = _load_state(graph, step.name, p, step.last).copy()
    if step.begins_labels:
        known["source"], known["predecessor"] = -1, -1
    offers = _own_sources(step) if offers_sources else _told_offers(step)
    distance, source, predecessor, from_node, to_node, is_hidden = _core.continue_search(
        held_graph(graph, p),
        graph.partition.sizes[p],
        known["distance"].copy(),
        known["source"].copy(),
        known["predecessor"].copy(),
        *offers,
        distances_are_known=step.distances_are_known,
    )
    state = _records(_STATE, distance, source, predecessor)
    _save(graph, _name(step.name, p, step.step), state)
    return _tell(step, state, from_node, to_node), is_hidden


def _own_sources(step: _Step) -> _Offers:
    """Place, distance and label of the sources that are own nodes."""
    sources = step.graph.scratch.load(f"{step.name}-sources")
    place = places_of(step.graph, step.p, sources)
    label = np.flatnonzero(place >= 0)
    return place[label].astype(np.int32), np.zeros(len(label)), label.astype(np.int32)


def places_of(graph: PartedGraph, p: int, nodes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Places of nodes in a partition.

    Parameters
    ----------
    graph : PartedGraph
        The graph.
    p : int
        Which partition.
    nodes : ndarray of int
        As one machine numbers them.

    Returns
    -------
    ndarray of int64
        -1 for nodes of other partitions.
    """
    node = graph.scratch.load(f"part{p}-ascending")
    at = np.minimum(np.searchsorted(node, nodes), len(node) - 1)
    place = graph.scratch.load(f"part{p}-place")[at]
    return np.where(node[at] == nodes, place, -1).astype(np.int64)


def _told_offers(step: _Step) -> _Offers:
    """Ghost, distance and label of what other partitions told."""
    n_own = step.graph.partition.sizes[step.p]
    cut = step.graph.load(step.p, "ghost-cut")
    told = [
        (cut[q], _loaded(step.graph, _name(step.name, q, at) + "-told", _TOLD)[begin:end])
        for q, at, begin, end in step.senders
    ]
    ghost = np.concatenate([n_own + first + records["place"] for first, records in told])
    distance = np.concatenate([records["distance"] for _, records in told])
    source = np.concatenate([records["source"] for _, records in told])
    return ghost.astype(np.int32), distance, source


def _tell(
    step: _Step,
    state: npt.NDArray[np.void],
    from_node: npt.NDArray[np.int32],
    to_node: npt.NDArray[np.int32],
) -> npt.NDArray[np.int64]:
    """Write the own nodes that others are to know of, by partition; return how many each."""
    graph, p = step.graph, step.p
    n_parts, n_own = graph.n_partitions, graph.partition.sizes[p]
    part = np.searchsorted(graph.load(p, "ghost-cut"), to_node - n_own, side="right") - 1
    key = np.unique(part.astype(np.int64) << 32 | from_node)
    told_cut = graph.load(p, "told-cut")
    of_place = np.repeat(np.arange(n_parts), np.diff(told_cut))
    at = np.searchsorted(of_place << 32 | graph.load(p, "told"), key)
    part, node = key >> 32, key & 0xFFFFFFFF
    if len(key):
        records = _records(
            _TOLD, state["distance"][node], state["source"][node], at - told_cut[part]
        )
        _save(graph, _name(step.name, p, step.step) + "-told", records)
    return np.bincount(part, minlength=n_parts)


def energy_of_state(state: PartedState, power: int, engine: Engine) -> float:
    """Weighted sum of the distances to a power, the same bits as `energy_of` on one machine.

    Parameters
    ----------
    state : PartedState
        Every node reached.
    power : {1, 2}
        Power of the distance.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    float
    """
    parts = range(state.graph.n_partitions)
    return rounded_sum(sum(map_tasks(engine, sum_partition, [(state, p, power) for p in parts])))


def sum_partition(state: PartedState, p: int, power: int) -> int:
    """The exact sum of the energies of the nodes of a partition (a task)."""
    n_own = state.graph.partition.sizes[p]
    weight = state.graph.scratch.load(f"part{p}-weight")
    return exact_sum(np.asarray(weight * state.load(p, "distance")[:n_own] ** power))


def gathered_state(state: PartedState) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Distance and source of every node here, as one machine numbers them.

    Parameters
    ----------
    state : PartedState
        Of a search.

    Returns
    -------
    distance : ndarray of shape (n_nodes,), float64
    source : ndarray of shape (n_nodes,), int32
    """
    sizes = state.graph.partition.sizes
    distance, source = np.empty(sum(sizes)), np.empty(sum(sizes), np.int32)
    for p, n_own in enumerate(sizes):
        node = state.graph.scratch.load(f"part{p}-node")
        distance[node] = state.load(p, "distance")[:n_own]
        source[node] = state.load(p, "source")[:n_own]
    return distance, source


def own_labels(state: PartedState, p: int, centres: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Code of each own node of a partition, every centre being in its own cell.

    Parameters
    ----------
    state : PartedState
        Of a search from the centres.
    p : int
        Which partition.
    centres : ndarray of shape (n_clusters,), int32
        Nodes, as one machine numbers them.

    Returns
    -------
    ndarray of shape (n_own,), int32
    """
    label = np.array(state.load(p, "source")[: state.graph.partition.sizes[p]])
    place = places_of(state.graph, p, centres)
    label[place[place >= 0]] = np.flatnonzero(place >= 0)
    return label
