"""Geodesic k-medoids and k-means on a graph: seeds, then swaps or alternation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_count
from geoquant.clustering.alternate import Step, alternate, energy_of, owning_themselves
from geoquant.clustering.multilevel import (
    coarse_centres,
    n_coarse_nodes,
    near_swaps,
    sampled_swaps,
)
from geoquant.clustering.result import Clustering
from geoquant.clustering.seeding import as_generator, seed_centres
from geoquant.clustering.swap import (
    affordable_evaluations,
    automatic_perturbations,
    perturb,
    swap,
)
from geoquant.default_floats import default_floats
from geoquant.errors import InputError, memory_errors_typed
from geoquant.graph.components import require_connected
from geoquant.graph.shortest_paths import nearest_source
from geoquant.latents import check_latents, check_sample_weight
from geoquant.progress import Progress, n_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoquant.checkpoint import Checkpoint
    from geoquant.graph.csr import Graph

ALGORITHMS = ("auto", "swap", "alternate")


@memory_errors_typed()
def geodesic_kmedoids(
    graph: Graph,
    n_clusters: int = 8,
    *,
    power: int = 1,
    sample_weight: npt.ArrayLike | None = None,
    init: str | npt.ArrayLike = "k-means++",
    n_init: int = 1,
    algorithm: str = "auto",
    max_iter: int = 100,
    n_perturbations: int | str = "auto",
    n_jobs: int | None = None,
    random_state: Any = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Clustering:
    """Choose the nodes that minimise the summed geodesic distance to the nearest of them.

    The energy is ``sum(weight * distance_to_nearest_centre ** power)``: power 1 is k-medoids,
    power 2 the k-means energy with centres restricted to nodes. Nothing of the size nodes × nodes
    is ever held; memory is linear in the edges.

    Parameters
    ----------
    graph : Graph
        Connected; see `bridge_components`.
    n_clusters : int, default=8
        Number of centres, at most the number of nodes.
    power : {1, 2}, default=1
        Power of the distance.
    sample_weight : array-like of shape (n_nodes,), optional
        Weight of each node, not negative. Default: 1.
    init : {'k-means++', 'random'} or array-like of shape (n_clusters,), default='k-means++'
        Where to start; nodes, if an array.
    n_init : int, default=1
        How many times to start anew; the best result is kept.
    algorithm : {'auto', 'swap', 'alternate'}, default='auto'
        'swap': to an optimum that no single swap improves, the quality of FasterPAM on the full
        distance matrix; up to ``2 * n_nodes**2 / n_clusters`` steps a pass, in several passes.
        'auto': the same as far as a time allows that grows no faster than the graph; then the
        nodes near the centres and random ones, and `is_converged` is False. 'alternate':
        assignment and update in turn, 6 to 8 % (power 1) or 16 to 22 % (power 2) worse on 10 000
        latents of MNIST.
    max_iter : int, default=100
        Most rounds: passes over all candidates, or assignments and updates.
    n_perturbations : int or 'auto', default='auto'
        Not for 'alternate': how often to shake the optimum for a better one near it. 'auto' spends
        about as much as the swaps: up to 64 for small graphs, none for large ones.
    n_jobs : int, optional
        Threads, all by default; the result does not depend on it.
    random_state : int, Generator, RandomState or None
        Seed.
    progress : callable, optional
        Called as ``progress(stage, done, total)``; may raise to stop.
    checkpoint : Checkpoint, optional
        Keeps seeds and swaps as they are found; needs a seed that is a number.

    Returns
    -------
    Clustering

    Raises
    ------
    InputError
        If an argument is out of range.
    NotConnectedError
        If the graph has several components.

    See Also
    --------
    geodesic_kmeans : The same with power 2, and the means of the cells.

    Notes
    -----
    Swaps start from k-means++ seeds; on graphs of more than 36 864 nodes, from a local optimum of a
    small graph, see `coarse_centres`, unless `init` says otherwise.

    Examples
    --------
    >>> import geoquant as gq
    >>> line = gq.Graph.from_edges(6, range(5), range(1, 6), [1.0, 1.0, 9.0, 1.0, 1.0])
    >>> result = gq.geodesic_kmedoids(line, n_clusters=2, random_state=0)
    >>> sorted(result.medoid_indices.tolist()), result.inertia
    ([1, 4], 4.0)
    """
    _check_arguments(graph, n_clusters, power, n_init, algorithm, max_iter, n_perturbations)
    # NumPy's small integers overflow where they are multiplied.
    n_clusters, max_iter = int(n_clusters), int(max_iter)
    require_connected(graph)
    weights = check_sample_weight(sample_weight, graph.n_nodes)
    generator = as_generator(random_state)
    if n_perturbations == "auto":
        n_perturbations = automatic_perturbations(graph.n_nodes, n_clusters)
    options: dict[str, Any] = {
        "power": power,
        "weights": weights,
        "n_threads": n_threads(n_jobs),
        "progress": progress,
    }

    def run_once(run: int) -> Step:
        kept = _Keeper(checkpoint, f"run{run}-", generator)
        if algorithm == "alternate" or n_clusters == 1:
            seeds = _start(graph, n_clusters, init, 0, generator, options)
            return kept.step(
                "rounds", lambda: alternate(graph, seeds, max_rounds=max_iter, **options)
            )
        n_coarse = n_coarse_nodes(graph.n_nodes, n_clusters)
        seeds = kept.step(
            "seeds",
            lambda: Step(
                _start(graph, n_clusters, init, n_coarse, generator, options), [], 0, False
            ),
        ).centres
        max_evaluations = max_iter * graph.n_nodes
        if algorithm == "auto":
            most = affordable_evaluations(graph.n_nodes, n_clusters)
            max_evaluations = min(max_evaluations, most)
        return _swap_and_perturb(
            graph, seeds, kept, max_iter, max_evaluations, int(n_perturbations), options
        )

    best = min((run_once(run) for run in range(n_init)), key=lambda step: step.energy_history[-1])
    return _clustering(graph, best, power, weights)


def geodesic_kmeans(
    graph: Graph,
    latents: npt.ArrayLike,
    n_clusters: int = 8,
    *,
    sample_weight: npt.ArrayLike | None = None,
    **options: Any,
) -> Clustering:
    """Geodesic k-medoids with power 2, and the mean latent of every cell.

    Cells are those of the nodes that minimise the summed squared geodesic distance; their
    codewords are the weighted means of their latents.

    Parameters
    ----------
    graph : Graph
        Connected.
    latents : array-like of shape (n_nodes, d)
        The latent of each node.
    n_clusters : int, default=8
        Number of cells.
    sample_weight : array-like of shape (n_nodes,), optional
        Weight of each node.
    **options
        As for `geodesic_kmedoids`, but for `power`.

    Returns
    -------
    Clustering
        With `centers`, the cells' means, shape (n_clusters, d), float32.

    Raises
    ------
    InputError
        If an argument is out of range or `latents` does not fit the graph.

    Examples
    --------
    >>> import geoquant as gq
    >>> x = [[0.0], [1.0], [5.0], [6.0]]
    >>> graph = gq.knn_graph(x, n_neighbors=2)
    >>> sorted(gq.geodesic_kmeans(graph, x, n_clusters=2, random_state=0).centers.ravel().tolist())
    [0.5, 5.5]
    """
    x = check_latents(latents)
    if len(x) != graph.n_nodes:
        raise InputError(f"latents must have {graph.n_nodes} rows, one per node, found {len(x)}")
    if "power" in options:
        raise InputError("power is 2 for geodesic_kmeans; geodesic_kmedoids takes a power")
    weights = check_sample_weight(sample_weight, graph.n_nodes)
    result = geodesic_kmedoids(graph, n_clusters, power=2, sample_weight=weights, **options)
    means = cell_means(x, result.labels, n_clusters, weights)
    return replace(result, centers=means)


def cell_means(
    latents: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    n_clusters: int,
    weights: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Weighted mean latent of each cell; the plain mean where a cell weighs nothing.

    Parameters
    ----------
    latents : ndarray of shape (n, d), float32
        Latents.
    labels : ndarray of shape (n,), int32
        Cell of each, in ``[0, n_clusters)``, no cell empty.
    n_clusters : int
        Number of cells.
    weights : ndarray of shape (n,), float64
        Weight of each.

    Returns
    -------
    ndarray of shape (n_clusters, d), float32
        Summed in float64, in the order of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.clustering.kmedoids import cell_means
    >>> x = np.array([[0.0], [3.0], [9.0]], np.float32)
    >>> cell_means(x, np.array([0, 0, 1]), 2, np.array([2.0, 1.0, 1.0])).tolist()
    [[1.0], [9.0]]
    """
    weighs_nothing = np.bincount(labels, weights=weights, minlength=n_clusters) == 0
    weights = np.where(weighs_nothing[labels], 1.0, weights)
    total = np.bincount(labels, weights=weights, minlength=n_clusters)
    with default_floats():
        sums = [np.bincount(labels, weights=weights * x, minlength=n_clusters) for x in latents.T]
        return (np.stack(sums, axis=1) / total[:, None]).astype(np.float32)


def _start(
    graph: Graph,
    n_clusters: int,
    init: str | npt.ArrayLike,
    n_coarse: int,
    generator: np.random.Generator,
    options: dict[str, Any],
) -> npt.NDArray[np.int32]:
    """Centres to start from: seeds, or what they lead to on a graph of `n_coarse` cells."""
    if isinstance(init, str) and init == "k-means++" and n_coarse > 0:
        return coarse_centres(graph, n_clusters, n_coarse=n_coarse, generator=generator, **options)
    return seed_centres(
        graph,
        n_clusters,
        power=options["power"],
        init=init,
        weights=options["weights"],
        generator=generator,
        progress=options["progress"],
    )


class _Keeper(NamedTuple):
    """Keeps the steps of one run, if there is where to."""

    checkpoint: Checkpoint | None
    prefix: str
    generator: np.random.Generator

    def step(self, name: str, make: Callable[[], Step]) -> Step:
        if self.checkpoint is None:
            return make()
        return self.checkpoint.step(self.prefix + name, self.generator, make)


def _swap_and_perturb(
    graph: Graph,
    seeds: npt.NDArray[np.int32],
    kept: _Keeper,
    max_iter: int,
    max_evaluations: int,
    n_perturbations: int,
    options: dict[str, Any],
) -> Step:
    """Swap to a local optimum; perturb it; if that helped, swap to a local optimum again."""
    options = options | {"generator": kept.generator}
    limits: dict[str, Any] = {"max_rounds": max_iter, "max_evaluations": max_evaluations}
    if max_evaluations < graph.n_nodes:
        first = kept.step(
            "swaps",
            lambda: sampled_swaps(graph, seeds, max_evaluations=max_evaluations, **options),
        )
    else:
        first = kept.step("swaps", lambda: _swap_from_near(graph, seeds, limits, options))
    left = max_iter - first.n_rounds
    if n_perturbations == 0 or left < 1 or graph.n_nodes == len(seeds):
        return first
    shaken = kept.step(
        "perturbations",
        lambda: perturb(graph, first.centres, n_perturbations=n_perturbations, **options),
    )
    if len(shaken.energy_history) == 1:
        return first
    last = kept.step(
        "last-swaps",
        lambda: swap(graph, shaken.centres, **limits | {"max_rounds": left}, **options),
    )
    history = first.energy_history + shaken.energy_history[1:] + last.energy_history[1:]
    return Step(last.centres, history, first.n_rounds + last.n_rounds, last.is_converged)


def _swap_from_near(
    graph: Graph,
    seeds: npt.NDArray[np.int32],
    limits: dict[str, Any],
    options: dict[str, Any],
) -> Step:
    """Swap all nodes; where that is a long way, those near the centres first."""
    if not n_coarse_nodes(graph.n_nodes, len(seeds)):
        return swap(graph, seeds, **limits, **options)
    near = near_swaps(graph, seeds, **{k: v for k, v in options.items() if k != "progress"})
    step = swap(graph, near.centres, **limits, **options)
    return step._replace(energy_history=near.energy_history + step.energy_history[1:])


def _clustering(
    graph: Graph, step: Step, power: int, weights: npt.NDArray[np.float64]
) -> Clustering:
    paths = nearest_source(graph, step.centres)
    return Clustering(
        labels=owning_themselves(paths.source, step.centres),
        medoid_indices=step.centres,
        distance=paths.distance,
        inertia=energy_of(paths.distance, power, weights),
        inertia_history=tuple(step.energy_history),
        n_iter=step.n_rounds,
        is_converged=step.is_converged,
    )


def _check_arguments(
    graph: Graph,
    n_clusters: int,
    power: int,
    n_init: int,
    algorithm: str,
    max_iter: int,
    n_perturbations: int | str,
) -> None:
    check_count(n_clusters, "n_clusters", 1)
    if n_clusters > graph.n_nodes:
        raise InputError(
            f"n_clusters must be at most the number of nodes, {graph.n_nodes}, found {n_clusters}"
        )
    if isinstance(power, bool) or not isinstance(power, int | np.integer) or power not in (1, 2):
        raise InputError(f"power must be 1 or 2, found {power!r}")
    check_count(n_init, "n_init", 1)
    check_count(max_iter, "max_iter", 1)
    if n_perturbations != "auto":
        check_count(n_perturbations, "n_perturbations", 0)
    if algorithm not in ALGORITHMS:
        raise InputError(f"algorithm must be 'auto', 'swap' or 'alternate', found {algorithm!r}")
