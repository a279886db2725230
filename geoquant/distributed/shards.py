"""Latents in shards: files, or arrays in memory, of one width, none of them ever read whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.latents import as_array, latents_shape, read_latents

if TYPE_CHECKING:
    from collections.abc import Iterable

    from geoquant.files import PathLike

SUFFIXES = (".npy", ".npz", ".safetensors")


@dataclass(frozen=True, eq=False)
class FileShard:
    """Rows in a file.

    Parameters
    ----------
    path : str
        Of a file that `read_latents` reads.
    shape : tuple of int
        Rows and numbers in each.
    key : str, optional
        Name of the array, where the file holds several.
    """

    path: str
    shape: tuple[int, int]
    key: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path

    def read(self) -> npt.NDArray[Any]:
        """The rows as stored, mapped where the format allows."""
        found = read_latents(self.path, self.key)
        if found.shape != self.shape:
            raise InputError(
                f"{self.path}: the shard had shape {self.shape} when the run began, found "
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
        Of `FileShard`, `ArrayShard`, or what has their `name`, `shape` and `read()`; each has
        rows, and all have one width.

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
    def offsets(self) -> npt.NDArray[np.int64]:
        """Number of the first row of each shard, and of rows in all; shape (n_shards + 1,)."""
        counts = [shard.shape[0] for shard in self.shards]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def shards_of_files(paths: PathLike | Iterable[PathLike], key: str | None = None) -> ShardSet:
    """Shards of the files in a folder, in the order of their names, or of files as listed.

    Parameters
    ----------
    paths : path or iterable of paths
        A folder, of whose files those with a known suffix are taken; or files.
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
    if isinstance(paths, str | os.PathLike):
        folder = Path(paths)
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
        if not files:
            raise InputError(f"{folder}: no shard with a suffix of {', '.join(SUFFIXES)} there")
    else:
        files = [Path(path) for path in paths]
    shapes = [latents_shape(file, key) for file in files]
    return ShardSet(
        tuple(FileShard(str(f), shape, key) for f, shape in zip(files, shapes, strict=True))  # type: ignore[arg-type]
    )


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
