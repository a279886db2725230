"""Allocations and system calls that fail, one after the other: clean errors, nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import built, share_of_calls, share_of_fits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.hard

#: Of each kind of fit.
N_ALLOCATIONS = 200
#: Memory that a process may gain in each failure; CPython's and glibc's own is not all given back.
_MOST_KIB = 10


@pytest.mark.timeout(1800)
def test_allocations_that_fail(
    tmp_path: Path, scaled: Callable[[int], int], note: Callable[..., None]
) -> None:
    """ResourceError wherever it happens, also in a worker; then the same fit gives its bits."""
    found = share_of_fits(built(tmp_path), scaled(N_ALLOCATIONS))
    note(
        "allocations that fail",
        points=sum(fit.n_points for fit in found.values()),
        errors=sum(fit.n_failed for fit in found.values()),
        in_workers=sum(fit.n_in_workers for fit in found.values()),
        unclean=sum(len(fit.unclean) for fit in found.values()),
        slope_kib=max(fit.kib_per_point for fit in found.values()),
    )
    assert {name: fit.unclean for name, fit in found.items() if fit.unclean} == {}
    assert max(fit.kib_per_point for fit in found.values()) < _MOST_KIB


@pytest.mark.timeout(1800)
def test_system_calls_that_fail(
    tmp_path: Path, scaled: Callable[[int], int], note: Callable[..., None]
) -> None:
    """In saves, fits with a checkpoint, loads and a command: old or new files, and clean errors."""
    found = share_of_calls(built(tmp_path), tmp_path, scaled(1000) / 1000)
    note(
        "system calls that fail",
        points=sum(work["points"] for work in found.values()),
        errors=sum(work["errors"] for work in found.values()),
        unclean=sum(len(work["unclean"]) for work in found.values()),
    )
    assert {name: work["unclean"] for name, work in found.items() if work["unclean"]} == {}
