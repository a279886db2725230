from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import geoquant as gq
from geoquant.cli.fit import codes_beside
from geoquant.cli.progress_bar import ProgressBar
from geoquant.cli.summary import advice
from geoquant.errors import ResourceError
from tests.cli.conftest import (
    assert_interrupted,
    assert_one_line_error,
    assert_usage_error,
    blobs,
    contents,
    spiral,
)

Run = Callable[..., Any]

SUMMARY_KEYS = {
    "schema_version",
    "n",
    "d",
    "k",
    "n_components",
    "graph_recall",
    "energy",
    "power",
    "is_converged",
    "usage",
    "dead_codes",
    "perplexity",
    "entropy_nats",
    "imbalance",
    "geodesic_distortion",
    "euclidean_distortion",
    "agreement_with_euclidean",
    "seconds",
    "peak_memory_mb",
    "latents",
    "codebook",
    "codes",
    "advice",
}


# ----------------------------------------------------------------------------------- files written


def test_files_are_written_next_to_the_input(run: Run, latents: Path, folder: Path) -> None:
    """Codebook and codes lie beside the latents, are named after them, and are all there is."""
    outcome = run("fit", latents, "-k", 3)
    assert outcome.exit_code == 0, outcome.err
    assert outcome.err == ""
    assert set(contents(folder)) == {
        "latents.npy",
        "latents.codebook.safetensors",
        "latents.codes.npy",
    }
    codes = np.load(folder / "latents.codes.npy")
    assert (codes.dtype, codes.shape) == (np.int32, (60,))
    assert gq.Codebook.load(folder / "latents.codebook.safetensors").n_codes == 3


@pytest.mark.parametrize(
    ("output", "codes"),
    [
        ("sub/book.codebook.safetensors", "sub/book.codes.npy"),
        ("sub/book.safetensors", "sub/book.safetensors.codes.npy"),
        ("book", "book.codes.npy"),
    ],
)
def test_output_option(run: Run, latents: Path, folder: Path, output: str, codes: str) -> None:
    """With -o the codebook goes there, and the codes beside it."""
    (folder / "sub").mkdir()
    assert run("fit", latents, "-k", 3, "-o", output).exit_code == 0
    assert set(contents(folder)) == {"latents.npy", output, codes}
    assert codes_beside(Path(output)) == Path(codes)


@pytest.mark.parametrize(
    ("codewords", "estimator"), [("mean", gq.GeodesicKMeans), ("medoid", gq.GeodesicKMedoids)]
)
def test_codes_equal_those_of_the_estimator(
    run: Run, spiral_latents: Path, folder: Path, codewords: str, estimator: type
) -> None:
    """With the same seed and options the command gives the estimator's codes and codewords."""
    options = ["--codewords", codewords, "--n-neighbors", 5, "--n-init", 2, "--seed", 7]
    outcome = run("fit", spiral_latents, "-k", 6, "--algorithm", "alternate", *options, "-q")
    assert outcome.exit_code == 0
    est = estimator(6, n_neighbors=5, n_init=2, algorithm="alternate", random_state=7)
    est.fit(spiral())
    np.testing.assert_array_equal(np.load(folder / "spiral.codes.npy"), est.labels_)
    book = gq.Codebook.load(folder / "spiral.codebook.safetensors")
    np.testing.assert_array_equal(book.vectors, est.cluster_centers_)
    assert book.metadata["random_state"] == 7
    assert book.metadata["algorithm"] == "alternate"
    assert book.n_neighbors == 5


def test_same_seed_same_bytes_with_any_number_of_threads(
    run: Run, spiral_latents: Path, folder: Path
) -> None:
    """Two runs write the same bytes; another seed does not have to, so it is not asked."""
    for n_jobs in (1, 2, 3):
        run("fit", spiral_latents, "-k", 5, "--n-jobs", n_jobs, "-o", f"{n_jobs}")
    files = contents(folder)
    assert files["1"] == files["2"] == files["3"]
    assert files["1.codes.npy"] == files["2.codes.npy"] == files["3.codes.npy"]


def test_anchors_thin_the_codebook(run: Run, spiral_latents: Path, folder: Path) -> None:
    """--anchors keeps that many, while the codes stay those of the whole fit."""
    run("fit", spiral_latents, "-k", 5, "-o", "whole")
    run("fit", spiral_latents, "-k", 5, "-o", "thin", "--anchors", 50)
    assert gq.Codebook.load("whole").n_anchors == 300
    assert gq.Codebook.load("thin").n_anchors == 50
    files = contents(folder)
    assert files["whole.codes.npy"] == files["thin.codes.npy"]
    assert len(files["thin"]) < len(files["whole"])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_key_chooses_the_array(run: Run, folder: Path, suffix: str) -> None:
    """--key reads one array of several; without it the error lists them."""
    file = folder / f"several{suffix}"
    arrays = {"train": blobs(), "test": blobs()[:10] + 1}
    np.savez(file, **arrays) if suffix == ".npz" else save_file(arrays, file)
    assert_one_line_error(run("fit", file, "-k", 2), 3, str(file), "'test', 'train'")
    missing = run("fit", file, "-k", 2, "--key", "valid")
    assert_one_line_error(missing, 3, str(file), "'valid'", "'test', 'train'")
    assert set(contents(folder)) == {file.name}
    assert run("fit", file, "-k", 2, "--key", "test", "-q").exit_code == 0
    expected = gq.fit_codebook(arrays["test"], 2, random_state=0).codes
    np.testing.assert_array_equal(np.load(folder / "several.codes.npy"), expected)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_one_array_needs_no_key(run: Run, folder: Path, suffix: str) -> None:
    """A file of a single array is read without --key."""
    file = folder / f"one{suffix}"
    np.savez(file, x=blobs()) if suffix == ".npz" else save_file({"x": blobs()}, file)
    assert run("fit", file, "-k", 3, "-q").exit_code == 0
    assert len(np.load(folder / "one.codes.npy")) == 60


def test_input_file_is_not_changed(run: Run, latents: Path) -> None:
    """The latents are read only."""
    before = latents.read_bytes()
    latents.chmod(0o444)
    assert run("fit", latents, "-k", 3).exit_code == 0
    assert latents.read_bytes() == before


# ------------------------------------------------------------------------------------------ output


def test_table_shows_the_numbers(run: Run, latents: Path) -> None:
    """The table has the size, the components, the energy, and where the files are."""
    outcome = run("fit", latents, "-k", 3, "--n-neighbors", 5)
    energy = gq.fit_codebook(blobs(), 3, n_neighbors=5, random_state=0).clustering.inertia
    for text in ("latents.npy: 3 codes", "60 x 2", "exact", f"{energy:,.6g}", "perplexity", "3.00"):
        assert text in outcome.out
    assert "latents.codebook.safetensors" in outcome.out
    assert "latents.codes.npy" in outcome.out
    assert "100.0%" in outcome.out


def test_json_is_one_object(run: Run, latents: Path, folder: Path) -> None:
    """--json prints one object on stdout and nothing else anywhere."""
    outcome = run("fit", latents, "-k", 3, "--json")
    assert outcome.exit_code == 0
    assert outcome.err == ""
    assert outcome.out.count("\n") == 1
    summary = json.loads(outcome.out)
    assert set(summary) == SUMMARY_KEYS
    fitted = gq.fit_codebook(blobs(), 3, random_state=0)
    assert summary["schema_version"] == 1
    assert (summary["n"], summary["d"], summary["k"]) == (60, 2, 3)
    assert summary["n_components"] == fitted.n_components == 3
    assert summary["energy"] == fitted.clustering.inertia
    assert summary["perplexity"] == pytest.approx(3)
    assert (summary["usage"], summary["dead_codes"]) == (1.0, 0)
    assert summary["latents"] == str(latents)
    assert summary["codebook"] == str(folder / "latents.codebook.safetensors")
    assert summary["codes"] == str(folder / "latents.codes.npy")
    assert set(summary["seconds"]) == {"graph", "clustering", "codebook"}
    assert summary["peak_memory_mb"] > 1


def test_quiet_prints_nothing(run: Run, latents: Path, folder: Path) -> None:
    """-q writes the files and no text."""
    outcome = run("fit", latents, "-k", 3, "-q")
    assert outcome == (0, "", "")
    assert (folder / "latents.codes.npy").exists()


def test_hint_appears_where_kmeans_would_do(run: Run, latents: Path) -> None:
    """Far heaps: the last line says that KMeans would do, and JSON carries it."""
    last = run("fit", latents, "-k", 3).out.splitlines()[-1]
    assert last.startswith("Plain KMeans would do here: 100.0%")
    assert json.loads(run("fit", latents, "-k", 3, "--json").out)["advice"] == last


def test_hint_is_absent_where_geodesics_matter(run: Run, spiral_latents: Path) -> None:
    """A spiral: no hint."""
    summary = json.loads(run("fit", spiral_latents, "-k", 4, "--json").out)
    assert summary["agreement_with_euclidean"] < 0.9
    assert summary["advice"] is None
    assert "KMeans" not in run("fit", spiral_latents, "-k", 4).out


def test_advice_is_for_more_than_99_percent() -> None:
    """At 99 % there is none, above it there is."""
    assert advice({"agreement_with_euclidean": 0.99}) is None
    assert "99.1%" in str(advice({"agreement_with_euclidean": 0.991}))


def test_brackets_in_a_file_name_are_printed(run: Run, folder: Path) -> None:
    """The name of the file is text, not markup."""
    np.save(folder / "[red]latents.npy", blobs())
    outcome = run("fit", "[red]latents.npy", "-k", 3)
    assert outcome.out.startswith("[red]latents.npy: 3 codes")


# --------------------------------------------------------------------------------------- bad input


def save_truncated(path: Path) -> None:
    np.save(path, blobs())
    path.write_bytes(path.read_bytes()[:-7])


def save_nan(path: Path) -> None:
    x = blobs()
    x[41, 1] = np.nan
    np.save(path, x)


def save_pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(blobs()))


BAD_FILES = {
    "one axis": (lambda path: np.save(path, blobs()[:, 0]), ["(60,)", "reshape"]),
    "three axes": (lambda path: np.save(path, blobs()[None]), ["(1, 60, 2)", "reshape"]),
    "NaN": (save_nan, ["NaN", "row 41", "drop them"]),
    "infinity": (lambda path: np.save(path, blobs() * np.inf), ["infinity", "drop them"]),
    "too large": (lambda path: np.save(path, blobs() * np.float32(1e30)), ["magnitude", "rescale"]),
    "complex": (lambda path: np.save(path, blobs() * 1j), ["complex", "convert"]),
    "strings": (lambda path: np.save(path, np.array([["a"]])), ["plain array", "astype"]),
    "objects": (
        lambda path: np.save(path, np.array([[1, None]], object), allow_pickle=True),
        ["pickled Python objects are not read", "astype"],
    ),
    "no rows": (lambda path: np.save(path, blobs()[:0]), ["(0, 2)", "at least one"]),
    "no columns": (lambda path: np.save(path, blobs()[:, :0]), ["(60, 0)", "at least one"]),
    "pickled": (save_pickled, ["no .npy file", "numpy.save"]),
    "truncated": (save_truncated, ["cut short", "copy it again"]),
    "zero bytes": (lambda path: path.write_bytes(b""), ["no .npy file", "numpy.save"]),
    "folder": (lambda path: path.mkdir(), []),
    "missing": (lambda path: None, ["no such file"]),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files(run: Run, folder: Path, kind: str) -> None:
    """One line on stderr with the file's name and the cure, exit code 3, nothing left behind."""
    make, words = BAD_FILES[kind]
    file = folder / "bad-latents.npy"
    make(file)
    before = contents(folder)
    assert_one_line_error(run("fit", file, "-k", 2), 3, str(file), *words)
    assert contents(folder) == before


@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".csv", ".npz", ".safetensors", ""])
def test_files_of_another_kind(run: Run, folder: Path, suffix: str) -> None:
    """Whatever the suffix, text is refused by name with exit code 3."""
    file = folder / f"latents{suffix}"
    file.write_text("1,2\n3,4\n")
    assert_one_line_error(run("fit", file, "-k", 2), 3, str(file))
    assert set(contents(folder)) == {file.name}


@pytest.mark.parametrize("path", [".", ".."])
def test_folders_without_a_name(run: Run, path: str, folder: Path) -> None:
    """A folder is no file, even if its path has no last part to name the output after."""
    assert_one_line_error(run("fit", path, "-k", 2), 3, path)
    assert contents(folder) == {}


def test_disconnected_graph(run: Run, latents: Path, folder: Path) -> None:
    """--on-disconnected raise ends with exit code 3, the components and the cure."""
    outcome = run("fit", latents, "-k", 3, "--n-neighbors", 5, "--on-disconnected", "raise")
    assert_one_line_error(outcome, 3, "3 components", "raise n_neighbors")
    assert set(contents(folder)) == {"latents.npy"}


# ----------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-k", 0], ["--n-clusters", "0"]),
        (["-k", -3], ["--n-clusters", "-3"]),
        (["-k", "many"], ["--n-clusters", "many"]),
        (["-k", 61], ["n_clusters", "60", "61"]),
        ([], ["--n-clusters"]),
        (["-k", 2, "--frobnicate"], ["--frobnicate"]),
        (["-k", 2, "extra.npy"], ["extra.npy"]),
        (["-k", 2, "--codewords", "median"], ["--codewords", "median"]),
        (["-k", 2, "--algorithm", "lloyd"], ["--algorithm", "lloyd"]),
        (["-k", 2, "--n-neighbors", 0], ["--n-neighbors"]),
        (["-k", 2, "--seed", -1], ["--seed"]),
        (["-k", 2, "--n-jobs", 0], ["n_jobs", "0"]),
        (["-k", 3, "--anchors", 2], ["n_anchors", "3", "2"]),
        (["-k", 2, "-o", "no/such/book"], ["--output", "does not exist"]),
        (["-k", 2, "-o", "."], ["--output", "directory"]),
    ],
)
def test_bad_arguments(
    run: Run, latents: Path, folder: Path, arguments: list[Any], words: list[str]
) -> None:
    """Exit code 2, the argument's name on stderr, nothing written."""
    assert_usage_error(run("fit", latents, *arguments), *words)
    assert set(contents(folder)) == {"latents.npy"}


def test_more_codes_than_distinct_latents(run: Run, folder: Path) -> None:
    """Repetitions do not count: it is a wrong argument, and the message has both numbers."""
    np.save(folder / "twins.npy", np.repeat(blobs()[:5], 4, axis=0))
    assert_usage_error(run("fit", "twins.npy", "-k", 6), "n_clusters", "5", "6")


def test_output_must_not_be_the_input(run: Run, folder: Path) -> None:
    """A slip of the pen does not replace the latents by their codebook."""
    save_file({"x": blobs()}, folder / "latents.safetensors")
    before = contents(folder)
    outcome = run("fit", "latents.safetensors", "-k", 3, "-o", "latents.safetensors")
    assert_usage_error(outcome, "latents.safetensors")
    assert contents(folder) == before


# ------------------------------------------------------------------------- failure and interruption


def test_old_files_survive_a_failed_run(run: Run, latents: Path, folder: Path) -> None:
    """A run that fails leaves the codebook and codes of an earlier one as they were."""
    run("fit", latents, "-k", 3)
    before = contents(folder)
    assert run("fit", latents, "-k", 61).exit_code == 2
    assert run("fit", latents, "-k", 3, "--anchors", 1).exit_code == 2
    save_nan(latents)
    assert run("fit", latents, "-k", 3).exit_code == 3
    np.save(latents, blobs())
    assert contents(folder) == before


def test_interrupted_run_leaves_nothing(
    run: Run, latents: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during the work: exit code 130, one line, no files, old ones untouched."""

    def interrupt(self: ProgressBar, stage: str, done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    assert_interrupted(run("fit", latents, "-k", 3))
    assert set(contents(folder)) == {"latents.npy"}
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    run("fit", latents, "-k", 3, "-q")
    before = contents(folder)
    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    assert run("fit", latents, "-k", 2).exit_code == 130
    assert contents(folder) == before


def test_full_disk(run: Run, latents: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the codebook cannot be written, the exit code is 4 and nothing is left behind."""

    def full(*_: Any) -> None:
        raise ResourceError("no space left for the codebook; free some")

    monkeypatch.setattr("geoquant.codebook.safetensors_blocks", full)
    assert_one_line_error(run("fit", latents, "-k", 3), 4, "no space left")
    assert set(contents(folder)) == {"latents.npy"}


def test_codes_that_cannot_be_written_leave_no_codebook(
    run: Run, latents: Path, folder: Path
) -> None:
    """Codebook and codes come together: if one cannot be written, neither is."""
    (folder / "latents.codes.npy").mkdir()
    outcome = run("fit", latents, "-k", 3)
    assert_one_line_error(outcome, 4, "latents.codes.npy")
    assert set(contents(folder)) == {"latents.npy"}


def test_memory_error(run: Run, latents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of memory is one line and exit code 4."""

    def no_memory(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("geoquant.fit.fit_codebook", no_memory)
    assert_one_line_error(run("fit", latents, "-k", 3), 4, "not enough memory")


# ----------------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize(
    "options", [(), ("--stages", 2), ("--stages", 2, "--stage-metric", "euclidean")]
)
def test_stopped_fit_goes_on_to_the_same_files(
    run: Run,
    latents: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[Any, ...],
) -> None:
    """SIGTERM ends it with 143, says how to go on, and --resume writes what would have been."""
    run("fit", latents, "-k", 3, *options, "-o", "whole.safetensors")
    command = ("fit", latents, "-k", 3, *options, "-o", "other.safetensors", "--checkpoint", "kept")

    def terminate(self: ProgressBar, stage: str, done: int, total: int) -> None:
        if "swaps" in stage or "encod" in stage:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "__call__", terminate)
        outcome = run(*command)
    assert outcome.exit_code == 143
    assert "terminated; --resume goes on after the last whole stage" in outcome.err
    assert_usage_error(run(*command), "--resume")
    assert run(*command, "--resume").exit_code == 0
    for name in ("{}.safetensors", "{}.safetensors.codes.npy"):
        whole, other = (folder / name.format(stem) for stem in ("whole", "other"))
        assert whole.read_bytes() == other.read_bytes()
    assert not (folder / "kept").exists()


@pytest.mark.parametrize("options", [(), ("--stages", 2)])
def test_nothing_to_go_on_from(run: Run, latents: Path, options: tuple[Any, ...]) -> None:
    """--resume needs the folder."""
    assert_usage_error(run("fit", latents, "-k", 3, *options, "--resume"), "--checkpoint")


@pytest.mark.parametrize("options", [(), ("--stages", 2)])
def test_checkpoint_stays_until_the_files_are_written(
    run: Run,
    latents: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[Any, ...],
) -> None:
    """A disk that is full at the end costs no work: the fit is not made again."""
    command = ("fit", latents, "-k", 3, *options, "-o", "o.safetensors", "--checkpoint", "kept")

    def full(codes: Any) -> None:
        raise ResourceError("no space")

    with monkeypatch.context() as patch:
        patch.setattr("geoquant.files.npy_blocks", full)
        assert_one_line_error(run(*command), 4, "no space")
    assert list((folder / "kept").rglob("*.checkpoint.safetensors"))
    with monkeypatch.context() as patch:
        patch.setattr("geoquant.fit._graph_of_fit", None)  # not needed again
        assert run(*command, "--resume").exit_code == 0
    assert not (folder / "kept").exists()


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
def test_killed_fit_goes_on_to_the_same_files(
    spiral_latents: Path, folder: Path, run: Run, seconds: float
) -> None:
    """kill -9 of a process that was fitting for so long."""
    options = ("fit", str(spiral_latents), "-k", "12", "--n-init", "3")
    run(*options, "-o", "whole.safetensors")
    command = (*options, "-o", "other.safetensors", "--checkpoint", "kept", "--resume")
    started = subprocess.Popen([sys.executable, "-m", "geoquant", *command], cwd=folder)
    deadline = time.monotonic() + 60
    while not (folder / "kept").exists() and started.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(seconds)
    started.kill()
    started.wait()
    assert run(*command).exit_code == 0
    whole, other = (folder / f"{stem}.safetensors" for stem in ("whole", "other"))
    assert whole.read_bytes() == other.read_bytes()
