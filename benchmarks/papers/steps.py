"""Steps of a run: what each needs, and doing them on all cores, done ones skipped."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.papers.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    # Takes the folder of the run, its settings and a step; gives what JSON can hold.
    Do = Callable[[Path, Any, "Step"], Any]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Step:
    """Something to do once.

    Attributes
    ----------
    folder : str
        Below the folder of the run: the judge's, or that of a seed.
    name : str
        Of the step.
    needs : tuple of str
        Paths, folder and name, of the steps before it.
    """

    folder: str
    name: str
    needs: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"


def cache_of(root: Path, settings: Any, folder: str) -> Cache:
    """Where the steps of a seed, or of the judge, leave what they give."""
    return Cache(root / folder, asdict(settings))


def run_step(root: Path, settings: Any, step: Step, do: Do) -> float:
    """Do a step unless it is done, with one thread; seconds that it took."""
    import torch

    torch.set_num_threads(1)
    begin = time.perf_counter()
    cache_of(root, settings, step.folder).once(step.name, lambda: do(root, settings, step))
    return time.perf_counter() - begin


def run_all(
    root: Path,
    settings: Any,
    steps: Sequence[Step],
    n_processes: int,
    do: Do,
    tell: Callable[[str], None] = print,
) -> None:
    """Do all steps by a function of a module, each as soon as those before it are done."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # of the processes that are started
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        in_order(
            steps,
            lambda step: pool.submit(run_step, root, settings, step, do),
            lambda step, seconds: tell(f"{step.path}: {seconds:.0f} s"),
            n_at_once=n_processes,
        )


def in_order(
    steps: Sequence[Step],
    submit: Callable[[Step], Future[float]],
    on_done: Callable[[Step, float], None],
    n_at_once: int,
) -> None:
    """Submit steps whose needs are met, the first ones first, until none is left."""
    waiting, done = list(steps), set[str]()
    running: dict[Future[float], Step] = {}
    try:
        while waiting or running:
            ready = [step for step in waiting if done.issuperset(step.needs)]
            for step in ready[: n_at_once - len(running)]:
                waiting.remove(step)
                running[submit(step)] = step
            if not running:
                raise ValueError(f"steps need what is not there: {[s.path for s in waiting]}")
            _take_finished(running, done, on_done)
    except BaseException:
        for future in running:
            future.cancel()
        raise


def _take_finished(
    running: dict[Future[float], Step], done: set[str], on_done: Callable[[Step, float], None]
) -> None:
    finished = wait(running, return_when=FIRST_COMPLETED).done
    for future in finished:
        step = running.pop(future)
        on_done(step, future.result())
        done.add(step.path)
