"""Estimators that were stored, and are loaded where nothing else is known of them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

import geoquant as gq

#: What to trust when skops loads a fitted estimator, and no more.
TRUSTED = {
    gq.GeodesicKMeans: {
        "geoquant.codebook.Codebook",
        "geoquant.estimators.geodesic_kmeans.GeodesicKMeans",
        "geoquant.graph.csr.Graph",
    },
    gq.GeodesicKMedoids: {
        "geoquant.codebook.Codebook",
        "geoquant.estimators.geodesic_kmedoids.GeodesicKMedoids",
        "geoquant.graph.csr.Graph",
    },
    gq.KNNTransformer: {"geoquant.estimators.knn_transformer.KNNTransformer"},
}
each = pytest.mark.parametrize("estimator", list(TRUSTED))


def heaps(seed: int = 0) -> np.ndarray:
    """Two heaps far apart, with duplicates: graphs that are bridged, rows that are no nodes."""
    x = np.random.default_rng(seed).normal(size=(90, 3)).astype(np.float32)
    x[45:] += 50
    return np.r_[x, x[:9]]


def fitted(estimator: type) -> Any:
    if estimator is gq.KNNTransformer:
        return estimator(5, connected=True).fit(heaps())
    return estimator(6, random_state=0).fit(heaps())


def answers(est: Any) -> dict[str, np.ndarray]:
    """What it says of new rows."""
    new = heaps(1)
    if isinstance(est, gq.KNNTransformer):
        graph = est.transform(new)
        return {name: getattr(graph, name) for name in ("data", "indices", "indptr")}
    return {name: getattr(est, name)(new) for name in ("predict", "transform", "quantize")}


def assert_same_bits(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


@each
def test_skops(estimator: type) -> None:
    """skops asks to trust exactly the listed types, and what it loads answers alike."""
    io = pytest.importorskip("skops.io")
    est = fitted(estimator)
    stored = io.dumps(est)
    assert set(io.get_untrusted_types(data=stored)) == TRUSTED[estimator]
    loaded = io.loads(stored, trusted=sorted(TRUSTED[estimator]))
    assert_same_bits(answers(loaded), answers(est))
    assert loaded.get_params() == est.get_params()


@each
def test_skops_after_use(estimator: type) -> None:
    """What an estimator keeps for the kernels once it has been used is not stored."""
    io = pytest.importorskip("skops.io")
    est = fitted(estimator)
    expected = answers(est)
    if estimator is not gq.KNNTransformer:
        assert est.graph_.arrays is not None
    loaded = io.loads(io.dumps(est), trusted=sorted(TRUSTED[estimator]))
    assert_same_bits(answers(loaded), expected)


LOADER = """
import pickle, sys
import numpy as np
new = np.load(sys.argv[1])
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        est = pickle.load(file)
    if hasattr(est, "predict"):
        methods = ("predict", "transform", "quantize")
        found = {method: getattr(est, method)(new) for method in methods}
    else:
        graph = est.transform(new)
        found = {part: getattr(graph, part) for part in ("data", "indices", "indptr")}
    np.savez(name + ".npz", **found)
"""


def test_a_fresh_process_answers_alike(tmp_path: Path) -> None:
    """Another interpreter that imports nothing but what the files name gives the same bits."""
    estimators = {}
    for estimator in TRUSTED:
        for library in (pickle, cloudpickle):
            name = str(tmp_path / f"{estimator.__name__}.{library.__name__}")
            estimators[name] = fitted(estimator)
            with open(name, "wb") as file:
                library.dump(estimators[name], file)
    np.save(new := tmp_path / "new.npy", heaps(1))
    command = [sys.executable, "-c", LOADER, str(new), *estimators]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    for name, est in estimators.items():
        with np.load(f"{name}.npz") as found:
            assert_same_bits(dict(found), answers(est))
