"""What the geodesic clusterers of scikit-learn's kind share."""

from __future__ import annotations

import warnings
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from geoquant.arguments import check_count
from geoquant.assignment import Assignment, distances_to_centres, nearest_through
from geoquant.clustering.kmedoids import geodesic_kmedoids
from geoquant.dask_arrays import is_dask_array, map_rows
from geoquant.default_floats import default_floats
from geoquant.distinct import distinct_rows
from geoquant.errors import InputError, NotConnectedError
from geoquant.estimators.callbacks import CallbackSupportMixin, fit_tasks, with_callbacks
from geoquant.estimators.dask_fit import fitted_in_parts
from geoquant.estimators.inputs import validated_dask_array, validated_graph, validated_latents
from geoquant.estimators.snapshot import on_a_copy
from geoquant.fit import POWER, fit_distinct
from geoquant.graph.components import require_connected
from geoquant.graph.csr import Graph
from geoquant.graph.knn import RECALL_TARGET, nearest_neighbors
from geoquant.latents import check_latents, check_sample_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoquant.clustering.result import Clustering
    from geoquant.progress import Progress

_METRICS = ("euclidean", "precomputed")


class GeodesicClusterer(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    CallbackSupportMixin,
    BaseEstimator,
):
    """What both estimators share; they differ in the kind of codeword alone."""

    _codewords: ClassVar[str]

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_neighbors: int = 10,
        recall_target: float = RECALL_TARGET,
        metric: str = "euclidean",
        init: Any = "k-means++",
        n_init: int = 1,
        algorithm: str = "auto",
        max_iter: int = 100,
        n_perturbations: int | str = "auto",
        on_disconnected: str = "bridge",
        max_memory: int | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_neighbors = n_neighbors
        self.recall_target = recall_target
        self.metric = metric
        self.init = init
        self.n_init = n_init
        self.algorithm = algorithm
        self.max_iter = max_iter
        self.n_perturbations = n_perturbations
        self.on_disconnected = on_disconnected
        self.max_memory = max_memory
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Find the codebook of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Latents; an array of Dask is fitted in partitions, none of it read whole (see Notes of
            the class). With ``metric='precomputed'``: a sparse matrix of distances of shape
            (n_samples, n_samples), every stored entry an edge.
        y : Ignored
            For the API.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row; a row of weight 0 gets a label but shapes nothing.

        Returns
        -------
        self : estimator
            The estimator itself.

        Raises
        ------
        InputError
            If `X`, the weights or a parameter cannot be used.
        NotConnectedError
            If the graph has several components, and is not to be bridged or has no latents.
        ResourceError
            If the fit would need more memory than it may take.
        """
        learned = self._learned(X, y, sample_weight)
        if len(learned["_centre_nodes"]) < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({len(learned['_centre_nodes'])}) found smaller "
                f"than n_clusters ({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
        # At once and at the end: a fit that is stopped leaves all as it was, and of two at once the
        # one that ends last leaves its whole result.
        self.__dict__ = learned | self.get_params(deep=False)
        return self

    @on_a_copy
    def predict(self, X: Any) -> npt.NDArray[np.int32]:
        """Give each row its code.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Latents; with ``metric='precomputed'`` a sparse matrix of distances to the training
            rows, shape (n_samples, n_training_rows), every stored entry a neighbour.

        Returns
        -------
        ndarray of shape (n_samples,), int32
            On the training rows, equal to ``labels_`` (with ``metric='precomputed'`` if the
            matrix stores its zero diagonal). Does not depend on the other rows. Of an array of
            Dask one in its blocks, computed when it is asked for.

        Raises
        ------
        InputError
            If `X` cannot be used.
        """
        if is_dask_array(X):
            codes: npt.NDArray[np.int32] = self._mapped(_codes_of_rows, X, np.int32)
            return codes
        return self._assign(X).codes

    @on_a_copy
    def transform(self, X: Any) -> npt.NDArray[np.floating]:
        """Geodesic distance of each row to every centre.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As for `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_clusters), float32 or float64
            In the dtype of `X` if that is float32 or float64, else float64.

        Raises
        ------
        InputError
            If `X` cannot be used.
        """
        check_is_fitted(self)
        if not hasattr(self, "graph_"):
            raise InputError(
                "transform needs graph_, which stays in partitions where an array of Dask has very "
                "many rows; fit a sample, or use predict"
            )
        if is_dask_array(X):
            dtype = np.float32 if X.dtype == np.float32 else np.float64
            mapped: npt.NDArray[np.floating] = self._mapped(
                _transformed_rows, X, dtype, len(self._centre_nodes)
            )
            return mapped
        x = self._validated(X, reset=False)
        index, step = self._near_nodes(x)
        distances = distances_to_centres(self.graph_, self._centre_nodes, index, step)
        with default_floats():
            return distances.astype(x.dtype if x.dtype == np.float32 else np.float64, copy=False)

    @on_a_copy
    def quantize(self, X: Any) -> npt.NDArray[np.float32]:
        """Replace each row by the codeword of its code.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Latents.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32

        Raises
        ------
        InputError
            If `X` cannot be used, or the estimator was fitted on a precomputed graph, which has no
            codewords.
        """
        if is_dask_array(X):
            quantized: npt.NDArray[np.float32] = self._mapped(
                _quantized_rows, X, np.float32, self.n_features_in_
            )
            return quantized
        codes = self.predict(X)
        if self.metric == "precomputed":
            raise InputError("quantize needs latents; a precomputed graph has no codewords")
        codewords: npt.NDArray[np.float32] = self.cluster_centers_[codes]
        return codewords

    @on_a_copy
    def score(self, X: Any, y: Any = None, sample_weight: npt.ArrayLike | None = None) -> float:
        """Negative energy of `X`: the higher, the better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As for `predict`.
        y : Ignored
            For the API.
        sample_weight : array-like of shape (n_samples,), optional
            Weight of each row.

        Returns
        -------
        float

        Raises
        ------
        InputError
            If `X` or the weights cannot be used.
        """
        if is_dask_array(X):
            distance = self._mapped(_distances_of_rows, X, np.float64).compute()
        else:
            distance = self._assign(X).distance
        weights = check_sample_weight(sample_weight, len(distance))
        return -float((weights * distance ** POWER[self._codewords]).sum())

    @on_a_copy
    @with_callbacks
    def _learned(self, X: Any, y: Any, sample_weight: npt.ArrayLike | None) -> dict[str, Any]:
        if self.metric not in _METRICS:
            raise InputError(f"metric must be one of {_METRICS}, found {self.metric!r}")
        x = self._validated(X, reset=True)
        check_count(self.n_clusters, "n_clusters", 1)
        is_in_parts = is_dask_array(x)
        if not is_in_parts and self.n_clusters > x.shape[0]:
            raise InputError(
                f"n_samples={x.shape[0]} should be >= n_clusters={self.n_clusters}: "
                "lower n_clusters or give more rows"
            )
        tasks = fit_tasks(self, x, y, sample_weight)
        fit = self._fit_graph if self.metric == "precomputed" else self._fit_latents
        if is_in_parts:
            fit = self._fit_parts
        fit(x, sample_weight, None if tasks is None else tasks.progress)
        if tasks is not None:
            tasks.end()
        return self.__dict__

    def _fit_latents(
        self,
        x: npt.NDArray[Any],
        sample_weight: npt.ArrayLike | None,
        progress: Progress | None,
    ) -> None:
        latents = check_latents(x, name="X")
        weights = check_sample_weight(sample_weight, len(latents))
        rows = distinct_rows(latents, weights)
        fitted = fit_distinct(
            latents,
            rows,
            min(self.n_clusters, len(rows.row)),
            codewords=self._codewords,
            n_neighbors=self.n_neighbors,
            recall_target=self.recall_target,
            on_disconnected=self.on_disconnected,
            max_memory=self.max_memory,
            progress=progress,
            **self._clustering_options(),
        )
        self._store(fitted.graph, fitted.n_components, fitted.clustering)
        self.labels_, self.geodesic_distances_ = fitted.codes, fitted.distance
        self.medoid_indices_ = fitted.rows.row[fitted.clustering.medoid_indices]
        self.graph_rows_ = fitted.rows.row
        self.codebook_ = fitted.codebook
        self.cluster_centers_ = fitted.codebook.vectors

    def _fit_parts(
        self, x: Any, sample_weight: npt.ArrayLike | None, progress: Progress | None
    ) -> None:
        found = fitted_in_parts(self, x, sample_weight, self._codewords, progress)
        for name in ("graph_", "graph_rows_"):  # of an earlier fit; there may be none now
            self.__dict__.pop(name, None)
        self.__dict__ |= found

    def _fit_graph(
        self, x: Any, sample_weight: npt.ArrayLike | None, progress: Progress | None
    ) -> None:
        graph = Graph.from_scipy(x)
        try:
            require_connected(graph)
        except NotConnectedError as error:
            raise NotConnectedError(
                f"{error}; without coordinates a precomputed graph cannot be bridged"
            ) from None
        clustering = geodesic_kmedoids(
            graph,
            self.n_clusters,
            power=POWER[self._codewords],
            sample_weight=sample_weight,
            progress=progress,
            **self._clustering_options(),
        )
        self._store(graph, 1, clustering)
        self.labels_, self.geodesic_distances_ = clustering.labels, clustering.distance
        self.medoid_indices_ = clustering.medoid_indices.astype(np.int64)
        self.graph_rows_ = np.arange(graph.n_nodes)

    def _clustering_options(self) -> dict[str, Any]:
        return {
            "init": self.init,
            "n_init": self.n_init,
            "algorithm": self.algorithm,
            "max_iter": self.max_iter,
            "n_perturbations": self.n_perturbations,
            "n_jobs": self.n_jobs,
            "random_state": self.random_state,
        }

    def _store(self, graph: Graph, n_components: int, clustering: Clustering) -> None:
        self.graph_ = graph
        self.n_connected_components_ = n_components
        self.inertia_ = clustering.inertia
        self.inertia_history_ = clustering.inertia_history
        self.n_iter_ = clustering.n_iter
        self._centre_nodes: npt.NDArray[np.int32] = clustering.medoid_indices
        self._node_code, self._node_distance = clustering.labels, clustering.distance

    def _validated(self, X: Any, *, reset: bool) -> Any:
        if self.metric == "precomputed":
            return validated_graph(self, X, reset=reset)
        validated = validated_dask_array if is_dask_array(X) else validated_latents
        return validated(self, X, reset=reset)

    def _mapped(
        self, function: Callable[..., Any], X: Any, dtype: Any, width: int | None = None
    ) -> Any:
        """What a function of this estimator gives for each block of an array of Dask."""
        check_is_fitted(self)
        x = self._validated(X, reset=False)
        held = copy(self)  # all that workers need of it
        held.n_jobs = self.n_jobs or 1
        for name in ("labels_", "geodesic_distances_", "graph_rows_"):
            held.__dict__.pop(name, None)
        if function is not _transformed_rows:
            held.__dict__.pop("graph_", None)
        return map_rows(function, x, held, name="X", dtype=dtype, width=width)

    def _assign(self, X: Any) -> Assignment:
        check_is_fitted(self)
        x = self._validated(X, reset=False)
        index, step = self._near_nodes(x)
        return nearest_through(step, self._node_distance[index], self._node_code[index])

    def _near_nodes(self, x: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.floating]]:
        """Nodes near each row, and how near; ``inf`` fills rows that have fewer."""
        if self.metric == "precomputed":
            return _stored_neighbors(x)
        anchors = self.codebook_.anchors
        k = min(self.codebook_.n_neighbors, len(anchors))
        near = nearest_neighbors(
            anchors,
            k,
            check_latents(x, name="X"),
            recall_target=self.recall_target,
            n_jobs=self.n_jobs,
        )
        return near.index, near.distance

    @property
    def _n_features_out(self) -> int:
        return len(self._centre_nodes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.pairwise = self.metric == "precomputed"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _codes_of_rows(held: GeodesicClusterer, rows: Any, *, name: str) -> npt.NDArray[np.int32]:
    return held._assign(check_latents(rows, name=name)).codes  # noqa: SLF001


def _distances_of_rows(held: GeodesicClusterer, rows: Any, *, name: str) -> npt.NDArray[np.float64]:
    return held._assign(check_latents(rows, name=name)).distance  # noqa: SLF001


def _transformed_rows(held: GeodesicClusterer, rows: Any, *, name: str) -> Any:
    check_latents(rows, name=name)
    return held.transform(rows)


def _quantized_rows(held: GeodesicClusterer, rows: Any, *, name: str) -> npt.NDArray[np.float32]:
    return held.quantize(check_latents(rows, name=name))


def _stored_neighbors(x: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """The stored entries of each row of a sparse matrix, as rectangular arrays."""
    if not hasattr(x, "indptr"):
        raise InputError(
            "with metric='precomputed', X must be a sparse matrix of distances; "
            "convert it with scipy.sparse.csr_array"
        )
    count = np.diff(x.indptr)
    if (count == 0).any():
        empty = int(np.flatnonzero(count == 0)[0])
        raise InputError(f"every row of X needs a stored distance; row {empty} has none")
    if (x.data < 0).any():
        raise InputError(
            f"distances must not be negative, found {x.data.min()}; where that is rounding, as of "
            "cosine distances, set them to zero with numpy.maximum(X.data, 0, out=X.data)"
        )
    row = np.repeat(np.arange(len(count)), count)
    column = np.arange(len(row)) - np.repeat(x.indptr[:-1], count)
    index = np.zeros((len(count), count.max()), np.int32)
    step = np.full(index.shape, np.inf)
    # Rounded as the lengths of the graph are, so that training rows get their labels.
    index[row, column], step[row, column] = x.indices, x.data.astype(np.float32)
    return index, step
