"""What was measured as rows: printed, kept as JSON, and shown in Markdown files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

from benchmarks.measure import in_seconds
from benchmarks.peers import NotAvailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.measure import Timing

_FORMATS = {
    "×": "{:.2f}×",
    "ratio": "{:.4f}",
    "share": "{:.3f}",
    "exponent": "{:.3f}",
    "MB": "{:,.0f} MB",
    "energy": "{:,.0f}",
    "distortion": "{:.3f}",
}


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes
    ----------
    stage : str
        Heading that it stands under.
    name : str
        What it is; with the heading, unique.
    value : float or None
        The number; None if it could not be measured, and the note says why.
    unit : str
        A key of `_FORMATS`, or 's'.
    target : float or None
        What was aimed at; None where the number is for information.
    at_least : bool
        Whether more is better.
    note : str
        What lies behind it, in a few words.
    figure : str
        Which figure of `benchmarks.figures` it is, if any.
    numbers : dict
        All that lies behind it.
    run : str
        Which run measured it: a key of the runs in the file.
    """

    stage: str
    name: str
    value: float | None
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""
    figure: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    run: str = ""

    @property
    def verdict(self) -> str:
        """PASS or short; empty where nothing was aimed at or measured."""
        if self.target is None or self.value is None:
            return ""
        passed = self.value >= self.target if self.at_least else self.value <= self.target
        return "PASS" if passed else "short"

    def cells(self) -> tuple[str, str, str, str, str]:
        """Name, value, target, verdict and note as texts."""
        sign = "≥ " if self.at_least else "≤ "
        aim = "" if self.target is None else sign + formatted(self.target, self.unit)
        return self.name, formatted(self.value, self.unit), aim, self.verdict, self.note


def formatted(value: float | None, unit: str) -> str:
    """A number with its unit."""
    if value is None:
        return "not measured"
    return in_seconds(value) if unit == "s" else _FORMATS[unit].format(value)


def time_rows(
    stage: str,
    timings: Mapping[str, Timing],
    ours: str,
    missing: Mapping[str, str],
    plot: Mapping[str, Any] | None = None,
) -> list[Row]:
    """A row per contender: the median, the spread, the ratio to ours; and those that are missing.

    `plot` says what of the numbers goes into a plot.
    """
    rows = []
    for name, t in timings.items():
        ratio = f"{t.median / timings[ours].median:.2f} × the time of {ours}"
        parts = [t.spread(), *([] if name == ours else [ratio]), *([t.found] if t.found else [])]
        numbers = t.numbers() | ({"plot": dict(plot) | {"method": name}} if plot else {})
        rows.append(Row(stage, name, t.median, "s", note="; ".join(parts), numbers=numbers))
    return rows + [Row(stage, name, None, "s", note=why) for name, why in missing.items()]


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


def as_markdown(rows: Iterable[Row]) -> str:
    """Rows as one Markdown table per heading."""
    parts = []
    for stage, group in groupby(rows, key=lambda row: row.stage):
        lines = [f"| {stage} | measured | target | | |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row.cells())} |" for row in group]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


# --------------------------------------------------------------------------------------- JSON


@dataclass(frozen=True)
class Results:
    """Rows of a stage, and the runs that measured them, by their keys."""

    rows: list[Row] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def with_rows(self, rows: Sequence[Row], key: str, about: dict[str, Any]) -> Results:
        """The same with rows of a run; each replaces one of the same stage and name."""
        new = {(row.stage, row.name): replace(row, run=key) for row in rows}
        kept = [row for row in self.rows if (row.stage, row.name) not in new]
        everything = [*kept, *new.values()]
        used = {row.run for row in everything}
        runs = {k: v for k, v in (self.runs | {key: about}).items() if k in used}
        return Results(everything, runs)


def as_json(results: Results) -> str:
    content = {
        "schema_version": 2,
        "runs": results.runs,
        "rows": [asdict(row) | {"verdict": row.verdict} for row in results.rows],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Results:
    """What `as_json` wrote."""
    content = json.loads(text)
    rows = [{k: v for k, v in row.items() if k != "verdict"} for row in content["rows"]]
    return Results([Row(**row) for row in rows], content["runs"])


def read_results(file: Path) -> Results:
    """The results in a file; none if it does not exist."""
    return from_json(file.read_text(encoding="utf-8")) if file.is_file() else Results()


def replace_block(file: Path, name: str, content: str) -> None:
    """Put text between the two markers of a block in a Markdown file."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    text = file.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise NotAvailable(f"{file} must hold {begin} and, after it, {end}, once each")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    file.write_text(f"{before}{begin}\n\n{content}\n\n{end}{after}", encoding="utf-8")
