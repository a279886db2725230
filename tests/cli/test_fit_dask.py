from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.distributed.dask_cluster import local_cluster
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents

pytest.importorskip("distributed")

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a scheduler with two workers."""
    with local_cluster(2) as client:
        yield client.scheduler.address


@pytest.fixture
def at_dask(address: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options for that cluster."""
    scratch = tmp_path_factory.mktemp("scratch")
    return ["--engine", "dask", "--scheduler", address, "--scratch", str(scratch)]


@pytest.fixture
def shards(folder: Path) -> np.ndarray:
    """Latents in a folder of eleven shards, some of them equal."""
    x = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32).round(2)
    (folder / "shards").mkdir()
    for i, block in enumerate(np.array_split(x, 11)):
        np.save(folder / "shards" / f"part{i}.npy", block)
    return x


def codes_of(folder: Path) -> np.ndarray:
    files = [folder / f"part{i}.codes.npy" for i in range(11)]
    assert set(folder.iterdir()) == set(files)
    return np.concatenate([np.load(file) for file in files])


@pytest.mark.usefixtures("shards")
def test_the_bits_of_one_process(run: Run, folder: Path, at_dask: list[str]) -> None:
    """The same codebook, codes and numbers, from a folder of shards; nothing else is left."""
    options = ["-k", 7, "--codewords", "medoid", "--seed", 3, "--json"]
    one = run("fit", "shards", *options, "-o", "one.codebook.safetensors")
    many = run("fit", "shards", *options, *at_dask, "--partitions", 3)
    assert (many.exit_code, many.err) == (0, "")
    assert (folder / "shards.codes").is_dir()
    expected = contents(folder)["one.codebook.safetensors"]
    assert contents(folder)["shards.codebook.safetensors"] == expected
    assert codes_of(folder / "shards.codes").tolist() == np.load("one.codes.npy").tolist()
    assert list(Path(at_dask[-1]).iterdir()) == []
    first, second = json.loads(one.out), json.loads(many.out)
    assert list(first) == list(second)
    rounded = {"geodesic_distortion", "euclidean_distortion", "agreement_with_euclidean"}
    for name in rounded:
        assert second[name] == pytest.approx(first[name], rel=1e-12), name
    for name in set(first) - rounded - {"seconds", "peak_memory_mb", "codebook", "codes"}:
        assert second[name] == first[name], name
    assert list(second["seconds"]) == ["nodes", "partitions", "graph", "clustering", "codebook"]


def test_workers_of_its_own(run: Run, folder: Path, spiral_latents: Path) -> None:
    """Of one file the codes are one file, too; --anchors thins the codebook."""
    outcome = run(
        "fit", spiral_latents, "-k", 5, "--engine", "dask", "--workers", 1, "--anchors", 50
    )
    assert (outcome.exit_code, outcome.err) == (0, "")
    assert "spiral.npy: 5 codes" in outcome.out
    assert gq.Codebook.load("spiral.codebook.safetensors").n_anchors == 50
    fitted = gq.fit_codebook(np.load(spiral_latents), 5, random_state=0)
    assert np.load(folder / "spiral.codes.npy").tolist() == fitted.codes.tolist()


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--workers", 2], "--workers"),
        (["--scheduler", "tls://host:1"], "--scheduler"),
        (["--scratch", "."], "--scratch"),
        (["--partitions", 2], "--partitions"),
        (["--memory-limit", "1GB"], "--memory-limit"),
    ],
)
def test_options_of_dask_need_it(run: Run, latents: Path, options: list[object], hint: str) -> None:
    """None of them is ignored in silence."""
    assert_usage_error(run("fit", latents, "-k", 3, *options), hint, "is for --engine dask")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--stages", 2], ("--stages", "--engine local only")),
        (["--estimate"], ("--estimate", "--engine local only")),
        (["--checkpoint", "kept"], ("--checkpoint", "--engine local only")),
        (["--max-memory", "8GB"], ("--max-memory", "--engine local only")),
        (["--codewords", "decoder", "--model", "m", "--data", "d"], ("--engine local only",)),
        (["--scheduler", "tls://host:1"], ("--scratch", "all its workers see")),
        (["--scheduler", "tls://host:1", "--workers", 2], ("--workers", "on this machine")),
        (["--scheduler", "tls://host:1", "--memory-limit", "1GB"], ("--memory-limit",)),
    ],
)
def test_options_that_do_not_go_together(
    run: Run, latents: Path, options: list[object], words: tuple[str, ...]
) -> None:
    """They are refused before a cluster is started."""
    assert_usage_error(run("fit", latents, "-k", 3, "--engine", "dask", *options), *words)


@pytest.mark.parametrize("address", ["tcp://10.0.0.7:8786", "host:1"])
def test_a_scheduler_without_tls(run: Run, latents: Path, address: str) -> None:
    """It is refused."""
    options = ["--engine", "dask", "--scheduler", address, "--scratch", "."]
    outcome = run("fit", latents, "-k", 3, *options)
    assert_one_line_error(outcome, 2, "scheduler must be tls://", address)


def spoil(file: Path, how: str) -> None:
    """Make a shard one that cannot be used."""
    x = np.load(file)
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-5])
    elif how == "missing":
        names = ["part3.npy", "part4.npy"]
        file.unlink()
        (file.parent / "manifest.json").write_text(json.dumps({"shards": names}))
    elif how == "twice":
        (file.parent / "manifest.json").write_text(json.dumps({"shards": [file.name] * 2}))
    else:
        spoilt = {"width": x[:, :2], "dtype": x.astype(np.float64), "nan": x * np.nan}
        np.save(file, spoilt[how])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("width", ("part4.npy", "all shards must have the 3 columns")),
        ("dtype", ("part4.npy", "all shards must have the type of", "float64", "astype")),
        ("nan", ("part4.npy", "must be finite")),
        ("truncated", ("part4.npy",)),
        ("missing", ("part4.npy", "no such file")),
        ("twice", ("names a shard twice",)),
    ],
)
@pytest.mark.usefixtures("shards")
def test_shards_that_cannot_be_used(
    run: Run, folder: Path, at_dask: list[str], how: str, words: tuple[str, ...]
) -> None:
    """One line that names the shard and the cure; exit code 3; nothing is written."""
    spoil(folder / "shards" / "part4.npy", how)
    before = contents(folder)
    assert_one_line_error(run("fit", "shards", "-k", 3, *at_dask), 3, *words)
    assert contents(folder) == before
    assert not (folder / "shards.codes").exists()
    assert list(Path(at_dask[-1]).iterdir()) == []


def test_more_memory_than_a_worker_may_take(run: Run, folder: Path) -> None:
    """The worker is ended, and its successors; then one line says what to change, exit code 4."""
    np.save("large.npy", np.ones((1_000_000, 20), np.float32))
    options = ["--engine", "dask", "--workers", 1, "--memory-limit", "128MB"]
    outcome = run("fit", "large.npy", "-k", 3, *options)
    assert_one_line_error(outcome, 4, "ended 4 workers one after another", "--memory-limit")
    assert [path.name for path in folder.iterdir()] == ["large.npy"]
    outcome = run("fit", "large.npy", "-k", 3, *options[:-1], "20MB")
    assert_one_line_error(outcome, 2, "--memory-limit", "at least 128MB")


@pytest.mark.usefixtures("shards")
def test_codes_of_other_shards_in_the_way(run: Run, folder: Path, at_dask: list[str]) -> None:
    """A folder of codes holds those of one fit only."""
    (folder / "shards.codes").mkdir()
    np.save(folder / "shards.codes" / "part11.codes.npy", np.zeros(3))
    outcome = run("fit", "shards", "-k", 3, *at_dask)
    assert_usage_error(outcome, "part11.codes.npy", "none of them")


@pytest.mark.usefixtures("shards")
def test_a_full_disk(
    run: Run, folder: Path, at_dask: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where codebook or codes cannot be written, none of them is."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    before = contents(folder)
    monkeypatch.setattr(os, "fsync", full)
    outcome = run("fit", "shards", "-k", 3, *at_dask)
    assert_one_line_error(outcome, 4, "cannot be written", "free some space")
    monkeypatch.undo()
    assert contents(folder) == before
    assert not (folder / "shards.codes").exists()


def as_npy(folder: Path, x: np.ndarray) -> str:
    """One large file."""
    np.save(folder / "big.npy", x)
    return "big.npy"


def as_parquet(folder: Path, x: np.ndarray) -> str:
    """One large file of a format that is not mapped."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"z": list(x)}), folder / "big.parquet", row_group_size=100)
    return "big.parquet"


def as_zarr(folder: Path, x: np.ndarray) -> str:
    """One store."""
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("numcodecs")
    zarr.create_array(str(folder / "big.zarr"), data=x, chunks=(70, 2))
    return "big.zarr"


@pytest.mark.parametrize("write", [as_npy, as_parquet, as_zarr])
def test_one_large_file(
    run: Run,
    folder: Path,
    shards: np.ndarray,
    at_dask: list[str],
    write: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is cut into shards, and its codes are in one file; bits are those of one process."""
    monkeypatch.setattr("geoquant.distributed.shards._SHARD_BYTES", 200 * 12)
    name = write(folder, shards)
    assert run("fit", name, "-k", 7, "-o", "one.codebook.safetensors").exit_code == 0
    outcome = run("fit", name, "-k", 7, *at_dask)
    assert (outcome.exit_code, outcome.err) == (0, "")
    found = contents(folder)
    assert found["big.codebook.safetensors"] == found["one.codebook.safetensors"]
    assert found["big.codes.npy"] == found["one.codes.npy"]
    common = ["--codebook", "one.codebook.safetensors", *at_dask[:4]]
    outcome = run("assign", name, *common, "-o", "codes", "--json")
    assert json.loads(outcome.out)["shards"] == 1
    assert (folder / "codes" / "big.codes.npy").read_bytes() == found["one.codes.npy"]


def test_a_manifest(run: Run, folder: Path, shards: np.ndarray, at_dask: list[str]) -> None:
    """Its shards are fitted and assigned as those of a folder, with and without Dask."""
    names = [f"shards/part{i}.npy" for i in reversed(range(11))]
    (folder / "all.json").write_text(json.dumps({"shards": names}))
    assert run("fit", "all.json", "-k", 7, "-o", "one.codebook.safetensors").exit_code == 0
    assert run("fit", "all.json", "-k", 7, *at_dask).exit_code == 0
    found = contents(folder)
    assert found["all.codebook.safetensors"] == found["one.codebook.safetensors"]
    one = np.load(folder / "one.codes.npy")
    many = [np.load(folder / "all.codes" / f"part{i}.codes.npy") for i in reversed(range(11))]
    assert np.concatenate(many).tolist() == one.tolist()
    assert len(one) == len(shards)
    common = ["--codebook", "one.codebook.safetensors", *at_dask[:4]]
    assert run("assign", "all.json", *common, "-o", "codes").exit_code == 0
    for name in names:
        file = Path(name.replace("shards", "codes")).with_suffix(".codes.npy")
        assert file.read_bytes() == (Path("all.codes") / file.name).read_bytes()
    (folder / "all.json").write_text('{"shards": []}')
    assert_one_line_error(run("fit", "all.json", "-k", 7, *at_dask), 3, "all.json")
    assert_one_line_error(run("fit", "all.json", "-k", 7), 3, "all.json")
