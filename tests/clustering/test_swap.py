"""Swaps: a local optimum of the dense problem, the same for any number of threads."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoquant import Graph, _core, nearest_source
from geoquant.clustering.alternate import Step, energy_of
from geoquant.clustering.swap import automatic_perturbations, perturb, swap
from tests import reference
from tests.graphs import EXACT, graphs, path, random_graph, random_weights


def swapped(graph: Graph, centres: object, *, seed: int = 0, **options: object) -> Step:
    settings = {
        "power": 1,
        "weights": np.ones(graph.n_nodes),
        "generator": np.random.default_rng(seed),
        "max_rounds": 1000,
    }
    return swap(graph, np.array(centres, np.int32), **settings | options)


def assert_local_optimum(
    step: Step, graph: Graph, start: object, power: int, weights: np.ndarray
) -> None:
    """No swap of the dense oracle improves; the energy is that of the centres, not above start."""
    dense = reference.all_pairs(graph)
    assert step.is_converged
    assert len(set(step.centres.tolist())) == len(start)
    assert reference.is_local_optimum(dense, step.centres.tolist(), power, weights)
    before, after = step.energy_history
    assert after <= before == pytest.approx(reference.energy(dense, start, power, weights))
    expected = reference.energy(dense, step.centres, power, weights)
    assert after == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(graphs(kinds=EXACT, is_connected=True, min_nodes=2), st.sampled_from([1, 2]), st.data())
def test_result_is_a_local_optimum(graph: Graph, power: int, data: st.DataObject) -> None:
    """From any start, K = 2 … n, with ties, zero lengths and weights, no dense swap improves."""
    node = st.integers(0, graph.n_nodes - 1)
    start = data.draw(st.lists(node, min_size=2, unique=True))
    seed = data.draw(st.integers(0, 99))
    weights = random_weights(seed, graph.n_nodes)
    step = swapped(graph, start, seed=seed, power=power, weights=weights)
    assert_local_optimum(step, graph, start, power, weights)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("kind", ["real", "ties", "zeros"])
@pytest.mark.parametrize("n_centres", [2, 3, 9, 40])
def test_result_is_a_local_optimum_of_larger_graphs(power: int, kind: str, n_centres: int) -> None:
    """Repairs in place after many swaps leave no swap undone on graphs of 150 nodes."""
    for seed in range(2):
        graph = random_graph(seed, 150, kind=kind)
        weights = random_weights(seed, 150)
        start = np.random.default_rng(seed).permutation(150)[:n_centres]
        step = swapped(graph, start, seed=seed, power=power, weights=weights)
        assert_local_optimum(step, graph, start, power, weights)


@pytest.mark.parametrize("power", [1, 2])
def test_state_after_many_swaps_equals_a_fresh_one(power: int) -> None:
    """The energy kept up to date through hundreds of swaps is that of a fresh search."""
    graph = random_graph(5, 1500)
    weights = np.random.default_rng(5).random(1500)
    step = swapped(graph, np.arange(60), power=power, weights=weights)
    fresh = energy_of(nearest_source(graph, step.centres).distance, power, weights)
    assert step.energy_history[-1] == pytest.approx(fresh, rel=1e-12)


@pytest.mark.parametrize("power", [1, 2])
def test_threads_do_not_show(power: int) -> None:
    """One, two, three and eight threads give the same centres and the same bits of energy."""
    graph = random_graph(7, 700)
    weights = np.random.default_rng(7).random(700)
    results = [
        swapped(graph, np.arange(20), power=power, weights=weights, n_threads=n_threads)
        for n_threads in (1, 2, 3, 8)
    ]
    for result in results[1:]:
        assert result.centres.tobytes() == results[0].centres.tobytes()
        assert result.energy_history == results[0].energy_history
        assert result.n_rounds == results[0].n_rounds


def test_by_hand() -> None:
    """Two pairs, both centres in one of them: one centre moves to the other pair."""
    step = swapped(path(1.0, 9.0, 1.0), [0, 1])
    assert sorted(step.centres // 2) == [0, 1]
    assert step.energy_history == [19.0, 2.0]


def test_a_new_centre_takes_the_position_of_the_old() -> None:
    """The centre that stays keeps its code."""
    for seed in range(5):
        assert swapped(path(0.5, 9.0, 9.0), [0, 3, 1], seed=seed).centres[1] == 3


@pytest.mark.parametrize("power", [1, 2])
def test_every_node_a_centre(power: int) -> None:
    """For K = n there is nothing to swap and no energy."""
    step = swapped(path(1.0, 0.3, 2.0), [3, 1, 0, 2], power=power)
    assert step.centres.tolist() == [3, 1, 0, 2]
    assert (step.energy_history, step.is_converged) == ([0.0, 0.0], True)


def test_stops_after_max_rounds() -> None:
    """Out of passes, it says that it has not converged."""
    graph = random_graph(2, 2000)
    step = swapped(graph, np.arange(30), max_rounds=1)
    assert not step.is_converged
    assert step.energy_history[1] < step.energy_history[0]


def test_input_is_not_written_to() -> None:
    """Centres, weights and graph stay as they were."""
    graph, centres, weights = random_graph(1, 100), np.arange(5, dtype=np.int32), np.ones(100)
    before = centres.tobytes(), weights.tobytes(), graph.lengths.tobytes()
    assert swapped(graph, centres, weights=weights).energy_history[1] > 0
    assert (centres.tobytes(), weights.tobytes(), graph.lengths.tobytes()) == before


def clumps(seed: int, within: float, between: float) -> tuple[Graph, int]:
    """Small cliques far apart in a random tree, and their number."""
    rng = np.random.default_rng(seed)
    n_clumps, size = (int(rng.integers(2, 6)) for _ in range(2))
    edges = []
    for clump in range(n_clumps):
        nodes = range(clump * size, (clump + 1) * size)
        edges += [(i, j, within * rng.uniform(0.5, 1)) for i in nodes for j in nodes if j < i]
        if clump:
            ends = rng.integers(size) + clump * size, rng.integers(clump * size)
            edges.append((*ends, between * rng.uniform(0.5, 1)))
    return Graph.from_edges(n_clumps * size, *map(list, zip(*edges, strict=True))), n_clumps


@pytest.mark.parametrize(
    ("power", "within", "between"),
    [(1, 1.0, 100.0), (1, 1e-3, 1e3), (1, 1e-3, 1e5), (2, 1e-3, 1.0), (2, 1e-2, 100.0)],
)
def test_ends_on_tight_clumps_far_apart(power: int, within: float, between: float) -> None:
    """Where removals cost far more than the energy, rounding does not pass for progress."""
    for seed in range(40):
        graph, n_clumps = clumps(seed, within, between)
        start = np.random.default_rng(seed).permutation(graph.n_nodes)[:n_clumps]
        step = swapped(graph, start, seed=seed, power=power, max_rounds=500)
        assert_local_optimum(step, graph, start, power, np.ones(graph.n_nodes))


SWAPS_TO_NO_ENERGY = """
import sys
sys.path.insert(0, {root!r})
import numpy as np
from geoquant.clustering.swap import swap
from tests.clustering.test_swap import clumps
for seed in range(200):
    graph, n_clumps = clumps(seed, {within}, {between})
    rng = np.random.default_rng(seed)
    weights = 0.1 + rng.random(graph.n_nodes)
    start = rng.permutation(graph.n_nodes)[:n_clumps].astype(np.int32)
    step = swap(graph, start, power={power}, weights=weights, generator=rng, max_rounds=500)
    nodes = step.centres.tolist()
    assert len(set(nodes)) == n_clumps, (seed, nodes)
    assert 0 <= min(nodes) <= max(nodes) < graph.n_nodes, (seed, nodes)
    assert step.is_converged, seed
"""


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("within", "between"), [(0.0, 1.0), (1e-3, 1e6)])
def test_ends_where_next_to_no_energy_is_left(
    request: pytest.FixtureRequest, power: int, within: float, between: float
) -> None:
    """An energy that falls by many orders of magnitude ends in a local optimum, not in a crash."""
    root = str(request.config.rootpath)
    code = SWAPS_TO_NO_ENERGY.format(root=root, power=power, within=within, between=between)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]


def perturbed(graph: Graph, centres: object, *, seed: int = 0, **options: object) -> Step:
    settings = {
        "power": 1,
        "weights": np.ones(graph.n_nodes),
        "generator": np.random.default_rng(seed),
        "n_perturbations": 20,
    }
    return perturb(graph, np.array(centres, np.int32), **settings | options)


@pytest.mark.parametrize("power", [1, 2])
def test_perturbing_only_improves(power: int) -> None:
    """Energies fall, the last is that of the centres, and some local optima are left behind."""
    n_improved = 0
    for seed in range(6):
        graph = random_graph(seed, 150)
        first = swapped(graph, np.arange(8), seed=seed, power=power)
        step = perturbed(graph, first.centres, seed=seed, power=power)
        assert (np.diff(step.energy_history) < 0).all()
        assert len(set(step.centres.tolist())) == 8
        fresh = energy_of(nearest_source(graph, step.centres).distance, power, np.ones(150))
        assert step.energy_history[-1] == pytest.approx(fresh, rel=1e-12)
        n_improved += fresh < first.energy_history[-1] * (1 - 1e-9)
    assert n_improved >= 1


@given(graphs(kinds=EXACT, is_connected=True, min_nodes=2), st.data())
def test_perturbing_takes_any_centres(graph: Graph, data: st.DataObject) -> None:
    """Any centres, K = 2 … n, also several at one place, are perturbed without harm."""
    node = st.integers(0, graph.n_nodes - 1)
    start = data.draw(st.lists(node, min_size=2, unique=True))
    step = perturbed(graph, start, n_perturbations=4)
    assert len(set(step.centres.tolist())) == len(start)
    assert (np.diff(step.energy_history) < 0).all()


def test_perturbing_three_centres_at_one_place() -> None:
    """A centre that is nobody's nearest or second nearest is perturbed like any other."""
    for seed in range(10):
        step = perturbed(path(0.0, 0.0, 0.0, 1.0), [0, 1, 2], seed=seed)
        assert step.energy_history[-1] <= 1.0


def test_perturbing_is_deterministic_for_any_number_of_threads() -> None:
    """The same generator gives the same bits with one, two and three threads."""
    graph = random_graph(4, 200)
    steps = [perturbed(graph, np.arange(9), n_threads=n_threads) for n_threads in (1, 2, 3)]
    for step in steps[1:]:
        assert step.centres.tobytes() == steps[0].centres.tobytes()
        assert step.energy_history == steps[0].energy_history


def test_progress_names_the_stages() -> None:
    """Swaps report up to a whole round without one; perturbations are counted."""
    heard: list[tuple[str, int, int]] = []
    graph = random_graph(0, 300)
    step = swapped(graph, np.arange(5), progress=lambda *report: heard.append(report))
    assert heard[-1] == ("swaps", 300, 300)
    assert {report[0] for report in heard} == {"swaps"}
    heard.clear()
    perturbed(graph, step.centres, n_perturbations=3, progress=lambda *report: heard.append(report))
    assert heard == [("perturbations", done, 3) for done in (1, 2, 3)]


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_round_without_a_swap_is_counted_exactly(seed: int) -> None:
    """The last report is n of n: each node was tried since the last swap, none counted twice."""
    heard: list[tuple[str, int, int]] = []
    step = swapped(
        random_graph(seed, 6000),
        np.random.default_rng(seed).permutation(6000)[:100],
        seed=seed,
        progress=lambda *report: heard.append(report),
    )
    assert step.is_converged
    assert max(done for _, done, _ in heard) == 6000


@pytest.mark.parametrize("power", [1, 2])
def test_a_local_optimum_of_a_large_graph_is_left_as_it_is(power: int) -> None:
    """Swapping again, with the candidates in another order, finds nothing more to swap."""
    for seed in range(4):
        graph = random_graph(seed, 5000)
        weights = np.random.default_rng(seed).pareto(1.2, 5000)
        start = np.random.default_rng(seed).permutation(5000)[:100]
        options = {"power": power, "weights": weights, "n_threads": 2}
        step = swapped(graph, start, seed=seed, **options)
        again = swapped(graph, step.centres, seed=seed + 1, **options)
        assert step.is_converged
        assert again.centres.tolist() == step.centres.tolist()


@pytest.mark.parametrize(
    ("n_nodes", "n_clusters", "expected"),
    [(10_000, 64, 64), (60_000, 64, 0), (20_000, 64, 17), (1_000_000, 64, 0), (2, 2, 2)],
)
def test_automatic_perturbations(n_nodes: int, n_clusters: int, expected: int) -> None:
    """Many for small graphs, none for very large ones."""
    assert automatic_perturbations(n_nodes, n_clusters) == expected


def test_only_the_candidates_given_are_tried() -> None:
    """The kernel swaps in no node but its candidates, and is optimal for those alone."""
    graph = random_graph(6, 120)
    weights, start = np.ones(120), np.arange(4, dtype=np.int32)
    candidates = np.array([70, 80, 90], np.int32)
    centres, *_, is_optimum = _core.swap_centres(graph.arrays, weights, 1, start, candidates, 10**6)
    assert is_optimum
    assert set(centres.tolist()) <= {*start.tolist(), *candidates.tolist()}
    assert centres.tolist() != start.tolist()
