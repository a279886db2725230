"""Every stage, one after the other, and the table of figures: ``python -m benchmarks [--full]``."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import figures, machine, stage
from benchmarks.measure import ROOT
from benchmarks.stage import Plan
from benchmarks.table import Results

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Each stage in a process of its own; a stage that fails does not keep the others from it."""
    options = stage.parsed("Time every stage beside its peers.", argv)
    plan = Plan(options.size, options.source)
    folder = options.results or stage.folder_of(plan)
    if plan.is_judged:
        for name in figures.STAGES:  # so that nothing of an earlier run passes for this one's
            (folder / f"{name}.json").unlink(missing_ok=True)
    recorded = figures.read_all(stage.RESULTS) if folder != stage.RESULTS else Results()
    core_type = machine.fastest_core_type()
    print(f"OPENBLAS_CORETYPE for the peers: {core_type or 'chosen by OpenBLAS'}", flush=True)
    begin = time.perf_counter()
    words = [f"--{plan.size}", "--source", plan.source]
    words += ["--results", str(folder)] if plan.is_judged else []
    names = [*(f"benchmarks.speed.{name}" for name in figures.STAGES), "benchmarks.bounds"]
    failed = [name for name in names if run_stage(name, words, core_type)]
    print(f"\nAll stages: {time.perf_counter() - begin:.0f} s\n")
    if plan.is_judged:
        print(figures.as_text(figures.figures(figures.read_all(folder), recorded)))
    for name in failed:
        print(f"{name} did not end well, see above", file=sys.stderr)
    return 1 if failed else 0


def run_stage(module: str, words: list[str], core_type: str | None) -> int:
    """Exit code of a stage."""
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(
        command, cwd=ROOT, env=stage.environment(core_type), check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
