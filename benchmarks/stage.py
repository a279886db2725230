"""The command that every stage is: what size to measure, what to print, where to keep it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks import machine, table
from benchmarks.measure import ROOT
from benchmarks.peers import NotAvailable, threads
from benchmarks.verify import WrongResult
from geoquant.progress import n_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.table import Row

    Groups = Callable[["Plan"], Iterator[list[Row]]]

T = TypeVar("T")
SIZES = ("quick", "bench", "full")
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    size : {'quick', 'bench', 'full'}
        'quick': a minute for everything, to see that it runs; nothing is judged or kept.
        'bench': ten minutes for everything. 'full': all of it.
    source : str
        Which latents; see `datasets.latents`.
    """

    size: str = "bench"
    source: str = "auto"

    def pick(self, quick: T, bench: T, full: T) -> T:
        """What belongs to the size."""
        return {"quick": quick, "bench": bench, "full": full}[self.size]

    @property
    def is_full(self) -> bool:
        return self.size == "full"

    @property
    def is_judged(self) -> bool:
        return self.size != "quick"


def folder_of(plan: Plan) -> Path:
    """Full runs are the record; shorter ones are kept beside it, out of version control."""
    return RESULTS if plan.is_full else RESULTS / "bench"


def measure(name: str, groups: Groups, plan: Plan, folder: Path | None) -> list[Row]:
    """All rows of a stage; each group is printed and kept as soon as it is there."""
    about = machine.about() | {"size": plan.size, "stage": name}
    key = f"{about['date']} {about['commit'][:10]} {plan.size}"
    rows: list[Row] = []
    begin = time.perf_counter()
    with threads(n_threads(None)):
        for group in groups(plan):
            judged = group if plan.is_judged else [replace(row, target=None) for row in group]
            print(table.as_text(judged), flush=True)
            rows += judged
            if folder is not None:
                keep(folder / f"{name}.json", judged, key, about)
    print(f"\n{name}: {time.perf_counter() - begin:.0f} s", flush=True)
    return rows


def keep(file: Path, rows: Sequence[Row], key: str, about: dict[str, Any]) -> None:
    """Add rows to a file of results; older ones of the same name go."""
    file.parent.mkdir(parents=True, exist_ok=True)
    results = table.read_results(file).with_rows(rows, key, about)
    file.write_text(table.as_json(results), encoding="utf-8")


def main(name: str, groups: Groups, argv: Sequence[str] | None = None) -> int:
    """Measure a stage: 0 done, 1 a result is wrong, 2 data or what is needed is missing."""
    options = parsed(f"Time the stage {name} beside its peers.", argv)
    plan = Plan(options.size, options.source)
    folder = options.results or (folder_of(plan) if plan.is_judged else None)
    try:
        measure(name, groups, plan, folder)
    except NotAvailable as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except WrongResult as error:
        print(f"Wrong result in {name}: {error}", file=sys.stderr)
        return 1
    return 0


def parsed(description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    size = parser.add_mutually_exclusive_group()
    for flag, help_text in (
        ("quick", "tiny, to see that it runs; nothing is judged or kept"),
        ("bench", "ten minutes for all stages together (default)"),
        ("full", "everything, slow peers and a million latents included"),
    ):
        size.add_argument(
            f"--{flag}", dest="size", action="store_const", const=flag, help=help_text
        )
    parser.set_defaults(size="bench")
    parser.add_argument(
        "--source",
        choices=("auto", "mnist", "draws", "mixture"),
        default="auto",
        help="which latents; auto takes those of MNIST if GEOQUANT_DATA has them",
    )
    parser.add_argument("--results", type=Path, help="folder to keep the results in")
    return parser.parse_args(argv)


def environment(core_type: str | None) -> Mapping[str, str]:
    """Environment for a stage's process, with the BLAS kernels that suit the peers."""
    return dict(os.environ) | ({"OPENBLAS_CORETYPE": core_type} if core_type else {})
