from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
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
    np.testing.assert_array_equal(x, load_digits().data)
    book = gq.Codebook.load("out/digits.codebook.safetensors")
    np.testing.assert_array_equal(book.assign(x), codes)
    pattern = r"^digit told by the code's majority: ([\d.]+)%  \((.*)\)$"
    lines = re.findall(pattern, outcome.out, re.MULTILINE)
    assert [name for _, name in lines] == ["geodesic", "KMeans, n_init=10"]
    digit = load_digits().target
    correct = sum(np.bincount(digit[codes == code]).max() for code in range(book.n_codes))
    assert lines[0][0] == f"{100 * correct / len(digit):.1f}"
    assert all(80 < float(accuracy) <= 100 for accuracy, _ in lines)


def test_output_must_be_a_folder(run: Run, folder: Path) -> None:
    """A file in its place is a wrong argument."""
    (folder / "out").write_text("")
    assert_usage_error(run("demo", "-o", "out"), "--output", "out")
    assert set(contents(folder)) == {"out"}
