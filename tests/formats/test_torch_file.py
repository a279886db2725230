"""Files of torch.save: tensors are read, objects are not made."""

from __future__ import annotations

import os
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant.errors import FileFormatError, ResourceError
from geoquant.latents import latents_shape, read_latents
from tests.formats.damage import outcomes_of_damage, truncations_refused

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")

GRID = torch.arange(12, dtype=torch.float32).reshape(4, 3)


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64"]
)
def test_numbers(tmp_path: Path, dtype: str) -> None:
    """Numbers of all kinds are read as they are."""
    path = tmp_path / "a.pt"
    torch.save(GRID.to(getattr(torch, dtype)), path)
    assert latents_shape(path) == (4, 3)
    np.testing.assert_array_equal(read_latents(path), GRID.numpy().astype(dtype), strict=True)


@pytest.mark.parametrize(
    "tensor",
    [
        GRID.bfloat16(),
        GRID.t().contiguous().t(),
        GRID.repeat_interleave(2, 0)[::2],
        torch.nn.Parameter(GRID),
        torch.cat([GRID, GRID])[4:],
    ],
)
def test_layouts(tmp_path: Path, tensor: Any) -> None:
    """bfloat16 becomes float32; turned, strided and learned tensors are read as they look."""
    path = tmp_path / "a.pth"
    torch.save({"z": tensor, "epoch": 7}, path)
    read = read_latents(path)
    np.testing.assert_array_equal(read, GRID.numpy(), strict=True)
    assert not read.flags.writeable or read.flags.c_contiguous


def test_keys(tmp_path: Path) -> None:
    """The keys of a flat dict choose; a tensor alone has none."""
    path = tmp_path / "a.pt"
    torch.save({"a": GRID, "b": GRID[:1], 3: GRID[:2], "c": {"d": GRID}, "e": [GRID]}, path)
    assert read_latents(path, "b").shape == (1, 3)
    assert read_latents(f"{path}::3").shape == (2, 3)
    with pytest.raises(FileFormatError, match=r"choose one with key=: '3', 'a', 'b'$"):
        read_latents(path)
    with pytest.raises(FileFormatError, match="no array 'c'"):
        latents_shape(path, "c")
    torch.save(GRID, path)
    with pytest.raises(FileFormatError, match="one tensor without a name, found key='a'"):
        read_latents(path, "a")


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.path,))


def test_code_is_not_run(tmp_path: Path) -> None:
    """Objects that would run code are refused, with how to convert what is trusted."""
    path = tmp_path / "a.pt"
    for content in (Evil(tmp_path / "evil"), {"z": GRID, "more": Evil(tmp_path / "evil")}):
        torch.save(content, path)
        with pytest.raises(FileFormatError, match=r"where you trust it.*torch.save\(tensor"):
            read_latents(path)
        with pytest.raises(FileFormatError):
            latents_shape(path)
    assert not (tmp_path / "evil").exists()


REFUSED = {
    "a list": ([GRID], "dense tensor or a flat dict of them, found list"),
    "a number": (3, "found int"),
    "a module": (torch.nn.Linear(2, 2), "where you trust it"),
    "sparse": (GRID.to_sparse(), "must hold a dense tensor"),
    "truth values": (GRID > 0, "real numbers, found torch.bool; convert them with tensor.float"),
    "complex": (GRID.to(torch.complex64), "found torch.complex64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str) -> None:
    """What is no dense tensor of real numbers, by the name of the file."""
    content, message = REFUSED[case]
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(FileFormatError, match=message) as caught:
        read_latents(path)
    assert str(path) in str(caught.value)


def test_archives_that_are_refused(tmp_path: Path) -> None:
    """Files of old releases, packed members, and what is no archive."""
    path = tmp_path / "a.pt"
    torch.save(GRID, path, _use_new_zipfile_serialization=False)
    with pytest.raises(FileFormatError, match=r"as PyTorch writes them since 1\.6"):
        read_latents(path)
    torch.save(GRID, tmp_path / "b.pt")
    with zipfile.ZipFile(tmp_path / "b.pt") as old, zipfile.ZipFile(path, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(FileFormatError, match=r"is packed, as torch\.save never does"):
        read_latents(path)


def test_storage_that_claims_more(tmp_path: Path) -> None:
    """A tensor larger than the bytes that the archive has for it is refused."""
    torch.save(GRID.reshape(-1), tmp_path / "b.pt")
    with (
        zipfile.ZipFile(tmp_path / "b.pt") as old,
        zipfile.ZipFile(tmp_path / "a.pt", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"K\x0c") == 2
                content = content.replace(b"K\x0c", b"J\0\0\1\0")
            new.writestr(name, content)
    with pytest.raises(FileFormatError, match=r"a\.pt"):
        read_latents(tmp_path / "a.pt")


def test_a_terabyte_that_a_small_file_claims(tmp_path: Path) -> None:
    """One number that is repeated has a shape, and no memory is asked for."""
    path = tmp_path / "a.pt"
    torch.save(torch.zeros(1).expand(1 << 38, 4), path)
    assert latents_shape(path) == (1 << 38, 4)
    with pytest.raises(ResourceError, match=r"a\.pt"):
        read_latents(path)
    torch.save(torch.zeros(1).expand(5, 4), path)
    assert read_latents(path).tolist() == [[0.0] * 4] * 5


def test_damage(tmp_path: Path) -> None:
    """Damage of any kind is read or refused."""
    path = tmp_path / "a.pt"
    torch.save({"z": GRID}, path)
    assert outcomes_of_damage(path, None, 200) == {"read", "refused"}
    assert truncations_refused(path, None, 29)
