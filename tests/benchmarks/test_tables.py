"""Tests of what becomes of rows: verdicts, JSON, the table of figures, plots, blocks of READMEs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import bounds, figures, plots, report, table
from benchmarks.measure import Timing
from benchmarks.peers import NotAvailable
from benchmarks.table import Results, Row

if TYPE_CHECKING:
    from pathlib import Path

ABOUT = {
    "date": "2026-01-02T03:04+00:00",
    "commit": "0123456789abcdef",
    "cpu": "A Processor",
    "cores": 2,
    "simd": ["portable"],
    "memory_gib": 8.0,
    "system": "Linux",
    "python": "3.11",
    "versions": {"geoquant": "0.1", "numpy": "2.0"},
    "openblas_coretype": "Haswell",
    "blas": ["numpy: openblas 0.3, Haswell"],
    "size": "full",
}
PASSED = Row("Graph", "share", 0.2, "share", target=0.25, figure="graph-60k", note="why")
SHORT = Row("Swap", "time", 7.0, "s", target=6.0, figure="swap-time")


def results(*rows: Row) -> Results:
    return Results().with_rows(rows, "a run", ABOUT)


def test_verdicts() -> None:
    """A target is a least or a most value, and reaching it is enough."""
    row = Row("stage", "name", 6.0, "×", target=6.0, at_least=True)
    assert row.verdict == "PASS"
    assert dataclasses.replace(row, value=5.9).verdict == "short"
    assert dataclasses.replace(row, value=5.9, at_least=False).verdict == "PASS"
    assert dataclasses.replace(row, target=None).verdict == ""
    assert dataclasses.replace(row, value=None).verdict == ""


def test_rows_of_times_name_everyone() -> None:
    """Contenders with their ratio to ours, and whoever is missing with the reason."""
    timings = {"ours": Timing([1.0]), "peer": Timing([2.0, 4.0, 3.0], found="recall 1")}
    rows = table.time_rows("title", timings, "ours", {"gone": "not installed"}, {"kind": "x"})
    assert [row.value for row in rows] == [1.0, 3.0, None]
    assert rows[1].note == "2 s to 4 s in 3 runs; 3.00 × the time of ours; recall 1"
    assert rows[1].numbers["plot"] == {"kind": "x", "method": "peer"}
    assert rows[2].cells() == ("gone", "not measured", "", "", "not installed")


def test_results_survive_json() -> None:
    """What is written is read back, the run too."""
    before = results(PASSED, SHORT)
    assert table.from_json(table.as_json(before)) == before


def test_rows_are_replaced_by_those_of_a_later_run() -> None:
    """By heading and name; a run of which nothing is left is forgotten."""
    both = results(PASSED, SHORT)
    later = both.with_rows([dataclasses.replace(SHORT, value=5.0)], "later", ABOUT)
    assert {row.name: (row.value, row.run) for row in later.rows} == {
        "share": (0.2, "a run"),
        "time": (5.0, "later"),
    }
    assert set(later.runs) == {"a run", "later"}
    assert set(later.with_rows([PASSED], "later", ABOUT).runs) == {"later"}


def test_text_and_markdown_show_every_row() -> None:
    """Value, target and verdict of a row stand in one line, under the stage."""
    text, markdown = table.as_text([PASSED, SHORT]), table.as_markdown([PASSED, SHORT])
    assert "\nSwap\n  time  7 s  ≤ 6 s  short" in text
    assert "| Swap | measured | target | | |" in markdown
    assert "| share | 0.200 | ≤ 0.250 | PASS | why |" in markdown


def test_every_figure_stands_in_the_table() -> None:
    """Measured ones with their verdict, recorded ones with day and commit, the others as such."""
    lines = figures.figures(results(PASSED), results(SHORT, dataclasses.replace(PASSED, value=9.0)))
    assert len(lines) == len(figures.FIGURES)
    cells = {line.text: line.cells() for line in lines}
    assert cells[figures.FIGURES["graph-60k"]][1:] == ("0.200", "≤ 0.250", "PASS", "why")
    recorded = cells[figures.FIGURES["swap-time"]]
    assert recorded[1:4] == ("7 s", "≤ 6 s", "short")
    assert recorded[4] == "bench-full only; recorded 2026-01-02, 0123456789"
    assert cells[figures.FIGURES["growth"]][1] == "not measured"
    n_missing = len(figures.FIGURES) - 2
    assert f"1 PASS, 1 short, {n_missing} not measured" in figures.as_text(lines)


def test_no_figure_is_measured_under_another_name() -> None:
    """The names that stages give to rows are those of the table."""
    from benchmarks.measure import ROOT

    code = "".join(f.read_text() for f in (ROOT / "benchmarks" / "speed").glob("*.py"))
    for key in figures.FIGURES:
        dynamic = key in ("graph-d64", "graph-d256") and 'f"graph-d{dim}"' in code
        assert dynamic or f'"{key}"' in code, key


def plot_rows() -> list[Row]:
    rows = []
    for method, slope in (("geoquant", 1.0), ("peer", 2.0)):
        for n in (100, 1_000, 10_000):
            numbers: dict[str, Any] = {"plot": {"kind": "fit", "n": n, "method": method}}
            rows.append(Row("t", f"{method} {n}", 1.0, "s", numbers=numbers | {
                "seconds": [1e-3 * n**slope]}))  # fmt: skip
        for power in (1, 2):
            plot = {"kind": "quality", "n": 100, "power": power, "is_ours": method == "geoquant"}
            rows.append(Row(f"q{power}", method, 1.0, "s", numbers={
                "plot": plot, "seconds": [slope], "energies": [100.0 * slope]}))  # fmt: skip
    return rows


def test_plots_show_slopes_and_excess() -> None:
    """The slope is in the legend, the excess is over the best of all."""
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib import pyplot as plt

    rows = plot_rows()
    time = plots.time_figure(rows)
    labels = [text.get_text() for text in time.axes[0].get_legend().get_texts()]
    assert labels == ["geoquant (slope 1.00)", "peer (slope 2.00)"]
    quality = plots.quality_figure(rows)
    assert [ax.get_title("left")[-5:] for ax in quality.axes] == ["p = 1", "p = 2"]
    heights = [c.get_offsets()[0][1] for c in quality.axes[0].collections]
    assert heights == pytest.approx([0.01, 100.0])
    plt.close("all")


def test_plots_are_written_only_where_there_is_something(tmp_path: Path) -> None:
    """Rows without numbers make no picture."""
    assert plots.draw_all([PASSED], tmp_path) == []
    assert [file.name for file in plots.draw_all(plot_rows(), tmp_path)] == [
        plots.TIME_PLOT,
        plots.QUALITY_PLOT,
    ]


def test_report_fills_both_readmes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks are replaced, again and again to the same text, and nothing else is."""
    readme, own = tmp_path / "README.md", tmp_path / "own.md"
    readme.write_text("A\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nB\n")
    blocks = ("figures", "bounds", "stages")
    own.write_text("".join(f"<!-- {b}:begin -->\n<!-- {b}:end -->\n" for b in blocks))
    (tmp_path / "graph.json").write_text(table.as_json(results(PASSED, *plot_rows())))
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(report, "OWN_README", own)
    monkeypatch.setattr(report, "IMAGES", tmp_path)
    assert report.main(["--results", str(tmp_path)]) == 0
    first, first_own = readme.read_text(), own.read_text()
    assert report.main(["--results", str(tmp_path)]) == 0
    assert (readme.read_text(), own.read_text()) == (first, first_own)
    assert first.startswith(
        "A\n<!-- bench:begin -->\n\nMeasured 2026-01-02 on A Processor, 2 cores"
    )
    assert first.endswith("<!-- bench:end -->\nB\n")
    assert "| 0.200 | why |" in first
    assert "| 0.200 | ≤ 0.250 | PASS | why |" in first_own
    assert "OPENBLAS_CORETYPE Haswell" in first_own


def test_report_without_results_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first run there is nothing to render."""
    assert report.main(["--results", str(tmp_path)]) == 2
    assert "run make bench-full first" in capsys.readouterr().err


def test_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    """There is no guess at where the tables belong."""
    readme = tmp_path / "README.md"
    readme.write_text("nothing\n")
    with pytest.raises(NotAvailable, match="must hold <!-- x:begin -->"):
        table.replace_block(readme, "x", "content")
    assert readme.read_text() == "nothing\n"


RATES = bounds.parsed_rates(
    "".join(
        f"{name} {threads} {rate * threads}\n"
        for name, rate in (
            ("fma_portable", 1e9),
            ("fma_avx2", 8e9),
            ("bytes_read", 1e10),
            ("bytes_read_from_cache", 1e11),
            ("free_reads_32_kib", 4e9),
            ("free_reads_4096_kib", 1e9),
        )
        for threads in (1, 2)
    )
)
KERNEL = bounds.Kernel(
    "k", "data", 2, 16e9, "fma_avx2", 2e9, bounds.MEMORY, 6e9, 33 * 1024, 6.0, "so"
)


def test_bounds_are_counts_over_rates() -> None:
    """Each by the rate for its threads; reads at random by the table that holds them."""
    assert bounds.best_multiply_add(RATES) == "fma_avx2"
    assert bounds.bounds_of(KERNEL, RATES) == {"operations": 1.0, "bytes": 0.1, "random_reads": 3.0}


def test_bounds_are_shown_beside_the_time() -> None:
    """The ratio is to the largest of the three."""
    text = bounds.as_json(ABOUT, RATES, [KERNEL])
    assert "| k, data, 2 threads | 1 s | 0.1 s | 3 s | 6 s | 2.0× | so |" in bounds.as_markdown(
        text
    )
    assert json.loads(text)["kernels"][0]["bounds"]["random_reads"] == 3.0
