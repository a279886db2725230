"""Tests of the table of what the campaigns came to."""

from __future__ import annotations

import json

from benchmarks.reliability import FIGURES, PAGE, TARGETS, markdown


def test_every_figure_has_a_target() -> None:
    """What a campaign notes is in the table, beside what it was to come to."""
    assert set(json.loads(FIGURES.read_text())) - {"about"} <= set(TARGETS)


def test_page_shows_what_was_measured() -> None:
    """The table is that of the figures there are."""
    assert markdown(json.loads(FIGURES.read_text())) in PAGE.read_text()


def test_table_by_hand() -> None:
    """Campaigns stand in the order of their targets, each with its own commit."""
    origin = {"commit": "0123456789abcdef", "date": "2026-01-02T03:04+00:00"}
    found = {
        "about": {"cpu": "a processor", "cores": 2, "python": "3.11"},
        "leaks": {"figures": {"fits": 3000, "kib_per_fit": 0.5}} | origin,
        "kills of fits": {"figures": {"fits": 7}} | origin,
    }
    lines = markdown(found).splitlines()
    assert lines[0] == (
        "| campaign | target | measured (a processor, 2 cores, Python 3.11) | when, commit |"
    )
    assert lines[2:] == [
        "| kills of fits | 100 fits, no other bits | fits 7 | 2026-01-02, 0123456789 |",
        "| leaks | less than 10 KiB a fit | fits 3,000, kib per fit 0.5 | 2026-01-02, 0123456789 |",
    ]
