"""``.npz`` archives: one member is unpacked, after its claims were held against the file."""

from __future__ import annotations

import os
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from geoquant.errors import FileFormatError, ResourceError
from geoquant.files import MAX_HEADER_BYTES, open_regular
from geoquant.formats.npy import stored_npy
from geoquant.formats.stored import PathLike, Stored, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Largest array that is unpacked from an archive, in bytes.
MAX_UNPACKED_BYTES = 16 << 30
# Real latents hardly compress; an archive beyond both of these is a bomb or a mistake.
_HARMLESS_BYTES = 16 << 20
_MAX_RATIO = 100
_ZIP64_ENDS = 76  # bytes of the records of 64 bits before the last of an archive


@contextmanager
def open_npz(path: PathLike, key: str | None = None) -> Iterator[Stored]:
    """Open an array of an ``.npz`` archive.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    key : str, optional
        Name of the array, where there are several.

    Yields
    ------
    Stored

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind, damaged or like a bomb, or has no such array.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.formats.npz import open_npz
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npz")
    ...     np.savez(path, z=np.zeros((3, 2)))
    ...     with open_npz(path) as stored:
    ...         stored.shape
    (3, 2)
    """
    with open_regular(path) as stream, _zip_errors_name(path):
        size = _check_zip_ends(stream, path)
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) != len(names):
                raise FileFormatError(f"{os.fspath(path)}: names of arrays are repeated")
            name = chosen(names, key, path)
            member = members[names.index(name)]
            _check_member(member, size, path)
            with archive.open(member) as unpacked:
                where = f"{os.fspath(path)}[{name!r}]"
                yield stored_npy(unpacked, member.file_size, where)


@contextmanager
def _zip_errors_name(path: PathLike) -> Iterator[None]:
    """Turn what the zip modules raise on damaged archives into FileFormatError."""
    try:
        yield
    except (FileFormatError, ResourceError):
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:
        raise FileFormatError(
            f"{os.fspath(path)}: is not a readable .npz archive: {error}; copy it again from its "
            "source, or save it anew with numpy.savez"
        ) from error


def _check_zip_ends(stream: IO[bytes], path: PathLike) -> int:
    """Require that the archive is the whole file, and return its size."""
    head = stream.read(4)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _ZIP64_ENDS - 22))
    ends = stream.read()
    tail = ends[-22:]
    if head != b"PK\x03\x04" or tail[:4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        raise FileFormatError(
            f"{os.fspath(path)}: is not an .npz archive and nothing else (cut short, or with "
            "other bytes before or after it); save it anew with numpy.savez"
        )
    index_size = int.from_bytes(tail[12:16], "little")
    if ends[-42:-38] == b"PK\x06\x07":  # the sizes of 64 bits, which count where they are
        index_size = max(index_size, int.from_bytes(ends[-58:-50], "little"))
    if index_size > MAX_HEADER_BYTES:
        raise FileFormatError(
            f"{os.fspath(path)}: its list of arrays takes {index_size} bytes, the limit is "
            f"{MAX_HEADER_BYTES}; save the one of the latents by itself with numpy.save"
        )
    return size


def _check_member(member: zipfile.ZipInfo, size: int, path: PathLike) -> None:
    cure = "unpack it yourself if you trust it, and give the .npy file, which is not unpacked"
    if not member.filename.endswith(".npy"):
        found = "is not an .npy file"
    elif member.flag_bits & 0x1:
        found = "is encrypted"
    elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"is compressed by method {member.compress_type}, which numpy does not write"
    elif member.compress_size > size:
        found = f"claims {member.compress_size} bytes of a file of {size}"
    elif member.file_size > MAX_UNPACKED_BYTES:
        found = f"unpacks to {member.file_size} bytes, the limit is {MAX_UNPACKED_BYTES}"
    elif member.file_size > max(_HARMLESS_BYTES, _MAX_RATIO * member.compress_size):
        found = f"unpacks from {member.compress_size} to {member.file_size} bytes, like a bomb"
    else:
        return
    raise FileFormatError(f"{os.fspath(path)}: member {member.filename!r} {found}; {cure}")
