"""Tensors that ``torch.save`` wrote: ``.pt``, ``.pth``, read with ``weights_only=True`` only."""

from __future__ import annotations

import os
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from geoquant.errors import FileFormatError
from geoquant.files import open_regular
from geoquant.formats.stored import (
    AnyArray,
    PathLike,
    Stored,
    chosen,
    errors_named,
    require_room,
)
from geoquant.memory import require_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBERS: dict[torch.dtype, np.dtype[Any]] = {
    torch.float64: np.dtype("f8"),
    torch.float32: np.dtype("f4"),
    torch.float16: np.dtype("f2"),
    torch.bfloat16: np.dtype("f4"),  # which holds all of its numbers
    torch.int64: np.dtype("i8"),
    torch.int32: np.dtype("i4"),
    torch.int16: np.dtype("i2"),
    torch.int8: np.dtype("i1"),
    torch.uint8: np.dtype("u1"),
}
_CURE = (
    "load it where you trust it, with torch.load(path, weights_only=False), and "
    "torch.save(tensor.detach().cpu(), path)"
)


@contextmanager
def open_torch(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open a tensor that ``torch.save`` wrote, alone or in a flat dict.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    key : str, optional
        Key of the tensor in the dict, where there are several.

    Yields
    ------
    Stored
        Numbers of bfloat16 become float32.

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind or damaged, holds objects of other classes, or
        has no such tensor.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import torch
    >>> from geoquant.formats.torch_file import open_torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.pt")
    ...     torch.save({"z": torch.zeros(3, 2), "epoch": 7}, path)
    ...     with open_torch(path) as stored:
    ...         stored.read().shape
    (3, 2)
    """
    _check_archive(path)
    outline = _tensor(path, key, "meta")
    dtype = _NUMBERS[outline.dtype]

    def read() -> AnyArray:
        # All tensors are read, and what is repeated in the file takes memory once it is used.
        require_room(path, tuple(outline.shape), dtype, besides=os.stat(path).st_size)
        tensor = _tensor(path, key, "cpu").detach().contiguous()
        with errors_named(path, "file of torch.save", _CURE):
            numbers: AnyArray = tensor.to(getattr(torch, dtype.name)).numpy()
        return numbers

    yield Stored(tuple(outline.shape), dtype, read)


def _check_archive(path: PathLike) -> None:
    """Require the zip archive that torch.save writes since 1.6, without packed members."""
    with open_regular(path) as stream, errors_named(path, "file of torch.save", _CURE):
        if not zipfile.is_zipfile(stream):
            raise FileFormatError(
                f"{os.fspath(path)}: is no archive of torch.save, as PyTorch writes them since "
                f"1.6; if it is of an older one, {_CURE}"
            )
        with zipfile.ZipFile(stream) as archive:
            packed = [one.filename for one in archive.infolist() if one.compress_type]
    if packed:
        raise FileFormatError(
            f"{os.fspath(path)}: {packed[0]!r} is packed, as torch.save never does; {_CURE}"
        )


def _tensor(path: PathLike, key: str | None, device: str) -> torch.Tensor:
    """The chosen tensor; on the device "meta" it has a shape and no numbers."""
    require_memory(os.stat(path).st_size, None, f"read a part of {os.fspath(path)}")
    with errors_named(path, "file of tensors and nothing else", _CURE):
        found = torch.load(path, map_location=device, weights_only=True)
    tensors = _tensors(found)
    if tensors is None:
        if key is not None:
            raise FileFormatError(
                f"{os.fspath(path)}: holds one tensor without a name, found key={key!r}; leave key "
                "out"
            )
    else:
        found = tensors[chosen(list(tensors), key, path)]
    if not isinstance(found, torch.Tensor) or found.layout != torch.strided:
        raise FileFormatError(
            f"{os.fspath(path)}: must hold a dense tensor or a flat dict of them, found "
            f"{type(found).__name__}; save it with torch.save(tensor.detach().cpu(), path)"
        )
    if found.dtype not in _NUMBERS:
        raise FileFormatError(
            f"{os.fspath(path)}: must hold real numbers, found {found.dtype}; convert them with "
            "tensor.float() and save again"
        )
    return found


def _tensors(found: Any) -> dict[str, torch.Tensor] | None:
    """The tensors of a dict by name, None where there is no dict."""
    if not isinstance(found, dict):
        return None
    return {str(name): one for name, one in found.items() if isinstance(one, torch.Tensor)}
