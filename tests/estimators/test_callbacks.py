"""Fits as the callbacks of scikit-learn hear of them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import geoquant as gq

callback = pytest.importorskip("sklearn.callback", reason="this scikit-learn has no callbacks")

both = pytest.mark.parametrize("estimator", [gq.GeodesicKMeans, gq.GeodesicKMedoids])
HOOKS = ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"]


class Recorder:
    """Hears of everything, from all depths, and may raise or ask to stop."""

    max_propagation_depth = None

    def __init__(self, *, fail_at: str = "", stop_at: str = "") -> None:
        self.heard: list[tuple[str, tuple[str, ...]]] = []
        self.given: list[dict[str, Any]] = []
        self.fail_at, self.stop_at = fail_at, stop_at

    def _hear(self, hook: str, context: Any) -> None:
        names = [context.task_name]
        while (context := context.parent) is not None:
            names.insert(0, context.task_name)
        self.heard.append((hook, tuple(names)))
        if hook == self.fail_at:
            raise RuntimeError(hook)

    def setup(self, estimator: Any, context: Any) -> None:
        self._hear("setup", context)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self._hear("on_fit_task_begin", context)

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        metadata: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:
        self._hear("on_fit_task_end", context)
        self.given.append({"X": X, "y": y, "metadata": metadata, "fitted": fitted_estimator})
        return bool(self.stop_at) and context.task_name.startswith(self.stop_at)

    def teardown(self, estimator: Any, context: Any) -> None:
        self._hear("teardown", context)

    def stages(self) -> list[str]:
        return [
            names[1]
            for hook, names in self.heard
            if hook == "on_fit_task_begin" and len(names) == 2
        ]


def cloud(n: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def state(est: Any) -> dict[str, Any]:
    """What was fitted, as bytes where it is arrays."""
    names = ["labels_", "medoid_indices_", "geodesic_distances_", "inertia_history_", "n_iter_"]
    values = {name: getattr(est, name) for name in names}
    return {name: v.tobytes() if hasattr(v, "tobytes") else v for name, v in values.items()}


@both
def test_tasks_are_the_fit_its_stages_and_their_steps(estimator: type) -> None:
    """Each task that begins ends, those below it before; the fit is set up and torn down once."""
    recorder = Recorder()
    estimator(12, random_state=0).set_callbacks(recorder).fit(cloud())
    assert recorder.heard[0] == ("setup", ("fit",))
    assert recorder.heard[-1] == ("teardown", ("fit",))
    open_tasks = []
    for hook, names in recorder.heard[1:-1]:
        if hook == "on_fit_task_begin":
            assert names[:-1] == tuple(open_tasks)
            open_tasks.append(names[-1])
        else:
            assert names == tuple(open_tasks)
            open_tasks.pop()
    assert open_tasks == []
    assert recorder.stages()[:4] == ["neighbours", "seeds", "swaps", "perturbations"]
    assert max(len(names) for _, names in recorder.heard) == 3


@both
@pytest.mark.parametrize("total", [0, 1, 7, 100, 1234])
def test_a_stage_has_at_most_a_hundred_steps(estimator: type, total: int) -> None:
    """As many as it has itself, or a hundred; what is told twice or falls back is told once."""
    from geoquant.estimators.callbacks import fit_tasks

    recorder = Recorder()
    tasks = fit_tasks(est := estimator().set_callbacks(recorder), None, None, None)
    for done in (0, total // 2, 0, total // 2, total, total):
        assert tasks.progress("stage", done, total) is False
    tasks.end()
    steps = [hook for hook, names in recorder.heard if names[-1] == "stage step"]
    assert steps == ["on_fit_task_begin", "on_fit_task_end"] * max(1, min(total, 100))
    assert fit_tasks(est.set_callbacks(), None, None, None) is None


@both
@pytest.mark.parametrize("algorithm", ["auto", "alternate"])
def test_fit_is_the_same_with_and_without(estimator: type, algorithm: str) -> None:
    """To be heard changes no bit of what is found, and leaves nothing behind."""
    est = estimator(12, algorithm=algorithm, n_init=2, random_state=0)
    heard = clone(est).set_callbacks(Recorder()).fit(cloud())
    assert state(heard) == state(est.fit(cloud()))
    assert {n for n in vars(heard) if "callback" in n} == {"_skl_callbacks"}
    assert not [n for n in vars(est) if "callback" in n]


@both
def test_a_precomputed_graph_is_heard_of(estimator: type) -> None:
    """There are no neighbours to find, and the rest is as it is."""
    graph = gq.KNNTransformer(connected=True).fit_transform(cloud())
    recorder = Recorder()
    estimator(9, metric="precomputed").set_callbacks(recorder).fit(graph)
    assert recorder.stages()[:2] == ["seeds", "swaps"]


@both
def test_hooks_are_given_data_and_at_the_end_the_fitted_estimator(estimator: type) -> None:
    """X, y and weights come with each task; the last has an estimator that predicts."""
    recorder, weight = Recorder(), np.r_[np.zeros(10), np.ones(290)]
    est = estimator(5, random_state=0).set_callbacks(recorder)
    est.fit(cloud(), y := np.zeros(300), sample_weight=weight)
    for given in recorder.given:
        np.testing.assert_array_equal(given["X"], cloud())
        assert given["y"] is y
        assert given["metadata"]["sample_weight"] is weight
    assert [g for g in recorder.given[:-1] if g["fitted"] is not None] == []
    np.testing.assert_array_equal(recorder.given[-1]["fitted"].predict(cloud()), est.labels_)


@both
@pytest.mark.parametrize("fail_at", HOOKS)
def test_a_callback_that_raises_leaves_what_was(estimator: type, fail_at: str) -> None:
    """The error comes out, the fit before it stays whole, and the next fit is as any."""
    est = estimator(5, random_state=0).fit(cloud())
    before = state(est)
    failing = Recorder(fail_at=fail_at)
    with pytest.raises(RuntimeError, match=fail_at):
        est.set_callbacks(failing).fit(cloud(50, seed=1))
    assert state(est) == before
    np.testing.assert_array_equal(est.predict(cloud()), est.labels_)
    assert [hook for hook, _ in failing.heard].count("teardown") == 1
    again = est.set_callbacks().fit(cloud(50, seed=1))
    assert state(again) == state(estimator(5, random_state=0).fit(cloud(50, seed=1)))


@both
@pytest.mark.parametrize("stop_at", ["neighbours", "seeds", "swaps", "perturbations", "alternate"])
def test_a_callback_that_asks_to_stop_has_a_whole_fit(estimator: type, stop_at: str) -> None:
    """What can be cut short is: the codes are consistent, if not the best there are."""
    algorithm = "alternate" if stop_at == "alternate" else "swap"
    est = estimator(30, algorithm=algorithm, random_state=0)
    whole = clone(est).fit(cloud(2000))
    recorder = Recorder(stop_at=stop_at)
    stopped = est.set_callbacks(recorder).fit(cloud(2000))
    np.testing.assert_array_equal(stopped.predict(cloud(2000)), stopped.labels_)
    np.testing.assert_array_equal(stopped.labels_[stopped.medoid_indices_], np.arange(30))
    assert stopped.score(cloud(2000)) == pytest.approx(-stopped.inertia_)
    if stop_at in ("neighbours", "seeds", "alternate"):  # others may be over before they are told
        assert whole.inertia_history_[-1] < stopped.inertia_ < stopped.inertia_history_[0]
    assert recorder.heard[-1][0] == "teardown"


def test_a_fit_that_was_not_asked_to_stop_knows_nothing_of_it() -> None:
    """A stop is that of its fit, not of the next."""
    est = gq.GeodesicKMeans(30, random_state=0).set_callbacks(Recorder(stop_at="seeds"))
    est.fit(cloud(1000)).set_callbacks().fit(cloud(1000))
    assert state(est) == state(clone(est).fit(cloud(1000)))


@both
def test_progress_bar_shows_the_stages(estimator: type, capsys: pytest.CaptureFixture[str]) -> None:
    """scikit-learn's own bar has a line for the fit and one for each stage."""
    pytest.importorskip("rich")
    estimator(9, random_state=0).set_callbacks(callback.ProgressBar()).fit(cloud())
    shown = capsys.readouterr().out
    assert f"{estimator.__name__} - fit" in shown
    for stage in ("neighbours", "seeds", "swaps", "perturbations"):
        assert f"{estimator.__name__} - {stage}" in shown
    assert shown.count("100%") >= 5


@both
def test_scoring_monitor_logs_the_score(estimator: type) -> None:
    """One entry, of the whole fit, as nothing before it can predict."""
    pytest.importorskip("pandas")
    monitor = callback.ScoringMonitor(scoring={"score": lambda est, X, y: est.score(X, y)})
    est = estimator(9, random_state=0).set_callbacks(monitor).fit(cloud(), np.zeros(300))
    logged = monitor.get_logs().data
    assert [entry["task_name"] for entry in logged] == ["fit"]
    assert logged[0]["score"] == est.score(cloud())


def test_pipelines_and_searches_pass_callbacks_on() -> None:
    """What is set on the outermost estimator hears of the stages within."""
    recorder = Recorder()
    pipeline = make_pipeline(
        gq.KNNTransformer(connected=True),
        gq.GeodesicKMeans(metric="precomputed", random_state=0),
    ).set_callbacks(recorder)
    pipeline.fit(cloud())
    stages = {names[-1] for _, names in recorder.heard}
    assert {"neighbours", "seeds", "swaps"} <= stages
    recorder = Recorder()
    search = GridSearchCV(gq.GeodesicKMeans(random_state=0), {"n_clusters": [2, 3]}, cv=2)
    search.set_callbacks(recorder).fit(cloud())
    assert sum(names[-1] == "neighbours" for _, names in recorder.heard) == 2 * (2 * 2 + 1)
    assert search.best_params_ == {"n_clusters": 3}


@pytest.mark.filterwarnings("ignore:The estimator StandardScaler does not support callbacks")
def test_transformer_is_heard_of() -> None:
    """Its search is the stage of fit_transform; fit has none, and both are the same as unheard."""
    recorder = Recorder()
    transformer = gq.KNNTransformer(5).set_callbacks(recorder)
    graph = transformer.fit_transform(cloud())
    assert recorder.stages() == ["neighbours"]
    assert (graph != gq.KNNTransformer(5).fit_transform(cloud())).nnz == 0
    transformer.set_callbacks(recorder := Recorder()).fit(cloud())
    assert recorder.stages() == []
    make_pipeline(StandardScaler(), transformer.set_callbacks()).set_callbacks(
        recorder := Recorder()
    ).fit_transform(cloud())
    assert "neighbours" in {names[-1] for _, names in recorder.heard}


def test_two_fits_at_once_are_torn_down_each() -> None:
    """Two threads that fit one estimator hear of a fit each, whole from setup to teardown."""
    recorder = Recorder()
    est = gq.GeodesicKMeans(9, random_state=0).set_callbacks(recorder)
    threads = [threading.Thread(target=est.fit, args=(cloud(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hooks = [hook for hook, _ in recorder.heard]
    assert [hooks.count(hook) for hook in ("setup", "teardown")] == [2, 2]
    assert hooks.count("on_fit_task_begin") == hooks.count("on_fit_task_end")
    np.testing.assert_array_equal(est.predict(cloud()), est.labels_)
