"""Starts from a small graph and few candidates: sound at every step, never worse than before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant import Graph, _core, geodesic_kmedoids, nearest_source
from geoquant.clustering import kmedoids, multilevel
from geoquant.clustering.alternate import Step, energy_of
from geoquant.clustering.multilevel import (
    coarse_centres,
    n_coarse_nodes,
    near_swaps,
    sampled_swaps,
)
from tests import reference
from tests.graphs import EXACT, graphs, path, random_graph, random_weights


def contraction_of(graph: Graph, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of the contracted graph, and the cell of every node."""
    contracted, cell = _core.contracted_graph(graph.arrays, nodes)
    sources = np.arange(len(nodes), dtype=np.int32)
    dense = [_core.nearest_source(contracted, sources[i : i + 1])[0] for i in sources]
    return np.array(dense), cell


def crossing_lengths(graph: Graph, paths: object, n_cells: int) -> np.ndarray:
    """Of each two cells, the length of the best path through one edge between them."""
    lengths = np.full((n_cells, n_cells), np.inf)
    for (i, j), length in reference.edges_of(graph).items():
        a, b = paths.source[i], paths.source[j]
        through = paths.distance[i] + paths.distance[j] + length
        if a != b:
            lengths[a, b] = lengths[b, a] = min(lengths[a, b], through)
    return lengths


@given(graphs(kinds=EXACT, is_connected=True), st.data())
def test_contraction_agrees_with_the_definition(graph: Graph, data: st.DataObject) -> None:
    """Cells are those of the nearest node; cells are joined by their best crossing path."""
    node = st.integers(0, graph.n_nodes - 1)
    nodes = np.array(data.draw(st.lists(node, min_size=1, unique=True)), np.int32)
    found, cell = contraction_of(graph, nodes)
    paths = nearest_source(graph, nodes)
    expected = crossing_lengths(graph, paths, len(nodes))
    np.fill_diagonal(expected, 0.0)
    for via in range(len(nodes)):  # Floyd and Warshall
        expected = np.minimum(expected, expected[:, via : via + 1] + expected[via])
    assert cell.tolist() == paths.source.tolist()
    assert found.tolist() == expected.tolist()


def test_contraction_by_hand() -> None:
    """Of a path of five, ends and middle remain, each two steps from the next."""
    found, cell = contraction_of(path(1.0, 2.0, 3.0, 4.0), np.array([0, 4, 2], np.int32))
    assert cell.tolist() == [0, 0, 2, 2, 1]
    assert found.tolist() == [[0.0, 10.0, 3.0], [10.0, 0.0, 7.0], [3.0, 7.0, 0.0]]


def test_contraction_refuses_what_it_cannot_reach() -> None:
    """A node that no source reaches has no cell."""
    two_parts = Graph.from_edges(3, [0], [1], [1.0])
    with pytest.raises(ValueError, match="sources must reach every node"):
        _core.contracted_graph(two_parts.arrays, np.array([0], np.int32))


@pytest.mark.parametrize("power", [1, 2])
def test_coarse_centres_are_distinct_and_deterministic(power: int) -> None:
    """Equal generators give equal centres for any number of threads, K = 1 … all of the cells."""
    graph, weights = random_graph(3, 500), random_weights(3, 500)
    for n_clusters in (1, 2, 30, 100):
        results = [
            coarse_centres(
                graph,
                n_clusters,
                n_coarse=100,
                power=power,
                weights=weights,
                generator=np.random.default_rng(0),
                n_threads=n_threads,
            )
            for n_threads in (1, 2, 3, 8)
        ]
        assert len(set(results[0].tolist())) == n_clusters
        for result in results[1:]:
            assert result.tobytes() == results[0].tobytes()


def assert_never_worse(
    step: Step, graph: Graph, start: np.ndarray, power: int, weights: np.ndarray
) -> None:
    before = energy_of(nearest_source(graph, start).distance, power, weights)
    after = energy_of(nearest_source(graph, step.centres).distance, power, weights)
    assert step.energy_history[0] == before
    assert step.energy_history[-1] == pytest.approx(after, rel=1e-12, abs=1e-12)
    assert (np.diff(step.energy_history) <= 0).all()
    assert len(set(step.centres.tolist())) == len(start)
    assert not step.is_converged


@given(graphs(kinds=EXACT, is_connected=True, min_nodes=2), st.sampled_from([1, 2]), st.data())
def test_few_candidates_only_improve(graph: Graph, power: int, data: st.DataObject) -> None:
    """From any start, K = 2 … n, with ties, zero lengths and weights, the energy never rises."""
    node = st.integers(0, graph.n_nodes - 1)
    start = np.array(data.draw(st.lists(node, min_size=2, unique=True)), np.int32)
    weights = random_weights(0, graph.n_nodes)
    for function, limits in ((near_swaps, {}), (sampled_swaps, {"max_evaluations": 5})):
        generator = np.random.default_rng(0)
        step = function(graph, start, power=power, weights=weights, generator=generator, **limits)
        assert_never_worse(step, graph, start, power, weights)


def test_near_swaps_try_the_nodes_beside_the_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """A centre one step off its best place moves there; nothing else is tried."""
    monkeypatch.setattr(multilevel, "_NEAR_PER_CENTRE", 1)
    monkeypatch.setattr(multilevel, "_MOST_NEAR_ROUNDS", 1)
    graph = path(1.0, 1.1, 9.0, 1.0, 1.1)
    options = {"power": 1, "weights": np.ones(6), "generator": np.random.default_rng(0)}
    step = near_swaps(graph, np.array([0, 4], np.int32), **options)
    assert sorted(step.centres.tolist()) == [1, 4]


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start from small graphs where there are more than 120 nodes."""
    monkeypatch.setattr(multilevel, "_LEAST_COARSE_NODES", 40)
    monkeypatch.setattr(multilevel, "_COARSE_NODES_PER_CENTRE", 4)


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("algorithm", ["auto", "swap"])
@pytest.mark.parametrize("power", [1, 2])
def test_local_optimum_from_the_small_graph(algorithm: str, power: int) -> None:
    """Begun on a small graph, swaps still end where no swap of the dense oracle improves."""
    graph, weights = random_graph(1, 200), random_weights(1, 200)
    result = geodesic_kmedoids(
        graph,
        5,
        power=power,
        sample_weight=weights,
        algorithm=algorithm,
        n_perturbations=0,
        random_state=0,
    )
    centres = result.medoid_indices.tolist()
    assert result.is_converged
    assert (np.diff(result.inertia_history) <= 0).all()
    assert reference.is_local_optimum(reference.all_pairs(graph), centres, power, weights)


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("most", [30, 10**6])
def test_threads_do_not_show(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """With all candidates or few, one, two, three and eight threads give the same bits."""
    monkeypatch.setattr(kmedoids, "affordable_evaluations", lambda *_: most)
    graph = random_graph(4, 3000)
    results = [
        geodesic_kmedoids(graph, 9, power=2, random_state=0, n_jobs=n_jobs)
        for n_jobs in (1, 2, 3, 8)
    ]
    for result in results[1:]:
        assert result.medoid_indices.tobytes() == results[0].medoid_indices.tobytes()
        assert result.inertia_history == results[0].inertia_history


def test_out_of_budget_is_not_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all nodes were tried, 'auto' says so, and 'swap' goes on."""
    monkeypatch.setattr(kmedoids, "affordable_evaluations", lambda *_: 20)
    options = {"power": 2, "random_state": 0, "n_perturbations": 0}
    cut_short = geodesic_kmedoids(random_graph(0, 300), 6, **options)
    whole = geodesic_kmedoids(random_graph(0, 300), 6, algorithm="swap", **options)
    assert (cut_short.is_converged, whole.is_converged) == (False, True)
    assert whole.inertia <= cut_short.inertia


def test_progress_of_samples_reaches_its_total() -> None:
    """The last report says that all drawn nodes were tried."""
    heard: list[tuple[str, int, int]] = []
    sampled_swaps(
        random_graph(0, 300),
        np.array([0, 1], np.int32),
        power=1,
        weights=np.ones(300),
        generator=np.random.default_rng(0),
        max_evaluations=150,
        progress=lambda *report: heard.append(report),
    )
    assert heard == [("swaps", 128, 150), ("swaps", 150, 150)]


def test_progress_may_end_samples() -> None:
    """True ends them at once, with what the first has found."""
    heard: list[tuple[str, int, int]] = []
    options = {"power": 1, "weights": np.ones(300), "max_evaluations": 150}
    graph, start = random_graph(0, 300), np.array([0, 1], np.int32)
    ended, whole = (
        sampled_swaps(
            graph, start, generator=np.random.default_rng(0), progress=progress, **options
        )
        for progress in (lambda *report: heard.append(report) is None, None)
    )
    assert heard == [("swaps", 128, 150)]
    assert ended.energy_history == whole.energy_history[: len(ended.energy_history)]


@pytest.mark.parametrize(
    ("n_nodes", "n_clusters", "expected"),
    [(36_863, 2, 0), (36_864, 2, 12_288), (60_000, 64, 12_288), (60_000, 1024, 0)],
)
def test_size_of_the_small_graph(n_nodes: int, n_clusters: int, expected: int) -> None:
    """None where the graph is small for its number of centres."""
    assert n_coarse_nodes(n_nodes, n_clusters) == expected
