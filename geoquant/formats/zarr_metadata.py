"""What the metadata of a Zarr array says, of versions 2 and 3 of the format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoquant.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What packs bytes and is unpacked, by the name that version 3 has for it; zlib and lz4 are
#: of version 2 only.
BYTE_CODECS = ("gzip", "zlib", "zstd", "blosc", "lz4", "crc32c")
_NUMBER = re.compile(r"(?:float(?:16|32|64)|u?int(?:8|16|32|64))")
_NUMBER_2 = re.compile(r"[<>|](?:f[248]|[iu][1248])")
_FLOATS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
_MAX_RANK = 32


class Packing(NamedTuple):
    """How a chunk becomes bytes: its shape, the order of its axes, and what packs it."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    dtype: np.dtype[Any]  # in the byte order of the file
    codecs: tuple[str, ...]


class Index(NamedTuple):
    """How a shard lists the chunks in it."""

    at_end: bool
    has_checksum: bool


class Layout(NamedTuple):
    """An array as its metadata describes it."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    fill: Any  # a number of the dtype
    packing: Packing
    shard: Index | None  # where chunks are shards that hold smaller chunks
    key_start: str
    key_separator: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers, as in the file."""
        return self.packing.dtype

    def chunk_key(self, place: tuple[int, ...]) -> str:
        """Name of the chunk at a place of the grid."""
        numbers = self.key_separator.join(map(str, place))
        if not place:
            return self.key_start or "0"
        return self.key_start + (self.key_separator if self.key_start else "") + numbers


def layout_of(metadata: dict[str, Any], where: str) -> Layout:
    """Check the metadata of an array, and say how it is stored.

    Parameters
    ----------
    metadata : dict
        What ``.zarray`` or ``zarr.json`` holds.
    where : str
        What errors call the array.

    Returns
    -------
    Layout

    Raises
    ------
    FileFormatError
        If the metadata is not that of an array of numbers, or a codec is not known.

    Examples
    --------
    >>> from geoquant.formats.zarr_metadata import layout_of
    >>> metadata = {"zarr_format": 2, "shape": [5], "chunks": [2], "dtype": "<f4"}
    >>> metadata |= {"compressor": None, "fill_value": 0, "filters": None, "order": "C"}
    >>> layout_of(metadata, "latents.zarr").chunk_key((1,))
    '1'
    """
    version = metadata.get("zarr_format")
    try:
        if version == 2:
            return _layout_2(metadata)
        if version == 3:
            return _layout_3(metadata)
        raise ValueError(f"format version {version!r} is not known")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        found = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise FileFormatError(
            f"{where}: is no readable Zarr array: {found[:200]}; write it anew with zarr, as "
            "floats, with the codecs zstd, gzip or blosc"
        ) from error


def _layout_2(metadata: dict[str, Any]) -> Layout:
    shape, chunk = _lengths(metadata["shape"], 0), _lengths(metadata["chunks"], 1)
    kind, compressor = metadata["dtype"], metadata["compressor"]
    if not isinstance(kind, str) or not _NUMBER_2.fullmatch(kind):
        raise ValueError(f"dtype {str(kind)[:40]!r} is not one of numbers")
    if metadata.get("filters"):
        raise ValueError("filters, which could run code, are not undone")
    codecs = () if compressor is None else (_known_codec(compressor["id"]),)
    axes = tuple(range(len(chunk)))
    if metadata["order"] not in ("C", "F"):
        raise ValueError(f"order {metadata['order']!r} is neither C nor F")
    axes = axes[::-1] if metadata["order"] == "F" else axes
    dtype = np.dtype(kind)
    return _checked(
        Layout(
            shape,
            chunk,
            _fill(metadata["fill_value"], dtype),
            Packing(chunk, axes, dtype, codecs),
            None,
            "",
            _separator(metadata.get("dimension_separator", ".")),
        )
    )


def _layout_3(metadata: dict[str, Any]) -> Layout:
    kind, grid, keys = metadata["data_type"], metadata["chunk_grid"], metadata["chunk_key_encoding"]
    if not isinstance(kind, str) or not _NUMBER.fullmatch(kind):
        raise ValueError(f"data type {str(kind)[:40]!r} is not one of numbers")
    if grid["name"] != "regular" or metadata.get("storage_transformers"):
        raise ValueError("only regular grids of chunks are read, without transformers of storage")
    if keys["name"] not in ("default", "v2"):
        raise ValueError(f"names of chunks like {str(keys['name'])[:40]!r} are not known")
    start, separator = ("c", "/") if keys["name"] == "default" else ("", ".")
    chunk = _lengths(grid["configuration"]["chunk_shape"], 1)
    codecs, index = metadata["codecs"], None
    packed, dtype = chunk, np.dtype(kind)
    if len(codecs) == 1 and codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        packed, codecs = _lengths(sharding["chunk_shape"], 1), sharding["codecs"]
        index = _index(sharding)
        if len(packed) != len(chunk) or any(a % b for a, b in zip(chunk, packed, strict=True)):
            raise ValueError("chunks do not divide their shard")
    return _checked(
        Layout(
            _lengths(metadata["shape"], 0),
            chunk,
            _fill(metadata["fill_value"], dtype),
            _packing(packed, dtype, codecs),
            index,
            start,
            _separator(keys.get("configuration", {}).get("separator", separator)),
        )
    )


def _checked(layout: Layout) -> Layout:
    if len(layout.shape) != len(layout.chunk):
        raise ValueError(f"shape {layout.shape} is cut into chunks of {layout.chunk}")
    return layout


def _lengths(numbers: Any, least: int) -> tuple[int, ...]:
    if not isinstance(numbers, list) or len(numbers) > _MAX_RANK:
        raise ValueError(f"{str(numbers)[:40]!r} is no shape")
    if not all(type(number) is int and least <= number < 1 << 62 for number in numbers):
        raise ValueError(f"{str(numbers)[:40]!r} is no shape")
    return tuple(numbers)


def _separator(separator: Any) -> str:
    if separator not in (".", "/"):
        raise ValueError(f"separator {str(separator)[:40]!r} is neither '.' nor '/'")
    return str(separator)


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """What stands where a chunk is missing."""
    if value is None:
        value = 0
    if isinstance(value, str) and dtype.kind == "f":
        value = _FLOATS.get(value, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"fill value {str(value)[:40]!r} is no number")
    return np.array(value, dtype.newbyteorder("="))[()]


def _known_codec(name: Any) -> str:
    if name not in BYTE_CODECS:
        raise ValueError(f"codec {str(name)[:40]!r} is not undone, as it could run code")
    return str(name)


def _packing(
    chunk: tuple[int, ...], dtype: np.dtype[Any], codecs: Sequence[dict[str, Any]]
) -> Packing:
    axes, rest = tuple(range(len(chunk))), list(codecs)
    if rest and rest[0]["name"] == "transpose":
        axes = _lengths(rest.pop(0)["configuration"]["order"], 0)
        if sorted(axes) != list(range(len(chunk))):
            raise ValueError(f"order {axes} of axes is none of {len(chunk)}")
    if not rest or rest[0]["name"] != "bytes":
        name = rest[0]["name"] if rest else "nothing"
        raise ValueError(f"codec {str(name)[:40]!r} is not undone, as it could run code")
    endian = rest[0].get("configuration", {}).get("endian", "little")
    if endian not in ("little", "big"):
        raise ValueError(f"byte order {str(endian)[:40]!r} is neither little nor big")
    names = tuple(_known_codec(codec["name"]) for codec in rest[1:])
    return Packing(chunk, axes, dtype.newbyteorder("<" if endian == "little" else ">"), names)


def _index(sharding: dict[str, Any]) -> Index:
    names = [codec["name"] for codec in sharding["index_codecs"]]
    location = sharding.get("index_location", "end")
    if names not in (["bytes"], ["bytes", "crc32c"]) or location not in ("start", "end"):
        raise ValueError("the index of a shard is kept in an unknown way")
    endian = sharding["index_codecs"][0].get("configuration", {}).get("endian", "little")
    if endian != "little":
        raise ValueError("the index of a shard must be little-endian")
    return Index(location == "end", len(names) == 2)
