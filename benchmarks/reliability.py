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


#: What each campaign is to come to, in the order of the table.
TARGETS = {
    "graphs against SciPy": "10,000, none differs",
    "graphs of hypothesis": "10,000, none differs",
    "clusterings against all choices": "2,000, none better than the best or improved by a swap",
    "damaged codebook files": "100,000 of three kinds: no crash, no error of another kind",
    "damaged forged codebook files": "codebooks that contradict themselves, with the right hash",
    "damaged npy files": "as codebooks",
    "kills in saves": "2,000, no file lost or torn",
    "kills of fits": "100 fits, no other bits",
    "allocations that fail": "every one up to 2,000, none unclean",
    "system calls that fail": "every one up to 2,000, none unclean, no file lost",
    "interruptions": "200 at n = 100,000, 99 in 100 within 0.2 s, all within 1 s",
    "same bits": "one hash for each seed",
    "estimates of memory": "0.9 to 1.25 of the peak",
    "leaks": "less than 10 KiB a fit",
    "thread sanitizer": "no report",
    "address, leak and undefined sanitizers": "no report",
    "suite under sanitizers": "no report",
    "coverage": "95 percent; 100 of reading, checking, writing and checkpoints",
    "mutation score": "90 percent",
}


def enter(figures: Mapping[str, Mapping[str, float]], path: Path | None = None) -> None:
    """Put figures in the place of those of the same name, with their origin; the others stay."""
    path = path or FIGURES
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    about = machine.about()
    origin = {"commit": about["commit"], "date": about["date"]}
    entered = {name: {"figures": dict(numbers)} | origin for name, numbers in figures.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found | entered | {"about": about}, indent=1, sort_keys=True) + "\n"
    write_atomically(path, text.encode())


def markdown(found: Mapping[str, Any]) -> str:
    """A line for each campaign: what it is to come to, and what it came to, when and where."""
    about = found["about"]
    machine_text = f"{about['cpu']}, {about['cores']} cores, Python {about['python']}"
    rows = [
        f"| {name} | {target} | {numbers_text(found[name]['figures'])} | "
        f"{found[name]['date'][:10]}, {found[name]['commit'][:10]} |"
        for name, target in TARGETS.items()
        if name in found
    ]
    heading = f"| campaign | target | measured ({machine_text}) | when, commit |"
    return "\n".join([heading, "| --- | --- | --- | --- |", *rows])


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
