"""Assign every node to its nearest centre, move every centre to its cell's best node, repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from geoquant import _core
from geoquant.exact_sum import exact_sum, rounded_sum
from geoquant.graph.shortest_paths import nearest_source

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.graph.csr import Graph
    from geoquant.progress import Progress


class Step(NamedTuple):
    """Centres, and how they were come by.

    Attributes
    ----------
    centres : ndarray of shape (n_clusters,), int32
        Nodes.
    energy_history : list of float
        Energy before the first round and after each, the last being that of `centres`.
    n_rounds : int
        Rounds done.
    is_converged : bool
        Whether a further round would change nothing.
    """

    centres: npt.NDArray[np.int32]
    energy_history: list[float]
    n_rounds: int
    is_converged: bool


def energy_of(
    distance: npt.NDArray[np.float64], power: int, weights: npt.NDArray[np.float64]
) -> float:
    """Weighted sum of distances to the power of `power`, rounded once.

    So neither the order of the nodes nor what they are partitioned into shows in it.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.clustering.alternate import energy_of
    >>> energy_of(np.array([0.0, 1.0, 3.0]), 2, np.ones(3))
    10.0
    """
    with np.errstate(over="ignore"):
        terms = weights * distance**power
    if not np.isfinite(terms).all():
        return float(terms.sum())
    return rounded_sum(exact_sum(terms))


def owning_themselves(
    labels: npt.NDArray[np.int32], centres: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Labels in which every centre is in its own cell, also if another is at distance zero.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.clustering.alternate import owning_themselves
    >>> owning_themselves(np.array([0, 0], np.int32), np.array([0, 1], np.int32)).tolist()
    [0, 1]
    """
    labels = labels.copy()
    labels[centres] = np.arange(len(centres), dtype=labels.dtype)
    return labels


def alternate(
    graph: Graph,
    centres: npt.NDArray[np.int32],
    *,
    power: int,
    weights: npt.NDArray[np.float64],
    max_rounds: int,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> Step:
    """Alternate assignment and centre update until the energy no longer falls.

    The update is exact: each centre becomes the member of its cell with the least weighted sum
    of ``distance ** power`` to the members (power 1: the medoid; power 2: the Fréchet mean among
    the nodes). On 10 000 latents of MNIST it stops 6 to 8 % (power 1) or 16 to 22 % (power 2)
    above what swaps reach.

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
    max_rounds : int
        Most rounds.
    n_threads : int, default=1
        Threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress("alternate", rounds done, max_rounds)``.

    Returns
    -------
    Step

    Examples
    --------
    >>> import numpy as np
    >>> import geoquant as gq
    >>> from geoquant.clustering.alternate import alternate
    >>> line = gq.Graph.from_edges(3, [0, 1], [1, 2], [1.0, 1.0])
    >>> first = np.array([0], np.int32)
    >>> alternate(line, first, power=1, weights=np.ones(3), max_rounds=9).centres.tolist()
    [1]
    """
    paths = nearest_source(graph, centres)
    history = [energy_of(paths.distance, power, weights)]
    for n_rounds in range(1, max_rounds + 1):
        labels = owning_themselves(paths.source, centres)
        moved = _core.cell_medoids(graph.arrays, weights, power, labels, centres, n_threads)
        paths = nearest_source(graph, moved)
        energy = energy_of(paths.distance, power, weights)
        is_stopped = progress is not None and progress("alternate", n_rounds, max_rounds)
        if not energy < history[-1]:
            return Step(centres, history, n_rounds, True)
        centres = moved
        history.append(energy)
        if len(centres) == 1:  # the one cell will not change, and its medoid is exact
            return Step(centres, history, n_rounds, True)
        if is_stopped:
            return Step(centres, history, n_rounds, False)
    return Step(centres, history, max_rounds, False)
