"""Numbers of the rows of a table, and their spread over seeds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True)
class Column:
    """A number of every row.

    Attributes
    ----------
    key : str
        Its name in the results.
    title : str
        What stands over it.
    digits : int
        After the decimal point.
    """

    key: str
    title: str
    digits: int


@dataclass(frozen=True)
class Measured:
    """What one seed gave for one row.

    Attributes
    ----------
    key : str
        Of the row.
    values : dict of str to float
        Some of the columns.
    """

    key: str
    values: dict[str, float]


@dataclass(frozen=True)
class Spread:
    """Mean of a number over seeds, and its standard deviation where there are several."""

    mean: float
    sd: float | None
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation (of a sample) of at least one number."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


def by_row(seeds: Iterable[Sequence[Measured]]) -> dict[str, dict[str, Spread]]:
    """Spread over seeds of each column of each row; a seed without a number does not count."""
    found: dict[str, dict[str, list[float]]] = {}
    for rows in seeds:
        for row in rows:
            columns = found.setdefault(row.key, {})
            for name, value in row.values.items():
                columns.setdefault(name, []).append(value)
    return {
        key: {name: spread(values) for name, values in columns.items()}
        for key, columns in found.items()
    }


def text_of(value: Spread | None, digits: int) -> str:
    """'12.34 ± 0.05', '12.34' of one seed, or nothing."""
    if value is None:
        return ""
    mean = f"{value.mean:.{digits}f}"
    return mean if value.sd is None else f"{mean} ± {value.sd:.{digits}f}"
