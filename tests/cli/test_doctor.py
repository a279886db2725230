"""``geoquant doctor``: what is found on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

from geoquant import _core
from geoquant.estimate import estimate_fit
from tests.cli.conftest import assert_usage_error

Run = Callable[..., Any]
module = sys.modules["geoquant.cli.doctor"]  # the package has the command by this name


def test_json_names_everything(run: Run) -> None:
    """The estimate is that of the size that is asked for."""
    outcome = run("doctor", "-n", 3000, "-d", 5, "-k", 9, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    found = json.loads(outcome.out)
    assert found["versions"]["numpy"] == version("numpy")
    assert found["instruction_set"] in found["instruction_sets"]
    assert found["kernels"] == _core.BUILD_TYPE
    assert found["threads"] >= 1
    assert (found["fit"]["n"], found["fit"]["d"], found["fit"]["k"]) == (3000, 5, 9)
    expected = estimate_fit(3000, 5, 9)
    assert found["fit"]["bytes"] == expected.input_bytes + expected.peak_bytes


def test_says_it_in_words(run: Run) -> None:
    """One line each, of the size of the README's example by default."""
    lines = run("doctor").out.splitlines()
    assert lines[0].startswith("python")
    assert any(line.startswith("fit of 60,000 x 20, k = 64") for line in lines)
    assert any("available" in line for line in lines if line.startswith("memory"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"available_bytes": 10}, "more memory than is available"),
        ({"kernels": "debug"}, "a debug build"),
        ({"instruction_set": "portable"}, "no AVX2"),
        ({"versions": {"torch": None, "matplotlib": "3"}}, "not installed: torch (geoquant.torch"),
        ({"available_bytes": None}, ""),
    ],
)
def test_advice(changes: dict[str, Any], said: str) -> None:
    """Each for one thing that is amiss, and none where all is well."""
    well: dict[str, Any] = {
        "available_bytes": 100,
        "fit": {"bytes": 50},
        "kernels": "release",
        "instruction_set": "avx2",
        "versions": {"torch": "2", "matplotlib": "3"},
    }
    assert module._advice(well) == []
    advice = module._advice(well | changes)
    assert len(advice) == bool(said)
    assert said in " ".join(advice)


def test_what_is_missing_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it would be for."""
    monkeypatch.setattr(module, "_version", lambda name: None if name == "torch" else "1")
    outcome = run("doctor", "-n", 100, "-k", 3)
    assert outcome.exit_code == 0
    assert "- not installed: torch (geoquant.torch, train, encode)" in outcome.out


def test_more_codes_than_latents(run: Run) -> None:
    """No such fit is estimated."""
    assert_usage_error(run("doctor", "-n", 10, "-k", 11), "-k", "at most 10")
