"""From latents to codebook and codes, in one call: what the estimators and the command line run."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from geoquant.arguments import check_count, check_share
from geoquant.assignment import assign
from geoquant.checkpoint import Checkpoint, array_hash, remove_checkpoint
from geoquant.clustering.kmedoids import cell_means, geodesic_kmedoids
from geoquant.codebook import Codebook
from geoquant.cost import bytes_by_stage, shape_of_fit
from geoquant.distinct import DistinctRows, distinct_rows
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.components import bridge_components, connected_components, require_connected
from geoquant.graph.csr import Graph, check_nodes
from geoquant.graph.edge_lengths import output_lengths, with_lengths
from geoquant.graph.knn import RECALL_TARGET, knn_graph, nearest_neighbors
from geoquant.latents import check_latents, check_sample_weight
from geoquant.memory import require_memory
from geoquant.short_repr import ShortRepr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from geoquant.clustering.result import Clustering
    from geoquant.files import PathLike
    from geoquant.progress import Progress

#: The power of the energy that goes with each kind of codeword.
POWER = {"mean": 2, "medoid": 1}


@dataclass(frozen=True, eq=False, repr=False)
class FittedCodebook(ShortRepr):
    """A codebook, the codes of the latents it was made from, and how it was made.

    Attributes
    ----------
    codebook : Codebook
        With every distinct latent as an anchor.
    codes : ndarray of shape (n,), int32
        Code of each latent.
    distance : ndarray of shape (n,), float64
        Geodesic distance of each latent to its centre.
    rows : DistinctRows
        Which rows are the nodes of the graph, and with what weight.
    graph : Graph
        Connected; one node per distinct latent.
    n_components : int
        Components of the graph before they were bridged.
    clustering : Clustering
        On the nodes of the graph.
    seconds : dict of str to float
        Wall time of each stage, in order.

    Examples
    --------
    >>> import geoquant as gq
    >>> fitted = gq.fit_codebook([[0.0], [1.0], [8.0], [9.0]], 2, random_state=0)
    >>> fitted.codes.shape, fitted.n_components, list(fitted.seconds)
    ((4,), 1, ['graph', 'clustering', 'codebook'])
    """

    codebook: Codebook
    codes: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    rows: DistinctRows
    graph: Graph
    n_components: int
    clustering: Clustering
    seconds: dict[str, float]


@memory_errors_typed()
def fit_codebook(
    latents: npt.ArrayLike,
    n_clusters: int = 8,
    *,
    codewords: str = "mean",
    n_neighbors: int = 10,
    recall_target: float = RECALL_TARGET,
    sample_weight: npt.ArrayLike | None = None,
    edge_outputs: npt.ArrayLike | None = None,
    on_disconnected: str = "bridge",
    max_memory: int | None = None,
    n_jobs: int | None = None,
    random_state: Any = None,
    progress: Progress | None = None,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    keep_checkpoint: bool = False,
    **options: Any,
) -> FittedCodebook:
    """Quantize latents: graph, bridges, clustering, codebook and codes.

    Parameters
    ----------
    latents : array-like of shape (n, d)
        Latents, one row each; computed with in float32.
    n_clusters : int, default=8
        Number of codes, at most the number of distinct rows.
    codewords : {'mean', 'medoid'}, default='mean'
        'mean': cells of least summed squared geodesic distance, their means as codewords.
        'medoid': least summed distance, the medoids as codewords.
    n_neighbors : int, default=10
        Neighbours of each latent in the graph, and anchors considered in assignment.
    recall_target : float, default=0.995
        Share of the true neighbours that a search among very many latents is to find, in
        (0, 1]; 1: exact at any size.
    sample_weight : array-like of shape (n,), optional
        Weight of each row, not negative. A row of weight 0 gets a code but shapes nothing.
    edge_outputs : array-like of shape (n, p), optional
        What each latent becomes in the space where distances are to be measured: a decoder's
        output, `gaussian_coordinates`. Neighbours are found among the latents all the same; then
        every edge, bridges too, gets its length there. See the notes.
    on_disconnected : {'bridge', 'raise'}, default='bridge'
        What to do if the graph has several components: join them by the shortest edges that do,
        or raise.
    max_memory : int, optional
        Bytes that the fit may take beyond what the process holds; by default what the machine
        and its limits leave. A fit that needs more, by `estimate_fit`'s model, does not begin.
    n_jobs : int, optional
        Threads, all by default; the result does not depend on it.
    random_state : int, Generator, RandomState or None
        Seed.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; may raise to stop.
    checkpoint : path, optional
        A folder in which every stage is kept as soon as it is done, and which is emptied at the
        end. Needs a seed that is a number.
    resume : bool, default=False
        Whether to go on from what a stopped fit left in `checkpoint`; the result equals, bit for
        bit, that of a fit never stopped.
    keep_checkpoint : bool, default=False
        Whether to leave the checkpoint when the fit is done, until the result is safe elsewhere;
        `geoquant.checkpoint.remove_checkpoint` removes it.
    **options
        ``init, n_init, algorithm, max_iter, n_perturbations`` of `geodesic_kmedoids`; an
        array as ``init`` holds rows of `latents`.

    Returns
    -------
    FittedCodebook

    Raises
    ------
    InputError
        If an argument or array cannot be used, or the checkpoint is of other data or parameters.
    FileFormatError
        If the checkpoint is damaged.
    NotConnectedError
        If the graph is not connected and `on_disconnected` is 'raise'.
    ResourceError
        If the fit would need more memory than it may take.

    See Also
    --------
    estimate_fit : Says how long a fit would take, and how much memory.

    Notes
    -----
    With `edge_outputs`, all geodesic distances are in the unit of the outputs, but the way from a
    new latent to its first anchor is known in that of the latents only, and the two do not add
    up. So such a codebook considers one anchor (its ``n_neighbors`` is 1): a new latent gets the
    code of the nearest, which needs no unit and no decoder. Its metadata says
    ``"edge_lengths": "outputs"``.

    Examples
    --------
    >>> import geoquant as gq
    >>> fitted = gq.fit_codebook([[0.0], [1.0], [8.0], [9.0]], 2, random_state=0)
    >>> bool(fitted.codes[0] == fitted.codes[1] != fitted.codes[2])
    True
    """
    x = check_latents(latents)
    rows = distinct_rows(x, check_sample_weight(sample_weight, len(x)))
    return fit_distinct(
        x,
        rows,
        n_clusters,
        edge_outputs=None if edge_outputs is None else _outputs_of_rows(edge_outputs, rows),
        codewords=codewords,
        n_neighbors=n_neighbors,
        recall_target=recall_target,
        on_disconnected=on_disconnected,
        max_memory=max_memory,
        n_jobs=n_jobs,
        random_state=random_state,
        progress=progress,
        checkpoint=checkpoint,
        resume=resume,
        keep_checkpoint=keep_checkpoint,
        **options,
    )


@memory_errors_typed()
def fit_distinct(
    x: npt.NDArray[np.float32],
    rows: DistinctRows,
    n_clusters: int,
    *,
    codewords: str,
    n_neighbors: int,
    recall_target: float,
    on_disconnected: str,
    max_memory: int | None,
    n_jobs: int | None,
    random_state: Any,
    edge_outputs: npt.NDArray[np.float32] | None = None,
    progress: Progress | None = None,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    keep_checkpoint: bool = False,
    **options: Any,
) -> FittedCodebook:
    """Quantize latents that are checked, and whose distinct rows are known.

    Parameters
    ----------
    x : ndarray of shape (n, d), float32
        As `check_latents` returns it.
    rows : DistinctRows
        Of `x` and its weights.
    n_clusters, codewords, n_neighbors, recall_target, on_disconnected
        As for `fit_codebook`.
    edge_outputs : ndarray of shape (n, p), float32, optional
        As for `fit_codebook`, checked.
    max_memory, n_jobs, random_state, progress, checkpoint, resume, keep_checkpoint, **options
        As for `fit_codebook`.

    Returns
    -------
    FittedCodebook

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distinct import distinct_rows
    >>> from geoquant.fit import fit_distinct
    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]], np.float32)
    >>> fitted = fit_distinct(
    ...     x, distinct_rows(x), 2, codewords="mean", n_neighbors=10, recall_target=1.0,
    ...     on_disconnected="bridge", max_memory=None, n_jobs=None, random_state=0,
    ... )
    >>> bool(fitted.codes[0] == fitted.codes[1] != fitted.codes[2])
    True
    """
    if codewords not in POWER:
        raise InputError(f"codewords must be 'mean' or 'medoid', found {codewords!r}")
    seconds: dict[str, float] = {}
    require_fit_memory(
        len(rows.row),
        x.shape[1],
        n_neighbors,
        recall_target=recall_target,
        max_memory=max_memory,
        n_jobs=n_jobs,
        n_copied=0 if len(rows.row) == len(x) else len(rows.row),
    )
    parameters = {
        "n_clusters": n_clusters,
        "codewords": codewords,
        "n_neighbors": n_neighbors,
        "recall_target": recall_target,
        "on_disconnected": on_disconnected,
        **options,
    }
    kept = _checkpoint(checkpoint, resume, x, rows, edge_outputs, random_state, parameters)
    with _timed(seconds, "graph"):
        nodes = x if len(rows.row) == len(x) else x[rows.row]
        graph, n_components = _kept_graph(
            kept,
            lambda: _graph_of_fit(
                nodes,
                edge_outputs if edge_outputs is None or nodes is x else edge_outputs[rows.row],
                n_neighbors,
                recall_target=recall_target,
                on_disconnected=on_disconnected,
                n_jobs=n_jobs,
                progress=progress,
            ),
        )
    with _timed(seconds, "clustering"):
        clustering = geodesic_kmedoids(
            graph,
            n_clusters,
            power=POWER[codewords],
            sample_weight=rows.weight,
            n_jobs=n_jobs,
            random_state=random_state,
            progress=progress,
            checkpoint=kept,
            **_with_init_nodes(options, rows),
        )
    with _timed(seconds, "codebook"):
        metadata = codebook_metadata(
            codewords=codewords,
            n_latents=len(x),
            n_components=n_components,
            recall_target=recall_target,
            graph_recall=graph.recall,
            inertia=clustering.inertia,
            inertia_history=clustering.inertia_history,
            random_state=random_state,
            options=options,
        )
        metadata |= _metadata_of_lengths(edge_outputs, n_neighbors)
        n_asked = int(n_neighbors) if edge_outputs is None else 1
        codebook = _codebook(nodes, rows.weight, clustering, n_asked, metadata)
        codes, distance = _codes_of_all_rows(x, rows, clustering, codebook, n_jobs)
    if checkpoint is not None and not keep_checkpoint:
        remove_checkpoint(checkpoint)
    return FittedCodebook(codebook, codes, distance, rows, graph, n_components, clustering, seconds)


def _graph_of_fit(
    nodes: npt.NDArray[np.float32],
    outputs: npt.NDArray[np.float32] | None,
    n_neighbors: int,
    *,
    n_jobs: int | None,
    progress: Progress | None,
    **options: Any,
) -> tuple[Graph, int]:
    """The connected graph of distinct latents, measured between their outputs if there are some."""
    graph, n_components = connected_graph(
        nodes, n_neighbors, are_distinct=True, n_jobs=n_jobs, progress=progress, **options
    )
    if outputs is not None:
        lengths = output_lengths(graph, outputs, n_jobs=n_jobs, progress=progress)
        graph = with_lengths(graph, lengths)
    return graph, n_components


def _checkpoint(
    folder: PathLike | None,
    resume: bool,
    x: npt.NDArray[np.float32],
    rows: DistinctRows,
    edge_outputs: npt.NDArray[np.float32] | None,
    random_state: Any,
    parameters: dict[str, Any],
) -> Checkpoint | None:
    """Where stages are kept, if they are to be, under everything that they depend on."""
    check_checkpoint_arguments(folder, resume, random_state)
    if folder is None:
        return None
    plain = {
        name: value if isinstance(value, str | int | float) else _plain(value)
        for name, value in parameters.items()
    }
    identity = {
        "geoquant_version": version("geoquant"),
        "latents": array_hash(x),
        "sample_weight": array_hash(rows.weight),
        "edge_outputs": array_hash(edge_outputs),
        "random_state": int(random_state),
        **plain,
    }
    return Checkpoint(folder, identity, resume=resume)


def _plain(value: Any) -> Any:
    """What stands for a parameter in an identity: NumPy's numbers are numbers, arrays hashes."""
    return value.item() if isinstance(value, np.generic) else array_hash(np.asarray(value))


def check_checkpoint_arguments(folder: PathLike | None, resume: bool, random_state: Any) -> None:
    """Raise unless a fit with these arguments can go on where an earlier one stopped.

    Parameters
    ----------
    folder, resume, random_state
        `checkpoint`, `resume` and `random_state` of `fit_codebook`.

    Raises
    ------
    InputError
        If it is to go on from nowhere, or there is a checkpoint but no seed.

    Examples
    --------
    >>> from geoquant.fit import check_checkpoint_arguments
    >>> check_checkpoint_arguments("kept", True, 0)
    """
    if folder is None:
        if resume:
            raise InputError("resume needs a checkpoint; name the folder of the stopped fit")
        return
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise InputError(
            "random_state must be a number where there is a checkpoint, so that a fit can go on "
            f"with it, found {random_state!r}"
        )


def _kept_graph(
    kept: Checkpoint | None, make: Callable[[], tuple[Graph, int]]
) -> tuple[Graph, int]:
    """A graph and its number of components, as they were kept or made now."""
    if kept is None:
        return make()

    def as_arrays() -> dict[str, npt.NDArray[Any]]:
        graph, n_components = make()
        return {
            "indptr": graph.indptr,
            "indices": graph.indices,
            "lengths": graph.lengths,
            "recall": np.array(graph.recall),
            "n_components": np.array(n_components),
        }

    names = ("indptr", "indices", "lengths", "recall", "n_components")
    found = kept.once("graph", names, as_arrays)
    graph = Graph(found["indptr"], found["indices"], found["lengths"], float(found["recall"]))
    return graph, int(found["n_components"])


def require_fit_memory(
    n: int,
    d: int,
    n_neighbors: int,
    *,
    recall_target: float,
    max_memory: int | None,
    n_jobs: int | None,
    n_copied: int = 0,
) -> None:
    """Raise unless a fit has the memory it needs.

    Parameters
    ----------
    n, d : int
        Distinct latents, and numbers in each.
    n_neighbors, recall_target, max_memory, n_jobs
        As for `fit_codebook`.
    n_copied : int, default=0
        Latents that are still to be read, or copied.

    Raises
    ------
    ResourceError
        If it would need more than there is.
    InputError
        If an argument is out of range.

    Examples
    --------
    >>> from geoquant.fit import require_fit_memory
    >>> require_fit_memory(
    ...     10**6, 20, 10, recall_target=0.995, max_memory=2 * 10**9, n_jobs=2
    ... )
    """
    shape = shape_of_fit(
        n,
        d,
        2,  # neither the clusters nor the algorithm show in the memory
        n_neighbors=check_count(n_neighbors, "n_neighbors", 1),
        recall_target=check_share(recall_target, "recall_target"),
        algorithm="swap",
        n_jobs=n_jobs,
    )
    needed = max(bytes_by_stage(shape).values()) + 4 * n_copied * d
    cure = "lower n_neighbors, fit a sample of the latents, take a machine with more memory"
    require_memory(needed, max_memory, cure)


def connected_graph(
    latents: npt.NDArray[np.float32],
    n_neighbors: int,
    *,
    are_distinct: bool = False,
    recall_target: float = RECALL_TARGET,
    on_disconnected: str = "bridge",
    n_jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Graph, int]:
    """Nearest-neighbour graph in one component, and how many components it had.

    Parameters
    ----------
    latents, n_neighbors, recall_target, n_jobs, progress
        As for `knn_graph`.
    are_distinct : bool, default=False
        Whether no two rows are known to be equal, so that duplicates need not be looked for.
    on_disconnected : {'bridge', 'raise'}, default='bridge'
        What to do if there are several components.

    Returns
    -------
    graph : Graph
        Connected.
    n_components : int
        Before bridging.

    Raises
    ------
    InputError
        If `on_disconnected` is neither.
    NotConnectedError
        If there are several components and `on_disconnected` is 'raise'.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.fit import connected_graph
    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]], np.float32)
    >>> graph, n_components = connected_graph(x, 1)
    >>> graph.n_edges, n_components
    (3, 2)
    """
    if on_disconnected not in ("bridge", "raise"):
        raise InputError(f"on_disconnected must be 'bridge' or 'raise', found {on_disconnected!r}")
    recall_target = check_share(recall_target, "recall_target")
    make_graph = _graph_of_distinct if are_distinct else knn_graph
    graph = make_graph(
        latents, n_neighbors, recall_target=recall_target, n_jobs=n_jobs, progress=progress
    )
    if on_disconnected == "raise":
        require_connected(graph)
    n_components = int(connected_components(graph).max()) + 1
    if n_components > 1:
        graph = bridge_components(graph, latents, n_jobs=n_jobs).graph
    return graph, n_components


def _graph_of_distinct(
    nodes: npt.NDArray[np.float32],
    n_neighbors: int,
    *,
    n_jobs: int | None,
    **options: Any,
) -> Graph:
    """What `knn_graph` gives where no two rows are equal."""
    k = min(check_count(n_neighbors, "n_neighbors", 1), len(nodes) - 1)
    if k == 0:
        return Graph.from_edges(len(nodes), [], [], [])
    found = nearest_neighbors(nodes, k, n_jobs=n_jobs, **options)
    return Graph.from_neighbors(found.index, found.distance, recall=found.recall, n_jobs=n_jobs)


def _codebook(
    nodes: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float64],
    clustering: Clustering,
    n_neighbors: int,
    metadata: dict[str, Any],
) -> Codebook:
    """Codewords of the kind that the metadata names, and every node as an anchor."""
    if metadata["codewords"] == "mean":
        n_clusters = len(clustering.medoid_indices)
        vectors = cell_means(nodes, clustering.labels, n_clusters, weights)
    else:
        vectors = nodes[clustering.medoid_indices]
    return Codebook(
        vectors=vectors,
        anchors=nodes,
        anchor_distance=clustering.distance,
        anchor_code=clustering.labels,
        n_neighbors=n_neighbors,
        metadata=metadata,
    )


def _outputs_of_rows(edge_outputs: npt.ArrayLike, rows: DistinctRows) -> npt.NDArray[np.float32]:
    """Outputs as checked float32, one row of each latent."""
    outputs = check_latents(edge_outputs, name="edge_outputs")
    if len(outputs) != len(rows.node_of_row):
        raise InputError(
            f"edge_outputs must have {len(rows.node_of_row)} rows, one of each latent, found "
            f"{len(outputs)}"
        )
    if (rows.node_of_row < 0).any():
        raise InputError(
            "sample_weight must be positive where edge_outputs are given, as a row of weight 0 "
            "has no distance in their unit; leave such rows out and assign them afterwards"
        )
    return outputs


def codebook_metadata(
    *,
    codewords: str,
    n_latents: int,
    n_components: int,
    recall_target: float,
    graph_recall: float,
    inertia: float,
    inertia_history: Sequence[float],
    random_state: Any,
    options: dict[str, Any],
) -> dict[str, Any]:
    """What a codebook says of how it was made.

    Parameters
    ----------
    codewords, recall_target, random_state, options
        As for `fit_codebook`; what a file can hold of them is kept: a seed, but no generator; no
        array of nodes.
    n_latents, n_components, graph_recall : int, int, float
        Rows, components of the graph before they were bridged, and its recall.
    inertia, inertia_history : float, sequence of float
        The energy, and after each step.

    Returns
    -------
    dict

    Examples
    --------
    >>> from geoquant.fit import codebook_metadata
    >>> made = codebook_metadata(codewords="mean", n_latents=9, n_components=1, recall_target=1.0,
    ...                          graph_recall=1.0, inertia=4.0, inertia_history=[4.0],
    ...                          random_state=0, options={})
    >>> made["power"], made["random_state"]
    (2, 0)
    """
    is_seed = isinstance(random_state, int | np.integer)
    return {
        "codewords": codewords,
        "n_latents": n_latents,
        "n_components": n_components,
        "recall_target": float(recall_target),
        "geoquant_version": version("geoquant"),
        "power": POWER[codewords],
        "graph_recall": graph_recall,
        "inertia": inertia,
        "inertia_history": list(inertia_history),
        "random_state": int(random_state) if is_seed else None,
        **{name: value for name, value in options.items() if name != "init"},
    }


def _metadata_of_lengths(edge_outputs: object, n_neighbors: int) -> dict[str, Any]:
    """Where edges were measured, if not among the latents."""
    if edge_outputs is None:
        return {}
    # Such a codebook considers one anchor in assignment: its n_neighbors is not that of its graph.
    return {"edge_lengths": "outputs", "graph_neighbors": int(n_neighbors)}


def _with_init_nodes(options: dict[str, Any], rows: DistinctRows) -> dict[str, Any]:
    """Turn ``init``, if it is training rows, into the nodes that these rows are."""
    init = options.get("init", "k-means++")
    if isinstance(init, str):
        return options
    nodes = rows.node_of_row[check_nodes(init, len(rows.node_of_row), "init")]
    if (nodes < 0).any():
        raise InputError("init must hold rows of positive weight, found one of weight 0")
    return options | {"init": nodes}


def _codes_of_all_rows(
    x: npt.NDArray[np.float32],
    rows: DistinctRows,
    clustering: Clustering,
    codebook: Codebook,
    n_jobs: int | None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """From nodes to rows; a row of weight 0 is no node and is assigned like a new latent."""
    codes = clustering.labels[rows.node_of_row]
    distance = clustering.distance[rows.node_of_row]
    without_node = rows.node_of_row < 0
    if without_node.any():
        codes[without_node], distance[without_node] = assign(
            x[without_node],
            codebook.anchors,
            codebook.anchor_distance,
            codebook.anchor_code,
            n_neighbors=codebook.n_neighbors,
            n_jobs=n_jobs,
        )
    return codes, distance


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - begin
