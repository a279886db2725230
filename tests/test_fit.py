from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from scipy.sparse.csgraph import dijkstra

import geoquant as gq
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError, NotConnectedError
from geoquant.estimators import GeodesicKMeans
from geoquant.fit import POWER, connected_graph, fit_codebook
from geoquant.graph.knn import nearest_neighbors

#: Two triples on a line, eight apart.
TRIPLES = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]], np.float32)


def cloud(n: int = 120, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


# ------------------------------------------------------------------------------------ fit_codebook


@pytest.mark.parametrize("codewords", ["mean", "medoid"])
def test_hand_computed_case(codewords: str) -> None:
    """Two triples: the middles are centres and codewords, and the energy is four."""
    fitted = fit_codebook(TRIPLES, 2, codewords=codewords, n_neighbors=2, random_state=0)
    left = fitted.codes[0]
    assert fitted.codes.tolist() == [left, left, left, 1 - left, 1 - left, 1 - left]
    assert fitted.codes.dtype == np.int32
    assert fitted.distance.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert fitted.distance.dtype == np.float64
    assert fitted.codebook.vectors[left].tolist() == [1.0]
    assert fitted.codebook.vectors[1 - left].tolist() == [11.0]
    assert fitted.clustering.inertia == 4.0
    assert fitted.n_components == 2
    # All pairs of both triples, and the bridge from 2 to 10.
    assert fitted.graph.n_edges == 7
    assert fitted.graph.to_scipy().toarray()[2, 3] == 8.0


def test_means_and_medoids_differ_where_they_should() -> None:
    """Hand-computed: of 0, 1, 5 the medoid is 1, by either power, and the mean is 2."""
    x = [[0.0], [1.0], [5.0]]
    mean = fit_codebook(x, 1, codewords="mean", random_state=0)
    medoid = fit_codebook(x, 1, codewords="medoid", random_state=0)
    assert mean.codebook.vectors.tolist() == [[2.0]]
    assert mean.clustering.inertia == 1.0 + 16.0
    assert medoid.codebook.vectors.tolist() == [[1.0]]
    assert medoid.clustering.inertia == 1.0 + 4.0


def test_weights_count_as_repetitions() -> None:
    """Hand-computed: weight 9 at 5 moves the medoid there and the mean to 46/11."""
    weight = [1, 1, 9]
    x = [[0.0], [1.0], [5.0]]
    medoid = fit_codebook(x, 1, codewords="medoid", sample_weight=weight, random_state=0)
    assert medoid.codebook.vectors.tolist() == [[5.0]]
    assert medoid.clustering.inertia == 5.0 + 4.0
    mean = fit_codebook(x, 1, codewords="mean", sample_weight=weight, random_state=0)
    np.testing.assert_allclose(mean.codebook.vectors, [[46 / 11]], rtol=1e-6)


def test_rows_without_weight_get_codes_and_shape_nothing() -> None:
    """Rows of weight 0 are assigned through their nearest anchors and change nothing else."""
    x = np.r_[TRIPLES, np.array([[3.0], [8.0], [0.0]], np.float32)]
    weight = [1, 1, 1, 1, 1, 1, 0, 0, 0]
    fitted = fit_codebook(x, 2, n_neighbors=2, sample_weight=weight, random_state=0)
    without = fit_codebook(TRIPLES, 2, n_neighbors=2, random_state=0)
    assert fitted.graph.n_nodes == 6
    assert fitted.clustering.inertia == without.clustering.inertia
    np.testing.assert_array_equal(
        np.sort(fitted.codebook.vectors, axis=0), np.sort(without.codebook.vectors, axis=0)
    )
    left, right = fitted.codes[1], fitted.codes[4]
    assert left != right
    assert fitted.codes[6:].tolist() == [left, right, left]
    # 3 → 2 → 1, 8 → 10 → 11, and 0 is there already.
    assert fitted.distance[6:].tolist() == [2.0, 3.0, 1.0]
    assert fitted.rows.node_of_row[6:].tolist()[:2] == [-1, -1]


def test_equal_rows_are_one_node_and_get_one_code() -> None:
    """Repetitions are a node's weight, and share its code and distance."""
    x = cloud(30)
    repeated = x[np.random.default_rng(1).integers(0, 30, 100)]
    fitted = fit_codebook(repeated, 4, random_state=0)
    distinct = np.unique(repeated, axis=0)
    assert fitted.graph.n_nodes == len(distinct) == fitted.codebook.n_anchors
    assert fitted.rows.weight.sum() == 100
    for row in distinct:
        same = (repeated == row).all(axis=1)
        assert len(set(fitted.codes[same])) == 1
        assert len(set(fitted.distance[same])) == 1


@pytest.mark.parametrize("codewords", ["mean", "medoid"])
def test_agrees_with_dijkstra(codewords: str) -> None:
    """Codes, distances and energy are those of a search from every centre."""
    x = cloud()
    fitted = fit_codebook(x, 7, codewords=codewords, n_neighbors=4, random_state=1)
    lengths = fitted.graph.to_scipy().astype(np.float64)
    paths = dijkstra(lengths, indices=fitted.clustering.medoid_indices)
    np.testing.assert_array_equal(fitted.codes, paths.argmin(axis=0))
    np.testing.assert_array_equal(fitted.distance, paths.min(axis=0))
    energy = (paths.min(axis=0) ** POWER[codewords]).sum()
    assert fitted.clustering.inertia == pytest.approx(energy, rel=1e-12)


def test_codebook_holds_the_nodes_as_anchors() -> None:
    """The anchors are the distinct latents with the codes and distances of their nodes."""
    x = np.r_[cloud(50), cloud(50)[:10]]
    fitted = fit_codebook(x, 5, n_neighbors=6, random_state=0)
    book = fitted.codebook
    np.testing.assert_array_equal(book.anchors, x[fitted.rows.row])
    np.testing.assert_array_equal(book.anchor_code, fitted.clustering.labels)
    np.testing.assert_array_equal(book.anchor_distance, fitted.clustering.distance)
    assert book.n_neighbors == 6
    np.testing.assert_array_equal(book.assign(x), fitted.codes)
    expected = distinct_rows(x)
    np.testing.assert_array_equal(fitted.rows.row, expected.row)
    np.testing.assert_array_equal(fitted.rows.weight, expected.weight)


def test_seconds_are_those_of_the_stages() -> None:
    """Every stage is timed, in order, and together they take no longer than the call."""
    begin = time.perf_counter()
    fitted = fit_codebook(cloud(), 5, random_state=0)
    elapsed = time.perf_counter() - begin
    assert list(fitted.seconds) == ["graph", "clustering", "codebook"]
    assert all(seconds > 0 for seconds in fitted.seconds.values())
    assert sum(fitted.seconds.values()) <= elapsed


@pytest.mark.parametrize(
    ("random_state", "recorded"), [(3, 3), (None, None), (np.random.RandomState(3), None)]
)
def test_metadata_is_json_and_tells_how(random_state: Any, recorded: int | None) -> None:
    """The metadata survives JSON and names what made the codebook."""
    fitted = fit_codebook(
        cloud(),
        np.int64(5),
        n_neighbors=np.int64(4),
        n_init=np.int64(2),
        algorithm="alternate",
        random_state=random_state,
    )
    metadata = fitted.codebook.metadata
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    made = {
        "codewords": "mean",
        "power": 2,
        "n_latents": 120,
        "n_components": 1,
        "recall_target": 0.995,
        "graph_recall": 1.0,
        "inertia": fitted.clustering.inertia,
        "random_state": recorded,
        "n_init": 2,
        "algorithm": "alternate",
    }
    assert {name: metadata[name] for name in made} == made


def test_metadata_records_numpy_seeds() -> None:
    """A NumPy integer is as good a seed as a Python one, and is recorded like it."""
    fitted = fit_codebook(TRIPLES, 2, random_state=np.int64(7))
    assert fitted.codebook.metadata["random_state"] == 7


def test_metadata_has_the_energy_of_each_step() -> None:
    """From the seeds to the end, as the clustering gives it."""
    fitted = gq.fit_codebook(np.random.default_rng(0).normal(size=(90, 2)), 5, random_state=0)
    history = fitted.codebook.metadata["inertia_history"]
    assert history == list(fitted.clustering.inertia_history)
    assert history[-1] == pytest.approx(fitted.codebook.metadata["inertia"])


def test_metadata_names_the_graph_of_output_lengths() -> None:
    """Such a codebook considers one anchor, so the neighbours of its graph stand elsewhere."""
    x = np.random.default_rng(0).normal(size=(90, 2))
    plain = gq.fit_codebook(x, 5, n_neighbors=7, random_state=0).codebook
    measured = gq.fit_codebook(x, 5, n_neighbors=7, edge_outputs=x, random_state=0).codebook
    assert measured.metadata["graph_neighbors"] == 7
    assert "graph_neighbors" not in plain.metadata


def test_metadata_names_the_release() -> None:
    """As the class Codebook says, the metadata has the version that made the codebook."""
    fitted = fit_codebook(TRIPLES, 2, random_state=0)
    assert fitted.codebook.metadata["geoquant_version"] == gq.__version__


def test_init_of_no_weight_is_refused() -> None:
    """A row that counts for nothing is no node, so it can be no centre."""
    latents = np.arange(10.0)[:, None]
    weight = np.ones(10)
    weight[3] = 0
    options: dict[str, Any] = {"sample_weight": weight, "n_neighbors": 2}
    assert fit_codebook(latents, 2, init=[2, 4], **options).codes.shape == (10,)
    with pytest.raises(InputError, match="init must hold rows of positive weight, found one of"):
        fit_codebook(latents, 2, init=[2, 3], **options)


def test_array_as_init_is_not_recorded() -> None:
    """Starting nodes can be given, and the metadata stays JSON."""
    fitted = fit_codebook(cloud(), 3, init=np.array([1, 2, 3]), random_state=0)
    assert "init" not in fitted.codebook.metadata


def test_thinned_codebook_agrees_on_most_rows(tmp_path: Any) -> None:
    """A fifth of the anchors gives most rows the code they had, also once saved and loaded."""
    x = cloud(600)
    fitted = fit_codebook(x, 8, random_state=0)
    thinned = fitted.codebook.thinned(120)
    codes = thinned.assign(x)
    assert thinned.n_anchors == 120
    # Not all: fewer anchors are farther apart, and a step to one may cut a corner.
    assert (codes == fitted.codes).mean() > 0.85
    medoids = fitted.clustering.medoid_indices
    np.testing.assert_array_equal(codes[medoids], fitted.codes[medoids])
    thinned.save(tmp_path / "thin.safetensors")
    loaded = gq.Codebook.load(tmp_path / "thin.safetensors")
    np.testing.assert_array_equal(loaded.assign(x), codes)


@pytest.mark.parametrize("n_jobs", [2, 3])
def test_result_does_not_depend_on_threads(n_jobs: int, tmp_path: Any) -> None:
    """The saved codebook is the same file, byte for byte, with any number of threads."""
    files = [tmp_path / "one.safetensors", tmp_path / "many.safetensors"]
    for file, threads in zip(files, (1, n_jobs), strict=True):
        fit_codebook(cloud(200), 6, random_state=0, n_jobs=threads).codebook.save(file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_progress_is_told_and_may_stop() -> None:
    """Every report is within its total, each stage gets to its end, and raising stops the fit."""
    reports: list[tuple[str, int, int]] = []
    fit_codebook(cloud(), 5, random_state=0, progress=lambda *report: reports.append(report))
    assert all(0 <= done <= total for _, done, total in reports)
    assert "neighbours" in {stage for stage, _, _ in reports}
    assert len({stage for stage, _, _ in reports}) > 1

    class Stop(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        raise Stop(stage)

    with pytest.raises(Stop):
        fit_codebook(cloud(), 5, random_state=0, progress=stop)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codewords": "median"}, "codewords must be 'mean' or 'medoid', found 'median'"),
        ({"n_clusters": 121}, "n_clusters must be at most .* 120, found 121"),
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_neighbors": 0}, "n_neighbors"),
        ({"sample_weight": [1.0]}, "sample_weight"),
        ({"on_disconnected": "warn"}, "on_disconnected must be 'bridge' or 'raise', found 'warn'"),
        ({"algorithm": "lloyd"}, "algorithm"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    """Each error is an InputError that names the argument."""
    with pytest.raises(InputError, match=message):
        fit_codebook(cloud(), **{"n_clusters": 3, **options})


@pytest.mark.parametrize("x", [[1.0, 2.0], [[np.nan]], [[1j]], np.empty((0, 2)), [["a"]]])
def test_bad_latents_are_refused(x: Any) -> None:
    """What is not (n, d), finite and real is refused by name."""
    with pytest.raises(InputError, match="latents"):
        fit_codebook(x, 1)


def test_disconnected_graphs_raise_if_asked() -> None:
    """The error counts the components and names the cure."""
    with pytest.raises(NotConnectedError, match=r"2 components.*raise n_neighbors"):
        fit_codebook(TRIPLES, 2, n_neighbors=2, on_disconnected="raise")


# --------------------------------------------------------------------------------- connected_graph


def test_connected_graph_adds_bridges_and_nothing_else() -> None:
    """The nearest-neighbour graph is left as it is; one edge joins each further component."""
    x = np.concatenate([cloud(20, seed=i) + 100 * i for i in range(4)])
    plain = gq.knn_graph(x, 3)
    n_plain = gq.connected_components(plain).max() + 1
    graph, n_components = connected_graph(x, 3)
    assert n_components == n_plain >= 4
    assert graph.n_edges == plain.n_edges + n_components - 1
    assert gq.connected_components(graph).max() == 0
    before, after = plain.to_scipy(), graph.to_scipy()
    np.testing.assert_array_equal(after[before.nonzero()], before[before.nonzero()])


def test_connected_graph_of_distinct_rows_is_that_of_any_rows() -> None:
    """Not looking for duplicates changes nothing where there are none."""
    for x, k in ((cloud(), 5), (np.zeros((1, 2), np.float32), 3), (cloud()[:3], 9)):
        any_rows, _ = connected_graph(x, k)
        distinct, _ = connected_graph(x, k, are_distinct=True)
        assert any_rows.indptr.tobytes() == distinct.indptr.tobytes()
        assert any_rows.indices.tobytes() == distinct.indices.tobytes()
        assert any_rows.lengths.tobytes() == distinct.lengths.tobytes()


def test_the_recall_target_reaches_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fit and estimators are given is what neighbours are searched with."""
    asked: list[float] = []

    def search(*arguments: Any, recall_target: float, **options: Any) -> Any:
        asked.append(recall_target)
        return nearest_neighbors(*arguments, recall_target=recall_target, **options)

    monkeypatch.setattr("geoquant.fit.nearest_neighbors", search)
    fit_codebook(cloud(), 3, recall_target=0.5, random_state=0)
    GeodesicKMeans(3, recall_target=1, random_state=0).fit(cloud())
    fit_codebook(cloud(), 3, random_state=0)
    assert asked == [0.5, 1.0, 0.995]


@pytest.mark.parametrize("share", [0, -0.5, 1.01, float("nan"), "all", None, True])
def test_recall_targets_that_are_no_share_are_refused(share: Any) -> None:
    """A recall is a number in (0, 1]."""
    with pytest.raises(InputError, match=r"recall_target must be a number in \(0, 1\], found"):
        fit_codebook(cloud(), 3, recall_target=share)


def test_connected_graph_leaves_connected_ones_alone() -> None:
    """Without need there is no bridge, and 'raise' does not raise."""
    x = cloud(60)
    graph, n_components = connected_graph(x, 10, on_disconnected="raise")
    assert n_components == 1
    assert graph.n_edges == gq.knn_graph(x, 10).n_edges


def test_connected_graph_refuses_other_policies() -> None:
    """Only 'bridge' and 'raise' exist."""
    with pytest.raises(InputError, match="on_disconnected must be 'bridge' or 'raise', found None"):
        connected_graph(cloud(), 3, on_disconnected=None)  # type: ignore[arg-type]
