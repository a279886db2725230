"""Swap centres for other nodes until no swap helps, and shake the result to find a better one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geoquant import _core
from geoquant.clustering.alternate import Step, energy_of
from geoquant.graph.shortest_paths import (
    TwoNearestSources,
    nearest_source,
    two_nearest_sources,
)
from geoquant.progress import Progress, of_stage

if TYPE_CHECKING:
    from geoquant.graph.csr import Graph

#: What `affordable_evaluations` may spend, in node visits of the searches: so many, and so many
#: for each node. Two passes over 60 000 nodes with 64 centres; a second on two cores.
_VISITS_TO_SPEND = 2e8
_VISITS_PER_NODE_TO_SPEND = 500
#: The same for `automatic_perturbations`, and how many are too few to bother.
_VISITS_TO_PERTURB = 9e7
_LEAST_PERTURBATIONS = 4
_MOST_PERTURBATIONS = 64
_CENTRES_PER_PERTURBATION = 3
_MOST_ROUNDS_PER_PERTURBATION = 100


def swap(
    graph: Graph,
    centres: npt.NDArray[np.int32],
    *,
    power: int,
    weights: npt.NDArray[np.float64],
    generator: np.random.Generator,
    max_rounds: int,
    max_evaluations: int | None = None,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> Step:
    """Swap centres for other nodes until no single swap lowers the energy.

    The result of FasterPAM [1]_ on the full matrix of geodesic distances, without the matrix: each
    candidate is evaluated by a search that is cut off, exactly, where it cannot matter.

    Parameters
    ----------
    graph : Graph
        Connected.
    centres : ndarray of shape (n_clusters,), int32
        Distinct nodes to start from.
    power : {1, 2}
        Power of the distance in the energy.
    weights : ndarray of shape (n_nodes,), float64
        Weight of each node.
    generator : numpy.random.Generator
        For the order in which candidates are tried.
    max_rounds : int
        Most passes over all nodes.
    max_evaluations : int, optional
        Most nodes tried, one tried twice counting twice.
    n_threads : int, default=1
        Threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress("swaps", nodes in a row without a swap, n_nodes)``.

    Returns
    -------
    Step

    References
    ----------
    .. [1] E. Schubert, P. J. Rousseeuw, "Fast and eager k-medoids clustering", Information
       Systems 101, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.clustering.swap import swap
    >>> line = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 9.0, 1.0])
    >>> step = swap(line, np.array([0, 1], np.int32), power=1, weights=np.ones(4),
    ...             generator=np.random.default_rng(0), max_rounds=10)
    >>> step.energy_history[-1]
    2.0
    """
    before = energy_of(nearest_source(graph, centres).distance, power, weights)
    most = min(max_rounds * graph.n_nodes, np.iinfo(np.int64).max)
    candidates = generator.permutation(graph.n_nodes).astype(np.int32)
    swapped, energy, _, n_evaluations, is_optimum = _core.swap_centres(
        graph.arrays,
        weights,
        power,
        centres,
        candidates,
        most if max_evaluations is None else min(most, max_evaluations),
        n_threads,
        of_stage(progress, "swaps"),
    )
    n_rounds = max(1, -(-n_evaluations // graph.n_nodes))
    return Step(swapped, [before, min(before, energy)], n_rounds, is_optimum)


def affordable_evaluations(n_nodes: int, n_clusters: int) -> int:
    """How many candidates may be tried in a time that grows no faster than the nodes.

    A candidate costs a search of ``2 * n_nodes / n_clusters`` nodes.

    Examples
    --------
    >>> from geoquant.clustering.swap import affordable_evaluations
    >>> affordable_evaluations(60_000, 64), affordable_evaluations(1_000_000, 64)
    (122666, 22400)
    """
    visits = _VISITS_TO_SPEND + _VISITS_PER_NODE_TO_SPEND * n_nodes
    return int(visits * n_clusters / (2 * n_nodes))


def automatic_perturbations(n_nodes: int, n_clusters: int) -> int:
    """How many perturbations are worth their time.

    One changes the nearest centres of about 9 cells in K, and each of those nodes is tried about
    three times by a search of 2 n / K nodes. 64 of them took a second for 10 000 nodes and 64
    centres; with few centres, few perturbations are all there is to try. Very few help too little.

    Examples
    --------
    >>> from geoquant.clustering.swap import automatic_perturbations
    >>> automatic_perturbations(10_000, 64), automatic_perturbations(60_000, 64)
    (64, 0)
    """
    n_tried = 3 * n_nodes * min(1.0, 9 / n_clusters)
    affordable = _VISITS_TO_PERTURB / (n_tried * 2 * n_nodes / n_clusters)
    if affordable < _LEAST_PERTURBATIONS:
        return 0
    return int(min(_MOST_PERTURBATIONS, n_clusters, affordable))


def perturb(
    graph: Graph,
    centres: npt.NDArray[np.int32],
    *,
    power: int,
    weights: npt.NDArray[np.float64],
    generator: np.random.Generator,
    n_perturbations: int,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> Step:
    """Leave a local optimum for a better one, if one is near (iterated local search [1]_).

    Each perturbation moves a few neighbouring centres to random nodes of their cells, swaps among
    the nodes whose nearest centres this changed, and is kept only if the energy has fallen.

    Parameters
    ----------
    graph, centres, power, weights, generator, n_threads
        As for `swap`.
    n_perturbations : int
        How many to try.
    progress : callable, optional
        Called as ``progress("perturbations", done, n_perturbations)``.

    Returns
    -------
    Step
        `is_converged` is False: the centres are locally optimal only where they were changed.

    References
    ----------
    .. [1] H. R. Lourenço, O. C. Martin, T. Stützle, "Iterated local search", Handbook of
       Metaheuristics, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.clustering.swap import perturb
    >>> line = gq.Graph.from_edges(4, [0, 1, 2], [1, 2, 3], [1.0, 9.0, 1.0])
    >>> step = perturb(line, np.array([0, 2], np.int32), power=1, weights=np.ones(4),
    ...                generator=np.random.default_rng(0), n_perturbations=2)
    >>> step.energy_history[-1]
    2.0
    """
    nearest = two_nearest_sources(graph, centres)
    history = [energy_of(nearest.distance[:, 0], power, weights)]
    for done in range(1, n_perturbations + 1):
        moved = _move_neighbouring_centres(centres, nearest, generator)
        changed = _changed_nodes(centres, nearest, moved, two_nearest_sources(graph, moved))
        found, energy, *_ = _core.swap_centres(
            graph.arrays,
            weights,
            power,
            moved,
            generator.permutation(changed),
            _MOST_ROUNDS_PER_PERTURBATION * changed.size,
            n_threads,
        )
        if energy < history[-1]:
            centres, nearest = found, two_nearest_sources(graph, found)
            history.append(energy)
        if progress is not None and progress("perturbations", done, n_perturbations):
            break
    return Step(centres, history, n_perturbations, False)


def _move_neighbouring_centres(
    centres: npt.NDArray[np.int32], nearest: TwoNearestSources, generator: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Move one centre and some of those it shares most nodes with to nodes near where they were."""
    moved = centres.copy()
    first = int(generator.integers(len(centres)))
    shared = np.bincount(_cells_beside(nearest, first), minlength=len(centres)).astype(float)
    shared[first] = 0.0
    n_others = min(_CENTRES_PER_PERTURBATION - 1, int(np.count_nonzero(shared)))
    share = shared / shared.sum() if n_others else None
    for centre in (first, *generator.choice(len(centres), n_others, replace=False, p=share)):
        near = np.flatnonzero((nearest.source == centre).any(axis=1)).astype(np.int32)
        free = near[~np.isin(near, moved)]
        if free.size:
            moved[centre] = generator.choice(free)
    return moved


def _cells_beside(nearest: TwoNearestSources, centre: int) -> npt.NDArray[np.int32]:
    """The two nearest centres of every node that has `centre` among its own."""
    beside: npt.NDArray[np.int32] = nearest.source[(nearest.source == centre).any(axis=1)]
    return beside.ravel()


def _changed_nodes(
    centres: npt.NDArray[np.int32],
    before: TwoNearestSources,
    moved: npt.NDArray[np.int32],
    after: TwoNearestSources,
) -> npt.NDArray[np.int32]:
    is_changed = (before.distance != after.distance) | (
        centres[before.source] != moved[after.source]
    )
    return np.flatnonzero(is_changed.any(axis=1)).astype(np.int32)
