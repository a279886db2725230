"""From shards to a codebook and codes, in partitions: what the command line runs with an engine."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoquant.arguments import check_choice, check_count, check_share
from geoquant.clustering.kmedoids import cell_means, geodesic_kmedoids
from geoquant.clustering.seeding import as_generator
from geoquant.codebook import Codebook
from geoquant.distributed.cell_sums import parted_cell_means
from geoquant.distributed.components import bridge_parts, parted_components
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.graph import PartedGraph, gathered_graph, parted_knn_graph
from geoquant.distributed.nodes import Nodes, node_of_row, number_nodes
from geoquant.distributed.partition import partition_nodes
from geoquant.distributed.refine import PartedClustering, parted_clustering
from geoquant.distributed.search import (
    PartedState,
    Work,
    own_labels,
    parted_nearest_source,
    places_of,
)
from geoquant.errors import InputError
from geoquant.fit import POWER, codebook_metadata
from geoquant.graph.cells import sample_rows
from geoquant.graph.components import require_one_component
from geoquant.graph.knn import RECALL_TARGET
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from geoquant.clustering.result import Clustering
    from geoquant.distributed.scratch import Scratch
    from geoquant.distributed.shards import ShardSet
    from geoquant.progress import Progress

#: Up to this many nodes the graph is brought to one place and clustered there, to the same bits
#: that one machine gives: about 300 bytes a node.
GATHERED_NODES = 262_144
#: A partition has so many rows, or fewer; but there are at least so many partitions.
_MOST_ROWS_PER_PARTITION = 500_000
_LEAST_PARTITIONS = 8
#: A codebook keeps so many nodes as anchors: all, or a random sample of them.
MOST_ANCHORS = 1_000_000


@dataclass(frozen=True, eq=False)
class PartedFit:
    """A codebook, and what it was made from, with the partitions.

    Attributes
    ----------
    codebook : Codebook
        With every distinct latent as an anchor, or a sample of them.
    clustering : PartedClustering
        Centres, energies, and the state of the last search.
    nodes : Nodes
        Which rows are which nodes.
    graph : PartedGraph
        Connected.
    n_components : int
        Components of the graph before they were bridged.
    is_gathered : bool
        Whether the graph was clustered in one place.
    seconds : dict of str to float
        Wall time of each stage, in order.
    work : Work
        What the searches took.
    """

    codebook: Codebook
    clustering: PartedClustering
    nodes: Nodes
    graph: PartedGraph
    n_components: int
    is_gathered: bool
    seconds: dict[str, float]
    work: Work

    @property
    def energy(self) -> float:
        """The exact energy of the centres."""
        return self.clustering.energy


def fit_shards(
    shards: ShardSet,
    n_clusters: int,
    engine: Engine,
    scratch: Scratch,
    *,
    codewords: str = "mean",
    n_neighbors: int = 10,
    recall_target: float = RECALL_TARGET,
    on_disconnected: str = "bridge",
    n_partitions: int | None = None,
    n_jobs: int | None = None,
    random_state: Any = None,
    progress: Progress | None = None,
    **options: Any,
) -> PartedFit:
    """Quantize latents in shards.

    Parameters
    ----------
    shards : ShardSet
        The latents.
    n_clusters : int
        Number of codes, at most the number of distinct rows.
    engine : Engine
        Where the tasks run.
    scratch : Scratch
        An empty folder that all workers see.
    codewords, n_neighbors, recall_target, on_disconnected, random_state, progress
        As for `fit_codebook`.
    n_partitions : int, optional
        Into how many parts the graph is cut; by default `partitions_for` the rows. Neither the
        graph nor, where it is gathered, the result depends on it.
    n_jobs : int, optional
        Threads of each task, and of what is computed here.
    **options
        ``algorithm`` and ``max_iter`` as for `geodesic_kmedoids`; where the graph is gathered also
        ``init, n_init, n_perturbations``.

    Returns
    -------
    PartedFit

    Raises
    ------
    InputError
        If an argument or shard cannot be used.
    NotConnectedError
        If the graph is not connected and `on_disconnected` is 'raise'.

    Examples
    --------
    >>> import tempfile
    >>> from geoquant.distributed.engine import LocalEngine
    >>> from geoquant.distributed.fit import fit_shards
    >>> from geoquant.distributed.scratch import Scratch
    >>> from geoquant.distributed.shards import shards_of_array
    >>> shards = shards_of_array([[0.0], [1.0], [8.0], [9.0]], 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fitted = fit_shards(shards, 2, LocalEngine(), Scratch(folder), random_state=0)
    >>> sorted(fitted.codebook.vectors.ravel().tolist())
    [0.5, 8.5]
    """
    check_choice(codewords, "codewords", tuple(POWER))
    k = check_count(n_neighbors, "n_neighbors", 1)
    seconds, work = dict[str, float](), Work()
    graph, n_components = parted_graph_of_shards(
        shards,
        n_clusters,
        engine,
        scratch,
        n_neighbors=k,
        recall_target=recall_target,
        on_disconnected=on_disconnected,
        n_partitions=partitions_for(shards.n_rows) if n_partitions is None else n_partitions,
        n_jobs=n_jobs,
        seconds=seconds,
    )
    is_gathered = graph.partition.nodes.n_nodes <= GATHERED_NODES
    cluster = _clustered_here if is_gathered else _clustered_in_parts
    common = {"n_jobs": n_jobs, "random_state": random_state, "progress": progress}
    with _timed(seconds, "clustering"):
        clustering = cluster(
            graph, n_clusters, engine, work, power=POWER[codewords], **common, **options
        )
    with _timed(seconds, "codebook"):
        metadata = codebook_metadata(
            codewords=codewords,
            n_latents=shards.n_rows,
            n_components=n_components,
            recall_target=recall_target,
            graph_recall=graph.partition.recall,
            inertia=clustering.energy,
            inertia_history=clustering.energy_history,
            random_state=random_state,
            options=options,
        )
        codebook = _codebook(clustering, engine, is_gathered, k, metadata)
    nodes = graph.partition.nodes
    return PartedFit(codebook, clustering, nodes, graph, n_components, is_gathered, seconds, work)


def partitions_for(n_rows: int) -> int:
    """Into how many parts a graph is cut unless one says so.

    Parameters
    ----------
    n_rows : int
        Latents.

    Returns
    -------
    int

    Examples
    --------
    >>> from geoquant.distributed.fit import partitions_for
    >>> partitions_for(60_000), partitions_for(5_000_000)
    (8, 10)
    """
    return max(_LEAST_PARTITIONS, -(-n_rows // _MOST_ROWS_PER_PARTITION))


def parted_graph_of_shards(
    shards: ShardSet,
    n_clusters: int,
    engine: Engine,
    scratch: Scratch,
    *,
    n_neighbors: int,
    recall_target: float,
    on_disconnected: str,
    n_partitions: int,
    n_jobs: int | None,
    seconds: dict[str, float],
) -> tuple[PartedGraph, int]:
    """Make the connected graph of the distinct rows of shards.

    Parameters
    ----------
    shards, n_clusters, engine, scratch, n_neighbors, recall_target, on_disconnected, \
n_partitions, n_jobs
        As for `fit_shards`.
    seconds : dict of str to float
        Gets the wall time of each stage.

    Returns
    -------
    graph : PartedGraph
        Connected.
    n_components : int
        Before bridging.
    """
    check_choice(on_disconnected, "on_disconnected", ("bridge", "raise"))
    target = check_share(recall_target, "recall_target")
    check_count(n_partitions, "n_partitions", 1)
    threads = n_threads(n_jobs)
    with _timed(seconds, "nodes"):
        nodes = number_nodes(shards, scratch, engine, n_ranges=n_partitions)
        check_count(n_clusters, "n_clusters", 1, nodes.n_nodes)
        if nodes.n_nodes < 2:
            raise InputError("shards must hold at least 2 distinct rows, found 1")
    k = min(n_neighbors, nodes.n_nodes - 1)
    with _timed(seconds, "partitions"):
        partition = partition_nodes(
            nodes, k, n_partitions, engine, recall_target=target, n_threads=threads
        )
    with _timed(seconds, "graph"):
        graph = parted_knn_graph(partition, k, engine, n_threads=threads)
        components = parted_components(graph, engine)
        if on_disconnected == "raise":
            require_one_component(components.sizes)
        bridged = bridge_parts(graph, engine, components=components)
    return bridged.graph, bridged.n_components


def _clustered_here(
    graph: PartedGraph,
    n_clusters: int,
    engine: Engine,
    work: Work,
    *,
    power: int,
    **options: Any,
) -> PartedClustering:
    """What one machine finds on the whole graph, and the search from its centres."""
    weight = np.empty(graph.partition.nodes.n_nodes)
    for p in range(graph.n_partitions):
        weight[graph.scratch.load(f"part{p}-node")] = graph.scratch.load(f"part{p}-weight")
    found: Clustering = geodesic_kmedoids(
        gathered_graph(graph), n_clusters, power=power, sample_weight=weight, **options
    )
    state = parted_nearest_source(graph, found.medoid_indices, engine, name="centres", work=work)
    return PartedClustering(
        found.medoid_indices,
        state,
        found.inertia,
        found.inertia_history,
        found.n_iter,
        found.is_converged,
    )


def _clustered_in_parts(
    graph: PartedGraph,
    n_clusters: int,
    engine: Engine,
    work: Work,
    *,
    power: int,
    n_jobs: int | None,
    random_state: Any,
    progress: Progress | None,
    algorithm: str = "auto",
    max_iter: int = 100,
    **options: Any,
) -> PartedClustering:
    check_choice(algorithm, "algorithm", ("auto", "swap"))
    check_count(max_iter, "max_iter", 1)
    if options:
        raise InputError(
            f"{', '.join(sorted(options))} must be left out for more than {GATHERED_NODES} "
            "distinct rows: their graph stays in partitions; fit a sample instead"
        )
    return parted_clustering(
        graph,
        n_clusters,
        engine,
        power=power,
        generator=as_generator(random_state),
        max_rounds=max_iter,
        max_evaluations=None if algorithm == "auto" else np.iinfo(np.int64).max,
        work=work,
        n_threads=n_threads(n_jobs),
        progress=progress,
    )


def _codebook(
    clustering: PartedClustering,
    engine: Engine,
    is_gathered: bool,
    n_neighbors: int,
    metadata: dict[str, Any],
) -> Codebook:
    """Codewords of the kind that the metadata names; all nodes as anchors, or a sample."""
    state, centres = clustering.state, clustering.centres
    nodes = state.graph.partition.nodes
    anchors = np.arange(nodes.n_nodes)
    if nodes.n_nodes > max(MOST_ANCHORS, GATHERED_NODES):
        drawn = sample_rows(nodes.n_nodes, MOST_ANCHORS)
        anchors = np.union1d(drawn, centres)
    points = np.empty((len(anchors), nodes.width), np.float32)
    distance, code = np.empty(len(anchors)), np.empty(len(anchors), np.int32)
    weight = np.empty(len(anchors))
    for p in range(state.graph.n_partitions):
        place = places_of(state.graph, p, anchors)
        here, place = place >= 0, place[place >= 0]
        points[here] = state.graph.scratch.load(f"part{p}-point")[place]
        weight[here] = state.graph.scratch.load(f"part{p}-weight")[place]
        distance[here] = state.load(p, "distance")[place]
        code[here] = own_labels(state, p, centres)[place]
    if metadata["codewords"] == "medoid":
        vectors = points[np.searchsorted(anchors, centres)]
    elif is_gathered:
        vectors = cell_means(points, code, len(centres), weight)
    else:
        vectors = parted_cell_means(state, centres, engine)
    return Codebook(
        vectors=vectors,
        anchors=points,
        anchor_distance=distance,
        anchor_code=code,
        n_neighbors=n_neighbors,
        metadata=metadata,
    )


def write_codes(fitted: PartedFit, engine: Engine) -> list[tuple[str, str]]:
    """Write the code and the distance of every row, shard by shard.

    Parameters
    ----------
    fitted : PartedFit
        The fit; its scratch folder is still there.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    list of tuple of str
        For each shard the paths of its codes (int32) and distances (float64), in ``.npy`` files
        of the scratch folder.
    """
    state, centres = fitted.clustering.state, fitted.clustering.centres
    parts = range(fitted.graph.n_partitions)
    map_tasks(engine, code_partition, [(state, p, centres) for p in parts])
    shards = range(fitted.nodes.n_shards)
    map_tasks(engine, code_shard, [(fitted.nodes, state, i) for i in shards])
    path = fitted.nodes.scratch.path
    return [(path(f"codes{i}"), path(f"distances{i}")) for i in shards]


def code_partition(state: PartedState, p: int, centres: npt.NDArray[np.int32]) -> None:
    """Write the code of each node of a partition, by ascending node (a task)."""
    place = state.graph.scratch.load(f"part{p}-place")
    state.graph.scratch.save(f"part{p}-code", own_labels(state, p, centres)[place])
    state.graph.scratch.save(f"part{p}-distance", state.load(p, "distance")[place])


def code_shard(nodes: Nodes, state: PartedState, i: int) -> None:
    """Write code and distance of each row of a shard (a task)."""
    wanted = node_of_row(nodes, i)
    code, distance = np.empty(len(wanted), np.int32), np.empty(len(wanted))
    for p in range(state.graph.n_partitions):
        node = nodes.scratch.load(f"part{p}-ascending")
        at = np.minimum(np.searchsorted(node, wanted), len(node) - 1)
        here = node[at] == wanted
        code[here] = nodes.scratch.load(f"part{p}-code")[at[here]]
        distance[here] = nodes.scratch.load(f"part{p}-distance")[at[here]]
    nodes.scratch.save(f"codes{i}", code)
    nodes.scratch.save(f"distances{i}", distance)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - begin
