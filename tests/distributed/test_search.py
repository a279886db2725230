"""Supersteps: distances, labels and energy of one machine, in bits, however the nodes lie."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoquant import Graph, nearest_source
from geoquant.clustering.alternate import energy_of
from geoquant.distributed.search import (
    Work,
    energy_of_state,
    gathered_state,
    own_labels,
    parted_nearest_source,
    places_of,
)
from tests.distributed.parts import ENGINE, spread
from tests.graphs import graph_and_sources, grid, path, random_graph, random_weights


def assert_as_on_one_machine(graph: Graph, sources: object, part: np.ndarray) -> Work:
    work = Work()
    with spread(graph, part) as parted:
        state = parted_nearest_source(parted, sources, ENGINE, work=work)
        distance, source = gathered_state(state)
    expected = nearest_source(graph, sources)
    assert distance.tobytes() == expected.distance.tobytes()
    assert source.tobytes() == expected.source.tobytes()
    return work


@st.composite
def cases(draw: st.DrawFn, **options: object) -> tuple:
    """A graph, sources in any number, and a partition of each node."""
    graph, sources = draw(graph_and_sources(max_nodes=20, **options))
    part = st.lists(st.integers(0, 3), min_size=graph.n_nodes, max_size=graph.n_nodes)
    return graph, sources, np.array(draw(part))


@given(cases())
@settings(max_examples=60)
def test_any_graph_in_any_partition(case: tuple) -> None:
    """Zero lengths, ties, several components, one source or all nodes: the bits of one search."""
    assert_as_on_one_machine(*case)


@given(cases(kinds=("rounding",)))
@settings(max_examples=40)
def test_graphs_whose_sums_round(case: tuple) -> None:
    """Labels too are those of one search where rounding hides which source is nearer."""
    assert_as_on_one_machine(*case)


#: Node 1 is told of source 5 (label 1) in the second superstep only, 2**-53 nearer than by way of
#: source 3 (label 0); node 0, a length of 1 behind it, cannot see the difference.
LATE = Graph.from_edges(6, [0, 1, 1, 2, 4], [1, 3, 2, 4, 5], [1.0, 2.0**-53, 0.0, 0.0, 0.0])


def test_labels_are_found_anew_where_rounding_hid_one() -> None:
    """A node hears late that its predecessor belongs to another, at no change of the sum."""
    work = assert_as_on_one_machine(LATE, [3, 5], np.array([0, 0, 0, 1, 2, 3]))
    assert work.n_relabelled == 1


@pytest.mark.parametrize("kind", ["real", "ties", "zeros"])
@pytest.mark.parametrize("n_sources", [1, 9, 800])
@pytest.mark.parametrize("n_partitions", [1, 4, 8])
def test_larger_graphs(kind: str, n_sources: int, n_partitions: int) -> None:
    """Eight hundred nodes strewn at random, from one source to all nodes."""
    graph = random_graph(n_sources, 800, kind=kind)
    rng = np.random.default_rng(n_partitions)
    sources = rng.permutation(800)[:n_sources]
    assert_as_on_one_machine(graph, sources, rng.integers(0, n_partitions, 800))


def test_a_source_given_twice() -> None:
    """Of a node given more than once the first position is the label."""
    assert_as_on_one_machine(path(1.0, 1.0, 1.0), [3, 0, 0, 3], np.array([0, 0, 1, 1]))


def test_work_is_counted() -> None:
    """A search along a line through four partitions takes four supersteps and tells three nodes."""
    work = assert_as_on_one_machine(path(*[1.0] * 7), [0], np.arange(8) // 2)
    assert (work.n_searches, work.n_supersteps, work.n_messages) == (1, 4, 3)
    assert work.n_tasks == 4 + 3


def test_nothing_is_left_but_the_last_states() -> None:
    """Messages and earlier states are removed; removing a state leaves nothing of the search."""
    with spread(grid(6, 6), np.arange(36) % 4) as parted:
        before = set(os.listdir(parted.scratch.folder))
        state = parted_nearest_source(parted, [0, 35], ENGINE)
        left = set(os.listdir(parted.scratch.folder)) - before
        assert len(left) == 4 + 1
        state.remove()
        assert set(os.listdir(parted.scratch.folder)) == before


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("n_partitions", [1, 3, 8])
def test_energy_is_that_of_one_machine(power: int, n_partitions: int) -> None:
    """The sum of all partitions has the bits of `energy_of`."""
    graph, weight = random_graph(0, 500), random_weights(0, 500)
    part = np.random.default_rng(0).integers(0, n_partitions, 500)
    with spread(graph, part, weight) as parted:
        state = parted_nearest_source(parted, [3, 200, 411], ENGINE)
        found = energy_of_state(state, power, ENGINE)
    assert found == energy_of(nearest_source(graph, [3, 200, 411]).distance, power, weight)


def test_centres_are_in_their_own_cells() -> None:
    """A centre at distance zero from another keeps its own code, as on one machine."""
    with spread(path(0.0, 1.0, 5.0), np.array([0, 1, 1, 0])) as parted:
        centres = np.array([0, 1], np.int32)
        state = parted_nearest_source(parted, centres, ENGINE)
        code = np.empty(4, int)
        for p in range(2):
            code[parted.scratch.load(f"part{p}-node")] = own_labels(state, p, centres)
        assert code.tolist() == [0, 1, 0, 0]
        assert places_of(parted, 0, np.array([0, 1, 3])).tolist() == [1, -1, 0]
