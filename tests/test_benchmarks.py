"""Tests of the benchmarks: they run through, refuse wrong results, and render what they wrote."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from benchmarks import table
from benchmarks.measure import (
    NotAvailable,
    WrongResult,
    data_file,
    peak_of_command,
    require_close,
    require_equal,
    seconds_in_turn,
)
from benchmarks.speed import fit
from benchmarks.table import Row
from geoquant.fit import connected_graph

if TYPE_CHECKING:
    from pathlib import Path

TINY = dataclasses.replace(fit.QUICK, repeats=1, seeds=(0,))


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for the latents, in the place where benchmarks look."""
    rng = np.random.default_rng(0)
    (tmp_path / "latents").mkdir()
    for part, n in (("train", 300), ("test", 60)):
        digit = rng.integers(0, 10, n)
        latents = rng.normal(size=(n, 4)) + digit[:, None]
        np.save(tmp_path / f"latents/mnist_vae20_{part}_mean.npy", latents.astype(np.float32))
        np.save(tmp_path / f"latents/mnist_{part}_labels.npy", digit)
    monkeypatch.setenv("GEOQUANT_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def graph() -> gq.Graph:
    x = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    return connected_graph(x, 6)[0]


def broken_search(graph: gq.Graph, sources: Any) -> gq.graph.shortest_paths.NearestSource:
    """A search that is wrong at one node, by one bit."""
    found = gq.nearest_source(graph, sources)
    distance = found.distance.copy()
    distance[7] = np.nextafter(distance[7], np.inf)
    return found._replace(distance=distance)


@pytest.mark.usefixtures("data_folder")
def test_quick_mode_runs_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every stage is measured and printed; nothing is judged or written."""
    monkeypatch.setattr(fit, "RESULTS", tmp_path / "fit.json")
    assert fit.main(["--quick"]) == 0
    printed = capsys.readouterr().out
    for stage in ("Start-up", "Peak memory", "Nearest of", "Clustering of", "accuracy", "anchors",
                  "Energy over", "Time beside"):  # fmt: skip
        assert stage in printed
    assert "PASS" not in printed
    assert "short" not in printed
    assert not (tmp_path / "fit.json").exists()


def test_wrong_search_is_not_timed(graph: gq.Graph) -> None:
    """A distance that is off by one bit stops the benchmark of the nearest source."""
    with pytest.raises(WrongResult, match="1 of 200 entries differ"):
        fit.nearest_source_rows(graph, TINY, nearest_source=broken_search)


@pytest.mark.parametrize(
    ("field", "broken", "message"),
    [
        ("labels", lambda value: np.roll(value, 1), "labels"),
        ("distance", lambda value: value * 1.001, "distances"),
        ("inertia", lambda value: value * 0.99, "energy"),
        ("medoid_indices", lambda value: np.repeat(value[:1], len(value)), "distinct centres"),
    ],
)
def test_wrong_clustering_is_not_timed(
    graph: gq.Graph, field: str, broken: Any, message: str
) -> None:
    """A clustering that is wrong in any part stops the contest with FasterPAM."""

    def kmedoids(*args: Any, **options: Any) -> gq.Clustering:
        right = gq.geodesic_kmedoids(*args, **options)
        return dataclasses.replace(right, **{field: broken(getattr(right, field))})

    with pytest.raises(WrongResult, match=message):
        fit.contest(graph, TINY, kmedoids)


def test_right_clustering_is_timed(graph: gq.Graph) -> None:
    """The contest holds one time and energy per seed and power for both sides."""
    found = fit.contest(graph, TINY, gq.geodesic_kmedoids)
    assert len(found.all_pairs_s) == 1
    for per_power in (found.ours_s, found.fasterpam_s, found.ours_energy, found.fasterpam_energy):
        assert {power: len(values) for power, values in per_power.items()} == {1: 1, 2: 1}
    for power in fit.POWERS:
        ours, theirs = found.ours_energy[power][0], found.fasterpam_energy[power][0]
        assert ours == pytest.approx(theirs, rel=0.05)


@pytest.mark.usefixtures("data_folder")
def test_wrong_result_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says what is wrong and exits 1."""

    def wrong(*_: object) -> list[Row]:
        raise WrongResult("labels: 3 of 9 entries differ")

    monkeypatch.setattr(fit, "start_rows", wrong)
    assert fit.main(["--quick"]) == 1
    assert "labels: 3 of 9" in capsys.readouterr().err


def test_absent_data_exits_2_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without data the command says which variable to set."""
    monkeypatch.delenv("GEOQUANT_DATA", raising=False)
    assert fit.main([]) == 2
    assert "GEOQUANT_DATA is not set; set it to the folder" in capsys.readouterr().err


def test_missing_file_is_named(data_folder: Path) -> None:
    """A folder without the file is as good as none, and the file is named."""
    with pytest.raises(NotAvailable, match=r"latents/none\.npy does not exist"):
        data_file("latents/none.npy")
    assert data_file("latents/mnist_test_labels.npy").is_relative_to(data_folder)


@pytest.mark.usefixtures("data_folder")
def test_full_run_wants_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Targets are not judged on fewer rows than they were set for."""
    assert fit.main([]) == 2
    assert "must have 60000 rows, not 300" in capsys.readouterr().err


def test_absent_peer_exits_2_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without kmedoids the command says which extra to install."""
    monkeypatch.setitem(sys.modules, "kmedoids", None)
    assert fit.main(["--quick"]) == 2
    assert "pip install 'geoquant[bench]'" in capsys.readouterr().err


def test_equal_means_equal_in_shape_and_bits() -> None:
    """Arrays of another shape or with one other bit are not equal."""
    require_equal("same", [1.0, np.inf], [1.0, np.inf])
    with pytest.raises(WrongResult, match="shapes"):
        require_equal("short", [1.0], [1.0, 1.0])
    with pytest.raises(WrongResult, match="1 of 2"):
        require_equal("bit", [1.0, 2.0], [1.0, np.nextafter(2.0, 3.0)])


def test_close_allows_rounding_only() -> None:
    """Sums may differ in their last bits."""
    require_close("sum", 1.0, np.nextafter(1.0, 2.0))
    with pytest.raises(WrongResult, match="sum"):
        require_close("sum", 1.0, 1.0 + 1e-6)


def test_functions_are_timed_in_turn() -> None:
    """After a round of warming up, each repeat runs every function once."""
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = seconds_in_turn(functions, 2)
    assert calls == list("ababab")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_peak_of_a_command_is_its_own() -> None:
    """The peak holds what the command took, and nothing of this process."""
    ballast = bytearray(300_000_000)
    little = peak_of_command(sys.executable, "-S", "-c", "pass")
    much = peak_of_command(sys.executable, "-S", "-c", "bytearray(100_000_000)")
    assert little < 100 < much < 300 < len(ballast) / 1e6 + 1


def test_verdicts() -> None:
    """A target is a least or a most value, and reaching it is enough."""
    row = Row("stage", "name", 6.0, "×", target=6.0, at_least=True)
    assert row.verdict == "PASS"
    assert dataclasses.replace(row, value=5.9).verdict == "short"
    assert dataclasses.replace(row, value=5.9, at_least=False).verdict == "PASS"
    assert dataclasses.replace(row, target=None).verdict == ""


def test_rows_survive_json() -> None:
    """What is written is read back, and what surrounds the rows too."""
    rows = [Row("stage", "name", 1.5, "s", target=2.0, note="why", numbers={"seconds": [1.5]})]
    again, about = table.from_json(table.as_json(rows, k=64))
    assert again == rows
    assert about["k"] == 64


def test_text_and_markdown_show_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Value, target and verdict of a row stand in one line, under the stage."""
    rows = [Row("Time", "fit", 1.5, "s", target=2.0), Row("Memory", "fit", 41.0, "MB", target=40.0)]
    monkeypatch.setattr(fit, "commit", lambda: "0123456789abcdef")
    text, markdown = table.as_text(rows), table.as_markdown(rows, {"machine": fit.machine()})
    assert "\nTime\n  fit  1.5 s  ≤ 2 s  PASS" in text
    assert "| Memory | measured | target | | |" in markdown
    assert "| fit | 41 MB | ≤ 40 MB | short |  |" in markdown
    assert "(0123456789)" in markdown


def test_readme_block_is_replaced_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block between the markers is replaced, again and again to the same text."""
    readme, results = tmp_path / "README.md", tmp_path / "fit.json"
    readme.write_text("# A\n<!-- bench-fit:begin -->\nold\n<!-- bench-fit:end -->\nB\n")
    results.write_text(table.as_json([Row("Time", "fit", 1.5, "s")], machine=fit.machine()))
    monkeypatch.setattr(fit, "README", readme)
    monkeypatch.setattr(fit, "RESULTS", results)
    assert fit.main(["--update-readme"]) == 0
    first = readme.read_text()
    assert fit.main(["--update-readme"]) == 0
    assert readme.read_text() == first
    assert first.startswith("# A\n<!-- bench-fit:begin -->\n\nMeasured ")
    assert first.endswith("| fit | 1.5 s |  |  |  |\n\n<!-- bench-fit:end -->\nB\n")


def test_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    """There is no guess at where the tables belong."""
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n")
    with pytest.raises(NotAvailable, match="must hold <!-- x:begin -->"):
        table.replace_block(readme, "x", "content")
    assert readme.read_text() == "nothing\n"


def test_rendering_without_results_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first run there is nothing to render."""
    monkeypatch.setattr(fit, "RESULTS", tmp_path / "none.json")
    assert fit.main(["--render"]) == 2
    assert "python -m benchmarks.speed.fit" in capsys.readouterr().err
