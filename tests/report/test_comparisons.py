"""Tests of geoquant/report/peer.py, order.py, elbow.py and health.py."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra
from sklearn.cluster import KMeans

import geoquant as gq
from geoquant.report.elbow import elbow, knee, ladder
from geoquant.report.health import (
    edges_of,
    graph_numbers,
    n_components_of,
    nodes_over,
    stability,
)
from geoquant.report.order import (
    centre_distances,
    distance_to_data,
    frames_along,
    geodesic_order,
    telling_path,
)
from geoquant.report.peer import geodesic_energy, kmeans_peer, matched, numbers_of_codes
from geoquant.report.subject import subject_of
from tests.report.conftest import arc

if TYPE_CHECKING:
    from geoquant.fit import FittedCodebook


def graph_of(n: int, seed: int, k: int = 4) -> tuple[np.ndarray, gq.Graph]:
    x = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    return x, gq.bridge_components(gq.knn_graph(x, k), x).graph


# ------------------------------------------------------------------------------------ KMeans


def test_peer_is_kmeans(fitted: FittedCodebook) -> None:
    """Its clusters are those of scikit-learn with as many starts and the same seed."""
    peer = kmeans_peer(subject_of(fitted.codebook, arc()))
    expected = KMeans(8, n_init=3, random_state=0).fit(arc())
    np.testing.assert_allclose(peer.vectors, expected.cluster_centers_, rtol=1e-5)
    np.testing.assert_array_equal(peer.codes, expected.labels_)
    nearest = np.linalg.norm(arc() - peer.vectors[:, None], axis=2).argmin(axis=1)
    np.testing.assert_array_equal(peer.centres, nearest)


def test_peer_is_fitted_where_the_codebook_was(fitted: FittedCodebook) -> None:
    """For new latents it comes from the anchors, and is assigned to them."""
    new = arc(300)[::2] + np.float32(0.01)
    peer = kmeans_peer(subject_of(fitted.codebook, new))
    own = kmeans_peer(subject_of(fitted.codebook, arc()))
    np.testing.assert_array_equal(peer.vectors, own.vectors)
    assert (len(peer.codes), peer.n_rows) == (150, 200)


def test_energy_is_that_of_shortest_paths() -> None:
    """As SciPy's Dijkstra finds them."""
    _, graph = graph_of(60, 0)
    distance = dijkstra(graph.to_scipy(), indices=[3, 17], min_only=True)
    assert geodesic_energy(graph, [3, 17], 2) == pytest.approx(np.mean(distance**2))
    assert geodesic_energy(graph, [3, 17], 1) == pytest.approx(np.mean(distance))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 10**6))
def test_matching_is_the_best_of_all(k: int, seed: int) -> None:
    """No pairing of codes agrees on more latents."""
    codes, other = np.random.default_rng(seed).integers(0, k, (2, 30))
    best = max((np.array(p)[codes] == other).mean() for p in itertools.permutations(range(k)))
    assert matched(codes, other, k).mean() == best


def test_numbers_of_two_heaps() -> None:
    """By hand: distances 0 and 1 from two medoids, means in the middle, labels told by all."""
    x = np.array([[0.0], [1.0], [8.0], [9.0]], np.float32)
    subject = subject_of(gq.fit_codebook(x, 2, n_neighbors=1, random_state=0).codebook, x)
    own = (subject.codes, subject.codebook.vectors, subject.centres)
    found = numbers_of_codes(subject, *own, np.array([0, 0, 1, 0]))
    assert found == pytest.approx(
        {
            "euclidean_distortion": 0.25,
            "geodesic_energy": 0.5,
            "perplexity": 2.0,
            "dead_codes": 0,
            "majority_accuracy": 0.75,
            "nmi": 0.3437,
        },
        abs=1e-3,
    )


# ------------------------------------------------------------------------------------- order


def test_distances_between_centres_are_those_of_scipy() -> None:
    """Bit for bit up to the direction of a path, and symmetric."""
    _, graph = graph_of(600, 1)
    centres = np.arange(0, 600, 20)
    expected = dijkstra(graph.to_scipy(), indices=centres)[:, centres]
    found = centre_distances(graph, centres)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(found, found.T)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(0, 10**6))
def test_order_is_a_short_tour(n: int, seed: int) -> None:
    """A permutation, near the best of all, which no single reversal makes shorter."""
    x = np.random.default_rng(seed).normal(size=(n, 2))
    d = np.linalg.norm(x[:, None] - x, axis=2)

    def length(tour: tuple[int, ...]) -> float:
        return float(sum(d[a, b] for a, b in itertools.pairwise(tour)))

    tour = geodesic_order(d).tolist()
    assert sorted(tour) == list(range(n))
    assert length(tour) <= 1.5 * min(map(length, itertools.permutations(range(n)))) + 1e-12
    for i in range(n):
        for j in range(i + 2, n + 1):
            turned = tour[:i] + tour[i:j][::-1] + tour[j:]
            assert length(turned) >= length(tour) - 1e-9


def test_order_along_a_line_is_the_line() -> None:
    """Codes on a line come out as they lie there, from one end to the other."""
    place = np.random.default_rng(0).permutation(40).astype(float)
    found = place[geodesic_order(abs(place[:, None] - place))]
    assert abs(np.diff(found)).sum() == 39


def test_distances_that_are_no_square_are_refused() -> None:
    """The shape is named."""
    with pytest.raises(gq.InputError, match=r"distances must have shape \(n, n\).*\(2, 3\)"):
        geodesic_order(np.zeros((2, 3)))


def test_telling_path_goes_round_the_arc(fitted: FittedCodebook) -> None:
    """It joins the two centres between which the way is longest beyond the chord."""
    subject = subject_of(fitted.codebook, arc())
    d = centre_distances(subject.graph, subject.centres)
    path = telling_path(subject.graph, subject.nodes, subject.centres, d)
    chord = np.linalg.norm(
        subject.nodes[subject.centres][:, None] - subject.nodes[subject.centres], axis=2
    )
    assert path.length - path.chord == pytest.approx((d - chord).max(), rel=1e-5)
    assert path.length == pytest.approx(d[path.codes], rel=1e-6)
    ends = subject.centres[list(path.codes)]
    np.testing.assert_array_equal(path.nodes[[0, -1]], ends)


def test_path_of_one_code_leads_to_the_farthest_latent() -> None:
    """There is no other centre to lead to."""
    x = np.arange(5, dtype=np.float32)[:, None]
    graph = gq.knn_graph(x, 1)
    path = telling_path(graph, x, np.array([1], np.int32), [[0.0]])
    assert (path.nodes.tolist(), path.codes) == ([1, 2, 3, 4], (0, -1))


def test_path_where_none_is_longer_than_its_chord() -> None:
    """On a line all are as good; the first pair is taken, and it has two ends."""
    x = np.arange(5, dtype=np.float32)[:, None]
    graph = gq.knn_graph(x, 1)
    centres = np.array([0, 2, 4], np.int32)
    path = telling_path(graph, x, centres, centre_distances(graph, centres))
    assert path.codes == (0, 1)
    assert path.length == path.chord == 2.0


def test_frames_are_at_equal_steps() -> None:
    """Along a corner the steps are as long; the ends are the ends."""
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 5.0]])
    frames = frames_along(corners, 9)
    np.testing.assert_array_equal(frames[[0, -1]], corners[[0, -1]])
    np.testing.assert_allclose(np.linalg.norm(np.diff(frames, axis=0), axis=1), 1.0)


def test_distance_to_data_is_that_of_the_nearest() -> None:
    """As all pairs tell."""
    x = arc(50)
    points = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    expected = np.linalg.norm(points[:, None] - x, axis=2).min(axis=1)
    np.testing.assert_allclose(distance_to_data(points, x), expected, rtol=1e-5)


# ------------------------------------------------------------------------------------- elbow


def test_ladder_holds_what_can_be_fitted() -> None:
    """It climbs to four times the number, ends where latents end, and names the number itself."""
    assert ladder(64, 5000)[-3:] == [128, 192, 256]
    assert 64 in ladder(64, 5000)
    assert 100 in ladder(100, 5000)
    assert ladder(1000, 80) == [1, 2, 3, 4, 6, 8]
    assert ladder(3, 8) == [1]


def test_elbow_measures_what_it_says(fitted: FittedCodebook) -> None:
    """Each method is about the better by its own measure; one code has the plain variance."""
    found = elbow(subject_of(fitted.codebook, arc()).nodes, 8, n_neighbors=5)
    assert found.n_rows == 200
    along = np.array(found.geodesic_energy) / found.kmeans_energy
    straight = np.array(found.kmeans_distortion) / found.geodesic_distortion
    # Both are local searches, which may end a little above the best.
    assert along.max() < 1.05
    assert np.median(along) < 1
    assert np.median(straight) < 1.01
    variance = arc().astype(np.float64).var(axis=0).sum()
    assert found.geodesic_distortion[0] == pytest.approx(variance, rel=1e-5)
    assert found.kmeans_distortion[0] == pytest.approx(variance, rel=1e-5)
    graph = gq.bridge_components(gq.knn_graph(arc(), 5), arc()).graph
    distance = dijkstra(graph.to_scipy())
    assert found.geodesic_energy[0] == pytest.approx((distance**2).mean(axis=1).min())


@pytest.mark.parametrize("n_heaps", [2, 3, 4, 6])
def test_knee_is_where_the_heaps_are(n_heaps: int) -> None:
    """Of heaps far apart, the number is found."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(n_heaps, 3)) * 100
    x = (centre[:, None] + rng.normal(size=(n_heaps, 80, 3))).reshape(-1, 3).astype(np.float32)
    found = elbow(x, 8)
    assert knee(found.ks, found.geodesic_energy) == n_heaps


def test_there_is_no_knee_in_a_law_of_powers() -> None:
    """Nor where there is nothing to compare, nor in equal errors."""
    ks = ladder(64, 5000)
    assert knee(ks, [k**-0.5 for k in ks]) is None
    assert knee([1], [3.0]) is None
    assert knee([1, 2], [3.0, 1.0]) is None
    assert knee(ks, [1.0] * len(ks)) is None


# ------------------------------------------------------------------------------------ health


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.integers(0, 10**6))
def test_lone_edges_are_in_no_triangle(n: int, seed: int) -> None:
    """As neighbours compared one by one tell."""
    _, graph = graph_of(n, seed, k=2)
    near = [set(graph.indices[graph.indptr[i] : graph.indptr[i + 1]].tolist()) for i in range(n)]
    found = edges_of(graph)
    expected = [not near[a] & near[b] for a, b in found.ends.tolist()]
    assert found.is_lone.tolist() == expected
    assert len(found.ends) == graph.n_edges
    place = {(a, b): w for a, b, w in zip(*found.ends.T.tolist(), found.length, strict=True)}
    assert all(graph.to_scipy()[a, b] == w for (a, b), w in place.items())


def test_blocks_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of the blocks, the edges are the same."""
    _, graph = graph_of(50, 2)
    whole = edges_of(graph)
    monkeypatch.setattr("geoquant.report.health._BLOCK_ROWS", 7)
    for found, expected in zip(edges_of(graph), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 40), st.integers(0, 10**6))
def test_nodes_over_edges_are_those_whose_path_has_one(n: int, seed: int) -> None:
    """As the paths followed one by one tell."""
    _, graph = graph_of(n, seed, k=2)
    rng = np.random.default_rng(seed)
    doubtful = edges_of(graph).ends[rng.random(graph.n_edges) < 0.2]
    centres = rng.choice(n, 2, replace=False)
    marked = {tuple(edge) for edge in doubtful.tolist()}
    before = gq.nearest_source(graph, centres).predecessor
    expected = []
    for node in range(n):
        steps = [node]
        while before[steps[-1]] >= 0:
            steps.append(int(before[steps[-1]]))
        pairs = itertools.pairwise(steps)
        expected.append(any((min(pair), max(pair)) in marked for pair in pairs))
    assert nodes_over(graph, centres, doubtful).tolist() == expected


def test_numbers_of_a_graph_in_pieces() -> None:
    """By hand: two pairs far apart, joined by one bridge that is the longest edge."""
    x = np.array([[0.0], [1.0], [8.0], [9.0], [9.5]], np.float32)
    subject = subject_of(gq.fit_codebook(x, 2, n_neighbors=1, random_state=0).codebook, x)
    found = graph_numbers(subject, edges_of(subject.graph))
    assert found["n_components"] == 2
    assert found["component_sizes"] == [3, 2]
    assert found["bridge_lengths"] == [7.0]
    assert (found["n_edges"], found["degree_max"]) == (4, 2)
    assert found["nodes_that_no_other_names"] == 1
    assert found["edges_in_no_triangle"] == 1.0
    assert found["possible_shortcuts"] == 1
    assert found["edge_length_quantiles"]["1.0"] == 7.0
    assert found["latents_over_possible_shortcuts"] == 0.0


def test_hubs_show_in_the_skewness() -> None:
    """Latents around one that all of them name."""
    angle = np.linspace(0, 2 * np.pi, 6)[:-1]
    x = np.concatenate([[[0.0, 0.0]], np.stack([np.cos(angle), np.sin(angle)], axis=1) * 9])
    star = gq.fit_codebook(x, 2, n_neighbors=1, random_state=0).codebook
    subject = subject_of(star, x)
    assert graph_numbers(subject, edges_of(subject.graph))["hub_skewness"] > 1
    line = np.arange(9.0)[:, None]
    subject = subject_of(gq.fit_codebook(line, 2, n_neighbors=2, random_state=0).codebook, line)
    assert graph_numbers(subject, edges_of(subject.graph))["hub_skewness"] < 1


def test_stability_beside_itself_is_one(fitted: FittedCodebook) -> None:
    """With labels the share told is that of each graph and of the other seed."""
    subject = subject_of(fitted.codebook, arc())
    labels = np.arange(200) // 50
    found = stability(subject, labels=labels)
    assert found is not None
    assert found.ks == (2, 5, 10)
    assert found.agreement[1] == 1.0
    assert found.n_components == tuple(n_components_of(subject.neighbors, k) for k in found.ks)
    for k, pieces in zip(found.ks, found.n_components, strict=True):
        assert pieces == gq.connected_components(gq.knn_graph(subject.nodes, k)).max() + 1
    assert found.majority_accuracy is not None
    assert len(found.majority_accuracy) == 4
    assert all(0.5 < share <= 1 for share in found.majority_accuracy)
    without = stability(subject)
    assert without is not None
    assert without.majority_accuracy is None


def test_stability_needs_latents_for_its_codes() -> None:
    """With fewer than four latents a code there is none."""
    x = arc(20)
    subject = subject_of(gq.fit_codebook(x, 8, random_state=0).codebook, x)
    assert stability(subject) is None


def test_progress_is_told(fitted: FittedCodebook) -> None:
    """Both long comparisons count their fits."""
    told: list[tuple[str, int, int]] = []
    subject = subject_of(fitted.codebook, arc())
    stability(subject, progress=lambda *step: told.append(step))
    elbow(subject.nodes, 2, progress=lambda *step: told.append(step))
    assert told[:4] == [("stability", i, 4) for i in range(4)]
    assert told[4:] == [("elbow", i, 6) for i in range(6)]
