"""Fits of arrays of Dask: those of the array in memory, in threads and at workers."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant import InputError
from geoquant.distributed import array_fit as module
from geoquant.distributed.array_fit import current_client, fit_dask_array, scratch_parent
from geoquant.errors import ResourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")
pytest.importorskip("distributed")

from geoquant.distributed.dask_cluster import local_cluster  # noqa: E402

X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32).round(1)
X[::-5] = X[:60]  # duplicates, in several blocks
KINDS = [gq.GeodesicKMeans, gq.GeodesicKMedoids]


@pytest.fixture(autouse=True)
def _temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scratch folders are made in one of their own, and none is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield
    assert list(tmp_path.glob("geoquant-*")) == []


def plain(value: Any) -> Any:
    """What an attribute holds, in bytes."""
    if isinstance(value, gq.Codebook):
        return b"".join(map(bytes, value.file_blocks()))
    if isinstance(value, gq.Graph):
        return [value.indptr.tolist(), value.indices.tolist(), value.lengths.tobytes()]
    return [np.asarray(value).dtype, np.asarray(value).tobytes()]


def same(est: Any, other: Any) -> bool:
    """Whether two estimators have the same attributes, bit for bit."""
    assert vars(est).keys() == vars(other).keys()
    return all(plain(value) == plain(vars(other)[name]) for name, value in vars(est).items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [(100, 3), (70, 2), 300])
def test_fits_are_those_of_the_array(kind: Any, chunks: object) -> None:
    """Every attribute, in threads; labels are an array of Dask in the blocks of the rows."""
    given = da.from_array(X, chunks=chunks)
    options = {"n_clusters": 7, "random_state": 0, "n_init": 2, "n_perturbations": 1}
    est = kind(**options).fit(given)
    assert est.labels_.chunks == est.geodesic_distances_.chunks == given.chunks[:1]
    assert same(kind(**options).fit(X), est)


def test_fits_at_workers() -> None:
    """The same at the workers of the current client, where the blocks are."""
    with local_cluster(2) as client:
        assert current_client() is client
        given = da.from_array(X, chunks=(70, 2)).persist()
        est = gq.GeodesicKMeans(7, random_state=0)
        codes = est.fit_predict(given)
        assert same(gq.GeodesicKMeans(7, random_state=0).fit(X), est)
        assert codes.compute().tolist() == est.predict(given).compute().tolist()
        with pytest.raises(InputError, match="X, block 4 must be finite"):
            est.fit(da.where(da.arange(300, chunks=70)[:, None] == 299, np.nan, given))
        with dask.config.set(scheduler="threads"):
            assert current_client() is None


def test_a_worker_that_dies_with_a_block(tmp_path: Path) -> None:
    """Its blocks are computed anew, to the same bits; one that ends every worker is named."""
    flag = tmp_path / "died"

    def deadly(block: np.ndarray, always: bool) -> np.ndarray:
        if always or not flag.exists():
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    given = da.from_array(X, chunks=(100, 3))
    with local_cluster(2):
        est = gq.GeodesicKMeans(7, random_state=0).fit(
            given.map_blocks(deadly, always=False, meta=X[:0])
        )
        assert flag.exists()
        assert same(gq.GeodesicKMeans(7, random_state=0).fit(X), est)
        with (
            dask.config.set({"distributed.scheduler.allowed-failures": 0}),
            pytest.raises(ResourceError, match=r"ended .* workers one after another"),
        ):
            est.fit(given.map_blocks(deadly, always=True, meta=X[:0]))


def test_what_is_lazy_is_the_same() -> None:
    """predict, transform and quantize give arrays of Dask, score a number; fitted either way."""
    given = da.from_array(X[:100], chunks=(30, 2))
    for rows in (X, da.from_array(X, chunks=(100, 3))):
        est = gq.GeodesicKMeans(7, random_state=0).fit(rows)
        for method in (est.predict, est.transform, est.quantize):
            lazy, found = method(given), method(X[:100])
            assert (lazy.dtype, lazy.shape, lazy.chunks[0]) == (
                found.dtype,
                found.shape,
                given.chunks[0],
            )
            assert lazy.compute().tobytes() == found.tobytes()
        assert est.score(given) == est.score(X[:100])
        wide = est.transform(given.astype(np.float64))
        assert wide.compute().tobytes() == est.transform(X[:100].astype(np.float64)).tobytes()


def test_integers_are_those_of_the_array() -> None:
    """They become float64 first, as scikit-learn has it, which rounds some twice."""
    whole = (1 << 59) + (X * 10).astype(np.int64) * (1 << 36) + (1 << 35) + 1
    assert (whole.astype(np.float32) != whole.astype(np.float64).astype(np.float32)).any()
    est = gq.GeodesicKMeans(5, random_state=0).fit(da.from_array(whole, chunks=100))
    assert same(gq.GeodesicKMeans(5, random_state=0).fit(whole), est)


def test_blocks_of_unknown_length_and_empty_ones() -> None:
    """Labels have blocks of known lengths."""
    given = da.from_array(X, chunks=(20, 3))
    some = given[(given[:, 0] > 0) & (da.arange(300, chunks=20) > 50)]
    rows = X[(X[:, 0] > 0) & (np.arange(300) > 50)]
    est = gq.GeodesicKMeans(4, random_state=0).fit(some)
    assert est.labels_.chunks[0][:2] == (0, 0)
    assert len(est.labels_) == len(rows)
    assert same(gq.GeodesicKMeans(4, random_state=0).fit(rows), est)
    with pytest.raises(InputError, match="X must have rows, found none in 15 blocks"):
        est.fit(given[given[:, 0] > 99])


def test_graphs_that_stay_in_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no graph then, and what needs it says so; all else is there."""
    monkeypatch.setattr("geoquant.distributed.fit.GATHERED_NODES", 50)
    monkeypatch.setattr(module, "GATHERED_NODES", 50)
    given = da.from_array(X, chunks=(100, 3))
    est = gq.GeodesicKMeans(7, random_state=0).fit(X)  # of which nothing stays
    est.fit(given)
    assert not hasattr(est, "graph_")
    assert not hasattr(est, "graph_rows_")
    assert est.predict(given).compute().tolist() == est.labels_.compute().tolist()
    assert (X[est.medoid_indices_] == est.codebook_.anchors[est._centre_nodes]).all()
    assert est.score(given) == pytest.approx(-est.inertia_)
    with pytest.raises(InputError, match="transform needs graph_"):
        est.transform(given)
    with pytest.raises(InputError, match="n_init must be left out"):
        gq.GeodesicKMeans(7, n_init=2).fit(given)


@pytest.mark.parametrize(
    ("options", "weight", "message"),
    [
        ({}, np.ones(300), "sample_weight must be left out with an array of Dask"),
        ({"max_memory": 1 << 30}, None, "max_memory must be None with an array of Dask"),
        ({"init": np.arange(4)}, None, "init must be 'k-means\\+\\+' or 'random'"),
        ({"n_clusters": 301}, None, "X must have at least n_clusters=301 rows, found 300"),
        ({"n_clusters": 0}, None, "n_clusters must be an integer of at least 1"),
        ({"metric": "precomputed"}, None, "X must be a sparse matrix of distances, found an array"),
    ],
    ids=["weights", "memory", "init", "too many", "none", "precomputed"],
)
def test_what_goes_with_arrays_in_memory_only(options: dict, weight: Any, message: str) -> None:
    """It is refused by name, with the cure; the estimator stays as it was."""
    est = gq.GeodesicKMeans(**({"n_clusters": 4} | options))
    before = dict(vars(est))
    with pytest.raises(InputError, match=message):
        est.fit(da.from_array(X, chunks=(100, 3)), sample_weight=weight)
    assert vars(est).keys() == before.keys()


def test_arrays_of_another_width() -> None:
    """scikit-learn's own error, before anything is computed."""
    est = gq.GeodesicKMeans(4, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X has 2 features, but GeodesicKMeans is expecting 3"):
        est.predict(da.zeros((4, 2)))


class FarClient:
    """A client whose workers are elsewhere."""

    def nthreads(self) -> dict[str, int]:
        """As that of a client of Dask."""
        return {"tls://10.0.0.7:4000": 1, "tcp://127.0.0.1:4000": 1}


def test_workers_elsewhere_need_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named by a variable; without it, or where it is none, the error says so."""
    client = FarClient()
    monkeypatch.delenv("GEOQUANT_SCRATCH", raising=False)
    with pytest.raises(InputError, match=r"GEOQUANT_SCRATCH must name .* tls://10.0.0.7:4000"):
        scratch_parent(client)
    monkeypatch.setenv("GEOQUANT_SCRATCH", str(tmp_path / "absent"))
    with pytest.raises(InputError, match="GEOQUANT_SCRATCH must name a folder, found"):
        scratch_parent(client)
    monkeypatch.setenv("GEOQUANT_SCRATCH", str(tmp_path))
    assert scratch_parent(client) == str(tmp_path)


def test_workers_that_do_not_see_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable and the folder."""
    monkeypatch.setattr(os.path, "isdir", lambda _: False)
    with pytest.raises(InputError, match=r"one of them does not see .*geoquant-"):
        fit_dask_array(da.from_array(X, chunks=(100, 3)), 4, random_state=0)


def test_progress_is_told() -> None:
    """Of the stages that are computed here."""
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        del done, total
        stages.append(stage)

    fit_dask_array(da.from_array(X, chunks=(100, 3)), 4, random_state=0, progress=progress)
    assert stages


def test_a_worker_whose_disk_is_full() -> None:
    """Its error arrives as what it is, with the cure."""

    def on_full_disk(block: np.ndarray) -> np.ndarray:
        from geoquant.distributed import scratch

        def refuse(path: str, data: object) -> None:
            del data
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError as error:
                raise ResourceError(f"{path}: the disk is full; free some space") from error

        scratch.write_scratch = refuse
        return block

    given = da.from_array(X, chunks=(100, 3)).map_blocks(on_full_disk, meta=X[:0])
    with local_cluster(1), pytest.raises(ResourceError, match=r"block\d\.npy: the disk is full"):
        gq.GeodesicKMeans(7, random_state=0).fit(given)
