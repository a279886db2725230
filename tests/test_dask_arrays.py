"""Codes of arrays of Dask: lazy, block by block, and those of the array in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant import InputError
from geoquant.dask_arrays import is_dask_array, map_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

X = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
BOOK = gq.fit_codebook(X[:200], 7, random_state=0).codebook
STAGES = gq.fit_multistage(X[:200], (4, 3), n_stages=2, random_state=0).codebook


@pytest.fixture(autouse=True)
def _in_one_thread() -> Iterator[None]:
    """Dask computes here, whatever clients there are."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("chunks", [(100, 4), (130, 3), 500, ((1, 499), (2, 2))])
@pytest.mark.parametrize("method", ["geodesic", "euclidean"])
def test_codes_are_those_of_the_array(chunks: object, method: str) -> None:
    """Bit for bit, in the blocks of the rows, however the columns are cut."""
    given = da.from_array(X, chunks=chunks)
    codes = BOOK.assign(given, method=method)
    assert (codes.dtype, codes.chunks) == (np.int32, given.chunks[:1])
    assert codes.compute().tobytes() == BOOK.assign(X, method=method).tobytes()


@pytest.mark.parametrize("kind", ["residual", "product"])
def test_codes_of_several_stages(kind: str) -> None:
    """A column for each stage."""
    book = gq.fit_multistage(X, (4, 3), n_stages=2, kind=kind, random_state=0).codebook
    codes = book.assign(da.from_array(X, chunks=(130, 3)))
    assert (codes.dtype, codes.chunks) == (np.int32, ((130, 130, 130, 110), (2,)))
    assert codes.compute().tobytes() == book.assign(X).tobytes()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "i8", "u1"])
def test_numbers_of_every_type(dtype: str) -> None:
    """Those that an array in memory may have."""
    given = (np.abs(X) * 10).astype(dtype)
    codes = BOOK.assign(da.from_array(given, chunks=(200, 4)))
    assert codes.compute().tobytes() == BOOK.assign(given).tobytes()


def test_blocks_whose_length_is_unknown() -> None:
    """A selection has such blocks, and empty ones."""
    given = da.from_array(X, chunks=(50, 3))
    few = given[given[:, 0] > 2]
    codes = BOOK.assign(few)
    assert all(np.isnan(n) for n in codes.chunks[0])
    assert 0 in few.map_blocks(lambda block: np.array([[len(block)]])).compute()
    assert codes.compute().tolist() == BOOK.assign(X[X[:, 0] > 2]).tolist()
    assert codes.compute().dtype == np.int32
    both = STAGES.assign(few).compute()
    assert both.tolist() == STAGES.assign(X[X[:, 0] > 2]).tolist()
    none = STAGES.assign(given[given[:, 0] > 99]).compute()
    assert (none.shape, none.dtype) == ((0, 2), np.int32)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    """Blocks are computed once each, when codes are."""
    seen = []

    def block(block_id: tuple[int, int]) -> np.ndarray:
        seen.append(block_id[0])
        return X[:100]

    given = da.map_blocks(block, chunks=((100,) * 3, (4,)), dtype=X.dtype, meta=X[:0])
    codes = BOOK.assign(given)
    assert seen == []
    codes[:100].compute()
    assert seen == [0]
    codes.compute()
    assert sorted(seen) == [0, 0, 1, 2]


def test_the_codebook_is_one_task() -> None:
    """It is not in the task of each block, which would send it as often."""
    codes = BOOK.assign(da.from_array(X, chunks=(10, 4)))
    assert len(codes.dask) > 50
    assert len([key for key in codes.dask if str(key).startswith("Codebook")]) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (da.zeros((6, 3)), r"shape \(n, 4\) for this codebook, found \(6, 3\)"),
        (da.zeros(6), r"must have shape \(n, d\), d > 0 and known"),
        (da.zeros((6, 4), dtype=complex), "must hold real numbers"),
        (da.zeros((6, 4)).T[da.zeros(4) == 0].T, r"must have shape \(n, d\), d > 0 and known"),
    ],
    ids=["width", "one axis", "complex", "unknown width"],
)
@pytest.mark.parametrize("book", [BOOK, STAGES])
def test_arrays_that_are_refused(book: gq.Codebook, given: object, message: str) -> None:
    """At once, before anything is computed."""
    with pytest.raises(InputError, match=message):
        book.assign(given)


def test_a_method_that_is_none_is_refused_at_once() -> None:
    """Not when the codes are computed."""
    with pytest.raises(InputError, match="method must be 'geodesic' or 'euclidean', found 'x'"):
        BOOK.assign(da.from_array(X), method="x")


def test_bad_rows_are_named_by_their_block() -> None:
    """The error of an array in memory, with the number of the block."""
    given = da.from_array(np.where(np.arange(500)[:, None] == 250, np.nan, X), chunks=(100, 4))
    codes = BOOK.assign(given)
    with pytest.raises(InputError, match=r"latents, block 2 must be finite.*\(row 50\)"):
        codes.compute()


def test_options_reach_the_function() -> None:
    """With what all blocks need, and the name of the block."""

    def called(held: int, block: np.ndarray, *, name: str, plus: int) -> np.ndarray:
        return np.full(len(block), held + plus + int(name[-1]))

    given = da.from_array(X, chunks=(250, 4))
    found = map_rows(called, given, 10, name="x", dtype=np.int64, plus=5).compute()
    assert found.tolist() == [15] * 250 + [16] * 250


def test_dask_is_not_imported_to_tell() -> None:
    """Codes of an array in memory need no Dask."""
    code = (
        "import sys\nsys.modules['dask'] = None\nimport geoquant as gq\n"
        "book = gq.fit_codebook([[0.0], [9.0]], 2, random_state=0).codebook\n"
        "print(len(book.assign([[1.0]])), len(gq.GeodesicKMeans(2).fit([[0.], [9.]]).labels_))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "1 2\n", done.stderr
    assert not is_dask_array(X)
    assert is_dask_array(da.from_array(X))
