"""Geodesic k-medoids and k-means as a whole: optima, contracts, arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoquant import (
    Clustering,
    Graph,
    InputError,
    NotConnectedError,
    bridge_components,
    geodesic_kmeans,
    geodesic_kmedoids,
    knn_graph,
    nearest_source,
)
from geoquant.clustering.kmedoids import cell_means
from tests import reference
from tests.graphs import (
    graph_of,
    graphs,
    path,
    random_graph,
    random_weights,
    two_cliques,
)

ALGORITHMS = ["auto", "swap", "alternate"]
#: For many runs on tiny graphs.
QUICK = {"n_perturbations": 2, "n_jobs": 1}


def assert_consistent(result: Clustering, graph: Graph, power: int, weights: np.ndarray) -> None:
    """Labels, distances and energies are those of the centres; the history never rises."""
    paths = nearest_source(graph, result.medoid_indices)
    expected = paths.source.copy()
    expected[result.medoid_indices] = np.arange(len(result.medoid_indices))  # ties at distance 0
    assert result.labels.tobytes() == expected.tobytes()
    assert result.distance.tobytes() == paths.distance.tobytes()
    assert result.inertia == pytest.approx(float((weights * paths.distance**power).sum()))
    assert result.inertia_history[-1] == pytest.approx(result.inertia, rel=1e-12, abs=1e-12)
    assert (np.diff(result.inertia_history) <= 0).all()
    assert np.unique(result.medoid_indices).size == result.medoid_indices.size
    assert result.n_iter >= 1
    assert (result.labels.dtype, result.medoid_indices.dtype) == (np.int32, np.int32)


@pytest.mark.parametrize("power", [1, 2])
def test_optimum_of_tiny_graphs(power: int) -> None:
    """Never better than the best of all sets of centres, and as good in nearly all cases."""
    n_optimal = 0
    cases = [(seed, k) for seed in range(10) for k in (2, 3, 4)]
    for seed, n_clusters in cases:
        graph = random_graph(seed, 9, 1, kind="ties" if seed % 2 else "real")
        weights = random_weights(seed, 9)
        result = geodesic_kmedoids(
            graph,
            n_clusters,
            power=power,
            sample_weight=weights,
            n_init=20,
            random_state=seed,
            **QUICK,
        )
        assert_consistent(result, graph, power, weights)
        least = reference.least_energy(reference.all_pairs(graph), n_clusters, power, weights)
        assert result.inertia >= least * (1 - 1e-12)
        n_optimal += result.inertia == pytest.approx(least)
    assert n_optimal >= 0.95 * len(cases)


@given(
    graphs(kinds=("integers", "fractions"), is_connected=True),
    st.sampled_from(ALGORITHMS),
    st.sampled_from([1, 2]),
    st.data(),
)
@settings(max_examples=40)
def test_contracts_hold(graph: Graph, algorithm: str, power: int, data: st.DataObject) -> None:
    """On any connected graph of positive lengths, K = 1 … n, every code is used."""
    n_clusters = data.draw(st.integers(1, graph.n_nodes))
    weights = random_weights(n_clusters, graph.n_nodes)
    result = geodesic_kmedoids(
        graph,
        n_clusters,
        power=power,
        sample_weight=weights,
        algorithm=algorithm,
        init=data.draw(st.sampled_from(["k-means++", "random"])),
        n_perturbations=3,
        random_state=1,
    )
    assert_consistent(result, graph, power, weights)
    assert set(result.labels.tolist()) == set(range(n_clusters))
    assert result.labels[result.medoid_indices].tolist() == list(range(n_clusters))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(graph=graphs(kinds=("integers with zeros",), is_connected=True), data=st.data())
@settings(max_examples=40)
def test_zero_lengths(algorithm: str, graph: Graph, data: st.DataObject) -> None:
    """Edges of length zero, and more clusters than distinct places, give a valid result."""
    n_clusters = data.draw(st.integers(1, graph.n_nodes))
    init = data.draw(st.sampled_from(["k-means++", "random"]))
    result = geodesic_kmedoids(
        graph, n_clusters, algorithm=algorithm, init=init, n_perturbations=2, random_state=0
    )
    assert_consistent(result, graph, 1, np.ones(graph.n_nodes))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_more_clusters_than_distinct_latents(algorithm: str) -> None:
    """Duplicates beyond the distinct latents are clustered without an accident."""
    x = [[0.0], [0.0], [0.0], [0.0], [1.0]]
    for n_clusters in (2, 3, 4, 5):
        result = geodesic_kmeans(
            knn_graph(x, 2), x, n_clusters, algorithm=algorithm, random_state=0
        )
        assert result.inertia == 0.0
        assert np.isfinite(result.centers).all()


def test_every_code_is_used_also_at_distance_zero() -> None:
    """Of two centres at one place each keeps itself, as the result promises of every code."""
    result = geodesic_kmedoids(path(0.0, 1.0), 3, random_state=0)
    assert set(result.labels.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("power", [1, 2])
def test_one_cluster_is_the_medoid(connected_graph: Graph, algorithm: str, power: int) -> None:
    """K = 1 gives the exact medoid of the graph."""
    n = connected_graph.n_nodes
    weights = random_weights(3, n)
    result = geodesic_kmedoids(
        connected_graph, 1, power=power, sample_weight=weights, algorithm=algorithm
    )
    dense = reference.all_pairs(connected_graph)
    assert result.inertia == pytest.approx(reference.least_energy(dense, 1, power, weights))
    assert not result.labels.any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_as_many_clusters_as_nodes(algorithm: str) -> None:
    """K = n gives every node its own code and no energy."""
    graph = random_graph(0, 12)
    result = geodesic_kmedoids(graph, 12, algorithm=algorithm, random_state=0)
    assert sorted(result.medoid_indices.tolist()) == list(range(12))
    assert (result.inertia, result.distance.any()) == (0.0, False)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_two_cliques_are_told_apart(algorithm: str) -> None:
    """A long bridge separates two cells."""
    result = geodesic_kmedoids(two_cliques(5, 50.0), 2, algorithm=algorithm, random_state=0)
    assert len(set(result.labels[:5])) == len(set(result.labels[5:])) == 1
    assert result.labels[0] != result.labels[5]
    assert result.inertia == 8.0


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("n_clusters", [2, 3])
def test_integer_weights_are_repeated_nodes(power: int, n_clusters: int) -> None:
    """A node of weight w counts like w nodes joined at length zero."""
    for seed in range(5):
        graph = random_graph(seed, 6, 1)
        weights = 1.0 + random_weights(seed, 6)
        twin_of = np.repeat(np.arange(6), weights.astype(int))
        first = np.searchsorted(twin_of, np.arange(6))
        edges = [(first[i], first[j], d) for (i, j), d in reference.edges_of(graph).items()]
        twins = [(first[node], i, 0.0) for i, node in enumerate(twin_of)]
        repeated = graph_of(len(twin_of), [*edges, *twins])
        options = {"power": power, "n_init": 20, "random_state": seed, **QUICK}
        weighted = geodesic_kmedoids(graph, n_clusters, sample_weight=weights, **options)
        plain = geodesic_kmedoids(repeated, n_clusters, **options)
        assert weighted.inertia == pytest.approx(plain.inertia)
        assert weighted.labels[twin_of].tobytes() == (
            nearest_source(repeated, first[weighted.medoid_indices]).source.tobytes()
        )


@pytest.mark.parametrize("power", [1, 2])
def test_swaps_are_no_worse_than_alternation(power: int) -> None:
    """From the same seeds swaps end at least as low, and lower somewhere."""
    pairs = []
    for seed in range(5):
        graph, start = random_graph(seed, 300), np.random.default_rng(seed).permutation(300)[:10]
        options = {"power": power, "init": start, "random_state": 0}
        swaps = geodesic_kmedoids(graph, 10, **options).inertia
        pairs.append(
            (swaps, geodesic_kmedoids(graph, 10, algorithm="alternate", **options).inertia)
        )
    assert all(swaps <= alternation for swaps, alternation in pairs)
    assert any(swaps < alternation for swaps, alternation in pairs)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_seed_decides_and_threads_do_not(algorithm: str) -> None:
    """The same seed gives the same bits, whatever the number of jobs; another seed another run."""
    graph = random_graph(8, 400)
    options = {"algorithm": algorithm, "n_init": 2, "n_perturbations": 5}
    expected = geodesic_kmedoids(graph, 12, n_jobs=1, random_state=3, **options)
    for n_jobs in (1, 2, 3, None):
        found = geodesic_kmedoids(graph, 12, n_jobs=n_jobs, random_state=3, **options)
        assert found.medoid_indices.tobytes() == expected.medoid_indices.tobytes()
        assert found.distance.tobytes() == expected.distance.tobytes()
        assert found.inertia_history == expected.inertia_history
    other = geodesic_kmedoids(graph, 12, random_state=4, **options)
    assert other.inertia_history[0] != expected.inertia_history[0]


def test_more_starts_are_no_worse() -> None:
    """Of several starts the best is kept."""
    graph = random_graph(9, 200)
    options = {"n_perturbations": 0, "random_state": 5}
    one, many = (geodesic_kmedoids(graph, 8, n_init=n, **options).inertia for n in (1, 8))
    assert many < one


def test_perturbations_are_no_worse() -> None:
    """Perturbing the same local optimum ends no higher, and lower somewhere."""
    pairs = []
    for seed in range(5):
        graph = random_graph(seed, 150)
        pairs.append(
            [
                geodesic_kmedoids(graph, 9, n_perturbations=n, random_state=seed).inertia
                for n in (0, 30)
            ]
        )
    assert all(shaken <= plain for plain, shaken in pairs)
    assert any(shaken < plain for plain, shaken in pairs)


def test_perturbed_result_is_a_local_optimum() -> None:
    """After perturbing, swaps run to the end again, over the whole graph."""
    graph = random_graph(1, 80)
    result = geodesic_kmedoids(graph, 6, n_perturbations=20, random_state=0)
    assert result.is_converged
    dense = reference.all_pairs(graph)
    assert reference.is_local_optimum(dense, result.medoid_indices.tolist(), 1, np.ones(80))


def test_dense_clusters_far_apart_end() -> None:
    """Real-valued clusters a thousand radii apart, power 2, converge with perturbations."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        centres = rng.normal(scale=100.0, size=(4, 2))
        x = np.repeat(centres, 4, axis=0) + rng.normal(scale=1e-1, size=(16, 2))
        graph = bridge_components(knn_graph(x, 3), x).graph
        result = geodesic_kmedoids(graph, 4, power=2, n_perturbations=0, random_state=seed)
        assert result.is_converged
        assert_consistent(result, graph, 2, np.ones(16))


def test_disconnected_graph_is_refused() -> None:
    """The error names the components and their sizes."""
    graph = graph_of(5, [(0, 1, 1.0), (1, 2, 1.0)])
    with pytest.raises(NotConnectedError, match=r"3 components \(sizes 3, 1, 1\)"):
        geodesic_kmedoids(graph, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 0}, "n_clusters must be an integer of at least 1, found 0"),
        ({"n_clusters": -3}, "n_clusters must be an integer"),
        ({"n_clusters": 5}, "n_clusters must be at most the number of nodes, 4, found 5"),
        ({"n_clusters": 2**31}, "n_clusters must be at most"),
        ({"n_clusters": 2.0}, "n_clusters must be an integer"),
        ({"n_clusters": True}, "n_clusters must be an integer"),
        ({"n_clusters": "2"}, "n_clusters must be an integer"),
        ({"n_clusters": None}, "n_clusters must be an integer"),
        ({"power": 3}, "power must be 1 or 2, found 3"),
        ({"power": 0}, "power must be 1 or 2"),
        ({"power": "2"}, "power must be 1 or 2"),
        ({"power": 1.0}, "power must be 1 or 2"),
        ({"power": np.array([1, 2])}, "power must be 1 or 2"),
        ({"n_init": 0}, "n_init must be an integer of at least 1"),
        ({"n_init": 1.5}, "n_init must be an integer"),
        ({"max_iter": 0}, "max_iter must be an integer of at least 1"),
        ({"max_iter": None}, "max_iter must be an integer"),
        ({"n_perturbations": -1}, "n_perturbations must be an integer of at least 0"),
        ({"n_perturbations": "many"}, "n_perturbations must be an integer"),
        ({"algorithm": "pam"}, "algorithm must be 'auto', 'swap' or 'alternate', found 'pam'"),
        ({"algorithm": None}, "algorithm must be"),
        ({"init": "furthest"}, "init must be"),
        ({"init": [0, 1, 2]}, "init must hold 2 distinct nodes, found 3"),
        ({"init": [1, 1]}, "init must hold 2 distinct nodes, found 1"),
        ({"init": [0, 4]}, "init must .* found 4"),
        ({"sample_weight": [1.0]}, r"sample_weight must have one weight per latent, shape \(4,\)"),
        ({"sample_weight": [1, 1, 1, -1]}, "sample_weight must be finite and not negative"),
        ({"sample_weight": [0, 0, 0, 0]}, "sample_weight must have a positive"),
        ({"sample_weight": [1, 1, 1, np.nan]}, "sample_weight must be finite"),
        ({"n_jobs": 0}, "n_jobs must be None or a non-zero integer"),
        ({"random_state": -1}, "random_state must be"),
        ({"random_state": "0"}, "random_state must be"),
    ],
    ids=str,
)
def test_refuses(options: dict, message: str) -> None:
    """Each argument out of range is named, with what was found."""
    with pytest.raises(InputError, match=message):
        geodesic_kmedoids(path(1.0, 1.0, 1.0), **{"n_clusters": 2} | options)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_huge_max_iter_is_no_limit(algorithm: str) -> None:
    """Any number of rounds may be allowed."""
    result = geodesic_kmedoids(
        path(1.0, 1.0), 2, max_iter=2**62, algorithm=algorithm, random_state=0
    )
    assert result.is_converged


def test_numpy_integers_are_counts() -> None:
    """Counts and powers may be NumPy integers."""
    result = geodesic_kmedoids(
        path(1.0, 1.0), np.int64(2), power=np.int32(2), n_init=np.uint8(1), random_state=np.int16(0)
    )
    assert result.medoid_indices.size == 2


@pytest.mark.parametrize("stage", ["seeds", "swaps", "perturbations", "alternate"])
def test_progress_may_stop_each_stage(stage: str) -> None:
    """What the callback raises comes out of any stage."""

    def stop(name: str, done: int, total: int) -> None:
        assert total >= 1
        if name == stage:
            raise RuntimeError(name)

    algorithm = "alternate" if stage == "alternate" else "swap"
    with pytest.raises(RuntimeError, match=stage):
        geodesic_kmedoids(
            random_graph(0, 60), 4, algorithm=algorithm, progress=stop, random_state=0
        )


@pytest.mark.parametrize(
    ("stage", "n_heard"), [("swaps", 2), ("perturbations", 1), ("alternate", 1)]
)
def test_progress_may_end_each_stage_with_what_is_found(stage: str, n_heard: int) -> None:
    """True ends a stage at once, and what was found until then is the result."""
    heard: list[str] = []

    def end(name: str, done: int, total: int) -> bool:
        heard.append(name)
        return name == stage

    x = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    graph = bridge_components(knn_graph(x, 10), x).graph
    options = {"algorithm": "alternate" if stage == "alternate" else "swap", "random_state": 0}
    ended = geodesic_kmedoids(graph, 30, progress=end, **options)
    whole = geodesic_kmedoids(graph, 30, **options)
    assert heard.count(stage) == n_heard  # swaps come before and after the perturbations
    assert ended.inertia_history[0] == whole.inertia_history[0]
    assert ended.inertia_history[0] > ended.inertia_history[1]
    if stage != "perturbations":  # of which 30 are tried otherwise
        assert ended.inertia_history[1:] != whole.inertia_history[1:]
        assert not ended.is_converged
    assert ended.inertia == pytest.approx(ended.inertia_history[-1])
    assert (ended.labels[ended.medoid_indices] == np.arange(30)).all()


def latents_and_graph(seed: int = 0) -> tuple[np.ndarray, Graph]:
    x = np.random.default_rng(seed).normal(size=(60, 3)).astype(np.float32)
    return x, bridge_components(knn_graph(x, 4), x).graph


def test_kmeans_is_kmedoids_of_power_2_with_means() -> None:
    """Cells are those of power 2, and the centers their weighted mean latents."""
    x, graph = latents_and_graph()
    weights = random_weights(0, 60)
    options = {"sample_weight": weights, "random_state": 0}
    result = geodesic_kmeans(graph, x, 5, **options)
    cells = geodesic_kmedoids(graph, 5, power=2, **options)
    assert result.labels.tobytes() == cells.labels.tobytes()
    assert result.inertia == cells.inertia
    for code in range(5):
        is_member = result.labels == code
        mean = np.average(x[is_member].astype(float), axis=0, weights=weights[is_member])
        assert result.centers[code] == pytest.approx(mean, rel=1e-6)
    assert (result.centers.dtype, cells.centers) == (np.float32, None)


def test_kmeans_takes_any_layout() -> None:
    """Fortran order and big-endian numbers give the same bits."""
    x, graph = latents_and_graph(1)
    expected = geodesic_kmeans(graph, x, 4, random_state=0).centers
    for same in (np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, axis=0)[::2]):
        assert geodesic_kmeans(graph, same, 4, random_state=0).centers.tobytes() == (
            expected.tobytes()
        )


@pytest.mark.parametrize(
    ("latents", "options", "message"),
    [
        ([[0.0], [1.0]], {}, "latents must have 3 rows, one per node, found 2"),
        ([[0.0], [1.0], [np.nan]], {}, "latents must be finite"),
        ([[0.0], [1.0], [2.0]], {"power": 1}, "power is 2 for geodesic_kmeans"),
        ([[0.0], [1.0], [2.0]], {"sample_weight": [1.0]}, "sample_weight"),
    ],
)
def test_kmeans_refuses(latents: list, options: dict, message: str) -> None:
    """Latents that do not fit the graph, and a power, are refused."""
    with pytest.raises(InputError, match=message):
        geodesic_kmeans(path(1.0, 1.0), latents, 2, **options)


def test_means_by_hand() -> None:
    """Weights count, and a cell without weight has its plain mean."""
    x = np.array([[0.0, 1.0], [4.0, 1.0], [8.0, 2.0], [10.0, 4.0]], np.float32)
    means = cell_means(x, np.array([0, 0, 1, 1]), 2, np.array([3.0, 1.0, 0.0, 0.0]))
    assert means.tolist() == [[1.0, 1.0], [9.0, 3.0]]
