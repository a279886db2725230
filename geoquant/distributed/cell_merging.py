"""Cells merged with those that they share most neighbours with: level by level, or into groups."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from scipy.sparse import csr_array

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

#: How often cells without a mate look for one; most have one after the first few rounds.
_ROUNDS = 6
#: Where more than this share of the cells would be left, those without a mate are paired as well.
_MOST_LEFT = 0.75
#: Merged cells hold at most so many times what is the mean of as many cells as are wanted.
_MOST_OF_MEAN = 1.5


class Level(NamedTuple):
    """Cells, and which cell of the next coarser level each is part of.

    Attributes
    ----------
    affinity : csr_array of shape (n_cells, n_cells)
        How many neighbours two cells share, symmetric, nothing on the diagonal.
    sizes : ndarray of shape (n_cells,), int64
        How many points each holds, all above 0.
    parent : ndarray of shape (n_cells,), int64
        Part of which; none at the coarsest level.
    """

    affinity: csr_array
    sizes: Ints
    parent: Ints


def merged_levels(
    affinity: csr_array, sizes: Ints, n_wanted: int, rng: np.random.Generator
) -> list[Level]:
    """Merge cells in pairs, again and again, until at most so many are left.

    Heavy edges are contracted [1]_, and chance decides among those of like weight.

    Parameters
    ----------
    affinity, sizes
        As of the finest level.
    n_wanted : int
        How many; more are left where cells of unlike size cannot be merged.
    rng : Generator
        Chance.

    Returns
    -------
    list of Level
        The finest first.

    References
    ----------
    .. [1] G. Karypis, V. Kumar, "A fast and high quality multilevel scheme for partitioning
       irregular graphs", SIAM Journal on Scientific Computing 20 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from geoquant.distributed.cell_merging import merged_levels
    >>> pairs = csr_array(np.kron(np.eye(2), 1 - np.eye(2)))
    >>> merged_levels(pairs, np.ones(4, int), 2, np.random.default_rng(0))[0].parent.tolist()
    [0, 0, 1, 1]
    """
    most = _MOST_OF_MEAN * sizes.sum() / n_wanted
    levels = []
    while len(sizes) > n_wanted:
        parent = _paired(affinity, sizes, most, rng)
        if parent.max() == len(sizes) - 1:
            break
        levels.append(Level(affinity, sizes, parent))
        affinity, sizes = _contracted(levels[-1])
    return [*levels, Level(affinity, sizes, np.empty(0, np.int64))]


def _contracted(level: Level) -> tuple[csr_array, Ints]:
    from scipy.sparse import coo_array

    n_cells = int(level.parent.max()) + 1
    fine = level.affinity.tocoo()
    row, column = level.parent[fine.row], level.parent[fine.col]
    apart = row != column
    entries = (fine.data[apart], (row[apart], column[apart]))
    sizes = np.bincount(level.parent, level.sizes, n_cells).astype(np.int64)
    return coo_array(entries, (n_cells, n_cells)).tocsr(), sizes


def _paired(affinity: csr_array, sizes: Ints, most: float, rng: np.random.Generator) -> Ints:
    """Number of the pair of each cell: those that are each other's best, or two that are left."""
    n_cells = len(sizes)
    row = np.repeat(np.arange(n_cells), np.diff(affinity.indptr))
    column, favour = affinity.indices, _favour(n_cells, rng)
    rate = affinity.data / np.sqrt(sizes[row] * sizes[column]) * favour[row] * favour[column]
    fits = sizes[row] + sizes[column] <= most
    row, column, rate = row[fits], column[fits], rate[fits]
    mate = np.arange(n_cells)
    for _ in range(_ROUNDS):
        _marry(mate, row, column, rate)
        is_free = mate == np.arange(n_cells)
        both = is_free[row] & is_free[column]
        row, column, rate = row[both], column[both], rate[both]
    if np.count_nonzero(mate >= np.arange(n_cells)) > _MOST_LEFT * n_cells:
        _pair_leftover(mate, affinity, sizes, most)
    parent: Ints = np.unique(np.minimum(mate, np.arange(n_cells)), return_inverse=True)[1]
    return parent


def _favour(n_cells: int, rng: np.random.Generator) -> Floats:
    """Factors that let chance decide; symmetric in a pair, so that some are each other's best."""
    return rng.uniform(1.0, 2.0, n_cells)


def _marry(mate: Ints, row: Ints, column: Ints, rate: Floats) -> None:
    """Make mates of the cells that are each other's best."""
    best = np.zeros(len(mate))
    np.maximum.at(best, row, rate)
    is_best = rate == best[row]
    choice = np.full(len(mate), -1)
    choice[row[is_best]] = column[is_best]
    chosen = np.flatnonzero(choice >= 0)
    mutual = chosen[choice[choice[chosen]] == chosen]
    mate[mutual] = choice[mutual]


def _pair_leftover(mate: Ints, affinity: csr_array, sizes: Ints, most: float) -> None:
    """Make mates of cells that have none, first of those around one other, as METIS does."""
    hub = np.full(len(mate), -1)
    linked = np.flatnonzero(np.diff(affinity.indptr))
    hub[linked] = affinity.indices[affinity.indptr[linked]]
    left = np.flatnonzero(mate == np.arange(len(mate)))
    left = left[np.lexsort((left, sizes[left], hub[left]))]
    pairs = left[: len(left) // 2 * 2].reshape(-1, 2)
    fitting = pairs[sizes[pairs].sum(axis=1) <= most]
    mate[fitting] = fitting[:, ::-1]


def merged_groups(
    affinity: csr_array, sizes: Ints, n_groups: int, most: float, rng: np.random.Generator
) -> Ints:
    """Merge the two that share most for their size, until so many groups are left.

    Parameters
    ----------
    affinity, sizes
        As of a level.
    n_groups : int
        How many, at most the number of cells.
    most : float
        How many points a group may hold, where cells allow it.
    rng : Generator
        Chance.

    Returns
    -------
    ndarray of shape (n_cells,), int64
        Group of each cell, none without any.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from geoquant.distributed.cell_merging import merged_groups
    >>> line = csr_array(np.eye(4, k=1) + np.eye(4, k=-1))
    >>> sizes = np.array([1, 1, 1, 5])
    >>> merged_groups(line, sizes, 2, 5, np.random.default_rng(0)).tolist()
    [1, 1, 1, 0]
    """
    group = _Merging(affinity, sizes, most, _favour(len(sizes), rng)).run(n_groups)
    load = np.bincount(group, sizes)
    rank = np.empty(len(load), np.int64)
    rank[np.argsort(-load, kind="stable")] = np.arange(len(load))
    group = rank[group]
    _dissolve(affinity, sizes, group, n_groups, most)
    return group


def _dissolve(affinity: csr_array, sizes: Ints, group: Ints, n_groups: int, most: float) -> None:
    """Spread the cells of the groups beyond `n_groups` over the others."""
    load = np.bincount(group, sizes)[:n_groups]
    loose = np.flatnonzero(group >= n_groups)
    for cell in loose[np.argsort(-sizes[loose], kind="stable")]:
        row = slice(*affinity.indptr[cell : cell + 2])
        near = group[affinity.indices[row]]
        links = np.bincount(near, affinity.data[row], n_groups)[:n_groups]
        links[load + sizes[cell] > most] = -1
        target = int(np.lexsort((load, -links))[0])
        group[cell] = target
        load[target] += sizes[cell]


class _Merging:
    """Groups, to begin with of one cell each, and a queue of what pairs of them share."""

    def __init__(self, affinity: csr_array, sizes: Ints, most: float, favour: Floats) -> None:
        rows = np.split(affinity.indices, affinity.indptr[1:-1])
        links = np.split(affinity.data, affinity.indptr[1:-1])
        self._near = [
            dict(zip(row.tolist(), link.tolist(), strict=True))
            for row, link in zip(rows, links, strict=True)
        ]
        self._sizes, self._most, self._favour = sizes.tolist(), most, favour.tolist()
        self._within = np.arange(len(sizes))
        self._n_merged = [0] * len(sizes)
        self._queue = [offer for a in range(len(sizes)) for offer in self._offers(a)]
        heapq.heapify(self._queue)

    def run(self, n_groups: int) -> Ints:
        """Group of each cell; more groups than asked for where no two may be merged."""
        n_left = len(self._sizes)
        while self._queue and n_left > n_groups:
            _, a, b, n_merged = heapq.heappop(self._queue)
            if n_merged == self._n_merged[a] + self._n_merged[b]:
                self._merge(a, b)
                n_left -= 1
        group: Ints = np.unique(self._within, return_inverse=True)[1]
        return group

    def _offers(self, a: int) -> Iterator[tuple[float, int, int, int]]:
        """What a group shares with each that it may be merged with, valid until one of them is."""
        near, size = self._near[a], self._sizes[a]
        for b, link in near.items():
            both = self._sizes[b]
            if size + both <= self._most:
                rate = link / (size * both) ** 0.5 * self._favour[a] * self._favour[b]
                yield -rate, min(a, b), max(a, b), self._n_merged[a] + self._n_merged[b]

    def _merge(self, a: int, b: int) -> None:
        """Let b be part of a."""
        near = self._near[a]
        for c, link in self._near[b].items():
            del self._near[c][b]
            if c != a:
                near[c] = self._near[c][a] = near.get(c, 0.0) + link
        self._near[b] = {}
        self._sizes[a] += self._sizes[b]
        self._n_merged[a] += 1
        self._n_merged[b] = -(len(self._sizes) ** 2)  # no offer stands
        self._within[self._within == b] = a
        for offer in self._offers(a):
            heapq.heappush(self._queue, offer)
