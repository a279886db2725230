"""From a graph in partitions to centres: a coarse start, then swaps in all partitions at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.clustering.multilevel import centres_among_cells, n_coarse_nodes
from geoquant.distributed.contraction import contract
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.local_swaps import (
    Proposal,
    Round,
    note_changes,
    propose_swaps,
    tried_names,
)
from geoquant.distributed.search import (
    PartedState,
    Work,
    energy_of_state,
    parted_nearest_source,
)

if TYPE_CHECKING:
    from geoquant.distributed.graph import PartedGraph
    from geoquant.progress import Progress

#: A round that lowers the energy by less than this share is the last; where a round has few
#: candidates, more do not repay their time, nor are there more rounds than these.
_LEAST_GAIN = 1e-4
_LEAST_GAIN_OF_FEW = 5e-4
MOST_ROUNDS_OF_FEW = 8
#: The graph on which centres are found first has so many times fewer nodes, and at most so many:
#: the larger it is, the less is left to the rounds of swaps.
_COARSE_REDUCTION = 8
_MOST_COARSE_NODES = 262_144


@dataclass(frozen=True, eq=False)
class PartedClustering:
    """Centres, and the cell of every node with the partitions.

    Attributes
    ----------
    centres : ndarray of shape (n_clusters,), int32
        Nodes, as one machine numbers them.
    state : PartedState
        Of the search from the centres.
    energy : float
        Exact, of the centres.
    energy_history : tuple of float
        Of the start, and after each step that was kept.
    n_rounds : int
        Rounds of swaps.
    is_converged : bool
        Whether no partition found a swap that lowers the energy by much any more.
    """

    centres: npt.NDArray[np.int32]
    state: PartedState
    energy: float
    energy_history: tuple[float, ...]
    n_rounds: int
    is_converged: bool


class _Trials:
    """Searches from centres, each under a name that no state in use has."""

    def __init__(self, graph: PartedGraph, power: int, engine: Engine, work: Work) -> None:
        self._graph, self._power, self._engine, self._work = graph, power, engine, work
        self._n_made = 0

    def __call__(self, centres: npt.NDArray[np.int32]) -> tuple[PartedState, float]:
        """The state of a search and its energy."""
        self._n_made += 1
        name = f"centres{self._n_made}"
        state = parted_nearest_source(
            self._graph, centres, self._engine, name=name, work=self._work
        )
        return state, energy_of_state(state, self._power, self._engine)


def parted_clustering(
    graph: PartedGraph,
    n_clusters: int,
    engine: Engine,
    *,
    power: int,
    generator: np.random.Generator,
    max_rounds: int = 10,
    max_evaluations: int | None = None,
    work: Work | None = None,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> PartedClustering:
    """Find centres of low energy: on a coarse graph, then by swaps in every partition.

    Parameters
    ----------
    graph : PartedGraph
        Connected.
    n_clusters : int
        How many, at most the number of nodes.
    engine : Engine
        Where the tasks run.
    power : {1, 2}
        Power of the distance in the energy.
    generator : numpy.random.Generator
        Advanced.
    max_rounds : int, default=10
        Most rounds of swaps; 8 at most without `max_evaluations`.
    max_evaluations : int, optional
        Candidates that a partition tries in a round; by default what a time allows that grows no
        faster than its nodes.
    work : Work, optional
        Added to.
    n_threads : int, default=1
        Threads of what is computed here.
    progress : callable, optional
        Called as ``progress("swaps", rounds done, max_rounds)``.

    Returns
    -------
    PartedClustering

    Notes
    -----
    The energies are exact, and no round is kept that raises them. Partitions swap at once, each as
    if the centres of the others stayed where they are; if they spoil one another's gains, their
    proposals are tried one by one.
    """
    work = Work() if work is None else work
    measured = _Trials(graph, power, engine, work)
    centres = coarse_start(
        graph, n_clusters, engine, power=power, generator=generator, work=work, n_threads=n_threads
    )
    state, energy = measured(centres)
    history, is_converged, n_rounds = [energy], False, 0
    is_changed = np.ones(n_clusters, np.bool_)
    parts = range(graph.n_partitions)
    least_gain = _LEAST_GAIN
    if max_evaluations is None:
        least_gain, max_rounds = _LEAST_GAIN_OF_FEW, min(max_rounds, MOST_ROUNDS_OF_FEW)
    while n_rounds < max_rounds and not is_converged:
        seed = int(generator.integers(1 << 32))
        asked = Round(centres, is_changed, n_rounds, power, seed, max_evaluations)
        proposals = map_tasks(engine, propose_swaps, [(state, p, asked) for p in parts])
        moved, after, lower = _kept(centres, state, energy, proposals, measured)
        is_converged = not lower < energy * (1 - least_gain)
        if lower < energy:
            history.append(lower)
        is_changed = _changed_cells(state, after, n_rounds, n_clusters, engine)
        _forget(state, after)
        n_rounds += 1
        centres, state, energy = moved, after, lower
        if progress is not None:
            progress("swaps", n_rounds, max_rounds)
    return PartedClustering(centres, state, energy, tuple(history), n_rounds, is_converged)


def _changed_cells(
    before: PartedState, after: PartedState, number: int, n_cells: int, engine: Engine
) -> npt.NDArray[np.bool_]:
    """Which cells a round changed; the partitions note which nodes it did."""
    parts = range(before.graph.n_partitions)
    tasks = [(before, after, p, number, n_cells) for p in parts]
    is_changed: npt.NDArray[np.bool_] = np.logical_or.reduce(map_tasks(engine, note_changes, tasks))
    for p in parts:
        for name in tried_names(p, number):
            before.graph.scratch.remove(name)
    return is_changed


def coarse_start(
    graph: PartedGraph,
    n_clusters: int,
    engine: Engine,
    *,
    power: int,
    generator: np.random.Generator,
    work: Work | None = None,
    n_threads: int = 1,
) -> npt.NDArray[np.int32]:
    """Find centres on the graph of the cells of random nodes, as `coarse_centres` does.

    Parameters
    ----------
    graph, n_clusters, engine, power, generator, work, n_threads
        As for `parted_clustering`.

    Returns
    -------
    ndarray of shape (n_clusters,), int32
        Distinct nodes.
    """
    n_nodes = graph.partition.nodes.n_nodes
    wanted = max(n_coarse_nodes(n_nodes, n_clusters) or n_nodes, n_nodes // _COARSE_REDUCTION)
    n_coarse = max(n_clusters, min(wanted, _MOST_COARSE_NODES))
    sources = generator.permutation(n_nodes)[:n_coarse].astype(np.int32)
    state = parted_nearest_source(graph, sources, engine, name="coarse", work=work)
    coarse = contract(state, n_coarse, engine)
    state.remove()
    options: dict[str, Any] = {"power": power, "generator": generator, "n_threads": n_threads}
    return sources[centres_among_cells(coarse.graph.arrays, coarse.weight, n_clusters, **options)]


def _kept(
    centres: npt.NDArray[np.int32],
    state: PartedState,
    energy: float,
    proposals: list[Proposal],
    measured: _Trials,
) -> tuple[npt.NDArray[np.int32], PartedState, float]:
    """The centres after the proposals that lower the energy, all together or one by one."""
    proposals = sorted((p for p in proposals if p.position.size), key=lambda p: -p.gain)
    if not proposals:
        return centres, state, energy
    together = centres.copy()
    for proposal in proposals:
        together[proposal.position] = proposal.node
    after, lower = measured(together)
    if lower < energy:
        return together, after, lower
    after.remove()
    if len(proposals) == 1:
        return centres, state, energy
    best, kept = centres, state
    for proposal in proposals:
        trial = best.copy()
        trial[proposal.position] = proposal.node
        after, lower = measured(trial)
        if lower < energy:
            _forget(kept, after, but=state)
            best, kept, energy = trial, after, lower
        else:
            after.remove()
    return best, kept, energy


def _forget(before: PartedState, after: PartedState, but: PartedState | None = None) -> None:
    if before is not after and before is not but:
        before.remove()
