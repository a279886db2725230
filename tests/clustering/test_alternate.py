"""Alternation: exact centre updates, energies that only fall, a fixed point at the end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant import Graph, _core, nearest_source
from geoquant.clustering.alternate import Step, alternate, energy_of
from tests import reference
from tests.graphs import EXACT, graphs, path, random_graph, random_weights


def alternated(graph: Graph, centres: object, **options: object) -> Step:
    settings = {"power": 1, "weights": np.ones(graph.n_nodes), "max_rounds": 100}
    return alternate(graph, np.array(centres, np.int32), **settings | options)


def assert_cell_medoids_are_best(graph: Graph, centres: list[int], power: int, seed: int) -> None:
    """Each found medoid is a member of its cell with the least sum of all members."""
    weights = random_weights(seed, graph.n_nodes)
    dense = reference.all_pairs(graph)
    labels = nearest_source(graph, centres).source
    nodes = np.array(centres, np.int32)
    found = _core.cell_medoids(graph.arrays, weights, power, labels, nodes)
    for cell, medoid in enumerate(found):
        members = np.flatnonzero(labels == cell)
        sums = dict(
            zip(members, reference.member_sums(dense, members, power, weights), strict=True)
        )
        assert sums[medoid] == pytest.approx(min(sums.values()), rel=1e-9, abs=1e-12)


@given(
    graphs(kinds=("integers", "fractions"), is_connected=True),
    st.sampled_from([1, 2]),
    st.data(),
)
def test_cell_medoids_are_those_of_brute_force(
    graph: Graph, power: int, data: st.DataObject
) -> None:
    """With weights, zero ones too, no member of a cell has a smaller sum than its medoid."""
    node = st.integers(0, graph.n_nodes - 1)
    centres = data.draw(st.lists(node, min_size=1, unique=True))
    assert_cell_medoids_are_best(graph, centres, power, data.draw(st.integers(0, 99)))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kind", ["real", "ties", "zeros"])
def test_cell_medoids_of_larger_cells(power: int, kind: str) -> None:
    """Bounds and broken-off searches skip no better member in cells of a hundred nodes."""
    for seed in range(6):
        graph = random_graph(seed, 300, kind=kind)
        seeds = _core.kmeanspp_seeds(
            graph.arrays, np.ones(300), power, np.random.default_rng(seed).random((3, 2))
        )
        assert_cell_medoids_are_best(graph, seeds.tolist(), power, seed)


def test_paths_between_members_may_leave_the_cell() -> None:
    """Distances are those of the whole graph: the short way round another cell counts."""
    # Members 0, 1, 2 of one cell; 1 and 2 are near one another only through node 3 of the other.
    edges = [(0, 1, 2.0), (0, 2, 2.0), (1, 3, 2.1), (2, 3, 0.1), (1, 4, 0.1)]
    graph = Graph.from_edges(5, *map(list, zip(*edges, strict=True)))
    labels = np.array([0, 0, 0, 1, 0], np.int32)
    found = _core.cell_medoids(graph.arrays, np.ones(5), 1, labels, np.array([0, 3], np.int32))
    assert found.tolist() == [1, 3]


def test_ties_stay_with_the_present_centre() -> None:
    """Of two nodes of equal sum the centre that is there stays."""
    assert alternated(path(1.0), [0]).centres.tolist() == [0]
    assert alternated(path(1.0), [1]).centres.tolist() == [1]


@pytest.mark.parametrize(("power", "centre"), [(1, 1), (2, 2)])
def test_power_moves_the_centre_by_hand(power: int, centre: int) -> None:
    """Of 0, 1, 3, 7 on a line, 1 has the least sum of distances and 3 the least of squares."""
    assert alternated(path(1.0, 2.0, 4.0), [0], power=power).centres.tolist() == [centre]


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kind", ["real", "ties"])
def test_energy_falls_to_a_fixed_point(power: int, kind: str) -> None:
    """Energies fall, the last is that of the centres, and a new start changes nothing."""
    for seed in range(8):
        graph = random_graph(seed, 200, kind=kind)
        weights = random_weights(seed, 200)
        start = np.random.default_rng(seed).permutation(200)[:6]
        step = alternated(graph, start, power=power, weights=weights)
        assert step.is_converged
        assert (np.diff(step.energy_history) < 0).all()
        assert step.n_rounds == len(step.energy_history)
        dense = reference.all_pairs(graph)
        assert step.energy_history[0] == pytest.approx(
            reference.energy(dense, start, power, weights)
        )
        assert step.energy_history[-1] == pytest.approx(
            reference.energy(dense, step.centres, power, weights)
        )
        again = alternated(graph, step.centres, power=power, weights=weights)
        assert again.centres.tolist() == step.centres.tolist()
        assert again.energy_history == step.energy_history[-1:]


def test_stops_after_max_rounds() -> None:
    """Out of rounds, what there is comes back, and it says that it has not converged."""
    step = alternated(random_graph(0, 300), [0, 1, 2, 3], max_rounds=1)
    assert (step.n_rounds, len(step.energy_history), step.is_converged) == (1, 2, False)


@pytest.mark.parametrize("power", [1, 2])
def test_one_centre_is_the_medoid_of_the_graph(connected_graph: Graph, power: int) -> None:
    """For K = 1 the node of least sum is found from anywhere."""
    weights = random_weights(1, connected_graph.n_nodes)
    dense = reference.all_pairs(connected_graph)
    least = min((weights * dense**power).sum(axis=1))
    for start in range(connected_graph.n_nodes):
        step = alternated(connected_graph, [start], power=power, weights=weights)
        assert step.energy_history[-1] == pytest.approx(least)


@given(graphs(kinds=EXACT, is_connected=True, min_nodes=2), st.data())
def test_takes_centres_at_distance_zero(graph: Graph, data: st.DataObject) -> None:
    """Distinct nodes that an edge of length zero joins are centres like any other."""
    node = st.integers(0, graph.n_nodes - 1)
    centres = data.draw(st.lists(node, min_size=2, unique=True))
    step = alternated(graph, centres)
    assert len(set(step.centres.tolist())) == len(centres)
    dense = reference.all_pairs(graph)
    expected = reference.energy(dense, step.centres, 1, np.ones(graph.n_nodes))
    assert step.energy_history[-1] == expected


def test_centres_that_an_edge_of_length_zero_joins() -> None:
    """Two centres at one place do not stop the alternation."""
    step = alternated(path(0.0, 1.0), [0, 1])
    assert step.energy_history[-1] <= 1.0


def test_threads_do_not_show() -> None:
    """One, two, three and eight threads give the same centres and bits."""
    graph, start = random_graph(3, 500), np.arange(0, 500, 60)
    expected = alternated(graph, start, power=2, n_threads=1)
    for n_threads in (2, 3, 8):
        step = alternated(graph, start, power=2, n_threads=n_threads)
        assert step.centres.tolist() == expected.centres.tolist()
        assert step.energy_history == expected.energy_history


def test_progress_counts_rounds() -> None:
    """Each round is reported once."""
    heard: list[tuple[str, int, int]] = []
    step = alternated(
        random_graph(1, 100), [0, 1], max_rounds=50, progress=lambda *report: heard.append(report)
    )
    assert heard == [("alternate", i, 50) for i in range(1, step.n_rounds + 1)]


def test_energy_by_hand() -> None:
    """Weights and powers enter as they are defined."""
    distance, weights = np.array([0.0, 2.0, 3.0]), np.array([5.0, 1.0, 2.0])
    assert energy_of(distance, 1, weights) == 8.0
    assert energy_of(distance, 2, weights) == 22.0


@pytest.mark.parametrize("power", [1, 2])
def test_energy_does_not_depend_on_the_order_of_the_nodes(power: int) -> None:
    """It is the sum of the terms, rounded once."""
    rng = np.random.default_rng(0)
    distance, weights = rng.random(1000) * 10.0 ** rng.integers(-9, 9, 1000), rng.random(1000)
    expected = math.fsum((weights * distance**power).tolist())
    for _ in range(3):
        order = rng.permutation(1000)
        assert energy_of(distance[order], power, weights[order]) == expected


def test_energy_of_nodes_out_of_reach_is_infinite() -> None:
    """Nodes that no centre reaches, or so far that squares overflow, are no error."""
    for far in (np.inf, 1e200):
        assert energy_of(np.array([1.0, far]), 2, np.ones(2)) == np.inf
