"""What a fit does, stage by stage, in counts of the steps that its kernels repeat.

Searches count pairs of points and coordinates, clustering counts the nodes that its searches visit;
`geoquant.cost` turns counts into seconds. What several threads share is divided among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from geoquant.clustering.multilevel import (
    DRAWN_PER_CENTRE,
    MOST_FRUITLESS_DRAWS,
    n_coarse_nodes,
)
from geoquant.clustering.swap import affordable_evaluations, automatic_perturbations
from geoquant.graph.knn import n_cells_for

# What is tried how often until nothing improves, set by hand from fits of 2000 to 300 000 latents;
# and what a visit takes there, over what it takes in a pass from centres that are good already.
_PASSES_FROM_SEEDS = 2.1
_MORE_PASSES = 0.2  # times K² / n, for many centres with few nodes each
_VISIT_FROM_SEEDS = 1.3
_VISIT_ON_CELLS = 1.9  # their graph has more edges a node
_PASSES = 2.0
#: Nodes near the centres: three rounds of 16 a centre, whose searches reach far.
_TRIED_NEAR_CENTRE = 48
_VISIT_NEAR = 2.5
#: What the lists of cells near points cost, in pairs compared for each point and cell.
_LEAST_FOR_LISTS, _MOST_FOR_LISTS = 2.0, 10.0
#: What is done beside the multiply-adds for each pair compared is worth so many of them.
_COORDINATES_PER_PAIR = 16
#: A perturbation: so many evaluations for each node of so many cells.
_TRIED_PER_CHANGED = 1.3
_CELLS_PER_PERTURBATION = 9
#: None if no perturbation helped, otherwise one to two.
_PASSES_AFTER_PERTURBATIONS = {"least": 0.0, "likely": 1.3, "most": 2.0}
#: Of the nodes near the centres, after each draw.
_NEAR_AFTER_DRAW = 0.6
#: Smaller graphs are searched by one thread.
_LEAST_NODES_FOR_THREADS = 2048
#: Visits take longer where the graph does not fit the cache: so much more for each doubling beyond
#: so many nodes.
_MORE_PER_DOUBLING = 0.25
_NODES_IN_CACHE = 60_000
#: Every node of the graph, as often as a search from all centres visits it.
_NODES_OF_PERTURBATION = 2
_NODES_OF_CELLS = 10


@dataclass(frozen=True)
class FitShape:
    """What the cost of a fit depends on.

    Parameters
    ----------
    n, d : int
        Latents, and numbers in each.
    n_clusters, n_neighbors : int
        As for `fit_codebook`.
    algorithm : str
        As for `geodesic_kmedoids`.
    is_exact : bool
        Whether neighbours are searched exactly; see `geoquant.cost.search_is_exact`.
    n_threads : int
        Threads.
    entries_per_neighbor : float
        Directed edges of the graph over ``n * n_neighbors``: from 1, all neighbours mutual, to 2.
    compared : float
        Points that each point is compared with where the search is not exact, if there are so
        many.
    perturbs : bool
        Whether an optimum is perturbed as `geodesic_kmedoids` does by default.
    """

    n: int
    d: int
    n_clusters: int
    n_neighbors: int
    algorithm: str
    is_exact: bool
    n_threads: int
    entries_per_neighbor: float = 1.4
    compared: float = 40_000.0
    perturbs: bool = True

    @property
    def n_entries(self) -> int:
        """Directed edges of the graph, about."""
        most = self.n * (self.n - 1)
        return min(most, int(self.entries_per_neighbor * self.n * self.n_neighbors))

    @property
    def n_compared(self) -> float:
        """Points that each point is compared with; all, if near cells hold half of them."""
        is_join_of_all = self.is_exact or self.compared > self.n / 2
        return float(self.n) if is_join_of_all else self.compared


def work_by_stage(shape: FitShape, tries: str = "likely") -> dict[str, dict[str, float]]:
    """Steps of each stage, by kind.

    Parameters
    ----------
    shape : FitShape
        The fit.
    tries : {'least', 'likely', 'most'}, default='likely'
        How much of what depends on luck is taken to be done: the passes after perturbations, if one
        helped; the draws of random nodes, of which three that no swap comes of are the last.

    Examples
    --------
    >>> from geoquant.work import FitShape, work_by_stage
    >>> work_by_stage(FitShape(1000, 2, 8, 10, "swap", True, 1))["codebook"]
    {'coordinates': 2000, 'nodes': 1000}
    """
    n, d = shape.n, shape.d
    is_alternation = shape.algorithm == "alternate"
    return {
        "rows": {"coordinates": n * d, "comparisons": n * math.log2(n + 1)},
        "neighbours": _search(shape),
        "graph": {
            "entries": shape.n_entries,
            "comparisons": shape.n_entries * math.log2(n + 1),
        },
        "clustering": _alternation(shape) if is_alternation else _swaps(shape, tries),
        "codebook": {"coordinates": n * d, "nodes": n},
    }


def _search(shape: FitShape) -> dict[str, float]:
    n, d, threads = shape.n, shape.d, shape.n_threads
    n_cells = n_cells_for(shape.n, exact=shape.is_exact)
    joined = n * shape.n_compared / 2 / threads
    if not shape.is_exact:
        joined += _cell_choice(shape, n_cells) / threads
    return {
        "pairs": joined * (d + _COORDINATES_PER_PAIR),
        "points": n * (1 + shape.n_neighbors / 10) * (1 + d / 100) / threads,
    }


def _cell_choice(shape: FitShape, n_cells: int) -> float:
    """What finding the near cells costs, in pairs compared.

    Three rounds of k-means with 16 points a cell; the recall of 2000 points; and the cells near
    some points: the more of those there are, the more points are asked, for longer lists.
    """
    near = shape.n_compared / shape.n * n_cells
    lists = min(_MOST_FOR_LISTS, _LEAST_FOR_LISTS + max(0.0, near - 100) / 20)
    return 48.0 * n_cells**2 + 2000 * shape.n + lists * shape.n * n_cells


def _swaps(shape: FitShape, tries: str) -> dict[str, float]:
    """Visits of what `geodesic_kmedoids` does for 'auto' and 'swap'."""
    n, n_clusters = shape.n, shape.n_clusters
    n_coarse = n_coarse_nodes(n, n_clusters)
    perturbations = automatic_perturbations(n, n_clusters) if shape.perturbs else 0
    steps = [
        _near_swaps(shape) if n_coarse else (0.0, 0.0),
        _passes(shape, n_coarse, tries),
        _perturbations(shape, perturbations, tries),
    ]
    visits, evaluations = (sum(column) for column in zip(*steps, strict=True))
    visits *= 1 + _MORE_PER_DOUBLING * math.log2(max(1.0, n / _NODES_IN_CACHE))
    if n_coarse:
        tried = _PASSES_FROM_SEEDS * n_coarse + _MORE_PASSES * n_clusters**2
        visits += _VISIT_ON_CELLS * tried * 2 * n_coarse / n_clusters
        evaluations += tried
    of_cells = _NODES_OF_CELLS if n_coarse else 1
    threads = 1 if n < _LEAST_NODES_FOR_THREADS else shape.n_threads
    return {
        "visits": visits / threads,
        "evaluations": evaluations / threads,
        "nodes": (of_cells + _NODES_OF_PERTURBATION * perturbations) * n,
    }


def _near_swaps(shape: FitShape) -> tuple[float, float]:
    """Visits and evaluations of nodes near the centres."""
    tried = float(_TRIED_NEAR_CENTRE * shape.n_clusters)
    return _VISIT_NEAR * tried * 2 * shape.n / shape.n_clusters, tried


def _affordable(shape: FitShape) -> float:
    if shape.algorithm != "auto":
        return math.inf
    return affordable_evaluations(shape.n, shape.n_clusters)


def _passes(shape: FitShape, n_coarse: int, tries: str) -> tuple[float, float]:
    """Visits and evaluations of passes over all nodes, or of draws where those cost too much."""
    n, n_clusters, affordable = shape.n, shape.n_clusters, _affordable(shape)
    search = 2.0 * n / n_clusters
    if affordable < n:
        # Each candidate of a draw is tried once; then those near the centres that changed.
        a_draw = DRAWN_PER_CENTRE * n_clusters
        draws = _draws(affordable / a_draw, tries)
        near_visits, near_tried = _near_swaps(shape)
        again = 0.0 if n_coarse else 1.0
        if tries != "least":  # with the least, no swap comes of any draw
            again += _NEAR_AFTER_DRAW * draws
        tried = draws * a_draw
        return tried * search + again * near_visits, tried + again * near_tried
    if n_coarse:
        tried = min(affordable, _PASSES * n)
        return tried * search, tried
    tried = min(affordable, _PASSES_FROM_SEEDS * n + _MORE_PASSES * n_clusters**2)
    return _VISIT_FROM_SEEDS * tried * search, tried


def _draws(most: float, tries: str) -> float:
    least = min(most, float(MOST_FRUITLESS_DRAWS))
    return {"least": least, "likely": math.pow(least, 0.25) * math.pow(most, 0.75), "most": most}[
        tries
    ]


def _perturbations(shape: FitShape, perturbations: int, tries: str) -> tuple[float, float]:
    """Visits and evaluations of perturbations, and of a pass after them if one has helped."""
    if perturbations == 0:
        return 0.0, 0.0
    changed = min(1.0, _CELLS_PER_PERTURBATION / shape.n_clusters) * shape.n
    tried = perturbations * _TRIED_PER_CHANGED * changed
    tried += min(_affordable(shape), _PASSES_AFTER_PERTURBATIONS[tries] * shape.n)
    return tried * 2 * shape.n / shape.n_clusters, tried


def _alternation(shape: FitShape) -> dict[str, float]:
    """Visits of seeding and of rounds, whose number grows slowly with the size of the cells."""
    n, n_clusters = shape.n, shape.n_clusters
    in_cell = n / n_clusters
    return {
        "nodes": n,
        "visits of seeding": n * (2 + math.log(n_clusters)) * math.log(n_clusters + 1),
        "visits of medoids": n * math.sqrt(in_cell) * math.log2(1 + in_cell) / shape.n_threads,
    }
