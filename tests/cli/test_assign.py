from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from tests.cli.conftest import (
    assert_one_line_error,
    assert_usage_error,
    blobs,
    contents,
    spiral,
)

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "spiral.codebook.safetensors"


@pytest.fixture
def book(run: Run, spiral_latents: Path) -> gq.Codebook:
    """A codebook of the spiral, in the folder."""
    assert run("fit", spiral_latents, "-k", 5, "--algorithm", "alternate", "-q").exit_code == 0
    return gq.Codebook.load(BOOK)


@pytest.fixture
def new(folder: Path) -> np.ndarray:
    """Other latents near the spiral, in the folder."""
    x = spiral()[::3] + np.float32(0.4)
    np.save(folder / "new.npy", x)
    return x


@pytest.mark.usefixtures("book")
def test_training_file_gets_the_codes_of_the_fit(run: Run, folder: Path) -> None:
    """Assigning the latents that were fitted writes the very same file of codes."""
    assert run("assign", "spiral.npy", "--codebook", BOOK, "-o", "again.npy").exit_code == 0
    files = contents(folder)
    assert files["again.npy"] == files["spiral.codes.npy"]


def test_codes_of_new_latents(run: Run, folder: Path, book: gq.Codebook, new: np.ndarray) -> None:
    """By default they go beside the latents and are those of Codebook.assign."""
    outcome = run("assign", "new.npy", "--codebook", BOOK)
    assert outcome.exit_code == 0
    assert outcome.err == ""
    codes = np.load(folder / "new.codes.npy")
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, book.assign(new))
    assert "100 codes" in outcome.out
    assert "new.codes.npy" in outcome.out


def test_method_euclidean(run: Run, folder: Path, book: gq.Codebook, new: np.ndarray) -> None:
    """--method euclidean gives the nearest codeword, which is something else on a spiral."""
    run("assign", "new.npy", "--codebook", BOOK, "--method", "euclidean", "-o", "straight.npy")
    codes = np.load(folder / "straight.npy")
    squares = ((new[:, None] - book.vectors[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(codes, squares.argmin(axis=1))
    assert (codes != book.assign(new)).any()


@pytest.mark.usefixtures("book", "new")
def test_json_is_one_object(run: Run, folder: Path) -> None:
    """--json prints one object on stdout and nothing else anywhere."""
    outcome = run("assign", "new.npy", "--codebook", BOOK, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert outcome.out.count("\n") == 1
    summary = json.loads(outcome.out)
    assert set(summary) == {"schema_version", "n", "k", "usage", "perplexity", "codes"}
    codes = np.load(folder / "new.codes.npy")
    assert (summary["n"], summary["k"]) == (100, 5)
    assert summary["usage"] == len(np.unique(codes)) / 5
    assert summary["codes"] == "new.codes.npy"


@pytest.mark.usefixtures("book", "new")
def test_quiet_prints_nothing(run: Run, folder: Path) -> None:
    """-q writes the file and no text."""
    assert run("assign", "new.npy", "--codebook", BOOK, "-q") == (0, "", "")
    assert (folder / "new.codes.npy").exists()


@pytest.mark.usefixtures("book", "new")
@pytest.mark.parametrize("order", [["-q", "--json"], ["--json", "-q"]])
def test_quiet_json_is_the_same_in_fit_and_assign(run: Run, order: list[str]) -> None:
    """Both commands understand -q with --json in the same way."""
    fit = run("fit", "new.npy", "-k", 2, "-o", "other", *order)
    assign = run("assign", "new.npy", "--codebook", BOOK, *order)
    assert bool(fit.out) == bool(assign.out)


def test_key_chooses_the_array(run: Run, folder: Path, book: gq.Codebook, new: np.ndarray) -> None:
    """--key reads one array of several; without it the error lists them."""
    np.savez(folder / "several.npz", new=new, other=new[:3])
    assert_one_line_error(run("assign", "several.npz", "--codebook", BOOK), 3, "'new', 'other'")
    assert run("assign", "several.npz", "--codebook", BOOK, "--key", "other", "-q").exit_code == 0
    np.testing.assert_array_equal(np.load(folder / "several.codes.npy"), book.assign(new[:3]))


@pytest.mark.usefixtures("book", "new")
@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_threads_do_not_show(run: Run, folder: Path, n_jobs: int) -> None:
    """The file of codes is the same with any number of threads."""
    run("assign", "new.npy", "--codebook", BOOK, "-o", "default.npy")
    run("assign", "new.npy", "--codebook", BOOK, "-o", "other.npy", "--n-jobs", n_jobs)
    files = contents(folder)
    assert files["default.npy"] == files["other.npy"]


# --------------------------------------------------------------------------------------- bad input


@pytest.mark.usefixtures("book")
def test_other_number_of_columns(run: Run, folder: Path) -> None:
    """Latents of another width than the codebook's: exit code 2, both numbers, nothing written."""
    np.save(folder / "wide.npy", np.ones((4, 7), np.float32))
    before = contents(folder)
    outcome = run("assign", "wide.npy", "--codebook", BOOK)
    assert_usage_error(outcome, "wide.npy", "7 columns", "2")
    assert contents(folder) == before


@pytest.mark.usefixtures("book")
def test_bad_latents(run: Run, folder: Path) -> None:
    """NaN and missing files: exit code 3, the file's name, nothing written."""
    np.save(folder / "nan.npy", blobs() * np.nan)
    before = contents(folder)
    assert_one_line_error(run("assign", "nan.npy", "--codebook", BOOK), 3, "nan.npy", "NaN")
    missing = run("assign", "gone.npy", "--codebook", BOOK)
    assert_one_line_error(missing, 3, "gone.npy", "no such file")
    assert contents(folder) == before


@pytest.mark.usefixtures("book", "new")
def test_bad_codebooks(run: Run, folder: Path) -> None:
    """Missing, truncated, changed and other files: exit code 3 and the file's name."""
    whole = (folder / BOOK).read_bytes()
    (folder / "cut").write_bytes(whole[:-1])
    (folder / "flipped").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    before = contents(folder)
    for name in ("gone", "cut", "flipped", "new.npy"):
        assert_one_line_error(run("assign", "new.npy", "--codebook", name), 3, name)
    assert contents(folder) == before


@pytest.mark.usefixtures("book", "new")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--codebook"]),
        (["--codebook", BOOK, "--method", "cosine"], ["--method", "cosine"]),
        (["--codebook", BOOK, "--frobnicate"], ["--frobnicate"]),
        (["--codebook", BOOK, "--n-jobs", 0], ["n_jobs", "0"]),
        (["--codebook", BOOK, "-o", "no/such/codes.npy"], ["--output", "does not exist"]),
        (["--codebook", BOOK, "-o", "."], ["--output", "directory"]),
    ],
)
def test_bad_arguments(run: Run, folder: Path, arguments: list[Any], words: list[str]) -> None:
    """Exit code 2, the argument's name on stderr, nothing written."""
    before = contents(folder)
    assert_usage_error(run("assign", "new.npy", *arguments), *words)
    assert contents(folder) == before


@pytest.mark.usefixtures("book", "new")
@pytest.mark.parametrize("output", ["new.npy", BOOK])
def test_output_must_not_be_an_input(run: Run, folder: Path, output: str) -> None:
    """A slip of the pen replaces neither the latents nor the codebook by codes."""
    before = contents(folder)
    outcome = run("assign", "new.npy", "--codebook", BOOK, "-o", output)
    assert_usage_error(outcome, output)
    assert contents(folder) == before
