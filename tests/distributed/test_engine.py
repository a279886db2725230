"""The engine: results in order, the first error raised, the rest forgotten."""

from __future__ import annotations

import threading
import time

import pytest

from geoquant.distributed.engine import LocalEngine, map_tasks


def test_results_come_in_the_order_of_the_arguments() -> None:
    """Whatever ends first, and wherever a task is best done."""
    engine = LocalEngine(3)
    first = threading.Event()

    def task(i: int) -> int:
        if i == 0:
            first.wait(10)
        if i == 2:
            first.set()
        return i * i

    assert map_tasks(engine, task, [(i,) for i in range(3)]) == [0, 1, 4]
    assert map_tasks(engine, pow, [(2, 3), (3, 2)], near=[1, 0]) == [8, 9]
    assert engine.gather([engine.submit(abs, engine.scatter(-3))]) == [3]


def test_tasks_that_are_done_are_counted() -> None:
    """By name; what the callback raises comes through."""
    told: list[tuple[str, int, int]] = []
    map_tasks(
        LocalEngine(2, progress=lambda *counts: told.append(counts)), divmod, [(7, 2), (9, 4)]
    )
    assert told == [("divmod", 1, 2), ("divmod", 2, 2)]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_tasks(LocalEngine(1, progress=stop), abs, [(-1,)])


def test_an_error_ends_the_run() -> None:
    """It is raised as it is, and tasks that have not begun never do."""
    begun = []

    def task(i: int) -> None:
        begun.append(i)
        raise KeyError(i)

    with pytest.raises(KeyError, match="0"):
        map_tasks(LocalEngine(1), task, [(i,) for i in range(50)])
    assert len(begun) < 50


def test_tasks_that_have_begun_are_waited_for() -> None:
    """When the error is raised nothing is going on any more, and nothing begins."""
    both, ended = threading.Barrier(2), []

    def task(i: int) -> None:
        both.wait(10)
        if i == 0:
            raise KeyError(i)
        time.sleep(0.2)
        ended.append(i)

    with pytest.raises(KeyError):
        map_tasks(LocalEngine(2), task, [(0,), (1,)])
    assert ended == [1]
