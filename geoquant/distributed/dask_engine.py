"""Tasks computed by the workers of Dask, on this machine or on many.

Only futures are used. Dask pickles the arguments and results of tasks between the processes of one
run; its arrays lie in files of its scratch folder.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from geoquant.errors import FileFormatError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distributed import Client, Future

    from geoquant.progress import Progress

#: How long nothing is done before it is seen whether a worker is gone.
_PATIENCE = 1.0
#: How long tasks wait where no worker takes any; Dask would let them wait for ever.
_IDLE_SECONDS = 60.0


class _LackError(Exception):
    """A ResourceError on its way: as a MemoryError too, it is not unpickled with its causes."""


def computed(task: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a task, at a worker."""
    try:
        return task(*arguments)
    except ResourceError as error:
        message = str(error)
    raise _LackError(message)  # out here it does not bring along the error as its context


@dataclass
class _Handle:
    """A task that was begun, and what it takes to begin it again."""

    future: Future
    task: Callable[..., Any]
    arguments: tuple[Any, ...]
    worker: str | None  # where it is best done


class DaskEngine:
    """Computes tasks at the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected; `local_cluster` and `connect` give one that has been checked.
    progress : callable, optional
        Called as ``progress(task, done, total)`` while tasks are waited for; may raise to stop.

    Examples
    --------
    >>> from geoquant.distributed.dask_cluster import local_cluster
    >>> from geoquant.distributed.dask_engine import DaskEngine
    >>> from geoquant.distributed.engine import map_tasks
    >>> def quotients():
    ...     with local_cluster(2) as client:
    ...         return map_tasks(DaskEngine(client), divmod, [(7, 2), (9, 4)])
    >>> quotients()  # doctest: +SKIP
    [(3, 1), (2, 1)]
    """

    def __init__(self, client: Client, *, progress: Progress | None = None) -> None:
        self._client = client
        self._progress = progress
        self._workers: list[str] = []

    def scatter(self, value: Any) -> Any:
        """Bring a value to all workers; what is returned may be an argument in its place."""
        return self._client.scatter(value, broadcast=True, hash=False)

    def submit(self, task: Callable[..., Any], *arguments: Any, near: int | None = None) -> _Handle:
        """Begin a task, at the worker for `near` if that one is not busy with others."""
        worker = None if near is None else self._worker_of(near)
        return _Handle(self._begun(task, arguments, worker), task, arguments, worker)

    def gather(self, handles: Sequence[_Handle]) -> list[Any]:
        """Wait for tasks and return their results in order; the first error is raised."""
        try:
            with errors_of_dask_explained():
                self._wait(handles)
                return list(self._client.gather([handle.future for handle in handles]))
        except BaseException:
            self.cancel(handles)
            raise
        finally:
            self._workers = []  # some may have been replaced

    def cancel(self, handles: Sequence[_Handle]) -> None:
        """Let tasks that have not begun be forgotten."""
        if handles and self._client.status == "running":
            self._client.cancel([handle.future for handle in handles])

    def _begun(
        self, task: Callable[..., Any], arguments: tuple[Any, ...], worker: str | None
    ) -> Future:
        where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        # A key of its own: the same task with the same arguments may find other files.
        key = f"{task.__name__}-{secrets.token_hex(8)}"
        return self._client.submit(computed, task, *arguments, key=key, **where)

    def _worker_of(self, near: int) -> str:
        if not self._workers:
            self._workers = sorted(self._client.nthreads())
        if not self._workers:
            raise ResourceError("the cluster has no workers; start some, and run again")
        return self._workers[near % len(self._workers)]

    def _wait(self, handles: Sequence[_Handle]) -> None:
        """Until all are done; tell how many are, each time that one is; raise the first error."""
        waiting = {handle.future.key: handle for handle in handles}
        ended: SimpleQueue[Future] = SimpleQueue()
        idle_until = None
        for handle in handles:
            handle.future.add_done_callback(ended.put)
        while waiting:
            try:
                future = ended.get(timeout=_PATIENCE)
            except Empty:
                idle_until = self._idle_until(idle_until)
                for left in self._left_alone(list(waiting.values())):
                    del waiting[left.future.key]
                    self._begin_again(left)
                    waiting[left.future.key] = left
                    left.future.add_done_callback(ended.put)
                continue
            if future.key not in waiting:
                continue  # of a task that was begun again
            handle = waiting.pop(future.key)
            if future.status != "finished":
                future.result()
            if self._progress is not None:
                stage = handle.task.__name__.replace("_", " ")
                self._progress(stage, len(handles) - len(waiting), len(handles))

    def _idle_until(self, before: float | None) -> float | None:
        """When to give up as no worker takes tasks; None where one does, or is at work."""
        workers = self._client.sync(self._client.scheduler.identity)["workers"].values()
        for worker in workers:
            counts = worker["metrics"].get("task_counts", {})
            if worker["status"] == "running" or counts.get("executing"):
                return None
        until = time.monotonic() + _IDLE_SECONDS if before is None else before
        if time.monotonic() < until:
            return until
        state = "all are near their limit" if workers else "none is left"
        raise ResourceError(
            f"no worker has taken a task for {_IDLE_SECONDS:g} s, {state}; see that workers run, "
            "give them more memory (--memory-limit), and run again"
        )

    def _left_alone(self, handles: list[_Handle]) -> list[_Handle]:
        """Tasks whose worker is gone; Dask lets them wait for it where no other was left."""
        workers = self._client.nthreads()
        return [h for h in handles if workers and h.worker is not None and h.worker not in workers]

    def _begin_again(self, handle: _Handle) -> None:
        handle.future.cancel()
        handle.worker = None
        handle.future = self._begun(handle.task, handle.arguments, None)


@contextmanager
def errors_of_dask_explained() -> Iterator[None]:
    """Turn what Dask raises, where workers or the scheduler fail, into errors that say the cure."""
    from distributed.client import FutureCancelledError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        yield
    except _LackError as error:
        raise ResourceError(str(error)) from None
    except (FileFormatError, FileNotFoundError) as error:
        _require_seen(error)
        raise
    except KilledWorker as error:
        raise ResourceError(
            f"the task {error.task} ended {error.allowed_failures + 1} workers one after another, "
            "most likely for lack of memory, or as a file they read was cut short; give workers "
            "more memory (--memory-limit), take fewer of them (--workers), or cut the work smaller "
            "(--partitions, smaller shards)"
        ) from error
    except (CommClosedError, FutureCancelledError, TimeoutError) as error:
        raise ResourceError(
            f"the scheduler was lost or forgot a task: {error}; see that it runs, and run again"
        ) from error


def _require_seen(error: FileFormatError | FileNotFoundError) -> None:
    """Say so if what a worker did not find is here, or the folder is in which it would be."""
    if isinstance(error, FileNotFoundError):
        path = os.path.dirname(str(error.filename))
    else:
        path, _, what = str(error).rpartition(": ")
        if what != "no such file":
            return
    if os.path.exists(path):
        raise FileFormatError(
            f"{path}: is here, but a worker does not find it; all workers must see shards, "
            "codebook, codes and scratch folder under the same paths"
        ) from error
