"""Tests of the stages: they run on few latents, and stop where a result is wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from benchmarks import bounds, datasets, stage, verify
from benchmarks.quality import tokens
from benchmarks.speed import assign, bits, fit, graph, quantizer, seeding, shortest_paths, swap
from benchmarks.stage import Plan
from benchmarks.table import Row, read_results
from benchmarks.verify import WrongResult
from geoquant.fit import connected_graph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = Plan("quick", "mixture")


@pytest.fixture(scope="module")
def small() -> gq.Graph:
    return connected_graph(datasets.mixture(300, 4).latents, 6)[0]


def broken_search(graph: gq.Graph, sources: Any) -> gq.graph.shortest_paths.NearestSource:
    """A search that is wrong at one node, by one bit."""
    found = gq.nearest_source(graph, sources)
    distance = found.distance.copy()
    distance[7] = np.nextafter(distance[7], np.inf)
    return found._replace(distance=distance)


def test_wrong_search_is_not_timed(small: gq.Graph) -> None:
    """A distance that is off by one bit stops the benchmark of the nearest source."""
    task = shortest_paths.Task(small)
    rows = shortest_paths.nearest_source_rows(task, "title", QUICK)
    assert rows[-1].name == f"faster than {shortest_paths.SAME}"
    with pytest.raises(WrongResult, match="geoquant: distances: 1 of 300 entries differ"):
        shortest_paths.nearest_source_rows(task, "title", QUICK, broken_search)


def test_super_source_asks_the_same(small: gq.Graph) -> None:
    """From one node more, joined to the sources at length zero, distances are the same."""
    task = shortest_paths.Task(small, 5)
    start, end, length = task.with_super_source()
    more = gq.Graph.from_edges(301, start, end, length)
    found = gq.nearest_source(more, [300]).distance[:300]
    assert np.array_equal(found, task.expected)


def test_graph_that_lacks_neighbours_is_not_timed() -> None:
    """A check of the graph stage refuses a graph of fewer neighbours."""
    data = datasets.mixture(300, 4)
    check = graph.ours(data, 1.0).check
    assert check(gq.knn_graph(data.latents, graph.K)) == "recall 1.0000"
    with pytest.raises(WrongResult, match="expected at least 1"):
        check(gq.knn_graph(data.latents, graph.K - 1))


def test_inverted_file_is_tuned_to_the_recall() -> None:
    """The probes that it takes, and no result of less recall."""
    contender = graph.faiss_ivf(datasets.mixture(2_000, 4), 0.9)
    assert "probes" in contender.check(contender.run())


def test_bad_seeds_are_not_timed(small: gq.Graph) -> None:
    """Too few, equal ones, or ones no better than any."""
    right = seeding.ours(small, 8)
    most = 1.01 * verify.energy(verify.as_scipy(small), right, seeding.POWER)
    assert seeding.check(small, 8, most, right).startswith("energy")
    for wrong, message in (
        (right[:-1], "7 seeds"),
        (np.repeat(right[:1], 8), "equal"),
        (np.arange(8), "expected at most"),
    ):
        with pytest.raises(WrongResult, match=message):
            seeding.check(small, 8, most, wrong)


def test_seeds_by_scipy_are_as_good(small: gq.Graph) -> None:
    """The slow twin draws distinct seeds of about the same energy."""
    matrix = verify.as_scipy(small)
    drawn = [verify.energy(matrix, seeding.by_scipy(small, 8, s), 2) for s in range(5)]
    own = [verify.energy(matrix, seeding.ours(small, 8, s), 2) for s in range(5)]
    assert np.mean(own) == pytest.approx(np.mean(drawn), rel=0.2)


@pytest.mark.parametrize("field", ["distance", "labels"])
def test_wrong_clustering_is_not_timed(field: str) -> None:
    """Our outcome is verified at every seed."""

    def kmedoids(*args: Any, **options: Any) -> gq.Clustering:
        right = gq.geodesic_kmedoids(*args, **options)
        return dataclasses.replace(right, **{field: np.roll(getattr(right, field), 1)})

    arena = swap.Arena(datasets.mixture(300, 4), kmedoids)
    with pytest.raises(WrongResult, match="entries differ"):
        arena.ours("ours", 1, (0,), 8)


def test_alternation_does_not_pass_for_a_local_optimum() -> None:
    """What says that it swapped to an optimum is tried at random nodes."""

    def kmedoids(*args: Any, **options: Any) -> gq.Clustering:
        return gq.geodesic_kmedoids(*args, **options | {"algorithm": "alternate"})

    arena = swap.Arena(datasets.mixture(300, 4), kmedoids)
    with pytest.raises(WrongResult, match="no local optimum"):
        arena.ours("swap", 2, (0, 1, 2), 8, algorithm="swap")


def test_all_pairs_by_processes(small: gq.Graph) -> None:
    """The shares of the processes make up all of it."""
    matrix = verify.as_scipy(small)
    assert np.array_equal(swap.all_pairs(matrix, 2), verify.dijkstra(matrix))


def test_medoids_of_cells_are_the_best() -> None:
    """The node in the middle of each cell of a line."""
    line = np.abs(np.subtract.outer(np.arange(6.0), np.arange(6.0)))
    assert swap.medoids_of_cells(line, np.array([0, 0, 0, 1, 1, 1]), 2).tolist() == [1, 4]


def test_means_whose_labels_are_wrong_are_not_timed() -> None:
    """Labels of other means are told from those of the nearest."""
    x = datasets.mixture(500, 4).latents
    means, labels = fit.sklearn_means("KMeans", x, n_init=1)
    assert "nearest mean" in fit.check_means(x, (means, labels))
    with pytest.raises(WrongResult, match="nearest mean"):
        fit.check_means(x, (means, np.roll(labels, 1)))


def test_wrong_codes_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are those of the definition, latent by latent."""
    monkeypatch.setattr(assign, "K", 8)
    data = datasets.mixture(300, 4)
    fitted = gq.fit_codebook(data.latents, 8, random_state=0)
    task = assign.Task(data, fitted.codebook, datasets.new_latents(40, data), fitted.codes)
    right = fitted.codebook.assign(task.new)
    assert "as defined" in assign.check_codes(task, right)
    with pytest.raises(WrongResult, match="code of row"):
        assign.check_codes(task, (right + 1) % 8)
    lost = np.zeros((40, assign.N_NEIGHBORS), int)
    with pytest.raises(WrongResult, match="recall"):
        assign.check_neighbours(task, lost)


def test_wrong_quantizers_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes are the nearest codewords and what is quantized are their rows; geodesic ones too."""
    monkeypatch.setattr(quantizer, "K", 8)
    task = quantizer.task(Plan("quick", "mixture"))
    output = quantizer.ours(task).run()
    assert quantizer.check_nearest(task, output) == "nearest codewords"
    wrong = output._replace(indices=(output.indices + 1) % 8)
    with pytest.raises(WrongResult, match="code of row"):
        quantizer.check_nearest(task, wrong)
    with pytest.raises(WrongResult, match="from their codewords"):
        quantizer.check_nearest(task, output._replace(quantized=output.quantized + 1))
    codes = quantizer.by_codebook(task).run()
    assert "1.00000" in quantizer.check_geodesic(task.codebook, task.data, codes)
    with pytest.raises(WrongResult, match="code of row"):
        quantizer.check_geodesic(task.codebook, task.data, (codes + 1) % 8)


def test_digest_is_of_every_bit() -> None:
    """Of type and shape too; the fit's does not depend on threads."""
    zeros = np.zeros(4, np.float32)
    assert bits.digest(zeros) == bits.digest(zeros.copy())
    for other in (-zeros, zeros.astype(float), zeros.reshape(2, 2)):
        assert bits.digest(zeros) != bits.digest(other)
    x = datasets.mixture(300, 4).latents
    assert bits.digest_of_fit(x, 1, []) == bits.digest_of_fit(x, 3, [])


def test_swap_visits_are_those_of_a_hand_count() -> None:
    """On a line of five nodes with centres at both ends."""
    line = gq.Graph.from_edges(5, range(4), range(1, 5), np.ones(4))
    # The second centre is 4, 3, 2, 3 and 4 away. From an end, node 2 is as far as that; from
    # the three nodes between, every node is nearer.
    nodes, entries = bounds.swap_visits(line, np.array([0, 4]))
    everything = [0, 1, 2, 3, 4]
    visited = {0: [0, 1], 1: everything, 2: everything, 3: everything, 4: [3, 4]}
    degree = [1, 2, 2, 2, 1]
    assert nodes == pytest.approx(np.mean([len(v) for v in visited.values()]))
    assert entries == pytest.approx(np.mean([sum(degree[u] for u in v) for v in visited.values()]))


def test_rows_are_kept_as_soon_as_they_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong result ends the stage with 1 and leaves what was measured before."""

    def groups(_: Plan) -> Iterator[list[Row]]:
        yield [Row("stage", "first", 1.0, "s", target=2.0)]
        raise WrongResult("labels: 3 of 9 entries differ")

    assert stage.main("some", groups, ["--results", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "first  1 s  ≤ 2 s  PASS" in captured.out
    assert "Wrong result in some: labels: 3 of 9" in captured.err
    results = read_results(tmp_path / "some.json")
    assert [row.name for row in results.rows] == ["first"]
    (about,) = results.runs.values()
    assert about["size"] == "bench"
    assert any("faiss" in line for line in about["blas"])


def test_quick_runs_judge_and_keep_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Some stages run through on few latents of the mixture."""
    stages = {
        "assign": assign,
        "quantizer": quantizer,
        "shortest_paths": shortest_paths,
        "tokens": tokens,
    }
    for name, module in stages.items():
        assert stage.main(name, module.groups, ["--quick", "--source", "mixture"]) == 0
    printed = capsys.readouterr().out
    assert "share of the time of faiss" in printed
    assert "PASS" not in printed
    assert "short\n" not in printed


def test_absent_data_exits_2_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for the latents of MNIST, the command says which variable to set."""
    monkeypatch.delenv("GEOQUANT_DATA", raising=False)
    assert stage.main("assign", assign.groups, ["--quick", "--source", "mnist"]) == 2
    assert "GEOQUANT_DATA is not set; set it to the folder" in capsys.readouterr().err
