"""Allocations and system calls that fail below Python; tests/hard has all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults import built, share_of_calls, share_of_fits

if TYPE_CHECKING:
    from pathlib import Path


def test_some_allocations_fail(tmp_path: Path) -> None:
    """Each gives ResourceError, and the same process then does the same fit."""
    fit = share_of_fits(built(tmp_path), 20, names=["alternation"])["alternation"]
    assert fit.unclean == []
    assert fit.n_failed > 15


def test_every_allocation_of_a_tiny_graph_fails(tmp_path: Path) -> None:
    """Also those with which a graph is handed to Python once it is made."""
    fit = share_of_fits(built(tmp_path), 1000, names=["tiny graph"])["tiny graph"]
    assert fit.unclean == []
    assert fit.n_failed > 15


def test_some_system_calls_fail(tmp_path: Path) -> None:
    """Each gives an error of the kind that is promised, and leaves every file whole."""
    found = share_of_calls(built(tmp_path), tmp_path, 0.03)
    assert {name: work["unclean"] for name, work in found.items() if work["unclean"]} == {}
    assert all(work["errors"] > 0 for work in found.values())
