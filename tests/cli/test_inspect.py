from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import geoquant as gq
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "spiral.codebook.safetensors"


@pytest.fixture
def book(run: Run, spiral_latents: Path) -> gq.Codebook:
    """A codebook of the spiral, in the folder."""
    run("fit", spiral_latents, "-k", 5, "--n-neighbors", 6, "--seed", 3, "--anchors", 40, "-q")
    return gq.Codebook.load(BOOK)


def test_numbers_are_shown(run: Run, book: gq.Codebook, folder: Path) -> None:
    """Each line has a name and a value: sizes, how it was made, bytes."""
    outcome = run("inspect", BOOK)
    assert (outcome.exit_code, outcome.err) == (0, "")
    shown = dict(line.split("  ", 1) for line in outcome.out.splitlines())
    shown = {name.strip(): value.strip() for name, value in shown.items()}
    assert shown["codes"] == "5"
    assert shown["dimensions"] == "2"
    assert shown["anchors"] == "40"
    assert shown["neighbours considered"] == "6"
    assert shown["unused codes"] == "0"
    assert float(shown["mean geodesic distance"]) == book.anchor_distance.mean()
    assert shown["random_state"] == "3"
    assert shown["n_latents"] == "300"
    assert shown["codewords"] == "mean"
    assert shown["bytes"] == str((folder / BOOK).stat().st_size)


def test_json_is_one_object(run: Run, book: gq.Codebook) -> None:
    """--json prints the same facts as one object on stdout and nothing else anywhere."""
    outcome = run("inspect", BOOK, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert outcome.out.count("\n") == 1
    facts = json.loads(outcome.out)
    assert facts["schema_version"] == 1
    assert (facts["codes"], facts["dimensions"], facts["anchors"]) == (5, 2, 40)
    assert facts["thinned"] == {"n_anchors": 40, "of": 300, "random_state": 0}
    assert {name: facts[name] for name in book.metadata} == book.metadata
    lines = run("inspect", BOOK).out.splitlines()
    assert {line.split("  ")[0] for line in lines} == set(facts) - {"schema_version"}


@pytest.mark.usefixtures("book")
def test_nothing_is_written(run: Run, folder: Path) -> None:
    """To look at a codebook changes no file."""
    before = contents(folder)
    run("inspect", BOOK)
    assert contents(folder) == before


@pytest.mark.usefixtures("book")
def test_bad_files(run: Run, folder: Path) -> None:
    """Missing, truncated, changed and other files: exit code 3 and the file's name."""
    whole = (folder / BOOK).read_bytes()
    (folder / "cut").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (folder / "empty").write_bytes(b"")
    for name in ("gone", "cut", "flipped", "empty", "spiral.npy", "."):
        assert_one_line_error(run("inspect", name), 3, name)


@pytest.mark.parametrize(
    ("arguments", "word"), [([], "CODEBOOK"), (["a", "b"], "b"), (["a", "--verbose"], "--verbose")]
)
def test_bad_arguments(run: Run, arguments: list[str], word: str) -> None:
    """Exit code 2 and what is wrong."""
    assert_usage_error(run("inspect", *arguments), word)
