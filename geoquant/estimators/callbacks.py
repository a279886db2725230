"""Fits as scikit-learn's callbacks hear of them; those came with scikit-learn 1.9."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

try:
    from sklearn import callback
except ImportError:
    callback = None

if TYPE_CHECKING:
    from collections.abc import Callable

_Method = TypeVar("_Method", bound="Callable[..., Any]")


class _NoCallbacks:
    """Base of estimators where scikit-learn has no callbacks."""


#: Base of estimators that callbacks can be set on.
CallbackSupportMixin: Any = _NoCallbacks if callback is None else callback.CallbackSupportMixin

_STEPS_PER_STAGE = 100


def with_callbacks(method: _Method) -> _Method:
    """Tear the callbacks of an estimator down when a method of it ends, in whatever way.

    Parameters
    ----------
    method : callable
        A method that fits.

    Returns
    -------
    callable
        The same; the method itself where scikit-learn has no callbacks.

    Examples
    --------
    >>> from geoquant.estimators.callbacks import with_callbacks
    >>> class Five:
    ...     @with_callbacks
    ...     def fit(self):
    ...         return 5
    >>> Five().fit()
    5
    """
    return method if callback is None else callback.with_callbacks(method)


class FitTasks:
    """A fit as a tree of tasks: its stages below it, and the steps of each below that.

    Parameters
    ----------
    estimator : estimator
        With callbacks set.
    **data
        What every hook may ask for: ``X``, ``y``, ``metadata``.
    """

    def __init__(self, estimator: Any, **data: Any) -> None:
        self._hook_arguments = {"estimator": estimator, **data}
        # Private, but documented for estimators; which stages there will be depends on the data.
        root = estimator._init_callback_context(max_subtasks=None)  # noqa: SLF001
        self._fit = self._begun(root)
        self._stage: Any = None
        self._step: Any = None
        self._n_ended = 0
        self._is_stopped = False

    def progress(self, stage: str, done: int, total: int) -> bool:
        """Tell callbacks of progress, as functions of geoquant report it.

        Parameters
        ----------
        stage : str
            Name of the stage.
        done, total : int
            How far it is; what is done may fall, and is not told again.

        Returns
        -------
        bool
            Whether a callback has asked to stop.
        """
        n_steps = max(1, min(total, _STEPS_PER_STAGE))
        if self._stage is None or self._stage.task_name != stage:
            self._end_stage()
            self._stage = self._begun(self._fit.subcontext(stage, max_subtasks=n_steps))
            self._begin_step()
        while self._step is not None and self._n_ended < n_steps * done // max(1, total):
            self._end_step()
        return self._is_stopped

    def end(self) -> None:
        """Tell callbacks that the fit is done, its estimator ready to predict."""
        self._end_stage()
        self._fit.call_on_fit_task_end(**self._hook_arguments, reconstruction_attributes={})

    def _begun(self, task: Any) -> Any:
        return task.call_on_fit_task_begin(**self._hook_arguments)

    def _begin_step(self) -> None:
        self._step = self._begun(self._stage.subcontext(f"{self._stage.task_name} step"))

    def _end_step(self) -> None:
        self._is_stopped |= self._step.call_on_fit_task_end(**self._hook_arguments)
        self._n_ended += 1
        self._step = None
        if self._n_ended < self._stage.max_subtasks:
            self._begin_step()

    def _end_stage(self) -> None:
        """End the stage that is on, and the step that is, as a stage may end early."""
        for task in (self._step, self._stage):
            if task is not None:
                self._is_stopped |= task.call_on_fit_task_end(**self._hook_arguments)
        self._stage, self._step, self._n_ended = None, None, 0


def fit_tasks(estimator: Any, X: Any, y: Any, sample_weight: Any) -> FitTasks | None:
    """Begin to tell the callbacks of an estimator about a fit.

    Parameters
    ----------
    estimator : estimator
        Whose method is decorated by `with_callbacks`.
    X, y, sample_weight
        What it is fitted on, for hooks that ask for it.

    Returns
    -------
    FitTasks or None
        None without callbacks, so that a fit without them does no more than it did.

    Examples
    --------
    >>> import geoquant as gq
    >>> from geoquant.estimators.callbacks import fit_tasks
    >>> fit_tasks(gq.GeodesicKMeans(), [[0.0]], None, None) is None
    True
    """
    if not getattr(estimator, "_skl_callbacks", None):
        return None
    metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
    return FitTasks(estimator, X=X, y=y, metadata=metadata)
