"""Threads, processes and surroundings: fits at once, forks, and what must not matter."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import geoquant as gq
from geoquant import _core, multistage_fit
from tests.same_bits import cloud, digest_of_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

#: After so many seconds a process counts as hung.
_MOST_SECONDS = 60
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def expected() -> str:
    """The bits of a fit with one thread."""
    return digest_of_fit(0, 1)


def text_from_child(work: Callable[[], str]) -> str:
    """What a forked child finds; one that hangs or dies finds nothing."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover  the child leaves without a word
        try:
            os.write(there, work().encode())
        finally:
            os._exit(0)
    os.close(there)
    hung = threading.Timer(_MOST_SECONDS, os.kill, (child, 9))
    hung.start()
    with os.fdopen(here) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    hung.cancel()
    return text


def run_python(code: str, root: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that can import the tests from wherever it is."""
    environment = os.environ | {"PYTHONPATH": str(root)} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_MOST_SECONDS,
        **options,
    )


# --------------------------------------------------------------------------------- threads


def test_fits_at_once_are_as_one_after_another() -> None:
    """Four threads that fit at once, each with two threads, get the bits of one."""
    alone = [digest_of_fit(seed, 1) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(digest_of_fit, range(4))) == alone


def test_limits_on_blas_at_once_do_not_mix() -> None:
    """Fits that limit the threads of BLAS neither undo another's limit nor leave their own."""
    seen: list[int] = []

    def limited(_: int) -> None:
        with multistage_fit._one_blas_thread():
            threading.Event().wait(0.1)  # for the other to come in, if it may
            seen.extend(info["num_threads"] for info in blas())

    before = blas()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(limited, range(2)))
    assert seen == [1] * len(seen)
    assert blas() == before


def blas() -> list[dict[str, Any]]:
    """What is known of the libraries whose threads are limited."""
    return [info for info in threadpool_info() if info["user_api"] == "blas"]


@pytest.mark.parametrize("n_threads", [2, 8])
def test_an_exception_in_a_worker_reaches_the_caller(n_threads: int) -> None:
    """Whichever thread meets the mistake, the caller gets its message, and can go on."""
    n = 60_000
    index = (np.arange(n)[:, None] + [1, 2]).astype(np.int32) % n
    distance = np.ones(index.shape, np.float32)
    for row in range(0, n, n // 20):
        wrong = index.copy()
        wrong[row] = wrong[row, 0]
        with pytest.raises(ValueError, match="name a neighbour twice"):
            _core.neighbor_csr(wrong, distance, n_threads)
    assert len(_core.neighbor_csr(index, distance, n_threads)[0]) == n + 1


@contextmanager
def kept_busy(work: Callable[[], Any]) -> Iterator[None]:
    """Do some work over and over in another thread, meanwhile."""
    is_over = threading.Event()

    def loop() -> None:
        while not is_over.is_set():
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


ATTRIBUTES = ("labels_", "cluster_centers_", "inertia_", "medoid_indices_", "n_features_in_")


def whole(est: Any) -> tuple[bytes, ...]:
    """What one fit has left, read at one moment."""
    state = dict(vars(est))
    return tuple(np.asarray(state[name]).tobytes() for name in ATTRIBUTES)


def test_one_estimator_fitted_in_two_threads_holds_one_whole_result() -> None:
    """Of two fits at once of one estimator the last to end leaves all its attributes."""
    data = [cloud(seed, 250, d) for seed, d in ((0, 3), (1, 5))]
    est = gq.GeodesicKMeans(9, n_perturbations=0, n_jobs=2, random_state=0)
    alone = {whole(type(est)(**est.get_params()).fit(x)) for x in data}
    est.fit(data[0])
    with kept_busy(lambda: est.fit(data[1])):
        for _ in range(20):
            est.fit(data[0])
            assert whole(est) in alone
    assert whole(est) in alone


def test_predict_beside_a_fit_uses_one_whole_result() -> None:
    """Codes are those of one fit, though another one ends in between."""
    data = [cloud(seed, n) for seed, n in ((0, 150), (1, 600))]
    est = gq.GeodesicKMeans(9, n_perturbations=0, n_jobs=1, random_state=0)
    new = cloud(2, 50)
    expected = [est.fit(x).predict(new).tolist() for x in data]
    with kept_busy(lambda: [est.fit(x) for x in data]):
        assert all(est.predict(new).tolist() in expected for _ in range(60))


@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt in the middle, the earlier fit predicts as before."""
    x = cloud(0, 200)
    est = gq.GeodesicKMeans(5, random_state=0).fit(x)
    before = est.predict(x).tolist()

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("geoquant.estimators.clusterer.fit_distinct", interrupt)
    with pytest.raises(KeyboardInterrupt):
        getattr(est, method)(cloud(1, 200, 5))
    assert est.n_features_in_ == 3
    assert est.predict(x).tolist() == before


def test_latents_that_change_during_a_fit_do_no_harm() -> None:
    """Whatever another thread writes into them, a fit ends, with codes or with an error."""
    good = cloud(0, 3000)
    x = good.copy()
    rng = np.random.default_rng(0)

    def overwrite() -> None:
        x[rng.integers(0, len(x), 300)] = rng.choice([np.nan, np.inf, 3e38, 1.0])
        x[:] = good

    with kept_busy(overwrite):
        for _ in range(10):
            try:
                codes = gq.fit_codebook(x, 50, n_perturbations=0, n_jobs=2, random_state=0).codes
            except gq.InputError:
                continue
            assert 0 <= codes.min() <= codes.max() < 50


def test_points_that_became_nan_are_the_farthest() -> None:
    """Ranking needs an order, so a search that meets NaN takes it for infinitely far."""
    points = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    points[::2] = np.nan
    queries = np.r_[points[1:60:2], np.float32([[3e18, 0, 0]])]
    distance, index = _core.knn_search(points, queries, 400, None, 2)
    assert not np.isnan(distance).any()
    assert (np.sort(distance, axis=1) == distance).all()
    assert (index < 600).all()


@pytest.mark.parametrize("n_jobs", [None, -1, -100, 10_000])
def test_any_number_of_jobs_gives_the_same_bits(expected: str, n_jobs: int | None) -> None:
    """All cores, none to spare, or far more threads than there are cores."""
    assert digest_of_fit(0, n_jobs) == expected


# ------------------------------------------------------------------------------- processes


@needs_fork
def test_a_forked_child_fits_as_its_parent(expected: str) -> None:
    """Nothing of the parent's threads is missed in the child."""
    assert digest_of_fit(0) == expected
    assert text_from_child(lambda: digest_of_fit(0)) == expected
    assert digest_of_fit(0) == expected


@needs_fork
def test_a_child_forked_during_a_fit_fits_itself(expected: str) -> None:
    """Threads of the parent that are at work at that moment hold nothing that the child needs."""
    with kept_busy(lambda: digest_of_fit(1)):
        for _ in range(3):
            assert text_from_child(lambda: digest_of_fit(0)) == expected


@needs_fork
def test_a_child_forked_during_a_multistage_fit_fits_itself() -> None:
    """Neither the limit on BLAS nor the lock on it is inherited."""

    def fit() -> str:
        fitted = gq.fit_multistage(
            cloud(0, 300), 8, 2, metric="euclidean", n_refits=1, random_state=0
        )
        return str(fitted.codes.sum()) + str(fitted.refit_distortion)

    expected, threads = fit(), str(blas())
    with kept_busy(fit):
        for _ in range(3):
            assert text_from_child(fit) == expected
            assert text_from_child(lambda: str(blas())) == threads


@needs_fork
def test_a_fork_by_who_limits_blas_does_not_wait_for_itself() -> None:
    """As when a signal handler or a library forks within a step that limits BLAS."""
    with multistage_fit._one_blas_thread():
        assert text_from_child(lambda: "here") == "here"
    assert multistage_fit._BLAS_LOCK.acquire(blocking=False)
    multistage_fit._BLAS_LOCK.release()


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_processes_of_multiprocessing_fit_the_same(start: str, expected: str) -> None:
    """However workers are started, two at once get the bits of this process."""
    with multiprocessing.get_context(start).Pool(2) as pool:
        found = pool.map_async(digest_of_fit, [0, 0]).get(_MOST_SECONDS)
    assert found == [expected] * 2


USES = {
    "torch": "import torch; torch.set_num_threads(2); torch.ones(400, 400) @ torch.ones(400, 400)",
    "faiss": "import faiss, numpy; i = faiss.IndexFlatL2(8); v = numpy.ones((4000, 8), 'f4'); "
    "i.add(v); i.search(v, 3)",
    "geoquant": "from tests.same_bits import digest_of_fit; digest_of_fit(1)",
}


@pytest.mark.parametrize("first", USES)
def test_libraries_with_threads_of_their_own_do_not_disturb(
    first: str, expected: str, request: pytest.FixtureRequest
) -> None:
    """Whichever of torch, faiss and geoquant is loaded first and has its threads at work."""
    missing = [name for name in ("torch", "faiss") if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    lines = [USES[first], *(use for name, use in USES.items() if name != first)]
    code = "\n".join([*lines, *lines, "print(digest_of_fit(0))"])
    done = run_python(code, request.config.rootpath)
    assert (done.stdout.strip(), done.returncode) == (expected, 0), done.stderr


# ---------------------------------------------------------------------------- surroundings

SURROUNDINGS = {
    "variables": "",
    "folder deleted": "import os, tempfile; f = tempfile.mkdtemp(); os.chdir(f); os.rmdir(f)",
    "streams closed": "import os; os.close(0); os.close(1); os.close(2)",
    "one core": "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})",
    # No room for the stack of a thread: none can be started.
    "no threads": "import ctypes; c = ctypes.CDLL(None); a = ctypes.create_string_buffer(64); "
    "c.pthread_attr_init(a); c.pthread_attr_setstacksize(a, ctypes.c_size_t(1 << 47)); "
    "assert c.pthread_setattr_default_np(a) == 0",
}
VARIABLES = {
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Pacific/Kiritimati",
    "PYTHONHASHSEED": "1234",
    "OMP_NUM_THREADS": "garbage",
    "HOME": "/nonexistent",
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs affinities and glibc")
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_surroundings_do_not_show(
    name: str, expected: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Locale, time zone, hash seed, folder, streams, cores and threads leave the bits alone."""
    code = (
        "from tests.same_bits import digest_of_fit\n"
        f"{SURROUNDINGS[name]}\n"
        "found = digest_of_fit(0, 4)\n"
        "assert digest_of_fit(0, None) == found\n"
        f"open({str(tmp_path / 'found')!r}, 'w').write(found)\n"
    )
    environment = VARIABLES if name == "variables" else {}
    done = run_python(code, request.config.rootpath, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found").read_text() == expected
