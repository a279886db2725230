"""Fits of estimators on arrays of Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geoquant.errors import InputError

if TYPE_CHECKING:
    from geoquant.progress import Progress

#: Parameters that are for graphs in one place, and their defaults.
_FOR_GATHERED = {"init": "k-means++", "n_init": 1, "n_perturbations": "auto"}
_PASSED_ON = (
    "n_neighbors",
    "recall_target",
    "on_disconnected",
    "algorithm",
    "max_iter",
    "n_jobs",
    "random_state",
)


def fitted_in_parts(
    estimator: Any,
    rows: Any,
    sample_weight: object,
    codewords: str,
    progress: Progress | None,
) -> dict[str, Any]:
    """Attributes of an estimator that was fitted on an array of Dask.

    Parameters
    ----------
    estimator : estimator
        Its parameters count.
    rows : dask array of shape (n_samples, n_features)
        Validated.
    sample_weight : object
        Must be None.
    codewords : str
        As for `fit_codebook`.
    progress : callable, optional
        Told of the stages.

    Returns
    -------
    dict
        Those of a fit of the same numbers in one array; the graph only where it is gathered.

    Raises
    ------
    InputError
        If a parameter cannot be used with partitions.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> import geoquant as gq
    >>> from geoquant.estimators.dask_fit import fitted_in_parts
    >>> x = da.from_array([[0.0], [1.0], [8.0], [9.0]], chunks=(2, 1))  # doctest: +SKIP
    >>> est = gq.GeodesicKMeans(2, random_state=0)
    >>> fitted_in_parts(est, x, None, "mean", None)["inertia_"]  # doctest: +SKIP
    2.0
    """
    _refuse_what_needs_one_place(estimator, sample_weight)
    from geoquant.distributed.array_fit import fit_dask_array

    found = fit_dask_array(
        rows,
        estimator.n_clusters,
        name="X",
        codewords=codewords,
        for_gathered={k: (getattr(estimator, k), usual) for k, usual in _FOR_GATHERED.items()},
        progress=progress,
        **{name: getattr(estimator, name) for name in _PASSED_ON},
    )
    fitted, book = found.fitted, found.fitted.codebook
    graph = {} if found.graph is None else {"graph_": found.graph, "graph_rows_": found.graph_rows}
    return graph | {
        "labels_": found.codes,
        "geodesic_distances_": found.distance,
        "medoid_indices_": found.medoid_rows,
        "codebook_": book,
        "cluster_centers_": book.vectors,
        "inertia_": fitted.energy,
        "inertia_history_": fitted.clustering.energy_history,
        "n_iter_": fitted.clustering.n_rounds,
        "n_connected_components_": fitted.n_components,
        "_centre_nodes": fitted.clustering.centres,
        "_node_code": book.anchor_code,
        "_node_distance": book.anchor_distance,
    }


def _refuse_what_needs_one_place(estimator: Any, sample_weight: object) -> None:
    if sample_weight is not None:
        raise InputError(
            "sample_weight must be left out with an array of Dask, whose rows weigh alike; repeat "
            "rows, or give an array in memory"
        )
    if estimator.max_memory is not None:
        raise InputError(
            "max_memory must be None with an array of Dask; its workers have limits of their own: "
            "LocalCluster(memory_limit=...)"
        )
    if not isinstance(estimator.init, str):
        raise InputError(
            "init must be 'k-means++' or 'random' with an array of Dask; give rows to start from "
            "with an array in memory"
        )
