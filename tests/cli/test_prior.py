"""``geoquant prior``: what it learns, says, writes, resumes and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from tests.cli.conftest import assert_interrupted, assert_one_line_error, assert_usage_error

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


def book_of(k: int) -> gq.Codebook:
    vectors = np.arange(k, dtype=np.float32)[:, None]
    return gq.Codebook(vectors, vectors, np.zeros(k), np.arange(k, dtype=np.int32), 1, {})


@pytest.fixture
def codes(folder: Path) -> Path:
    """Codes of two stages, the second twice the first, and their codebook."""
    first = np.random.default_rng(0).integers(0, 2, 200)
    np.save(folder / "x.codes.npy", np.stack([first, 2 * first], 1).astype(np.int32))
    gq.MultistageCodebook((book_of(2), book_of(4)), "residual").save(folder / "x.safetensors")
    return folder / "x.codes.npy"


ARGUMENTS = ("--codebook", "x.safetensors", "-o", "prior", "--hidden-dim", 16, "--batch-size", 20)


def test_learns_and_says_what_codes_cost(run: Run, codes: Path, folder: Path) -> None:
    """The first token costs about ln 2, the second nothing; the folder is a prior."""
    outcome = run("prior", codes, *ARGUMENTS, "--epochs", 20, "--learning-rate", 0.01, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    said = json.loads(outcome.out)
    assert (said["sequences"], said["test_sequences"], said["length"]) == (180, 20, 2)
    assert said["nats_of_positions"] == pytest.approx([0.69, 0], abs=0.1)
    assert said["nats_per_sequence"] == pytest.approx(sum(said["nats_of_positions"]))
    assert sorted(p.name for p in (folder / "prior").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_says_it_in_words(run: Run, codes: Path) -> None:
    """Without --json a line says the nats, and another where the prior is; -q says nothing."""
    outcome = run("prior", codes, *ARGUMENTS, "--epochs", 1)
    assert "20 sequences of 2 codes not trained on" in outcome.out
    assert outcome.out.endswith("prior     prior\n")
    assert run("prior", codes, *ARGUMENTS, "--epochs", 1, "--overwrite", "-q") == (0, "", "")


def test_same_seed_same_prior(run: Run, codes: Path, folder: Path) -> None:
    """Begin and order follow from the seed."""
    files = []
    for seed in (1, 1, 2):
        run("prior", codes, *ARGUMENTS, "--epochs", 1, "--overwrite", "--seed", seed)
        files.append((folder / "prior" / "model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def test_interrupted_run_resumes(
    run: Run, codes: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stopped after an epoch ends like one never stopped."""
    from geoquant.torch import training

    run("prior", codes, *ARGUMENTS, "--epochs", 3)
    whole = (folder / "prior" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "prior")
    save = training._save_checkpoint

    def save_and_stop(*args: Any) -> None:
        save(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save_checkpoint", save_and_stop)
    assert_interrupted(run("prior", codes, *ARGUMENTS, "--epochs", 3), goes_on=True)
    assert [p.name for p in (folder / "prior").iterdir()] == ["checkpoint.safetensors"]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run("prior", codes, *ARGUMENTS, "--epochs", 3).exit_code == 0
    assert (folder / "prior" / "model.safetensors").read_bytes() == whole


def test_classes(run: Run, codes: Path, folder: Path) -> None:
    """With labels equal to the first code nothing costs anything."""
    np.save(folder / "labels.npy", np.load(codes)[:, 0])
    options = ("--labels", "labels.npy", "--epochs", 20, "--learning-rate", 0.02, "--json")
    said = json.loads(run("prior", codes, *ARGUMENTS, *options).out)
    assert said["nats_per_sequence"] < 0.2
    assert json.loads((folder / "prior" / "config.json").read_text())["n_classes"] == 2


def test_windows(run: Run, folder: Path) -> None:
    """The paper's setting cuts consecutive codes into sequences."""
    np.save(folder / "one.npy", (np.arange(640) % 4).astype(np.int32))
    book_of(4).save(folder / "x.safetensors")
    said = json.loads(run("prior", "one.npy", *ARGUMENTS, "--window", 32, "--json").out)
    assert (said["sequences"], said["test_sequences"], said["length"]) == (18, 2, 32)


def test_other_codes_to_measure_on(run: Run, codes: Path, folder: Path) -> None:
    """--test-codes are measured on, and all others trained on."""
    np.save(folder / "test.npy", np.load(codes)[:50])
    said = json.loads(
        run("prior", codes, *ARGUMENTS, "--epochs", 1, "--test-codes", "test.npy", "--json").out
    )
    assert (said["sequences"], said["test_sequences"]) == (200, 50)


def test_wrong_codes(run: Run, codes: Path, folder: Path) -> None:
    """Codes of another shape or beyond the codebook, and labels too few, are the file's fault."""
    np.save(folder / "bad.npy", np.zeros((9, 3), np.int32))
    outcome = run("prior", "bad.npy", *ARGUMENTS)
    assert_one_line_error(outcome, 3, "bad.npy: codes must have shape (n, 2)", "found (9, 3)")
    np.save(folder / "bad.npy", np.full((20, 2), 2, np.int32))
    assert_one_line_error(run("prior", "bad.npy", *ARGUMENTS), 3, "bad.npy", "[0, 2), found 2")
    np.save(folder / "labels.npy", np.zeros(3, int))
    outcome = run("prior", codes, *ARGUMENTS, "--labels", "labels.npy")
    assert_one_line_error(outcome, 3, "labels must be 200 integers")


def test_wrong_options(run: Run, codes: Path, folder: Path) -> None:
    """Options that do not go together, few codes, and a finished prior are named."""
    np.save(folder / "few.npy", np.zeros((5, 2), np.int32))
    assert_usage_error(run("prior", "few.npy", *ARGUMENTS), "--test-codes", "5 rows")
    assert_usage_error(run("prior", codes, *ARGUMENTS, "--window", 32), "--window", "one code")
    np.save(folder / "labels.npy", np.zeros(200, int))
    both = ("--labels", "labels.npy", "--test-codes", codes)
    assert_usage_error(run("prior", codes, *ARGUMENTS, *both), "--labels")
    run("prior", codes, *ARGUMENTS, "--epochs", 1)
    assert_usage_error(run("prior", codes, *ARGUMENTS), "holds a model already", "--overwrite")
