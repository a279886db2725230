"""Connected components, and the bridges that join them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.default_floats import default_floats
from geoquant.errors import InputError, NotConnectedError, memory_errors_typed
from geoquant.graph.knn import nearest_neighbors
from geoquant.latents import check_latents

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph

#: Components up to this size ask for the nearest few of each member, and for more if that leads
#: nowhere outside; larger ones are searched by all nodes outside them.
MOST_MEMBERS_ASKING = 4096
#: For how many they ask: at first for more than the component has, if it is small.
_ASKED = (16, 32, 64, 256, 1024)
_MOST_ASKED_AT_FIRST = 64


class Bridged(NamedTuple):
    """A connected graph and what was added to make it so.

    Attributes
    ----------
    graph : Graph
        Connected.
    n_components : int
        Number of components before.
    bridges : ndarray of shape (n_components - 1, 2), int32
        The edges added, as pairs of nodes.
    """

    graph: Graph
    n_components: int
    bridges: npt.NDArray[np.int32]


class Bridge(NamedTuple):
    """Sorts by length, then by nodes: a total order, so that a forest is unique."""

    length: float
    low: int
    high: int


def connected_components(graph: Graph) -> npt.NDArray[np.int32]:
    """Label the connected components.

    Parameters
    ----------
    graph : Graph
        The graph.

    Returns
    -------
    ndarray of shape (n_nodes,), int32
        Component of each node; components are numbered by their smallest node.

    Examples
    --------
    >>> import geoquant as gq
    >>> gq.connected_components(gq.Graph.from_edges(3, [0], [2], [1.0])).tolist()
    [0, 1, 0]
    """
    return _core.connected_components(graph.arrays)


def require_connected(graph: Graph) -> None:
    """Raise `NotConnectedError` if the graph has more than one component.

    Parameters
    ----------
    graph : Graph
        The graph.

    Raises
    ------
    NotConnectedError
        Naming the number of components, their sizes, and the cures.
    """
    require_one_component(np.bincount(connected_components(graph)))


def require_one_component(sizes: npt.ArrayLike) -> None:
    """Raise `NotConnectedError` if there is more than one component.

    Parameters
    ----------
    sizes : array-like of int
        Nodes of each component.

    Raises
    ------
    NotConnectedError
        Naming the number of components, their sizes, and the cures.

    Examples
    --------
    >>> from geoquant.graph.components import require_one_component
    >>> require_one_component([7])
    """
    sizes = np.sort(np.asarray(sizes))[::-1]
    if sizes.size == 1:
        return
    shown = ", ".join(map(str, sizes[:5])) + (", …" if sizes.size > 5 else "")
    raise NotConnectedError(
        f"the graph has {sizes.size} components (sizes {shown}) but must have one: raise "
        "n_neighbors, or join the components with bridge_components (on_disconnected='bridge')"
    )


@memory_errors_typed()
def bridge_components(
    graph: Graph, latents: npt.ArrayLike, *, n_jobs: int | None = None
) -> Bridged:
    """Join the components by the shortest edges that do.

    Adds a minimum spanning forest over the components (Borůvka's rounds): each bridge is the
    closest pair of latents between two components, and as long as their distance.

    Parameters
    ----------
    graph : Graph
        The graph.
    latents : array-like of shape (n_nodes, d)
        The latent of each node.
    n_jobs : int, optional
        Threads; the result does not depend on it.

    Returns
    -------
    Bridged
        With the same graph if it is connected already.

    Raises
    ------
    InputError
        If `latents` does not fit the graph.

    Notes
    -----
    Closest pairs come from exact searches. The members of small components ask together for their
    nearest 16 to 64, those that find nobody outside for more, up to 1024; a larger component, or
    one that this does not settle, is searched by all nodes outside it. Of m members that is about
    m · n comparisons.

    References
    ----------
    .. [1] J. Nešetřil, E. Milková, H. Nešetřilová, "Otakar Borůvka on minimum spanning tree
       problem", Discrete Mathematics 233, 2001.

    Examples
    --------
    >>> import geoquant as gq
    >>> x = [[0.0], [1.0], [5.0], [6.0]]
    >>> bridged = gq.bridge_components(gq.knn_graph(x, n_neighbors=1), x)
    >>> bridged.n_components, bridged.bridges.tolist()
    (2, [[1, 2]])
    """
    x = check_latents(latents)
    if len(x) != graph.n_nodes:
        raise InputError(f"latents must have {graph.n_nodes} rows, one per node, found {len(x)}")
    bridges: list[Bridge] = []
    labels = connected_components(graph)
    n_components = int(labels.max()) + 1
    while labels.max() > 0:
        with default_floats():
            chosen = sorted(_closest_outside(x, labels, n_jobs).values())
        labels, added = _merge(labels, chosen)
        bridges += added
    if not bridges:
        return Bridged(graph, n_components, np.empty((0, 2), np.int32))
    length, low, high = zip(*bridges, strict=True)
    ends = np.array([low, high], np.int32).T
    return Bridged(graph.with_edges(low, high, length), n_components, ends)


def _closest_outside(
    x: npt.NDArray[np.float32], labels: npt.NDArray[np.int32], n_jobs: int | None
) -> dict[int, Bridge]:
    """The shortest edge out of each component but the largest."""
    sizes = np.bincount(labels)
    return closest_outside(x, labels, np.arange(sizes.size) != sizes.argmax(), n_jobs)


def closest_outside(
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    to_search: npt.NDArray[np.bool_],
    n_jobs: int | None = None,
) -> dict[int, Bridge]:
    """Find the shortest edge out of some components.

    Parameters
    ----------
    x : ndarray of shape (n, d), float32
        The latent of each node.
    labels : ndarray of shape (n,), int32
        Component of each node, of two or more.
    to_search : ndarray of shape (n_components,), bool
        Which components.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    dict of int to Bridge

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.graph.components import closest_outside
    >>> line, labels = np.array([[0.0], [1.0], [5.0]], np.float32), np.array([0, 0, 1], np.int32)
    >>> closest_outside(line, labels, np.array([True, False]))
    {0: Bridge(length=4.0, low=1, high=2)}
    """
    sizes = np.bincount(labels)
    asking = np.flatnonzero((to_search & (sizes <= MOST_MEMBERS_ASKING))[labels])
    closest, unsettled = _closest_to_members(x, labels, asking, n_jobs)
    unsettled |= to_search & (sizes > MOST_MEMBERS_ASKING)
    for component in np.flatnonzero(unsettled):
        inside = np.flatnonzero(labels == component)
        outside = np.flatnonzero(labels != component)
        found = nearest_neighbors(x[inside], 1, x[outside], n_jobs=n_jobs)
        _keep_shortest(closest, labels, inside[found.index.ravel()], outside, found.distance)
    return closest


def _closest_to_members(
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    members: npt.NDArray[np.int64],
    n_jobs: int | None,
) -> tuple[dict[int, Bridge], npt.NDArray[np.bool_]]:
    """The shortest edges that leave from the members, and which components they do not settle."""
    closest: dict[int, Bridge] = {}
    sizes = np.bincount(labels)
    for k in _ASKED:
        is_early = (sizes[labels[members]] >= k) & (k < _MOST_ASKED_AT_FIRST)
        later, asking = members[is_early], members[~is_early]
        stuck = _ask(closest, x, labels, asking, k, n_jobs)
        members = np.concatenate([later, stuck])
    is_unsettled = np.zeros(sizes.size, np.bool_)
    is_unsettled[labels[members]] = True
    return closest, is_unsettled


def _ask(
    closest: dict[int, Bridge],
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    members: npt.NDArray[np.int64],
    k: int,
    n_jobs: int | None,
) -> npt.NDArray[np.int64]:
    """Enter the shortest edges to the k nearest of each member; return whom that does not settle.

    A member that has found nobody outside is further from everybody there than it has looked.
    """
    if not members.size:
        return members
    k = min(k, len(x))
    found = nearest_neighbors(x, k, x[members], n_jobs=n_jobs)
    _keep_shortest(closest, labels, np.repeat(members, k), found.index, found.distance)
    shortest = np.full(labels.max() + 1, np.inf)
    shortest[list(closest)] = [bridge.length for bridge in closest.values()]
    own = labels[members]
    found_nobody = (labels[found.index] == own[:, None]).all(axis=1)
    stuck: npt.NDArray[np.int64] = members[found_nobody & (found.distance[:, -1] <= shortest[own])]
    return stuck


def _keep_shortest(
    closest: dict[int, Bridge],
    labels: npt.NDArray[np.int32],
    member: npt.NDArray[np.int64],
    other: npt.NDArray[np.integer],
    distance: npt.NDArray[np.float32],
) -> None:
    """Enter the shortest pair (member, other) that leaves each member's component."""
    other, distance = other.ravel(), distance.ravel()
    leaves = labels[member] != labels[other]
    member, other, distance = member[leaves], other[leaves], distance[leaves]
    low, high = np.minimum(member, other), np.maximum(member, other)
    order = np.lexsort((high, low, distance, labels[member]))
    _, first = np.unique(labels[member][order], return_index=True)
    for i in order[first]:
        bridge = Bridge(float(distance[i]), int(low[i]), int(high[i]))
        component = int(labels[member[i]])
        closest[component] = min(bridge, closest.get(component, bridge))


def _merge(
    labels: npt.NDArray[np.int32], chosen: list[Bridge]
) -> tuple[npt.NDArray[np.int32], list[Bridge]]:
    """Join components by `chosen`, shortest first; a bridge within a component is left out."""
    parent = list(range(int(labels.max()) + 1))

    def root(component: int) -> int:
        while parent[component] != component:
            component = parent[component]
        return component

    added = []
    for bridge in chosen:
        a, b = root(int(labels[bridge.low])), root(int(labels[bridge.high]))
        if a != b:
            parent[max(a, b)] = min(a, b)
            added.append(bridge)
    roots = np.array([root(c) for c in range(len(parent))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)[labels], added
