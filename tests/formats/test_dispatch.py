"""Which reader a path goes to, and what is said where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geoquant.errors import FileFormatError
from geoquant.files import write_npy
from geoquant.formats import dispatch
from geoquant.formats.stored import errors_named
from geoquant.latents import latents_shape, read_latents

if TYPE_CHECKING:
    from pathlib import Path

GRID = np.arange(12, dtype=np.float32).reshape(4, 3)

LIBRARIES = {
    "a.parquet": ("pyarrow", "io"),
    "a.feather": ("pyarrow", "io"),
    "a.h5": ("h5py", "io"),
    "a.zarr": ("google_crc32c", "io"),
    "a.pt": ("torch", "torch"),
    "saved": ("pyarrow", "io"),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_absent_libraries(tmp_path: Path, name: str) -> None:
    """The error says what to install; a command ends with exit code 2 and one line."""
    library, extra = LIBRARIES[name]
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    (tmp_path / name).touch()
    code = f"import sys; sys.modules[{library!r}] = None; from geoquant.cli import main\n"
    code += f"main(['fit', {name!r}, '-k', '2'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"with {library}, which is not installed" in done.stderr
    assert f"pip install 'geoquant[{extra}]'" in done.stderr


def test_library_that_lacks_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of our own that is missing is not called a library."""
    monkeypatch.setitem(dispatch._OPENERS, ".xyz", "nowhere.open_xyz")
    with pytest.raises(ModuleNotFoundError, match=r"geoquant\.formats\.nowhere"):
        dispatch.opener(".xyz")


def test_plain_files_need_no_library() -> None:
    """Reading .npy loads none of the optional libraries."""
    code = "import sys, geoquant.latents\n"
    code += "print({'pyarrow', 'h5py', 'numcodecs', 'zarr', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_names_with_the_sign(tmp_path: Path) -> None:
    """A file whose name holds two colons is that file, and an inner name is a key."""
    write_npy(tmp_path / "a::b.npy", GRID)
    np.testing.assert_array_equal(read_latents(tmp_path / "a::b.npy"), GRID)
    np.savez(tmp_path / "c.npz", x=GRID, y=GRID[:1])
    assert latents_shape(f"{tmp_path}/c.npz::y") == (1, 3)
    assert dispatch.located("a.npy::") == ("a.npy", None)
    write_npy(tmp_path / "d.npy", GRID)
    with pytest.raises(FileFormatError, match="leave key out"):
        read_latents(f"{tmp_path}/d.npy::x")
    assert read_latents(f"{tmp_path}/d.npy::").shape == (4, 3)


def test_missing_paths(tmp_path: Path) -> None:
    """A name that nothing has is said to be missing."""
    for name in ("a", "a.csv", "shards/", "a::b", "a\0b"):
        with pytest.raises(FileFormatError, match="no such file or folder"):
            read_latents(f"{tmp_path}/{name}")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs permissions that count")
def test_folder_that_may_not_be_read(tmp_path: Path) -> None:
    """Is named."""
    (tmp_path / "in").mkdir(mode=0o000)
    with pytest.raises(FileFormatError, match="in: cannot be read"):
        read_latents(tmp_path / "in")


def test_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named, whatever the system says."""

    def fail(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(dispatch.os, "listdir", fail)
    with pytest.raises(FileFormatError, match="cannot be read: Permission denied"):
        read_latents(tmp_path)


def test_errors_of_libraries() -> None:
    """Become one line with a cure, without memory a ResourceError, and never a long one."""
    with (
        pytest.raises(FileFormatError, match=r"^a: is not a readable b: one two; copy .*, or c$"),
        errors_named("a", "b", "c"),
    ):
        raise OSError("one\n two")
    with pytest.raises(FileFormatError, match="b: KeyError;"), errors_named("a", "b", "c"):
        raise KeyError
    with pytest.raises(FileFormatError) as caught, errors_named("a", "b", "c"):
        raise ValueError("x" * 5000)
    assert len(str(caught.value)) < 400
    with (
        pytest.raises(MemoryError, match="a: there is no memory to read it: 8 TiB"),
        errors_named("a", "b", "c"),
    ):
        raise MemoryError("8 TiB")
