"""The transformer before the packages that it is for, and clusterers behind those of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.cluster import DBSCAN, HDBSCAN, OPTICS, SpectralClustering
from sklearn.manifold import TSNE, Isomap, SpectralEmbedding
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsTransformer, LocalOutlierFactor
from sklearn.pipeline import Pipeline, make_pipeline

import geoquant as gq

TRUTH = np.repeat([0, 1, 2], 40)


def heaps() -> np.ndarray:
    """Three heaps that no neighbours join."""
    centre = np.array([[0, 0, 0], [12, 0, 0], [0, 12, 0]])[TRUTH]
    return (centre + np.random.default_rng(0).normal(size=centre.shape)).astype(np.float32)


def whole_numbers() -> np.ndarray:
    """Rows whose distances are whole numbers too, and so the same in every arithmetic."""
    return np.random.default_rng(1).choice(2**20, (90, 1), replace=False).astype(np.float64)


CONSUMERS = {
    "DBSCAN": DBSCAN(metric="precomputed", eps=20_000, min_samples=3),
    "OPTICS": OPTICS(metric="precomputed", min_samples=5),
    "SpectralClustering": SpectralClustering(
        3, affinity="precomputed_nearest_neighbors", n_neighbors=12, random_state=0
    ),
    "SpectralEmbedding": SpectralEmbedding(
        affinity="precomputed_nearest_neighbors", n_neighbors=12, random_state=0
    ),
    "Isomap": Isomap(metric="precomputed", n_neighbors=12),
    "TSNE": TSNE(metric="precomputed", init="random", perplexity=4, max_iter=300, random_state=0),
    "LocalOutlierFactor": LocalOutlierFactor(metric="precomputed", n_neighbors=12),
}


@pytest.mark.parametrize("name", CONSUMERS)
def test_estimators_of_sklearn_take_it_for_their_own(name: str) -> None:
    """Behind ours they give, bit for bit, what they give behind KNeighborsTransformer."""
    x, n_neighbors = whole_numbers(), 14

    def result(transformer: Any) -> np.ndarray:
        pipeline = make_pipeline(transformer, CONSUMERS[name])
        if hasattr(CONSUMERS[name], "fit_transform"):
            return np.asarray(pipeline.fit_transform(x))
        return np.asarray(pipeline.fit_predict(x))

    np.testing.assert_array_equal(
        result(gq.KNNTransformer(n_neighbors)),
        result(KNeighborsTransformer(n_neighbors=n_neighbors)),
    )


def test_hdbscan_of_sklearn() -> None:
    """A connected graph is what it needs: it finds the heaps, and none in a graph that is not."""
    x = heaps()
    hdbscan = HDBSCAN(metric="precomputed", min_cluster_size=10, copy=True)
    labels = make_pipeline(gq.KNNTransformer(15, connected=True), hdbscan).fit_predict(x)
    assert adjusted_rand_score(TRUTH[labels >= 0], labels[labels >= 0]) == 1
    assert (labels >= 0).mean() > 0.8
    with pytest.raises(ValueError, match="symmetric"):
        make_pipeline(gq.KNNTransformer(15), hdbscan).fit_predict(x)


def test_hdbscan_package() -> None:
    """It, too, finds the heaps in a connected graph."""
    hdbscan = pytest.importorskip("hdbscan")
    estimator = hdbscan.HDBSCAN(metric="precomputed", min_cluster_size=10)
    labels = make_pipeline(gq.KNNTransformer(15, connected=True), estimator).fit_predict(heaps())
    assert adjusted_rand_score(TRUTH[labels >= 0], labels[labels >= 0]) == 1
    assert (labels >= 0).mean() > 0.8


# It is compiled when it is first used.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_umap() -> None:
    """A precomputed k-NN gives UMAP's own graph; a connected matrix parts the heaps, too."""
    umap = pytest.importorskip("umap")
    x = heaps()
    knn = gq.KNNTransformer(14).fit_transform(x)
    precomputed = knn.indices.reshape(len(x), -1), knn.data.reshape(len(x), -1)
    options: dict[str, Any] = {"n_neighbors": 15, "random_state": 0, "n_jobs": 1}
    ours = umap.UMAP(precomputed_knn=precomputed, **options).fit(x).graph_
    own = umap.UMAP(**options).fit(x).graph_
    np.testing.assert_allclose(ours.toarray(), own.toarray(), atol=1e-4)
    pipeline = make_pipeline(
        gq.KNNTransformer(15, connected=True), umap.UMAP(metric="precomputed", **options)
    )
    embedded = pipeline.fit_transform(x)
    centre = np.stack([embedded[heap == TRUTH].mean(axis=0) for heap in range(3)])
    nearest = np.linalg.norm(embedded[:, None] - centre, axis=2).argmin(axis=1)
    assert adjusted_rand_score(TRUTH, nearest) == 1


def neighbors_as_scanpy_takes_them(rows: np.ndarray, transformer: Any) -> Any:
    """What ``scanpy.pp.neighbors(transformer=...)`` does with it: indices and distances."""
    n_neighbors = transformer.get_params()["n_neighbors"]
    graph = transformer.fit_transform(rows)
    n_entries = graph.getnnz(axis=1)
    assert (n_entries == n_entries[0]).all()
    index, distance = (part.reshape(len(rows), -1) for part in (graph.indices, graph.data))
    assert (index[:, 0] == np.arange(len(rows))).all()
    assert getattr(transformer, "index_", None) is None
    return index[:, :n_neighbors], distance[:, :n_neighbors]


def test_scanpy_can_take_it() -> None:
    """It has what scanpy asks of a transformer: as many entries a row, each row itself first."""
    x = heaps()
    index, distance = neighbors_as_scanpy_takes_them(x, gq.KNNTransformer(15))
    theirs = neighbors_as_scanpy_takes_them(x, KNeighborsTransformer(n_neighbors=15))
    np.testing.assert_array_equal(index, theirs[0])
    np.testing.assert_allclose(distance, theirs[1], atol=1e-5)
    assert index.dtype == np.int32
    # scikit-learn's own does not always pass this with duplicates.
    neighbors_as_scanpy_takes_them(np.r_[x, x[:20]], gq.KNNTransformer(15))


TRANSFORMERS = {"sklearn": KNeighborsTransformer(n_neighbors=10), "ours": gq.KNNTransformer(10)}


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("estimator", [gq.GeodesicKMeans, gq.GeodesicKMedoids])
def test_clusterers_behind_a_transformer(estimator: type, name: str) -> None:
    """On its graph they find the cells that they find by themselves, and keep those of new rows."""
    x = np.random.default_rng(2).normal(size=(150, 3)).astype(np.float32)
    pipeline = make_pipeline(
        TRANSFORMERS[name], estimator(6, metric="precomputed", random_state=0)
    ).fit(x)
    alone = estimator(6, random_state=0).fit(x)
    np.testing.assert_array_equal(pipeline[-1].medoid_indices_, alone.medoid_indices_)
    np.testing.assert_array_equal(pipeline[-1].labels_, alone.labels_)
    np.testing.assert_array_equal(pipeline.predict(x), alone.labels_)
    new = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    # One neighbour more is considered, as the transformers count the row itself.
    assert (pipeline.predict(new) == alone.predict(new)).mean() >= 0.95


def test_clusterers_behind_a_connected_graph() -> None:
    """Heaps that no neighbours join are bridged by the transformer as by the estimator."""
    x = heaps()
    transformer = gq.KNNTransformer(5, connected=True)
    clusterer = gq.GeodesicKMeans(4, metric="precomputed", random_state=0)
    labels = make_pipeline(transformer, clusterer).fit_predict(x)
    alone = gq.GeodesicKMeans(4, n_neighbors=5, random_state=0).fit(x)
    np.testing.assert_array_equal(labels, alone.labels_)


# Nearly all of the time it is compiled.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_clusterers_behind_pynndescent() -> None:
    """Its graph of another metric is clustered, too, and its neighbours of new rows."""
    pynndescent = pytest.importorskip("pynndescent")
    x = np.random.default_rng(2).normal(size=(300, 5)).astype(np.float32)
    transformer = pynndescent.PyNNDescentTransformer(15, metric="manhattan", random_state=0)
    clusterer = gq.GeodesicKMedoids(6, metric="precomputed", random_state=0)
    pipeline = make_pipeline(transformer, clusterer).fit(x)
    assert set(pipeline.predict(x)) == set(range(6))
    assert (pipeline.predict(x) == pipeline[-1].labels_).mean() > 0.9


def test_grid_search_over_the_graph() -> None:
    """Parameters of both steps can be searched for, in folds of rows."""
    x = np.random.default_rng(4).normal(size=(120, 2)).astype(np.float32)
    pipeline = Pipeline(
        [
            ("graph", gq.KNNTransformer(connected=True)),
            ("codes", gq.GeodesicKMedoids(metric="precomputed", random_state=0)),
        ]
    )
    grid = {"graph__n_neighbors": [5, 10], "codes__n_clusters": [2, 12]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(x)
    assert search.best_params_["codes__n_clusters"] == 12
    assert search.predict(x).max() == 11


def test_clusterers_take_what_neighbours_of_neighbours_give() -> None:
    """A square of sparse distances from elsewhere is a graph, symmetric or not."""
    directed = KNeighborsTransformer(n_neighbors=6).fit_transform(heaps()[:40])
    est = gq.GeodesicKMeans(3, metric="precomputed", random_state=0)
    both_ways = csr_array(directed.maximum(directed.T))
    np.testing.assert_array_equal(est.fit(directed).labels_, est.fit(both_ways).labels_)
