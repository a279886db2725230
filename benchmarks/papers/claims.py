"""A paper's claims one by one, and our own targets, each beside the numbers that bear on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.papers.spread import text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.papers.spread import Column, Spread

    Found = Mapping[str, Mapping[str, Spread]]


@dataclass(frozen=True)
class Claim:
    """Something that the paper says.

    Attributes
    ----------
    text : str
        The claim, short.
    verdict : str
        What the full run found, in a few words.
    evidence : tuple of (str, str, str)
        What it is compared by: a name, the key of a row, and that of a column.
    remark : str
        What the numbers do not say.
    """

    text: str
    verdict: str
    evidence: tuple[tuple[str, str, str], ...]
    remark: str = ""


@dataclass(frozen=True)
class Target:
    """A number that was to be reached: the mean over seeds at most, or at least, so much."""

    title: str
    row: str
    column: str
    aim: float
    at_least: bool = False


def claims_markdown(claims: Sequence[Claim], columns: Sequence[Column], found: Found) -> str:
    """Each claim with its numbers and remark, numbered."""
    return "\n".join(
        f"{i}. **{claim.text}** *{claim.verdict}* {_evidence(claim, columns, found)}".rstrip()
        for i, claim in enumerate(claims, 1)
    )


def _evidence(claim: Claim, columns: Sequence[Column], found: Found) -> str:
    of = {column.key: column for column in columns}
    parts = [
        f"{name}: {of[key].title} {text_of(found[row][key], of[key].digits)}"
        for name, row, key in claim.evidence
        if key in found.get(row, {})
    ]
    measured = f"Measured: {'; '.join(parts)}." if parts else ""
    return " ".join(text for text in (measured, claim.remark) if text)


def target_rows(targets: Sequence[Target], columns: Sequence[Column], found: Found) -> list[str]:
    """Lines of a table: every target that was measured, and whether it was reached."""
    rows = []
    for t in targets:
        value = found.get(t.row, {}).get(t.column)
        if value is not None:
            column = next(column for column in columns if column.key == t.column)
            aim = f"{column.title} {'≥' if t.at_least else '≤'} {t.aim:.{column.digits}f}"
            reached = value.mean >= t.aim if t.at_least else value.mean <= t.aim
            rows.append(target_row(t.title, aim, text_of(value, column.digits), reached))
    return rows


def target_row(title: str, aim: str, measured: str, reached: bool) -> str:
    """One line of it."""
    return f"| {title} | {aim} | {measured} | {'reached' if reached else 'short'} |"
