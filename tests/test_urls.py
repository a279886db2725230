"""Files at addresses: read as those on disk, shards of fits, and refused by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant import FileFormatError
from geoquant.distributed import shards as shards_module
from geoquant.distributed.assign import assign_shards
from geoquant.distributed.engine import LocalEngine
from geoquant.distributed.fit import fit_shards
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import shards_of_files
from geoquant.latents import is_mappable, latents_shape, read_latents, read_rows
from geoquant.urls import is_url, url_of
from tests.distributed.test_shards import write_parquet, write_zarr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

fsspec = pytest.importorskip("fsspec")

X = np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32)


@pytest.fixture
def memory() -> Iterator[Any]:
    """The store at memory://, empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def put(system: Any, local: Path, name: str) -> str:
    """Copy a file or folder into the store."""
    system.put(str(local), name, recursive=True)
    return f"memory://{name}"


def write_npz(path: Path, x: np.ndarray) -> None:
    np.savez(path, z=x)


def write_safetensors(path: Path, x: np.ndarray) -> None:
    from safetensors.numpy import save_file

    save_file({"z": x}, path)


def write_feather(path: Path, x: np.ndarray) -> None:
    pa = pytest.importorskip("pyarrow")
    feather = pytest.importorskip("pyarrow.feather")
    feather.write_feather(pa.table({"z": list(x)}), str(path))


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "a.npy": np.save,
    "b.npz": write_npz,
    "c.safetensors": write_safetensors,
    "d.parquet": write_parquet,
    "e.feather": write_feather,
    "f.zarr": write_zarr,
}


@pytest.mark.parametrize("scheme", ["memory", "file"])
@pytest.mark.parametrize("name", WRITERS)
def test_files_are_read_as_those_on_disk(
    tmp_path: Path, memory: Any, name: str, scheme: str
) -> None:
    """In every format, also rows of them; by a path of pathlib too."""
    WRITERS[name](tmp_path / name, X)
    local = tmp_path / name
    url = put(memory, local, name) if scheme == "memory" else f"file://{local}"
    assert read_latents(url).tobytes() == X.tobytes()
    assert latents_shape(Path(url)) == (120, 3)
    assert read_rows(url, 50, 90).tobytes() == X[50:90].tobytes()
    assert not is_mappable(url)


def test_arrays_in_stores_are_named(tmp_path: Path, memory: Any) -> None:
    """After two colons, or found if there is one; groups of Zarr are walked."""
    np.savez(tmp_path / "two.npz", z=X, other=X[:1])
    assert read_latents(put(memory, tmp_path / "two.npz", "two.npz") + "::z").shape == (120, 3)
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("numcodecs")
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_group("train").create_array("z", data=X, chunks=(40, 2))
    url = put(memory, tmp_path / "g.zarr", "g.zarr")
    assert read_latents(url).tobytes() == X.tobytes()
    group.create_array("y", data=X[:2])
    url = put(memory, tmp_path / "g.zarr", "h.zarr")
    assert read_latents(url + "::/train/z").shape == (120, 3)
    with pytest.raises(FileFormatError, match="'train/z'"):
        read_latents(url)


def test_folders_and_manifests(tmp_path: Path, memory: Any) -> None:
    """At an address, or of addresses; in the order of the numbers in names."""
    (tmp_path / "shards").mkdir()
    for i, block in [(10, X[70:]), (9, X[:70])]:
        np.save(tmp_path / "shards" / f"part{i}.npy", block)
    url = put(memory, tmp_path / "shards", "bucket/shards")
    assert read_latents(url).tobytes() == X.tobytes()
    assert shards_of_files(url).offsets.tolist() == [0, 70, 120]
    (tmp_path / "all.json").write_text(
        json.dumps({"shards": [f"{url}/part10.npy", "shards/part9.npy"]})
    )
    assert (
        read_latents(tmp_path / "all.json").tobytes() == np.concatenate([X[70:], X[:70]]).tobytes()
    )
    (tmp_path / "all.txt").write_text("part9.npy\npart10.npy\n")
    there = put(memory, tmp_path / "all.txt", "bucket/shards/all.txt")
    assert shards_of_files(there).offsets.tolist() == [0, 70, 120]


def test_shards_at_addresses(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are fitted and assigned as those on disk, part by part, and done anew if changed."""
    monkeypatch.setattr(shards_module, "_SHARD_BYTES", 50 * 12)
    np.save(tmp_path / "x.npy", X)
    shards = shards_of_files(put(memory, tmp_path / "x.npy", "x.npy"))
    assert shards.offsets.tolist() == [0, 50, 100, 120]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    fitted = fit_shards(shards, 4, LocalEngine(), Scratch(str(scratch)), random_state=0)
    book = gq.fit_codebook(X, 4, random_state=0).codebook
    assert fitted.codebook.vectors.tobytes() == book.vectors.tobytes()
    book.save(tmp_path / "book.safetensors")
    run = (tmp_path / "book.safetensors", shards, tmp_path / "codes", LocalEngine())
    done = assign_shards(*run)
    assert [Path(path).name for path in done.paths] == ["x.codes.npy"]
    assert np.load(done.paths[0]).tolist() == book.assign(X).tolist()
    assert assign_shards(*run).n_done_before == 1
    np.save(tmp_path / "x.npy", X[::-1])
    put(memory, tmp_path / "x.npy", "x.npy")
    assert assign_shards(*run).n_done_before == 0
    assert np.load(done.paths[0]).tolist() == book.assign(X[::-1]).tolist()


def test_the_command_line_reads_addresses(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written goes to the working folder."""
    from geoquant.cli import main

    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    url = put(memory, tmp_path / "x.npy", "bucket/x.npy")
    Path("x.npy").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["fit", url, "-k", "4", "-q"])
    assert not ended.value.code
    assert gq.load_codebook("x.codebook.safetensors").n_codes == 4
    assert np.load("x.codes.npy").shape == (120,)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://absent.npy", "memory://absent.npy: no such file"),
        ("memory://absent", "memory://absent: no such file or folder"),
        ("memory://absent.zarr", "memory://absent.zarr"),
        ("nosuch://a.npy", "nosuch://a.npy: cannot be opened: Protocol not known"),
        ("memory://short.npy", "memory://short.npy: .* is cut short"),
        ("memory://a.h5", "files .h5 are not read at addresses; copy it here"),
        ("memory://a.pt", "files .pt are not read at addresses"),
    ],
    ids=["file", "folder", "store", "scheme", "truncated", "hdf5", "torch"],
)
def test_addresses_that_cannot_be_used(tmp_path: Path, memory: Any, url: str, message: str) -> None:
    """They are named, and the cure is."""
    np.save(tmp_path / "short.npy", X)
    (tmp_path / "short.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-4])
    put(memory, tmp_path / "short.npy", "short.npy")
    for read in (read_latents, shards_of_files):
        with pytest.raises(FileFormatError, match=message):
            read(url)


def test_a_store_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which; without fsspec it says how to get that."""
    for name in ("s3fs", "boto3"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"s3://bucket/a.npy: .*s3fs"):
        read_latents("s3://bucket/a.npy")
    code = (
        "import sys; sys.modules['fsspec'] = None; sys.modules['fsspec.core'] = None\n"
        "from geoquant.latents import read_latents; read_latents('memory://a.npy')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'geoquant[distributed]'" in done.stderr.splitlines()[-1]


def test_what_an_address_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a drive, nor what there is a file or folder for."""
    monkeypatch.chdir(tmp_path)
    assert url_of(Path("s3://bucket/a.npy")) == "s3://bucket/a.npy"
    assert url_of(Path("file:///a.npy")) == url_of("file:///a.npy") == "file:///a.npy"
    assert not any(map(is_url, ["a.npy", "/a/b.npy", "C://a.npy", "a::b", "a.h5::/z", ""]))
    Path("s3:").mkdir()
    (Path("s3:") / "a.npy").touch()
    assert url_of("s3://a.npy") is None
