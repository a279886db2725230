"""Where the tasks of a distributed run are computed: by threads here, or by what else there is.

A task is a function of the package with arguments of plain values; it reads and writes files in a
folder that all workers see, and returns little. It may be run twice and gives the same bits.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future


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


class LocalEngine:
    """Computes tasks in threads of this process.

    Parameters
    ----------
    n_workers : int, default=1
        Tasks at once.

    Examples
    --------
    >>> from geoquant.distributed.engine import LocalEngine, map_tasks
    >>> map_tasks(LocalEngine(2), divmod, [(7, 2), (9, 4)])
    [(3, 1), (2, 1)]
    """

    def __init__(self, n_workers: int = 1) -> None:
        self._pool = ThreadPoolExecutor(n_workers, thread_name_prefix="geoquant")

    def scatter(self, value: Any) -> Any:
        """Return the value: threads see it."""
        return value

    def submit(
        self, task: Callable[..., Any], *arguments: Any, near: int | None = None
    ) -> Future[Any]:
        """Begin a task in a thread; all are equally near."""
        del near
        return self._pool.submit(task, *arguments)

    def gather(self, handles: Sequence[Future[Any]]) -> list[Any]:
        """Wait for tasks and return their results in order; the first error is raised.

        Not before those that have begun are done, so that nothing is written behind one's back.
        """
        try:
            return [handle.result() for handle in handles]
        except BaseException as error:
            self.cancel(handles)
            if isinstance(error, Exception):  # who interrupts does not wait
                wait(handles)
            raise

    def cancel(self, handles: Sequence[Future[Any]]) -> None:
        """Let tasks that have not begun be forgotten."""
        for handle in handles:
            handle.cancel()


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
