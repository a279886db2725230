"""HDF5 files: ``.h5``, ``.hdf5``. What leads out of the file, or needs a plugin, is refused."""

from __future__ import annotations

import os
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from geoquant.errors import FileFormatError
from geoquant.files import byte_count, open_regular
from geoquant.formats.stored import (
    AnyArray,
    PathLike,
    Stored,
    chosen,
    empty,
    errors_named,
    require_room,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_CURE = "write it anew with h5py"
#: Filters that are undone: deflate, shuffle, Fletcher's checksum, and LZF, which h5py brings.
_DEFLATE = 1
_FILTERS = {_DEFLATE, 2, 3, 32_000}
_MOST_RATIO = 1032  # of what deflate packs
_HARMLESS_BYTES = 1 << 30
_INFLATED_BYTES = 1 << 20
_MAX_NAMES = 1000
_MAX_DEPTH = 32
_BLOCK_BYTES = 32 << 20


@contextmanager
def open_hdf5(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open a dataset of an HDF5 file.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    key : str, optional
        Path of the dataset, as in ``/train/z``, where there are several.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind or damaged, or there is no such dataset; if it is
        kept in another file, does not hold numbers, or is packed by a filter of a plugin.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import h5py
    >>> import numpy as np
    >>> from geoquant.formats.hdf5 import open_hdf5
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.h5")
    ...     with h5py.File(path, "w") as file:
    ...         file["train/z"] = np.zeros((3, 2))
    ...     with open_hdf5(path, "/train/z") as stored:
    ...         stored.read().shape
    (3, 2)
    """
    with open_regular(path):  # pipes and devices are not for the library
        pass
    with errors_named(path, "HDF5 file", _CURE), h5py.File(path, "r") as file:
        dataset = _dataset(file, key, path)
        where = f"{os.fspath(path)}::{dataset.name}"
        _check_dataset(dataset, where)
        yield Stored(dataset.shape, dataset.dtype, lambda: _read(dataset, where))


def _dataset(file: h5py.File, key: str | None, path: PathLike) -> h5py.Dataset:
    """The dataset of a key, reached through no link that leads out of the file."""
    node: Any = file
    if key is None:
        key = chosen(list(_names(file)), None, path)
    for name in filter(None, key.split("/")):
        link = node.get(name, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            chosen(list(_names(file)), "/" + key.strip("/"), path)
        if not isinstance(link, h5py.HardLink):
            raise FileFormatError(
                f"{os.fspath(path)}: {name!r} in {node.name} is a link to elsewhere, which is not "
                "followed; give the file and path that it leads to"
            )
        node = node[name]
    if not isinstance(node, h5py.Dataset):
        chosen(list(_names(file)), "/" + key.strip("/"), path)
    return node


def _names(group: h5py.Group, prefix: str = "/", depth: int = 0) -> Iterator[str]:
    """Paths of the datasets, the first of very many."""
    for count, name in enumerate(group):
        if count == _MAX_NAMES or depth == _MAX_DEPTH:
            return
        if isinstance(group.get(name, getlink=True), h5py.HardLink):
            node = group[name]
            if isinstance(node, h5py.Dataset):
                yield prefix + name
            elif isinstance(node, h5py.Group):
                yield from _names(node, f"{prefix}{name}/", depth + 1)


def _check_dataset(dataset: h5py.Dataset, where: str) -> None:
    if dataset.shape is None or dataset.dtype.kind not in "fiu" or dataset.dtype.itemsize > 8:
        found = f"holds {'nothing' if dataset.shape is None else dataset.dtype}, not numbers"
    elif dataset.external or dataset.is_virtual:
        found = "is kept in other files, which are not opened"
    elif others := sorted(set(_filters(dataset)) - _FILTERS):
        found = f"is packed by the filter number {others[0]}, which is not undone"
    elif _was_never_written(dataset):
        found = "was never written"
    else:
        return
    raise FileFormatError(
        f"{where}: {found}; write it anew as a dataset of floats, plain or with compression='gzip'"
    )


def _filters(dataset: h5py.Dataset) -> list[int]:
    """Numbers of the filters that chunks have passed, in their order."""
    plist = dataset.id.get_create_plist()
    return [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]


def _was_never_written(dataset: h5py.Dataset) -> bool:
    """Whether the file holds no numbers of a dataset, or too few of one in one piece."""
    n_bytes = byte_count(dataset.shape, dataset.dtype.itemsize)
    n_stored = dataset.id.get_storage_size()
    return n_stored != n_bytes if dataset.chunks is None else n_bytes != 0 and n_stored == 0


def _read(dataset: h5py.Dataset, where: str) -> AnyArray:
    shape, dtype = dataset.shape, dataset.dtype
    chunk_bytes = 0
    if dataset.chunks is not None:
        chunk_bytes = byte_count(dataset.chunks, dtype.itemsize) or 0
    require_room(where, shape, dtype, besides=_BLOCK_BYTES + 2 * chunk_bytes)
    _check_chunks(dataset, chunk_bytes, where)
    array = empty(where, shape, dtype)
    if not array.size:
        return array
    if array.ndim == 0:
        dataset.read_direct(array)
        return array
    step = max(1, _BLOCK_BYTES // max(1, array.nbytes // len(array)))
    if dataset.chunks is not None:  # whole chunks, so that none is unpacked twice
        step += -step % dataset.chunks[0]
    for start in range(0, len(array), step):
        rows = np.s_[start : start + step]
        dataset.read_direct(array, rows, rows)
    return array


def _check_chunks(dataset: h5py.Dataset, chunk_bytes: int, where: str) -> None:
    """Refuse chunks that inflate to more than a chunk holds, however much that is."""
    filters = _filters(dataset)
    if dataset.chunks is None or _DEFLATE not in filters:
        return
    skipped, suspects = 1 << filters.index(_DEFLATE), []

    def look(chunk: Any) -> None:
        if chunk.size * _MOST_RATIO > _HARMLESS_BYTES and not chunk.filter_mask & skipped:
            suspects.append(chunk.chunk_offset)

    dataset.id.chunk_iter(look)
    for offset in suspects:
        _check_inflated(dataset.id.read_direct_chunk(offset)[1], chunk_bytes, where)


def _check_inflated(packed: bytes, chunk_bytes: int, where: str) -> None:
    most = chunk_bytes + 4  # the checksum of a chunk may be packed with it
    unpacker, n_unpacked, rest = zlib.decompressobj(), 0, packed
    while rest and not unpacker.eof and n_unpacked <= most:
        n_unpacked += len(unpacker.decompress(rest, _INFLATED_BYTES))
        rest = unpacker.unconsumed_tail
    if n_unpacked > most:
        raise FileFormatError(
            f"{where}: a chunk of {chunk_bytes} bytes unpacks to more, like a bomb; {_CURE}"
        )
