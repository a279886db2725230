"""Zarr stores, in folders and in zip files: ``.zarr``, ``.zarr.zip``.

Read by code of our own, as zarr's codecs allocate what a chunk claims, run what a store names,
and are pickle among others.
"""

from __future__ import annotations

import itertools
import math
import os
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from geoquant.errors import FileFormatError
from geoquant.files import byte_count, json_object, open_regular
from geoquant.formats.stored import (
    AnyArray,
    PathLike,
    Stored,
    chosen,
    empty,
    errors_named,
    require_room,
)
from geoquant.formats.zarr_codecs import unpacked, without_checksum
from geoquant.formats.zarr_metadata import Layout, Packing, layout_of
from geoquant.urls import bytes_at, names_at, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CURE = "write it anew with zarr"
_MAX_METADATA = 16 << 20
_MAX_CHUNKS = 1 << 22
_MAX_NAMES = 1000
_MISSING = (1 << 64) - 1  # place and length of a chunk that a shard does not hold
_METADATA = ("zarr.json", ".zarray")
_FILES = (*_METADATA, ".zgroup", ".zattrs", ".zmetadata")


class _Store(Protocol):
    """Bytes by name."""

    def read(self, name: str, most: int) -> bytes | None: ...

    def nodes(self) -> Iterator[str]: ...


@contextmanager
def open_zarr(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open an array of a Zarr store.

    Parameters
    ----------
    path : str or PathLike
        A folder, or a zip file, of version 2 or 3 of the format.
    key : str, optional
        Path of the array within the store, as in ``train/z``, where there are several.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError
        If there is no such store or array, it is damaged, or packed by a codec that is not one
        of gzip, zlib, zstd, blosc, lz4 and crc32c.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_atomically
    >>> from geoquant.formats.zarr_store import open_zarr
    >>> metadata = b'{"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "|u1", '
    >>> metadata += b'"compressor": null, "fill_value": 0, "filters": null, "order": "C"}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(pathlib.Path(folder, ".zarray"), metadata)
    ...     write_atomically(pathlib.Path(folder, "0"), bytes([3, 4]))
    ...     with open_zarr(folder) as stored:
    ...         stored.read().tolist()
    [3, 4]
    """
    with _opened(path) as store:
        name = _array_name(store, key, path)
        where = f"{os.fspath(path)}::/{name}" if name else os.fspath(path)
        layout = layout_of(_node(store, name, path) or {}, where)
        prefix = name + "/" if name else ""
        dtype = layout.dtype.newbyteorder("=")

        def read() -> AnyArray:
            return _read(store, prefix, layout, where)

        if not layout.shape:
            yield Stored((), dtype, read)
            return
        n_together = layout.chunk[0]

        def read_rows(start: int, stop: int) -> AnyArray:
            chunks = range(start // n_together, -(-stop // n_together))
            first = chunks.start * n_together
            return _read(store, prefix, layout, where, chunks)[start - first : stop - first]

        yield Stored(layout.shape, dtype, read, read_rows, n_together)


@contextmanager
def _opened(path: PathLike) -> Iterator[_Store]:
    if os.path.isdir(path):
        yield _Folder(os.fspath(path))
        return
    url = url_of(path)
    if url is not None and not url.lower().endswith(".zip"):
        yield _Address(url)
        return
    with (
        open_regular(path) as stream,
        errors_named(path, "Zarr store", _CURE),
        zipfile.ZipFile(stream) as archive,
    ):
        yield _Zip(archive, os.fspath(path))


class _Folder:
    """A store in a folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def read(self, name: str, most: int) -> bytes | None:
        path = os.path.join(self._folder, *name.split("/"))
        if not os.path.lexists(path):
            return None
        with open_regular(path) as stream:
            return _whole(stream.read(most + 1), most, path)

    def nodes(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self._folder):
            name = os.path.relpath(folder, self._folder).replace(os.sep, "/")
            name = "" if name == "." else name
            if not set(files).isdisjoint(_METADATA):
                yield name
                if _node(self, name, self._folder) is not None:  # below it are chunks
                    folders.clear()
            folders.sort()


class _Address:
    """A store in a folder at an address."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def read(self, name: str, most: int) -> bytes | None:
        url = f"{self._url}/{name}"
        content = bytes_at(url, most + 1)
        return None if content is None else _whole(content, most, url)

    def nodes(self) -> Iterator[str]:
        waiting = [""]
        while waiting:
            name = waiting.pop()
            inside = names_at(f"{self._url}/{name}")
            if not set(inside).isdisjoint(_METADATA):
                yield name
                if _node(self, name, self._url) is not None:  # below it are chunks
                    continue
            waiting += [f"{name}/{one}".lstrip("/") for one in sorted(inside) if one not in _FILES]


class _Zip:
    """A store in a zip file."""

    def __init__(self, archive: zipfile.ZipFile, path: str) -> None:
        self._archive, self._path = archive, path
        self._names = set(archive.namelist())

    def read(self, name: str, most: int) -> bytes | None:
        if name not in self._names:
            return None
        method = self._archive.getinfo(name).compress_type
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Other methods unpack more at a time than they are asked for.
            found = f"{self._path}::{name}: is packed by method {method} of zip"
            raise FileFormatError(f"{found}; {_CURE}")
        with self._archive.open(name) as stream:
            return _whole(stream.read(most + 1), most, f"{self._path}::{name}")

    def nodes(self) -> Iterator[str]:
        for name in sorted(self._names):
            folder, _, file = name.rpartition("/")
            if file in _METADATA:
                yield folder


def _whole(content: bytes, most: int, name: str) -> bytes:
    if len(content) > most:
        raise FileFormatError(f"{name}: is longer than the {most} bytes that it may be; {_CURE}")
    return content


def _node(store: _Store, name: str, path: PathLike) -> dict[str, Any] | None:
    """Metadata of the array of a name, None if there is no array."""
    prefix = name + "/" if name else ""
    for file in _METADATA:
        raw = store.read(prefix + file, _MAX_METADATA)
        if raw is not None:
            metadata = json_object(raw, f"{os.fspath(path)}/{prefix}{file}")
            return metadata if metadata.get("node_type", "array") == "array" else None
    return None


def _array_name(store: _Store, key: str | None, path: PathLike) -> str:
    name = (key or "").strip("/")
    parts = name.split("/") if name else []
    is_plain = all(part not in ("", ".", "..") and "\\" not in part for part in parts)
    if is_plain and "\0" not in name and _node(store, name, path) is not None:
        return name
    names = [node for node in itertools.islice(store.nodes(), _MAX_NAMES) if node]
    arrays = [node for node in names if _node(store, node, path) is not None]
    return chosen(arrays, name or None, path)


def _read(
    store: _Store, prefix: str, layout: Layout, where: str, along_rows: range | None = None
) -> AnyArray:
    """All chunks, or those in a range along the first axis."""
    chunk_bytes = byte_count(layout.chunk, layout.dtype.itemsize)
    if chunk_bytes is None:
        raise FileFormatError(f"{where}: claims chunks of shape {layout.chunk}; {_CURE}")
    shape = layout.shape
    grid = [range(-(-n // chunk)) for n, chunk in zip(shape, layout.chunk, strict=True)]
    if along_rows is not None:
        n_before, n_together = along_rows.start * layout.chunk[0], layout.chunk[0]
        shape = (min(along_rows.stop * n_together, shape[0]) - n_before, *shape[1:])
        grid[0] = along_rows
    require_room(where, shape, layout.dtype, besides=3 * chunk_bytes)
    n_chunks = math.prod(map(len, grid))
    if n_chunks > _MAX_CHUNKS:
        raise FileFormatError(
            f"{where}: has {n_chunks} chunks, the limit is {_MAX_CHUNKS}; write it anew "
            "with larger chunks"
        )
    target = empty(where, shape, layout.dtype.newbyteorder("="))
    for place in itertools.product(*grid):
        name = prefix + layout.chunk_key(place)
        packed = store.read(name, 2 * chunk_bytes + 4096 + _index_bytes(layout))
        starts = [
            (i - axis.start) * length
            for i, axis, length in zip(place, grid, layout.chunk, strict=True)
        ]
        part = _cell(target, starts, layout.chunk)
        if packed is None:
            part[...] = layout.fill
            continue
        with errors_named(f"{where}, chunk {name}", "chunk of a Zarr array", _CURE):
            _put_chunk(part, packed, layout)
    return target


def _cell(array: AnyArray, starts: Sequence[int], lengths: Sequence[int]) -> AnyArray:
    """A view of a part of an array, also of one that has no axes."""
    place: tuple[Any, ...] = tuple(slice(a, a + n) for a, n in zip(starts, lengths, strict=True))
    view: AnyArray = array[(*place, ...)]
    return view


def _put_chunk(part: AnyArray, packed: bytes, layout: Layout) -> None:
    if layout.shard is None:
        _put(part, packed, layout.packing)
        return
    inner = layout.packing.shape
    grid = [range(0, whole, length) for whole, length in zip(layout.chunk, inner, strict=True)]
    for starts, (offset, length) in zip(
        itertools.product(*grid), _shard_index(packed, layout), strict=True
    ):
        cell = _cell(part, starts, inner)
        if not cell.size:
            continue
        if offset == length == _MISSING:
            cell[...] = layout.fill
        elif offset + length <= len(packed):
            _put(cell, packed[offset : offset + length], layout.packing)
        else:
            raise ValueError("a shard is shorter than its index says")


def _index_bytes(layout: Layout) -> int:
    if layout.shard is None:
        return 0
    n_inner = math.prod(layout.chunk) // math.prod(layout.packing.shape)
    return 16 * n_inner + 4 * layout.shard.has_checksum


def _shard_index(packed: bytes, layout: Layout) -> list[list[int]]:
    """Place and length of each chunk in a shard."""
    n_bytes = _index_bytes(layout)
    if layout.shard is None or len(packed) < n_bytes:
        raise ValueError("a shard is shorter than its index")
    raw = packed[len(packed) - n_bytes :] if layout.shard.at_end else packed[:n_bytes]
    if layout.shard.has_checksum:
        raw = without_checksum(raw)
    places: list[list[int]] = np.frombuffer(raw, "<u8").reshape(-1, 2).tolist()
    return places


def _put(part: AnyArray, packed: bytes, packing: Packing) -> None:
    """Unpack a chunk; at the edges of an array it holds more than there is room for."""
    n_bytes = math.prod(packing.shape) * packing.dtype.itemsize
    data = unpacked(packed, packing.codecs, n_bytes)
    stored = np.frombuffer(data, packing.dtype).reshape([packing.shape[a] for a in packing.axes])
    whole = stored.transpose(np.argsort(packing.axes))
    part[...] = whole[tuple(np.s_[:length] for length in part.shape)]
