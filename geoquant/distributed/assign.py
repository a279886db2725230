"""Codes of shards: each shard on its own, and one that is done is not done again.

A manifest in the folder of the codes says which codebook they are of; it is there before the first
of them. Each file of codes is written whole or not at all, so that one that is there is done.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import lru_cache
from glob import escape, glob
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from geoquant.codebook import codebook_file
from geoquant.distributed.engine import Engine, map_tasks
from geoquant.distributed.shards import FileShard
from geoquant.errors import FileFormatError, InputError
from geoquant.files import (
    joined_npy_blocks,
    read_json_object,
    system_errors_name,
    write_atomically,
    write_npy,
)
from geoquant.formats.dispatch import known_suffix
from geoquant.latents import check_latents, read_latents
from geoquant.multistage import MultistageCodebook, load_codebook
from geoquant.tensor_files import HASH_KEY, read_safetensors
from geoquant.urls import is_url, outline_at

if TYPE_CHECKING:
    import numpy.typing as npt

    from geoquant.codebook import Codebook
    from geoquant.distributed.shards import ArrayShard, ShardSet
    from geoquant.files import PathLike

MANIFEST = "geoquant-assign.json"
_MAX_MANIFEST_BYTES = 1 << 30
_ROWS_AT_ONCE = 1 << 18

Method = Literal["geodesic", "euclidean"]


class AssignedShards(NamedTuple):
    """What is in the folder.

    Attributes
    ----------
    paths : tuple of str
        The ``.npy`` file of codes, int32, of each file of latents.
    counts : list of ndarray of int64
        For each stage of the codebook, how many rows have each code.
    n_done_before : int
        Files that an earlier run had done.
    """

    paths: tuple[str, ...]
    counts: list[npt.NDArray[np.int64]]
    n_done_before: int


def assign_shards(
    codebook: PathLike,
    shards: ShardSet,
    folder: PathLike,
    engine: Engine,
    *,
    method: Method = "geodesic",
    n_jobs: int | None = None,
) -> AssignedShards:
    """Write the codes of each file of latents to one of its own; what an earlier run did is kept.

    Those of a file that is cut into several shards are joined when all are there.

    Parameters
    ----------
    codebook : path
        A file that all workers see, of either kind of codebook.
    shards : ShardSet
        The latents.
    folder : path
        Where the codes go; made if it is not there. All workers see it.
    engine : Engine
        Where the tasks run.
    method : {'geodesic', 'euclidean'}, default='geodesic'
        As for `Codebook.assign`; codebooks of several stages know 'geodesic' only.
    n_jobs : int, optional
        Threads of each task.

    Returns
    -------
    AssignedShards
        With the codes that `Codebook.assign` gives, bit for bit.

    Raises
    ------
    InputError, FileFormatError
        Naming the shard that cannot be used; or if the folder holds codes of another codebook, or
        of unknown origin. Shards that were done stay done.
    ResourceError
        If the disk is full.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoquant as gq
    >>> from geoquant.distributed.assign import assign_shards
    >>> from geoquant.distributed.engine import LocalEngine
    >>> from geoquant.distributed.shards import shards_of_array
    >>> x = [[0.0], [1.0], [8.0], [9.0]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     book = pathlib.Path(folder, "book.safetensors")
    ...     gq.fit_codebook(x, 2, random_state=0).codebook.save(book)
    ...     done = assign_shards(book, shards_of_array(x, 2), folder, LocalEngine())
    ...     done.counts, done.n_done_before
    ([array([2, 2])], 0)
    """
    book, digest = load_codebook(codebook), _digest(codebook)
    _check_fit(book, shards, method)
    with system_errors_name(folder):
        os.makedirs(folder, exist_ok=True)
    whole = os.path.abspath(folder)
    names = names_of_codes(shards)
    is_done = _going_on(whole, shards, names, {"codebook": digest, "method": method})
    paths = tuple(os.path.join(whole, name) for name in names)
    source = os.path.abspath(codebook), digest
    todo = [
        (path, [shards.shards[i] for i in numbers])
        for path, numbers, done in zip(paths, shards.by_source.values(), is_done, strict=True)
        if not done
    ]
    tasks = [
        (source, shard, part_of_codes(path, shard), path, method, n_jobs)
        for path, of_file in todo
        for shard in of_file
    ]
    map_tasks(engine, assign_shard, tasks)
    cut = [(path, of_file) for path, of_file in todo if len(of_file) > 1]
    map_tasks(
        engine, join_codes, [(p, tuple(part_of_codes(p, s) for s in found)) for p, found in cut]
    )
    sizes = _sizes(book)
    found = map_tasks(engine, count_codes, [(path, sizes) for path in paths])
    counts = [np.sum(of_stage, axis=0) for of_stage in zip(*found, strict=True)]
    return AssignedShards(paths, counts, sum(is_done))


def _digest(codebook: PathLike) -> str:
    return read_safetensors(codebook_file(codebook), names=())[1][HASH_KEY]


def _sizes(book: Codebook | MultistageCodebook) -> tuple[int, ...]:
    """Number of codes of each stage."""
    return tuple(book.n_codes) if isinstance(book, MultistageCodebook) else (book.n_codes,)


def _check_fit(book: Codebook | MultistageCodebook, shards: ShardSet, method: str) -> None:
    known = ("geodesic",) if isinstance(book, MultistageCodebook) else ("geodesic", "euclidean")
    if method not in known:
        raise InputError(f"method must be {' or '.join(map(repr, known))}, found {method!r}")
    if shards.width != book.dim:
        raise InputError(
            f"{shards.shards[0].name}: shards must have {book.dim} columns for this codebook, "
            f"found {shards.width}"
        )


def names_of_codes(shards: ShardSet) -> list[str]:
    """For each file of latents the name of the file of its codes.

    Parameters
    ----------
    shards : ShardSet
        The shards.

    Returns
    -------
    list of str
        That of the file, with another suffix; in the order of ``shards.by_source``.

    Raises
    ------
    InputError
        If two would be the same.

    Examples
    --------
    >>> from geoquant.distributed.assign import names_of_codes
    >>> from geoquant.distributed.shards import shards_of_array
    >>> names_of_codes(shards_of_array([[0.0], [1.0]], 2))
    ['shard 0.codes.npy', 'shard 1.codes.npy']
    """
    found: dict[str, str] = {}
    for source in shards.by_source:
        file = os.path.basename(os.path.normpath(source))
        name = file[: len(file) - len(known_suffix(file) or "")] + ".codes.npy"
        if name in found:
            raise InputError(
                f"{source}: its codes would be {name}, as those of {found[name]}; rename one"
            )
        found[name] = source
    return list(found)


def part_of_codes(path: str, shard: FileShard | ArrayShard) -> str:
    """Where the codes of a shard are written: at once, or beside it until all of a file are there.

    Parameters
    ----------
    path : str
        Of the codes of its whole file.
    shard : FileShard or ArrayShard
        The shard.

    Returns
    -------
    str

    Examples
    --------
    >>> from geoquant.distributed.assign import part_of_codes
    >>> from geoquant.distributed.shards import FileShard
    >>> part_of_codes("a.codes.npy", FileShard("a.npy", (100, 2), start=300))
    '.a.codes.npy.300-400.npy'
    """
    if shard.start is None:
        return path
    folder, name = os.path.split(path)
    stop = shard.start + shard.shape[0]
    return os.path.join(folder, f".{name}.{shard.start}-{stop}.npy")


def _parts_there(path: str) -> list[str]:
    """Codes of parts of a file, whatever run left them."""
    folder, name = os.path.split(path)
    return glob(os.path.join(escape(folder), f".{escape(name)}.*-*.npy"), include_hidden=True)


def _going_on(folder: str, shards: ShardSet, names: list[str], run: dict[str, str]) -> list[bool]:
    """Whether each shard is done; the manifest then holds all, and no other codes are there."""
    path = os.path.join(folder, MANIFEST)
    before = _read_manifest(path, run)
    entries = {
        name: _outline([shards.shards[i] for i in numbers])
        for name, numbers in zip(names, shards.by_source.values(), strict=True)
    }
    is_done = []
    for name, entry in entries.items():
        target = os.path.join(folder, name)
        is_there = os.path.lexists(target)
        if is_there and name not in before:
            raise InputError(
                f"{target} is there, and no manifest says of which codebook it is; remove it, or "
                "write elsewhere"
            )
        is_other = before.get(name) != entry
        # Parts of a whole file are there if a run was stopped as they were joined.
        stale = _parts_there(target) if is_there or is_other else []
        for path_of_codes in [*stale, *([target] if is_there and is_other else [])]:
            with system_errors_name(path_of_codes):
                os.remove(path_of_codes)
        is_there &= not is_other
        is_done.append(is_there)
    manifest = {"format_version": 1, **run, "shards": before | entries}
    write_atomically(path, json.dumps(manifest, indent=1).encode())
    return is_done


def _read_manifest(path: str, run: dict[str, str]) -> dict[str, Any]:
    """What earlier runs were to do; of the same codebook only."""
    if not os.path.lexists(path):
        return {}
    found = read_json_object(path, max_bytes=_MAX_MANIFEST_BYTES)
    if not isinstance(found.get("shards"), dict):
        raise FileFormatError(f"{path}: is no manifest of `geoquant assign`; write elsewhere")
    for name, value in run.items():
        if found.get(name) != value:
            raise InputError(
                f"{path}: the codes there are of another {name} ({found.get(name)!r}, not "
                f"{value!r}); write elsewhere, or remove that folder"
            )
    return dict(found["shards"])


def _outline(of_file: list[FileShard | ArrayShard]) -> dict[str, Any]:
    """What tells a file from what it was before."""
    source = of_file[0].source
    outline: dict[str, Any] = {"shard": source, "rows": sum(s.shape[0] for s in of_file)}
    if isinstance(of_file[0], FileShard) and is_url(source):
        return outline | outline_at(source)
    if isinstance(of_file[0], FileShard) and os.path.isfile(source):
        found = os.stat(source)
        outline |= {"bytes": found.st_size, "modified_ns": found.st_mtime_ns}
    return outline


@lru_cache(maxsize=1)
def _held_codebook(source: tuple[str, str]) -> Codebook | MultistageCodebook:
    """The codebook, kept between the tasks of a process."""
    path, digest = source
    if _digest(path) != digest:
        raise FileFormatError(f"{path}: the codebook was changed during the run; run again")
    return load_codebook(path)


def assign_shard(
    source: tuple[str, str],
    shard: FileShard | ArrayShard,
    target: str,
    whole: str,
    method: Method,
    n_jobs: int | None,
) -> None:
    """Write the codes of a shard, if neither they nor those of its file are there (a task)."""
    if os.path.lexists(target) or os.path.lexists(whole):  # a worker died after it had written them
        return
    book, given = _held_codebook(source), shard.read()
    codes = []
    for start in range(0, len(given), _ROWS_AT_ONCE):
        first = start + (shard.start or 0)
        name = f"{shard.source}, from row {first} on" if start else shard.name
        block = check_latents(given[start : start + _ROWS_AT_ONCE], name=name)
        if isinstance(book, MultistageCodebook):
            codes.append(book.assign(block, n_jobs=n_jobs))
        else:
            codes.append(book.assign(block, method=method, n_jobs=n_jobs))
    write_npy(target, np.concatenate(codes))


def join_codes(target: str, parts: tuple[str, ...]) -> None:
    """Write the codes of a file, and remove those of its parts (a task)."""
    if not os.path.lexists(target):
        write_atomically(target, joined_npy_blocks([read_latents(part) for part in parts]))
    for part in parts:
        with suppress(FileNotFoundError):
            os.remove(part)


def count_codes(path: str, sizes: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
    """How often each code of each stage is in a file (a task)."""
    codes = read_latents(path)
    columns = codes.reshape(len(codes), -1).T
    return [np.bincount(c, minlength=k) for c, k in zip(columns, sizes, strict=True)]
