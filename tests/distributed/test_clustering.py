"""Centres in partitions: a coarse start, gains that are real, energies that only fall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant import Graph, _core, geodesic_kmedoids, nearest_source
from geoquant.clustering.alternate import energy_of, owning_themselves
from geoquant.clustering.kmedoids import cell_means
from geoquant.clustering.multilevel import coarse_centres
from geoquant.distributed import contraction, refine, region
from geoquant.distributed.cell_sums import parted_cell_means
from geoquant.distributed.components import bridge_parts
from geoquant.distributed.contraction import contract, final_state
from geoquant.distributed.local_swaps import Proposal, Round, note_changes, propose_swaps
from geoquant.distributed.refine import coarse_start, parted_clustering
from geoquant.distributed.search import Work, energy_of_state, parted_nearest_source
from tests.distributed.parts import ENGINE, made_graph, spread
from tests.graphs import grid, path, random_graph, random_weights

if TYPE_CHECKING:
    from pathlib import Path

    from geoquant.distributed.graph import PartedGraph

Centres = np.ndarray[Any, np.dtype[np.int32]]


def strewn(n: int, n_partitions: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, n_partitions, n)


def int32(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


@pytest.mark.parametrize("n_at_once", [7, 1 << 16])
@pytest.mark.parametrize("n_partitions", [1, 4])
def test_contracted_graph(
    n_partitions: int, n_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells are joined by the shortest way from centre to centre across one edge, and weighed."""
    monkeypatch.setattr(contraction, "_NODES_AT_ONCE", n_at_once)
    graph, weight = random_graph(0, 300, kind="ties"), random_weights(0, 300)
    sources = np.random.default_rng(0).permutation(300)[:40]
    paths = nearest_source(graph, sources)
    row = np.repeat(np.arange(300), np.diff(graph.indptr))
    length = paths.distance[row] + graph.lengths + paths.distance[graph.indices]
    expected = Graph.from_edges(40, paths.source[row], paths.source[graph.indices], length)
    with spread(graph, strewn(300, n_partitions), weight) as parted:
        found = contract(parted_nearest_source(parted, sources, ENGINE), 40, ENGINE)
    assert found.graph.indices.tolist() == expected.indices.tolist()
    assert found.graph.lengths.tobytes() == expected.lengths.tobytes()
    assert found.weight.tolist() == np.bincount(paths.source, weight, 40).tolist()


def test_ghosts_have_the_state_of_their_own_places() -> None:
    """Also where it was not told because it changed nothing."""
    graph = random_graph(1, 200)
    expected = nearest_source(graph, [0, 50, 100])
    with spread(graph, strewn(200, 5)) as parted:
        state = parted_nearest_source(parted, [0, 50, 100], ENGINE)
        nodes = [parted.scratch.load(f"part{p}-node") for p in range(5)]
        for p in range(5):
            distance, source = final_state(state, p)
            ghost, cut = parted.load(p, "ghost"), parted.load(p, "ghost-cut")
            of_ghost = [nodes[q][ghost[cut[q] : cut[q + 1]]] for q in range(5)]
            known = np.concatenate([nodes[p], *of_ghost])
            assert distance.tobytes() == expected.distance[known].tobytes()
            assert source.tolist() == expected.source[known].tolist()


def test_the_coarse_start_is_that_of_one_machine() -> None:
    """The same random nodes, the same cells, the same swaps among them."""
    graph = random_graph(2, 12_288, kind="ties")
    expected = coarse_centres(
        graph,
        9,
        n_coarse=12_288,
        power=2,
        weights=np.ones(12_288),
        generator=np.random.default_rng(0),
    )
    with spread(graph, strewn(12_288, 3)) as parted:
        found = coarse_start(parted, 9, ENGINE, power=2, generator=np.random.default_rng(0))
    assert found.tolist() == expected.tolist()


def energy(graph: Graph, centres: np.ndarray, power: int, weight: np.ndarray) -> float:
    return energy_of(nearest_source(graph, centres).distance, power, weight)


def proposals_of(
    parted: PartedGraph, centres: Centres, power: int, most: int | None = 10**9
) -> list[Proposal]:
    state = parted_nearest_source(parted, centres, ENGINE)
    asked = first_round(centres, power, most)
    return [propose_swaps(state, p, asked) for p in range(parted.n_partitions)]


def first_round(centres: Centres, power: int, most: int | None) -> Round:
    return Round(centres, np.ones(len(centres), np.bool_), 0, power, 0, most)


@pytest.mark.parametrize("n_at_once", [11, 1 << 16])
def test_regions_see_the_centres_where_they_are(
    n_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every node of a region is as far from the nearest centre as on the whole graph."""
    monkeypatch.setattr(region, "_NODES_AT_ONCE", n_at_once)
    graph, weight = random_graph(3, 400), random_weights(3, 400)
    part, centres = strewn(400, 3), np.arange(0, 400, 33)
    distance, source = nearest_source(graph, centres)[:2]
    with spread(graph, part, weight) as parted:
        state = parted_nearest_source(parted, centres, ENGINE)
        for p in range(3):
            is_own = part[centres] == p
            found = region.region_of(state, p, is_own)
            order = [parted.scratch.load(f"part{q}-node") for q in (p, *{0, 1, 2} - {p})]
            nodes = np.concatenate([order[0], *(q[is_own[source[q]]] for q in order[1:])])
            n_fixed = found.n_fixed
            starts = np.flatnonzero(np.isin(order[0], centres[is_own]))
            starts = np.r_[starts, np.arange(len(nodes), len(nodes) + n_fixed)]
            near = nearest_source(found.graph, starts).distance
            assert found.graph.n_nodes == len(nodes) + n_fixed
            assert found.weight[: len(nodes)].tolist() == weight[nodes].tolist()
            np.testing.assert_allclose(near[: len(nodes)], distance[nodes], rtol=1e-6)
            assert (found.weight[len(nodes) :] > 1e5 * weight.sum()).all()


def test_a_round_goes_on_where_the_last_left_off() -> None:
    """Nodes tried in vain wait until their way to a centre changes; near ones go first."""
    with spread(path(*[1.0] * 39), np.zeros(40, int)) as parted:
        centres = int32(2, 20)
        state = parted_nearest_source(parted, centres, ENGINE)
        asked = first_round(centres, 1, 0)
        first = propose_swaps(state, 0, asked)
        again = propose_swaps(state, 0, asked)  # a task may be run twice
        assert (first.node.tolist(), first.gain) == (again.node.tolist(), again.gain)
        moved = int32(2, 30)
        after = parted_nearest_source(parted, moved, ENGINE, name="after")
        assert note_changes(state, after, 0, 0, 2).tolist() == [True, True]
        is_tried = parted.scratch.load("tried0-before1")
        still = nearest_source(path(*[1.0] * 39), centres).distance
        still = still == nearest_source(path(*[1.0] * 39), moved).distance
        assert not is_tried[~still].any()
        assert is_tried.sum() == (parted.scratch.load("tried0-after0") & still).sum()


def test_nodes_near_the_centres_are_tried_first() -> None:
    """Each centre and the 16 nodes nearest to it go before all others."""
    with spread(path(*[1.0] * 999), np.zeros(1000, int)) as parted:
        state = parted_nearest_source(parted, int32(100, 900), ENGINE)
        asked = first_round(int32(100, 900), 2, 1)
        from geoquant.distributed.local_swaps import _candidates

        node = parted.scratch.copy_of("part0-node")
        found = node[_candidates(state, 0, asked, np.zeros(1000, np.bool_))]
        assert sorted(found.tolist()) == list(range(1000))
        near = np.abs(found[:34, None] - np.array([100, 900])).min(axis=1)
        assert near.max() == 8
        idle = asked._replace(is_changed=np.array([True, False]))
        found = node[_candidates(state, 0, idle, np.ones(1000, np.bool_))]
        assert sorted(found.tolist()) == list(range(92, 109))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_gains_are_real(seed: int, power: int) -> None:
    """Alone, what a partition proposes lowers the energy of the whole at least as much as it says.

    Only its own centres move, and only to its own nodes.
    """
    graph, weight = random_graph(seed, 400), random_weights(seed, 400)
    centres = np.random.default_rng(seed).permutation(400)[:12].astype(np.int32)
    part = np.arange(400) // 100
    before = energy(graph, centres, power, weight)
    n_moved = 0
    with spread(graph, part, weight) as parted:
        for p, proposal in enumerate(proposals_of(parted, centres, power)):
            moved = centres.copy()
            moved[proposal.position] = proposal.node
            n_moved += len(proposal.position)
            assert (part[centres[proposal.position]] == p).all()
            assert (part[proposal.node] == p).all()
            gain = before - energy(graph, moved, power, weight)
            assert gain >= proposal.gain * (1 - 1e-6) - 1e-6 * before
            assert proposal.gain > 0 or not len(proposal.position)
    assert n_moved > 4


def test_one_partition_swaps_like_one_machine() -> None:
    """With all nodes in one place the proposal is a local optimum of the whole graph."""
    graph = random_graph(5, 300)
    centres = np.arange(6, dtype=np.int32)
    with spread(graph, np.zeros(300, int)) as parted:
        (proposal,) = proposals_of(parted, centres, 1)
    centres[proposal.position] = proposal.node
    arguments = (np.arange(300, dtype=np.int32), 10**9)
    *_, n_swaps, _, is_optimum = _core.swap_centres(
        graph.arrays, np.ones(300), 1, centres, *arguments
    )
    assert (n_swaps, is_optimum) == (0, True)


def test_partitions_that_can_propose_nothing() -> None:
    """One without centres, and one whose centre is the only one there is."""
    with spread(path(*[1.0] * 5), np.array([0, 0, 0, 1, 1, 1])) as parted:
        assert [len(p.position) for p in proposals_of(parted, int32(0), 1)] == [0, 0]
        found = proposals_of(parted, int32(0, 1), 1)
        assert [p.node.tolist() for p in found][1] == []


def test_a_region_in_pieces() -> None:
    """Own nodes that only other partitions join are searched all the same."""
    line = path(*[1.0] * 8)
    with spread(line, np.array([0, 0, 0, 1, 1, 1, 0, 0, 0])) as parted:
        first, second = proposals_of(parted, int32(0, 3, 8), 1)
    assert (first.node.tolist(), first.gain) == ([7], 1.0)
    assert (second.node.tolist(), second.gain) == ([], 0.0)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("n_partitions", [1, 2, 5])
def test_clustering_in_partitions_is_near_that_of_one_machine(
    tmp_path: Path, n_partitions: int, power: int
) -> None:
    """Energies only fall, are those of the centres in bits, and end within 3 % of swaps."""
    x = np.random.default_rng(0).standard_normal((3000, 3)).astype(np.float32)
    made = made_graph(x, tmp_path, n_partitions)
    graph = bridge_parts(made.graph, ENGINE).graph
    from geoquant.distributed.graph import gathered_graph

    whole, work = gathered_graph(graph), Work()
    found = parted_clustering(
        graph, 30, ENGINE, power=power, generator=np.random.default_rng(0), work=work
    )
    assert (np.diff(found.energy_history) < 0).all()
    assert found.is_converged
    assert len(set(found.centres.tolist())) == 30
    assert found.energy_history[-1] == energy(whole, found.centres, power, np.ones(3000))
    assert found.energy_history[-1] == energy_of_state(found.state, power, ENGINE)
    one = geodesic_kmedoids(
        whole, 30, power=power, algorithm="swap", n_perturbations=0, random_state=0
    )
    assert found.energy_history[-1] <= 1.03 * one.inertia
    assert work.n_searches >= 2


def test_proposals_that_spoil_one_another_are_tried_one_by_one() -> None:
    """Two partitions that move a centre each to one another's side keep the better move only."""
    graph = path(*[1.0] * 11)
    part = np.arange(12) // 6
    centres, spoilt = (
        int32(2, 9),
        (Proposal(np.array([0]), int32(5), 1.0), Proposal(np.array([1]), int32(6), 2.0)),
    )
    with spread(graph, part) as parted:
        measured = refine._Trials(parted, 1, ENGINE, Work())
        state, before = measured(int32(0, 11))
        good = Proposal(np.array([0]), int32(2), 3.0), Proposal(np.array([1]), int32(9), 1.0)
        moved, _, lower = refine._kept(int32(0, 11), state, before, list(good), measured)
        assert (moved.tolist(), lower) == ([2, 9], 18.0)
        bad = [Proposal(np.array([0]), int32(2), 3.0), Proposal(np.array([1]), int32(0), 9.0)]
        state, before = measured(int32(5, 8))
        moved, after, lower = refine._kept(int32(5, 8), state, before, bad, measured)
        assert lower == energy(graph, moved, 1, np.ones(12)) <= before
        state, before = measured(centres)
        moved, after, lower = refine._kept(centres, state, before, list(spoilt), measured)
        assert (moved.tolist(), after, lower) == ([2, 9], state, before)


@pytest.mark.parametrize("n_partitions", [1, 3, 8])
def test_means_do_not_depend_on_the_partition(tmp_path: Path, n_partitions: int) -> None:
    """Means of cells, weights being counts of equal rows, are right and the same in bits."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((400, 3)), rng.integers(1, 4, 400), axis=0).astype(np.float32)
    x *= np.float32([1e-6, 1.0, 1e6])
    made = made_graph(x, tmp_path, n_partitions)
    graph = bridge_parts(made.graph, ENGINE).graph
    centres = np.arange(0, 400, 20, dtype=np.int32)
    state = parted_nearest_source(graph, centres, ENGINE)
    means = parted_cell_means(state, centres, ENGINE)
    from geoquant.distinct import distinct_rows
    from geoquant.distributed.graph import gathered_graph

    rows = distinct_rows(x)
    label = owning_themselves(nearest_source(gathered_graph(graph), centres).source, centres)
    expected = cell_means(x[rows.row], label, 20, rows.weight)
    np.testing.assert_allclose(means, expected, rtol=1e-6)
    assert means.tobytes() == MEANS.setdefault("first", means.tobytes())


MEANS: dict[str, bytes] = {}


def test_few_candidates_have_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number of evaluations, rounds end even where each still gains."""
    monkeypatch.setattr(refine, "MOST_ROUNDS_OF_FEW", 1)
    monkeypatch.setattr(refine, "_MOST_COARSE_NODES", 9)  # a poor start
    generator = np.random.default_rng(1)
    with spread(random_graph(4, 400), strewn(400, 4)) as parted:
        few = parted_clustering(parted, 9, ENGINE, power=2, generator=generator)
        more = parted_clustering(
            parted, 9, ENGINE, power=2, generator=generator, max_evaluations=10**9
        )
    assert (few.n_rounds, few.is_converged) == (1, False)
    assert more.n_rounds > 1


def test_a_grid_of_ties() -> None:
    """On a grid, where most swaps are ties, rounds end."""
    with spread(grid(20, 20), strewn(400, 4)) as parted:
        found = parted_clustering(
            parted, 4, ENGINE, power=2, generator=np.random.default_rng(1), max_rounds=3
        )
    assert found.n_rounds <= 3
