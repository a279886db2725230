"""The peers: whether they are there, and how each is told the number of threads."""

from __future__ import annotations

import importlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.measure import Contender

#: Modules and the distributions that bring them.
DISTRIBUTION = {
    "faiss": "faiss-cpu",
    "igraph": "igraph",
    "kmedoids": "kmedoids",
    "networkit": "networkit",
    "pyamg": "pyamg",
    "pynndescent": "pynndescent",
    "sklearn": "scikit-learn",
}


class NotAvailable(Exception):
    """Data or a peer is missing; the message names the cure."""


def load(module: str) -> Any:
    """Import a peer."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.partition(".")[0]
        raise NotAvailable(
            f"{DISTRIBUTION.get(top, top)} cannot be imported ({error}): make bench installs it"
        ) from None


def available(
    makers: Mapping[str, Callable[[], Contender]],
) -> tuple[list[Contender], dict[str, str]]:
    """Contenders that can take part, and for each of the others why it cannot."""
    contenders, missing = [], {}
    for name, make in makers.items():
        try:
            contenders.append(make())
        except NotAvailable as error:
            missing[name] = str(error)
    return contenders, missing


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let every library that keeps a number of threads of its own use that many."""
    from threadpoolctl import threadpool_limits

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(count))
        for set_threads in (_faiss, _numba, _networkit):
            before = set_threads(count)
            if before is not None:
                stack.callback(set_threads, before)
        yield


def _faiss(count: int) -> int | None:
    import faiss

    before = int(faiss.omp_get_max_threads())
    faiss.omp_set_num_threads(count)
    return before


def _numba(count: int) -> int | None:
    try:
        import numba
    except ImportError:
        return None
    before = int(numba.get_num_threads())
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    return before


def _networkit(count: int) -> int | None:
    try:
        import networkit
    except ImportError:
        return None
    before = int(networkit.getMaxNumberOfThreads())
    networkit.setNumberOfThreads(count)
    return before
