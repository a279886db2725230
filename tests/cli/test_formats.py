"""Commands on latents of every format, and what they call their outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoquant.cli.options import beside
from geoquant.errors import FileFormatError
from tests.cli.conftest import assert_one_line_error, assert_usage_error, blobs, contents

Run = Callable[..., Any]


def write_parquet(path: Path) -> str:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"z": list(blobs()), "label": ["a"] * 60}), path / "latents.parquet")
    return "latents.parquet"


def write_hdf5(path: Path) -> str:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "latents.h5", "w") as file:
        file["train/z"], file["test/z"] = blobs(), blobs()[:5]
    return "latents.h5::/train/z"


def write_zarr(path: Path) -> str:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(path / "latents.zarr", data=blobs(), chunks=(7, 2))
    return "latents.zarr"


def write_torch(path: Path) -> str:
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(blobs()), path / "latents.pt")
    return "latents.pt"


def write_shards(path: Path) -> str:
    (path / "shards").mkdir()
    for i in range(0, 60, 5):
        np.save(path / "shards" / f"part-{i}.npy", blobs()[i : i + 5])
    return "shards/"


WRITERS = {
    "parquet": (write_parquet, "latents"),
    "hdf5": (write_hdf5, "latents-train-z"),
    "zarr": (write_zarr, "latents"),
    "torch": (write_torch, "latents"),
    "shards": (write_shards, "shards"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_fit_and_assign(run: Run, folder: Path, latents: Path, kind: str) -> None:
    """The same codes as of an .npy, in files beside the input, with the input's name."""
    write, stem = WRITERS[kind]
    name = write(folder)
    run("fit", latents, "-k", 3, "-q", "-o", "npy.codebook.safetensors")
    outcome = run("fit", name, "-k", 3, "--json")
    assert outcome.exit_code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["codebook"] == f"{stem}.codebook.safetensors"
    assert summary["codes"] == f"{stem}.codes.npy"
    expected = np.load(folder / "npy.codes.npy")
    np.testing.assert_array_equal(np.load(folder / summary["codes"]), expected)
    (folder / summary["codes"]).unlink()
    assert run("assign", name, "--codebook", "npy.codebook.safetensors", "-q").exit_code == 0
    np.testing.assert_array_equal(np.load(folder / f"{stem}.codes.npy"), expected)
    assert run("fit", name, "-k", 3, "--estimate", "-q").exit_code == 0


@pytest.mark.parametrize("kind", WRITERS)
def test_latents_that_fail_the_checks(run: Run, folder: Path, kind: str, monkeypatch: Any) -> None:
    """NaN in any format is exit code 3 with its name, and nothing is written."""
    bad = blobs()
    bad[7] = np.nan
    monkeypatch.setitem(globals(), "blobs", lambda: bad)
    name = WRITERS[kind][0](folder)
    before = contents(folder)
    assert_one_line_error(run("fit", name, "-k", 3), 3, name.rstrip("/"), "must be finite", "row 7")
    assert contents(folder) == before


def test_keys(run: Run, folder: Path) -> None:
    """An array is chosen with --key or behind the name, and those there are are listed."""
    write_hdf5(folder)
    assert run("fit", "latents.h5", "--key", "train/z", "-k", 3, "-q").exit_code == 0
    assert (folder / "latents.codebook.safetensors").exists()
    listed = ("'/test/z', '/train/z'",)
    assert_one_line_error(run("fit", "latents.h5", "-k", 3), 3, "latents.h5", *listed)
    assert_one_line_error(run("fit", "latents.h5::/z", "-k", 3), 3, "latents.h5", *listed)


def test_inputs_are_not_overwritten(run: Run, folder: Path) -> None:
    """Neither the file of an array, nor a shard, nor a file of a store."""
    write_shards(folder)
    np.savez(folder / "latents.npz", a=blobs(), b=blobs())
    before = contents(folder)
    for name, output in (
        ("latents.npz::a", "latents.npz"),
        ("shards", "shards/part-0.npy"),
        ("shards/", "shards/../shards/part-5.npy"),
    ):
        assert_usage_error(run("fit", name, "-k", 3, "-o", output), "would be overwritten")
    assert contents(folder) == before
    (folder / "one").mkdir()
    np.save(folder / "one" / "a.npy", blobs())
    assert_usage_error(run("fit", "one", "-k", 3, "-o", "one/a.npy"), "would be overwritten")
    (folder / "a.zarr").mkdir()
    (folder / "a.zarr" / "zarr.json").write_text("{}")
    assert_usage_error(run("fit", "a.zarr", "-k", 3, "-o", "a.zarr/zarr.json"), "overwritten")


def test_output_beside_files_of_another_kind(run: Run, folder: Path) -> None:
    """A file in a folder that is no shard of it may be replaced."""
    write_shards(folder)
    (folder / "shards" / "notes.txt").write_text("")
    outcome = run("fit", "shards", "-k", 3, "-o", "shards/notes.txt")
    assert_one_line_error(outcome, 3, "must be of one format")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.npy", "a.x"),
        ("in/a.b.npy", "in/a.b.x"),
        ("a.csv", "a.x"),
        ("a.zarr.zip", "a.x"),
        ("A.H5", "A.x"),
        (".npy", ".npy.x"),
        ("a.h5::/train/z", "a-train-z.x"),
        ("in/a.h5::z", "in/a-z.x"),
        ("a.h5::", "a.x"),
        ("a.h5::/../ü /;z", "a-..-ü-z.x"),
        ("run.1", "run.1.x"),
        ("run.1/", "run.1.x"),
        ("run.zarr", "run.x"),
    ],
)
def test_names_of_outputs(folder: Path, path: str, expected: str) -> None:
    """That of the input without its suffix, that of a folder whole, and the array's behind it."""
    (folder / "run.1").mkdir()
    (folder / "run.zarr").mkdir()
    assert beside(Path(path), ".x") == Path(expected)


@pytest.mark.parametrize("path", [".", "..", "/", ""])
def test_paths_without_a_name(path: str) -> None:
    """Nothing can be called after them."""
    with pytest.raises(FileFormatError, match="has no name of its own"):
        beside(Path(path), ".x")


def test_a_folder_that_holds_nothing(run: Run, folder: Path) -> None:
    """Exit code 3, and its name."""
    (folder / "empty").mkdir()
    assert_one_line_error(run("fit", "empty/", "-k", 3), 3, "empty", "holds no shard")
