"""Where the tasks of a distributed run are computed: by threads here, or by what else there is.

A task is a function of the package with arguments of plain values; it reads and writes files in a
folder that all workers see, and returns little. It may be run twice and gives the same bits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from geoquant.progress import Progress


class Engine(Protocol):
    """What a run asks of whatever computes its tasks."""

    def scatter(self, value: Any) -> Any:
        """Bring a value to the workers; what is returned may be an argument in its place."""

    def submit(self, task: Callable[..., Any], *arguments: Any, near: int | None = None) -> Any:
        """Begin a task, and return a handle of it; tasks with one `near` are best at one worker."""

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """Wait for tasks and return their results in order; the first error is raised."""

    def cancel(self, handles: Sequence[Any]) -> None:
        """Let tasks that have not begun be forgotten."""


class _Begun(NamedTuple):
    """A task of a thread, and what it is called."""

    future: Future[Any]
    stage: str


class LocalEngine:
    """Computes tasks in threads of this process.

    Parameters
    ----------
    n_workers : int, default=1
        Tasks at once.
    progress : callable, optional
        Called as ``progress(task, done, total)`` while tasks are waited for; may raise to stop.

    Examples
    --------
    >>> from geoquant.distributed.engine import LocalEngine, map_tasks
    >>> map_tasks(LocalEngine(2), divmod, [(7, 2), (9, 4)])
    [(3, 1), (2, 1)]
    """

    def __init__(self, n_workers: int = 1, *, progress: Progress | None = None) -> None:
        self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="geoquant")
        self._progress = progress

    def scatter(self, value: Any) -> Any:
        """Return the value: threads see it."""
        return value

    def submit(self, task: Callable[..., Any], *arguments: Any, near: int | None = None) -> _Begun:
        """Begin a task in a thread; all are equally near."""
        del near
        return _Begun(self._pool.submit(task, *arguments), task.__name__.replace("_", " "))

    def gather(self, handles: Sequence[_Begun]) -> list[Any]:
        """Wait for tasks and return their results in order; the first error is raised.

        Not before those that have begun are done, so that nothing is written behind one's back.
        """
        try:
            return [self._result(handles, i) for i in range(len(handles))]
        except BaseException as error:
            self.cancel(handles)
            if isinstance(error, Exception):  # who interrupts does not wait
                wait([handle.future for handle in handles])
            raise

    def _result(self, handles: Sequence[_Begun], i: int) -> Any:
        """That of a task, once it is done; tell so."""
        result = handles[i].future.result()
        if self._progress is not None:
            self._progress(handles[i].stage, i + 1, len(handles))
        return result

    def cancel(self, handles: Sequence[_Begun]) -> None:
        """Let tasks that have not begun be forgotten."""
        for handle in handles:
            handle.future.cancel()


def map_tasks(
    engine: Engine,
    task: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    near: Iterable[int] | None = None,
) -> list[Any]:
    """Run one task for each tuple of arguments, and wait for all.

    Parameters
    ----------
    engine : Engine
        Where.
    task : callable
        What.
    arguments : iterable of tuple
        Its positional arguments, one tuple a task.
    near : iterable of int, optional
        Partition that each task works on; by default its place in `arguments`.

    Returns
    -------
    list
        Results, in the order of `arguments`.

    Examples
    --------
    >>> from geoquant.distributed.engine import LocalEngine, map_tasks
    >>> map_tasks(LocalEngine(), pow, [(2, 3)])
    [8]
    """
    listed = list(arguments)
    places = range(len(listed)) if near is None else near
    handles = [
        engine.submit(task, *given, near=place) for given, place in zip(listed, places, strict=True)
    ]
    return engine.gather(handles)
