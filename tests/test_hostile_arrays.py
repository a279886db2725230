"""Arrays that are wrong, odd or lie about themselves, through every public way in."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def assert_same_bits(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


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
