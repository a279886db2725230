"""The long campaigns: each notes its figures, which one file holds at the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where figures are written: the name of a JSON file in this environment variable.
FIGURES_VARIABLE = "GEOQUANT_FIGURES"
#: Share of a campaign that is run, so that a short one can be tried.
SHARE_VARIABLE = "GEOQUANT_SHARE"

_figures: dict[str, Any] = {}


@pytest.fixture
def note() -> Callable[..., None]:
    """Note figures under a name."""

    def noting(name: str, **numbers: float) -> None:
        _figures[name] = {key: round(value, 6) for key, value in numbers.items()}

    return noting


@pytest.fixture
def scaled() -> Callable[[int], int]:
    """How many cases of a whole campaign are run here."""
    share = float(os.environ.get(SHARE_VARIABLE, "1"))
    return lambda count: max(1, round(share * count))


def pytest_sessionfinish() -> None:
    """Write the figures, if there are some and it is said where to."""
    path = os.environ.get(FIGURES_VARIABLE)
    if path and _figures:
        from benchmarks import reliability

        reliability.enter(_figures, Path(path))
