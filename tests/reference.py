"""Slow, readable oracles: each says what a fast function of geoquant must return."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import dijkstra

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from geoquant.graph.csr import Graph

Array = np.ndarray[Any, Any]
Edges = dict[tuple[int, int], float]


# ------------------------------------------------------------------------------------- graphs


def distances_between(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Euclidean distances between rows, one square root of a float64 sum, rounded to float32."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    result = np.empty((len(a), len(b)), np.float32)
    for i, row in enumerate(a.astype(np.float64)):
        for j, other in enumerate(b.astype(np.float64)):
            total = 0.0
            for difference in row - other:
                total += difference * difference
            result[i, j] = np.sqrt(total)
    return result


def nearest_rows(points: Array, k: int, queries: Array | None = None) -> tuple[Array, Array]:
    """The k nearest points of each query by (distance, id); without queries, none is its own."""
    distance = distances_between(points if queries is None else queries, points)
    ids = np.broadcast_to(np.arange(len(points)), distance.shape)
    is_self = np.eye(len(points), dtype=bool) if queries is None else np.zeros_like(distance, bool)
    order = np.lexsort((ids, distance, is_self))[:, :k]
    return np.take_along_axis(distance, order, axis=1), order


def knn_edges(x: npt.ArrayLike, k: int) -> Edges:
    """Union of the k-nearest relations among distinct rows, and duplicates joined at zero."""
    x = np.asarray(x, np.float32)
    first: dict[tuple[float, ...], int] = {}
    edges: Edges = {}
    for i, row in enumerate(x):
        original = first.setdefault(tuple(row.tolist()), i)
        if original != i:
            edges[original, i] = 0.0
    nodes = list(first.values())
    distance = distances_between(x[nodes], x[nodes])
    for a, i in enumerate(nodes):
        others = sorted((distance[a, b], j) for b, j in enumerate(nodes) if j != i)
        for length, j in others[:k]:
            pair = min(i, j), max(i, j)
            edges[pair] = min(float(length), edges.get(pair, np.inf))
    return edges


def edges_of(graph: Graph) -> Edges:
    """The edges of a graph, each once, smaller node first."""
    rows = np.repeat(np.arange(graph.n_nodes), np.diff(graph.indptr))
    entries = zip(rows.tolist(), graph.indices.tolist(), graph.lengths.tolist(), strict=True)
    return {(i, j): length for i, j, length in entries if i < j}


def merged(edges: Sequence[tuple[int, int, float]]) -> Edges:
    """Edges without direction and self loops, parallel ones merged by the minimum length."""
    result: Edges = {}
    for i, j, length in edges:
        if i != j:
            pair = min(i, j), max(i, j)
            result[pair] = min(float(np.float32(length)), result.get(pair, np.inf))
    return result


def component_labels(n_nodes: int, edges: Edges) -> list[int]:
    """Components by repeated relabelling, numbered by their smallest node."""
    label = list(range(n_nodes))
    for _ in range(n_nodes):
        for i, j in edges:
            label[i] = label[j] = min(label[i], label[j])
    return [sorted(set(label)).index(c) for c in label]


def spanning_bridges(x: npt.ArrayLike, labels: Sequence[int]) -> Edges:
    """Kruskal over all pairs of nodes of different components, by (distance, nodes)."""
    distance = distances_between(x, x)
    pairs = sorted((distance[i, j], i, j) for i, j in combinations(range(len(labels)), 2))
    group = list(labels)
    bridges: Edges = {}
    for length, i, j in pairs:
        if group[i] != group[j]:
            bridges[i, j] = float(length)
            group = [group[i] if g == group[j] else g for g in group]
    return bridges


# ------------------------------------------------------------------------------ shortest paths


def first_of_nearest(graph: Graph, sources: Sequence[int]) -> tuple[Array, Array]:
    """Distance and label of each node: the least label that comes along paths of its distance."""
    distance = dijkstra(graph.to_scipy(), indices=sources, min_only=True)
    label = np.full(graph.n_nodes, len(sources))
    for k in reversed(range(len(sources))):
        label[sources[k]] = k
    edges = [(i, j, w) for (i, j), w in edges_of(graph).items()]
    edges += [(j, i, w) for i, j, w in edges]
    tight = [(i, j) for i, j, w in edges if distance[i] + w == distance[j] < np.inf]
    for _ in range(graph.n_nodes):
        for i, j in tight:
            label[j] = min(label[j], label[i])
    return distance, np.where(label == len(sources), -1, label)


def all_pairs(graph: Graph) -> Array:
    """Dense distances; row i is summed from node i outwards."""
    return dijkstra(graph.to_scipy(), directed=True)


def two_nearest(dense: Array, sources: npt.ArrayLike) -> tuple[Array, Array]:
    """The two nearest sources of each node by (distance, position); -1 and inf for none."""
    distance = dense[np.asarray(sources)].T
    n_nodes, n_sources = distance.shape
    nearest = np.full((n_nodes, 2), np.inf)
    position = np.full((n_nodes, 2), -1)
    for node in range(n_nodes):
        reached = sorted((distance[node, s], s) for s in range(n_sources))
        for rank, (d, s) in enumerate(reached[:2]):
            if d < np.inf:
                nearest[node, rank], position[node, rank] = d, s
    return nearest, position


# ---------------------------------------------------------------------------------- clustering


def energy(dense: Array, centres: npt.ArrayLike, power: int, weights: Array) -> float:
    """Weighted sum over the nodes of the distance to the nearest centre to the power."""
    return float((weights * dense[np.asarray(centres)].min(axis=0) ** power).sum())


def least_energy(dense: Array, n_clusters: int, power: int, weights: Array) -> float:
    """The optimum, by trying every set of centres."""
    subsets = combinations(range(len(dense)), n_clusters)
    return min(energy(dense, list(centres), power, weights) for centres in subsets)


def best_swap_energy(dense: Array, centres: Sequence[int], power: int, weights: Array) -> float:
    """The least energy that one swap, a centre out and a node in, leads to."""
    energies = []
    for position in range(len(centres)):
        for node in range(len(dense)):
            swapped = list(centres)
            swapped[position] = node
            energies.append(energy(dense, swapped, power, weights))
    return min(energies)


def is_local_optimum(dense: Array, centres: Sequence[int], power: int, weights: Array) -> bool:
    """Whether no single swap lowers the energy by more than rounding."""
    present = energy(dense, centres, power, weights)
    return best_swap_energy(dense, centres, power, weights) >= present * (1 - 1e-9)


def member_sums(dense: Array, members: Array, power: int, weights: Array) -> Array:
    """For each member of a cell, the weighted sum of powered distances to all members."""
    return (dense[np.ix_(members, members)] ** power * weights[members]).sum(axis=1)


def greedy_kmeanspp(dense: Array, weights: Array, power: int, uniforms: Array) -> list[int]:
    """Greedy k-means++ with the given uniforms; exact where sums are (integers)."""

    def drawn(mass: Array, uniform: float) -> int:
        running = np.cumsum(mass)
        if running[-1] == 0:
            return min(set(range(len(dense))) - set(seeds))
        return int(np.searchsorted(running, uniform * running[-1], side="right"))

    seeds: list[int] = []
    seeds.append(drawn(weights, uniforms[0, 0]))
    for row in uniforms[1:]:
        nearest = dense[seeds].min(axis=0)
        draws = [drawn(weights * nearest**power, u) for u in row]
        energies = [energy(dense, [*seeds, node], power, weights) for node in draws]
        seeds.append(draws[int(np.argmin(energies))])
    return seeds


# --------------------------------------------------------------------------------- several stages


def squared_error(latent: Array, vectors: Sequence[Array], codes: Sequence[int]) -> float:
    """Squared length of what the codewords leave, taken off one after the other, in float64."""
    left = latent.astype(np.float64)
    for stage, code in zip(vectors, codes, strict=False):
        left = left - stage[code].astype(np.float64)
    total = 0.0
    for value in left:
        total += value * value
    return total


def beam_search(latent: Array, vectors: Sequence[Array], beam: int) -> tuple[int, ...]:
    """Codes by keeping, after each stage, the best prefixes by (error, codes)."""
    kept: list[tuple[int, ...]] = [()]
    for stage in vectors:
        longer = [(*codes, code) for codes in kept for code in range(len(stage))]
        kept = sorted(longer, key=lambda codes: (squared_error(latent, vectors, codes), codes))
        kept = kept[:beam]
    return kept[0]


def best_codes(latent: Array, vectors: Sequence[Array]) -> tuple[int, ...]:
    """The best of all codes, the lexicographically smaller of equals."""
    every = product(*(range(len(stage)) for stage in vectors))
    return min(every, key=lambda codes: (squared_error(latent, vectors, codes), codes))
