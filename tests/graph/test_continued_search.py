"""One search in several places: each goes on from what the others offer, and all end as one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoquant import Graph, _core, nearest_source
from tests import reference
from tests.graphs import graph_and_sources, path, random_graph

NONE32, NONE64 = np.empty(0, np.int32), np.empty(0)


class Place(NamedTuple):
    """The own nodes of a place, then its ghosts, and the graph of the edges of its own nodes."""

    nodes: np.ndarray
    n_own: int
    graph: _core.GraphArrays


def place_of(graph: Graph, own: np.ndarray) -> Place:
    is_own = np.isin(np.arange(graph.n_nodes), own)
    edges = {e: w for e, w in reference.edges_of(graph).items() if is_own[list(e)].any()}
    ends = np.array(list(edges) or np.empty((0, 2)), int)
    nodes = np.concatenate([own, np.setdiff1d(ends, own)]).astype(int)
    number = np.full(graph.n_nodes, -1)
    number[nodes] = np.arange(len(nodes))
    local = Graph.from_edges(len(nodes), *number[ends].T, list(edges.values()))
    return Place(nodes, len(own), local.arrays)


def unknown(place: Place) -> tuple:
    n = len(place.nodes)
    return np.full(n, np.inf), np.full(n, -1, np.int32), np.full(n, -1, np.int32)


def to_the_end(places: list[Place], states: list, inboxes: list, known: bool) -> tuple[list, bool]:
    """Supersteps until nothing crosses; whether rounding hid a change of source."""
    is_hidden = False
    while any(len(inbox) for inbox in inboxes):
        outgoing = [[] for _ in places]
        for p, place in enumerate(places):
            node, distance, source = (
                map(list, zip(*inboxes[p], strict=True)) if inboxes[p] else ([], [], [])
            )
            offers = np.array(node, np.int32), np.array(distance, float), np.array(source, np.int32)
            *state, from_node, _, hid = _core.continue_search(
                place.graph, place.n_own, *states[p], *offers, known
            )
            states[p], is_hidden = state, is_hidden | hid
            for u in np.unique(from_node):
                told = (place.nodes[u], state[0][u], state[1][u])
                for q, other in enumerate(places):
                    at = np.flatnonzero(other.nodes[other.n_own :] == told[0])
                    if q != p and at.size:
                        outgoing[q].append((other.n_own + at[0], *told[1:]))
        inboxes = outgoing
    return states, is_hidden


def search_in_places(graph: Graph, sources: list[int], part: np.ndarray) -> tuple:
    """Distance and source of every node, and whether the labels had to be found anew."""
    places = [place_of(graph, np.flatnonzero(part == p)) for p in np.unique(part)]
    first = [
        [
            (i, 0.0, k)
            for k, s in enumerate(sources)
            for i in np.flatnonzero(place.nodes[: place.n_own] == s)
        ]
        for place in places
    ]
    states, is_hidden = to_the_end(places, [unknown(place) for place in places], first, False)
    if is_hidden:
        states = [
            (state[0], *unknown(place)[1:]) for state, place in zip(states, places, strict=True)
        ]
        states, _ = to_the_end(places, states, first, True)
    distance, source = np.empty(graph.n_nodes), np.empty(graph.n_nodes, np.int32)
    for place, state in zip(places, states, strict=True):
        own = place.nodes[: place.n_own]
        distance[own], source[own] = state[0][: place.n_own], state[1][: place.n_own]
    return distance, source, is_hidden


@st.composite
def cases(draw: st.DrawFn, **options: object) -> tuple:
    graph, sources = draw(graph_and_sources(max_nodes=20, **options))
    part = st.lists(st.integers(0, 3), min_size=graph.n_nodes, max_size=graph.n_nodes)
    return graph, sources, np.array(draw(part))


@given(cases())
@settings(max_examples=400)
def test_places_find_what_one_search_finds(case: tuple) -> None:
    """Whatever the graph and however it is spread: distances and labels of one search, in bits."""
    graph, sources, part = case
    distance, source, _ = search_in_places(graph, sources, part)
    expected = nearest_source(graph, sources)
    assert distance.tobytes() == expected.distance.tobytes()
    assert source.tobytes() == expected.source.tobytes()


@given(cases(kinds=("rounding",)))
@settings(max_examples=400)
def test_where_rounding_hides_a_nearer_source(case: tuple) -> None:
    """Labels are found anew where a predecessor changed its source at no change of the sum."""
    graph, sources, part = case
    _, source, _ = search_in_places(graph, sources, part)
    assert source.tolist() == reference.first_of_nearest(graph, sources)[1].tolist()


def test_a_hidden_change_is_noticed() -> None:
    """A place is told late that a node is nearer to another source, and its sums hide it."""
    line = path(2.0**-53, 1.0)
    distance, source, is_hidden = search_in_places(line, [0], np.array([0, 1, 1]))
    assert (distance.tolist(), source.tolist(), is_hidden) == ([0.0, 2.0**-53, 1.0], [0] * 3, False)
    place = place_of(line, np.array([1, 2]))
    offers = np.array([0], np.int32), np.array([2.0**-53]), np.array([0], np.int32)
    *state, _, _, hid = _core.continue_search(place.graph, 2, *unknown(place), *offers)
    assert (state[1].tolist(), hid) == ([0, 0, -1], False)
    offers = np.array([0], np.int32), np.array([0.0]), np.array([1], np.int32)
    *state, _, _, hid = _core.continue_search(place.graph, 2, *state, *offers)
    assert (state[1].tolist(), hid) == ([1, 0, -1], True)


@pytest.mark.parametrize("kind", ["real", "ties", "zeros"])
@pytest.mark.parametrize("n_sources", [1, 7, 600])
def test_larger_graphs_in_many_places(kind: str, n_sources: int) -> None:
    """Six hundred nodes strewn over five places at random, from one source to all nodes."""
    graph = random_graph(n_sources, 600, kind=kind)
    rng = np.random.default_rng(0)
    sources = rng.permutation(600)[:n_sources].tolist()
    found = search_in_places(graph, sources, rng.integers(0, 5, 600))
    expected = nearest_source(graph, sources)
    assert found[0].tobytes() == expected.distance.tobytes()
    assert found[1].tobytes() == expected.source.tobytes()


def test_nothing_crosses_that_leads_no_nearer() -> None:
    """A ghost that is known to be near is not told of a way that is longer."""
    place = place_of(path(5.0, 1.0), np.array([0, 1]))  # node 2 is a ghost
    offers = np.array([0, 2], np.int32), np.array([0.0, 0.5]), np.array([0, 1], np.int32)
    *_, from_node, to_node, _ = _core.continue_search(place.graph, 2, *unknown(place), *offers)
    assert from_node.tolist() == to_node.tolist() == []
    *_, from_node, to_node, _ = _core.continue_search(
        place.graph, 2, *unknown(place), *(column[:1] for column in offers)
    )
    assert (from_node.tolist(), to_node.tolist()) == ([1], [2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_own": 4}, r"n_own must lie in \[0, n_nodes\]"),
        ({"n_own": -1}, "n_own must lie"),
        ({"distance": np.zeros(2)}, r"distance must have shape \(3,\)"),
        ({"source": np.zeros(2, np.int32)}, r"source must have shape \(3,\)"),
        ({"predecessor": np.zeros(2, np.int32)}, r"predecessor must have shape \(3,\)"),
        ({"predecessor": np.full(3, 3, np.int32)}, r"predecessor must lie in \[-1, 3\), found 3"),
        ({"offer_node": np.array([3], np.int32)}, r"offer_node must lie in \[0, 3\), found 3"),
        ({"offer_distance": NONE64}, r"offer_distance must have shape \(1,\)"),
        ({"offer_distance": np.array([np.nan])}, "offer_distance must be finite"),
        ({"offer_distance": np.array([np.inf])}, "offer_distance must be finite"),
        ({"offer_distance": np.array([-1.0])}, "offer_distance must be finite and not negative"),
        ({"offer_source": NONE32}, r"offer_source must have shape \(1,\)"),
        ({"offer_source": np.array([-1], np.int32)}, "offer_source must not be negative"),
    ],
)
def test_what_cannot_be_continued_is_refused(changes: dict, message: str) -> None:
    """Arguments that would be read out of bounds, or are no distances, are refused by name."""
    arguments = {
        "n_own": 3,
        "distance": np.full(3, np.inf),
        "source": np.full(3, -1, np.int32),
        "predecessor": np.full(3, -1, np.int32),
        "offer_node": np.zeros(1, np.int32),
        "offer_distance": np.zeros(1),
        "offer_source": np.zeros(1, np.int32),
    }
    _core.continue_search(path(1.0, 1.0).arrays, **arguments)
    with pytest.raises(ValueError, match=message):
        _core.continue_search(path(1.0, 1.0).arrays, **arguments | changes)
