"""What was measured as rows: printed, kept as JSON, and shown in the README."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from benchmarks.measure import NotAvailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_FORMATS = {
    "×": "{:.1f}×",
    "ratio": "{:.4f}",
    "share": "{:.3f}",
    "s": "{:.3g} s",
    "ms": "{:.3g} ms",
    "MB": "{:.0f} MB",
    "energy": "{:,.0f}",
}


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes
    ----------
    stage : str
        Heading that it stands under.
    name : str
        What it is.
    value : float
        The number.
    unit : str
        A key of `_FORMATS`.
    target : float or None
        What was aimed at; None where the number is for information.
    at_least : bool
        Whether more is better.
    note : str
        What lies behind it, in a few words.
    numbers : dict
        All that lies behind it.
    """

    stage: str
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """PASS or short; empty where nothing was aimed at."""
        if self.target is None:
            return ""
        passed = self.value >= self.target if self.at_least else self.value <= self.target
        return "PASS" if passed else "short"

    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, value, target, verdict and note as texts."""
        form = _FORMATS[self.unit].format
        sign = "≥ " if self.at_least else "≤ "
        aim = "" if self.target is None else sign + form(self.target)
        return self.name, form(self.value), aim, self.verdict, self.note


def as_text(rows: Iterable[Row]) -> str:
    """Rows for a terminal, under their headings."""
    lines = []
    for stage, group in groupby(rows, key=lambda row: row.stage):
        cells = [row.cells() for row in group]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines.append(f"\n{stage}")
        for row in cells:
            name, *others = (c.ljust(w) for c, w in zip(row, widths, strict=True))
            lines.append("  ".join(["  " + name, *others]).rstrip())
    return "\n".join(lines)


def as_json(rows: Sequence[Row], **about: Any) -> str:
    """Rows and what they were measured on."""
    content = {
        "schema_version": 1,
        **about,
        "rows": [asdict(r) | {"verdict": r.verdict} for r in rows],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> tuple[list[Row], dict[str, Any]]:
    """What `as_json` wrote: the rows, and the rest."""
    content = json.loads(text)
    rows = [{k: v for k, v in row.items() if k != "verdict"} for row in content.pop("rows")]
    return [Row(**row) for row in rows], content


def as_markdown(rows: Iterable[Row], about: dict[str, Any]) -> str:
    """Rows as one Markdown table per heading."""
    m = about["machine"]
    parts = [
        f"Measured {m['date']} on {m['cpu']}, {m['cores']} cores, geoquant {m['geoquant']} "
        f"({m['commit'][:10]}), Python {m['python']}, NumPy {m['numpy']}, SciPy {m['scipy']}, "
        f"scikit-learn {m['sklearn']}, faiss {m['faiss']}, kmedoids {m['kmedoids']}."
    ]
    for stage, group in groupby(rows, key=lambda row: row.stage):
        lines = [f"| {stage} | measured | target | | |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row.cells())} |" for row in group]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def replace_block(file: Path, name: str, content: str) -> None:
    """Put text between the two markers of a block in a Markdown file."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = file.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise NotAvailable(f"{file} must hold {begin} and, after it, {end}, once each")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    file.write_text(f"{before}{begin}\n\n{content}\n\n{end}{after}", encoding="utf-8")
