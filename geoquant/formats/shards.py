"""Folders of shards: files of one format that together hold one array, one after the other."""

from __future__ import annotations

import math
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geoquant.errors import FileFormatError
from geoquant.files import open_regular, read_json_object
from geoquant.formats.dispatch import (
    is_folder_of_shards,
    is_manifest,
    known_suffix,
    open_array,
)
from geoquant.formats.stored import AnyArray, PathLike, Stored, empty, listed, require_room
from geoquant.urls import is_url, names_at, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from geoquant.formats.dispatch import Opener

MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 64 << 20
_CURE = f'move it away, or name the shards in {MANIFEST}: {{"shards": [...]}}'


@contextmanager
def open_shards(folder: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open the array that the files in a folder hold together.

    Parameters
    ----------
    folder : str or PathLike
        Holds files of one format, whose names say their order by the numbers in them, or a
        ``manifest.json`` with their names. Names that begin with a dot or ``_`` do not count.
    key : str, optional
        Name of the array in each of the files.

    Yields
    ------
    Stored
        All rows.

    Raises
    ------
    FileFormatError
        If there is no shard, they are of several formats, widths or dtypes, or one cannot be
        read; the message names it.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.formats.shards import open_shards
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npy(pathlib.Path(folder, "10.npy"), np.ones((1, 1)))
    ...     write_npy(pathlib.Path(folder, "9.npy"), np.zeros((1, 1)))
    ...     with open_shards(folder) as stored:
    ...         stored.read().tolist()
    [[0.0], [1.0]]
    """
    paths = _paths_in_folder(os.fspath(folder))
    with open_concatenated(paths, key, open_array) as stored:
        yield stored


@contextmanager
def open_manifest(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open the array that the files that a manifest names hold together.

    Parameters
    ----------
    path : str or PathLike
        Of a file in JSON or text, as for `shard_paths`.
    key : str, optional
        Name of the array in each of the files.

    Yields
    ------
    Stored
        All rows.

    Raises
    ------
    FileFormatError, ResourceError
        As `open_shards`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_atomically, write_npy
    >>> from geoquant.formats.shards import open_manifest
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_npy(pathlib.Path(folder, "a.npy"), np.ones((2, 1)))
    ...     write_atomically(pathlib.Path(folder, "all.txt"), b"a.npy")
    ...     with open_manifest(pathlib.Path(folder, "all.txt")) as stored:
    ...         stored.shape
    (2, 1)
    """
    with open_concatenated(_paths_in_manifest(os.fspath(path)), key, open_array) as stored:
        yield stored


def shard_paths(path: PathLike) -> list[str]:
    """Paths of the files that hold latents together, in the order in which they are read.

    Parameters
    ----------
    path : str or PathLike
        A folder of shards; a manifest, ``.json`` that holds ``{"shards": [...]}`` or ``.txt`` with
        a path in each line, which are relative to its folder or lead elsewhere; or a file, which is
        its own only shard.

    Returns
    -------
    list of str

    Raises
    ------
    FileFormatError
        If there is none, or a manifest cannot be used.

    Examples
    --------
    >>> from geoquant.formats.shards import shard_paths
    >>> shard_paths("latents.npy")
    ['latents.npy']
    """
    whole = url_of(path) or os.fspath(path)
    if is_manifest(whole):
        return _paths_in_manifest(whole)
    return _paths_in_folder(whole) if is_folder_of_shards(whole) else [whole]


def _paths_in_folder(folder: str) -> list[str]:
    names = shard_names(folder)
    suffixes = {known_suffix(name): name for name in reversed(names)}
    if len(suffixes) > 1:
        raise FileFormatError(
            f"{folder}: the shards must be of one format, found "
            f"{listed(sorted(suffixes.values()))}; {_CURE}"
        )
    if None in suffixes:
        raise FileFormatError(
            f"{os.path.join(folder, names[0])}: is no file of latents of a known suffix; {_CURE}"
        )
    return [os.path.join(folder, name) for name in names]


def _paths_in_manifest(manifest: str) -> list[str]:
    """Unlike the manifest of a folder, which may come with it, this one was named by the user."""
    if manifest.lower().endswith(".json"):
        named = read_json_object(manifest, max_bytes=_MAX_MANIFEST_BYTES).get("shards")
    else:
        named = _lines(manifest)
    is_list = isinstance(named, list) and all(isinstance(name, str) and name for name in named)
    if not is_list or not named:
        raise FileFormatError(
            f'{manifest}: must name shards, as in {{"shards": ["a.npy", "b.npy"]}}, or in a text '
            "file one in each line; found none"
        )
    if len(set(named)) != len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise FileFormatError(f"{manifest}: names the shard {twice} twice; name each once")
    folder = os.path.dirname(manifest)
    paths = [url_of(name) or os.path.join(folder, name) for name in named]
    for path in filter(is_manifest, paths):
        raise FileFormatError(f"{manifest}: names {path}, a manifest too; name its shards instead")
    return paths


def _lines(manifest: str) -> list[str]:
    with open_regular(manifest) as stream:
        content = stream.read(_MAX_MANIFEST_BYTES + 1)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{manifest}: is no text in UTF-8: {error}; save it anew") from error
    if len(content) > _MAX_MANIFEST_BYTES or "\0" in text:
        raise FileFormatError(f"{manifest}: is no list of shards, one in each line; name another")
    return [line.strip() for line in text.splitlines() if line.strip()]


def shard_names(folder: str) -> list[str]:
    """Names of the shards in a folder, in the order in which they are read.

    Parameters
    ----------
    folder : str
        With a manifest, or with files of latents and nothing else.

    Returns
    -------
    list of str
        As the manifest lists them, or part-10 after part-9.

    Raises
    ------
    FileFormatError
        If there is none, or the manifest cannot be used.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.formats.shards import shard_names
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("10.npy", "9.npy"):
    ...         pathlib.Path(folder, name).touch()
    ...     shard_names(folder)
    ['9.npy', '10.npy']
    """
    found = names_at(folder) if is_url(folder) else os.listdir(folder)
    if MANIFEST in found:
        return _listed_names(os.path.join(folder, MANIFEST))
    names = sorted((name for name in found if name[0] not in "._"), key=_natural)
    if not names:
        raise FileFormatError(f"{folder}: holds no shard; give a folder of files of latents")
    return names


def _natural(name: str) -> tuple[list[str | int], str]:
    """Orders part-10 after part-9; names that differ in zeros only, by themselves."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _listed_names(manifest: str) -> list[str]:
    names = read_json_object(manifest, max_bytes=_MAX_MANIFEST_BYTES).get("shards")
    if not isinstance(names, list) or not names or not all(map(is_plain_name, names)):
        raise FileFormatError(
            f'{manifest}: must hold {{"shards": [...]}} with at least one name of a file in this '
            "folder, and no paths to elsewhere"
        )
    if len(set(names)) != len(names):
        raise FileFormatError(f"{manifest}: names a shard twice; name each once")
    return names


def is_plain_name(name: object) -> bool:
    """Whether something is the name of a file in the same folder, and leads nowhere else.

    Examples
    --------
    >>> from geoquant.formats.shards import is_plain_name
    >>> is_plain_name("part-1.npy"), is_plain_name("../part-1.npy")
    (True, False)
    """
    return (
        isinstance(name, str) and name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}
    )


@contextmanager
def open_concatenated(paths: Sequence[str], key: str | None, open_file: Opener) -> Iterator[Stored]:
    """Open the array that several files hold together.

    Parameters
    ----------
    paths : sequence of str
        At least one.
    key : str or None
        Name of the array in each of them.
    open_file : callable
        The reader of their format.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError, ResourceError
        As `open_shards`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.formats.npy import open_npy
    >>> from geoquant.formats.shards import open_concatenated
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.npy")
    ...     write_npy(path, np.ones((1, 1)))
    ...     with open_concatenated([path, path], None, open_npy) as stored:
    ...         stored.shape
    (2, 1)
    """
    outlines = []
    for path in paths:
        with open_file(path, key) as stored:
            outlines.append((stored.shape, stored.dtype))
            _check_alike(path, outlines)
    n_rows = [shape[0] for shape, _ in outlines]
    dtype = outlines[0][1].newbyteorder("=")
    shape = (sum(n_rows), *outlines[0][0][1:])

    def read() -> AnyArray:
        largest = max(n_rows, default=0) * math.prod(shape[1:]) * dtype.itemsize
        require_room(os.path.dirname(paths[0]), shape, dtype, besides=largest)
        whole, done = empty(paths[0], shape, dtype), 0
        for path, outline in zip(paths, outlines, strict=True):
            with open_file(path, key) as stored:
                if (stored.shape, stored.dtype) != outline:
                    raise FileFormatError(f"{path}: changed while it was read; read it again")
                whole[done : done + stored.shape[0]] = stored.read()
                done += stored.shape[0]
        return whole

    yield Stored(shape, dtype, read)


def _check_alike(path: str, outlines: list[tuple[tuple[int, ...], np.dtype]]) -> None:
    (first_shape, first_dtype), (shape, dtype) = outlines[0], outlines[-1]
    if not shape:
        raise FileFormatError(f"{path}: a shard must have rows, found a single number")
    if shape[1:] != first_shape[1:] or dtype.newbyteorder("=") != first_dtype.newbyteorder("="):
        raise FileFormatError(
            f"{path}: must hold rows of shape {first_shape[1:]} of {first_dtype} as the shards "
            f"before it, found {shape[1:]} of {dtype}; write all shards alike"
        )
