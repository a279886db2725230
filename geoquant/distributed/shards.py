"""Latents in shards: files, or arrays in memory, of one width, none of them ever read whole."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.formats.dispatch import located, open_array
from geoquant.formats.shards import shard_paths
from geoquant.latents import as_array, is_mappable, read_latents, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoquant.files import PathLike

#: A file is cut into shards of about this size, where its format lets rows be read by themselves.
_SHARD_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class FileShard:
    """Rows in a file, all of them or some.

    Parameters
    ----------
    path : str
        Of a file that `read_latents` reads.
    shape : tuple of int
        Rows and numbers in each.
    key : str, optional
        Name of the array, where the file holds several.
    start : int, optional
        The first of the rows, where they are a part of those in the file.
    """

    path: str
    shape: tuple[int, int]
    key: str | None = None
    start: int | None = None

    @property
    def source(self) -> str:
        """What holds the rows, and perhaps those of other shards."""
        return self.path

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path if self.start is None else f"{self.path}, from row {self.start} on"

    @property
    def is_mappable(self) -> bool:
        """Whether `read` maps the file, so that it takes no memory of its own."""
        return is_mappable(self.path)

    def read(self) -> npt.NDArray[Any]:
        """The rows as stored, mapped where the format allows."""
        if self.start is None:
            found = read_latents(self.path, self.key)
        else:
            found = read_rows(self.path, self.start, self.start + self.shape[0], self.key)
        if found.shape != self.shape:
            raise InputError(
                f"{self.name}: the shard had shape {self.shape} when the run began, found "
                f"{found.shape}; leave shards as they are while they are in use"
            )
        return found


@dataclass(frozen=True, eq=False)
class ArrayShard:
    """Rows in memory.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        The rows.
    name : str
        What messages call them.
    """

    rows: npt.NDArray[Any]
    name: str
    start: ClassVar[int | None] = None

    @property
    def source(self) -> str:
        """What holds the rows."""
        return self.name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and numbers in each."""
        return self.rows.shape[0], self.rows.shape[1]

    def read(self) -> npt.NDArray[Any]:
        """The rows."""
        return self.rows


@dataclass(frozen=True, eq=False)
class ShardSet:
    """Shards in order; their rows are numbered through.

    Parameters
    ----------
    shards : tuple
        Of `FileShard`, `ArrayShard`, or what has their `name`, `source`, `shape` and `read()`; each
        has rows, and all have one width. Shards of one source follow one another.

    Raises
    ------
    InputError
        Naming the shard, if there is none, or one is empty, of another width, or there twice.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distributed.shards import ArrayShard, ShardSet
    >>> shards = ShardSet((ArrayShard(np.zeros((3, 2)), "a"), ArrayShard(np.ones((1, 2)), "b")))
    >>> shards.n_rows, shards.width, shards.offsets.tolist()
    (4, 2, [0, 3, 4])
    """

    shards: tuple[FileShard | ArrayShard, ...]

    def __post_init__(self) -> None:
        if not self.shards:
            raise InputError("shards must be at least one, found none")
        names = [shard.name for shard in self.shards]
        for shard in self.shards:
            if len(shard.shape) != 2 or 0 in shard.shape:
                raise InputError(
                    f"{shard.name}: a shard must have shape (n, d) with rows, found {shard.shape}"
                )
            if shard.shape[1] != self.width:
                raise InputError(
                    f"{shard.name}: all shards must have the {self.width} columns of "
                    f"{names[0]}, found {shard.shape[1]}"
                )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{twice}: the shard is there twice; name it once")

    @property
    def width(self) -> int:
        """Numbers in each row."""
        return self.shards[0].shape[1]

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return int(self.offsets[-1])

    @cached_property
    def by_source(self) -> dict[str, list[int]]:
        """Numbers of the shards of each source, in order."""
        found: dict[str, list[int]] = {}
        for i, shard in enumerate(self.shards):
            found.setdefault(shard.source, []).append(i)
        return found

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Number of the first row of each shard, and of rows in all; shape (n_shards + 1,)."""
        counts = [shard.shape[0] for shard in self.shards]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def shards_of_files(paths: PathLike | Iterable[PathLike], key: str | None = None) -> ShardSet:
    """Shards of a file, of those in a folder, or of those that a manifest or an iterable names.

    Files, folders and manifests are those of `read_latents`, in the same order. Large files in
    ``.npy``, Parquet and Zarr are cut into several shards, so that none is read whole.

    Parameters
    ----------
    paths : path or iterable of paths
        A file, folder or manifest, or files.
    key : str, optional
        Name of the array in files that hold several.

    Returns
    -------
    ShardSet

    Raises
    ------
    InputError
        If there is no shard, or they do not fit together.
    FileFormatError
        If a file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.distributed.shards import shards_of_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(pathlib.Path(folder, "part0.npy"), np.zeros((3, 2), np.float32))
    ...     np.save(pathlib.Path(folder, "part1.npy"), np.zeros((2, 2), np.float32))
    ...     shards_of_files(folder).n_rows
    5
    """
    files = shard_paths(paths) if isinstance(paths, str | os.PathLike) else paths
    return ShardSet(tuple(shard for file in files for shard in _shards_of_file(file, key)))


def _shards_of_file(path: PathLike, key: str | None) -> list[FileShard]:
    """As many as its size asks for."""
    file, key = located(path, key)
    with open_array(file, key) as stored:
        shape: Any = stored.shape
        n_bytes = math.prod(shape[1:]) * stored.dtype.itemsize
        n_together, can_cut = stored.n_rows_together, stored.read_rows is not None
    if len(shape) != 2 or not can_cut or shape[0] * n_bytes <= _SHARD_BYTES:
        return [FileShard(file, shape, key)]
    n_rows = max(1, _SHARD_BYTES // (n_bytes * n_together)) * n_together
    starts = range(0, shape[0], n_rows)
    return [FileShard(file, (min(n_rows, shape[0] - a), shape[1]), key, a) for a in starts]


def shards_of_array(rows: object, n_shards: int) -> ShardSet:
    """Cut an array in memory into shards of like number.

    Parameters
    ----------
    rows : array-like of shape (n, d)
        The rows.
    n_shards : int
        How many, at most n.

    Returns
    -------
    ShardSet

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.distributed.shards import shards_of_array
    >>> shards_of_array(np.zeros((5, 2)), 2).offsets.tolist()
    [0, 3, 5]
    """
    blocks = np.array_split(as_array(rows, "latents"), n_shards)
    return ShardSet(tuple(ArrayShard(block, f"shard {i}") for i, block in enumerate(blocks)))
