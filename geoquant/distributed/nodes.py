"""From rows in shards to numbered nodes: those that one machine would make of the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from geoquant.default_floats import default_floats
from geoquant.distinct import hash_rows, order_within_hash, rows_equal
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.shards import FileShard
from geoquant.errors import InputError
from geoquant.graph.csr import MAX_NODES
from geoquant.latents import check_latents

if TYPE_CHECKING:
    from geoquant.distributed.scratch import Scratch
    from geoquant.distributed.shards import ArrayShard, ShardSet

#: Rows of other shards that are read at once, where equal hashes are to be told apart.
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Nodes:
    """The distinct rows of shards, numbered as `distinct_rows` numbers those of one array.

    Attributes
    ----------
    scratch : Scratch
        Where the tasks keep what they make.
    staged : tuple of FileShard
        For each shard its rows in float32 in an ``.npy`` file, which may be the shard itself.
    offsets : tuple of int
        Number of the first row of each shard, and of rows in all.
    n_nodes : int
        How many distinct rows there are.
    width : int
        Numbers in each row.
    """

    scratch: Scratch
    staged: tuple[FileShard, ...]
    offsets: tuple[int, ...]
    n_nodes: int
    width: int

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return len(self.staged)

    @property
    def are_rows(self) -> bool:
        """Whether no two rows are equal, so that node i is row i."""
        return self.n_nodes == self.offsets[-1]


class ShardNodes(NamedTuple):
    """The nodes whose first row is in a shard, ascending."""

    points: npt.NDArray[np.float32]
    node: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]


def number_nodes(shards: ShardSet, scratch: Scratch, engine: Engine, *, n_ranges: int = 8) -> Nodes:
    """Check the rows of shards, and number the distinct ones.

    Every shard is read once. Rows are hashed, and each range of hashes is sorted by one task.

    Parameters
    ----------
    shards : ShardSet
        The rows.
    scratch : Scratch
        A folder that all workers see; shards that cannot be mapped as they are are copied there.
    engine : Engine
        Where the tasks run.
    n_ranges : int, default=8
        Into how many ranges the hashes are cut; the numbers do not depend on it.

    Returns
    -------
    Nodes

    Raises
    ------
    InputError
        Naming the shard whose rows cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from geoquant.distributed.engine import LocalEngine
    >>> from geoquant.distributed.nodes import number_nodes
    >>> from geoquant.distributed.scratch import Scratch
    >>> from geoquant.distributed.shards import shards_of_array
    >>> shards = shards_of_array([[0.0], [5.0], [0.0]], 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     number_nodes(shards, Scratch(folder), LocalEngine()).n_nodes
    2
    """
    if shards.n_rows > MAX_NODES:
        raise InputError(
            f"shards must hold at most {MAX_NODES} rows, found {shards.n_rows}; fit a sample"
        )
    tasks = [(shard, scratch, i, n_ranges) for i, shard in enumerate(shards.shards)]
    found = map_tasks(engine, stage_shard, tasks)
    _require_one_dtype(shards, [dtype for _, dtype in found])
    staged = tuple(shard for shard, _ in found)
    offsets = tuple(shards.offsets.tolist())
    rows = Nodes(scratch, staged, offsets, shards.n_rows, shards.width)
    counts = map_tasks(engine, group_range, [(rows, r) for r in range(n_ranges)])
    nodes = Nodes(scratch, staged, offsets, sum(counts), shards.width)
    if not nodes.are_rows:
        first = np.concatenate([[0], np.cumsum(counts)]).tolist()
        map_tasks(engine, number_shard, [(nodes, i, first) for i in range(nodes.n_shards)])
    for r in range(n_ranges):
        for kind in ("row", "group", "first"):
            scratch.remove(f"range{r}-{kind}")
    return nodes


def _require_one_dtype(shards: ShardSet, dtypes: list[str]) -> None:
    for shard, dtype in zip(shards.shards, dtypes, strict=True):
        if dtype != dtypes[0]:
            raise InputError(
                f"{shard.name}: all shards must have the type of {shards.shards[0].name}, "
                f"{dtypes[0]}, found {dtype}; convert it with numpy.save(path, rows.astype(...))"
            )


def stage_shard(
    shard: FileShard | ArrayShard, scratch: Scratch, i: int, n_ranges: int
) -> tuple[FileShard, str]:
    """Check a shard, see that it can be mapped, and sort the hashes of its rows (a task).

    Parameters
    ----------
    shard, scratch, i, n_ranges
        The shard and its number, and as for `number_nodes`.

    Returns
    -------
    FileShard
        The rows in float32 in an ``.npy`` file.
    str
        The type of the shard's numbers.
    """
    given = shard.read()
    rows = check_latents(given, name=shard.name)
    if isinstance(shard, FileShard) and shard.is_mappable and np.may_share_memory(rows, given):
        staged = shard
    else:
        scratch.save(f"rows{i}", rows)
        staged = FileShard(scratch.path(f"rows{i}"), rows.shape)
    with default_floats():
        key = hash_rows(rows)
    order = np.argsort(key, kind="stable")
    bounds = [(r << 64) // n_ranges for r in range(1, n_ranges)]
    cuts = np.searchsorted(key[order], np.array(bounds, np.uint64))
    scratch.save(f"hash{i}-key", key[order])
    scratch.save(f"hash{i}-row", order.astype(np.int64))
    scratch.save(f"hash{i}-cut", np.array([0, *cuts, len(order)], np.int64))
    return staged, str(given.dtype)


def group_range(rows: Nodes, r: int) -> int:
    """Find equal rows among those of a range of hashes, and return how many differ (a task).

    Parameters
    ----------
    rows : Nodes
        Each row still a node.
    r : int
        Which range.

    Returns
    -------
    int
    """
    keys, found = [], []
    for i, offset in enumerate(rows.offsets[:-1]):
        begin, end = rows.scratch.load(f"hash{i}-cut")[r : r + 2]
        keys.append(rows.scratch.load(f"hash{i}-key")[begin:end])
        found.append(rows.scratch.load(f"hash{i}-row")[begin:end] + offset)
    key, row = np.concatenate(keys), np.concatenate(found)
    order = np.argsort(key, kind="stable")
    key, row = key[order], row[order]
    twins = np.flatnonzero(key[1:] == key[:-1])
    if not twins.size:
        is_first = np.ones(len(row), np.bool_)
    else:
        row, is_first = _told_apart(rows, key, row, twins)
    group = np.cumsum(is_first) - 1
    by_row = np.argsort(row)
    rows.scratch.save(f"range{r}-row", row[by_row])
    rows.scratch.save(f"range{r}-group", group[by_row])
    rows.scratch.save(f"range{r}-first", is_first[by_row])
    return int(is_first.sum())


def _told_apart(
    rows: Nodes,
    key: npt.NDArray[np.uint64],
    row: npt.NDArray[np.int64],
    twins: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Rows with those of one hash in the order of their contents, and where each group starts."""
    equal = np.empty(len(twins), np.bool_)
    for start in range(0, len(twins), _ROWS_AT_ONCE):
        block = twins[start : start + _ROWS_AT_ONCE]
        pair = read_rows(rows, np.concatenate([row[block], row[block + 1]]))
        at = np.arange(len(block))
        equal[start : start + len(block)] = rows_equal(pair, at, at + len(block))
    is_first = np.ones(len(row), np.bool_)
    if equal.all():
        is_first[1 + twins] = False
        return row, is_first
    shared = np.unique(np.concatenate([twins, twins + 1]))  # all of the groups of equal hashes
    contents = read_rows(rows, row[shared])
    order = order_within_hash(contents, key[shared])
    row = row.copy()
    row[shared] = row[shared][order]
    same = key[shared][1:] == key[shared][:-1]
    same &= rows_equal(contents, order[:-1], order[1:])
    is_first[shared[1:][same]] = False
    return row, is_first


def read_rows(rows: Nodes, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Read rows by their numbers over all shards.

    Parameters
    ----------
    rows : Nodes
        What is known of the shards.
    wanted : ndarray of shape (m,), int64
        Rows, in any order.

    Returns
    -------
    ndarray of shape (m, width), float32
    """
    found = np.empty((len(wanted), rows.width), np.float32)
    shard = np.searchsorted(rows.offsets, wanted, side="right") - 1
    for i in np.unique(shard):
        here = shard == i
        found[here] = rows.staged[i].read()[wanted[here] - rows.offsets[i]]
    return found


def number_shard(nodes: Nodes, i: int, first: list[int]) -> None:
    """Number the rows of a shard by their nodes, where some rows are equal (a task).

    Parameters
    ----------
    nodes : Nodes
        The nodes.
    i : int
        Which shard.
    first : list of int
        Number of the first node of each range of hashes, and of nodes in all.
    """
    begin, end = nodes.offsets[i : i + 2]
    node_of_row = np.empty(end - begin, np.int32)
    is_first = np.empty(end - begin, np.bool_)
    weight = np.zeros(end - begin)
    for r, number in enumerate(first[:-1]):
        row = nodes.scratch.load(f"range{r}-row")
        group = nodes.scratch.load(f"range{r}-group")
        here = slice(*np.searchsorted(row, [begin, end]))
        at = row[here] - begin
        node_of_row[at] = number + group[here]
        is_first[at] = nodes.scratch.load(f"range{r}-first")[here]
        size = np.bincount(group, minlength=first[r + 1] - number)
        weight[at] = size[group[here]]
    own = np.flatnonzero(is_first)
    own = own[np.argsort(node_of_row[own])]
    nodes.scratch.save(f"shard{i}-node", node_of_row)
    nodes.scratch.save(f"shard{i}-own", own)
    nodes.scratch.save(f"shard{i}-weight", weight[own])


def nodes_of_shard(nodes: Nodes, i: int) -> ShardNodes:
    """The nodes of a shard.

    Parameters
    ----------
    nodes : Nodes
        Of all shards.
    i : int
        Which shard.

    Returns
    -------
    ShardNodes
    """
    points = nodes.staged[i].read()
    if nodes.are_rows:
        node = np.arange(nodes.offsets[i], nodes.offsets[i + 1], dtype=np.int32)
        return ShardNodes(points, node, np.ones(len(node)))
    own = nodes.scratch.load(f"shard{i}-own")
    return ShardNodes(
        points[own],
        nodes.scratch.load(f"shard{i}-node")[own],
        nodes.scratch.load(f"shard{i}-weight"),
    )


def node_of_row(nodes: Nodes, i: int) -> npt.NDArray[np.int32]:
    """The node that each row of a shard is.

    Parameters
    ----------
    nodes : Nodes
        Of all shards.
    i : int
        Which shard.

    Returns
    -------
    ndarray of int32
    """
    if nodes.are_rows:
        return np.arange(nodes.offsets[i], nodes.offsets[i + 1], dtype=np.int32)
    return nodes.scratch.load(f"shard{i}-node")


def pick_nodes(nodes: Nodes, i: int, wanted: npt.NDArray[np.int64], name: str) -> None:
    """Write the points of those of some nodes that are in a shard (a task).

    Parameters
    ----------
    nodes : Nodes
        Of all shards.
    i : int
        Which shard.
    wanted : ndarray of int64
        Nodes, ascending.
    name : str
        What to call the result: its place in `wanted`, and the points.
    """
    here = nodes_of_shard(nodes, i)
    place = np.searchsorted(here.node, wanted)
    place[place == len(here.node)] = 0
    is_here = here.node[place] == wanted if len(here.node) else np.zeros(len(wanted), np.bool_)
    nodes.scratch.save(f"{name}{i}-place", np.flatnonzero(is_here))
    nodes.scratch.save(f"{name}{i}-point", here.points[place[is_here]])


def points_of(
    nodes: Nodes, wanted: npt.NDArray[np.int64], engine: Engine
) -> npt.NDArray[np.float32]:
    """Gather the points of a few nodes.

    Parameters
    ----------
    nodes : Nodes
        Of all shards.
    wanted : ndarray of shape (m,), int64
        Distinct nodes in any order.
    engine : Engine
        Where the tasks run.

    Returns
    -------
    ndarray of shape (m, width), float32
    """
    order = np.argsort(wanted)
    map_tasks(
        engine, pick_nodes, [(nodes, i, wanted[order], "pick") for i in range(nodes.n_shards)]
    )
    points = np.empty((len(wanted), nodes.width), np.float32)
    for i in range(nodes.n_shards):
        place = nodes.scratch.copy_of(f"pick{i}-place")
        points[order[place]] = nodes.scratch.load(f"pick{i}-point")
        nodes.scratch.remove(f"pick{i}-place")
        nodes.scratch.remove(f"pick{i}-point")
    return points


def rows_of_nodes(nodes: Nodes, wanted: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The first row of each of some nodes.

    Parameters
    ----------
    nodes : Nodes
        Of all shards.
    wanted : ndarray of shape (m,) of int
        Nodes.

    Returns
    -------
    ndarray of shape (m,), int64
        Numbers of rows over all shards.
    """
    if nodes.are_rows:
        return wanted.astype(np.int64)
    found = np.empty(len(wanted), np.int64)
    for i in range(nodes.n_shards):
        own = nodes.scratch.load(f"shard{i}-own")
        node = nodes.scratch.load(f"shard{i}-node")[own]
        if not len(own):
            continue
        at = np.minimum(np.searchsorted(node, wanted), len(node) - 1)
        here = node[at] == wanted
        found[here] = nodes.offsets[i] + own[at[here]]
    return found
