"""Clusters of Dask: workers of this machine, or those behind a scheduler that is safe to reach.

Whoever reaches a scheduler of Dask can run code at its workers: so ours are on the loopback
interface, and others are reached with TLS only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import metadata
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from geoquant.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

_CONNECT_SECONDS = 10.0
#: The variables of Dask that name the certificates of whoever connects.
_CERTIFICATES = {
    "ca_file": "DASK_DISTRIBUTED__COMM__TLS__CA_FILE",
    "cert": "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT",
    "key": "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY",
}
_CLOSE_SECONDS = 15.0
#: A worker that has loaded its libraries takes about half of it; Dask gives none a task above 0.8.
_LEAST_MEMORY = 128_000_000


def _dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            "geoquant.distributed needs Dask: pip install 'geoquant[distributed]'"
        ) from error
    return distributed


@contextmanager
def local_cluster(
    n_workers: int, *, threads_per_worker: int = 1, memory_limit: int | str = "auto"
) -> Iterator[Client]:
    """Workers that are processes of this machine, reached from it alone, for as long as it lasts.

    Parameters
    ----------
    n_workers : int
        Processes; one that dies is replaced.
    threads_per_worker : int, default=1
        Tasks at once in each.
    memory_limit : int or str, default="auto"
        Bytes that one of them may take before it is ended; its tasks are then begun anew.

    Yields
    ------
    distributed.Client

    Raises
    ------
    InputError
        If the limit is below what workers take before they have a task.

    Examples
    --------
    >>> from geoquant.distributed.dask_cluster import local_cluster
    >>> with local_cluster(2) as client:  # doctest: +SKIP
    ...     len(client.nthreads())
    2
    """
    dask = _dask()
    _require_memory(memory_limit)
    with TemporaryDirectory(prefix="geoquant-", ignore_cleanup_errors=True) as folder:
        options = {
            "n_workers": n_workers,
            "threads_per_worker": threads_per_worker,
            "processes": True,
            "host": "127.0.0.1",
            # There is an HTTP server with or without a dashboard, by default at all interfaces.
            "dashboard_address": "127.0.0.1:0",
            "worker_dashboard_address": "127.0.0.1:0",
            "memory_limit": memory_limit,
            "preload": [__name__],
            "silence_logs": logging.CRITICAL,
        }
        with _whole_cluster(dask, folder, options) as client:
            require_own_version(client)
            yield client


def _require_memory(limit: int | str) -> None:
    """Refuse a limit at which workers are ended, or get no task, once they are there."""
    from dask.utils import parse_bytes

    if limit != "auto" and 0 < parse_bytes(limit) < _LEAST_MEMORY:
        raise InputError(
            f"memory_limit (--memory-limit) must be at least {_LEAST_MEMORY // 10**6}MB, half of "
            f"which the libraries take, found {limit!r}"
        )


@contextmanager
def _whole_cluster(dask: Any, folder: str, options: dict[str, Any]) -> Iterator[Client]:
    """A cluster that no interruption finds begun or ended by half: Dask could not close it."""
    from dask import config

    with _interruptions_later(), _interrupts_blocked():
        with config.set({"temporary-directory": folder}):
            cluster = dask.LocalCluster(**options)
        client = dask.Client(cluster)
    try:
        yield client
    finally:
        with _interruptions_later():
            client.close()
            _close(cluster)


def _close(cluster: Any) -> None:
    """Close a cluster; older releases of Dask may wait for ever for a worker just begun anew."""
    nannies = list(cluster.workers.values())
    try:
        cluster.close(timeout=_CLOSE_SECONDS)
    except TimeoutError:
        cluster.shutdown_on_close = False  # or it is tried again at exit
        left = {nanny.pid for nanny in nannies}
        for process in multiprocessing.active_children():
            if process.pid in left:  # others are of other clusters
                process.kill()


@contextmanager
def _interruptions_later() -> Iterator[None]:
    """Let Ctrl-C, and what asks this process to end, wait for the end of the block."""
    received: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        names = (name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
        before = {
            number: signal.getsignal(number) for number in map(signal.Signals.__getitem__, names)
        }
    for number in before:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in received[:1]:
            signal.raise_signal(number)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT for the threads and processes that begin in the block, for as long as they live.

    A terminal sends it to every process; workers, and successors of dead ones, would say where it
    found them. Not even `dask_setup` is there before they have loaded their libraries.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Before: as it starts, it unblocks the signal.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """Workers of a cluster that runs already.

    Parameters
    ----------
    address : str
        Of its scheduler: ``tls://host:port``, with the certificates that Dask's configuration
        names; or one of this machine's loopback interface.

    Yields
    ------
    distributed.Client

    Raises
    ------
    InputError
        If the address is another, nobody answers there, or a worker has another geoquant.

    Examples
    --------
    >>> from geoquant.distributed.dask_cluster import connect
    >>> with connect("tcp://10.0.0.7:8786"):
    ...     pass
    Traceback (most recent call last):
        ...
    geoquant.errors.InputError: scheduler must be tls://host:port, found 'tcp://10.0.0.7:8786'; ...
    """
    require_safe_address(address)
    dask = _dask()
    if address.startswith("tls://"):
        _require_certificates(address)
    try:
        with ThreadPoolExecutor(1) as pool:  # notebooks have a loop in their thread
            pool.submit(asyncio.run, _answered(address)).result()
        client = dask.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"scheduler {address} cannot be used: {error}; see that `dask scheduler` runs there, "
            "with TLS if this is tls:// and only then, with certificates of one authority"
        ) from error
    with client:
        if not client.nthreads():
            raise InputError(f"scheduler {address} has no workers; start `dask worker` there")
        require_own_version(client)
        yield client


async def _answered(address: str) -> None:
    """See that a scheduler answers; a client would wait for ever for one that listens only."""
    from distributed.comm import connect as connected
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            comm = await connected(address, timeout=_CONNECT_SECONDS, **arguments)
    except TimeoutError:
        raise TimeoutError(f"no answer in {_CONNECT_SECONDS:g} s") from None
    comm.abort()


def _require_certificates(address: str) -> None:
    """Refuse to begin without what TLS needs: of that Dask would name neither variable nor file."""
    from distributed.security import Security

    found = Security().get_tls_config_for_role("client")
    for part, name in _CERTIFICATES.items():
        place = found[part]
        if place is None and part != "key":  # which may lie in the certificate's file
            what = f"{name} is not set"
        elif place is not None and "\n" not in place and not os.path.isfile(place):
            what = f"{name} names {place!r}, where no file is"
        else:
            continue
        raise InputError(
            f"scheduler {address} needs certificates, and {what}; let "
            f"{', '.join(_CERTIFICATES.values())} name those of your cluster"
        )


def require_safe_address(address: str) -> None:
    """Refuse a scheduler that is reached over a network without TLS.

    Parameters
    ----------
    address : str
        Of a scheduler.

    Raises
    ------
    InputError
        If it is neither tls:// nor of the loopback interface.

    Examples
    --------
    >>> from geoquant.distributed.dask_cluster import require_safe_address
    >>> require_safe_address("tls://cluster:8786")
    >>> require_safe_address("tcp://127.0.0.1:8786")
    """
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        has_port = parts.port is not None
    except ValueError:
        has_port = False
    is_known = has_port and parts.scheme in ("tls", "tcp") and bool(parts.hostname)
    if not is_known or (parts.scheme == "tcp" and not is_loopback(str(parts.hostname))):
        raise InputError(
            f"scheduler must be tls://host:port, found {address!r}; without TLS whoever reaches "
            "the scheduler can run code there, so only one on 127.0.0.1 may go without: start it "
            "with `dask scheduler --tls-ca-file ... --tls-cert ... --tls-key ...`"
        )


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dask_setup(worker: object) -> None:
    """Leave Ctrl-C to the process that started this worker; Dask calls this in workers of ours.

    Examples
    --------
    >>> import signal
    >>> from geoquant.distributed.dask_cluster import dask_setup
    >>> before = signal.getsignal(signal.SIGINT)
    >>> dask_setup(None)
    >>> signal.signal(signal.SIGINT, before) is signal.SIG_IGN
    True
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _own_version() -> str:
    return metadata.version("geoquant")


def require_own_version(client: Client) -> None:
    """Refuse workers with another geoquant: their tasks might differ.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.

    Raises
    ------
    InputError
        Naming the worker and its version.

    Examples
    --------
    >>> from geoquant.distributed.dask_cluster import local_cluster, require_own_version
    >>> with local_cluster(1) as client:  # doctest: +SKIP
    ...     require_own_version(client)
    """
    own = _own_version()
    # A function that every release of Python has: that of a worker's geoquant may be missing.
    found = client.run(metadata.version, "geoquant", on_error="return")
    for worker, version in sorted(found.items()):
        if version != own:
            has = "no geoquant" if isinstance(version, Exception) else f"geoquant {version}"
            raise InputError(
                f"worker {worker} has {has}, this is {own}; install geoquant {own} at every "
                "worker, and start them again"
            )
