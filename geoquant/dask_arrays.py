"""Arrays of Dask, block by block: told from others without Dask, and computed when asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.latents import check_latents

if TYPE_CHECKING:
    from collections.abc import Callable


def is_dask_array(values: object) -> bool:
    """Whether something is an array of Dask; Dask need not be installed.

    Parameters
    ----------
    values : object
        Anything.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.dask_arrays import is_dask_array
    >>> is_dask_array(np.zeros((3, 2)))
    False
    """
    # Whoever holds one has imported its class.
    module = sys.modules.get("dask.array.core")
    return module is not None and isinstance(values, module.Array)


def rows_of_dask_array(values: Any, name: str) -> Any:
    """An array of Dask whose blocks are whole rows, or an error that says how to get one.

    Parameters
    ----------
    values : dask array of shape (n, d)
        The number of rows need not be known.
    name : str
        What error messages call it.

    Returns
    -------
    dask array
        With one block along the columns; nothing is computed.

    Raises
    ------
    InputError
        If there are not two axes, columns of a known number, or real numbers.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from geoquant.dask_arrays import rows_of_dask_array
    >>> rows_of_dask_array(da.zeros((6, 4), chunks=(3, 2)), "latents").chunks  # doctest: +SKIP
    ((3, 3), (4,))
    """
    if values.ndim != 2 or np.isnan(values.shape[1]) or values.shape[1] == 0:
        raise InputError(
            f"{name} must have shape (n, d), d > 0 and known, found {values.shape}; use "
            f"{name}.reshape, or {name}.compute_chunk_sizes()"
        )
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
        raise InputError(
            f"{name} must hold real numbers (float16, float32, float64 or integers), found dtype "
            f"{values.dtype}; convert it, for instance with {name}.astype(np.float32)"
        )
    return values if values.numblocks[1] == 1 else values.rechunk({1: -1})


def map_rows(
    function: Callable[..., Any],
    values: Any,
    held: object,
    *,
    name: str,
    dtype: Any,
    width: int | None = None,
    **options: Any,
) -> Any:
    """Map a function over the blocks of an array of Dask, each when its result is asked for.

    Parameters
    ----------
    function : callable
        Called as ``function(held, block, name=..., **options)`` for each block that has rows;
        returns as many.
    values : dask array of shape (n, d)
        As for `rows_of_dask_array`; blocks may be empty, and their number of rows unknown.
    held : object
        What all blocks need; sent to each worker once.
    name : str
        What error messages call `values`.
    dtype : dtype
        Of what the function returns.
    width : int, optional
        Columns of what it returns; by default it has one axis.
    **options
        Passed on.

    Returns
    -------
    dask array of shape (n,) or (n, width)
        In the blocks of `values`.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> import numpy as np
    >>> from geoquant.dask_arrays import map_rows
    >>> def sums(scale, block, name):
    ...     return scale * block.sum(axis=1)
    >>> x = da.ones((3, 2), chunks=2)  # doctest: +SKIP
    >>> map_rows(sums, x, 5, name="x", dtype=np.float64).compute()  # doctest: +SKIP
    array([10., 10., 10.])
    """
    from dask.delayed import delayed

    rows = rows_of_dask_array(values, name)
    axes: dict[str, Any] = {"drop_axis": 1}
    if width is not None:
        axes = {"chunks": (rows.chunks[0], (width,))}
    return rows.map_blocks(
        _of_block,
        function=function,
        held=delayed(held, pure=True),
        name_of_rows=name,
        empty=np.empty((0,) if width is None else (0, width), dtype),
        options=options,
        dtype=dtype,
        meta=np.empty((0,) if width is None else (0, 0), dtype),
        **axes,
    )


def _of_block(
    block: Any,
    *,
    function: Callable[..., Any],
    held: object,
    name_of_rows: str,
    empty: npt.NDArray[Any],
    options: dict[str, Any],
    block_id: tuple[int, ...],
) -> Any:
    if len(block) == 0:
        return empty
    return function(held, block, name=f"{name_of_rows}, block {block_id[0]}", **options)


def assign_rows(
    book: Any, latents: Any, *, n_jobs: int | None, width: int | None = None, **options: Any
) -> Any:
    """Codes of the rows of an array of Dask, computed when they are asked for.

    Parameters
    ----------
    book : Codebook or MultistageCodebook
        Sent to each worker once.
    latents : dask array of shape (n, d)
        As for `map_rows`.
    n_jobs : int, optional
        Threads for each block; by default one, as there are many blocks.
    width : int, optional
        Number of stages of a codebook that has several.
    **options
        Of ``book.assign``.

    Returns
    -------
    dask array of int32, shape (n,) or (n, width)
        The codes that ``book.assign`` gives, bit for bit.

    Raises
    ------
    InputError
        If the array cannot be used, so far as that is known before it is computed.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> import geoquant as gq
    >>> from geoquant.dask_arrays import assign_rows
    >>> book = gq.fit_codebook([[0.0], [9.0]], 2, random_state=0).codebook
    >>> assign_rows(book, da.zeros((4, 1), chunks=2), n_jobs=None).chunks  # doctest: +SKIP
    ((2, 2),)
    """
    rows = rows_of_dask_array(latents, "latents")
    if rows.shape[1] != book.dim:
        raise InputError(
            f"latents must have shape (n, {book.dim}) for this codebook, found {rows.shape}"
        )
    return map_rows(
        _codes_of_block,
        rows,
        book,
        name="latents",
        dtype=np.int32,
        width=width,
        n_jobs=n_jobs or 1,
        **options,
    )


def _codes_of_block(book: Any, block: Any, *, name: str, **options: Any) -> Any:
    return book.assign(check_latents(block, name=name), **options)
