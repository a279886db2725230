"""How much the tests notice: coverage, mutations and sanitizers, among the figures of reliability.

``make coverage``, ``make mutation`` and ``make test-sanitize`` run it on what was reported:
``python -m benchmarks.strength coverage FILE``, and likewise ``mutation`` and ``sanitizers``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

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


def sanitizer_figures(results: str) -> dict[str, float]:
    """Tests that passed, from a JUnit file; a report of a sanitizer would have ended the run."""
    suite = ElementTree.fromstring(results).find("testsuite")
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    if counts["failures"] or counts["errors"]:
        raise ValueError(f"{counts['failures'] + counts['errors']} tests failed")
    return {"tests": counts["tests"] - counts["skipped"], "reports": 0}


def main(arguments: list[str]) -> int:
    """Enter what a report says; 1 if too few mutants were noticed."""
    kind, text = arguments[0], Path(arguments[1]).read_text(encoding="utf-8")
    if kind == "coverage":
        reliability.enter({"coverage": coverage_figures(json.loads(text))})
        return 0
    if kind == "sanitizers":
        reliability.enter({"suite under sanitizers": sanitizer_figures(text)})
        return 0
    figures = mutation_figures(text.splitlines())
    for group, numbers in figures.items():
        print(f"{group or 'all':32} {reliability.numbers_text(numbers)}")
    reliability.enter({"mutation score": figures[""]})
    return int(figures[""]["percent"] < LEAST_SCORE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
