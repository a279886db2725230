from __future__ import annotations

import inspect
import io
import pickle
import re
from functools import cache
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import coo_array, csr_array, csr_matrix
from scipy.sparse.csgraph import dijkstra
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import geoquant as gq
from geoquant.errors import InputError, NotConnectedError

ESTIMATORS = [gq.GeodesicKMeans, gq.GeodesicKMedoids]
POWER = {gq.GeodesicKMeans: 2, gq.GeodesicKMedoids: 1}
both = pytest.mark.parametrize("estimator", ESTIMATORS)

#: shape in terms of n rows, d columns, K codes and m nodes, and dtype, of every array attribute.
ARRAY_ATTRIBUTES = {
    "labels_": ("n", np.int32),
    "cluster_centers_": ("Kd", np.float32),
    "medoid_indices_": ("K", np.int64),
    "geodesic_distances_": ("n", np.float64),
    "graph_rows_": ("m", np.int64),
}


def cloud(n: int = 90, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def blobs(n: int = 60, seed: int = 0) -> np.ndarray:
    """Three heaps far apart: disconnected graphs, and one best clustering into three."""
    centre = np.repeat([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]], n // 3, axis=0)
    noise = np.random.default_rng(seed).normal(size=centre.shape)
    return (centre + noise).astype(np.float32)


def duplicates() -> np.ndarray:
    x = cloud(40)
    return x[np.random.default_rng(1).integers(0, 40, 100)]


def grid() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1).reshape(-1, 2)


def some_zero_weights(n: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 4, n).astype(np.float64)


TRAINING_SETS = {
    "random": (cloud(), None, {}),
    "duplicates": (duplicates(), None, {}),
    "zero weights": (cloud(), some_zero_weights(90), {}),
    "duplicates and zero weights": (duplicates(), some_zero_weights(100), {}),
    "bridged components": (blobs(), None, {"n_neighbors": 4}),
    "ties on a grid": (grid(), None, {"n_neighbors": 4}),
    "one row": (cloud(1), None, {"n_clusters": 1}),
    "every row a centre": (cloud(9), None, {"n_clusters": 9}),
    "one column": (cloud(50, 1), None, {}),
    "quick algorithm": (cloud(), None, {"algorithm": "alternate"}),
}
training_sets = pytest.mark.parametrize("case", TRAINING_SETS)


@cache
def fitted(estimator: type, case: str) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """An estimator, the latents and the weights it was fitted on; shared, so not to be changed."""
    x, weight, options = TRAINING_SETS[case]
    options = {"n_clusters": 6, "random_state": 0, **options}
    return estimator(**options).fit(x, sample_weight=weight), x, weight


def results(est: Any, x: Any) -> dict[str, np.ndarray]:
    """Everything that must be the same, bit for bit, whenever the latents are."""
    return {
        "labels": est.labels_,
        "centres": est.cluster_centers_,
        "medoids": est.medoid_indices_,
        "distances": est.geodesic_distances_,
        "inertia": np.array([est.inertia_, *est.inertia_history_]),
        "predicted": est.predict(x),
        "transformed": est.transform(x).astype(np.float32),
        "graph": est.graph_.to_scipy().toarray(),
    }


def assert_same_bits(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    for name, array in first.items():
        assert array.dtype == second[name].dtype, name
        np.testing.assert_array_equal(array, second[name], err_msg=name, strict=True)


# ------------------------------------------------------------------------ scikit-learn's checks


# Some checks ask for eight clusters of four distinct rows.
@pytest.mark.filterwarnings(
    "ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning"
)
@parametrize_with_checks([gq.GeodesicKMeans(), gq.GeodesicKMedoids()])
def test_sklearn_checks(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check of scikit-learn passes; none is expected to fail."""
    # Read when the check of array API inputs runs, which is skipped without it.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


# ------------------------------------------------------------------------------------ attributes


@both
@training_sets
def test_attributes_have_their_documented_shapes_and_dtypes(estimator: type, case: str) -> None:
    """Each array attribute has the shape and dtype that the class docstring states."""
    est, x, _ = fitted(estimator, case)
    size = {
        "n": len(x),
        "d": x.shape[1],
        "K": est.n_clusters,
        "m": est.graph_.n_nodes,
    }
    for name, (axes, dtype) in ARRAY_ATTRIBUTES.items():
        array = getattr(est, name)
        assert array.shape == tuple(size[axis] for axis in axes), name
        assert array.dtype == dtype, name
    assert type(est.inertia_) is float
    assert isinstance(est.inertia_history_, tuple)
    assert {type(energy) for energy in est.inertia_history_} == {float}
    assert type(est.n_iter_) is int
    assert est.n_iter_ >= 1
    assert type(est.n_connected_components_) is int
    assert isinstance(est.graph_, gq.Graph)
    assert isinstance(est.codebook_, gq.Codebook)
    assert est.n_features_in_ == x.shape[1]


@both
def test_docstring_lists_exactly_the_fitted_attributes(estimator: type) -> None:
    """The Attributes section names what fit sets, no more and no less."""
    est, _, _ = fitted(estimator, "random")
    section = estimator.__doc__.partition("    Attributes\n")[2].partition("    Examples\n")[0]
    listed = set(re.findall(r"^    (\w+_) : ", section, re.MULTILINE))
    assert listed == {name for name in vars(est) if name.endswith("_")}


@both
def test_docstring_lists_exactly_the_parameters(estimator: type) -> None:
    """The Parameters section names what the constructor takes, in its order."""
    section = estimator.__doc__.partition("    Parameters\n")[2].partition("    Attributes\n")[0]
    listed = re.findall(r"^    (\w+) : ", section, re.MULTILINE)
    assert listed == list(inspect.signature(estimator).parameters)


@both
@training_sets
def test_distances_are_shortest_paths_to_the_nearest_centre(estimator: type, case: str) -> None:
    """Labels, distances and inertia agree with Dijkstra's algorithm from every centre."""
    est, x, weight = fitted(estimator, case)
    nodes = np.asarray(est.graph_rows_)
    centre_nodes = [int(np.flatnonzero(nodes == row)[0]) for row in est.medoid_indices_]
    paths = dijkstra(est.graph_.to_scipy().astype(np.float64), indices=centre_nodes)
    np.testing.assert_array_equal(est.geodesic_distances_[nodes], paths.min(axis=0))
    np.testing.assert_array_equal(est.labels_[nodes], paths.argmin(axis=0))
    weight = np.ones(len(x)) if weight is None else weight
    energy = (weight * est.geodesic_distances_ ** POWER[estimator]).sum()
    assert est.inertia_ == pytest.approx(energy, rel=1e-12)
    assert est.inertia_ == pytest.approx(est.inertia_history_[-1], rel=1e-12)
    assert all(np.diff(est.inertia_history_) <= 0)


@both
@training_sets
def test_medoids_are_in_their_own_cells(estimator: type, case: str) -> None:
    """The row at the centre of cell c has code c and distance zero."""
    est, _, _ = fitted(estimator, case)
    np.testing.assert_array_equal(est.labels_[est.medoid_indices_], np.arange(est.n_clusters))
    assert not est.geodesic_distances_[est.medoid_indices_].any()


@training_sets
def test_kmeans_codewords_are_weighted_means(case: str) -> None:
    """A codeword of k-means is the weighted mean of the rows of its cell."""
    est, x, weight = fitted(gq.GeodesicKMeans, case)
    for code, codeword in enumerate(est.cluster_centers_):
        cell = est.labels_ == code
        mean = np.average(x[cell], axis=0, weights=None if weight is None else weight[cell])
        np.testing.assert_allclose(codeword, mean, rtol=1e-6, atol=1e-6)


@training_sets
def test_kmedoids_codewords_are_the_medoids(case: str) -> None:
    """A codeword of k-medoids is the very row at the centre."""
    est, x, _ = fitted(gq.GeodesicKMedoids, case)
    np.testing.assert_array_equal(est.cluster_centers_, x[est.medoid_indices_].astype(np.float32))


@both
def test_hand_computed_case(estimator: type) -> None:
    """Two triples on a line: centres in the middle, distances 1 0 1, energy 4 for either power."""
    x = [[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]
    est = estimator(2, n_neighbors=2, random_state=0).fit(x)
    assert sorted(est.medoid_indices_.tolist()) == [1, 4]
    assert sorted(est.cluster_centers_.ravel().tolist()) == [1.0, 11.0]
    assert est.geodesic_distances_.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    assert est.inertia_ == 4.0
    assert est.n_connected_components_ == 2
    code = est.labels_[0]
    assert est.labels_.tolist() == [code, code, code, 1 - code, 1 - code, 1 - code]


# ----------------------------------------------------------------------------- predict, transform


@both
@training_sets
def test_predict_on_the_training_rows_gives_labels(estimator: type, case: str) -> None:
    """Rows that were trained on keep their code, whatever the graph looked like."""
    est, x, _ = fitted(estimator, case)
    codes = est.predict(x)
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, est.labels_)


@both
@training_sets
def test_score_on_the_training_rows_is_minus_inertia(estimator: type, case: str) -> None:
    """The score is the negative energy, with the same weights."""
    est, x, weight = fitted(estimator, case)
    score = est.score(x, sample_weight=weight)
    assert type(score) is float
    assert score == pytest.approx(-est.inertia_, rel=1e-12)


@both
@training_sets
def test_predict_is_the_argmin_of_transform(estimator: type, case: str) -> None:
    """The code is the nearest centre, the smaller of two that are equally near."""
    est, x, _ = fitted(estimator, case)
    new = np.r_[x, x + 0.25].astype(np.float64)
    np.testing.assert_array_equal(est.predict(new), est.transform(new).argmin(axis=1))


small_rows = arrays(
    np.float64, st.tuples(st.integers(3, 14), st.just(2)), elements=st.integers(0, 3)
)


@both
@settings(deadline=None, max_examples=15)
@given(x=small_rows, data=st.data())
def test_promises_hold_on_rows_full_of_ties(estimator: type, x: np.ndarray, data: Any) -> None:
    """Predict, transform, labels and score agree with one another under duplicates and ties."""
    weight = data.draw(arrays(np.float64, len(x), elements=st.integers(0, 2)))
    weight[0] = 1.0
    n_nodes = len(np.unique(x[weight > 0], axis=0))
    est = estimator(min(3, n_nodes), n_neighbors=2, random_state=0).fit(x, sample_weight=weight)
    np.testing.assert_array_equal(est.predict(x), est.labels_)
    np.testing.assert_array_equal(est.transform(x).argmin(axis=1), est.labels_)
    np.testing.assert_array_equal(est.transform(x).min(axis=1), est.geodesic_distances_)
    assert est.score(x, sample_weight=weight) == pytest.approx(-est.inertia_)


@both
def test_a_row_does_not_depend_on_its_batch(estimator: type) -> None:
    """Row by row, in halves and backwards gives the same bits as all at once."""
    est, _, _ = fitted(estimator, "random")
    new = cloud(70, seed=9)
    codes, distances = est.predict(new), est.transform(new)
    np.testing.assert_array_equal(np.concatenate([est.predict(row[None]) for row in new]), codes)
    np.testing.assert_array_equal(np.concatenate([est.transform(r[None]) for r in new]), distances)
    np.testing.assert_array_equal(est.predict(new[::-1])[::-1], codes)
    np.testing.assert_array_equal(est.transform(new[35:]), distances[35:])


@both
@pytest.mark.parametrize(
    ("given_dtype", "returned"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float64),
        (np.int64, np.float64),
    ],
)
def test_transform_keeps_the_dtype_of_floats(
    estimator: type, given_dtype: type, returned: type
) -> None:
    """float32 stays float32; whatever is no float of that kind becomes float64."""
    x = grid().astype(given_dtype)
    assert estimator(3, random_state=0).fit(x).transform(x).dtype == returned


@both
def test_quantize_looks_the_codeword_up(estimator: type) -> None:
    """Quantized rows are the codewords of the predicted codes, in float32."""
    est, x, _ = fitted(estimator, "random")
    quantized = est.quantize(x.astype(np.float64))
    assert quantized.dtype == np.float32
    np.testing.assert_array_equal(quantized, est.cluster_centers_[est.labels_])


@both
def test_the_codebook_assigns_as_the_estimator_does(estimator: type) -> None:
    """What is saved gives the codes that predict gives."""
    est, x, _ = fitted(estimator, "bridged components")
    new = x + 0.5
    np.testing.assert_array_equal(est.codebook_.assign(new), est.predict(new))


@both
def test_fit_predict_and_fit_transform_agree_with_fit(estimator: type) -> None:
    """The short forms return the labels and the distances."""
    est, x, _ = fitted(estimator, "random")
    np.testing.assert_array_equal(clone(est).fit_predict(x), est.labels_)
    np.testing.assert_array_equal(clone(est).fit_transform(x), est.transform(x))


@both
@pytest.mark.parametrize("method", ["predict", "transform", "quantize", "score"])
def test_methods_need_a_fit(estimator: type, method: str) -> None:
    """Before fit, scikit-learn's own error is raised."""
    with pytest.raises(NotFittedError):
        getattr(estimator(), method)(cloud())


# ------------------------------------------------------------------------------------- round trips


def through_joblib(est: Any) -> Any:
    stream = io.BytesIO()
    joblib.dump(est, stream)
    stream.seek(0)
    return joblib.load(stream)


@both
@pytest.mark.parametrize(
    "round_trip",
    [
        lambda est: pickle.loads(pickle.dumps(est)),
        lambda est: cloudpickle.loads(cloudpickle.dumps(est)),
        through_joblib,
    ],
    ids=["pickle", "cloudpickle", "joblib"],
)
def test_copies_of_a_fitted_estimator_work(estimator: type, round_trip: Any) -> None:
    """An estimator that was stored and loaded predicts and transforms as before."""
    est, x, _ = fitted(estimator, "bridged components")
    assert_same_bits(results(est, x + 0.5), results(round_trip(est), x + 0.5))


@both
def test_joblib_memory_maps_work(estimator: type, tmp_path: Any) -> None:
    """Arrays that are mapped read-only from a joblib file serve as well."""
    est, x, _ = fitted(estimator, "random")
    joblib.dump(est, tmp_path / "estimator.joblib")
    loaded = joblib.load(tmp_path / "estimator.joblib", mmap_mode="r")
    assert_same_bits(results(est, x + 0.5), results(loaded, x + 0.5))


@both
def test_clone_fits_to_the_same_result(estimator: type) -> None:
    """A clone is unfitted and, fitted, the same."""
    est, x, _ = fitted(estimator, "random")
    copy = clone(est)
    assert not hasattr(copy, "labels_")
    assert copy.get_params() == est.get_params()
    assert_same_bits(results(est, x), results(copy.fit(x), x))


@both
def test_fit_again_forgets_what_was(estimator: type) -> None:
    """A second fit gives what a first fit on the same rows gives."""
    est, x, _ = fitted(estimator, "random")
    again = estimator(6, random_state=0).fit(cloud(50, 2)).fit(x)
    assert_same_bits(results(est, x), results(again, x))


@both
@pytest.mark.parametrize("interrupted", [KeyboardInterrupt, MemoryError])
def test_interrupted_fit_leaves_what_was(
    estimator: type, interrupted: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second fit that does not end leaves all of the first, also if it is of other columns."""

    def interrupt(*_: Any, **__: Any) -> Any:
        raise interrupted

    est = estimator(6, random_state=0).fit(cloud())
    before = results(est, cloud())
    monkeypatch.setattr("geoquant.estimators.clusterer.fit_distinct", interrupt)
    with pytest.raises(interrupted):
        est.fit(cloud(50, 7))
    assert_same_bits(results(est, cloud()), before)
    assert est.n_features_in_ == 3
    with pytest.raises(interrupted):
        (fresh := estimator()).fit(cloud())
    assert not [name for name in vars(fresh) if name.endswith("_")]


# ------------------------------------------------------------- same bits from the same numbers


@both
@pytest.mark.parametrize(
    "variant",
    [
        np.asfortranarray,
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
        lambda x: x.astype(np.float64),
        lambda x: x.astype(">f4"),
        lambda x: x.tolist(),
        pd.DataFrame,
    ],
    ids=["Fortran order", "strides", "negative strides", "float64", "big-endian", "list", "pandas"],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
def test_memory_layout_does_not_show(estimator: type, variant: Any) -> None:
    """The same numbers give the same bits in whatever form they come."""
    est, x, _ = fitted(estimator, "random")
    other = estimator(6, random_state=0).fit(variant(x))
    assert_same_bits(results(est, x), results(other, variant(x)))


@both
@pytest.mark.parametrize("n_jobs", [2, 3])
def test_number_of_threads_does_not_show(estimator: type, n_jobs: int | None) -> None:
    """Fit, predict and transform give the same bits with any number of threads."""
    x = np.r_[cloud(100), cloud(100, seed=1) + 50]
    one = estimator(7, n_jobs=1, random_state=0).fit(x)
    many = estimator(7, n_jobs=n_jobs, random_state=0).fit(x)
    assert_same_bits(results(one, x + 0.1), results(many, x + 0.1))


@both
def test_arguments_are_never_written_to(estimator: type) -> None:
    """Latents and weights are, after every method, what they were."""
    x, weight = duplicates(), some_zero_weights(100)
    x[0, 0] = -0.0
    before = x.tobytes(), weight.tobytes()
    est = estimator(6, random_state=0).fit(x, sample_weight=weight)
    est.predict(x), est.transform(x), est.quantize(x), est.score(x, sample_weight=weight)
    assert (x.tobytes(), weight.tobytes()) == before


@both
def test_read_only_memory_maps_are_enough(estimator: type, tmp_path: Any) -> None:
    """A read-only file of latents can be fitted and predicted, and stays as it was."""
    est, x, _ = fitted(estimator, "random")
    file = tmp_path / "latents.npy"
    np.save(file, x)
    before = file.read_bytes()
    mapped = np.load(file, mmap_mode="r")
    other = estimator(6, random_state=0).fit(mapped, sample_weight=np.broadcast_to(1.0, len(x)))
    assert_same_bits(results(est, x), results(other, mapped))
    assert file.read_bytes() == before


@both
def test_results_do_not_share_memory_with_the_arguments(estimator: type) -> None:
    """Latents that change after fit do not change what was fitted."""
    x = cloud()
    est = estimator(6, random_state=0).fit(x)
    new = cloud(20, seed=3)
    codes = est.predict(new)
    x[:] = 0
    np.testing.assert_array_equal(est.predict(new), codes)


# ------------------------------------------------------------------------------------ parameters


@both
def test_weights_are_repetitions(estimator: type) -> None:
    """Integer weights give the cells, energy and codewords of rows repeated as often."""
    x, weight = blobs(), np.random.default_rng(3).integers(0, 4, 60)
    rows = np.random.default_rng(4).permutation(np.repeat(np.arange(60), weight))
    weighted = estimator(3, random_state=0).fit(x, sample_weight=weight)
    repeated = estimator(3, random_state=0).fit(x[rows])
    np.testing.assert_array_equal(weighted.labels_[rows], repeated.labels_)
    np.testing.assert_array_equal(weighted.cluster_centers_, repeated.cluster_centers_)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-12)
    assert repeated.graph_.n_nodes == (weight > 0).sum()


@both
def test_all_weights_equal_change_nothing_but_the_energy(estimator: type) -> None:
    """Weight 2 everywhere doubles the energy and leaves the cells alone."""
    est, x, _ = fitted(estimator, "random")
    double = clone(est).fit(x, sample_weight=np.full(len(x), 2))
    np.testing.assert_array_equal(double.labels_, est.labels_)
    assert double.inertia_ == pytest.approx(2 * est.inertia_, rel=1e-12)


def seeds(kind: str, number: int) -> Any:
    if kind == "Generator":
        return np.random.default_rng(number)
    return np.random.RandomState(number) if kind == "RandomState" else int(number)


@both
@pytest.mark.parametrize("kind", ["int", "RandomState", "Generator"])
def test_random_state_decides(estimator: type, kind: str) -> None:
    """One seed gives one result, five seeds more than one."""
    options = {"init": "random", "algorithm": "alternate"}
    x = cloud(100, 2)
    inertia = [
        [estimator(9, random_state=seeds(kind, i), **options).fit(x).inertia_ for i in range(5)]
        for _ in range(2)
    ]
    assert inertia[0] == inertia[1]
    assert len(set(inertia[0])) > 1


@both
def test_random_state_none_works(estimator: type) -> None:
    """Without a seed there is a result too, near that of any seed."""
    labels = estimator(3).fit(blobs()).labels_
    assert len({tuple(labels[start : start + 20]) for start in (0, 20, 40)}) == 3
    assert all(len(set(labels[start : start + 20])) == 1 for start in (0, 20, 40))


@both
def test_init_takes_training_rows(estimator: type) -> None:
    """An array as `init` names rows of X to start from."""
    x = cloud()
    est = estimator(3, init=[5, 17, 60], random_state=0).fit(x)
    paths = dijkstra(est.graph_.to_scipy().astype(np.float64), indices=[5, 17, 60])
    energy = (paths.min(axis=0) ** POWER[estimator]).sum()
    assert est.inertia_history_[0] == pytest.approx(energy)


@both
def test_init_takes_training_rows_if_some_are_duplicates(estimator: type) -> None:
    """An array as `init` names rows of X, also where rows and nodes are not the same."""
    x = np.r_[cloud(40), cloud(40)[:5]]
    rows = [0, 17, 30]
    est = estimator(3, init=rows, random_state=0).fit(x)
    node = [int(np.flatnonzero(est.graph_rows_ == row)[0]) for row in rows]
    paths = dijkstra(est.graph_.to_scipy().astype(np.float64), indices=node)
    nearest = paths.min(axis=0) ** POWER[estimator]
    energy = nearest.sum() + sum(nearest[est.graph_rows_ == row][0] for row in range(5))
    assert est.inertia_history_[0] == pytest.approx(energy)


@both
def test_on_disconnected(estimator: type) -> None:
    """'bridge' reports the components there were; 'raise' raises and names the cure."""
    est, x, _ = fitted(estimator, "bridged components")
    assert est.n_connected_components_ == 3
    with pytest.raises(NotConnectedError, match=r"3 components.*raise n_neighbors.*bridge"):
        estimator(3, n_neighbors=4, on_disconnected="raise").fit(x)
    connected = estimator(3, on_disconnected="raise", random_state=0).fit(cloud())
    assert connected.n_connected_components_ == 1


@both
def test_more_clusters_than_rows_raise(estimator: type) -> None:
    """It is a ValueError in scikit-learn's words, with a cure."""
    with pytest.raises(ValueError, match=r"n_samples=5 should be >= n_clusters=6.*lower") as caught:
        estimator(6).fit(cloud(5))
    assert isinstance(caught.value, InputError)


@both
@pytest.mark.parametrize("weighted", [False, True])
def test_more_clusters_than_distinct_rows_warn_and_are_clipped(
    estimator: type, weighted: bool
) -> None:
    """Every distinct row that weighs something becomes a code; the warning is KMeans's."""
    x = np.repeat(cloud(4), 5, axis=0)
    weight = np.r_[np.ones(15), np.zeros(5)] if weighted else None
    n_distinct = 3 if weighted else 4
    with pytest.warns(
        ConvergenceWarning, match=rf"distinct clusters \({n_distinct}\).*\(6\)"
    ) as caught:
        est = estimator(6, random_state=0).fit(x, sample_weight=weight)
    assert caught[0].filename == __file__
    assert est.n_clusters == 6
    assert est.cluster_centers_.shape == (n_distinct, 3)
    assert est.transform(x).shape == (20, n_distinct)
    assert len(est.get_feature_names_out()) == n_distinct
    assert set(est.labels_) == set(range(n_distinct))
    assert est.inertia_ == 0.0


@both
def test_more_neighbours_than_rows_are_reduced(estimator: type) -> None:
    """n_neighbors beyond the rows there are means all of them."""
    x = cloud(6)
    most = estimator(2, n_neighbors=5, random_state=0).fit(x)
    more = estimator(2, n_neighbors=50, random_state=0).fit(x)
    assert_same_bits(results(most, x), results(more, x))


@both
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_clusters", 0),
        ("n_clusters", -1),
        ("n_clusters", 2.5),
        ("n_clusters", True),
        ("n_clusters", "8"),
        ("n_clusters", None),
        ("n_neighbors", 0),
        ("n_neighbors", 2.5),
        ("metric", "cosine"),
        ("init", "k-means"),
        ("init", [0, 1]),
        ("init", [0, 1, 1000]),
        ("n_init", 0),
        ("algorithm", "lloyd"),
        ("max_iter", 0),
        ("n_perturbations", -1),
        ("on_disconnected", "ignore"),
        ("n_jobs", 0),
        ("random_state", "now"),
    ],
)
def test_bad_parameters_raise_and_are_named(estimator: type, parameter: str, value: Any) -> None:
    """Each error is an InputError that names the parameter."""
    with pytest.raises(InputError, match=parameter):
        estimator(**{"n_clusters": 3, parameter: value}).fit(cloud())


@both
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), "sample_weight"),
        (-np.ones(90), "sample_weight"),
        (np.full(90, np.nan), "sample_weight"),
        (np.zeros(90), "weight.*zero"),
    ],
    ids=["shape", "negative", "NaN", "all zero"],
)
def test_bad_weights_raise(estimator: type, weight: np.ndarray, message: str) -> None:
    """Weights that cannot be used are named in the error, in fit and in score."""
    est, x, _ = fitted(estimator, "random")
    with pytest.raises(InputError, match=message):
        est.score(x, sample_weight=weight)
    with pytest.raises(InputError, match=message):
        clone(est).fit(x, sample_weight=weight)


# ----------------------------------------------------------------------------------- precomputed


def with_zero_diagonal(graph: gq.Graph, container: Any = csr_array) -> Any:
    """The graph as KNeighborsTransformer gives one: every row is its own neighbour at zero."""
    matrix = coo_array(graph.to_scipy())
    node = np.arange(graph.n_nodes)
    row, column = np.r_[matrix.coords[0], node], np.r_[matrix.coords[1], node]
    data = np.r_[matrix.data, np.zeros(len(node), matrix.dtype)]
    return container((data, (row, column)), shape=matrix.shape)


@both
@pytest.mark.parametrize("container", [csr_array, csr_matrix, coo_array])
def test_precomputed_graph_gives_what_the_latents_give(estimator: type, container: Any) -> None:
    """The graph of an estimator, given as a matrix, leads to the same cells."""
    est, x, _ = fitted(estimator, "random")
    matrix = with_zero_diagonal(est.graph_, container)
    other = estimator(6, metric="precomputed", random_state=0).fit(matrix)
    for name in ("labels_", "medoid_indices_", "geodesic_distances_", "inertia_", "graph_rows_"):
        np.testing.assert_array_equal(getattr(other, name), getattr(est, name), err_msg=name)
    assert not hasattr(other, "cluster_centers_")
    assert not hasattr(other, "codebook_")
    np.testing.assert_array_equal(other.predict(matrix), est.labels_)
    np.testing.assert_array_equal(other.transform(matrix), est.transform(x))
    assert other.score(matrix) == pytest.approx(-est.inertia_)


@both
def test_precomputed_float64_distances_give_the_labels_again(estimator: type) -> None:
    """Distances are rounded alike in fit and predict, so no row changes its code or distance."""
    matrix = with_zero_diagonal(fitted(estimator, "random")[0].graph_).astype(np.float64)
    matrix.data *= np.pi / 3  # no longer float32 numbers
    est = estimator(6, metric="precomputed", random_state=0).fit(matrix)
    np.testing.assert_array_equal(est.predict(matrix), est.labels_)
    assert est.score(matrix) == -float((est.geodesic_distances_ ** est_power(est)).sum())


def est_power(est: Any) -> int:
    """Power of an estimator's energy."""
    return 2 if isinstance(est, gq.GeodesicKMeans) else 1


@both
def test_precomputed_neighbours_of_new_rows(estimator: type) -> None:
    """A sparse matrix of neighbours among the training rows is assigned as latents are."""
    est, x, _ = fitted(estimator, "random")
    new = cloud(30, seed=5)
    near = gq.nearest_neighbors(x, 10, new)
    starts = np.arange(0, 301, 10)
    matrix = csr_array((near.distance.ravel(), near.index.ravel(), starts), shape=(30, len(x)))
    other = estimator(6, metric="precomputed", random_state=0).fit(est.graph_.to_scipy())
    np.testing.assert_array_equal(other.predict(matrix), est.predict(new))
    distances = other.transform(matrix)
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(distances, est.transform(new))


@both
def test_precomputed_rows_may_have_different_numbers_of_neighbours(estimator: type) -> None:
    """Hand-computed: on the path 0-1-2-3-4 a row near 0 and 4, and one near 2 alone."""
    path = gq.Graph.from_edges(5, range(4), range(1, 5), [1.0, 1.0, 5.0, 1.0]).to_scipy()
    est = estimator(2, init=[1, 4], metric="precomputed", max_iter=1, n_perturbations=0)
    est.fit(path)
    left, right = est.labels_[0], est.labels_[4]
    new = csr_array(([4.0, 0.5, 0.25], [0, 4, 2], [0, 2, 3]), shape=(2, 5))
    assert est.predict(new).tolist() == [right, left]


def test_precomputed_explicit_zeros_are_edges() -> None:
    """A stored zero joins two nodes at no distance."""
    zero_edge = csr_array(([0.0, 0.0, 3.0, 3.0], ([0, 1, 1, 2], [1, 0, 2, 1])), shape=(3, 3))
    est = gq.GeodesicKMedoids(1, metric="precomputed", random_state=0).fit(zero_edge)
    assert est.geodesic_distances_.tolist() == [0.0, 0.0, 3.0]


@both
def test_precomputed_refuses_what_is_no_sparse_graph(estimator: type) -> None:
    """Dense matrices, rows without neighbours, other shapes and weights are refused by name."""
    est = estimator(2, metric="precomputed", random_state=0)
    with pytest.raises(InputError, match=r"sparse.*csr_array"):
        est.fit(np.ones((4, 4)))
    with pytest.raises(InputError, match=r"square.*\(3, 4\)"):
        est.fit(csr_array(np.ones((3, 4))))
    with pytest.raises(InputError, match="negative"):
        est.fit(csr_array(-np.ones((3, 3))))
    path = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0]).to_scipy()
    est.fit(path)
    with pytest.raises(InputError, match=r"sparse.*csr_array"):
        est.predict(np.ones((1, 3)))
    with pytest.raises(InputError, match="row 1 has none"):
        est.transform(csr_array(np.array([[1.0, 0, 0], [0, 0, 0]])))
    with pytest.raises(InputError, match="negative, found -1"):
        est.predict(csr_array(-np.ones((1, 3))))
    with pytest.raises(InputError, match="no codewords"):
        est.quantize(path)
    with pytest.raises(ValueError, match="3 features"):
        est.predict(csr_array(np.ones((1, 4))))


@both
@pytest.mark.parametrize("on_disconnected", ["bridge", "raise"])
def test_precomputed_graph_must_be_connected(estimator: type, on_disconnected: str) -> None:
    """There is nothing to bridge by, so the error names the cure that is left."""
    two = gq.Graph.from_edges(4, [0, 2], [1, 3], [1.0, 1.0]).to_scipy()
    est = estimator(2, metric="precomputed", on_disconnected=on_disconnected)
    with pytest.raises(
        NotConnectedError, match=r"2 components.*raise n_neighbors.*cannot be bridged"
    ):
        est.fit(two)


def test_sparse_latents_are_refused() -> None:
    """Without metric='precomputed' a sparse matrix is no set of latents."""
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        gq.GeodesicKMeans(2).fit(csr_array(cloud()))


# ------------------------------------------------------------------------------ around the library


@both
def test_set_output_pandas(estimator: type) -> None:
    """transform gives a data frame with the names and the index that one expects."""
    frame = pd.DataFrame(cloud(30), columns=list("abc"), index=np.arange(30) + 7)
    est = estimator(4, random_state=0).set_output(transform="pandas")
    out = est.fit_transform(frame)
    assert list(out.columns) == [f"{estimator.__name__.lower()}{i}" for i in range(4)]
    assert list(out.index) == list(frame.index)
    np.testing.assert_array_equal(out, est.set_output(transform="default").transform(frame))
    assert est.feature_names_in_.tolist() == ["a", "b", "c"]


@both
def test_set_output_polars(estimator: type) -> None:
    """The same as a data frame of polars, from one."""
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(cloud(30), schema=list("abc"), orient="row")
    est = estimator(4, random_state=0).set_output(transform="polars")
    out = est.fit_transform(frame)
    assert isinstance(out, polars.DataFrame)
    assert out.columns == [f"{estimator.__name__.lower()}{i}" for i in range(4)]
    np.testing.assert_array_equal(out, est.set_output(transform="default").transform(frame))
    assert est.feature_names_in_.tolist() == ["a", "b", "c"]


@both
def test_feature_names_out(estimator: type) -> None:
    """One name per code."""
    names = fitted(estimator, "random")[0].get_feature_names_out().tolist()
    assert names == [f"{estimator.__name__.lower()}{i}" for i in range(6)]


@both
def test_pipeline_and_grid_search(estimator: type) -> None:
    """A search over n_clusters in a pipeline prefers three codes for three heaps to fewer."""
    x = np.random.default_rng(0).permutation(blobs())
    pipeline = make_pipeline(StandardScaler(), estimator(n_neighbors=5, random_state=0))
    name = f"{estimator.__name__.lower()}__n_clusters"
    search = GridSearchCV(pipeline, {name: [1, 2, 3]}, cv=3, error_score="raise").fit(x)
    assert search.best_params_ == {name: 3}
    assert len(set(search.predict(x))) == 3
    np.testing.assert_array_equal(search.best_estimator_[-1].labels_, search.predict(x))


@both
def test_sample_weight_passes_through_a_pipeline(estimator: type) -> None:
    """Weights reach fit by the step's name."""
    x, weight = cloud(), some_zero_weights(90)
    step = estimator.__name__.lower()
    pipeline = make_pipeline(StandardScaler(with_mean=False), estimator(5, random_state=0))
    pipeline.fit(x, **{f"{step}__sample_weight": weight})
    assert pipeline[-1].graph_.n_nodes == (weight > 0).sum()


@both
def test_sample_weight_is_routed(estimator: type) -> None:
    """With scikit-learn's metadata routing weights reach fit and score where they are asked for."""
    x, weight = cloud(), some_zero_weights(90)
    step = estimator(5, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        step.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), step)
        pipeline.fit(x, sample_weight=weight)
        assert pipeline[-1].graph_.n_nodes == (weight > 0).sum()
        score = pipeline.score(x, sample_weight=weight)
        assert score == pytest.approx(-pipeline[-1].inertia_)
        search = GridSearchCV(step, {"n_clusters": [2, 5]}, cv=3, error_score="raise")
        search.fit(x, sample_weight=weight)
    assert search.best_estimator_.graph_.n_nodes == (weight > 0).sum()


@both
def test_alternating_is_no_better_than_swapping(estimator: type) -> None:
    """From the same seeds the default algorithm ends at an energy that is not higher."""
    x = cloud(300, 2)
    energy = {
        algorithm: estimator(12, algorithm=algorithm, random_state=0).fit(x).inertia_
        for algorithm in ("swap", "alternate")
    }
    assert energy["swap"] <= energy["alternate"]


@both
def test_more_starts_are_no_worse(estimator: type) -> None:
    """The best of five starts is at most the first."""
    x = cloud(200, 2)
    options = {"init": "random", "algorithm": "alternate", "random_state": 3}
    one = estimator(9, n_init=1, **options).fit(x).inertia_
    assert estimator(9, n_init=5, **options).fit(x).inertia_ <= one
