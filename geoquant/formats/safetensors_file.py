"""``.safetensors`` files of any number of tensors, of which one is read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from geoquant.formats.stored import AnyArray, PathLike, Stored, chosen
from geoquant.tensor_files import read_safetensors, safetensors_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator

# Files of many tensors (whole models) have longer headers than a codebook.
_MAX_HEADER_BYTES = 100_000_000


@contextmanager
def open_safetensors(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open a tensor of a ``.safetensors`` file.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    key : str, optional
        Name of the tensor, where there are several.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind or damaged, or has no such tensor.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.tensor_files import write_safetensors
    >>> from geoquant.formats.safetensors_file import open_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.safetensors")
    ...     write_safetensors(path, {"z": np.zeros((3, 2))}, {})
    ...     with open_safetensors(path) as stored:
    ...         stored.shape
    (3, 2)
    """
    outlines = safetensors_outlines(path, max_header_bytes=_MAX_HEADER_BYTES)
    name = chosen(list(outlines), key, path)

    def read() -> AnyArray:
        arrays, _ = read_safetensors(path, names=[name], max_header_bytes=_MAX_HEADER_BYTES)
        return arrays[name]

    yield Stored(*outlines[name], read)
