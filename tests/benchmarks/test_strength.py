"""Tests of what is taken from the reports of coverage and of mutmut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import reliability, strength

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = """
    geoquant.files.x_write__mutmut_1: killed
    geoquant.files.x_write__mutmut_2: survived
    geoquant.files.x_write__mutmut_3: timeout
    geoquant.graph.paths.xǁPathǁwalk__mutmut_1: killed
    geoquant.graph.paths.xǁPathǁwalk__mutmut_2: no tests
"""


@pytest.fixture
def figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of figures in which a campaign has entered its own."""
    path = tmp_path / "docs" / "reliability.json"
    path.parent.mkdir()
    path.write_text('{"about": {}, "kills": {"kills": 7}, "coverage": {"old": 1}}')
    monkeypatch.setattr(reliability, "FIGURES", path)
    return path


def test_figures_of_coverage(tmp_path: Path, figures: Path) -> None:
    """Totals take the place of older ones, beside what others have entered."""
    totals = {"num_statements": 90, "num_branches": 30, "percent_covered": 98.7654, "other": 1}
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"totals": totals, "files": {}}))
    assert strength.main(["coverage", str(report)]) == 0
    entered = json.loads(figures.read_text())
    assert entered["coverage"]["figures"] == {"statements": 90, "branches": 30, "percent": 98.77}
    assert entered["coverage"]["date"] == entered["about"]["date"]
    assert entered["kills"] == {"kills": 7}
    assert entered["about"]["python"]


def test_figures_of_mutants() -> None:
    """A mutant that no test meets was not noticed, one that never ends was."""
    assert strength.mutation_figures(RESULTS.splitlines()) == {
        "": {"mutants": 5, "killed": 3, "percent": 60.0},
        "geoquant.files": {"mutants": 3, "killed": 2, "percent": 66.67},
        "geoquant.graph.paths": {"mutants": 2, "killed": 1, "percent": 50.0},
    }


def test_a_run_that_did_not_finish_gives_no_figures() -> None:
    """What was not tried is neither noticed nor overlooked."""
    with pytest.raises(ValueError, match=r"x_write__mutmut_4 was not tried"):
        strength.mutation_figures(["geoquant.files.x_write__mutmut_4: not checked"])


@pytest.mark.parametrize(("n_killed", "code"), [(8, 1), (9, 0)])
def test_too_few_noticed_mutants_are_a_failure(
    tmp_path: Path,
    figures: Path,
    capsys: pytest.CaptureFixture[str],
    n_killed: int,
    code: int,
) -> None:
    """Nine of ten are enough; each module has its line, and the figures are entered either way."""
    results = tmp_path / "results.txt"
    states = ["killed"] * n_killed + ["survived"] * (10 - n_killed)
    results.write_text("".join(f"    a.b.x__mutmut_{i}: {s}\n" for i, s in enumerate(states)))
    assert strength.main(["mutation", str(results)]) == code
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["all", "a.b"]
    assert printed[1].endswith(f"mutants 10, killed {n_killed}, percent {n_killed}0")
    entered = json.loads(figures.read_text())
    assert entered["mutation score"]["figures"] == {
        "mutants": 10,
        "killed": n_killed,
        "percent": 10.0 * n_killed,
    }


def test_figures_of_sanitizers() -> None:
    """Tests that were skipped watched nothing, and a failed one is no success."""
    results = '<testsuites><testsuite tests="9" skipped="2" failures="{}" errors="0"/></testsuites>'
    assert strength.sanitizer_figures(results.format(0)) == {"tests": 7, "reports": 0}
    with pytest.raises(ValueError, match="1 tests failed"):
        strength.sanitizer_figures(results.format(1))
