"""One number for all the bits of a fit, and the forms in which the same latents may come."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import numpy.typing as npt

import geoquant as gq
from geoquant import distinct
from geoquant import latents as checks
from geoquant.graph import knn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Rows that are looked at together, points per cell of an exact search, latents assigned at once.
CHUNKS = ((8192, 500, 10_000), (100, 64, 7), (1000, 5000, 256))


def cloud(seed: int, n: int = 2300, d: int = 3) -> npt.NDArray[np.float32]:
    """Latents in a large lump and a small one, so that there are bridges; some are duplicates."""
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    x[-n // 20 :, 0] += 50
    x[-n // 50 :] = x[: n // 50]
    return x


def digest(x: npt.ArrayLike, seed: int, n_jobs: int | None = None, batch: int = 10_000) -> str:
    """SHA-256 of both kinds of fits on exact and approximate graphs, and of new latents' codes."""
    found = hashlib.sha256()
    for codewords in ("mean", "medoid"):
        for limit in (knn.EXACT_LIMIT, 200):
            with mock.patch.multiple(knn, EXACT_LIMIT=limit, _CELL_SIZE=40):
                fitted = gq.fit_codebook(
                    x,
                    60,
                    codewords=codewords,
                    recall_target=0.9,
                    n_perturbations=2,
                    n_jobs=n_jobs,
                    random_state=seed,
                )
            assert (fitted.graph.recall < 1) == (limit == 200)
            for part in bits_of(fitted, n_jobs, batch):
                found.update(part)
    return found.hexdigest()


def bits_of(fitted: gq.FittedCodebook, n_jobs: int | None, batch: int) -> Iterator[bytes]:
    """Codebook file, codes, distances, energy, graph, and codes of new latents in batches."""
    yield from map(bytes, fitted.codebook.file_blocks())
    clustering, graph = fitted.clustering, fitted.graph
    yield np.float64([clustering.inertia, *clustering.inertia_history]).tobytes()
    for array in (fitted.codes, fitted.distance, graph.indptr, graph.indices, graph.lengths):
        yield array.tobytes()
    new = cloud(99, 300)
    for start in range(0, len(new), batch):
        yield fitted.codebook.assign(new[start : start + batch], n_jobs=n_jobs).tobytes()


@contextmanager
def chunked(rows: int, cell_size: int) -> Iterator[None]:
    """Work on so many rows at a time, and search exactly in cells of so many points."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(distinct, "_BLOCK_ROWS", rows))
        stack.enter_context(mock.patch.object(checks, "_BLOCK_ROWS", rows))
        stack.enter_context(mock.patch.object(knn, "_CELL_SIZE_EXACT", cell_size))
        yield


def unaligned(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same numbers one byte off every boundary."""
    raw = np.empty(x.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(x.tobytes(), np.uint8)
    return np.frombuffer(raw.data, np.float32, x.size, offset=1).reshape(x.shape)


def mapped(x: npt.NDArray[np.float32], folder: Path) -> npt.NDArray[np.float32]:
    """The same numbers in a file, read-only."""
    np.save(folder / "latents.npy", x)
    return np.load(folder / "latents.npy", mmap_mode="r")


def layouts(folder: Path) -> dict[str, Callable[[npt.NDArray[np.float32]], Any]]:
    """Every form of the same numbers, by name; files go into a folder."""
    return {
        "C": lambda x: x,
        "Fortran": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
        "negative strides": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
        "read-only map": lambda x: mapped(x, folder),
        "big-endian": lambda x: x.astype(">f4"),
        "unaligned": unaligned,
        "float64": lambda x: x.astype(np.float64),
    }


def digest_of_fit(seed: int, n_jobs: int | None = 2) -> str:
    """SHA-256 of one small fit, for a process to print."""
    fitted = gq.fit_codebook(cloud(seed), 60, n_perturbations=2, n_jobs=n_jobs, random_state=seed)
    return hashlib.sha256(b"".join(bits_of(fitted, n_jobs, 100))).hexdigest()
