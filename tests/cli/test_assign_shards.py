from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents, spiral

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]


@pytest.fixture
def book(folder: Path) -> gq.Codebook:
    """A codebook of the spiral, and its latents in a folder of twelve shards."""
    (folder / "shards").mkdir()
    for i, block in enumerate(np.array_split(spiral(), 12)):
        np.save(folder / "shards" / f"part{i}.npy", block)
    fitted = gq.fit_codebook(spiral(), 5, random_state=0)
    fitted.codebook.save("book.safetensors")
    return fitted.codebook


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_a_file_of_codes_for_each_shard(
    run: Run, folder: Path, book: gq.Codebook, engine: str
) -> None:
    """They are those of Codebook.assign; a second run has nothing to do."""
    options = ["assign", "shards", "--codebook", "book.safetensors", "-o", "codes/", "--json"]
    if engine == "dask":
        pytest.importorskip("distributed")
        options += ["--engine", "dask", "--workers", 1]
    outcome = run(*options)
    assert (outcome.exit_code, outcome.err) == (0, "")
    found = [np.load(folder / "codes" / f"part{i}.codes.npy") for i in range(12)]
    expected = book.assign(spiral())
    assert np.concatenate(found).tolist() == expected.tolist()
    summary = json.loads(outcome.out)
    assert (summary["n"], summary["k"], summary["usage"]) == (300, 5, 1.0)
    assert summary["perplexity"] == pytest.approx(gq.quality.perplexity(expected, 5))
    assert (summary["shards"], summary["shards_done_before"]) == (12, 0)
    before = contents(folder / "codes")
    again = run(*options[:7], *options[7:])
    assert json.loads(again.out)["shards_done_before"] == 12
    assert contents(folder / "codes") == before


@pytest.mark.usefixtures("book")
def test_a_folder_of_shards_into_one_file(run: Run) -> None:
    """As ever, where the output is a file or not named, and the engine local."""
    assert run("assign", "shards", "--codebook", "book.safetensors").exit_code == 0
    assert len(np.load("shards.codes.npy")) == 300


@pytest.mark.usefixtures("book")
def test_what_does_not_go_with_shards(run: Run, folder: Path) -> None:
    """Nothing is ignored in silence."""
    np.save("one.npy", spiral())
    common = ["--codebook", "book.safetensors"]
    outcome = run("assign", "one.npy", *common, "--engine", "dask", "-o", "one.codes.npy")
    assert_usage_error(outcome, "--output", "one.codes.npy is the name of a file")
    outcome = run("assign", "shards", *common, "-o", "codes", "--model", "m", "--data", "d")
    assert_usage_error(outcome, "--model", "one file")
    outcome = run("assign", "shards", *common, "-o", "codes", "--workers", 2)
    assert_usage_error(outcome, "--workers", "is for --engine dask")
    assert_usage_error(run("assign", "one.npy", *common, "-o", "shards"), "is a directory")
    assert not (folder / "codes").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["part3.npy", "part99.npy"], ("part99.npy", "no such file")),
        (["part3.npy", "part3.npy"], ("names a shard twice",)),
    ],
    ids=["missing", "twice"],
)
@pytest.mark.parametrize("engine", ["local", "dask"])
@pytest.mark.usefixtures("book")
def test_a_manifest_of_shards_that_cannot_be_used(
    run: Run, folder: Path, engine: str, names: list[str], words: tuple[str, ...]
) -> None:
    """One line, exit code 3, before a cluster is started; no folder is made."""
    (folder / "shards" / "manifest.json").write_text(json.dumps({"shards": names}))
    command = ["assign", "shards", "--codebook", "book.safetensors", "-o", "codes"]
    assert_one_line_error(run(*command, "--engine", engine), 3, *words)
    assert not (folder / "codes").exists()


@pytest.mark.parametrize("how", ["width", "nan", "truncated"])
@pytest.mark.usefixtures("book")
def test_a_shard_that_cannot_be_used(run: Run, folder: Path, how: str) -> None:
    """One line that names it, exit code 3; the others are kept by the next run."""
    file = folder / "shards" / "part7.npy"
    whole = file.read_bytes()
    if how == "truncated":
        file.write_bytes(whole[:-3])
    else:
        np.save(file, np.ones((4, 3), np.float32) if how == "width" else np.load(file) * np.nan)
    command = ["assign", "shards", "--codebook", "book.safetensors", "-o", "codes", "--n-jobs", 1]
    assert_one_line_error(run(*command), 3, "part7.npy")
    file.write_bytes(whole)
    outcome = run(*command, "--json")
    n_done = json.loads(outcome.out)["shards_done_before"]
    assert 7 <= n_done < 12 if how == "nan" else n_done == 0


@pytest.mark.usefixtures("book")
def test_an_interruption_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command does."""
    from geoquant.distributed import assign

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(assign, "map_tasks", stop)
    outcome = run("assign", "shards", "--codebook", "book.safetensors", "-o", "codes")
    assert outcome.exit_code == 130
    assert "the same command goes on with the shards that are left" in outcome.err
