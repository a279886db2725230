"""The compiled kernels by themselves: what they refuse, and how they are stopped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant import _core
from tests.graphs import path, random_graph, two_cliques

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = np.array([0, 2], np.int32)
ONES = np.ones(3)


def line() -> _core.GraphArrays:
    return path(1.0, 1.0).arrays


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def test_build_type_is_told() -> None:
    """The extension says whether its asserts are on."""
    assert _core.BUILD_TYPE in ("release", "debug", "sanitize")


@pytest.mark.parametrize(
    ("kernel", "arguments", "message"),
    [
        ("nearest_source", (int32(3),), r"sources must lie in \[0, 3\), found 3"),
        ("nearest_source", (int32(-1),), r"sources must lie in \[0, 3\), found -1"),
        ("nearest_source", (np.zeros((1, 1), np.int32),), "sources must be one-dimensional"),
        ("two_nearest_sources", (int32(0, 9),), "sources must lie"),
        ("kmeanspp_seeds", (np.ones(2), 1, np.ones((1, 1))), r"weights must have shape \(3,\)"),
        ("kmeanspp_seeds", (ONES, 1, np.ones((4, 1))), "uniforms must have shape"),
        ("kmeanspp_seeds", (ONES, 1, np.ones((0, 1))), "uniforms must have shape"),
        ("kmeanspp_seeds", (ONES, 1, np.ones((1, 0))), "uniforms must have shape"),
        ("kmeanspp_seeds", (ONES, 1, np.ones(3)), "uniforms must have shape"),
        ("cell_medoids", (np.ones(2), 1, int32(0, 0, 1), NODES), "weights must have shape"),
        ("cell_medoids", (ONES, 1, int32(0, 1), NODES), r"labels must have shape \(3,\)"),
        ("cell_medoids", (ONES, 1, int32(0, 2, 1), NODES), r"labels must lie in \[0, 2\), found 2"),
        ("cell_medoids", (ONES, 1, int32(0, -1, 1), NODES), "labels must lie"),
        ("cell_medoids", (ONES, 1, int32(0, 0, 1), int32(0, 3)), "centres must lie"),
        ("cell_medoids", (ONES, 1, int32(1, 0, 0), NODES), "centres must be members"),
        ("swap_centres", (np.ones(2), 1, NODES, int32(1), 9), "weights must have shape"),
        ("swap_centres", (ONES, 1, int32(0), int32(1), 9), "centres must be at least 2"),
        ("swap_centres", (ONES, 1, int32(0, 3), int32(1), 9), "centres must lie"),
        ("swap_centres", (ONES, 1, NODES, int32(3), 9), "candidates must lie"),
        ("swap_centres", (ONES, 1, NODES, int32(-1), 9), "candidates must lie"),
    ],
)
def test_graph_kernels_refuse(kernel: str, arguments: tuple, message: str) -> None:
    """Arguments that would be read out of bounds are refused by name."""
    with pytest.raises(ValueError, match=message):
        getattr(_core, kernel)(line(), *arguments)


@pytest.mark.parametrize(
    ("kernel", "arguments"),
    [
        ("nearest_source", (np.array([0]),)),
        ("nearest_source", ([0],)),
        ("nearest_source", (np.array([0.0]),)),
        ("kmeanspp_seeds", (np.ones(3, np.float32), 1, np.ones((1, 1)))),
        ("cell_medoids", (ONES, 1, np.zeros(3), NODES)),
        ("swap_centres", (ONES, 1, NODES, np.array([1]), 9)),
    ],
)
def test_graph_kernels_convert_nothing(kernel: str, arguments: tuple) -> None:
    """Arrays of other types are refused, not converted and truncated in silence."""
    with pytest.raises(TypeError, match="incompatible function arguments"):
        getattr(_core, kernel)(line(), *arguments)


@pytest.mark.parametrize(
    ("indptr", "indices", "lengths", "message"),
    [
        ([0, 1], [0, 0], [1.0, 1.0], r"indices must have shape \(1,\)"),
        ([0, 2], [0, 0], [1.0], r"lengths must have shape \(2,\)"),
        ([0, -3], [], [], "indices must have shape"),
        ([], [], [], "indptr must have shape"),
    ],
)
def test_graph_arrays_refuse(indptr: list, indices: list, lengths: list, message: str) -> None:
    """Arrays of a graph that contradict one another are refused."""
    with pytest.raises(ValueError, match=message):
        _core.graph_arrays(np.array(indptr, np.int64), int32(*indices), np.float32(lengths))


SQUARE = np.float32([[0, 0], [0, 1], [3, 0], [3, 1]])


def joined(**changes: Any) -> tuple:
    arguments = {
        "points": SQUARE,
        "order": int32(1, 0, 2, 3),
        "cell_sizes": np.array([2, 2]),
        "pairs": np.array([[0, 1]], np.int32),
        "n_kept": 2,
    }
    return _core.knn_join(**arguments | changes)


def test_cells_that_do_not_ask_are_looked_into() -> None:
    """Whoever asks finds its neighbours among the others too, in the order of its cell."""
    distance, index = joined(n_asking=1)
    expected = joined()
    assert index.tolist() == expected[1][[1, 0]].tolist()
    assert distance.tolist() == expected[0][[1, 0]].tolist()


@pytest.mark.parametrize("simd", _core.available_simd())
def test_cells_of_two_searches_find_what_one_finds(
    simd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search for some cells and one for the others give the neighbours of one for all."""
    monkeypatch.setenv("GEOQUANT_SIMD", simd)
    points = np.random.default_rng(0).standard_normal((1500, 3)).astype(np.float32).round(1)
    sizes = np.array([300, 50, 700, 450])
    order = np.random.default_rng(1).permutation(1500).astype(np.int32)
    pairs = np.array([[0, 1], [2, 3], [0, 2], [1, 2], [1, 3], [0, 3]], np.int32)
    distance, index = _core.knn_join(points, order, sizes, pairs, 7)
    first = _core.knn_join(points, order, sizes, pairs[[0, 2, 3, 4, 5]], 7, n_asking=2)
    assert first[1].tolist() == index[order[:350]].tolist()
    turned, again = np.roll(order, -350), np.array([700, 450, 300, 50])
    second = _core.knn_join(
        points,
        turned,
        again,
        np.array([[0, 1], [0, 2], [1, 2], [0, 3], [1, 3]], np.int32),
        7,
        n_asking=2,
    )
    assert second[1].tolist() == index[order[350:]].tolist()
    assert second[0].tolist() == distance[order[350:]].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_asking": 3}, r"n_asking must lie in \[0, n_cells\]"),
        ({"n_asking": -1}, "n_asking must lie"),
        ({"n_asking": 0}, "pairs must be of at least one cell that asks"),
    ],
)
def test_join_refuses_cells_that_cannot_ask(changes: dict, message: str) -> None:
    """Numbers of cells that there are not, and pairs that nobody asks for, are refused."""
    with pytest.raises(ValueError, match=message):
        joined(**changes)


def searched(**changes: Any) -> tuple:
    arguments = {"points": SQUARE, "queries": SQUARE[:2], "n_kept": 2}
    return _core.knn_search(**arguments | changes)


def searched_among(**changes: Any) -> tuple:
    arguments = {
        "points": SQUARE,
        "order": int32(1, 0, 2, 3),
        "block_sizes": np.array([2, 2]),
        "queries": SQUARE,
        "query_order": int32(3, 2, 1, 0),
        "group_sizes": np.array([3, 1]),
        "blocks_of_group": np.array([[1], [0]], np.int32),
        "n_kept": 2,
    }
    return _core.knn_search_among(**arguments | changes)


@pytest.mark.parametrize("simd", _core.available_simd())
def test_join_by_hand(monkeypatch: pytest.MonkeyPatch, simd: str) -> None:
    """Of a square's corners the nearest is the one above or below, then the one across."""
    monkeypatch.setenv("GEOQUANT_SIMD", simd)
    distance, index = joined()
    assert index.tolist() == [[1, 2], [0, 3], [3, 0], [2, 1]]
    assert distance.tolist() == [[1.0, 3.0]] * 4


def test_join_keeps_to_the_pairs() -> None:
    """Cells that are not paired are not compared; -1 and infinity stand for what is missing."""
    distance, index = joined(pairs=np.empty((0, 2), np.int32))
    assert index.tolist() == [[1, -1], [0, -1], [3, -1], [2, -1]]
    assert distance.tolist() == [[1.0, np.inf]] * 4


def test_search_by_hand() -> None:
    """A query finds itself first, unless it is left out by its number."""
    assert searched()[1].tolist() == [[0, 1], [1, 0]]
    assert searched(self_id=int32(0, 1))[1].tolist() == [[1, 2], [0, 3]]


def test_search_among_keeps_to_the_blocks() -> None:
    """Each group of queries sees the blocks it names only."""
    assert searched_among()[1].tolist() == [[0, 1], [3, 2], [2, 3], [3, 2]]


@pytest.mark.parametrize(
    ("kernel", "changes", "message"),
    [
        (joined, {"points": np.zeros(3, np.float32)}, r"points must have shape \(n, d\)"),
        (joined, {"order": int32(0, 1, 2)}, r"order must have shape \(4,\)"),
        (joined, {"order": int32(0, 1, 2, 2)}, "order must be a permutation"),
        (joined, {"order": int32(0, 1, 2, 4)}, "order must be a permutation"),
        (joined, {"cell_sizes": np.array([2, 1])}, "cell_sizes must sum to 4"),
        (joined, {"cell_sizes": np.array([5, -1])}, "cell_sizes must not be negative"),
        (joined, {"pairs": np.array([[1, 0]], np.int32)}, "the lower first"),
        (joined, {"pairs": np.array([[0, 2]], np.int32)}, "pairs must be of two cells"),
        (joined, {"pairs": np.array([[1, 1]], np.int32)}, "pairs must be of two cells"),
        (joined, {"n_kept": 4}, r"n_kept must lie in \[1, 3\], found 4"),
        (joined, {"n_kept": 0}, "n_kept must lie"),
        (searched, {"queries": np.zeros((1, 3), np.float32)}, "queries must have the dimension"),
        (searched, {"self_id": int32(0)}, r"self_id must have shape \(2,\)"),
        (searched, {"self_id": int32(0, 1), "n_kept": 4}, r"n_kept must lie in \[1, 3\]"),
        (searched_among, {"query_order": int32(0, 1, 2, 2)}, "query_order must be a permutation"),
        (searched_among, {"group_sizes": np.array([4, 1])}, "group_sizes must sum to 4"),
        (searched_among, {"blocks_of_group": int32(1, 0)}, r"shape \(n_groups, n_blocks\)"),
        (searched_among, {"blocks_of_group": np.int32([[2], [0]])}, "must name blocks"),
        (searched_among, {"n_kept": 3}, r"n_kept must lie in \[1, 2\]"),
    ],
)
def test_neighbour_kernels_refuse(kernel: Any, changes: dict, message: str) -> None:
    """Numbers and shapes that would be read out of bounds are refused."""
    with pytest.raises(ValueError, match=message):
        kernel(**changes)


def encoded(**changes: Any) -> np.ndarray:
    arguments = {
        "points": SQUARE,
        "codewords": np.float32([[0, 0], [3, 0], [0, 1], [0, 0], [0, 2]]),
        "stage_sizes": np.array([2, 3]),
        "beam": 4,
    }
    return _core.residual_codes(**arguments | changes)


def measured(**changes: Any) -> np.ndarray:
    arguments = {
        "indptr": np.array([0, 2, 3, 3, 3]),
        "indices": int32(1, 3, 2),
        "points": SQUARE,
    }
    return _core.edge_lengths(**arguments | changes)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_residual_codes_by_hand(n_threads: int) -> None:
    """Corners of a rectangle are a side and a height."""
    assert encoded(n_threads=n_threads).tolist() == [[0, 1], [0, 0], [1, 1], [1, 0]]
    assert encoded(points=np.empty((0, 2), np.float32)).shape == (0, 2)


def test_edge_lengths_by_hand() -> None:
    """Each entry of a row is measured from the row's own point."""
    assert measured(n_threads=2).tolist() == np.sqrt(np.float32([1, 10, 10])).tolist()


@pytest.mark.parametrize(
    ("kernel", "changes", "message"),
    [
        (encoded, {"points": np.zeros(3, np.float32)}, r"points must have shape \(n, d\)"),
        (encoded, {"points": np.zeros((1, 3), np.float32)}, "must have the dimension of points"),
        (encoded, {"stage_sizes": np.array([2, 2])}, "must sum to the number of codewords"),
        (encoded, {"stage_sizes": np.array([6, -1])}, "must sum to the number of codewords"),
        (encoded, {"stage_sizes": np.array([5, 0])}, "must be positive"),
        (encoded, {"stage_sizes": np.empty(0, np.int64)}, "at least one stage"),
        (encoded, {"beam": 0}, "beam must be at least 1, found 0"),
        (measured, {"points": np.zeros((4, 0), np.float32)}, "d >= 1"),
        (measured, {"indptr": np.array([0, 3])}, r"indptr must have shape \(5,\)"),
        (measured, {"indptr": np.array([0, 3, 2, 3, 3])}, "never decrease"),
        (measured, {"indptr": np.array([1, 2, 3, 3, 3])}, "start at 0"),
        (measured, {"indices": int32(1, 3)}, r"indices must have shape \(3,\)"),
        (measured, {"indices": int32(1, 4, 2)}, r"indices must lie in \[0, 4\), found 4"),
    ],
)
def test_encoding_and_measuring_kernels_refuse(kernel: Any, changes: dict, message: str) -> None:
    """Shapes and numbers that would be read out of bounds are refused."""
    with pytest.raises(ValueError, match=message):
        kernel(**changes)


@pytest.mark.parametrize(
    ("n_nodes", "ends", "lengths", "message"),
    [
        (2, ([0], [2]), [1.0], "to_node must lie"),
        (2, ([-1], [0]), [1.0], "from_node must lie"),
        (2, ([0, 1], [1]), [1.0, 1.0], "to_node must have shape"),
        (2, ([0], [1]), [1.0, 2.0], "lengths must have shape"),
    ],
)
def test_edge_list_kernel_refuses(n_nodes: int, ends: tuple, lengths: list, message: str) -> None:
    """Edges out of bounds are refused."""
    with pytest.raises(ValueError, match=message):
        _core.symmetric_csr(n_nodes, int32(*ends[0]), int32(*ends[1]), np.float32(lengths))


@pytest.mark.parametrize(
    ("index", "distance", "message"),
    [
        ([1, 0], [1.0, 1.0], "index must have shape"),
        ([[1], [0]], [[1.0]], "distance must have the shape of index"),
        ([[1], [0]], [1.0, 1.0], "distance must have the shape of index"),
        ([[2], [0]], [[1.0], [1.0]], r"index must lie in \[-1, 2\), found 2"),
        ([[-2], [0]], [[1.0], [1.0]], "index must lie"),
        ([[1, 1], [0, 0]], [[1.0, 1.0], [1.0, 1.0]], "name a neighbour twice"),
    ],
)
def test_neighbour_graph_kernel_refuses(index: list, distance: list, message: str) -> None:
    """Neighbours out of bounds, named twice or without a distance are refused."""
    with pytest.raises(ValueError, match=message):
        _core.neighbor_csr(np.array(index, np.int32), np.array(distance, np.float32), 2)


@pytest.mark.parametrize(
    ("indptr", "indices", "n_lengths", "message"),
    [
        ([], [], 0, "indptr must have shape"),
        ([0, 1], [0], 2, r"lengths must have shape \(1,\)"),
    ],
)
def test_graph_check_refuses(indptr: list, indices: list, n_lengths: int, message: str) -> None:
    """Arrays that the check itself would read out of bounds are refused."""
    with pytest.raises(ValueError, match=message):
        _core.csr_defect(
            np.array(indptr, np.int64), int32(*indices), np.ones(n_lengths, np.float32)
        )


NO_EDGES = (
    "_core.graph_arrays(np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))"
)
CALLS = {
    "a negative number of nodes": "_core.symmetric_csr("
    "-1, np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))",
    "seeds on a disconnected graph": f"_core.kmeanspp_seeds({NO_EDGES}, np.ones(3), 1, "
    "np.full((3, 2), 0.5))",
    "medoids on a disconnected graph": f"_core.cell_medoids({NO_EDGES}, np.ones(3), 1, "
    "np.int32([0, 0, 1]), np.int32([0, 2]))",
    "no graph": "_core.nearest_source(None, np.int32([0]))",
}


@pytest.mark.parametrize("call", CALLS)
def test_kernels_do_not_crash(request: pytest.FixtureRequest, call: str) -> None:
    """What no public function passes on ends in a result or an error, not in a dead process."""
    code = f"import numpy as np\nfrom geoquant import _core\n{CALLS[call]}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=request.config.rootpath, capture_output=True, check=False
    )
    assert done.returncode in (0, 1)


class StopError(Exception):
    pass


def stop(done: int, total: int) -> None:
    raise StopError(f"{done} of {total}")


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_callback_that_raises_stops_the_swaps(n_threads: int) -> None:
    """The exception comes out as it is, the inputs are as before, and the kernel works again."""
    graph = random_graph(0, 400)
    weights, centres = np.ones(400), np.arange(5, dtype=np.int32)
    candidates = np.arange(400, dtype=np.int32)[::-1].copy()
    arrays = weights, centres, candidates
    before = [array.tobytes() for array in arrays]
    call = (graph.arrays, weights, 1, centres, candidates, 10**9, n_threads)
    with pytest.raises(StopError, match="of 400"):
        _core.swap_centres(*call, stop)
    assert [array.tobytes() for array in arrays] == before
    assert _core.swap_centres(*call)[-1]


def test_a_callback_that_raises_stops_the_seeding() -> None:
    """Seeding ends with what the callback raised."""
    with pytest.raises(StopError, match="of 3"):
        _core.kmeanspp_seeds(two_cliques(4, 2.0).arrays, np.ones(8), 1, np.full((3, 1), 0.5), stop)


def test_progress_reports_are_paced_and_complete() -> None:
    """Reports never go beyond the total of seeds, and the last is complete."""
    heard: list[tuple[int, int]] = []
    uniforms = np.random.default_rng(0).random((50, 2))
    _core.kmeanspp_seeds(
        random_graph(0, 400).arrays, np.ones(400), 1, uniforms, lambda *r: heard.append(r)
    )
    assert heard[-1] == (50, 50)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})


def seconds_until_interrupted(work: Callable[[], object]) -> float:
    """How long after SIGINT some work ends; it would take many seconds otherwise."""
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    is_finished = False
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        work()
        is_finished = True
        time.sleep(2)  # the interrupt is not to hit another test
    assert not is_finished, "the work ended before the interrupt: take more of it"
    return time.monotonic() - sent[0]


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to oneself")
@pytest.mark.parametrize("n_threads", [1, 3])
def test_ctrl_c_stops_long_swaps(n_threads: int) -> None:
    """An interrupt ends a search of minutes at once, with KeyboardInterrupt."""
    arrays, weights = random_graph(0, 30_000).arrays, np.ones(30_000)
    candidates = np.arange(30_000, dtype=np.int32)
    limits = (10**12, n_threads)
    assert (
        seconds_until_interrupted(
            lambda: _core.swap_centres(arrays, weights, 2, int32(0, 1, 2), candidates, *limits)
        )
        < 1.0
    )


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to oneself")
def test_ctrl_c_stops_a_long_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt ends a search for neighbours of many seconds at once."""
    monkeypatch.setenv("GEOQUANT_SIMD", "portable")
    points = np.random.default_rng(0).normal(size=(60_000, 256)).astype(np.float32)
    assert seconds_until_interrupted(lambda: _core.knn_search(points, points, 10, None, 1)) < 1.0


def test_threads_leave_no_trace_on_errors() -> None:
    """A hundred runs that are stopped leave no thread behind."""
    graph = random_graph(0, 200)
    before = (
        threading.active_count(),
        len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0,
    )
    for _ in range(100):
        with pytest.raises(StopError):
            _core.swap_centres(
                graph.arrays, np.ones(200), 1, int32(0, 1), int32(5, 6), 10**9, 3, stop
            )
    after = (
        threading.active_count(),
        len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0,
    )
    assert after == before


#: Runs a kernel where the process may take half a GiB more than it has.
LIMITED = """
import resource
import numpy as np
from geoquant import _core
from geoquant.errors import ResourceError
points = np.zeros((20_000, 2), np.float32)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 29), -1))
try:
    _core.knn_search(points, points, len(points) - 1, None, 1)
except ResourceError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="the sanitizers take memory of their own")
def test_lack_of_memory() -> None:
    """What the system refuses is a ResourceError that says what to do."""
    command = [sys.executable, "-c", LIMITED]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "not enough memory" in run.stdout, run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the linker's flags are for ELF")
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
@pytest.mark.skipif(_core.BUILD_TYPE != "release", reason="other builds are not for users")
@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("-l", "GNU_RELRO"),
        ("-d", "BIND_NOW|NOW"),
        ("-l", r"GNU_STACK(\s+0x\w+){5}\s+RW "),
        ("--dyn-syms", "__stack_chk_fail"),
    ],
)
def test_build_is_hardened(option: str, shown: str) -> None:
    """Tables read-only and bound at once, no stack that runs, and a guard on it."""
    command = ["readelf", "--wide", option, _core.__file__]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(shown, found)
