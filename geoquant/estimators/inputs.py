"""What estimators are given, checked by scikit-learn and by what geoquant refuses beyond that."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from geoquant.arguments import refuse_masked
from geoquant.dask_arrays import is_dask_array, rows_of_dask_array
from geoquant.errors import InputError
from geoquant.graph.csr import check_sparse

_FLOATS = [np.float64, np.float32]


def validated_latents(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Latents as scikit-learn has them.

    Parameters
    ----------
    estimator : estimator
        Whose columns they are to have, or, with `reset`, to get.
    X : array-like of shape (n_samples, n_features)
        What was given.
    reset : bool
        Whether this is a fit.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32 or float64
        C order, finite.

    Raises
    ------
    InputError
        If `X` holds anything that would silently become numbers, or cannot become an array.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from geoquant.estimators.inputs import validated_latents
    >>> validated_latents(BaseEstimator(), [[1, 2]], reset=True).dtype
    dtype('float64')
    """
    _refuse_silent_conversions(X)
    try:
        return validate_data(estimator, X, reset=reset, dtype=_FLOATS, order="C")
    except RuntimeError as error:  # of a tensor that requires a gradient
        raise InputError(f"X must be convertible to a NumPy array: {error}") from error


def validated_dask_array(estimator: Any, X: Any, *, reset: bool) -> Any:
    """An array of Dask as scikit-learn would have its blocks.

    Parameters
    ----------
    estimator, reset
        As for `validated_latents`.
    X : dask array of shape (n_samples, n_features)
        What was given; it is not computed.

    Returns
    -------
    dask array of shape (n_samples, n_features), float32 or float64
        Its blocks are whole rows.

    Raises
    ------
    InputError
        If it has no columns of numbers.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from sklearn.base import BaseEstimator
    >>> from geoquant.estimators.inputs import validated_dask_array
    >>> x = da.ones((4, 2), dtype=int)  # doctest: +SKIP
    >>> validated_dask_array(BaseEstimator(), x, reset=True).dtype  # doctest: +SKIP
    dtype('float64')
    """
    rows = rows_of_dask_array(X, "X")
    validate_data(estimator, rows, reset=reset, skip_check_array=True)
    return rows if rows.dtype in _FLOATS else rows.astype(np.float64)


def validated_graph(estimator: Any, X: Any, *, reset: bool) -> Any:
    """A precomputed graph as scikit-learn has it.

    Parameters
    ----------
    estimator, reset
        As for `validated_latents`.
    X : sparse matrix of shape (n_samples, n_training_rows)
        What was given.

    Returns
    -------
    sparse matrix in CSR format, or ndarray
        An array passes, for the caller to refuse in its own words.

    Raises
    ------
    InputError
        If the arrays of the matrix contradict one another.

    Examples
    --------
    >>> from scipy.sparse import coo_array
    >>> from sklearn.base import BaseEstimator
    >>> from geoquant.estimators.inputs import validated_graph
    >>> validated_graph(BaseEstimator(), coo_array([[0.0, 1.0], [1.0, 0.0]]), reset=True).format
    'csr'
    """
    if is_dask_array(X):
        raise InputError(
            "with metric='precomputed', X must be a sparse matrix of distances, found an array of "
            "Dask; give it in memory, as a scipy.sparse.csr_array"
        )
    _refuse_silent_conversions(X)
    return validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=_FLOATS)


def _refuse_silent_conversions(x: Any) -> None:
    """Refuse what scikit-learn would make numbers of, or SciPy read beyond, without a word."""
    if hasattr(x, "tocsr"):
        check_sparse(x, "X")
        return
    refuse_masked(x, "X")
    dtype = getattr(x, "dtype", None)
    # Objects that are numbers pass, as scikit-learn has it.
    if isinstance(dtype, np.dtype) and dtype.kind in "bmMSUV":
        raise InputError(
            f"X must hold real numbers, found dtype {dtype}; convert it, for instance with "
            "X.astype(np.float32)"
        )
