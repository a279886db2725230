"""Measure the paper's system, its table and pictures.

``python -m benchmarks.papers.geodesic_vq [--quick] [--seeds 0 1 2] [--output FOLDER]``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from benchmarks.measure import ROOT
from benchmarks.papers.geodesic_vq import steps
from benchmarks.papers.geodesic_vq.settings import FULL, QUICK
from benchmarks.papers.steps import run_all
from benchmarks.stage import RESULTS
from benchmarks.verify import WrongResult
from geoquant.errors import GeoquantError
from geoquant.files import write_atomically
from geoquant.torch import load_images

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILD = ROOT / "build" / "papers" / "geodesic_vq"
OUTPUT = RESULTS / "geodesic_vq"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images: see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2; quick: 0")
    parser.add_argument("--processes", type=int, default=machine.n_threads(None))
    parser.add_argument("--download", action="store_true", help="fetch MNIST if it is not there")
    parser.add_argument("--output", type=Path, help="folder of results.json and pictures")
    asked = parser.parse_args(argv)
    seeds = asked.seeds or ([0] if asked.quick else [0, 1, 2])
    build = BUILD / "quick" if asked.quick else BUILD
    output = asked.output or (build / "results" if asked.quick else OUTPUT)
    try:
        load_images("mnist", limit=1, download=asked.download)  # not there: say so at once
        measure(build, output, seeds, asked.quick, asked.processes)
    except (GeoquantError, WrongResult) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(
    build: Path, output: Path, seeds: Sequence[int], is_quick: bool, n_processes: int
) -> None:
    """Do what is not yet done, then write results and pictures, and print the table."""
    from benchmarks.papers.geodesic_vq import figures, table
    from benchmarks.papers.geodesic_vq.experiment import result_of

    settings = QUICK if is_quick else FULL
    todo = steps.steps_of(settings, seeds)
    begin = time.perf_counter()
    tell = partial(print, flush=True)
    run_all(build, settings, todo, n_processes, result_of, tell)
    results = {
        "schema_version": 1,
        "about": about(is_quick, time.perf_counter() - begin),
        "settings": asdict(settings),
        **steps.results_of(build, settings, todo, seeds),
    }
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    write_atomically(output / "results.json", text.encode())
    figures.draw_all(build, settings, results, seeds[0], output)
    print(table.as_text(results))


def about(is_quick: bool, seconds: float) -> dict[str, object]:
    """Machine, commit and size; the seconds are those of what was not done before."""
    size = "quick" if is_quick else "full"
    return {**machine.about("torch"), "size": size, "seconds": round(seconds)}


if __name__ == "__main__":
    sys.exit(main())
