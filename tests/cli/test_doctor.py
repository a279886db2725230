"""``geoquant doctor``: what is found on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from geoquant import _core
from geoquant.estimate import estimate_fit
from tests.cli.conftest import assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

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
        (
            {"versions": dict.fromkeys(module._OPTIONAL, "1") | {"torch": None}},
            "not installed: torch (geoquant.torch",
        ),
        ({"available_bytes": None}, ""),
        ({"thread_pools": None}, "cannot be loaded in one process"),
        ({"thread_pools": [{"user_api": "openmp"}] * 2}, "2 copies of OpenMP"),
    ],
)
def test_advice(changes: dict[str, Any], said: str) -> None:
    """Each for one thing that is amiss, and none where all is well."""
    well: dict[str, Any] = {
        "available_bytes": 100,
        "fit": {"bytes": 50},
        "kernels": "release",
        "instruction_set": "avx2",
        "versions": dict.fromkeys(module._OPTIONAL, "1"),
        "thread_pools": [{"user_api": "openmp"}, {"user_api": "blas"}],
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


def test_thread_pools_of_what_is_loaded_together(run: Run) -> None:
    """NumPy's BLAS is among them, with what is needed to tell copies apart."""
    pools = module._thread_pools()
    assert "blas" in {pool["user_api"] for pool in pools}
    assert all(pool["num_threads"] >= 1 and pool["filepath"] for pool in pools)


@pytest.mark.parametrize("code", ["import os; os.abort()", "print('{')", "raise SystemExit(3)"])
def test_libraries_that_end_the_process(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """The doctor survives them, and says so."""
    monkeypatch.setattr(module, "_LOAD_TOGETHER", code)
    assert module._thread_pools() is None


def test_caches(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Where data are looked for, and whether the folder is there."""
    monkeypatch.delenv("GEOQUANT_DATA", raising=False)
    assert module._caches()["GEOQUANT_DATA"] == "not set"
    monkeypatch.setenv("GEOQUANT_DATA", "nowhere")
    assert module._caches()["GEOQUANT_DATA"] == "nowhere, not there yet"
    monkeypatch.setenv("GEOQUANT_DATA", str(folder))
    assert module._caches()["GEOQUANT_DATA"] == str(folder)
