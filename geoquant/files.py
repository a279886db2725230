"""The one atomic writer and the one strict reader, for every file that geoquant touches.

Writing replaces a file whole or leaves it as it was. Reading believes nothing that a file says
about itself before it has been compared with the size of the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import platform
import secrets
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import refuse_masked
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.urls import open_url, url_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

AnyArray: TypeAlias = npt.NDArray[Any]
Bytes: TypeAlias = bytes | bytearray | memoryview
PathLike: TypeAlias = str | os.PathLike[str]

#: Longest JSON header that is read or written unless the caller allows more.
MAX_HEADER_BYTES = 1 << 20

# Some systems refuse a single write of 2 GiB or more.
_WRITE_BYTES = 64 << 20
_MAX_RANK = 32
# Tells this process from a dead one that had the same process id, as happens in containers.
_PROCESS = secrets.token_hex(4)


# ---------------------------------------------------------------------------------- writing


def write_atomically(path: PathLike, data: Bytes | Iterable[Bytes]) -> None:
    """Write a file whole or not at all.

    The bytes go to a temporary file in the same folder, are forced to disk, and take the name
    `path` in one step, which is forced to disk too. At every moment, also after a crash, `path`
    is the complete old file or the complete new one. What a killed process left behind is
    removed by the next write to the same path.

    Parameters
    ----------
    path : str or PathLike
        The file to write. A symbolic link is followed, and what it points to is replaced.
    data : bytes-like or iterable of bytes-like
        The content, whole or in blocks.

    Raises
    ------
    ResourceError
        If the disk or the user's quota is full.
    OSError
        For every other refusal of the system, with the path, and if `path` exists and is not a
        regular file.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.files import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "codes.bin")
    ...     write_atomically(path, [b"ab", b"cd"])
    ...     path.read_bytes()
    b'abcd'
    """
    write_together({path: data})


def write_together(files: Mapping[PathLike, Bytes | Iterable[Bytes]]) -> None:
    """Write several files, none of them unless all can be written.

    Each is written whole to a temporary file first; only then do all take their names, one after
    the other.

    Parameters
    ----------
    files : mapping of path to bytes-like or iterable of bytes-like
        As for `write_atomically`.

    Raises
    ------
    ResourceError, OSError
        As `write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.files import write_together
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder)
    ...     write_together({path / "a": b"1", path / "b": b"2"})
    ...     sorted(file.name for file in path.iterdir())
    ['a', 'b']
    """
    targets = {path: _target(path) for path in files}
    with ExitStack() as cleanup:
        folders = {path: _held_folder(path, targets[path], cleanup) for path in files}
        temporaries = {}
        for path, data in files.items():
            _remove_stale(targets[path])
            temporaries[path] = _temporary_name(targets[path])
            cleanup.callback(_remove_if_there, temporaries[path])
            blocks = (data,) if isinstance(data, bytes | bytearray | memoryview) else data
            _write_temporary(path, temporaries[path], blocks)
        for path, temporary in temporaries.items():
            with system_errors_name(path):
                os.replace(temporary, targets[path])
        for path, folder in folders.items():
            with system_errors_name(path):
                _sync_folder(folder)


def write_folder(folder: PathLike, files: Mapping[str, Bytes | Iterable[Bytes]]) -> None:
    """Write files into a folder, none of them unless all can be written.

    Parameters
    ----------
    folder : str or PathLike
        Made if it is not there, and removed again where the files cannot be written. What else
        it holds stays.
    files : mapping of str to bytes-like or iterable of bytes-like
        Content by name, as for `write_together`.

    Raises
    ------
    ResourceError, OSError
        As `write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.files import write_folder
    >>> with tempfile.TemporaryDirectory() as above:
    ...     folder = pathlib.Path(above, "new", "model")
    ...     write_folder(folder, {"config.json": b"{}"})
    ...     (folder / "config.json").read_bytes()
    b'{}'
    """
    made = _missing_folders(folder)
    try:
        with system_errors_name(folder):
            os.makedirs(folder, exist_ok=True)
        write_together({os.path.join(folder, name): data for name, data in files.items()})
    except BaseException:
        for path in made:
            with suppress(OSError):
                os.rmdir(path)
        raise


def _missing_folders(folder: PathLike) -> list[str]:
    """The folder and those above it that are not there, the deepest first."""
    missing, path = [], os.path.abspath(folder)
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    return missing


def write_scratch(path: PathLike, data: Iterable[Bytes]) -> None:
    """Write a file that need not outlive a crash of the machine, whole or not at all.

    As :func:`write_atomically`, but nothing is forced to disk, which takes most of its time, and
    what a killed process left behind stays: the folder is to be removed as a whole.

    Parameters
    ----------
    path : str or PathLike
        The file to write; several processes may write the same content to it at once.
    data : iterable of bytes-like
        The content in blocks.

    Raises
    ------
    ResourceError, OSError
        As :func:`write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.files import write_scratch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "state.bin")
    ...     write_scratch(path, [b"ab", b"cd"])
    ...     path.read_bytes()
    b'abcd'
    """
    temporary = _temporary_name(os.fspath(path))
    try:
        _write_temporary(path, temporary, data, is_forced=False)
        with system_errors_name(path):
            os.replace(temporary, path)
    except BaseException:
        _remove_if_there(temporary)
        raise


def _target(path: PathLike) -> str:
    """The file that is replaced, links followed."""
    try:
        return os.path.realpath(os.fspath(path))
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error


def _held_folder(path: PathLike, target: str, cleanup: ExitStack) -> int | None:
    """The folder of a target that can be replaced, open until `cleanup`."""
    with system_errors_name(path):
        _check_target(target)
        folder = _open_folder(os.path.dirname(target))
    if folder is not None:
        cleanup.callback(_close_quietly, folder)
    return folder


def _close_quietly(folder: int) -> None:
    # Nothing was written through it, so nothing can be lost.
    with suppress(OSError):
        os.close(folder)


def _remove_if_there(temporary: str) -> None:
    with suppress(OSError):
        os.unlink(temporary)


def _temporary_name(target: str) -> str:
    name = f"{_temporary_prefix(target)}{os.getpid()}-{_PROCESS}-{secrets.token_hex(4)}.tmp"
    return os.path.join(os.path.dirname(target), name)


def _write_temporary(
    path: PathLike, temporary: str, blocks: Iterable[Bytes], *, is_forced: bool = True
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with system_errors_name(path):
        descriptor = os.open(temporary, flags, 0o666)
    try:
        for block in blocks:
            with system_errors_name(path):
                _write_all(descriptor, block)
        if is_forced:
            with system_errors_name(path):
                os.fsync(descriptor)
    finally:
        with system_errors_name(path):
            os.close(descriptor)


def _write_all(descriptor: int, block: Bytes) -> None:
    view = memoryview(block)
    if view.nbytes == 0:  # a zero in its shape would keep it from being cast
        return
    rest = view.cast("B")
    while len(rest):
        written = os.write(descriptor, rest[:_WRITE_BYTES])
        if written == 0:
            raise OSError(errno.EIO, "the system wrote nothing")
        rest = rest[written:]


@contextmanager
def system_errors_name(path: PathLike) -> Iterator[None]:
    """Give errors of the system the name of the file; a full disk becomes ResourceError.

    Examples
    --------
    >>> from geoquant.files import system_errors_name
    >>> with system_errors_name("out"):
    ...     raise OSError(5, "Input/output error")
    Traceback (most recent call last):
        ...
    OSError: [Errno 5] Input/output error: 'out'
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(
                f"{os.fspath(path)}: cannot be written, {error.strerror}; no file of this name "
                "was damaged: free some space or write elsewhere"
            ) from error
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _check_target(target: str) -> None:
    with suppress(FileNotFoundError):
        mode = os.lstat(target).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # Renaming over a device or a pipe would take it away from everyone else.
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "exists and is not a regular file")


def _open_folder(folder: str) -> int | None:
    """Open a folder to force its entries to disk; Windows has no such thing."""
    return None if os.name == "nt" else os.open(folder, os.O_RDONLY)


def _sync_folder(folder: int | None) -> None:
    if folder is None:
        return
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network file systems cannot force a folder to disk, and say so with EINVAL.
        if error.errno != errno.EINVAL:
            raise


def _temporary_prefix(target: str) -> str:
    """Start of the temporaries' names: one per target and machine, short for any target's name."""
    key = os.fsencode(platform.node()) + b"\0" + os.fsencode(os.path.basename(target))
    return f".geoquant-{hashlib.sha256(key).hexdigest()[:16]}-"


def _remove_stale(target: str) -> None:
    """Remove what dead processes left behind while writing the same target."""
    prefix = _temporary_prefix(target)
    with suppress(OSError), os.scandir(os.path.dirname(target)) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and not _in_use(entry.name[len(prefix) :]):
                with suppress(OSError):
                    os.unlink(entry.path)


def _in_use(suffix: str) -> bool:
    """Whether the process that made the temporary ``<pid>-<process>-<random>.tmp`` still runs."""
    pid, _, rest = suffix.partition("-")
    if not pid.isdecimal() or os.name == "nt":
        return True
    if int(pid) == os.getpid():
        return rest.startswith(_PROCESS)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_npy(path: PathLike, array: AnyArray) -> None:
    """Write an array as ``.npy``, whole or not at all.

    Parameters
    ----------
    path : str or PathLike
        The file to write; see :func:`write_atomically`.
    array : ndarray
        Any shape and any dtype without Python objects. It is written in C order.

    Raises
    ------
    InputError
        If the array holds Python objects, which only pickle could store, or the names of its
        fields do not fit in the header.
    ResourceError, OSError
        As :func:`write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "codes.npy")
    ...     write_npy(path, np.array([0, 2, 1], dtype=np.int32))
    ...     np.load(path)
    array([0, 2, 1], dtype=int32)
    """
    write_atomically(path, npy_blocks(array))


def npy_blocks(array: AnyArray) -> tuple[Bytes, Bytes]:
    r"""The content of the ``.npy`` file of an array, in blocks.

    Parameters
    ----------
    array : ndarray
        As for `write_npy`.

    Returns
    -------
    tuple of bytes-like
        Header and data, the data not copied if the array is in C order.

    Raises
    ------
    InputError
        As `write_npy`.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.files import npy_blocks
    >>> header, data = npy_blocks(np.array([1, 2], dtype=np.uint8))
    >>> header[1:6], bytes(data).hex()
    (b'NUMPY', '0102')
    """
    refuse_masked(array, "array")
    array = np.asarray(array, order="C")
    if array.dtype.hasobject:
        raise InputError(
            f"array must hold numbers, found dtype {array.dtype}; Python objects are not stored: "
            "convert it with array.astype(...)"
        )
    return _npy_header(array, array.shape), bytes_of(array)


def joined_npy_blocks(arrays: Sequence[AnyArray]) -> Iterator[Bytes]:
    """The content of the ``.npy`` file of several arrays, one after the other.

    Parameters
    ----------
    arrays : sequence of ndarray
        At least one; alike but for their number of rows.

    Returns
    -------
    iterator of bytes-like
        Header, and the data of each array in turn.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.files import joined_npy_blocks
    >>> header, *data = joined_npy_blocks([np.array([1], np.uint8), np.array([2, 3], np.uint8)])
    >>> b"(3,)" in header, b"".join(map(bytes, data)).hex()
    (True, '010203')
    """
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    yield _npy_header(arrays[0], shape)
    for array in arrays:
        yield bytes_of(np.asarray(array, order="C"))


def _npy_header(array: AnyArray, shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    outline = np.lib.format.header_data_from_array_1_0(array) | {"shape": shape}
    try:
        np.lib.format.write_array_header_1_0(header, outline)
    except ValueError as error:
        raise InputError(
            "array must have a dtype that fits in 64 KiB of latin-1, found "
            f"{str(array.dtype)[:80]}: {error}; rename its fields, or store them one by one"
        ) from error
    return header.getvalue()


def bytes_of(array: AnyArray) -> Bytes:
    r"""The bytes of an array, not copied.

    Parameters
    ----------
    array : ndarray
        In C order.

    Returns
    -------
    memoryview or bytes

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.files import bytes_of
    >>> bytes(bytes_of(np.array([1, 2], np.uint8)))
    b'\x01\x02'
    """
    if array.size == 0:
        return b""
    return array.reshape(-1).view(np.uint8).data


# ---------------------------------------------------------------------------------- reading


@contextmanager
def open_regular(path: PathLike) -> Iterator[io.BufferedReader]:
    """Open a regular file for reading; everything else, and every failure, is FileFormatError.

    Parameters
    ----------
    path : str or PathLike
        The file, or an address that fsspec opens. Folders, pipes and devices are refused without
        waiting for them.

    Yields
    ------
    io.BufferedReader
        The open file, at its start; closed afterwards.

    Raises
    ------
    FileFormatError
        If there is no such file, it is not a regular file, or the system cannot read it.
    ResourceError
        If the system has no memory to read it.

    Examples
    --------
    >>> from geoquant.files import open_regular
    >>> with open_regular("nowhere.npy") as stream:
    ...     stream.read()
    Traceback (most recent call last):
        ...
    geoquant.errors.FileFormatError: nowhere.npy: no such file
    """
    url = url_of(path)
    if url is not None:
        with _read_errors_name(path), open_url(url) as remote:
            yield remote
        return
    with _read_errors_name(path), _opened(path) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise _not_regular(path)
        yield stream


def stream_size(stream: IO[bytes]) -> int:
    """Bytes in an open file, which stays where it is.

    Examples
    --------
    >>> import io
    >>> from geoquant.files import stream_size
    >>> stream_size(io.BytesIO(b"abc"))
    3
    """
    place = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    return size


def _opened(path: PathLike) -> io.BufferedReader:
    try:
        # The stream opens its descriptor itself, so that none is left where that fails half-way.
        return open(os.fspath(path), "rb", opener=_open_without_waiting)
    except FileNotFoundError as error:
        raise FileFormatError(f"{os.fspath(path)}: no such file") from error
    except IsADirectoryError as error:
        raise _not_regular(path) from error
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{os.fspath(path)!r}: cannot be opened: {error}") from error


def _open_without_waiting(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _not_regular(path: PathLike) -> FileFormatError:
    return FileFormatError(f"{os.fspath(path)}: is not a regular file; name a file on disk")


@contextmanager
def _read_errors_name(path: PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise ResourceError(
                f"{os.fspath(path)}: there is no memory to read it; free some, or take a machine "
                "with more"
            ) from error
        raise FileFormatError(f"{os.fspath(path)}: cannot be read: {error}") from error


def read_json_object(path: PathLike, *, max_bytes: int = MAX_HEADER_BYTES) -> dict[str, Any]:
    """Read a file that holds one JSON object, such as the configuration of a model.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    max_bytes : int, default 1 MiB
        Longest file accepted.

    Returns
    -------
    dict of str to object

    Raises
    ------
    FileFormatError
        If the file is missing, not regular, too long, no strict JSON, repeats a key, or holds
        something else than an object.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.files import read_json_object
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "config.json")
    ...     _ = path.write_text('{"latent_dim": 20}')
    ...     read_json_object(path)
    {'latent_dim': 20}
    """
    with open_regular(path) as stream:
        raw = stream.read(max_bytes + 1)
    if len(raw) > max_bytes:
        raise FileFormatError(f"{os.fspath(path)}: longer than {max_bytes} bytes")
    return json_object(raw, os.fspath(path))


def json_object(raw: bytes, where: str) -> dict[str, Any]:
    """The JSON object that some bytes spell.

    Parameters
    ----------
    raw : bytes
        UTF-8.
    where : str
        What errors call them.

    Returns
    -------
    dict of str to object

    Raises
    ------
    FileFormatError
        If they are no strict JSON, repeat a key, or spell something else than an object.

    Examples
    --------
    >>> from geoquant.files import json_object
    >>> json_object(b'{"latent_dim": 20}', "config.json")
    {'latent_dim': 20}
    """
    try:
        found = strict_json(raw)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where}: is not strict JSON: {error}") from error
    if not isinstance(found, dict):
        raise FileFormatError(f"{where}: must hold a JSON object, found {type(found).__name__}")
    return found


def byte_count(shape: tuple[int, ...], itemsize: int) -> int | None:
    """Bytes of an array, or None where no array can have that shape.

    Parameters
    ----------
    shape : tuple of int
        As a file claims it.
    itemsize : int
        Bytes per element.

    Returns
    -------
    int or None
        None if a length is negative, there are more than 32 of them, or the array would not
        fit in 63 bits of address even with its empty axes left out.

    Examples
    --------
    >>> from geoquant.files import byte_count
    >>> byte_count((3, 2), 4)
    24
    >>> byte_count((1 << 62, 2), 4) is None
    True
    """
    if len(shape) > _MAX_RANK or min(shape, default=0) < 0:
        return None
    if math.prod(length for length in shape if length) * itemsize >= 1 << 63:
        return None
    return math.prod(shape) * itemsize


def strict_json(raw: bytes) -> Any:
    """What bytes spell in JSON, without repeated keys and numbers that JSON does not have.

    Parameters
    ----------
    raw : bytes
        UTF-8.

    Returns
    -------
    object

    Raises
    ------
    ValueError, RecursionError
        If they are something else.

    Examples
    --------
    >>> from geoquant.files import strict_json
    >>> strict_json(b"[1, true]")
    [1, True]
    """
    return json.loads(
        raw.decode(), object_pairs_hook=_unique_pairs, parse_constant=_refuse_constant
    )


def _unique_pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a key is repeated")
    return unique


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")
