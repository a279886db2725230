"""How long functions report progress, and how ``n_jobs`` becomes a number of threads."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable

import numpy as np

from geoquant.errors import InputError

#: Called as ``progress(stage, done, total)``; may raise to stop the run. True ends the stage there
#: if it is one that improves on what is found already: swaps, perturbations, rounds.
Progress = Callable[[str, int, int], bool | None]

#: Threads beyond the cores are of use to tests alone.
_MOST_THREADS = 64


def of_stage(progress: Progress | None, stage: str) -> Callable[[int, int], bool | None] | None:
    """Bind the name of a stage, giving the ``(done, total)`` callback that kernels take."""
    if progress is None:
        return None
    return lambda done, total: progress(stage, done, total)


def n_threads(n_jobs: int | None) -> int:
    """Number of threads that `n_jobs` asks for.

    Parameters
    ----------
    n_jobs : int or None
        ``None``: every core the process may run on. Positive: that many, but at most 64 or as
        many as there are cores, as more would only take memory.
        Negative: ``cores + 1 + n_jobs``, so that -1 is every core.

    Returns
    -------
    int
        At least 1. Results never depend on it.

    Raises
    ------
    InputError
        If `n_jobs` is 0 or not an integer.

    Examples
    --------
    >>> from geoquant.progress import n_threads
    >>> n_threads(3)
    3
    """
    if hasattr(os, "sched_getaffinity"):
        n_cores = len(os.sched_getaffinity(0))
    else:  # macOS, Windows
        n_cores = os.cpu_count() or 1
    if n_jobs is None:
        return n_cores
    try:
        count = operator.index(n_jobs)
    except TypeError:
        count = 0
    if count == 0 or isinstance(n_jobs, bool | np.bool_):
        raise InputError(f"n_jobs must be None or a non-zero integer, found {n_jobs!r}")
    return min(count, max(n_cores, _MOST_THREADS)) if count > 0 else max(1, n_cores + 1 + count)
