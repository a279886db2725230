from __future__ import annotations

import json
import re
import shlex
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


def test_demo_writes_files_and_compares(run: Run, folder: Path) -> None:
    """The files are there and fit together, and both accuracies are printed, in per cent."""
    outcome = run("demo", "-o", "out")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert {"out/digits.npy", "out/digits.codebook.safetensors", "out/digits.codes.npy"} == set(
        contents(folder)
    )
    x, codes = np.load("out/digits.npy"), np.load("out/digits.codes.npy")
    np.testing.assert_array_equal(x, (load_digits().data / 16).astype(np.float32))
    book = gq.Codebook.load("out/digits.codebook.safetensors")
    np.testing.assert_array_equal(book.assign(x), codes)
    pattern = r"^digit told by the code's majority: ([\d.]+)%  \((.*)\)$"
    lines = re.findall(pattern, outcome.out, re.MULTILINE)
    assert [name for _, name in lines] == ["geodesic", "KMeans, n_init=10"]
    digit = load_digits().target
    correct = sum(np.bincount(digit[codes == code]).max() for code in range(book.n_codes))
    assert lines[0][0] == f"{100 * correct / len(digit):.1f}"
    assert all(80 < float(accuracy) <= 100 for accuracy, _ in lines)


def test_ways_on_work(run: Run, folder: Path) -> None:
    """What is said to be worth trying next can be tried as it stands."""
    lines = run("demo", "-o", "a folder").out.partition("Try next:\n")[2].splitlines()
    assert len(lines) == 3
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "geoquant"
        assert run(*arguments).exit_code == 0, line


def test_json(run: Run, folder: Path) -> None:
    """The accuracies and the files that were written, as one object."""
    outcome = run("demo", "-o", "out", "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    said = json.loads(outcome.out)
    assert set(said["accuracy"]) == {"geodesic", "KMeans, n_init=10"}
    assert all(0.8 < accuracy <= 1 for accuracy in said["accuracy"].values())
    assert set(said["files"]) == set(contents(folder))


def test_quiet(run: Run, folder: Path) -> None:
    """Files and no word."""
    assert run("demo", "-q") == (0, "", "")
    assert len(contents(folder)) == 3


@pytest.mark.slow
def test_vae(run: Run, folder: Path) -> None:
    """Model, codes, prior and samples are made by commands that are shown as they are run."""
    pytest.importorskip("torch")
    outcome = run("demo", "--vae")
    assert (outcome.exit_code, outcome.err) == (0, "")
    commands = re.findall(r"^\$ geoquant (\w+)", outcome.out, re.MULTILINE)
    assert commands == ["train", "encode", "fit", "reconstruct", "prior", "sample"]
    for name in ("vae/model.safetensors", "prior/model.safetensors", "rows.png", "samples.png"):
        assert (folder / "geoquant-demo" / name).exists()
    for line in outcome.out.partition("Try next:\n")[2].splitlines():
        assert run(*shlex.split(line)[1:]).exit_code == 0, line


def test_output_must_be_a_folder(run: Run, folder: Path) -> None:
    """A file in its place is a wrong argument."""
    (folder / "out").write_text("")
    assert_usage_error(run("demo", "-o", "out"), "--output", "out")
    assert set(contents(folder)) == {"out"}
