"""Codes of shards: those of one machine, each shard once, and never of two codebooks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

import geoquant as gq
from geoquant import FileFormatError, InputError
from geoquant.distributed import assign as module
from geoquant.distributed import shards as shards_module
from geoquant.distributed.assign import MANIFEST, AssignedShards, assign_shards, names_of_codes
from geoquant.distributed.engine import LocalEngine
from geoquant.distributed.shards import FileShard, ShardSet, shards_of_array, shards_of_files
from geoquant.errors import ResourceError
from geoquant.files import npy_blocks, write_npy

X = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
N_SHARDS = 5


@pytest.fixture
def shards(tmp_path: Path) -> ShardSet:
    """Latents in five files, and a codebook beside."""
    (tmp_path / "shards").mkdir()
    for i, block in enumerate(np.array_split(X, N_SHARDS)):
        np.save(tmp_path / "shards" / f"part{i}.npy", block)
    gq.fit_codebook(X[:200], 7, random_state=0).codebook.save(tmp_path / "book.safetensors")
    return shards_of_files(tmp_path / "shards")


def assigned(shards: ShardSet, folder: Path, **options: str) -> AssignedShards:
    book = folder / "book.safetensors"
    return assign_shards(book, shards, folder / "codes", LocalEngine(2), n_jobs=1, **options)


def codes_of(done: AssignedShards) -> np.ndarray:
    return np.concatenate([np.load(path) for path in done.paths])


@pytest.mark.parametrize("method", ["geodesic", "euclidean"])
def test_codes_are_those_of_the_codebook(
    tmp_path: Path, shards: ShardSet, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows are assigned at once."""
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 30)
    done = assigned(shards, tmp_path, method=method)
    book = gq.Codebook.load(tmp_path / "book.safetensors")
    expected = book.assign(X, method=method)
    assert codes_of(done).tobytes() == expected.tobytes()
    assert [path.removeprefix(str(tmp_path)) for path in done.paths] == [
        f"/codes/part{i}.codes.npy" for i in range(N_SHARDS)
    ]
    assert done.counts[0].tolist() == np.bincount(expected, minlength=7).tolist()


def test_codebooks_of_several_stages(tmp_path: Path, shards: ShardSet) -> None:
    """A column for each stage, and counts of each."""
    fitted = gq.fit_multistage(X, (4, 3), n_stages=2, random_state=0)
    fitted.codebook.save(tmp_path / "book.safetensors")
    done = assigned(shards, tmp_path)
    expected = fitted.codebook.assign(X)
    assert codes_of(done).tolist() == expected.tolist()
    counted = [np.bincount(c, minlength=k) for c, k in zip(expected.T, (4, 3), strict=True)]
    assert [c.tolist() for c in done.counts] == [c.tolist() for c in counted]
    with pytest.raises(InputError, match="method must be 'geodesic', found 'euclidean'"):
        assigned(shards, tmp_path, method="euclidean")


def test_a_run_goes_on_where_it_was_stopped(
    tmp_path: Path, shards: ShardSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished shards are kept as they are; where a disk was full, they are few."""
    n_free = 2

    def write_or_fail(path: str, codes: np.ndarray) -> None:
        nonlocal n_free
        if n_free == 0:
            raise ResourceError(f"{path}: cannot be written, free some space")
        n_free -= 1
        write_npy(path, codes)

    monkeypatch.setattr(module, "write_npy", write_or_fail)
    with pytest.raises(ResourceError, match=r"codes/part\d.codes.npy: cannot be written"):
        assigned(shards, tmp_path)
    monkeypatch.undo()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "codes").glob("*.npy")}
    assert len(kept) == 2
    done = assigned(shards, tmp_path)
    assert done.n_done_before == 2
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert (
        codes_of(done).tolist()
        == gq.load_codebook(tmp_path / "book.safetensors").assign(X).tolist()
    )
    assert assigned(shards, tmp_path).n_done_before == N_SHARDS


def test_shards_that_changed_are_done_anew(tmp_path: Path, shards: ShardSet) -> None:
    """Also if they have as many rows as before; and new ones are added."""
    assigned(shards, tmp_path)
    np.save(shards.shards[2].path, X[:100][::-1])
    os.utime(shards.shards[2].path, ns=(1, 1))
    np.save(tmp_path / "shards" / "part5.npy", X[:10])
    done = assigned(shards_of_files(tmp_path / "shards"), tmp_path)
    assert done.n_done_before == N_SHARDS - 1
    book = gq.load_codebook(tmp_path / "book.safetensors")
    assert np.load(done.paths[2]).tolist() == book.assign(X[:100][::-1]).tolist()
    assert np.load(done.paths[5]).tolist() == book.assign(X[:10]).tolist()


def test_codes_of_another_codebook_are_not_added_to(tmp_path: Path, shards: ShardSet) -> None:
    """Nor of another method; the manifest says of what they are, and stays."""
    assigned(shards, tmp_path)
    manifest = tmp_path / "codes" / MANIFEST
    before = manifest.read_bytes()
    assert set(json.loads(before)["shards"]) == set(names_of_codes(shards))
    with pytest.raises(InputError, match=r"geoquant-assign.json: .* another method .*elsewhere"):
        assigned(shards, tmp_path, method="euclidean")
    gq.fit_codebook(X[:200], 6, random_state=0).codebook.save(tmp_path / "book.safetensors")
    with pytest.raises(InputError, match=r"geoquant-assign.json: .* another codebook .*elsewhere"):
        assigned(shards, tmp_path)
    assert manifest.read_bytes() == before


def test_codes_of_unknown_origin_are_not_overwritten(tmp_path: Path, shards: ShardSet) -> None:
    """Nor taken for done."""
    (tmp_path / "codes").mkdir()
    np.save(tmp_path / "codes" / "part3.codes.npy", np.zeros(100, np.int32))
    with pytest.raises(InputError, match=r"part3.codes.npy is there, and no manifest says"):
        assigned(shards, tmp_path)
    assert not np.load(tmp_path / "codes" / "part3.codes.npy").any()


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"shards": []}', b"[]"])
def test_a_manifest_of_another_kind(tmp_path: Path, shards: ShardSet, content: bytes) -> None:
    """It is refused by name, and stays."""
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / MANIFEST).write_bytes(content)
    with pytest.raises(FileFormatError, match=MANIFEST):
        assigned(shards, tmp_path)
    assert (tmp_path / "codes" / MANIFEST).read_bytes() == content


def test_shards_that_cannot_be_used(tmp_path: Path, shards: ShardSet) -> None:
    """The error names the shard, and the others are done by the next run."""
    path = shards.shards[1].path
    whole = Path(path).read_bytes()
    np.save(path, X[100:200] * np.nan)
    with pytest.raises(InputError, match=r"part1.npy must be finite"):
        assigned(shards, tmp_path)
    Path(path).write_bytes(whole[:-3])
    with pytest.raises(FileFormatError, match=r"part1.npy"):
        assigned(shards, tmp_path)
    Path(path).unlink()
    with pytest.raises(FileFormatError, match=r"part1.npy: no such file"):
        assigned(shards, tmp_path)
    Path(path).write_bytes(whole)
    assert (
        codes_of(assigned(shards, tmp_path)).tolist()
        == gq.load_codebook(tmp_path / "book.safetensors").assign(X).tolist()
    )


def test_shards_and_codebook_that_do_not_fit(tmp_path: Path, shards: ShardSet) -> None:
    """Other columns, or names whose codes would have one name; nothing is made."""
    with pytest.raises(InputError, match="shard 0: shards must have 3 columns"):
        assigned(shards_of_array(np.zeros((4, 2)), 2), tmp_path)
    np.savez(tmp_path / "shards" / "part1.npz", X)
    with pytest.raises(InputError, match=r"part1.npz: its codes would be part1.codes.npy"):
        names_of_codes(shards_of_files(sorted((tmp_path / "shards").iterdir())))
    assert len(shards.shards) == N_SHARDS
    assert not (tmp_path / "codes").exists()


def cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ShardSet:
    """The latents in one file of five shards, and a small one."""
    monkeypatch.setattr(shards_module, "_SHARD_BYTES", 100 * 12)
    (folder / "two").mkdir(exist_ok=True)
    np.save(folder / "two" / "big.npy", X)
    np.save(folder / "two" / "small.npy", X[:50])
    return shards_of_files(folder / "two")


@pytest.mark.usefixtures("shards")
def test_codes_of_a_file_that_is_cut_are_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joined in order; nothing else is left."""
    both = cut(tmp_path, monkeypatch)
    assert len(both.shards) == 6
    done = assigned(both, tmp_path)
    book = gq.load_codebook(tmp_path / "book.safetensors")
    assert (tmp_path / "codes" / "big.codes.npy").read_bytes() == npy_bytes(book.assign(X))
    assert sorted(os.listdir(tmp_path / "codes")) == ["big.codes.npy", MANIFEST, "small.codes.npy"]
    assert (len(done.paths), done.counts[0].sum()) == (2, 550)
    assert assigned(both, tmp_path).n_done_before == 2
    stages = gq.fit_multistage(X, (4, 3), n_stages=2, random_state=0).codebook
    stages.save(tmp_path / "stages.safetensors")
    source = tmp_path / "stages.safetensors"
    done = assign_shards(source, both, tmp_path / "more", LocalEngine())
    assert np.load(done.paths[0]).tolist() == stages.assign(X).tolist()


def npy_bytes(codes: np.ndarray) -> bytes:
    return b"".join(map(bytes, npy_blocks(codes)))


@pytest.mark.usefixtures("shards")
def test_parts_of_a_file_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped goes on with the parts that are left, and none stays behind."""
    both, book = cut(tmp_path, monkeypatch), gq.load_codebook(tmp_path / "book.safetensors")
    seen = []
    real = FileShard.read

    def read(shard: FileShard) -> np.ndarray:
        seen.append(shard.name)
        if len(seen) == 4:
            raise ResourceError("there is no memory")
        return real(shard)

    monkeypatch.setattr(FileShard, "read", read)
    with pytest.raises(ResourceError):
        assign_shards(tmp_path / "book.safetensors", both, tmp_path / "codes", LocalEngine())
    begun = set(os.listdir(tmp_path / "codes"))
    parts = {f".big.codes.npy.{a}-{a + 100}.npy" for a in (0, 100, 200)}
    assert {MANIFEST, *parts} <= begun
    assert "big.codes.npy" not in begun
    n_left = 6 - (len(begun) - 1)
    seen = [""] * 4
    done = assigned(both, tmp_path)
    assert len(seen) == 4 + n_left
    assert np.load(done.paths[0]).tolist() == book.assign(X).tolist()
    assert sorted(os.listdir(tmp_path / "codes")) == ["big.codes.npy", MANIFEST, "small.codes.npy"]


@pytest.mark.usefixtures("shards")
def test_parts_of_another_file_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that was changed meanwhile, or that stayed when parts were joined."""
    both, book = cut(tmp_path, monkeypatch), gq.load_codebook(tmp_path / "book.safetensors")
    done = assigned(both, tmp_path)
    stale = tmp_path / "codes" / ".big.codes.npy.0-100.npy"
    np.save(stale, np.full(100, 6, np.int32))
    assert assigned(both, tmp_path).n_done_before == 2
    assert not stale.exists()
    np.save(stale, np.full(100, 6, np.int32))
    np.save(tmp_path / "two" / "big.npy", X[::-1])
    os.utime(tmp_path / "two" / "big.npy", ns=(1, 1))
    assert assigned(both, tmp_path).n_done_before == 1
    assert np.load(done.paths[0]).tolist() == book.assign(X[::-1]).tolist()


def test_a_task_that_is_repeated_late(tmp_path: Path, shards: ShardSet) -> None:
    """Where the codes of its file are there already, it writes no part that would stay."""
    target, whole = tmp_path / "part.npy", tmp_path / "whole.npy"
    whole.touch()
    module.assign_shard(("", ""), shards.shards[0], str(target), str(whole), "geodesic", 1)
    assert not target.exists()


@pytest.mark.usefixtures("shards")
def test_bad_rows_of_a_part_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the file, and where its part begins."""
    both = cut(tmp_path, monkeypatch)
    np.save(tmp_path / "two" / "big.npy", np.where(np.arange(500)[:, None] == 250, np.nan, X))
    with pytest.raises(InputError, match=r"big.npy, from row 200 on must be finite.*\(row 50\)"):
        assigned(both, tmp_path)
