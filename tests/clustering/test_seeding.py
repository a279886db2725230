"""Seeds: distinct nodes, drawn as the oracle draws them from the same uniforms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant import Graph, InputError, _core
from geoquant.clustering.seeding import as_generator, seed_centres
from tests import reference
from tests.graphs import EXACT, graphs, path, random_graph, random_weights, star


def seeds_of(graph: Graph, n_clusters: int, **options: object) -> np.ndarray:
    settings = {"weights": np.ones(graph.n_nodes), "generator": np.random.default_rng(0)}
    return seed_centres(graph, n_clusters, **settings | options)


@given(graphs(kinds=EXACT, is_connected=True), st.sampled_from([1, 2]), st.data())
def test_replays_the_oracle(graph: Graph, power: int, data: st.DataObject) -> None:
    """With integer weights, where sums are exact, each seed is the oracle's, up to K = n."""
    n_seeds = data.draw(st.integers(1, graph.n_nodes))
    seed = data.draw(st.integers(0, 999))
    weights = random_weights(seed, graph.n_nodes)
    uniforms = np.random.default_rng(seed).random((n_seeds, data.draw(st.integers(1, 4))))
    found = _core.kmeanspp_seeds(graph.arrays, weights, power, uniforms)
    expected = reference.greedy_kmeanspp(reference.all_pairs(graph), weights, power, uniforms)
    assert found.tolist() == expected


@pytest.mark.parametrize("power", [1, 2])
def test_replays_the_oracle_over_many_blocks(power: int) -> None:
    """Draws from a mass of several blocks of nodes find the oracle's nodes."""
    for seed in range(3):
        graph = random_graph(seed, 900, kind="ties")
        weights = random_weights(seed, 900)
        uniforms = np.random.default_rng(seed).random((12, 4))
        found = _core.kmeanspp_seeds(graph.arrays, weights, power, uniforms)
        expected = reference.greedy_kmeanspp(reference.all_pairs(graph), weights, power, uniforms)
        assert found.tolist() == expected


def test_draws_by_hand() -> None:
    """On a star with weights 1, 2, 1 the first uniform picks by cumulated weight."""
    graph, weights = star(2), np.array([1.0, 2.0, 1.0])
    for uniform, node in [(0.0, 0), (0.2, 0), (0.25, 1), (0.74, 1), (0.75, 2), (0.999, 2)]:
        uniforms = np.array([[uniform]])
        assert _core.kmeanspp_seeds(graph.arrays, weights, 1, uniforms).tolist() == [node]


def test_greedy_trial_takes_the_better_draw() -> None:
    """Of a leaf and the far centre of a crowd, both drawn, the centre becomes the seed."""
    crowd = [(1, i, 1.0) for i in range(2, 8)]
    graph = Graph.from_edges(8, *map(list, zip((0, 1, 10.0), *crowd, strict=True)))
    # From node 0 the masses are 10 for node 1 and 11 for each of the six behind it.
    uniforms = np.array([[0.0, 0.0], [0.9, 5 / 76]])
    assert _core.kmeanspp_seeds(graph.arrays, np.ones(8), 1, uniforms).tolist() == [0, 1]


@given(graphs(is_connected=True), st.sampled_from(["k-means++", "random"]), st.data())
def test_seeds_are_distinct_nodes(graph: Graph, init: str, data: st.DataObject) -> None:
    """For any lengths, zero too, and any K up to n, no node is taken twice."""
    n_clusters = data.draw(st.integers(1, graph.n_nodes))
    found = seeds_of(graph, n_clusters, init=init, power=data.draw(st.sampled_from([1, 2])))
    assert len(set(found.tolist())) == n_clusters
    assert found.min() >= 0
    assert found.max() < graph.n_nodes
    assert found.dtype == np.int32


def test_nodes_without_weight_are_taken_last() -> None:
    """Nodes of weight zero become seeds only once no other is left, the smallest first."""
    weights = np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    for seed in range(20):
        generator = np.random.default_rng(seed)
        found = seeds_of(path(1, 1, 1, 1), 5, weights=weights, generator=generator).tolist()
        assert sorted(found[:2]) == [1, 3]
        assert found[2:] == [0, 2, 4]


def test_all_weights_zero() -> None:
    """Without any mass the nodes are taken in order."""
    assert seeds_of(path(1, 1), 3, weights=np.zeros(3)).tolist() == [0, 1, 2]


def test_every_distinct_place_is_seeded_before_a_duplicate() -> None:
    """Two nodes at distance zero are both seeds only once every other place has one."""
    graph = path(0.0, 0.0, 1.0, 0.0, 1.0)  # places {0, 1, 2}, {3, 4}, {5}
    for seed in range(20):
        found = seeds_of(graph, 3, generator=np.random.default_rng(seed))
        assert sorted(np.array([0, 0, 0, 1, 1, 2])[found].tolist()) == [0, 1, 2]


def test_same_seed_same_seeds() -> None:
    """Equal generators give equal seeds, and other generators other seeds."""
    graph = random_graph(0, 300)
    draws = [seeds_of(graph, 9, generator=np.random.default_rng(s)).tolist() for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_far_seeds_are_preferred() -> None:
    """Two far groups get one seed each: the probability is the distance squared."""
    graph = path(1, 1, 1e4, 1, 1)
    for seed in range(10):
        found = seeds_of(graph, 2, power=2, generator=np.random.default_rng(seed))
        assert sorted((found > 2).tolist()) == [False, True]


def test_given_nodes_are_taken_as_they_are() -> None:
    """An array of nodes is the start, in its order and in any integer type."""
    assert seeds_of(path(1, 1), 2, init=np.array([2, 0], np.uint8)).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("kmeans++", "init must be 'k-means\\+\\+', 'random' or nodes, found 'kmeans\\+\\+'"),
        ([0, 0], "init must hold 2 distinct nodes, found 1 among 2"),
        ([0], "init must hold 2 distinct nodes, found 1 among 1"),
        ([0, 1, 2], "init must hold 2 distinct nodes, found 3 among 3"),
        ([0, 3], "init must .* found 3"),
        ([0.0, 1.0], "init must be .* integers"),
        (None, "init must be"),
        ([], "init must hold at least one node"),
    ],
)
def test_refuses_other_starts(init: object, message: str) -> None:
    """What is neither a method nor the right number of nodes is refused."""
    with pytest.raises(InputError, match=message):
        seeds_of(path(1, 1), 2, init=init)


def test_progress_reaches_the_number_of_seeds() -> None:
    """The stage is named and the last report is complete."""
    heard: list[tuple[str, int, int]] = []
    seeds_of(path(1, 1, 1), 3, progress=lambda *report: heard.append(report))
    assert heard[-1] == ("seeds", 3, 3)


def test_generators_are_used_as_they_are() -> None:
    """A Generator is advanced, not copied."""
    generator = np.random.default_rng(0)
    assert as_generator(generator) is generator


def test_seeds_make_equal_generators() -> None:
    """Integers of Python and NumPy, and equal RandomStates, give equal generators."""
    assert as_generator(7).random() == as_generator(np.int64(7)).random()
    states = [np.random.RandomState(7) for _ in range(2)]
    assert as_generator(states[0]).random() == as_generator(states[1]).random()


def test_a_random_state_is_advanced() -> None:
    """Two generators of one RandomState differ."""
    state = np.random.RandomState(7)
    assert as_generator(state).random() != as_generator(state).random()


def test_none_is_fresh() -> None:
    """Without a seed no two generators agree."""
    assert as_generator(None).random() != as_generator(None).random()


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True, np.random])
def test_refuses_what_is_no_seed(seed: object) -> None:
    """Negative numbers, fractions, text and booleans are no seeds."""
    with pytest.raises(InputError, match="random_state must be None, a non-negative integer"):
        as_generator(seed)
