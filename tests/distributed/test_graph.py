"""The graph in partitions: `knn_graph`'s, bit for bit, in any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from geoquant import Graph, knn_graph
from geoquant.distinct import distinct_rows
from geoquant.distributed import partition as partition_module
from geoquant.distributed.graph import Edges, gathered_graph, with_edges
from geoquant.graph import knn
from tests.distributed.parts import ENGINE, made_graph, spread
from tests.graphs import path, random_graph

if TYPE_CHECKING:
    from pathlib import Path

PARTITIONS = [1, 2, 4, 8]


def assert_same_graph(found: Graph, expected: Graph) -> None:
    assert found.indptr.tolist() == expected.indptr.tolist()
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.lengths.tobytes() == expected.lengths.tobytes()
    assert found.recall == expected.recall


def clusters(seed: int, n: int, d: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) + 2 * rng.integers(0, 4, (n, 1))).astype(np.float32)


@pytest.mark.parametrize("n_partitions", PARTITIONS)
@pytest.mark.parametrize(("n", "k"), [(2, 1), (9, 8), (1500, 5)])
def test_where_all_are_compared(tmp_path: Path, n: int, k: int, n_partitions: int) -> None:
    """From two nodes on, up to all of them as neighbours."""
    x = clusters(n, n)
    made = made_graph(x, tmp_path, n_partitions, k)
    assert made.graph.n_partitions == min(n, n_partitions)
    assert made.graph.partition.compares_all
    assert_same_graph(gathered_graph(made.graph), knn_graph(x, k))


def test_all_are_compared_in_few_blocks(tmp_path: Path) -> None:
    """Blocks of many cells cover the nodes of each partition, one after the other."""
    made = made_graph(clusters(0, 4000), tmp_path, 3)
    scratch, sizes = made.nodes.scratch, made.graph.partition.sizes
    part, begin, size = (scratch.copy_of(f"block-{kind}") for kind in ("part", "begin", "size"))
    assert 8 <= len(part) < len(scratch.load("cell-part")) / 10
    for p, n_own in enumerate(sizes):
        ends = np.cumsum(size[part == p])
        assert begin[part == p].tolist() == [0, *ends[:-1].tolist()]
        assert ends[-1] == n_own


@pytest.mark.parametrize("n_partitions", PARTITIONS)
def test_where_near_cells_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_partitions: int
) -> None:
    """The same cells are compared, so the same neighbours missed, and the recall is the same."""
    monkeypatch.setattr(knn, "EXACT_LIMIT", 500)
    monkeypatch.setattr(knn, "_CELL_SIZE", 40)
    x = clusters(0, 4000)
    made = made_graph(x, tmp_path, n_partitions, 5, recall_target=0.97)
    expected = knn_graph(x, 5, recall_target=0.97)
    assert expected.recall < 1
    assert not made.graph.partition.compares_all
    assert_same_graph(gathered_graph(made.graph), expected)


def test_where_near_cells_save_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit too all cells are compared where few would be left out."""
    monkeypatch.setattr(knn, "EXACT_LIMIT", 500)
    x = np.random.default_rng(0).standard_normal((2000, 20)).astype(np.float32)
    made = made_graph(x, tmp_path, 4)
    assert made.graph.partition.compares_all
    assert_same_graph(gathered_graph(made.graph), knn_graph(x, 5))


def test_exact_at_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recall target of 1 compares all."""
    monkeypatch.setattr(knn, "EXACT_LIMIT", 500)
    x = clusters(1, 1200)
    made = made_graph(x, tmp_path, 4, recall_target=1.0)
    assert_same_graph(gathered_graph(made.graph), knn_graph(x, 5, recall_target=1.0))


@pytest.mark.parametrize("n_partitions", PARTITIONS)
@pytest.mark.parametrize("limit", [10_000, 400])
def test_duplicates_and_ties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_partitions: int, limit: int
) -> None:
    """Equal rows are one node, as in a fit; equal distances go to the smaller node."""
    monkeypatch.setattr(knn, "EXACT_LIMIT", limit)
    monkeypatch.setattr(knn, "_CELL_SIZE", 30)
    x = np.random.default_rng(0).integers(0, 12, (3000, 3)).astype(np.float32)
    rows = distinct_rows(x)
    assert len(rows.row) < len(x)
    made = made_graph(x, tmp_path, n_partitions)
    assert_same_graph(gathered_graph(made.graph), knn_graph(x[rows.row], 5))


def test_number_of_cells_where_all_are_compared_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large cells or small, one or many: the graph is exact."""
    x = clusters(2, 700)
    for size in (7, 300, 10_000):
        monkeypatch.setattr(partition_module, "_CELL_SIZE_EXACT", size)
        folder = tmp_path / str(size)
        folder.mkdir()
        assert_same_graph(gathered_graph(made_graph(x, folder, 2).graph), knn_graph(x, 5))


def test_edges_are_counted_once(tmp_path: Path) -> None:
    """The number of edges is the graph's; cut ones are those between partitions."""
    x = clusters(3, 900)
    made = made_graph(x, tmp_path, 4)
    expected = knn_graph(x, 5)
    part = np.empty(900, int)
    for p in range(4):
        part[made.nodes.scratch.load(f"part{p}-node")] = p
    row = np.repeat(np.arange(900), np.diff(expected.indptr))
    assert made.graph.n_edges == expected.n_edges
    assert made.graph.n_cut == (part[row] != part[expected.indices]).sum() // 2
    assert 0 < made.graph.cut_share < 0.3


def test_any_graph_is_spread_and_gathered() -> None:
    """A graph in random partitions, some nodes without edges, is the same when gathered."""
    graph = random_graph(0, 300, kind="zeros")
    lonely = Graph.from_edges(5, [0], [4], [0.0])
    for one, part in ((graph, np.arange(300) % 7), (lonely, np.array([0, 1, 2, 2, 1]))):
        with spread(one, part) as parted:
            assert_same_graph(gathered_graph(parted), one)


def test_edges_are_added_within_and_between_partitions() -> None:
    """New edges, given in one direction by one partition, are known to both."""
    with spread(path(1.0, 1.0, 1.0, 1.0), np.array([0, 0, 1, 1, 1])) as parted:
        # Places run against the nodes: see `spread`.
        none = Edges(*(np.empty(0, int) for _ in range(3)), np.empty(0, np.float32))
        own = Edges(np.array([1, 1]), np.array([1, 1]), np.array([0, 1]), np.float32([7, 5]))
        more = with_edges(parted, [own, none], ENGINE)
        expected = path(1.0, 1.0, 1.0, 1.0).with_edges([0, 0], [4, 3], [7.0, 5.0])
        assert_same_graph(gathered_graph(more), expected)
        assert (more.n_edges, more.n_cut, more.version) == (6, 3, 1)


def test_graphs_are_held_up_to_a_size() -> None:
    """The one that was used last stays longest, and one that is too large is not kept."""
    from geoquant.distributed.graph import _HeldGraphs

    arrays = random_graph(0, 5).arrays
    with spread(random_graph(0, 5), np.zeros(5, int)) as graph:
        held = _HeldGraphs(10)
        held.add((graph, 0), arrays, 5)
        held.add((graph, 1), arrays, 5)
        assert held.find((graph, 0)) is arrays
        held.add((graph, 2), arrays, 4)
        assert [held.find((graph, p)) is not None for p in range(3)] == [True, False, True]
        held.add((graph, 3), arrays, 11)
        assert held.find((graph, 3)) is None
