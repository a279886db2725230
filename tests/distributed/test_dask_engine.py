"""The engine of Dask: results in order, errors as they are, workers replaced, no open network."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest

from geoquant import InputError
from geoquant.distributed import dask_cluster, dask_engine
from geoquant.distributed.dask_cluster import connect, local_cluster
from geoquant.distributed.dask_engine import DaskEngine
from geoquant.distributed.engine import map_tasks
from geoquant.errors import ResourceError
from tests.distributed.clusters import KillingEngine

psutil = pytest.importorskip("psutil")
pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Worker


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of two workers."""
    with local_cluster(2) as client:
        yield client


def test_results_come_in_the_order_of_the_arguments(client: Client) -> None:
    """Wherever a task is best done, and of values at the workers too."""
    told = []
    engine = DaskEngine(client, progress=lambda *told_of: told.append(told_of))
    assert map_tasks(engine, divmod, [(7, 2), (9, 4), (5, 5)]) == [(3, 1), (2, 1), (1, 0)]
    assert told == [("divmod", 1, 3), ("divmod", 2, 3), ("divmod", 3, 3)]
    assert map_tasks(engine, pow, [(2, 3), (3, 2)], near=[7, 0]) == [8, 9]
    assert engine.gather([engine.submit(abs, engine.scatter(-3))]) == [3]
    assert engine.gather([]) == []


def test_tasks_with_one_near_go_to_one_worker(client: Client) -> None:
    """So that what it keeps between tasks is of use."""
    engine = DaskEngine(client)
    found = [map_tasks(engine, os.getpid, [()], near=[near]) for near in (0, 1, 0, 1, 2)]
    assert found[0] == found[2] == found[4] != found[1] == found[3]


def test_an_error_is_raised_at_once_and_as_it_is(client: Client) -> None:
    """Tasks that have not begun are forgotten."""
    engine = DaskEngine(client)
    begin = time.monotonic()
    naps = [engine.submit(time.sleep, 1.0) for _ in range(60)]
    with pytest.raises(ZeroDivisionError):
        engine.gather([engine.submit(divmod, 1, 0, near=0), *naps])
    assert map_tasks(engine, abs, [(-1,)]) == [1]
    assert time.monotonic() - begin < 25  # all naps take 30 s


def test_a_stopped_run_forgets_its_tasks(client: Client) -> None:
    """As after Ctrl-C: what the callback raises comes through, and nothing goes on."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    handles = [DaskEngine(client).submit(time.sleep, 0.1) for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        DaskEngine(client, progress=stop).gather(handles)
    assert all(handle.future.status == "cancelled" for handle in handles)


def handler_of_interrupts() -> object:
    return signal.getsignal(signal.SIGINT)


def test_workers_leave_interrupts_to_their_client(client: Client) -> None:
    """A terminal sends Ctrl-C to all of them; those of dead workers' successors too."""
    assert set(client.run(handler_of_interrupts).values()) == {signal.SIG_IGN}
    map_tasks(KillingEngine(client, at=1), abs, [(-1,), (-2,)])
    client.wait_for_workers(2)
    assert set(client.run(handler_of_interrupts).values()) == {signal.SIG_IGN}


@pytest.mark.parametrize("n_workers", [1, 2])
def test_tasks_of_a_killed_worker_are_begun_anew(n_workers: int) -> None:
    """Also where no other was left to take them."""
    with local_cluster(n_workers) as client:
        engine = KillingEngine(client, at=3)
        found = map_tasks(engine, pow, [(i, 2) for i in range(9)], near=[0] * 9)
        assert found == [i**2 for i in range(9)]
        assert engine.n_killed == 1


def test_a_task_that_ends_every_worker_is_an_error() -> None:
    """It is not begun for ever, and the error says what to change."""
    with local_cluster(1) as client:
        engine = DaskEngine(client)
        with pytest.raises(ResourceError, match=r"_exit.* ended 4 workers .*--memory-limit"):
            map_tasks(engine, os._exit, [(1,)])


def resident_after_a_fit() -> int:
    """Bytes that a worker takes which has loaded all that tasks need."""
    import geoquant as gq
    from geoquant.distributed import assign, fit

    del assign, fit
    fitted = gq.fit_codebook(np.eye(50, dtype=np.float32), 5, random_state=0)
    fitted.codebook.assign(np.eye(50, dtype=np.float32))
    return int(psutil.Process().memory_info().rss)


def test_the_least_memory_is_enough_for_the_libraries(client: Client) -> None:
    """Less is refused; at the least, a worker with its libraries still takes tasks."""
    with pytest.raises(
        InputError, match=r"--memory-limit\) must be at least 128MB, .*found '60MB'"
    ):
        local_cluster(1, memory_limit="60MB").__enter__()
    (resident,) = client.run(resident_after_a_fit, workers=[min(client.nthreads())]).values()
    assert resident < 0.8 * dask_cluster._LEAST_MEMORY


def pause(dask_worker: Worker) -> None:
    """What a worker does that is about to run out of memory."""
    from distributed.core import Status

    dask_worker.status = Status.paused


@pytest.mark.parametrize("how", ["paused", "gone"])
def test_tasks_that_no_worker_takes(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """They are given up after a while, with the cure; not while one is at work."""
    monkeypatch.setattr(dask_engine, "_IDLE_SECONDS", 1.5)
    with local_cluster(1, memory_limit=0) as client:  # nobody looks at its memory
        engine = DaskEngine(client)
        handles = [engine.submit(time.sleep, 5.0)]
        time.sleep(0.5)
        if how == "paused":
            client.run(pause)
            assert engine.gather(handles) == [None]
        else:
            client.cluster.scale(0)
        with pytest.raises(ResourceError, match=r"no worker has taken a task .*--memory-limit"):
            engine.gather([engine.submit(abs, -1)])


def test_a_cluster_that_does_not_close() -> None:
    """It is not waited for for ever, nor at exit again; its workers are killed, no others."""
    spawned = multiprocessing.get_context("spawn")
    worker, other = (spawned.Process(target=time.sleep, args=(60,)) for _ in range(2))
    worker.start()
    other.start()

    class Stuck:
        shutdown_on_close = True
        workers: ClassVar = {0: worker}  # which has a pid, as what watches it has

        def close(self, timeout: float) -> None:
            raise TimeoutError(timeout)

    cluster = Stuck()
    dask_cluster._close(cluster)
    worker.join(30)
    assert (worker.exitcode, other.exitcode) == (-signal.SIGKILL, None)
    other.kill()
    other.join(30)
    assert not cluster.shutdown_on_close


def test_workers_are_on_the_loopback_interface(client: Client) -> None:
    """The scheduler too, and what they say over HTTP."""
    pids = [os.getpid(), *client.run(os.getpid).values()]
    listening = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    addresses = [client.scheduler.address, *client.nthreads()]
    assert all(address.startswith("tcp://127.0.0.1:") for address in addresses)
    with connect(client.scheduler.address) as other:
        assert map_tasks(DaskEngine(other), abs, [(-2,)]) == [2]


@pytest.mark.parametrize(
    "address",
    ["tcp://10.0.0.7:8786", "10.0.0.7:8786", "host:8786", "ucx://127.0.0.1:1", "tls://host", "x"],
)
def test_schedulers_without_tls_are_refused(address: str) -> None:
    """Unless they are on the loopback interface; nobody is asked."""
    with pytest.raises(InputError, match=r"scheduler must be tls://host:port, found .*--tls-cert"):
        connect(address).__enter__()


@pytest.mark.parametrize("does_listen", [False, True], ids=["refused", "silent"])
def test_an_unreachable_scheduler(monkeypatch: pytest.MonkeyPatch, does_listen: bool) -> None:
    """Where nobody listens, and where nobody ever answers: the error names it and the cure."""
    monkeypatch.setattr(dask_cluster, "_CONNECT_SECONDS", 0.5)
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        if does_listen:
            hole.listen()
        address = f"tcp://127.0.0.1:{hole.getsockname()[1]}"
        with pytest.raises(InputError, match=f"scheduler {address} cannot be used: .*see that"):
            connect(address).__enter__()


def test_workers_of_another_version_are_refused(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    """The error names worker, both versions, and the cure."""
    monkeypatch.setattr(dask_cluster, "_own_version", lambda: "99.0")
    message = r"worker tcp://127.0.0.1:\d+ has geoquant .*, this is 99.0; install geoquant 99.0"
    with pytest.raises(InputError, match=message):
        connect(client.scheduler.address).__enter__()


def test_without_dask_it_is_asked_for() -> None:
    """The module is imported, and its use says what to install."""
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from geoquant.distributed.dask_cluster import local_cluster\n"
        "local_cluster(1).__enter__()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: geoquant.distributed needs Dask")
    assert "pip install 'geoquant[distributed]'" in last
