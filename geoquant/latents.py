"""Latents from files and arrays: reading them and checking them."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import refuse_masked
from geoquant.default_floats import default_floats
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.files import (
    MAX_HEADER_BYTES,
    byte_count,
    open_regular,
    read_safetensors,
    safetensors_names,
    safetensors_shapes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AnyArray: TypeAlias = npt.NDArray[Any]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
PathLike: TypeAlias = str | os.PathLike[str]

#: Largest array that is unpacked from an ``.npz`` file, in bytes.
MAX_NPZ_BYTES = 16 << 30
# Real latents hardly compress; an archive beyond both of these is a bomb or a mistake.
_HARMLESS_BYTES = 16 << 20
_MAX_RATIO = 100
# Files of many tensors (whole models) have longer headers than a codebook.
_MAX_LATENTS_HEADER = 100_000_000
_MAX_NPY_HEADER = 10_000
_ZIP64_ENDS = 76  # bytes of the records of 64 bits before the last of an archive
_MAX_MAGNITUDE = 1e18
_SHOWN_ROWS = 5
_BLOCK_ROWS = 8192

_NPY_ENTRY = (
    r"""(['"])(descr|fortran_order|shape)\1\s*:\s*"""
    r"""(['"][^'"]*['"]|True|False|\(\s*(?:\d+\s*,\s*)*(?:\d+\s*)?\))"""
)
_NPY_HEADER = re.compile(rf"\{{\s*(?:{_NPY_ENTRY.replace(chr(92) + '1', '.')}\s*,?\s*){{3}}\}}\s*")


class _NpyHeader(NamedTuple):
    """What the header of an ``.npy`` file says, and how many bytes it takes itself."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    n_header_bytes: int
    n_data_bytes: int


# ----------------------------------------------------------------------------------- arrays


def check_latents(latents: object, *, name: str = "latents") -> Float32Array:
    """Latents as a float32 array in C order, or an error that says how to get one.

    Parameters
    ----------
    latents : array_like, shape (n, d), n > 0, d > 0
        Floats or integers of at most 64 bits, in any memory layout and byte order; also lists
        and whatever NumPy can view as an array, such as CPU tensors. Never written to.
        Numbers that float32 cannot hold exactly are rounded to the nearest it can.
    name : str, default "latents"
        What error messages call the argument.

    Returns
    -------
    ndarray of float32, shape (n, d), C order
        The input itself, not copied, where it is such an array already.

    Raises
    ------
    InputError
        If the array is not two-dimensional, empty, not real numbers, masked, sparse, not
        finite, or so large that squared distances overflow float32.

    Examples
    --------
    >>> from geoquant.latents import check_latents
    >>> check_latents([[1, 2], [3, 4]])
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    given = as_array(latents, name)
    _check_dtype(given.dtype, name)
    _check_shape(given, name)
    with default_floats(), np.errstate(over="ignore", invalid="ignore"):
        checked = np.require(given, np.float32, ["C_CONTIGUOUS", "ALIGNED"])
        low, high = float(checked.min()), float(checked.max())
    limit = _largest_magnitude(checked.shape[1])
    # Written so that NaN, which min and max pass on, fails the test.
    if not (-limit <= low and high <= limit):
        _raise_for_bad_rows(given, limit, name)
    return checked


def as_array(values: object, name: str) -> AnyArray:
    """Whatever NumPy can view as an array, as one, or an error that says how to get one.

    Parameters
    ----------
    values : array_like
        Not sparse, without masked entries.
    name : str
        What error messages call the argument.

    Returns
    -------
    ndarray
        Of any shape and dtype; the memory of `values` where that is possible.

    Raises
    ------
    InputError
        If there is no such array.

    Examples
    --------
    >>> from geoquant.latents import as_array
    >>> as_array([[1, 2]], "pairs").shape
    (1, 2)
    """
    if hasattr(values, "tocsr"):
        raise InputError(
            f"{name} must be a dense array, found the sparse {type(values).__name__}; "
            f"convert it with {name}.toarray()"
        )
    refuse_masked(values, name)
    try:
        return np.asarray(values)
    except MemoryError:
        raise
    except Exception as error:  # whatever the object's own conversion raises
        raise InputError(
            f"{name} must be convertible to a NumPy array, found {type(values).__name__}: "
            f"{error}; give rows of equal length, or tensor.detach().cpu().float().numpy()"
        ) from error


def _check_dtype(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise InputError(
            f"{name} must hold real numbers (float16, float32, float64 or integers), found dtype "
            f"{dtype}; convert it, for instance with {name}.astype(np.float32)"
        )


def _check_shape(array: AnyArray, name: str) -> None:
    if array.ndim == 1:
        cure = f"use {name}.reshape(-1, 1) for latents of one number each, or "
        cure += f"{name}.reshape(1, -1) for a single latent"
    elif array.ndim != 2:
        cure = f"use {name}.reshape(len({name}), -1), or move the channels last and give every "
        cure += "site of a spatial latent as its own row"
    elif 0 in array.shape:
        cure = "give at least one latent of at least one number"
    else:
        return
    raise InputError(f"{name} must have shape (n, d), n > 0, d > 0, found {array.shape}; {cure}")


def _largest_magnitude(dim: int) -> float:
    """Bound on the entries under which no squared distance overflows float32."""
    # |x|^2 + |y|^2 + 2|xy| is at most 4 d m^2; half of the range is left for rounding.
    return min(_MAX_MAGNITUDE, float(np.sqrt(np.finfo(np.float32).max / (8.0 * dim))))


def _raise_for_bad_rows(array: AnyArray, limit: float, name: str) -> None:
    not_finite = _rows_where(array, lambda block: ~np.isfinite(block))
    if not_finite.size:
        raise InputError(
            f"{name} must be finite, found NaN or infinity in {not_finite.size} of {len(array)} "
            f"rows ({_first(not_finite)}); drop them with "
            f"{name}[np.isfinite({name}).all(axis=1)], or fix what produced them"
        )
    too_large = _rows_where(array, lambda block: np.abs(block.astype(np.float64)) > limit)
    raise InputError(
        f"{name} must not exceed {limit:.3g} in magnitude, so that squared distances fit in "
        f"float32, found more in {too_large.size} of {len(array)} rows ({_first(too_large)}); "
        f"rescale it, for instance {name} / np.abs({name}).max()"
    )


def _rows_where(array: AnyArray, test: Callable[[AnyArray], AnyArray]) -> npt.NDArray[np.intp]:
    bad = [
        start + np.flatnonzero(test(array[start : start + _BLOCK_ROWS]).any(axis=1))
        for start in range(0, len(array), _BLOCK_ROWS)
    ]
    return np.concatenate(bad)


def _first(rows: npt.NDArray[np.intp]) -> str:
    shown = ", ".join(str(row) for row in rows[:_SHOWN_ROWS])
    return f"row {shown}" if rows.size == 1 else f"the first: {shown}"


def check_sample_weight(sample_weight: object, n: int) -> Float64Array:
    """Weights of n latents as float64, or an error that says how to get them.

    Parameters
    ----------
    sample_weight : array_like, shape (n,), or None
        Finite, not negative, not all zero; None means that every weight is 1.
    n : int
        Number of latents.

    Returns
    -------
    ndarray of float64, shape (n,)
        The input itself, not copied, where it is such an array already.

    Raises
    ------
    InputError
        If the weights have another shape, are no real numbers, or are negative, not finite, all
        zero or of infinite sum.

    Examples
    --------
    >>> from geoquant.latents import check_sample_weight
    >>> check_sample_weight([2, 0], 2)
    array([2., 0.])
    """
    if sample_weight is None:
        return np.ones(n, dtype=np.float64)
    given = as_array(sample_weight, "sample_weight")
    if given.dtype.kind not in "fiub":
        raise InputError(f"sample_weight must hold real numbers, found dtype {given.dtype}")
    if given.shape != (n,):
        raise InputError(
            f"sample_weight must have one weight per latent, shape ({n},), found {given.shape}"
        )
    weight = np.require(given, np.float64, ["C_CONTIGUOUS", "ALIGNED"])
    bad = np.flatnonzero(~((weight >= 0) & (weight < np.inf)))
    if bad.size:
        raise InputError(
            f"sample_weight must be finite and not negative, found {weight[bad[0]]} and "
            f"{bad.size - 1} more such weights ({_first(bad)}); use 0 to leave a latent out"
        )
    with np.errstate(over="ignore"):
        total = float(weight.sum())
    if not 0 < total < np.inf:
        raise InputError(
            "sample_weight must have a positive, finite sum, found "
            + ("weights that are all zero" if total == 0 else str(total))
        )
    return weight


# ------------------------------------------------------------------------------------ files


def read_latents(path: PathLike, key: str | None = None, *, mapped: bool = True) -> AnyArray:
    """Read an array of latents from ``.npy``, ``.npz`` or ``.safetensors``.

    Nothing in a file is believed before it agrees with the file's size, and nothing in it is
    executed: pickled content is refused. The array still has to pass :func:`check_latents`.

    Parameters
    ----------
    path : str or PathLike
        A regular file with one of the three suffixes.
    key : str, optional
        Name of the array in an ``.npz`` or ``.safetensors`` file that holds several.
    mapped : bool, default True
        Whether an ``.npy`` file is memory-mapped rather than read.

    Returns
    -------
    ndarray of any shape and dtype
        As stored. A mapped array is read-only, and its file must stay as it is while it is in
        use: if it becomes shorter, the system ends the process (SIGBUS).

    Raises
    ------
    FileFormatError
        If the file is missing, of another kind, damaged, or `key` does not name an array in it.
    ResourceError
        If memory does not suffice.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.latents import read_latents
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.zeros((3, 2), dtype=np.float32))
    ...     read_latents(path).shape
    (3, 2)
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".npy":
        return _read_npy(path, key, mapped=mapped)
    if suffix == ".npz":
        return _read_npz(path, key)
    if suffix == ".safetensors":
        return _read_one_tensor(path, key)
    cure = "save them with numpy.save(path, latents)"
    if suffix in (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin"):
        cure = "such files can run code when opened; load it where you trust it and "
        cure += "numpy.save(path, tensor.detach().cpu().float().numpy())"
    raise FileFormatError(
        f"{os.fspath(path)}: latents are read from .npy, .npz and .safetensors files, found "
        f"suffix {suffix!r}; {cure}"
    )


def latents_shape(path: PathLike, key: str | None = None) -> tuple[int, ...]:
    """Shape of the array that :func:`read_latents` would read, from the header of its file.

    Parameters
    ----------
    path, key
        As for :func:`read_latents`.

    Returns
    -------
    tuple of int

    Raises
    ------
    FileFormatError
        As :func:`read_latents`.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from geoquant.files import write_npy
    >>> from geoquant.latents import latents_shape
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "latents.npy")
    ...     write_npy(path, np.zeros((3, 2), dtype=np.float32))
    ...     latents_shape(path)
    (3, 2)
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".safetensors":
        shapes = safetensors_shapes(path, max_header_bytes=_MAX_LATENTS_HEADER)
        return shapes[_chosen(list(shapes), key, path)]
    if suffix == ".npz":
        with _npz_member(path, key) as (unpacked, size, where):
            return _read_npy_header(unpacked, size, where).shape
    return read_latents(path, key).shape  # mapped, not read, or an error


def _read_one_tensor(path: PathLike, key: str | None) -> AnyArray:
    names = safetensors_names(path, max_header_bytes=_MAX_LATENTS_HEADER)
    name = _chosen(names, key, path)
    return read_safetensors(path, names=[name], max_header_bytes=_MAX_LATENTS_HEADER)[0][name]


def _chosen(names: list[str], key: str | None, path: PathLike) -> str:
    """The array to read, of those there are."""
    if key is None and len(names) == 1:
        return names[0]
    if key is not None and key in names:
        return key
    listed = ", ".join(repr(name) for name in sorted(names)[:20]) or "none"
    listed += ", ..." if len(names) > 20 else ""
    wanted = "there is not exactly one array" if key is None else f"there is no array {key!r}"
    raise FileFormatError(f"{os.fspath(path)}: {wanted}; choose one with key=: {listed}")


def _read_npy(path: PathLike, key: str | None, *, mapped: bool) -> AnyArray:
    if key is not None:
        raise FileFormatError(
            f"{os.fspath(path)}: an .npy file holds one array without a name, found key={key!r}; "
            "leave key out"
        )
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if not mapped:
            return _read_array(stream, size, os.fspath(path))
        header = _read_npy_header(stream, size, os.fspath(path))
        if header.n_data_bytes == 0:
            return np.empty(header.shape, dtype=header.dtype)
        return np.memmap(
            stream,
            dtype=header.dtype,
            mode="r",
            offset=header.n_header_bytes,
            shape=header.shape,
            order="F" if header.fortran_order else "C",
        )


def _read_npy_header(stream: IO[bytes], size: int, where: str) -> _NpyHeader:
    """Parse an ``.npy`` header without evaluating it, and hold it against the bytes there are."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY":
        raise FileFormatError(
            f"{where}: is no .npy file, it starts with {start[:6]!r}; save latents with "
            "numpy.save(path, latents)"
        )
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(start[6:])
    if width is None:
        raise _not_plain(where, f"format version {'.'.join(str(part) for part in start[6:])}")
    length = int.from_bytes(stream.read(width), "little")
    if length > _MAX_NPY_HEADER:
        raise _not_plain(where, f"a header of {length} bytes")
    dtype, fortran_order, shape = _parse_npy_header(stream.read(length).decode("latin1"), where)
    n_data_bytes = byte_count(shape, dtype.itemsize)
    if n_data_bytes is None or 8 + width + length + n_data_bytes != size:
        raise FileFormatError(
            f"{where}: an array of shape {shape} and dtype {dtype} needs "
            f"{n_data_bytes} bytes after the header, found {size - 8 - width - length}; the file "
            "is cut short or damaged: copy it again from its source, or save it anew"
        )
    return _NpyHeader(dtype, fortran_order, shape, 8 + width + length, n_data_bytes)


def _parse_npy_header(text: str, where: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    entries = {match[2]: match[3] for match in re.finditer(_NPY_ENTRY, text)}
    if not _NPY_HEADER.fullmatch(text) or len(entries) != 3:
        raise _not_plain(where, f"the header {text[:80]!r}")
    kind = re.fullmatch(r"['\"]([<>|=]?[biufc]\d{1,2})['\"]", entries["descr"])
    shape = re.fullmatch(r"\(([^()]*)\)", entries["shape"])
    if not kind or not shape or entries["fortran_order"] not in ("True", "False"):
        raise _not_plain(where, f"the header {text[:80]!r}")
    try:
        dtype: np.dtype[Any] = np.dtype(kind[1])
        lengths = tuple(int(length) for length in shape[1].split(",") if length.strip())
    except (TypeError, ValueError) as error:
        raise _not_plain(where, f"the header {text[:80]!r}") from error
    return dtype, entries["fortran_order"] == "True", lengths


def _not_plain(where: str, found: str) -> FileFormatError:
    return FileFormatError(
        f"{where}: is not the .npy file of a plain array of numbers, found {found}; structured "
        "arrays and pickled Python objects are not read: save with "
        "numpy.save(path, latents.astype(numpy.float32))"
    )


def _read_npz(path: PathLike, key: str | None) -> AnyArray:
    with _npz_member(path, key) as (unpacked, size, where):
        return _read_array(unpacked, size, where)


@contextmanager
def _npz_member(path: PathLike, key: str | None) -> Iterator[tuple[IO[bytes], int, str]]:
    """The chosen array of an archive as a stream, its size, and what to call it in errors."""
    with open_regular(path) as stream, _zip_errors_name(path):
        size = _check_zip_ends(stream, path)
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) != len(names):
                raise FileFormatError(f"{os.fspath(path)}: names of arrays are repeated")
            name = _chosen(names, key, path)
            member = members[names.index(name)]
            _check_member(member, size, path)
            with archive.open(member) as unpacked:
                yield unpacked, member.file_size, f"{os.fspath(path)}[{name!r}]"


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
    elif member.file_size > MAX_NPZ_BYTES:
        found = f"unpacks to {member.file_size} bytes, the limit is {MAX_NPZ_BYTES}"
    elif member.file_size > max(_HARMLESS_BYTES, _MAX_RATIO * member.compress_size):
        found = f"unpacks from {member.compress_size} to {member.file_size} bytes, like a bomb"
    else:
        return
    raise FileFormatError(f"{os.fspath(path)}: member {member.filename!r} {found}; {cure}")


def _read_array(stream: IO[bytes], size: int, where: str) -> AnyArray:
    header = _read_npy_header(stream, size, where)
    try:
        flat = np.empty(header.n_data_bytes, dtype=np.uint8)
    except MemoryError as error:
        raise ResourceError(f"{where}: there is no memory for {size} bytes") from error
    done = 0
    while block := stream.read(1 << 20):
        if done + len(block) > len(flat):
            raise FileFormatError(f"{where}: holds more than its {size} bytes")
        flat[done : done + len(block)] = np.frombuffer(block, dtype=np.uint8)
        done += len(block)
    if done != len(flat):
        raise FileFormatError(f"{where}: is cut short; copy it again, or save it anew")
    array = flat.view(header.dtype)
    return (
        array.reshape(header.shape[::-1]).T if header.fortran_order else array.reshape(header.shape)
    )
