"""A hundred thousand damaged files: each is refused, or read as what it was."""

from __future__ import annotations

import io
import json
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant.codebook import Codebook
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.latents import check_latents, read_latents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.hard

N_FILES = 50_000
#: No file of these sizes may take longer than this to refuse.
_MOST_SECONDS = 2.0
_NUMBERS = (0, 1, 2**15, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1)
_JSON_VALUES = (None, -1, 0, 1, 2**63, 1e300, "", "F32", [], [-1], [2**62, 2**62], {}, True)


def codebook_bytes() -> bytes:
    """A small codebook."""
    rng = np.random.default_rng(0)
    book = Codebook(
        vectors=rng.normal(size=(3, 2)).astype(np.float32),
        anchors=rng.normal(size=(6, 2)).astype(np.float32),
        anchor_distance=np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]),
        anchor_code=np.array([0, 1, 2, 0, 1, 2], np.int32),
        n_neighbors=2,
        metadata={"seed": 0},
    )
    return b"".join(map(bytes, book.file_blocks()))


def npy_bytes() -> bytes:
    """A small array."""
    stream = io.BytesIO()
    np.save(stream, np.arange(12, dtype=np.float32).reshape(6, 2))
    return stream.getvalue()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """The content after one to four changes that know where headers and numbers are."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        change = CHANGES[rng.integers(len(CHANGES))]
        changed = change(changed, rng) if len(changed) > 8 else changed
    return bytes(changed)


def flip_bit(content: bytearray, rng: np.random.Generator) -> bytearray:
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return content


def put_byte(content: bytearray, rng: np.random.Generator) -> bytearray:
    content[rng.integers(len(content))] = rng.integers(256)
    return content


def cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: rng.integers(len(content))]


def append(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content + rng.bytes(rng.integers(1, 64))


def repeat_slice(content: bytearray, rng: np.random.Generator) -> bytearray:
    begin, end = sorted(rng.integers(0, len(content), 2))
    return content[:end] + content[begin:]


def remove_slice(content: bytearray, rng: np.random.Generator) -> bytearray:
    begin, end = sorted(rng.integers(0, len(content), 2))
    return content[:begin] + content[end:]


def put_length(content: bytearray, rng: np.random.Generator) -> bytearray:
    """A length of the header that is no length of it."""
    content[:8] = struct.pack("<Q", _NUMBERS[rng.integers(len(_NUMBERS))])
    return content


def put_number(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Digits in place of other digits."""
    digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
    if digits:
        at = digits[rng.integers(len(digits))]
        number = str(_NUMBERS[rng.integers(len(_NUMBERS))]).encode()
        content[at : at + 1] = number
    return content


def change_json(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Another value in the header of a codebook, whose length is made to fit."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:
        return flip_bit(content, rng)
    if not isinstance(header, dict) or not header:
        return flip_bit(content, rng)
    name = list(header)[rng.integers(len(header))]
    within: Any = header[name] if isinstance(header[name], dict) and header[name] else header
    key = list(within)[rng.integers(len(within))]
    within[key] = _JSON_VALUES[rng.integers(len(_JSON_VALUES))]
    text = json.dumps(header).encode()
    return bytearray(struct.pack("<Q", len(text)) + text + content[8 + length :])


CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    flip_bit,
    put_byte,
    cut,
    append,
    repeat_slice,
    remove_slice,
    put_length,
    put_number,
    change_json,
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["codebook", "npy"])
def test_damaged_files(
    tmp_path: Path, kind: str, scaled: Callable[[int], int], note: Callable[..., None]
) -> None:
    """No crash, no hang, no error of another family; a codebook is never read as another one."""
    content = codebook_bytes() if kind == "codebook" else npy_bytes()
    path = tmp_path / ("book.safetensors" if kind == "codebook" else "latents.npy")
    rng = np.random.default_rng(1)
    n_files, refused, longest = scaled(N_FILES), 0, 0.0
    for _ in range(n_files):
        found = damaged(content, rng)
        path.write_bytes(found)
        begin = time.perf_counter()
        try:
            read = Codebook.load(path) if kind == "codebook" else check_latents(read_latents(path))
        except (FileFormatError, InputError, ResourceError):
            refused += 1
        else:
            assert kind == "npy" or found == content
            assert kind == "codebook" or np.isfinite(read).all()
        longest = max(longest, time.perf_counter() - begin)
    assert longest < _MOST_SECONDS
    assert refused > n_files / 2
    note(f"damaged {kind} files", files=n_files, refused=refused, longest_seconds=longest)
