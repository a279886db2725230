from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from tests.cli.conftest import assert_usage_error, contents, spiral

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "spiral.codebook.safetensors"


@pytest.fixture
def book(run: Run, spiral_latents: Path) -> gq.MultistageCodebook:
    """A codebook of three stages of the spiral, in the folder."""
    assert run("fit", spiral_latents, "-k", 5, "--stages", 3, "-q") == (0, "", "")
    return gq.MultistageCodebook.load(BOOK)


def test_files_are_those_of_fit_multistage(book: gq.MultistageCodebook, folder: Path) -> None:
    """Codebook and codes lie beside the latents, with the defaults and the seed 0."""
    fitted = gq.fit_multistage(spiral(), 5, 3, random_state=0)
    assert set(contents(folder)) == {"spiral.npy", BOOK, "spiral.codes.npy"}
    codes = np.load(folder / "spiral.codes.npy")
    assert (codes.dtype, codes.shape) == (np.int32, (300, 3))
    np.testing.assert_array_equal(codes, fitted.codes)
    for one, other in zip(book.stages, fitted.codebook.stages, strict=True):
        np.testing.assert_array_equal(one.vectors, other.vectors)


def test_every_option_arrives(run: Run, spiral_latents: Path) -> None:
    """Sizes of the stages, kind, metric, beam and refits are those asked for."""
    options = ["--stage-metric", "euclidean", "--beam", 3, "--refits", 2, "--seed", 4]
    assert run("fit", spiral_latents, "-k", "6,4,3", *options).exit_code == 0
    book = gq.MultistageCodebook.load(BOOK)
    expected = gq.fit_multistage(
        spiral(), (6, 4, 3), 3, metric="euclidean", beam=3, n_refits=2, random_state=4
    ).codebook
    assert list(book.file_blocks()) == list(expected.file_blocks())
    run("fit", spiral_latents, "-k", 4, "--stages", 2, "--stage-kind", "product", "-q")
    assert gq.MultistageCodebook.load(BOOK).kind == "product"


def test_json_is_one_object(run: Run, spiral_latents: Path, folder: Path) -> None:
    """--json prints the numbers of every stage and of the whole."""
    outcome = run("fit", spiral_latents, "-k", 5, "--stages", 2, "--json")
    assert (outcome.exit_code, outcome.err) == (0, "")
    said = json.loads(outcome.out)
    assert (said["schema_version"], said["n"], said["d"], said["k"]) == (1, 300, 2, [5, 5])
    for name in ("usage", "perplexity", "stage_distortion", "stage_seconds"):
        assert len(said[name]) == 2
    book = gq.MultistageCodebook.load(folder / BOOK)
    left = spiral() - book.lookup(np.load(folder / "spiral.codes.npy"))
    assert said["euclidean_distortion"] == pytest.approx(np.square(left).sum(axis=1).mean())
    assert said["codebook"] == str(folder / BOOK)


@pytest.mark.parametrize("kind", ["residual", "product"])
def test_table_shows_the_stages(run: Run, spiral_latents: Path, kind: str) -> None:
    """Each stage has a line, and what was written is named."""
    outcome = run("fit", spiral_latents, "-k", 5, "--stages", 2, "--stage-kind", kind)
    assert outcome.exit_code == 0
    assert f"300 x 2, {kind}, geodesic" in outcome.out
    assert "perplexity  distortion" in outcome.out
    assert ("refits" in outcome.out) == (kind == "residual")
    assert BOOK in outcome.out
    assert "spiral.codes.npy" in outcome.out


@pytest.mark.usefixtures("book")
def test_assign_gives_the_codes_of_the_fit(run: Run, folder: Path) -> None:
    """Assigning the latents that were fitted writes the very same file of codes."""
    outcome = run("assign", "spiral.npy", "--codebook", BOOK, "-o", "again.npy")
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "300 x 3 codes" in outcome.out
    assert "stage 3   100.0% of 5 used" in outcome.out
    files = contents(folder)
    assert files["again.npy"] == files["spiral.codes.npy"]
    said = json.loads(run("assign", "spiral.npy", "--codebook", BOOK, "--json").out)
    assert said["k"] == [5, 5, 5]
    assert len(said["usage"]) == len(said["perplexity"]) == 3


@pytest.mark.usefixtures("book")
def test_assign_has_no_method_for_stages(run: Run) -> None:
    """A codebook of several stages knows how it assigns."""
    outcome = run("assign", "spiral.npy", "--codebook", BOOK, "--method", "euclidean")
    assert_usage_error(outcome, "--method", "several stages")


def test_inspect_shows_the_stages(run: Run, book: gq.MultistageCodebook) -> None:
    """Sizes of all stages and how they were made, as lines and as JSON."""
    facts = json.loads(run("inspect", BOOK, "--json").out)
    assert (facts["stages"], facts["codes"], facts["dimensions"]) == (3, [5, 5, 5], 2)
    assert (facts["kind"], facts["beam"]) == ("residual", 8)
    assert {name: facts[name] for name in book.metadata} == book.metadata
    lines = run("inspect", BOOK).out.splitlines()
    assert {line.split("  ")[0] for line in lines} == set(facts) - {"schema_version"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", 5, "--beam", 3], ["--beam", "--stages"]),
        (["-k", 5, "--stage-kind", "product"], ["--stage-kind", "--stages"]),
        (["-k", "5,0"], ["--n-clusters", "0"]),
        (["-k", "5,"], ["--n-clusters"]),
        (["-k", "5,5", "--stages", 3], ["n_clusters", "3"]),
        (["-k", 5, "--stages", 0], ["--stages"]),
        (["-k", 5, "--stages", 2, "--stage-kind", "sum"], ["--stage-kind"]),
        (["-k", 5, "--stages", 2, "--anchors", 9], ["--anchors", "one stage"]),
        (["-k", 5, "--stages", 2, "--estimate"], ["--estimate", "one stage"]),
        (["-k", 5, "--stages", 2, "--codewords", "medoid"], ["--codewords", "means"]),
        (["-k", 5, "--stages", 2, "-o", "spiral.npy"], ["--output", "input"]),
        (["-k", 5, "--stages", 3, "--stage-kind", "product"], ["n_stages", "2"]),
    ],
)
def test_bad_arguments(
    run: Run, spiral_latents: Path, folder: Path, arguments: list[Any], words: list[str]
) -> None:
    """Exit code 2, the argument's name on stderr, nothing written."""
    assert_usage_error(run("fit", spiral_latents, *arguments), *words)
    assert set(contents(folder)) == {"spiral.npy"}
