from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import geoquant as gq
from tests.cli.conftest import assert_usage_error, contents

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


def test_demo_goes_the_whole_way(run: Run, folder: Path) -> None:
    """Commands are shown as they are run; their files are there and fit together."""
    outcome = run("demo", "-o", "out")
    assert (outcome.exit_code, outcome.err) == (0, "")
    commands = re.findall(r"^\$ geoquant (\w+)", outcome.out, re.MULTILINE)
    assert commands == ["fit", "explore", "report"]
    data = ("digits.npy", "digits.labels.npy", "digits.codebook.safetensors", "digits.codes.npy")
    expected = {f"out/{name}" for name in (*data, "explorer.html", "report.html")}
    assert set(contents(folder)) == expected
    x, codes = np.load("out/digits.npy"), np.load("out/digits.codes.npy")
    np.testing.assert_array_equal(x, (load_digits().data / 16).astype(np.float32))
    np.testing.assert_array_equal(np.load("out/digits.labels.npy"), load_digits().target)
    np.testing.assert_array_equal(gq.Codebook.load(f"out/{data[2]}").assign(x), codes)
    assert "tell the labels" in outcome.out


def test_without_matplotlib(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is left out, and the cure is named."""
    monkeypatch.setattr(sys.modules["geoquant.cli.demo"], "find_spec", lambda name: None)
    outcome = run("demo", "-o", "out")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "no report" in outcome.out
    assert "pip install 'geoquant[plot]'" in outcome.out
    assert "out/report.html" not in contents(folder)


def test_ways_on_work(run: Run, folder: Path) -> None:
    """What is said to be worth trying next can be tried as it stands."""
    lines = run("demo", "-o", "a folder").out.partition("Try next:\n")[2].splitlines()
    assert len(lines) == 3
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "geoquant"
        assert run(*arguments).exit_code == 0, line


def test_json(run: Run, folder: Path) -> None:
    """The files that were written, as one object."""
    outcome = run("demo", "-o", "out", "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert set(json.loads(outcome.out)["files"]) == set(contents(folder))


@pytest.mark.slow
def test_vae(run: Run, folder: Path) -> None:
    """Model, codes, prior and samples are made by commands that are shown as they are run."""
    pytest.importorskip("torch")
    outcome = run("demo", "--vae")
    assert (outcome.exit_code, outcome.err) == (0, "")
    commands = re.findall(r"^\$ geoquant (\w+)", outcome.out, re.MULTILINE)
    assert commands == ["train", "encode", "fit", "reconstruct", "prior", "sample", "report"]
    for name in ("vae/model.safetensors", "prior/model.safetensors", "rows.png", "samples.png"):
        assert (folder / "geoquant-demo" / name).exists()
    for line in outcome.out.partition("Try next:\n")[2].splitlines():
        assert run(*shlex.split(line)[1:]).exit_code == 0, line


def test_output_must_be_a_folder(run: Run, folder: Path) -> None:
    """A file in its place is a wrong argument."""
    (folder / "out").write_text("")
    assert_usage_error(run("demo", "-o", "out"), "--output", "out")
    assert set(contents(folder)) == {"out"}
