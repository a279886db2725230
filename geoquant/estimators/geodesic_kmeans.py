"""Geodesic k-means as a scikit-learn estimator."""

from geoquant.estimators.clusterer import GeodesicClusterer


class GeodesicKMeans(GeodesicClusterer):
    """Geodesic k-means: cells of least squared distance along the data.

    The energy is the weighted sum of squared geodesic distances to the centres, which are
    training rows; the codewords, ``cluster_centers_``, are the weighted means of the cells.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of codes.
    n_neighbors : int, default=10
        Neighbours of each latent in the graph, and those considered in `predict`.
    recall_target : float, default=0.995
        Share of the true neighbours that a search among very many latents is to find, in
        (0, 1]; 1: exact at any size.
    metric : {'euclidean', 'precomputed'}, default='euclidean'
        'precomputed': `fit` takes a sparse matrix of distances, every stored entry an edge.
    init : {'k-means++', 'random'} or array-like of shape (n_clusters,), default='k-means++'
        Where to start; an array holds training rows.
    n_init : int, default=1
        How many times to start anew; the best result is kept.
    algorithm : {'auto', 'swap', 'alternate'}, default='auto'
        'swap': to an optimum that no single swap improves. 'auto': the same where that is quick,
        and near one where it is not. 'alternate': worse.
    max_iter : int, default=100
        Most rounds.
    n_perturbations : int or 'auto', default='auto'
        How often a local optimum is shaken for a better one; see `geodesic_kmedoids`.
    on_disconnected : {'bridge', 'raise'}, default='bridge'
        What to do if the graph has several components.
    max_memory : int, optional
        Bytes that a fit may take beyond what the process holds; by default what the machine and
        its limits leave. A fit that needs more raises ResourceError before it begins.
    n_jobs : int, optional
        Threads, all by default; the result does not depend on it.
    random_state : int, RandomState, Generator or None
        Seed.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Code of each training row.
    cluster_centers_ : ndarray of shape (n_clusters, n_features), float32
        Codewords. Absent with ``metric='precomputed'``.
    medoid_indices_ : ndarray of shape (n_clusters,), int64
        The training row at the centre of each cell.
    inertia_ : float
        The energy. Not comparable with the inertia of KMeans, which is Euclidean.
    inertia_history_ : tuple of float
        Energy after each step; never rises.
    n_iter_ : int
        Rounds.
    geodesic_distances_ : ndarray of shape (n_samples,), float64
        Geodesic distance of each training row to its centre.
    graph_ : Graph
        Nodes are the distinct training rows of positive weight, in the order of `graph_rows_`:
        the rows themselves, unless some are duplicates or weigh nothing.
    graph_rows_ : ndarray of shape (n_nodes,), int64
        The training row of each node.
    n_connected_components_ : int
        Components of the graph before they were bridged.
    codebook_ : Codebook
        To save, and to assign with; absent with ``metric='precomputed'``.
    n_features_in_ : int
        Number of columns of the training data.

    Notes
    -----
    With scikit-learn 1.9 or newer, `set_callbacks` takes its callbacks, such as ``ProgressBar``:
    the tasks of a fit are its stages, and up to a hundred steps of each. A callback that raises
    stops the fit, and the estimator stays as it was. One that asks to stop cuts short the stages
    that improve on what is found already: the fit then ends soon, with codes that are whole but
    not the best.

    An array of Dask is fitted in partitions, at the workers of Dask's current client or in threads:
    each block is computed and written once to a scratch folder, which is made where temporary
    files are, or in the folder that ``GEOQUANT_SCRATCH`` names where workers are on other machines.
    Attributes are those of a fit in memory, bit for bit, for up to 262,144 distinct rows; of more
    the graph stays in partitions, and there is no `graph_` and no `transform`. `labels_` and
    `geodesic_distances_` are arrays of Dask in the blocks of the rows, their numbers in this
    process. `predict`, `transform` and `quantize` of an array of Dask are computed when they are
    asked for.

    Examples
    --------
    >>> import geoquant as gq
    >>> x = [[0.0], [1.0], [8.0], [9.0]]
    >>> est = gq.GeodesicKMeans(n_clusters=2, random_state=0).fit(x)
    >>> sorted(est.cluster_centers_.ravel().tolist())
    [0.5, 8.5]
    >>> bool((est.predict(x) == est.labels_).all())
    True
    >>> sorted(est.transform([[0.0]]).ravel().tolist())
    [0.0, 8.0]
    >>> est.quantize([[8.2]]).tolist(), est.score(x)
    ([[8.5]], -2.0)
    """

    _codewords = "mean"
