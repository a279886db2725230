"""The kernels in a C++ program that sanitizers watch: races, wrong addresses, leaks."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.hard,
    pytest.mark.skipif(
        shutil.which("make") is None or shutil.which("c++") is None, reason="needs make and c++"
    ),
]


@pytest.mark.timeout(1800)
def test_no_sanitizer_reports(request: pytest.FixtureRequest, note: Callable[..., None]) -> None:
    """Every scenario ends as expected under ThreadSanitizer, and under the other three together."""
    done = subprocess.run(
        ["make", "test-threads"],
        cwd=request.config.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    reports = len(re.findall(r"Sanitizer: |runtime error: ", said))
    scenarios = [int(number) for number in re.findall(r"(\d+) scenarios, 0 failed", said)]
    assert (done.returncode, reports, len(scenarios)) == (0, 0, 2), said[-5000:]
    note("thread sanitizer", scenarios=scenarios[0], reports=reports)
    note("address, leak and undefined sanitizers", scenarios=scenarios[1], reports=reports)
