"""A hundred thousand damaged and forged files: each is refused, or read as what it is."""

from __future__ import annotations

import io
import json
import struct
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant import _core
from geoquant.codebook import Codebook
from geoquant.errors import FileFormatError, InputError, ResourceError
from geoquant.latents import check_latents, read_latents
from geoquant.tensor_files import HASH_KEY, content_hash, read_safetensors, safetensors_blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    AnyArray = npt.NDArray[Any]

pytestmark = pytest.mark.hard

N_FILES = {"codebook": 40_000, "forged codebook": 30_000, "npy": 30_000}
#: No file of these sizes may take longer than this to refuse.
_MOST_SECONDS = 2.0
_NUMBERS = (0, 1, 2**15, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1)
_FLOATS = (np.nan, np.inf, -np.inf, -1.0, -0.0, 1e-40, 3e38, 1e20)
_INTEGERS = (-1, 3, 2**31 - 1, -(2**31), 0)
_TEXTS = ("", "0", "-1", "1", "2", "7", "9" * 5000, "NaN", "{}", "[]", "{", '{"a": NaN}', "\0", "é")
_JSON_VALUES = (None, -1, 0, 1, 2**63, 1e300, "", "F32", [], [-1], [2**62, 2**62], {}, True)


def small_codebook() -> Codebook:
    """Three codes, six anchors."""
    rng = np.random.default_rng(0)
    return Codebook(
        vectors=rng.normal(size=(3, 2)).astype(np.float32),
        anchors=rng.normal(size=(6, 2)).astype(np.float32),
        anchor_distance=np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]),
        anchor_code=np.array([0, 1, 2, 0, 1, 2], np.int32),
        n_neighbors=2,
        metadata={"seed": 0},
    )


def codebook_bytes() -> bytes:
    """The file of a small codebook."""
    return b"".join(map(bytes, small_codebook().file_blocks()))


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


def forged(content: bytes, rng: np.random.Generator, path: Path) -> bytes:
    """A codebook that says something else, whose hash is right; the content is not well formed."""
    path.write_bytes(content)
    arrays, texts = read_safetensors(path)
    for _ in range(rng.integers(1, 4)):
        change = FORGERIES[rng.integers(len(FORGERIES))]
        change(arrays, texts, rng)
    texts[HASH_KEY] = content_hash(arrays, texts)
    return b"".join(map(bytes, safetensors_blocks(arrays, texts)))


def put_value(arrays: dict[str, AnyArray], texts: dict[str, str], rng: np.random.Generator) -> None:
    """A number that has no meaning there."""
    array = arrays[list(arrays)[rng.integers(len(arrays))]]
    if array.size:
        values = _FLOATS if array.dtype.kind == "f" else _INTEGERS
        value = np.array(values[rng.integers(len(values))])
        with np.errstate(over="ignore"):
            array.flat[rng.integers(array.size)] = value.astype(array.dtype)


def put_shape(arrays: dict[str, AnyArray], texts: dict[str, str], rng: np.random.Generator) -> None:
    """Fewer rows, or the same numbers in another shape."""
    name = list(arrays)[rng.integers(len(arrays))]
    array = arrays[name]
    shapes = [array[:-1], array[:0], array.reshape(-1), array.reshape(1, -1), array[..., None]]
    arrays[name] = np.ascontiguousarray(shapes[rng.integers(len(shapes))])


def put_dtype(arrays: dict[str, AnyArray], texts: dict[str, str], rng: np.random.Generator) -> None:
    """The same numbers of another kind."""
    name = list(arrays)[rng.integers(len(arrays))]
    kind = ("f8", "f4", "f2", "i8", "i4", "u1")[rng.integers(6)]
    with np.errstate(invalid="ignore", over="ignore"):
        arrays[name] = arrays[name].astype(kind)


def put_text(arrays: dict[str, AnyArray], texts: dict[str, str], rng: np.random.Generator) -> None:
    """Another text, or one less, or one more."""
    name = [*texts, "more"][rng.integers(len(texts) + 1)]
    if rng.integers(4) == 0:
        texts.pop(name, None)
    else:
        texts[name] = _TEXTS[rng.integers(len(_TEXTS))]


def put_array(arrays: dict[str, AnyArray], texts: dict[str, str], rng: np.random.Generator) -> None:
    """An array less, or one more."""
    if rng.integers(2) and len(arrays) > 1:
        arrays.pop(list(arrays)[rng.integers(len(arrays))])
    else:
        arrays["more"] = np.zeros(2, np.float32)


FORGERIES = (put_value, put_value, put_shape, put_dtype, put_text, put_array)


def use(read: Codebook | AnyArray) -> None:
    """What was read is good for assignment."""
    if isinstance(read, Codebook):
        book = read
        rows = np.random.default_rng(0).normal(size=(5, book.vectors.shape[1])).astype(np.float32)
    else:
        book, rows = small_codebook(), np.resize(read, (len(read), 2))
    codes = book.assign(rows)
    assert codes.shape == (len(rows),)
    assert 0 <= codes.min() <= codes.max() < len(book.vectors)
    assert np.isfinite(book.lookup(codes)).all()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", N_FILES)
def test_damaged_files(
    tmp_path: Path, kind: str, scaled: Callable[[int], int], note: Callable[..., None]
) -> None:
    """No crash, no hang, no error of another family; what is read can be used.

    A damaged codebook is never read as another one; a forged one may be, if it is one.
    """
    path = tmp_path / ("latents.npy" if kind == "npy" else "book.safetensors")
    content = npy_bytes() if kind == "npy" else codebook_bytes()
    rng = np.random.default_rng(1)
    n_files, refused, longest = scaled(N_FILES[kind]), 0, 0.0
    for _ in range(n_files):
        found = forged(content, rng, path) if kind == "forged codebook" else damaged(content, rng)
        path.write_bytes(found)
        begin = time.perf_counter()
        try:
            read = check_latents(read_latents(path)) if kind == "npy" else Codebook.load(path)
        except (FileFormatError, InputError, ResourceError):
            refused += 1
        else:
            assert kind != "codebook" or found == content
            use(read)
        longest = max(longest, time.perf_counter() - begin)
    assert longest < _MOST_SECONDS
    assert refused > n_files / 2
    note(
        f"damaged {kind} files",
        files=n_files,
        refused=refused,
        longest_seconds=longest,
        with_sanitizers=int(_core.BUILD_TYPE == "sanitize"),
    )
