"""Bytes of Zarr chunks unpacked, never to more than a chunk holds."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import google_crc32c
import numcodecs.blosc
import numcodecs.lz4
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BLOSC_HEADER = 16


def unpacked(packed: bytes, codecs: Sequence[str], n_bytes: int) -> bytes:
    """Undo what has packed a chunk.

    Parameters
    ----------
    packed : bytes
        Of the store.
    codecs : sequence of str
        In the order in which they were applied; see ``zarr_metadata.BYTE_CODECS``.
    n_bytes : int
        Of the chunk.

    Returns
    -------
    bytes
        So many.

    Raises
    ------
    ValueError
        If they unpack to fewer or more, or cannot be unpacked. Codecs raise errors of their own
        too.

    Examples
    --------
    >>> import zlib
    >>> from geoquant.formats.zarr_codecs import unpacked
    >>> unpacked(zlib.compress(b"numbers"), ["zlib"], 7)
    b'numbers'
    """
    for place in reversed(range(len(codecs))):
        # What another codec has packed before may be a little longer than the chunk.
        most = n_bytes if place == 0 else 2 * n_bytes + 4096
        packed = _UNPACKERS[codecs[place]](packed, most)
    if len(packed) != n_bytes:
        raise ValueError(f"a chunk of {n_bytes} bytes unpacks to {len(packed)}")
    return packed


def _inflated(packed: bytes, most: int, wbits: int) -> bytes:
    unpacker = zlib.decompressobj(wbits)
    found = unpacker.decompress(packed, most + 1)
    if len(found) > most or not unpacker.eof:
        raise ValueError(f"a chunk of {most} bytes is cut short or unpacks to more")
    return found


def _zstd(packed: bytes, most: int) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        found: bytes = stream.read(most + 1)
    if len(found) > most:
        raise ValueError(f"a chunk of {most} bytes unpacks to more")
    return found


def _blosc(packed: bytes, most: int) -> bytes:
    # The library believes both lengths in the header.
    if len(packed) < _BLOSC_HEADER:
        raise ValueError("a chunk is cut short")
    claimed, _, length = struct.unpack_from("<III", packed, 4)
    if claimed > most or length != len(packed):
        raise ValueError(f"a chunk of {most} bytes claims {claimed}, {length} of them packed")
    return bytes(numcodecs.blosc.decompress(packed))


def _lz4(packed: bytes, most: int) -> bytes:
    claimed = int.from_bytes(packed[:4], "little")
    if len(packed) < 5 or claimed > most:
        raise ValueError(f"a chunk of {most} bytes claims {claimed}")
    return bytes(numcodecs.lz4.decompress(packed))


def without_checksum(data: bytes, _: int = 0) -> bytes:
    """Bytes before their CRC-32C, which must be theirs.

    Examples
    --------
    >>> from geoquant.formats.zarr_codecs import without_checksum
    >>> without_checksum(b"numbers" + (0x8E9B_31EA).to_bytes(4, "little"))
    Traceback (most recent call last):
        ...
    ValueError: a checksum does not hold
    """
    if len(data) < 4 or google_crc32c.value(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise ValueError("a checksum does not hold")
    return data[:-4]


_UNPACKERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": lambda packed, most: _inflated(packed, most, 31),
    "zlib": lambda packed, most: _inflated(packed, most, 15),
    "zstd": _zstd,
    "blosc": _blosc,
    "lz4": _lz4,
    "crc32c": without_checksum,
}
