"""Train and measure the paper's systems, and draw its figures.

``python -m benchmarks.papers.rethinking_vae [E1 ... E7 bridge] [--quick] [--output FOLDER]``
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
from benchmarks.papers.rethinking_vae import figures, plan
from benchmarks.papers.rethinking_vae.configs import CONFIGS, EXPERIMENTS
from benchmarks.papers.rethinking_vae.settings import FULL, QUICK
from benchmarks.papers.steps import run_all
from benchmarks.stage import RESULTS
from benchmarks.verify import WrongResult
from geoquant.errors import GeoquantError
from geoquant.files import write_atomically
from geoquant.torch import load_images

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILD = ROOT / "build" / "papers" / "rethinking_vae"
OUTPUT = RESULTS / "rethinking_vae"
ALL = (*EXPERIMENTS, plan.BRIDGE)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", nargs="*", help="default: all")
    parser.add_argument("--quick", action="store_true", help="few images: see that it runs")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2; quick: 0")
    parser.add_argument("--processes", type=int, default=machine.n_threads(None))
    parser.add_argument("--output", type=Path, help="folder of results.json and pictures")
    asked = parser.parse_args(argv)
    unknown = [name for name in asked.experiments if name not in ALL]
    if unknown:
        parser.error(f"experiments must be among {', '.join(ALL)}, found {unknown[0]!r}")
    seeds = asked.seeds or ([0] if asked.quick else [0, 1, 2])
    names = asked.experiments or list(ALL)
    build = BUILD / "quick" if asked.quick else BUILD
    is_record = not asked.quick and len(names) == len(ALL)
    output = asked.output or (OUTPUT if is_record else build / "results")
    try:
        for data in sorted({CONFIGS[key].data for key in plan.models_of(names)}):
            load_images(data, limit=1)  # not there: say so at once
        measure(build, output, names, seeds, asked.quick, asked.processes)
    except (GeoquantError, WrongResult) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def measure(
    build: Path,
    output: Path,
    names: Sequence[str],
    seeds: Sequence[int],
    is_quick: bool,
    n_processes: int,
) -> None:
    """Do what is not yet done, then write results and pictures, and print the table."""
    from benchmarks.papers.rethinking_vae import table

    settings = QUICK if is_quick else FULL
    todo = plan.steps_of(names, seeds)
    begin = time.perf_counter()
    run_all(build, settings, todo, n_processes, plan.result_of, partial(print, flush=True))
    results = {
        "schema_version": 1,
        "about": {
            **machine.about("torch"),
            "size": "quick" if is_quick else "full",
            "seconds": round(time.perf_counter() - begin),
        },
        "settings": asdict(settings),
        **plan.results_of(build, settings, todo),
    }
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    write_atomically(output / "results.json", text.encode())
    figures.draw_all(names, build, settings, results, seeds[0], output)
    print(table.as_text(results))


if __name__ == "__main__":
    sys.exit(main())
