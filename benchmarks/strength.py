"""How much the tests notice: coverage and mutation score, among the figures of reliability.

``make coverage`` and ``make mutation`` run it on what coverage and mutmut report:
``python -m benchmarks.strength coverage FILE`` and ``python -m benchmarks.strength mutation FILE``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import reliability

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Percentage of the mutants that tests have to notice.
LEAST_SCORE = 90
# What mutmut says of a mutant that made a test fail, or never end.
_NOTICED = {"killed", "timeout"}


def coverage_figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Lines and branches of the package and the percentage of them that tests reach.

    ``report`` is what ``coverage json`` writes.
    """
    totals = report["totals"]
    return {
        "statements": totals["num_statements"],
        "branches": totals["num_branches"],
        "percent": round(totals["percent_covered"], 2),
    }


def mutation_figures(results: Iterable[str]) -> dict[str, dict[str, float]]:
    """Mutants, how many tests noticed, and the percentage, of each module and of all ("").

    ``results`` are the lines of ``mutmut results --all true``: ``<module>.<mutant>: <status>``.
    """
    mutants: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for line in filter(None, map(str.strip, results)):
        name, _, status = line.partition(": ")
        if status == "not checked":
            raise ValueError(f"{name} was not tried; let mutmut run finish")
        for group in (name.rpartition(".")[0], ""):
            mutants[group] += 1
            killed[group] += status in _NOTICED
    return {
        group: {
            "mutants": count,
            "killed": killed[group],
            "percent": round(100 * killed[group] / count, 2),
        }
        for group, count in sorted(mutants.items())
    }


def main(arguments: list[str]) -> int:
    """Enter what a report says; 1 if too few mutants were noticed."""
    kind, text = arguments[0], Path(arguments[1]).read_text(encoding="utf-8")
    if kind == "coverage":
        reliability.enter({"coverage": coverage_figures(json.loads(text))})
        return 0
    figures = mutation_figures(text.splitlines())
    for group, numbers in figures.items():
        print(f"{group or 'all':32} {reliability.numbers_text(numbers)}")
    reliability.enter({"mutation score": figures[""]})
    return int(figures[""]["percent"] < LEAST_SCORE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
