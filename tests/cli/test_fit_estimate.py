from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from geoquant.cost import STAGES
from tests.cli.conftest import assert_one_line_error, assert_usage_error, blobs, contents

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]

KEYS = {
    "schema_version",
    "n",
    "d",
    "k",
    "n_neighbors",
    "algorithm",
    "exact_search",
    "input_bytes",
    "bytes",
    "arrays",
    "peak_bytes",
    "available_bytes",
    "fits_in_memory",
    "seconds",
    "total_seconds",
    "seconds_range",
}


def test_json_says_memory_and_time_of_every_stage(run: Run, latents: Path, folder: Path) -> None:
    """One object, whose sums are right; and nothing is written."""
    before = contents(folder)
    outcome = run("fit", latents, "-k", 3, "--algorithm", "alternate", "--estimate", "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    said = json.loads(outcome.out)
    assert set(said) == KEYS
    assert (said["n"], said["d"], said["k"], said["algorithm"]) == (60, 2, 3, "alternate")
    assert said["input_bytes"] == 480
    assert list(said["bytes"]) == list(said["seconds"]) == list(STAGES)
    assert said["peak_bytes"] == max(said["bytes"].values())
    assert said["total_seconds"] == pytest.approx(sum(said["seconds"].values()), abs=1e-3)
    assert said["fits_in_memory"]
    assert contents(folder) == before


def test_people_get_a_table(run: Run, latents: Path) -> None:
    """Each stage has a line with its seconds and megabytes."""
    outcome = run("fit", latents, "-k", 3, "--estimate")
    assert outcome.exit_code == 0
    assert outcome.out.startswith("latents.npy: 60 x 2, 3 codes, ")
    for stage in (*STAGES, "in all"):
        line = next(s for s in outcome.out.splitlines() if s.strip().startswith(stage))
        assert " s " in line
        assert line.endswith("MB")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_other_files_are_estimated_from_their_header(run: Run, folder: Path, suffix: str) -> None:
    """The shape is that of the array which --key names."""
    path = folder / f"several{suffix}"
    several = {"a": blobs(), "b": np.zeros((7, 3), np.float32)}
    if suffix == ".npz":
        np.savez(path, **several)
    else:
        save_file(several, path)
    outcome = run("fit", path, "--key", "b", "-k", 2, "--estimate", "--json")
    said = json.loads(outcome.out)
    assert (said["n"], said["d"]) == (7, 3)


def test_what_would_be_refused_is_said_to_be(run: Run, latents: Path) -> None:
    """With less memory than it needs, the estimate says that the fit would not begin."""
    options = ("-k", 3, "--max-memory", "1kB", "--estimate")
    assert "It would be refused" in run("fit", latents, *options).out
    said = json.loads(run("fit", latents, *options, "--json").out)
    assert (said["available_bytes"], said["fits_in_memory"]) == (1000, False)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2000", 2000),
        ("10B", 10),
        ("2kB", 2000),
        ("1.5kiB", 1536),
        ("1.5KiB", None),
        ("2 MB", 2_000_000),
        ("8G", 8 * 10**9),
        ("1GiB", 2**30),
        ("1TB", 10**12),
    ],
)
def test_memory_is_given_in_units(run: Run, latents: Path, text: str, n_bytes: int | None) -> None:
    """Decimal units, and binary ones with an i."""
    outcome = run("fit", latents, "-k", 3, "--max-memory", text, "--estimate", "--json")
    if n_bytes is None:
        assert_usage_error(outcome, "--max-memory", text, "1.5GiB")
    else:
        assert json.loads(outcome.out)["available_bytes"] == n_bytes


@pytest.mark.parametrize("text", ["lots", "-1", "8XB", "", "1e9"])
def test_other_texts_are_no_memory(run: Run, latents: Path, text: str) -> None:
    """What is not a number of bytes is a wrong argument."""
    assert_usage_error(run("fit", latents, "-k", 3, "--max-memory", text), "--max-memory")


def test_a_fit_without_memory_is_refused_unread(
    run: Run, latents: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4 before the latents are read, with what is needed, what there is and the cure."""

    def read(*arguments: Any) -> Any:
        raise AssertionError("the latents have been read")

    monkeypatch.setattr("geoquant.latents.check_latents", read)
    before = contents(folder)
    outcome = run("fit", latents, "-k", 3, "--max-memory", "9kB")
    words = ("of memory", "0.0 MB may be used", "lower n_neighbors", "sample", "--max-memory")
    assert_one_line_error(outcome, 4, *words)
    assert contents(folder) == before


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3)])
def test_arrays_that_are_no_latents_have_no_estimate(run: Run, folder: Path, shape: tuple) -> None:
    """The file is to blame."""
    path = folder / "no.npy"
    np.save(path, np.zeros(shape, np.float32))
    outcome = run("fit", path, "-k", 1, "--estimate")
    assert_one_line_error(outcome, 3, "no.npy: latents must have shape (n, d)", str(shape))


def test_more_codes_than_latents_have_no_estimate(run: Run, latents: Path) -> None:
    """The number of codes is to blame."""
    outcome = run("fit", latents, "-k", 61, "--estimate")
    assert_one_line_error(outcome, 2, "n_clusters must be at most 60")
