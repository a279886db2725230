"""The neighbour search as a scikit-learn transformer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.sparse import csr_array, csr_matrix
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from geoquant.arguments import check_choice, check_count, check_share
from geoquant.errors import InputError
from geoquant.estimators.callbacks import CallbackSupportMixin, fit_tasks, with_callbacks
from geoquant.estimators.inputs import validated_latents
from geoquant.estimators.snapshot import on_a_copy
from geoquant.graph.components import bridge_components
from geoquant.graph.csr import Graph
from geoquant.graph.knn import RECALL_TARGET, nearest_neighbors
from geoquant.latents import check_latents

if TYPE_CHECKING:
    import numpy.typing as npt


class KNNTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, CallbackSupportMixin, BaseEstimator
):
    """Nearest neighbours as a sparse graph, for estimators that take a precomputed one.

    Keeps the contract of scikit-learn's ``KNeighborsTransformer``, and so can stand before TSNE,
    Isomap, DBSCAN or SpectralClustering in a pipeline, and be the ``transformer`` of
    ``scanpy.pp.neighbors``. With `connected`, it can stand before HDBSCAN, UMAP, and
    `GeodesicKMeans` with ``metric='precomputed'``.

    Parameters
    ----------
    n_neighbors : int, default=10
        Neighbours of each row, without itself.
    mode : {'distance', 'connectivity'}, default='distance'
        'distance': Euclidean distances of the row itself, at 0, and its neighbours, which makes
        ``n_neighbors + 1`` entries a row. 'connectivity': ones, ``n_neighbors`` entries a row,
        itself among them, as scikit-learn has it.
    metric : {'euclidean'}, default='euclidean'
        How distances are measured.
    connected : bool, default=False
        Whether `fit_transform` makes the graph symmetric, an edge where either row has the other
        among its nearest, and joins its components by the shortest edges between them, see
        `bridge_components`. Rows then have different numbers of entries.
    recall_target : float, default=0.995
        Share of the true neighbours that `fit_transform` is to find among very many rows, in
        (0, 1]; 1: exact at any size. `transform` is always exact.
    n_jobs : int, optional
        Threads, all by default; the result does not depend on it.

    Attributes
    ----------
    n_samples_fit_ : int
        Number of training rows.
    n_features_in_ : int
        Number of columns of the training data.

    See Also
    --------
    nearest_neighbors : The search as a function.
    knn_graph : The graph that geoquant itself works on.

    Notes
    -----
    Rows are compared in float32. The entries of a row are ordered by distance, ties by the smaller
    column, as the estimators that take such graphs want them; `fit_transform` has each row itself
    first. Without `connected`, ``graph.indices.reshape(n_samples, -1)`` and ``graph.data`` alike
    are therefore what UMAP takes as ``precomputed_knn``.

    A row with more than `n_neighbors` duplicates keeps its own entry in `fit_transform`; in
    `transform`, which cannot know whose row it is, the smaller columns win. With `connected`,
    `transform` still finds each row's own neighbours and no more.

    Examples
    --------
    >>> import geoquant as gq
    >>> graph = gq.KNNTransformer(n_neighbors=1).fit_transform([[0.0], [1.0], [3.0]])
    >>> graph.toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    >>> graph.nnz  # the zeros of the diagonal are stored
    6
    >>> transformer = gq.KNNTransformer(n_neighbors=1).fit([[0.0], [1.0], [3.0]])
    >>> transformer.transform([[2.5]]).toarray().tolist()
    [[0.0, 1.5, 0.5]]
    """

    def __init__(
        self,
        n_neighbors: int = 10,
        *,
        mode: str = "distance",
        metric: str = "euclidean",
        connected: bool = False,
        recall_target: float = RECALL_TARGET,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.metric = metric
        self.connected = connected
        self.recall_target = recall_target
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Keep the rows among which neighbours are to be found.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : Ignored
            For the API.

        Returns
        -------
        self : KNNTransformer
            The transformer itself.

        Raises
        ------
        InputError
            If `X` or a parameter cannot be used.
        """
        learned, _ = self._learned(X, y, is_searched=False)
        self.__dict__ = learned | self.get_params(deep=False)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> csr_matrix | csr_array:
        """Find the neighbours of the training rows among themselves.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows.
        y : Ignored
            For the API.

        Returns
        -------
        sparse matrix of shape (n_samples, n_samples), in CSR format
            As of `transform`, with the diagonal stored and first in every row.

        Raises
        ------
        InputError
            If `X` or a parameter cannot be used, or there are too few rows.
        """
        learned, graph = self._learned(X, y, is_searched=True)
        self.__dict__ = learned | self.get_params(deep=False)
        return graph

    @on_a_copy
    def transform(self, X: Any) -> csr_matrix | csr_array:
        """Find the nearest training rows of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; a training row finds itself at distance 0.

        Returns
        -------
        sparse matrix of shape (n_samples, n_samples_fit), in CSR format
            Distances, or ones, in the dtype of `X` if that is float32 or float64, else float64.
            A ``csr_matrix``, or ``csr_array`` where scikit-learn's ``sparse_interface`` says so.

        Raises
        ------
        InputError
            If `X` cannot be used, or there are too few training rows.
        """
        check_is_fitted(self)
        x = validated_latents(self, X, reset=False)
        near = nearest_neighbors(
            self._rows,
            self._n_entries(),
            check_latents(x, name="X"),
            recall_target=self.recall_target,
            n_jobs=self.n_jobs,
        )
        return self._graph(near.index, near.distance, x.dtype)

    @on_a_copy
    @with_callbacks
    def _learned(
        self, X: Any, y: Any, *, is_searched: bool
    ) -> tuple[dict[str, Any], csr_matrix | csr_array | None]:
        check_count(self.n_neighbors, "n_neighbors", 1)
        check_choice(self.mode, "mode", ("distance", "connectivity"))
        if self.metric != "euclidean":
            raise InputError(f"metric must be 'euclidean', found {self.metric!r}")
        check_share(self.recall_target, "recall_target")
        x = validated_latents(self, X, reset=True)
        self._rows = check_latents(x, name="X").copy()  # X may change
        self.n_samples_fit_ = len(self._rows)
        tasks = fit_tasks(self, x, y, None)
        progress = None if tasks is None else tasks.progress
        graph = self._graph_of_rows(x.dtype, progress) if is_searched else None
        if tasks is not None:
            tasks.end()
        return self.__dict__, graph

    def _graph_of_rows(self, dtype: npt.DTypeLike, progress: Any) -> csr_matrix | csr_array:
        """Each row itself, and then its nearest others."""
        rows = np.arange(len(self._rows), dtype=np.int32)[:, None]
        n_others = self._n_entries() - 1
        if n_others == 0:
            distance, index = (
                np.zeros((len(rows), 0), np.float32),
                np.zeros((len(rows), 0), np.int32),
            )
        else:
            distance, index, _ = nearest_neighbors(
                self._rows,
                n_others,
                recall_target=self.recall_target,
                n_jobs=self.n_jobs,
                progress=progress,
            )
        if self.connected:
            return self._connected_graph(index, distance, dtype)
        index = np.concatenate([rows, index], axis=1)
        return self._graph(index, np.insert(distance, 0, 0, axis=1), dtype)

    def _connected_graph(
        self, index: npt.NDArray[np.int32], distance: npt.NDArray[Any], dtype: npt.DTypeLike
    ) -> csr_matrix | csr_array:
        graph = Graph.from_neighbors(index, distance, n_jobs=self.n_jobs)
        graph = bridge_components(graph, self._rows, n_jobs=self.n_jobs).graph
        node = np.arange(graph.n_nodes)
        row = np.concatenate([node, np.repeat(node, np.diff(graph.indptr))])
        column = np.concatenate([node, graph.indices])
        # Below any length, so that each row itself is first.
        length = np.concatenate([np.full(len(node), -1, np.float32), graph.lengths])
        order = np.lexsort((column, length, row))
        starts = graph.indptr + np.arange(graph.n_nodes + 1)
        return self._csr(starts, column[order], length[order].clip(0), dtype)

    def _graph(
        self, index: npt.NDArray[np.int32], distance: npt.NDArray[Any], dtype: npt.DTypeLike
    ) -> csr_matrix | csr_array:
        starts = np.arange(0, index.size + 1, index.shape[1])
        return self._csr(starts, index.ravel(), distance.ravel(), dtype)

    def _csr(
        self,
        starts: npt.NDArray[np.int64],
        column: npt.NDArray[Any],
        distance: npt.NDArray[Any],
        dtype: npt.DTypeLike,
    ) -> csr_matrix | csr_array:
        """The matrix in the mode that is asked for, and the kind that scikit-learn is set to."""
        values = distance if self.mode == "distance" else np.ones_like(distance)
        is_matrix = get_config().get("sparse_interface", "spmatrix") == "spmatrix"
        container = csr_matrix if is_matrix else csr_array
        shape = (len(starts) - 1, self.n_samples_fit_)
        return container((values.astype(dtype), column, starts), shape=shape)

    def _n_entries(self) -> int:
        """Entries of a row; as scikit-learn has it, one more where they are distances."""
        n_entries = self.n_neighbors + (self.mode == "distance")
        if n_entries > self.n_samples_fit_:
            raise InputError(
                f"n_samples={self.n_samples_fit_} should be >= {n_entries}, for every row with "
                f"n_neighbors={self.n_neighbors}: lower n_neighbors or give more rows"
            )
        return n_entries

    @property
    def _n_features_out(self) -> int:
        return self.n_samples_fit_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
