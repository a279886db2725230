"""The contract of scikit-learn's KNeighborsTransformer, kept by ours."""

from __future__ import annotations

import io
import re
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsTransformer
from sklearn.neighbors._base import _is_sorted_by_data
from sklearn.utils.estimator_checks import parametrize_with_checks

import geoquant as gq
from geoquant.errors import InputError


def cloud(n: int = 60, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def heaps() -> np.ndarray:
    """Three heaps far apart, which no neighbours join."""
    return cloud() + np.repeat([[0], [50], [200]], 20, axis=0).astype(np.float32)


@parametrize_with_checks(
    [gq.KNNTransformer(), gq.KNNTransformer(3, mode="connectivity")],
    expected_failed_checks=lambda _: {},
)
def test_sklearn_checks(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check of scikit-learn passes; none is expected to fail."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


def test_hand_computed_case() -> None:
    """Each row itself, at a stored zero, and then its nearest, the smaller of two as near."""
    graph = gq.KNNTransformer(2).fit_transform([[0.0], [1.0], [2.0], [5.0]])
    assert graph.indptr.tolist() == [0, 3, 6, 9, 12]
    assert graph.indices.tolist() == [0, 1, 2, 1, 0, 2, 2, 1, 0, 3, 2, 1]
    assert graph.data.tolist() == [0, 1, 2, 0, 1, 1, 0, 1, 2, 0, 3, 4]


@pytest.mark.parametrize("mode", ["distance", "connectivity"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_that_of_sklearn(mode: str, dtype: type) -> None:
    """Training rows and new ones have the entries that scikit-learn finds, as many of them."""
    x, new = cloud().astype(dtype), cloud(20, seed=1).astype(dtype)
    ours, theirs = gq.KNNTransformer(7, mode=mode), KNeighborsTransformer(n_neighbors=7, mode=mode)
    for got, expected in (
        (ours.fit_transform(x), theirs.fit_transform(x)),
        (ours.fit(x).transform(x), theirs.transform(x)),
        (ours.transform(new), theirs.transform(new)),
    ):
        assert got.dtype == dtype
        assert got.format == expected.format == "csr"
        assert np.diff(got.indptr).tolist() == np.diff(expected.indptr).tolist()
        np.testing.assert_array_equal(got.indices, expected.indices)
        np.testing.assert_allclose(got.data, expected.data, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("connected", [False, True])
def test_rows_are_sorted_by_value_with_the_diagonal_first(connected: bool) -> None:
    """Each row begins with itself at a stored zero, and no estimator has to sort it."""
    x = np.r_[heaps(), heaps()[::7]]  # duplicates, too
    graph = gq.KNNTransformer(4, connected=connected).fit_transform(x)
    assert _is_sorted_by_data(graph)
    np.testing.assert_array_equal(graph.indices[graph.indptr[:-1]], np.arange(len(x)))
    assert not graph.data[graph.indptr[:-1]].any()


def test_transform_of_the_training_rows_is_fit_transform() -> None:
    """Bit for bit, without duplicates; with some, where the rows are compared in full."""
    x = cloud()
    made = gq.KNNTransformer(5).fit_transform(x)
    found = gq.KNNTransformer(5).fit(x).transform(x)
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(made, name), getattr(found, name), strict=True)
    x = np.r_[x, x[:9]]
    transformer = gq.KNNTransformer(5)
    np.testing.assert_array_equal(
        transformer.fit_transform(x).toarray(), transformer.transform(x).toarray()
    )


def test_more_duplicates_than_neighbours_keep_the_diagonal() -> None:
    """Of five equal rows each has itself among its three entries."""
    graph = gq.KNNTransformer(2).fit_transform(np.zeros((5, 2)))
    np.testing.assert_array_equal(graph.indices[::3], np.arange(5))
    assert graph.nnz == 15


def test_connected_graph_is_that_of_the_clusterers() -> None:
    """Symmetric, in one component, and with the edges that an estimator on the rows has."""
    x = heaps()
    graph = gq.KNNTransformer(4, connected=True).fit_transform(x)
    assert (graph != graph.T).nnz == 0
    assert connected_components(graph)[0] == 1
    assert connected_components(gq.KNNTransformer(4).fit_transform(x))[0] == 3
    est = gq.GeodesicKMeans(3, n_neighbors=4, random_state=0).fit(x)
    np.testing.assert_array_equal(graph.toarray(), est.graph_.to_scipy().toarray())
    ones = gq.KNNTransformer(5, mode="connectivity", connected=True).fit_transform(x)
    np.testing.assert_array_equal(ones.indices, graph.indices)
    assert set(ones.data) == {1.0}


@pytest.mark.parametrize("connected", [False, True])
def test_one_entry_a_row_is_the_row_itself(connected: bool) -> None:
    """With one neighbour in mode 'connectivity' there is only the diagonal, bridges aside."""
    transformer = gq.KNNTransformer(1, mode="connectivity", connected=connected)
    graph = transformer.fit_transform([[0.0], [1.0], [3.0]])
    assert graph.toarray().tolist() == (
        [[1, 1, 0], [1, 1, 1], [0, 1, 1]] if connected else np.eye(3).tolist()
    )


def test_sparse_interface_decides_the_kind() -> None:
    """A matrix, as scikit-learn gives by default, or an array where its configuration says so."""
    x = cloud()
    assert type(gq.KNNTransformer(3).fit_transform(x)) is csr_matrix
    if "sparse_interface" not in sklearn.get_config():
        pytest.skip("this scikit-learn always gives matrices")
    with sklearn.config_context(sparse_interface="sparray"):
        transformer = gq.KNNTransformer(3).fit(x)
        assert type(transformer.transform(x)) is csr_array
        assert type(transformer.fit_transform(x)) is csr_array


def test_recall_target_is_searched_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fit_transform is given is what neighbours are searched with."""
    seen = []

    def search(*args: Any, **options: Any) -> Any:
        seen.append(options["recall_target"])
        return gq.nearest_neighbors(*args, **options)

    monkeypatch.setattr("geoquant.estimators.knn_transformer.nearest_neighbors", search)
    gq.KNNTransformer(3, recall_target=0.5).fit_transform(cloud())
    assert seen == [0.5]


@pytest.mark.parametrize("connected", [False, True])
def test_number_of_threads_does_not_show(connected: bool) -> None:
    """The graph is the same with any number of threads."""
    x = heaps()
    one, three = (
        gq.KNNTransformer(4, connected=connected, n_jobs=n).fit_transform(x) for n in (1, 3)
    )
    for name in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name), strict=True)


def test_rows_that_change_after_fit_do_no_harm() -> None:
    """The transformer keeps its own rows."""
    x = cloud()
    transformer = gq.KNNTransformer(3).fit(x)
    before = transformer.transform(cloud(9, seed=2)).toarray()
    x[:] = 0
    np.testing.assert_array_equal(transformer.transform(cloud(9, seed=2)).toarray(), before)


def test_feature_names_out() -> None:
    """One name per training row, in scikit-learn's manner."""
    names = gq.KNNTransformer(3).fit(cloud(5)).get_feature_names_out().tolist()
    assert names == [f"knntransformer{i}" for i in range(5)]


def test_set_output_refuses_frames_as_sklearn_does() -> None:
    """A sparse graph is no data frame; the default is kept and frames are taken."""
    frame = pd.DataFrame(cloud(), columns=list("abc"))
    transformer = gq.KNNTransformer(3).fit(frame)
    assert transformer.feature_names_in_.tolist() == ["a", "b", "c"]
    assert transformer.transform(frame).shape == (60, 60)
    with pytest.raises(ValueError, match="sparse"):
        transformer.set_output(transform="pandas").transform(frame)


def test_copies_work() -> None:
    """What was stored with joblib and loaded transforms as before; a clone is not fitted."""
    transformer, stream = gq.KNNTransformer(3).fit(cloud()), io.BytesIO()
    joblib.dump(transformer, stream)
    stream.seek(0)
    new = cloud(9, seed=2)
    np.testing.assert_array_equal(
        joblib.load(stream).transform(new).toarray(), transformer.transform(new).toarray()
    )
    with pytest.raises(NotFittedError):
        clone(transformer).transform(new)


def test_fit_that_fails_leaves_what_was() -> None:
    """After an error the transformer is still that of the first rows."""
    transformer = gq.KNNTransformer(3).fit(cloud())
    with pytest.raises(InputError, match="n_samples=2"):
        transformer.fit_transform(cloud(2, 5))
    assert transformer.n_features_in_ == 3
    assert transformer.transform(cloud()).shape == (60, 60)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("n_neighbors", 0),
        ("n_neighbors", 2.5),
        ("mode", "weights"),
        ("metric", "cosine"),
        ("recall_target", 0),
        ("n_jobs", 0),
    ],
)
def test_bad_parameters_raise_and_are_named(parameter: str, value: Any) -> None:
    """Each error is an InputError that names the parameter."""
    with pytest.raises(InputError, match=parameter):
        gq.KNNTransformer(**{parameter: value}).fit_transform(cloud())


def test_too_few_rows_raise() -> None:
    """There must be a row more than neighbours; the error names the cure."""
    assert gq.KNNTransformer(4).fit_transform(cloud(5)).nnz == 25
    with pytest.raises(InputError, match=r"n_samples=5 .*n_neighbors=5: lower n_neighbors"):
        gq.KNNTransformer(5).fit_transform(cloud(5))
    assert gq.KNNTransformer(5, mode="connectivity").fit_transform(cloud(5)).nnz == 25
    with pytest.raises(InputError, match=r"n_samples=5 .*n_neighbors=5"):
        gq.KNNTransformer(5).fit(cloud(5)).transform(cloud(1))


def test_docstring_lists_exactly_what_there_is() -> None:
    """The sections name the constructor's parameters and what fit sets."""
    text = gq.KNNTransformer.__doc__
    listed = set(re.findall(r"^    (\w+) : ", text, re.MULTILINE)) - {"nearest_neighbors"}
    fitted = gq.KNNTransformer(3).fit(cloud())
    attributes = {name for name in vars(fitted) if name.endswith("_")}
    assert listed - {"knn_graph"} == {*fitted.get_params(), *attributes}
