"""HDF5 files: what is read, and what leads out of a file or is packed by a plugin."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geoquant.errors import FileFormatError, ResourceError
from geoquant.latents import latents_shape, read_latents
from tests.formats.damage import outcomes_of_damage, truncations_refused

h5py = pytest.importorskip("h5py")
hdf5 = pytest.importorskip("geoquant.formats.hdf5")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRID = np.arange(12, dtype=np.float32).reshape(4, 3)
WAYS: list[dict[str, Any]] = [
    {},
    {"chunks": (3, 2)},
    {"chunks": (3, 2), "maxshape": (None, None)},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True, "chunks": (2, 3)},
    {"compression": "lzf", "chunks": (1, 3)},
]


def write(path: Path, array: Any, name: str = "train/z", **options: Any) -> None:
    """A file of one dataset."""
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=array, **options)


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">i2", "i1", "u8"])
def test_ways_to_write(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    """Layouts, filters and numbers of all kinds are read as they are."""
    path = tmp_path / "a.h5"
    array = GRID.astype(dtype)
    write(path, array, **options)
    assert latents_shape(path) == (4, 3)
    np.testing.assert_array_equal(read_latents(path), array)
    assert read_latents(path).dtype == array.dtype


@given(
    array=hnp.arrays(
        st.sampled_from(["f4", "<f8", ">i4", "u2"]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
    )
)
def test_any_array(tmp_path: Path, array: np.ndarray) -> None:
    """Arrays of any number of axes, empty ones too, are read as they are."""
    path = tmp_path / "a.hdf5"
    write(path, array)
    read = read_latents(path)
    assert latents_shape(path) == read.shape == array.shape
    np.testing.assert_array_equal(read, array)


def test_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows fit in a block, all are read."""
    write(tmp_path / "a.h5", GRID, chunks=(3, 2))
    for n_bytes in (1, 12, 24, 40):
        monkeypatch.setattr(hdf5, "_BLOCK_BYTES", n_bytes)
        np.testing.assert_array_equal(read_latents(tmp_path / "a.h5"), GRID)


def test_keys(tmp_path: Path) -> None:
    """The path of a dataset chooses it, in the key or behind the name; errors list them all."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["train/z"], file["test/z"] = GRID, GRID[:1]
        file["kind"] = np.dtype("f4")  # neither group nor dataset
    for key in ("train/z", "/train/z", "train/z/"):
        assert read_latents(path, key).shape == (4, 3)
    assert read_latents(f"{path}::/test/z").shape == (1, 3)
    both = "choose one with key=: '/test/z', '/train/z'$"
    with pytest.raises(FileFormatError, match=f"not exactly one array; {both}"):
        read_latents(path)
    for key in ("/z", "/train", "/train/z/more", "/"):
        with pytest.raises(FileFormatError, match=f"no array .*; {both}"):
            latents_shape(path, key)
    with pytest.raises(FileFormatError, match="leave one of them out"):
        read_latents(f"{path}::/test/z", "/test/z")


def test_names_of_very_many_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of them ends, however wide or deep the file is."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(30):
            file[f"{i:02}"] = GRID
        file["/".join("d" * 40)] = GRID
    monkeypatch.setattr(hdf5, "_MAX_NAMES", 25)
    with pytest.raises(FileFormatError, match=r"'/19', \.\.\.$"):
        read_latents(tmp_path / "a.h5")
    monkeypatch.undo()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["/".join("d" * 40)] = GRID
    with pytest.raises(FileFormatError, match="key=: none"):
        read_latents(tmp_path / "a.h5")


def external_link(file: Any, folder: Path) -> None:
    write(folder / "other.h5", GRID)
    file["z"] = h5py.ExternalLink("other.h5", "/train/z")


def virtual(file: Any, folder: Path) -> None:
    write(folder / "other.h5", GRID)
    layout = h5py.VirtualLayout(GRID.shape, "f4")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "train/z", GRID.shape)
    file.create_virtual_dataset("z", layout)


def external_storage(file: Any, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(48))
    file.create_dataset("z", GRID.shape, "f4", external=[(str(folder / "secret"), 0, 48)])


def filtered(number: int) -> Callable[[Any, Path], None]:
    """A dataset that says it is packed by a filter."""

    def write_filtered(file: Any, folder: Path) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4, 3))
        plist.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (8, 4))
        space = h5py.h5s.create_simple(GRID.shape)
        made = h5py.h5d.create(file.id, b"z", h5py.h5t.NATIVE_FLOAT, space, plist)
        made.write_direct_chunk((0, 0), GRID.tobytes())

    return write_filtered


def compound(file: Any, _: Path) -> None:
    file["z"] = np.zeros(3, [("x", "f4")])


REFUSED: dict[str, tuple[Callable[[Any, Path], Any], str]] = {
    "link to another file": (external_link, "'z' in / is a link to elsewhere"),
    "link within": (lambda file, _: file.update({"z": h5py.SoftLink("/a")}), "link to elsewhere"),
    "virtual": (virtual, "kept in other files, which are not opened"),
    "kept in another file": (external_storage, "kept in other files"),
    "plugin": (filtered(32_015), "filter number 32015, which is not undone"),
    "nbit": (filtered(5), "filter number 5,"),
    "text": (lambda file, _: file.update({"z": "text"}), "holds object, not numbers"),
    "compound": (compound, "not numbers"),
    "truth values": (lambda file, _: file.update({"z": GRID > 0}), "holds bool"),
    "complex": (lambda file, _: file.update({"z": GRID * 1j}), "holds complex64"),
    "references": (lambda file, _: file.update({"z": file.ref}), "holds object"),
    "empty": (lambda file, _: file.update({"z": h5py.Empty("f4")}), "holds nothing"),
    "never written": (lambda file, _: file.create_dataset("z", (9, 2), "f4"), "was never written"),
    "no chunk": (
        lambda file, _: file.create_dataset("z", (9, 2), "f4", chunks=(3, 2)),
        "was never written",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_datasets_that_are_refused(tmp_path: Path, case: str) -> None:
    """Neither are other files opened, nor plugins loaded, nor objects made."""
    make, message = REFUSED[case]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        make(file, tmp_path)
    with pytest.raises(FileFormatError, match=message) as caught:
        latents_shape(path, "z")
    assert str(path) in str(caught.value)


def test_chunks_that_are_missing_hold_the_fill_value(tmp_path: Path) -> None:
    """As the format says."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("z", (4, 3), "f4", chunks=(2, 3), fillvalue=7.0)
        made[:2] = 1
    assert read_latents(tmp_path / "a.h5")[:, 0].tolist() == [1, 1, 7, 7]


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1 << 40, 4), r"17,592\.2 GB .*a\.h5"), ((1 << 31, 1 << 31), r"a\.h5.* no memory can hold")],
)
def test_a_terabyte_that_a_small_file_claims(
    tmp_path: Path, shape: tuple[int, ...], message: str
) -> None:
    """Is refused before memory is asked for."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("z", shape, "f4", chunks=(2, 1))
        made[0, 0] = 1
    assert latents_shape(path) == shape
    with pytest.raises((ResourceError, FileFormatError), match=message):
        read_latents(path)


def test_chunk_that_unpacks_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would give it all the memory that it unpacks to."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("z", (4, 3), "f4", chunks=(4, 3), compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(10 << 20)))
    monkeypatch.setattr(hdf5, "_HARMLESS_BYTES", 1 << 20)
    with pytest.raises(FileFormatError, match="chunk of 48 bytes unpacks to more, like a bomb"):
        read_latents(path)


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_large_chunks_are_no_bombs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Chunks that are looked at are read if they hold what they should."""
    monkeypatch.setattr(hdf5, "_HARMLESS_BYTES", 1)
    monkeypatch.setattr(hdf5, "_INFLATED_BYTES", 5)
    write(tmp_path / "a.h5", GRID, **options)
    np.testing.assert_array_equal(read_latents(tmp_path / "a.h5"), GRID)


def test_chunk_that_was_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk for which the filter was skipped is read as it is."""
    monkeypatch.setattr(hdf5, "_HARMLESS_BYTES", 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("z", (4, 3), "f4", chunks=(4, 3), compression="gzip")
        made.id.write_direct_chunk((0, 0), GRID.tobytes(), filter_mask=1)
    np.testing.assert_array_equal(read_latents(tmp_path / "a.h5"), GRID)


@pytest.mark.parametrize("options", [WAYS[0], WAYS[4]], ids=str)
def test_random_damage(tmp_path: Path, options: dict[str, Any]) -> None:
    """No damage ends the process or is an error of another family."""
    write(tmp_path / "a.h5", GRID, **options)
    assert outcomes_of_damage(tmp_path / "a.h5", "train/z", 150) == {"read", "refused"}


def test_truncations_are_refused(tmp_path: Path) -> None:
    """No file that was cut short is read."""
    write(tmp_path / "a.h5", GRID)
    assert truncations_refused(tmp_path / "a.h5", None, 7)


def test_what_is_no_file(tmp_path: Path) -> None:
    """Missing files, folders and pipes are refused at once."""
    path = tmp_path / "a.h5"
    with pytest.raises(FileFormatError, match="no such file"):
        read_latents(path)
    path.mkdir()
    with pytest.raises(FileFormatError, match="not a regular file"):
        read_latents(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "b.h5")
        with pytest.raises(FileFormatError, match="not a regular file"):
            read_latents(tmp_path / "b.h5")


def test_a_file_that_somebody_reads(tmp_path: Path) -> None:
    """It may be open elsewhere in the process."""
    write(tmp_path / "a.h5", GRID)
    with h5py.File(tmp_path / "a.h5", "r"):
        np.testing.assert_array_equal(read_latents(tmp_path / "a.h5"), GRID)
