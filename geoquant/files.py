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
import struct
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import refuse_masked
from geoquant.errors import FileFormatError, InputError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

AnyArray: TypeAlias = npt.NDArray[Any]
Bytes: TypeAlias = bytes | bytearray | memoryview
PathLike: TypeAlias = str | os.PathLike[str]

#: Longest JSON header that is read or written unless the caller allows more.
MAX_HEADER_BYTES = 1 << 20
#: The key under which :func:`content_hash` is kept in a file's metadata.
HASH_KEY = "content_sha256"

# Some systems refuse a single write of 2 GiB or more.
_WRITE_BYTES = 64 << 20
_MAX_RANK = 32
_METADATA = "__metadata__"
# Tells this process from a dead one that had the same process id, as happens in containers.
_PROCESS = secrets.token_hex(4)
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


class _Tensor(NamedTuple):
    """What a safetensors header says about one array; offsets count from the header's end."""

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


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
    header = io.BytesIO()
    outline = np.lib.format.header_data_from_array_1_0(array)
    try:
        np.lib.format.write_array_header_1_0(header, outline)
    except ValueError as error:
        raise InputError(
            "array must have a dtype that fits in 64 KiB of latin-1, found "
            f"{str(array.dtype)[:80]}: {error}; rename its fields, or store them one by one"
        ) from error
    return header.getvalue(), _bytes_of(array)


def _bytes_of(array: AnyArray) -> Bytes:
    """The bytes of a C-ordered array, not copied."""
    if array.size == 0:
        return b""
    return array.reshape(-1).view(np.uint8).data


def write_safetensors(
    path: PathLike, arrays: Mapping[str, AnyArray], metadata: Mapping[str, str]
) -> None:
    """Write named arrays as ``.safetensors``, whole or not at all.

    The bytes depend on the names, arrays and metadata alone, not on their order.

    Parameters
    ----------
    path : str or PathLike
        The file to write; see :func:`write_atomically`.
    arrays : mapping of str to ndarray
        Boolean, integer or floating arrays of at most 64 bits per element, any shape.
    metadata : mapping of str to str
        Free text kept in the header.

    Raises
    ------
    InputError
        If an array's dtype has no place in the format, a name or text is not a string, or the
        header would be longer than the reader accepts (1 MiB).
    ResourceError, OSError
        As :func:`write_atomically`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import read_safetensors, write_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "codes.safetensors")
    ...     write_safetensors(path, {"codes": np.array([0, 2], dtype=np.int32)}, {"by": "me"})
    ...     read_safetensors(path)
    ({'codes': array([0, 2], dtype=int32)}, {'by': 'me'})
    """
    write_atomically(path, safetensors_blocks(arrays, metadata))


def safetensors_blocks(
    arrays: Mapping[str, AnyArray], metadata: Mapping[str, str]
) -> Iterator[Bytes]:
    """The content of a ``.safetensors`` file, in blocks.

    Parameters
    ----------
    arrays, metadata
        As for `write_safetensors`.

    Returns
    -------
    iterator of bytes-like
        Header, then the data of each array.

    Raises
    ------
    InputError
        As `write_safetensors`, at once.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.files import safetensors_blocks
    >>> [len(block) for block in safetensors_blocks({"a": np.zeros(4, np.int32)}, {})]
    [64, 16]
    """
    stored = _as_stored(arrays)
    texts = _checked_metadata(metadata)
    shapes = {name: (_CODES[array.dtype], array.shape) for name, array in stored.items()}
    try:
        header = _header_bytes(shapes, texts)
    except UnicodeEncodeError as error:
        raise InputError(f"names and metadata must be valid Unicode text: {error}") from error
    if len(header) > MAX_HEADER_BYTES:
        raise InputError(
            f"names and metadata take {len(header)} bytes, the limit is {MAX_HEADER_BYTES}; "
            "store less metadata"
        )
    data = (_bytes_of(stored[name]) for name in _data_order(shapes))
    return _chain(struct.pack("<Q", len(header)) + header, data)


def _chain(first: Bytes, rest: Iterable[Bytes]) -> Iterator[Bytes]:
    yield first
    yield from rest


def content_hash(arrays: Mapping[str, AnyArray], metadata: Mapping[str, str]) -> str:
    """SHA-256 of named arrays and their metadata, without the hash itself.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As for :func:`write_safetensors`.
    metadata : mapping of str to str
        The entry ``content_sha256`` is left out of the sum.

    Returns
    -------
    str
        64 hexadecimal digits that depend on names, dtypes, shapes, values and metadata, and not
        on order, memory layout or byte order.

    Raises
    ------
    InputError
        As :func:`write_safetensors`.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.files import content_hash
    >>> little = content_hash({"a": np.arange(3, dtype="<i4")}, {})
    >>> len(little), little == content_hash({"a": np.arange(3, dtype=">i4")}, {})
    (64, True)
    """
    stored = _as_stored(arrays)
    texts = _checked_metadata(metadata)
    texts.pop(HASH_KEY, None)
    names = sorted(stored)
    outline = [[name, _CODES[stored[name].dtype], list(stored[name].shape)] for name in names]
    # The outline fixes how many bytes each array has, so the sum has one reading only.
    digest = hashlib.sha256(json.dumps([outline, texts], sort_keys=True).encode())
    for name in names:
        digest.update(_bytes_of(stored[name]))
    return digest.hexdigest()


def _as_stored(arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """The arrays in C order and little-endian, copied only where they are not."""
    stored = {}
    for name, array in arrays.items():
        if name == _METADATA:
            raise InputError(f"arrays must not be named {_METADATA!r}; rename it")
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _CODES:
            raise InputError(
                f"arrays[{name!r}] must have one of the dtypes {', '.join(_DTYPES)}, found "
                f"{array.dtype}; convert it with astype(...)"
            )
        stored[name] = np.asarray(array, dtype=dtype, order="C")
    return stored


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not all(isinstance(text, str) for text in (*metadata, *metadata.values())):
        raise InputError(f"metadata must map strings to strings, found {metadata!r}")
    return dict(metadata)


def _data_order(shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    """Widest elements first, so that every array starts at a multiple of its element size."""
    return sorted(shapes, key=lambda name: (-_DTYPES[shapes[name][0]].itemsize, name))


def _header_bytes(
    shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """The one header that this module writes for the given arrays and metadata."""
    header: dict[str, object] = {}
    if metadata:
        header[_METADATA] = {key: metadata[key] for key in sorted(metadata)}
    end = 0
    for name in _data_order(shapes):
        code, shape = shapes[name]
        begin, end = end, end + math.prod(shape) * _DTYPES[code].itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)


# ---------------------------------------------------------------------------------- reading


@contextmanager
def open_regular(path: PathLike) -> Iterator[io.BufferedReader]:
    """Open a regular file for reading; everything else, and every failure, is FileFormatError.

    Parameters
    ----------
    path : str or PathLike
        The file. Folders, pipes and devices are refused without waiting for them.

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
    with _read_errors_name(path), _opened(path) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise _not_regular(path)
        yield stream


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
        found = _strict_json(raw)
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


def read_safetensors(
    path: PathLike,
    *,
    names: Collection[str] | None = None,
    max_header_bytes: int = MAX_HEADER_BYTES,
    canonical: bool = False,
) -> tuple[dict[str, AnyArray], dict[str, str]]:
    r"""Read a ``.safetensors`` file, refusing every irregularity before memory is asked for.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    names : collection of str, optional
        The arrays to read; the others are checked but skipped. Default: all.
    max_header_bytes : int, default 1 MiB
        Longest header accepted.
    canonical : bool, default False
        Whether the header must also be, byte for byte, what :func:`write_safetensors` writes.
        Together with :func:`content_hash` this leaves one file per content, so that no change
        of the file goes unnoticed.

    Returns
    -------
    arrays : dict of str to ndarray
        In the order of the file; each owns its memory.
    metadata : dict of str to str
        Empty if the file has none.

    Raises
    ------
    FileFormatError
        If the file is missing, not regular, cut short, longer than its header says, or its
        header is too long, repeats a key, or disagrees with itself or with the file's size.
    ResourceError
        If memory does not suffice for the arrays.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoquant.files import read_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "empty.safetensors")
    ...     _ = path.write_bytes(b"\x02" + bytes(7) + b"{}")
    ...     read_safetensors(path)
    ({}, {})
    """
    with open_regular(path) as stream:
        tensors, metadata, raw = _read_header(stream, path, max_header_bytes)
        if canonical:
            _check_canonical(raw, tensors, metadata, path)
        start = stream.tell()
        wanted = [name for name in tensors if names is None or name in names]
        arrays = {name: _read_tensor(stream, start, tensors[name], path) for name in wanted}
    return arrays, metadata


def safetensors_outlines(
    path: PathLike, *, max_header_bytes: int = MAX_HEADER_BYTES
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    r"""Shapes and dtypes of the arrays in a ``.safetensors`` file, without reading the arrays.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    max_header_bytes : int, default 1 MiB
        Longest header accepted.

    Returns
    -------
    dict of str to (tuple of int, dtype)
        In the order of the file.

    Raises
    ------
    FileFormatError
        As :func:`read_safetensors`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import safetensors_outlines, write_safetensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.safetensors")
    ...     write_safetensors(path, {"z": np.zeros((3, 2))}, {})
    ...     safetensors_outlines(path)
    {'z': ((3, 2), dtype('float64'))}
    """
    with open_regular(path) as stream:
        tensors = _read_header(stream, path, max_header_bytes)[0]
    return {name: (tensor.shape, _DTYPES[tensor.code]) for name, tensor in tensors.items()}


def _read_header(
    stream: io.BufferedReader, path: PathLike, max_header_bytes: int
) -> tuple[dict[str, _Tensor], dict[str, str], bytes]:
    size = os.fstat(stream.fileno()).st_size
    start = stream.read(8)
    if len(start) < 8:
        raise _damaged(path, f"{size} bytes are too few for a header")
    (length,) = struct.unpack("<Q", start)
    if length > min(max_header_bytes, size - 8):
        raise _damaged(
            path,
            f"it claims a header of {length} bytes in a file of {size}, where at most "
            f"{max_header_bytes} are accepted",
        )
    raw = stream.read(length)
    tensors, metadata = _parse_header(raw, path)
    _check_offsets(tensors, size - 8 - length, path)
    return tensors, metadata, raw


def _parse_header(raw: bytes, path: PathLike) -> tuple[dict[str, _Tensor], dict[str, str]]:
    if not raw.startswith(b"{"):
        raise _damaged(path, f"the header must start with '{{', found {raw[:8]!r}")
    try:
        header = _strict_json(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"the header is not strict JSON: {error}") from error
    metadata = header.pop(_METADATA, {})
    if not _is_text_map(metadata):
        raise _damaged(path, "the metadata must map strings to strings")
    parsed = {name: _parse_tensor(name, entry, path) for name, entry in header.items()}
    in_order = sorted(parsed, key=lambda name: (parsed[name].begin, parsed[name].end))
    return {name: parsed[name] for name in in_order}, metadata


def _strict_json(raw: bytes) -> Any:
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


def _is_text_map(metadata: object) -> bool:
    return isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())


def _parse_tensor(name: str, entry: object, path: PathLike) -> _Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"tensor {name!r} must have dtype, shape and data_offsets only")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in _DTYPES:
        raise FileFormatError(
            f"{os.fspath(path)}: tensor {name!r} has dtype {code!r}, which NumPy has no equal of; "
            f"the dtypes {', '.join(_DTYPES)} can be read: convert it, for instance to F32, and "
            "save again"
        )
    if not _is_int_list(shape) or not _is_int_list(offsets) or len(offsets) != 2:
        raise _damaged(path, f"tensor {name!r} has shape {shape!r} and offsets {offsets!r}")
    tensor = _Tensor(code, tuple(shape), offsets[0], offsets[1])
    if byte_count(tensor.shape, _DTYPES[code].itemsize) != tensor.end - tensor.begin:
        raise _damaged(
            path,
            f"tensor {name!r} of dtype {code} and shape {shape!r} does not fill its bytes "
            f"{offsets!r}",
        )
    return tensor


def _is_int_list(numbers: object) -> bool:
    return isinstance(numbers, list) and all(type(number) is int for number in numbers)


def _check_offsets(tensors: Mapping[str, _Tensor], n_bytes: int, path: PathLike) -> None:
    """Require that the tensors, in order, fill the bytes after the header exactly."""
    end = 0
    for name, tensor in tensors.items():
        if tensor.begin != end:
            raise _damaged(path, f"tensor {name!r} starts at {tensor.begin}, expected {end}")
        end = tensor.end
    if end != n_bytes:
        raise _damaged(path, f"the header describes {end} bytes of data, the file holds {n_bytes}")


def _check_canonical(
    raw: bytes, tensors: Mapping[str, _Tensor], metadata: Mapping[str, str], path: PathLike
) -> None:
    shapes = {name: (tensor.code, tensor.shape) for name, tensor in tensors.items()}
    try:
        expected = _header_bytes(shapes, metadata)
    except UnicodeEncodeError:
        expected = b""
    if raw != expected:
        raise _damaged(path, "its header is not written the way geoquant writes it")


def _read_tensor(
    stream: io.BufferedReader, start: int, tensor: _Tensor, path: PathLike
) -> AnyArray:
    try:
        array = np.empty(tensor.shape, dtype=_DTYPES[tensor.code])
    except MemoryError as error:
        raise ResourceError(
            f"{os.fspath(path)}: there is no memory for {tensor.end - tensor.begin} bytes"
        ) from error
    stream.seek(start + tensor.begin)
    if array.size and stream.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
        raise _damaged(path, "it became shorter while it was read")
    if tensor.code == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise _damaged(path, "a truth value is neither 0 nor 1")
    return array


def _damaged(path: PathLike, found: str) -> FileFormatError:
    return FileFormatError(
        f"{os.fspath(path)}: {found}; the file is damaged or of another kind: copy it again from "
        "its source, or write it anew"
    )
