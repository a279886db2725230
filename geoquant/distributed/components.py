"""Connected components across partitions, and the bridges that one machine would join them by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.default_floats import default_floats
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.graph import Edges, PartedGraph, held_graph, whereabouts, with_edges
from geoquant.distributed.search import places_of
from geoquant.graph.components import MOST_MEMBERS_ASKING, closest_outside

Ints = npt.NDArray[np.int64]
#: A row of `_WaysOut`.
_Way = tuple[float, int, int, int, int]


@dataclass(frozen=True)
class Components:
    """Components of a graph in partitions, numbered by their smallest node.

    The scratch folder holds ``component{p}``, the component of each own node of partition p.

    Attributes
    ----------
    graph : PartedGraph
        The graph.
    sizes : tuple of int
        Nodes of each component.
    """

    graph: PartedGraph
    sizes: tuple[int, ...]


class BridgedParts(NamedTuple):
    """A connected graph and what was added to make it so; as `Bridged`."""

    graph: PartedGraph
    n_components: int
    bridges: npt.NDArray[np.int32]


class _WaysOut(NamedTuple):
    """Pairs of nodes of different components, lower node first, and their distances."""

    length: npt.NDArray[np.float32]
    low: Ints
    high: Ints
    low_component: Ints
    high_component: Ints


def parted_components(graph: PartedGraph, engine: Engine) -> Components:
    """Label the connected components across partitions.

    Parameters
    ----------
    graph : PartedGraph
        The graph.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    Components
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    parts = range(graph.n_partitions)
    found = map_tasks(engine, label_partition, [(graph, p) for p in parts])
    first = np.cumsum([0] + [len(least) for least, _ in found])
    pairs = map_tasks(engine, pair_components, [(graph, p) for p in parts])
    a = np.concatenate([first[p] + mine for p, (mine, _, _) in enumerate(pairs)])
    b = np.concatenate([first[part] + theirs for _, part, theirs in pairs])
    joins = coo_array((np.ones(len(a), np.int8), (a, b)), (first[-1], first[-1]))
    n_components, group = connected_components(joins, directed=False)
    least = np.full(n_components, graph.partition.nodes.n_nodes)
    np.minimum.at(least, group, np.concatenate([least for least, _ in found]))
    number = np.empty(n_components, np.int32)
    number[np.argsort(least)] = np.arange(n_components, dtype=np.int32)
    sizes = np.bincount(number[group], np.concatenate([size for _, size in found]))
    tasks = [(graph, p, number[group[first[p] : first[p + 1]]]) for p in parts]
    map_tasks(engine, number_components, tasks)
    return Components(graph, tuple(sizes.astype(int).tolist()))


def label_partition(graph: PartedGraph, p: int) -> tuple[Ints, Ints]:
    """Components within a partition; returns the smallest node and the size of each (a task)."""
    label = _core.connected_components(held_graph(graph, p))
    graph.scratch.save(f"component{p}-local", label)
    own = label[: graph.partition.sizes[p]]
    n_found = int(label.max()) + 1
    least = np.full(n_found, graph.partition.nodes.n_nodes)
    np.minimum.at(least, own, graph.scratch.load(f"part{p}-node"))
    return least, np.bincount(own, minlength=n_found)


def pair_components(graph: PartedGraph, p: int) -> tuple[Ints, Ints, Ints]:
    """Which own components are those of which of other partitions, by the ghosts (a task)."""
    n_own = graph.partition.sizes[p]
    part, place = (column[n_own:] for column in whereabouts(graph, p))
    mine = graph.scratch.load(f"component{p}-local")[n_own:]
    theirs = np.empty(len(mine), np.int64)
    for q in np.unique(part):
        theirs[part == q] = graph.scratch.load(f"component{q}-local")[place[part == q]]
    triples = np.unique(np.stack([mine.astype(np.int64), part, theirs]), axis=1)
    return triples[0], triples[1], triples[2]


def number_components(graph: PartedGraph, p: int, number: npt.NDArray[np.int32]) -> None:
    """Write the component of each own node, from those within the partition (a task)."""
    local = graph.scratch.load(f"component{p}-local")[: graph.partition.sizes[p]]
    graph.scratch.save(f"component{p}", number[local])


def bridge_parts(
    graph: PartedGraph, engine: Engine, *, components: Components | None = None
) -> BridgedParts:
    """Join the components by the shortest edges that do, as `bridge_components` would.

    Members of small components are gathered and search every partition; a component of more than
    4096 nodes is searched by all nodes outside it, partition by partition.

    Parameters
    ----------
    graph : PartedGraph
        The graph.
    engine : Engine
        Where the tasks run.
    components : Components, optional
        Of the graph, if they are known.

    Returns
    -------
    BridgedParts
    """
    found = components or parted_components(graph, engine)
    n_components = len(found.sizes)
    label = np.arange(n_components)  # of each component: the one it was merged into
    bridges: list[tuple[float, int, int]] = []
    while label.any():
        ways = _ways_out(found, label, engine)
        label, added = _merged(label, ways)
        bridges += added
    if not bridges:
        return BridgedParts(graph, n_components, np.empty((0, 2), np.int32))
    ends = np.array([[low, high] for _, low, high in bridges], np.int32)
    lengths = np.array([length for length, _, _ in bridges], np.float32)
    made = with_edges(graph, _edges_by_part(graph, ends, lengths), engine)
    return BridgedParts(made, n_components, ends)


def _edges_by_part(
    graph: PartedGraph, ends: npt.NDArray[np.int32], lengths: npt.NDArray[np.float32]
) -> list[Edges]:
    part, place = np.full(ends.shape, -1), np.full(ends.shape, -1)
    for p in range(graph.n_partitions):
        found = places_of(graph, p, ends)
        part[found >= 0], place[found >= 0] = p, found[found >= 0]
    own = (part[:, 0] == p for p in range(graph.n_partitions))
    return [
        Edges(place[is_own, 0], part[is_own, 1], place[is_own, 1], lengths[is_own])
        for is_own in own
    ]


def _ways_out(found: Components, label: Ints, engine: Engine) -> list[_Way]:
    """The shortest edge out of each merged component but the largest, shortest first."""
    sizes = np.bincount(label, found.sizes, len(label))
    is_largest = np.arange(len(label)) == sizes.argmax()
    is_small = (sizes <= MOST_MEMBERS_ASKING) & ~is_largest
    ways = []
    if is_small[label].any():
        ways += _ways_out_of_small(found, label, is_small, engine)
    for large in np.flatnonzero((sizes > MOST_MEMBERS_ASKING) & ~is_largest):
        parts = range(found.graph.n_partitions)
        tasks = [(found, label, int(large), p, q) for p in parts for q in parts]
        ways += map_tasks(engine, search_between, tasks, [p for _, _, _, p, _ in tasks])
    columns = (np.concatenate(column) for column in zip(*ways, strict=True))
    return _shortest_out(_WaysOut(*columns), label, is_largest)


def _shortest_out(ways: _WaysOut, label: Ints, is_largest: npt.NDArray[np.bool_]) -> list[_Way]:
    best: dict[int, _Way] = {}
    order = np.lexsort((ways.high, ways.low, ways.length))
    for columns in zip(*(column[order].tolist() for column in ways), strict=True):
        for component in columns[3:]:
            merged = int(label[component])
            if not is_largest[merged]:
                best.setdefault(merged, columns)
    return sorted(best.values())


def _ways_out_of_small(
    found: Components, label: Ints, is_small: npt.NDArray[np.bool_], engine: Engine
) -> list[_WaysOut]:
    """Between members of small components, and from them to all others."""
    graph = found.graph
    parts = range(graph.n_partitions)
    members = map_tasks(engine, members_of, [(found, is_small[label], p) for p in parts])
    node, component, point = (np.concatenate(column) for column in zip(*members, strict=True))
    order = np.argsort(node)
    node, component, point = node[order].astype(np.int64), component[order], point[order]
    graph.scratch.save("member-point", point)
    own = label[component]
    tasks = [(found, is_small[label], p) for p in parts]
    ways = []
    for length, other, theirs in map_tasks(engine, search_from_members, tasks):
        if len(length):
            ways.append(_ordered(length, node, other, component, theirs))
    if (own != own[0]).any():
        compact = np.unique(own, return_inverse=True)[1].astype(np.int32)
        with default_floats():
            out = closest_outside(point, compact, np.ones(compact.max() + 1, np.bool_)).values()
        low, high = np.array([[way.low, way.high] for way in out]).T
        length = np.array([way.length for way in out], np.float32)
        ways.append(_ordered(length, node[low], node[high], component[low], component[high]))
    return ways


def _ordered(length: npt.NDArray[np.float32], a: Ints, b: Ints, of_a: Ints, of_b: Ints) -> _WaysOut:
    swapped = a > b
    return _WaysOut(
        length,
        np.where(swapped, b, a),
        np.where(swapped, a, b),
        np.where(swapped, of_b, of_a),
        np.where(swapped, of_a, of_b),
    )


def members_of(
    found: Components, is_member: npt.NDArray[np.bool_], p: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Node, component and point of the nodes of some components in a partition (a task)."""
    scratch = found.graph.scratch
    component = np.array(scratch.load(f"component{p}"))
    here = np.flatnonzero(is_member[component])
    return (
        scratch.load(f"part{p}-node")[here],
        component[here],
        scratch.load(f"part{p}-point")[here],
    )


def search_from_members(
    found: Components, is_small: npt.NDArray[np.bool_], p: int
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """For each member of a small component, the nearest node of no such in a partition (a task)."""
    node, component, point = members_of(found, ~is_small, p)
    if not len(node):
        return np.empty(0, np.float32), node, component
    return _nearest(node, component, point, found.graph.scratch.copy_of("member-point"))


def _nearest(
    node: npt.NDArray[Any],
    component: npt.NDArray[Any],
    point: npt.NDArray[Any],
    asked: npt.NDArray[Any],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Distance, node and component of the nearest point to each asked; ties by the node."""
    order = np.argsort(node)
    with default_floats():
        length, index = _core.knn_search(point[order], np.ascontiguousarray(asked), 1)
    nearest = order[index[:, 0]]
    return length[:, 0], node[nearest].astype(np.int64), component[nearest]


def search_between(found: Components, label: Ints, large: int, p: int, q: int) -> _WaysOut:
    """The shortest way from a component's nodes in partition q to others in p (a task)."""
    outside = members_of(found, label != large, p)
    inside = members_of(found, label == large, q)
    empty = np.empty(0, np.int64)
    if not len(outside[0]) or not len(inside[0]):
        return _WaysOut(np.empty(0, np.float32), empty, empty, empty, empty)
    length, node, component = _nearest(*inside, outside[2])
    ways = _ordered(length, outside[0].astype(np.int64), node, outside[1], component)
    first = np.lexsort((ways.high, ways.low, ways.length))[:1]
    length, *ends = (column[first] for column in ways)
    return _WaysOut(length, *ends)  # type: ignore[arg-type]


def _merged(label: Ints, ways: list[_Way]) -> tuple[Ints, list[tuple[float, int, int]]]:
    """Merge components by the ways, shortest first; one within a component is left out."""
    label = label.copy()
    added = []
    for length, low, high, of_low, of_high in ways:
        a, b = label[of_low], label[of_high]
        if a != b:
            label[label == max(a, b)] = min(a, b)
            added.append((length, low, high))
    return label, added
