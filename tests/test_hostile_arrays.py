"""Arrays that are wrong, odd or lie about themselves, through every public way in."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import as_strided
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

import geoquant as gq
from geoquant.errors import GeoquantError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LATENTS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
BOOK = gq.fit_codebook(LATENTS, 3, random_state=0).codebook
FITTED = gq.GeodesicKMedoids(3, random_state=0).fit(LATENTS)

#: Functions that take latents; their errors are InputErrors.
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "fit_codebook": lambda x: gq.fit_codebook(x, 1, random_state=0),
    "Codebook.assign": BOOK.assign,
    "knn_graph": gq.knn_graph,
    "fit_multistage": lambda x: gq.fit_multistage(x, 1, 1, random_state=0),
}
#: Estimators, of whose errors many are scikit-learn's: ValueError or TypeError.
ESTIMATORS: dict[str, Callable[[Any], Any]] = {
    "GeodesicKMeans.fit": lambda x: gq.GeodesicKMeans(1, random_state=0).fit(x),
    "GeodesicKMedoids.predict": FITTED.predict,
    "GeodesicKMedoids.transform": FITTED.transform,
}


def with_one(value: float, dtype: type = np.float32) -> np.ndarray:
    x = LATENTS.astype(dtype)
    x[7, 1] = value
    return x


class RaisesItsOwn:
    """An object whose conversion fails in a way of its own."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise KeyError("no such buffer")


class GivesNoArray:
    """An object that says it gives an array and gives a list."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return [[1.0, 2.0]]


class ImpossibleInterface:
    """An object that claims a buffer of a negative shape."""

    __array_interface__ = {  # noqa: RUF012
        "shape": (4, -2),
        "typestr": "<f4",
        "data": (0, True),
        "version": 3,
    }


class SaysItIsSmall(np.ndarray):
    """A subclass that hides what is in it from whoever asks for its least and most."""

    def min(self, *_: Any, **__: Any) -> Any:
        return np.float32(0)

    def max(self, *_: Any, **__: Any) -> Any:
        return np.float32(0)


def tensor(**options: Any) -> Any:
    torch = pytest.importorskip("torch")
    return torch.tensor(LATENTS, **options)


def bfloat16() -> Any:
    return tensor().bfloat16()


def on_a_device() -> Any:
    """A tensor whose numbers NumPy cannot reach, as on a GPU."""
    return pytest.importorskip("torch").empty(4, 3, device="meta")


REFUSED: dict[str, Callable[[], Any]] = {
    "NaN": lambda: with_one(np.nan),
    "infinity": lambda: with_one(np.inf),
    "minus infinity": lambda: with_one(-np.inf),
    "float32 squares overflow": lambda: LATENTS * np.float32(1e20),
    "float64 beyond float32": lambda: with_one(1e300, np.float64),
    "no rows": lambda: LATENTS[:0],
    "no columns": lambda: LATENTS[:, :0],
    "no axis": lambda: np.float32(1),
    "one axis": lambda: LATENTS[:, 0],
    "three axes": lambda: LATENTS[None],
    "bool": lambda: LATENTS > 0,
    "complex": lambda: LATENTS * 1j,
    "objects": lambda: np.array([[{}, 1], [2, 3]]),
    "text": lambda: np.array([["1", "2"], ["3", "4"]]),
    "bytes": lambda: np.array([[b"1", b"2"]]),
    "structured": lambda: np.zeros((4, 3), [("a", "f4")]),
    "void": lambda: np.zeros((4, 3), "V4"),
    "datetime": lambda: np.zeros((4, 3), "M8[s]"),
    "timedelta": lambda: np.zeros((4, 3), "m8[s]"),
    "masked entries": lambda: np.ma.masked_greater(LATENTS, 1.0),
    "sparse": lambda: csr_array(LATENTS),
    "rows of unequal length": lambda: [[1.0, 2.0], [3.0]],
    "endless nesting": lambda: endless(),
    "nothing": lambda: None,
    "text alone": lambda: "latents.npy",
    "a set": lambda: {1.0, 2.0},
    "numbers beyond int64 and float64": lambda: [[10**400, 1], [2, 3]],
    "tensor with gradient": lambda: tensor(requires_grad=True),
    "tensor of bfloat16": bfloat16,
    "tensor on a device": on_a_device,
    "conversion that gives no array": GivesNoArray,
    "interface of negative shape": ImpossibleInterface,
    "subclass that hides NaN": lambda: with_one(np.nan).view(SaysItIsSmall),
}


def endless() -> list:
    nested: list = []
    nested.append(nested)
    return nested


@pytest.mark.parametrize("kind", [*REFUSED, "conversion that raises"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_refused(kind: str, function: str) -> None:
    """What are no finite real numbers in two axes is an InputError, of every function."""
    make = REFUSED.get(kind, RaisesItsOwn)
    with pytest.raises(InputError, match="latents"):
        FUNCTIONS[function](make())


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("method", ESTIMATORS)
def test_refused_by_estimators(kind: str, method: str) -> None:
    """Estimators refuse the same, in our words or scikit-learn's."""
    made = REFUSED[kind]()
    with pytest.raises((ValueError, TypeError, OverflowError)):
        ESTIMATORS[method](made)


def memory_map(folder: Path) -> np.ndarray:
    np.save(folder / "latents.npy", LATENTS)
    return np.load(folder / "latents.npy", mmap_mode="r")


def read_only() -> np.ndarray:
    x = LATENTS.copy()
    x.flags.writeable = False
    return x


def unaligned() -> np.ndarray:
    x = np.zeros(LATENTS.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(LATENTS.shape)
    x[:] = LATENTS
    return x


#: Forms that hold the numbers of LATENTS, or of a float32 array that they name.
FORMS: dict[str, Callable[[Path], Any]] = {
    "float64": lambda _: LATENTS.astype(np.float64),
    "big-endian": lambda _: LATENTS.astype(">f4"),
    "Fortran order": lambda _: np.asfortranarray(LATENTS),
    "negative strides": lambda _: LATENTS[::-1, ::-1].copy()[::-1, ::-1],
    "every other column": lambda _: np.repeat(LATENTS, 2, axis=1)[:, ::2],
    "unaligned": lambda _: unaligned(),
    "read-only": lambda _: read_only(),
    "read-only memory map": memory_map,
    "subclass": lambda _: LATENTS.view(SaysItIsSmall),
    "masked array without masks": lambda _: np.ma.array(LATENTS),
    "list": lambda _: LATENTS.tolist(),
    "memoryview": lambda _: memoryview(LATENTS),
    "data frame": lambda _: pd.DataFrame(LATENTS),
    "CPU tensor": lambda _: tensor(),
}


def codes_of(x: Any) -> list[np.ndarray]:
    """What all the ways in make of latents."""
    fitted = gq.fit_codebook(x, 3, random_state=0)
    graph = gq.knn_graph(x, 4)
    est = gq.GeodesicKMeans(3, random_state=0).fit(x)
    return [
        fitted.codes,
        fitted.codebook.vectors,
        fitted.codebook.assign(x),
        graph.indices,
        graph.lengths,
        est.labels_,
        est.predict(x),
    ]


def assert_same_bits(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.parametrize("form", FORMS)
def test_same_bits_in_any_form(tmp_path: Path, form: str) -> None:
    """The same numbers give the same bits, and are not written to."""
    given = FORMS[form](tmp_path)
    before = np.asarray(given).tobytes()
    assert_same_bits(codes_of(given), codes_of(LATENTS.copy()))
    assert np.asarray(given).tobytes() == before


@pytest.mark.parametrize("dtype", ["f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"])
def test_same_bits_of_any_number_type(dtype: str) -> None:
    """Numbers that float32 holds exactly give what they give as float32."""
    x = np.round(np.abs(LATENTS) * 20)
    assert_same_bits(codes_of(x.astype(dtype)), codes_of(x.astype(np.float32)))


@pytest.mark.parametrize(
    "view",
    [
        np.broadcast_to(LATENTS[0], (6, 3)),
        as_strided(np.arange(60, dtype=np.float32), (40, 3), (4, 4)),
    ],
    ids=["stride 0", "overlapping rows"],
)
def test_views_into_themselves(view: np.ndarray) -> None:
    """Rows that share their memory give what rows of their own give."""
    assert gq.knn_graph(view, 3).lengths.tobytes() == gq.knn_graph(view.copy(), 3).lengths.tobytes()
    k = len(np.unique(view, axis=0)) // 4 + 1
    first, second = (gq.fit_codebook(x, k, random_state=0).codes for x in (view, view.copy()))
    np.testing.assert_array_equal(first, second)


# ---------------------------------------------------------------------------- while it is fitted


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e18, 0.0])
@pytest.mark.parametrize("calls", [0, 5])
def test_latents_changed_during_a_fit(value: float, calls: int) -> None:
    """Latents that somebody writes to meanwhile give a codebook or an InputError, no crash."""
    x = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    n_calls = 0

    def write(*_: object) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls > calls:
            x[::2] = value

    try:
        fitted = gq.fit_codebook(x, 20, random_state=0, progress=write)
    except GeoquantError:
        return
    assert fitted.codes.min() >= 0
    assert fitted.codes.max() < 20
    assert np.isfinite(fitted.codebook.vectors).all()


# ------------------------------------------------------------------------------ numbers of codes


@pytest.mark.parametrize(
    "n_clusters",
    [0, -1, 41, 2**31, 2**63, 2**80, True, np.True_, 2.0, np.float64(2), np.nan, "2", None, [2]],
    ids=repr,
)
def test_numbers_of_codes_that_are_refused(n_clusters: Any) -> None:
    """K is a whole number from 1 to the number of latents, and not a bool."""
    for fit in (
        lambda: gq.fit_codebook(LATENTS, n_clusters),
        lambda: gq.GeodesicKMeans(n_clusters).fit(LATENTS),
        lambda: gq.GeodesicKMedoids(n_clusters).fit(LATENTS),
        lambda: gq.geodesic_kmedoids(gq.knn_graph(LATENTS), n_clusters),
    ):
        with pytest.raises(InputError, match="n_clusters"):
            fit()


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
@pytest.mark.parametrize("algorithm", ["auto", "swap", "alternate"])
def test_numbers_of_codes_of_numpy(integer: type, algorithm: str) -> None:
    """NumPy's integers are numbers like any other, and small ones do not overflow."""
    options = {"algorithm": algorithm, "random_state": 0}
    expected = gq.fit_codebook(LATENTS, 7, max_iter=100, **options)
    found = gq.fit_codebook(LATENTS, integer(7), max_iter=integer(100), **options)
    np.testing.assert_array_equal(found.codes, expected.codes)
    est = gq.GeodesicKMeans(integer(7), **options).fit(LATENTS)
    np.testing.assert_array_equal(est.labels_, expected.codes)


def test_one_code() -> None:
    """K = 1: all have code 0, and the centre is the graph's medoid."""
    fitted = gq.fit_codebook([[0.0], [1.0], [5.0]], 1, codewords="medoid")
    assert (fitted.codes.tolist(), fitted.codebook.vectors.tolist()) == ([0, 0, 0], [[1.0]])


def test_one_latent() -> None:
    """n = 1: one code, its own codeword, at no distance."""
    fitted = gq.fit_codebook([[3.0, 4.0]], 1)
    assert fitted.codes.tolist() == [0]
    assert fitted.codebook.vectors.tolist() == [[3.0, 4.0]]
    assert fitted.codebook.assign([[9.0, 9.0]]).tolist() == [0]
    assert gq.GeodesicKMeans(1).fit([[3.0, 4.0]]).predict([[0.0, 0.0]]).tolist() == [0]


def test_one_column() -> None:
    """d = 1 is as good as any dimension."""
    x = np.repeat([0.0, 10.0], 5)[:, None] + np.arange(10)[:, None] % 5
    codes = gq.fit_codebook(x, 2, random_state=0).codes
    assert len(set(codes[:5])) == len(set(codes[5:])) == 1
    assert codes[0] != codes[9]


def test_as_many_codes_as_latents() -> None:
    """n = K: each its own code, and no energy."""
    fitted = gq.fit_codebook(LATENTS[:9], 9, random_state=0)
    assert sorted(fitted.codes) == list(range(9))
    assert fitted.clustering.inertia == 0.0


@pytest.mark.parametrize("n_neighbors", [40, 2**31, 2**63, 2**80], ids=repr)
def test_more_neighbours_than_latents(n_neighbors: int) -> None:
    """k_nn of n and beyond means all of them, in graph, fit and assignment."""
    assert gq.knn_graph(LATENTS, n_neighbors).n_edges == 40 * 39 // 2
    all_of_them = gq.fit_codebook(LATENTS, 3, n_neighbors=39, random_state=0)
    more = gq.fit_codebook(LATENTS, 3, n_neighbors=n_neighbors, random_state=0)
    np.testing.assert_array_equal(more.codes, all_of_them.codes)
    np.testing.assert_array_equal(more.codebook.assign(LATENTS), more.codes)


@pytest.mark.parametrize("n_jobs", [10_000, 2**31, 2**40], ids=repr)
def test_more_threads_than_there_can_be(n_jobs: int) -> None:
    """A number of threads beyond reason is as good as any other."""
    expected = gq.fit_codebook(LATENTS, 3, random_state=0, n_jobs=1)
    found = gq.fit_codebook(LATENTS, 3, random_state=0, n_jobs=n_jobs)
    np.testing.assert_array_equal(found.codes, expected.codes)


#: Leaves room in the address space for a few stacks of threads only.
FEW_THREADS = """
import resource
import numpy as np
import geoquant as gq
x = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
expected = gq.fit_codebook(x, 3, random_state=0, n_jobs=1, algorithm="alternate").codes
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (200 << 20),) * 2)
found = gq.fit_codebook(x, 3, random_state=0, n_jobs=1000, algorithm="alternate").codes
assert (found == expected).all()
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_fewer_threads_than_asked_for(request: pytest.FixtureRequest) -> None:
    """If the system gives no more threads, those that there are do the work."""
    done = subprocess.run(
        [sys.executable, "-c", FEW_THREADS],
        cwd=request.config.rootpath,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


def test_identical_latents() -> None:
    """One point many times over is one node; more codes than that are refused, or warned of."""
    x = np.ones((50, 3))
    assert gq.fit_codebook(x, 1).codes.tolist() == [0] * 50
    with pytest.raises(InputError, match="at most the number of nodes, 1, found 2"):
        gq.fit_codebook(x, 2)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(1\)"):
        est = gq.GeodesicKMeans(2).fit(x)
    assert est.cluster_centers_.tolist() == [[1.0, 1.0, 1.0]]


def test_few_distinct_latents() -> None:
    """Of 5 distinct points a thousand times each, 5 codes are the points themselves."""
    points = LATENTS[:5]
    fitted = gq.fit_codebook(np.repeat(points, 1000, axis=0), 5, random_state=0)
    assert fitted.codebook.n_anchors == 5
    np.testing.assert_array_equal(fitted.codebook.vectors[fitted.codes[::1000]], points)


# ----------------------------------------------------------------------------------- tiny numbers


def test_negative_zero_is_zero() -> None:
    """−0.0 and 0.0 are one latent."""
    x = np.array([[0.0], [-0.0], [1.0]], np.float32)
    fitted = gq.fit_codebook(x, 2, random_state=0)
    assert fitted.codes[0] == fitted.codes[1] != fitted.codes[2]
    assert fitted.codebook.n_anchors == 2
    assert gq.knn_graph(x, 1).lengths.min() == 0.0


def test_subnormal_latents_are_told_apart() -> None:
    """Latents below the least normal float32 have distances, cells and codewords of their own."""
    x = np.float32(1e-45) * np.arange(1, 41, dtype=np.float32)[:, None]
    fitted = gq.fit_codebook(x, 2, random_state=0)
    assert len(np.unique(x)) == fitted.codebook.n_anchors == 40
    assert len(set(fitted.codes[:15])) == len(set(fitted.codes[-15:])) == 1
    assert fitted.clustering.inertia > 0


FLUSH_TO_ZERO = 0x8040


@pytest.fixture
def flushing() -> Iterator[Callable[[], int]]:
    """Set this thread to take subnormal numbers for zero, as a library made for speed may."""
    if platform.machine() not in ("x86_64", "AMD64") or os.name == "nt":
        pytest.skip("sets a register of x86")
    load, store = machine_code("0fae17c3"), machine_code("0fae1fc3")  # ldmxcsr, stmxcsr
    register = ctypes.c_uint32()
    store(ctypes.byref(register))
    before = register.value

    def value() -> int:
        store(ctypes.byref(register))
        return register.value & FLUSH_TO_ZERO

    load(ctypes.byref(ctypes.c_uint32(before | FLUSH_TO_ZERO)))
    yield value
    load(ctypes.byref(ctypes.c_uint32(before)))


def machine_code(code: str) -> Any:
    """A function of one pointer."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex(code))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(
        ctypes.addressof(ctypes.c_char.from_buffer(page))
    )
    function.page = page  # lives as long as the function
    return function


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("scale", [1e-20, 1e-41])
def test_flush_to_zero_does_not_show(
    request: pytest.FixtureRequest, scale: float, n_jobs: int
) -> None:
    """Flags of the processor that a library has set change no bit, and are left as they were."""
    x = (np.random.default_rng(0).normal(size=(300, 4)) * scale).astype(np.float32)
    new, wide = x[::-1].copy(), x.astype(np.float64)

    def found() -> list[np.ndarray]:
        fitted = gq.fit_codebook(x, 5, random_state=0, n_jobs=n_jobs)
        stages = gq.fit_multistage(x, 4, 2, random_state=0, n_jobs=n_jobs)
        graph = gq.knn_graph(wide, 5, n_jobs=n_jobs)
        bridged = gq.bridge_components(gq.knn_graph(x, 1), x, n_jobs=n_jobs)
        est = gq.GeodesicKMeans(5, random_state=0, n_jobs=n_jobs).fit(x)
        floats = [
            *(fitted.codebook.vectors, fitted.codebook.anchor_distance, graph.lengths),
            *(stage.vectors for stage in stages.codebook.stages),
            *(bridged.graph.lengths, est.transform(new), gq.nearest_source(graph, [0]).distance),
        ]
        codes = [fitted.codes, fitted.codebook.assign(new), stages.codes, graph.indices]
        bits = [array.view(f"u{array.itemsize}") for array in floats]
        return [*bits, *codes, stages.codebook.assign(new), est.predict(new)]

    expected = found()
    flags = request.getfixturevalue("flushing")
    assert flags() == FLUSH_TO_ZERO
    changed = found()
    assert flags() == FLUSH_TO_ZERO
    assert_same_bits(changed, expected)
