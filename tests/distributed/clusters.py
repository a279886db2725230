"""Clusters for tests, and workers of theirs that die."""

from __future__ import annotations

import os
import random
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from geoquant.distributed.dask_engine import DaskEngine, local_cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def engine_of(n_workers: int = 2) -> Iterator[DaskEngine]:
    """An engine with so many workers here."""
    with local_cluster(n_workers) as client:
        yield DaskEngine(client)


class KillingEngine(DaskEngine):
    """Ends a worker with SIGKILL just after the n-th task was begun."""

    def __init__(self, client: Any, at: int) -> None:
        super().__init__(client)
        self.n_begun, self.at, self.n_killed = 0, at, 0

    def submit(self, task: Callable[..., Any], *arguments: Any, near: int | None = None) -> Any:
        """Begin a task, and perhaps end a worker."""
        handle = super().submit(task, *arguments, near=near)
        self.n_begun += 1
        if self.n_begun == self.at:
            self.kill_one()
        return handle

    def kill_one(self) -> None:
        """End one worker or another, as the number of the task says."""
        pids = self._client.run(os.getpid)
        pid = random.Random(self.at).choice(sorted(pids.values()))
        os.kill(pid, signal.SIGKILL)
        self.n_killed += 1
