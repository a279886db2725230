"""Components and bridges across partitions: those of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from geoquant import Graph, bridge_components, connected_components, knn_graph
from geoquant.distributed import components as module
from geoquant.distributed.components import bridge_parts, parted_components
from geoquant.distributed.graph import gathered_graph
from geoquant.graph import components as on_one_machine
from tests.distributed.parts import ENGINE, made_graph, spread
from tests.distributed.test_graph import assert_same_graph

if TYPE_CHECKING:
    from pathlib import Path


def labels_of(graph: Graph, part: np.ndarray) -> tuple[list[int], tuple[int, ...]]:
    with spread(graph, part) as parted:
        found = parted_components(parted, ENGINE)
        label = np.empty(graph.n_nodes, int)
        for p in range(parted.n_partitions):
            label[parted.scratch.load(f"part{p}-node")] = parted.scratch.load(f"component{p}")
    return label.tolist(), found.sizes


@pytest.mark.parametrize("seed", range(5))
def test_components_of_any_graph(seed: int) -> None:
    """Few random edges, nodes strewn over partitions: numbers and sizes of one machine."""
    rng = np.random.default_rng(seed)
    graph = Graph.from_edges(200, *rng.integers(0, 200, (2, 130)), np.ones(130))
    expected = connected_components(graph)
    label, sizes = labels_of(graph, rng.integers(0, 6, 200))
    assert label == expected.tolist()
    assert sizes == tuple(np.bincount(expected).tolist())


def clusters(rng: np.random.Generator, n: int) -> np.ndarray:
    return (rng.standard_normal((n, 2)) + 20 * rng.integers(0, 5, (n, 1))).astype(np.float32)


def points_of_grid(rng: np.random.Generator, n: int) -> np.ndarray:
    x = np.unique(rng.integers(0, 40, (n, 2)).astype(np.float32), axis=0)
    return x[rng.permutation(len(x))]


@pytest.mark.parametrize("n_partitions", [1, 4])
@pytest.mark.parametrize("most_asking", [20, 4096])
@pytest.mark.parametrize(
    ("make", "k"), [(clusters, 1), (clusters, 4), (points_of_grid, 1), (points_of_grid, 2)]
)
def test_bridges_are_those_of_one_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: object,
    k: int,
    most_asking: int,
    n_partitions: int,
) -> None:
    """Many small components or few large ones, with ties or not: the same edges are added."""
    for place in (module, on_one_machine):
        monkeypatch.setattr(place, "MOST_MEMBERS_ASKING", most_asking)
    x = make(np.random.default_rng(k), 300)
    expected = bridge_components(knn_graph(x, k), x)
    found = bridge_parts(made_graph(x, tmp_path, n_partitions, k).graph, ENGINE)
    assert found.n_components == expected.n_components > 1
    assert found.bridges.tolist() == expected.bridges.tolist()
    assert_same_graph(gathered_graph(found.graph), expected.graph)


def test_a_connected_graph_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing is added, and no new arrays are made."""
    x = np.random.default_rng(0).random((300, 2)).astype(np.float32)
    graph = made_graph(x, tmp_path, 3, 8).graph
    found = bridge_parts(graph, ENGINE)
    assert (found.n_components, found.graph, found.bridges.shape) == (1, graph, (0, 2))
