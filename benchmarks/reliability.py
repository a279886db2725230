"""The figures of the long campaigns, of coverage and of mutations, in a file and as a table.

``python -m benchmarks.reliability`` writes it into docs/reliability.md, from what `make test-hard`,
`make coverage` and `make mutation` left.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.measure import ROOT
from benchmarks.table import replace_block
from geoquant.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIGURES, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"


def enter(figures: Mapping[str, Any], path: Path | None = None) -> None:
    """Put figures in the place of those of the same name; the others stay."""
    path = path or FIGURES
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    entered = found | dict(figures) | {"about": machine.about()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(entered, indent=1, sort_keys=True) + "\n").encode())


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
