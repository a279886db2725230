"""The figures of the long campaigns as a table.

``python -m benchmarks.reliability`` writes it into docs/reliability.md, from what `make test-hard`
left.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.measure import ROOT
from benchmarks.table import replace_block

if TYPE_CHECKING:
    from collections.abc import Mapping

FIGURES, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"


def markdown(figures: Mapping[str, Any]) -> str:
    """A line for each campaign, and when, where and of which commit."""
    about = figures["about"]
    rows = [
        f"| {name} | {numbers_text(numbers)} |"
        for name, numbers in sorted(figures.items())
        if name != "about"
    ]
    origin = (
        f"{about['date'][:10]}, {about['commit'][:10]}, {about['cpu']}, {about['cores']} cores, "
        f"Python {about['python']}"
    )
    return "\n".join([f"| campaign | figures ({origin}) |", "| --- | --- |", *rows])


def numbers_text(numbers: Mapping[str, float]) -> str:
    """'files 50,000, longest seconds 0.0012'."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:,.4g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value:,}"
        for name, value in numbers.items()
    )


def main() -> int:
    if not FIGURES.is_file():
        print(f"Error: {FIGURES} does not exist; run make test-hard first", file=sys.stderr)
        return 2
    replace_block(PAGE, "figures", markdown(json.loads(FIGURES.read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
