"""Moves of single cells from group to group, as long as that parts fewer neighbours."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_MOST_PASSES = 8
#: Moves in a row that lead to nothing better, after which a pass is over.
_MOST_FRUITLESS = 50
#: Smaller gains are those of rounding.
_LEAST_GAIN = 1e-9


class Bounds(NamedTuple):
    """How many points a group is to hold.

    Attributes
    ----------
    least, most : float
        At least and at most.
    """

    least: float
    most: float


def refined_groups(
    affinity: csr_array, sizes: Ints, group: Ints, n_groups: int, bounds: Bounds
) -> Ints:
    """Move single cells to other groups as long as a pass of moves cuts less [1]_.

    Parameters
    ----------
    affinity : csr_array of shape (n_cells, n_cells)
        How many neighbours two cells share, symmetric, nothing on the diagonal.
    sizes : ndarray of shape (n_cells,), int64
        How many points each holds, all above 0.
    group : ndarray of shape (n_cells,), int64
        Group of each cell, none without any.
    n_groups : int
        How many groups.
    bounds : Bounds
        A group that holds more gives cells away first, the cheapest each time, until it does not
        or all others would hold as much. One that holds fewer then takes cells of others, as long
        as these can do without; none gives away what would leave it with fewer.

    Returns
    -------
    ndarray of shape (n_cells,), int64
        Group of each cell, none without any.

    References
    ----------
    .. [1] C. M. Fiduccia, R. M. Mattheyses, "A linear-time heuristic for improving network
       partitions", DAC 1982.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> from geoquant.distributed.cell_moves import Bounds, refined_groups
    >>> line = csr_array(np.eye(4, k=1) + np.eye(4, k=-1))
    >>> refined_groups(line, np.ones(4, int), np.array([0, 1, 0, 1]), 2, Bounds(1, 3)).tolist()
    [0, 0, 0, 1]
    """
    moves = _Moves(affinity, sizes, group.copy(), n_groups, bounds)
    moves.balance()
    for _ in range(_MOST_PASSES):
        if not moves.run():
            break
    return moves.group


class _Moves:
    """Passes of moves: the best each time, even one for the worse, and then the best state."""

    def __init__(
        self,
        affinity: csr_array,
        sizes: Ints,
        group: Ints,
        n_groups: int,
        bounds: Bounds,
    ) -> None:
        self._affinity, self._sizes, self.group = affinity, sizes, group
        self._least, self._most = bounds
        self._load = np.bincount(group, sizes, n_groups)
        self._n_cells = np.bincount(group, minlength=n_groups)
        self._links = affinity @ np.eye(n_groups)[group]
        #: What the best move of each cell costs, as its newest entry in the queue has it.
        self._cost = np.full(len(group), np.inf)
        self._queue: list[tuple[float, int, int]] = []

    def balance(self) -> None:
        """Let groups that are too large give cells away, and ones that are too small take some."""
        while self._load.max() > self._most:
            cells = np.flatnonzero(self.group == self._load.argmax())
            cost, target = self._best_moves(cells)
            i = int(cost.argmin())
            if cost[i] == np.inf:
                break
            self._move(int(cells[i]), int(target[i]))
        while self._load.min() < self._least:
            smallest = int(self._load.argmin())
            own = self._links[np.arange(len(self.group)), self.group]
            costs = np.where(self._can_go(), own - self._links[:, smallest], np.inf)
            costs[self.group == smallest] = np.inf
            cell = int(costs.argmin())
            if costs[cell] == np.inf:
                return
            self._move(cell, smallest)

    def _can_go(self) -> npt.NDArray[np.bool_]:
        """Whether the group of each cell can do without it."""
        left = self._load[self.group] - self._sizes
        return (self._n_cells[self.group] > 1) & (left >= self._least)

    def run(self) -> bool:
        """One pass; whether it led to a better state."""
        self._cost[:] = np.inf
        self._queue = []
        self._renew(self._border())
        is_moved = np.zeros(len(self.group), np.bool_)
        moves: list[tuple[int, int]] = []
        gain = best = 0.0
        n_best = 0
        while self._queue and len(moves) < n_best + _MOST_FRUITLESS:
            cost, cell, target = heapq.heappop(self._queue)
            if is_moved[cell] or cost != self._cost[cell]:
                continue
            if not self._is_open(cell, target):
                self._cost[cell] = np.inf
                self._renew(np.array([cell]))
                continue
            is_moved[cell] = True
            moves.append((cell, int(self.group[cell])))
            near = self._move(cell, target)
            self._renew(near[~is_moved[near]])
            gain -= cost
            if gain > best + _LEAST_GAIN:
                best, n_best = gain, len(moves)
        for cell, before in reversed(moves[n_best:]):
            self._move(cell, before)
        return n_best > 0

    def _border(self) -> Ints:
        """Cells that share neighbours with another group."""
        own = self._links[np.arange(len(self.group)), self.group]
        return np.flatnonzero(self._links.sum(axis=1) > own + _LEAST_GAIN)

    def _renew(self, cells: Ints) -> None:
        """Put the best moves of cells in the queue."""
        costs, targets = self._best_moves(cells)
        is_new = costs != self._cost[cells]
        self._cost[cells] = costs
        is_new &= costs < np.inf
        entries = zip(
            costs[is_new].tolist(), cells[is_new].tolist(), targets[is_new].tolist(), strict=True
        )
        for entry in entries:
            heapq.heappush(self._queue, entry)

    def _best_moves(self, cells: Ints) -> tuple[Floats, Ints]:
        """What the best move of each cell costs, infinitely much if it must stay; and where to."""
        row = np.arange(len(cells))
        own, after = self.group[cells], self._load + self._sizes[cells, None]
        # A group that is too large already may still become less so.
        is_open = (after <= self._most) | (after < self._load[own, None])
        is_too_large = self._load[own] > self._most
        is_open &= (self._can_go()[cells] | (is_too_large & (self._n_cells[own] > 1)))[:, None]
        is_open[row, own] = False
        links = np.where(is_open, self._links[cells], -np.inf)
        target = links.argmax(axis=1)
        return self._links[cells, own] - links[row, target], target

    def _is_open(self, cell: int, target: int) -> bool:
        """Whether a move is still allowed that was so when it was put in the queue."""
        own, after = self.group[cell], self._load[target] + self._sizes[cell]
        left = self._load[own] - self._sizes[cell]
        can_go = self._n_cells[own] > 1 and left >= self._least
        return bool(can_go and (after <= self._most or after < self._load[own]))

    def _move(self, cell: int, target: int) -> Ints:
        """Move a cell; returns those that share neighbours with it."""
        own, size = self.group[cell], self._sizes[cell]
        self._load[own] -= size
        self._load[target] += size
        self._n_cells[own] -= 1
        self._n_cells[target] += 1
        self.group[cell] = target
        row = slice(*self._affinity.indptr[cell : cell + 2])
        near: Ints = self._affinity.indices[row]
        links = self._affinity.data[row]
        self._links[near, own] -= links
        self._links[near, target] += links
        return near
