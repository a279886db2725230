"""Fits of arrays of Dask: each block is computed where it is, written there once, and a shard."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import get_scheduler

from geoquant.dask_arrays import rows_of_dask_array
from geoquant.distributed.engine import Engine, LocalEngine
from geoquant.distributed.fit import GATHERED_NODES, PartedFit, fit_shards, write_codes
from geoquant.distributed.graph import gathered_graph
from geoquant.distributed.nodes import rows_of_nodes
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import FileShard, ShardSet
from geoquant.errors import InputError
from geoquant.latents import check_latents, read_latents
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from geoquant.graph.csr import Graph
    from geoquant.progress import Progress

#: The variable that names a folder which all workers see.
SCRATCH_VARIABLE = "GEOQUANT_SCRATCH"


class ArrayFit(NamedTuple):
    """What came out of a fit of an array of Dask; its scratch folder is gone.

    Attributes
    ----------
    fitted : PartedFit
        Codebook and energies; its arrays in partitions cannot be loaded any more.
    codes : dask array of shape (n,), int32
        Of each row, in the blocks of the array; the numbers are here.
    distance : dask array of shape (n,), float64
        Geodesic distance of each row to its centre.
    medoid_rows : ndarray of shape (n_clusters,), int64
        The row that is the centre of each cell.
    graph : Graph or None
        Of the distinct rows, where they are few enough.
    graph_rows : ndarray of int64 or None
        The row of each node of the graph.
    """

    fitted: PartedFit
    codes: Any
    distance: Any
    medoid_rows: npt.NDArray[np.int64]
    graph: Graph | None
    graph_rows: npt.NDArray[np.int64] | None


def fit_dask_array(
    rows: Any,
    n_clusters: int,
    *,
    name: str = "latents",
    n_jobs: int | None = None,
    progress: Progress | None = None,
    for_gathered: dict[str, Any] | None = None,
    **options: Any,
) -> ArrayFit:
    """Quantize the rows of an array of Dask in partitions, at the workers of its client.

    Tasks run at the workers of Dask's current client, or else in threads. Where all workers are on
    this machine the scratch folder is a temporary one; otherwise ``GEOQUANT_SCRATCH`` names the
    folder, which all see, in which it is made.

    Parameters
    ----------
    rows : dask array of shape (n, d)
        Each block is a shard; their numbers of rows need not be known.
    n_clusters : int
        Number of codes, at most the number of distinct rows.
    name : str, default="latents"
        What error messages call the array.
    n_jobs : int, optional
        As for `fit_shards`.
    progress : callable, optional
        Told of the stages that are computed here.
    for_gathered : dict, optional
        Options of `fit_shards` for graphs that are gathered, by their names, with the defaults:
        ``{"n_init": (given, default)}``. Of more rows only those are passed on that are no default.
    **options
        Of `fit_shards`.

    Returns
    -------
    ArrayFit

    Raises
    ------
    InputError
        If the array or an argument cannot be used, or a scratch folder is missing.
    NotConnectedError, ResourceError
        As `fit_shards`.

    Examples
    --------
    >>> import dask.array as da
    >>> from geoquant.distributed.array_fit import fit_dask_array
    >>> x = da.from_array([[0.0], [1.0], [8.0], [9.0]], chunks=(2, 1))
    >>> found = fit_dask_array(x, 2, random_state=0)
    >>> sorted(found.fitted.codebook.vectors.ravel().tolist()), found.codes.chunks
    ([0.5, 8.5], ((2, 2),))
    """
    client = current_client()
    with TemporaryDirectory(
        prefix="geoquant-", dir=scratch_parent(client), ignore_cleanup_errors=True
    ) as folder:
        scratch = Scratch(os.path.abspath(folder))
        counts = _written_blocks(rows_of_dask_array(rows, name), scratch, name, client)
        shards = _shards_of_blocks(scratch, counts, int(rows.shape[1]), name)
        if n_clusters > shards.n_rows:
            raise InputError(
                f"{name} must have at least n_clusters={n_clusters} rows, found {shards.n_rows}"
            )
        few = shards.n_rows <= GATHERED_NODES
        extra = {k: v for k, (v, usual) in (for_gathered or {}).items() if few or v != usual}
        engine = _engine_of(client, n_jobs, progress)
        fitted = fit_shards(
            shards,
            n_clusters,
            engine,
            scratch,
            n_jobs=n_jobs,
            progress=progress,
            **extra,
            **options,
        )
        return _brought_here(fitted, engine, counts)


def current_client() -> Any:
    """The client that Dask would compute an array with, or None if it would use threads.

    Returns
    -------
    distributed.Client or None

    Raises
    ------
    InputError
        If it is an asynchronous one.

    Examples
    --------
    >>> from geoquant.distributed.array_fit import current_client
    >>> current_client() is None
    True
    """
    client = getattr(get_scheduler(), "__self__", None)  # type: ignore[no-untyped-call]
    if client is None or not hasattr(client, "nthreads"):
        return None
    if client.asynchronous:
        raise InputError("the client of Dask must not be asynchronous; make another for the fit")
    return client


def scratch_parent(client: Any) -> str | None:
    """Where the scratch folder of a fit is made: None for where temporary ones are.

    Parameters
    ----------
    client : distributed.Client or None
        Whose workers are to see it.

    Returns
    -------
    str or None

    Raises
    ------
    InputError
        If workers are on other machines and ``GEOQUANT_SCRATCH`` names no folder.

    Examples
    --------
    >>> from geoquant.distributed.array_fit import scratch_parent
    >>> scratch_parent(None) is None
    True
    """
    folder = os.environ.get(SCRATCH_VARIABLE)
    cure = "name one that all workers see under the same path"
    if folder:
        if not os.path.isdir(folder):
            raise InputError(f"{SCRATCH_VARIABLE} must name a folder, found {folder!r}; {cure}")
        return folder
    far = [] if client is None else [a for a in sorted(client.nthreads()) if not _is_here(a)]
    if far:
        raise InputError(
            f"{SCRATCH_VARIABLE} must name a folder for the arrays of a fit, as worker {far[0]} "
            f"may be on another machine; {cure}"
        )
    return None


def _is_here(address: str) -> bool:
    from geoquant.distributed.dask_cluster import is_loopback

    parts = urlsplit(address)
    return parts.scheme == "inproc" or is_loopback(str(parts.hostname))


def _engine_of(client: Any, n_jobs: int | None, progress: Progress | None) -> Engine:
    if client is None:
        return LocalEngine(n_threads(n_jobs))
    from geoquant.distributed.dask_cluster import require_own_version
    from geoquant.distributed.dask_engine import DaskEngine

    require_own_version(client)
    return DaskEngine(client, progress=progress)


def _written_blocks(rows: Any, scratch: Scratch, name: str, client: Any) -> list[int]:
    """Number of rows of each block, after the worker that has one has written it."""
    n_blocks = rows.numblocks[0]
    written = rows.map_blocks(
        write_block if client is None else _write_block_at_worker,
        scratch=scratch,
        name_of_rows=name,
        chunks=((1,) * n_blocks, (1,)),
        dtype=np.int64,
        meta=np.empty((0, 0), np.int64),
    )
    with _explained(client):
        counts: list[int] = written.compute()[:, 0].tolist()
    return counts


def _explained(client: Any) -> AbstractContextManager[None]:
    if client is None:
        return nullcontext()
    from geoquant.distributed.dask_engine import errors_of_dask_explained

    return errors_of_dask_explained()


def write_block(
    block: npt.NDArray[Any], *, scratch: Scratch, name_of_rows: str, block_id: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Check the rows of a block, write them, and say how many they are (a task)."""
    if not os.path.isdir(scratch.folder):
        raise InputError(
            f"{SCRATCH_VARIABLE} must name a folder that all workers see under the same path; "
            f"one of them does not see {scratch.folder}"
        )
    if len(block):
        checked = check_latents(block, name=f"{name_of_rows}, block {block_id[0]}")
        scratch.save(_name_of_block(block_id[0]), checked)
    return np.array([[len(block)]])


def _write_block_at_worker(
    block: npt.NDArray[Any], *, scratch: Scratch, name_of_rows: str, block_id: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """As a task of the engine is computed, so that its error arrives."""
    from geoquant.distributed.dask_engine import computed

    write = partial(write_block, scratch=scratch, name_of_rows=name_of_rows, block_id=block_id)
    counts: npt.NDArray[np.int64] = computed(write, block)
    return counts


def _name_of_block(i: int) -> str:
    return f"block{i}"


def _shards_of_blocks(scratch: Scratch, counts: list[int], width: int, name: str) -> ShardSet:
    if not any(counts):
        raise InputError(f"{name} must have rows, found none in {len(counts)} blocks")
    return ShardSet(
        tuple(
            FileShard(scratch.path(_name_of_block(i)), (n, width))
            for i, n in enumerate(counts)
            if n
        )
    )


def _brought_here(fitted: PartedFit, engine: Engine, counts: list[int]) -> ArrayFit:
    """All that outlives the scratch folder."""
    codes, distances = zip(*write_codes(fitted, engine), strict=True)
    code, distance = (_in_blocks(paths, counts) for paths in (codes, distances))
    nodes, graph, graph_rows = fitted.nodes, None, None
    medoid_rows = rows_of_nodes(nodes, fitted.clustering.centres)
    if fitted.is_gathered:
        graph = gathered_graph(fitted.graph)
        graph_rows = rows_of_nodes(nodes, np.arange(nodes.n_nodes))
    return ArrayFit(fitted, code, distance, medoid_rows, graph, graph_rows)


def _in_blocks(paths: tuple[str, ...], counts: list[int]) -> Any:
    """Numbers of all shards as an array of Dask, and no longer in files."""
    numbers = np.concatenate([read_latents(path) for path in paths])
    return da.from_array(numbers, (tuple(counts),))  # type: ignore[no-untyped-call]
