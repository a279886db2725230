"""What a page holds, read by slow and plain Python: the oracle of its encodings."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NamedTuple

import numpy as np


class ReadPage(NamedTuple):
    """The arrays of a page."""

    row: list[int]
    code: list[int]
    place: np.ndarray
    distance: np.ndarray
    label: list[str] | None
    latents: np.ndarray
    edges: list[tuple[int, int]]


def content_of(html: str) -> dict[str, Any]:
    """The JSON object in a page."""
    found = re.search(r'<script type="application/json" id="geoquant-data">(.*?)</script>', html)
    assert found
    return json.loads(found[1])


def read_page(content: dict[str, Any]) -> ReadPage:
    """Every array of a page."""
    n, k, d = (content[name] for name in ("n_points", "n_codes", "dim"))
    code = [c for c, count in enumerate(content["count_of_code"]) for _ in range(count)]
    label = content["label"]
    if label is not None:
        positions = bit_numbers(label["index"], label["bits"], n)
        label = [label["names"][i] for i in positions]
    z = content["latents"]
    levels = np.reshape(bit_numbers(z["levels"], z["bits"], (n + k) * d), (n + k, d))
    return ReadPage(
        row=rows(varint_numbers(content["row"]), code),
        code=code,
        place=uint16(content["place"]).reshape(n, 2),
        distance=uint16(content["distance"]["levels"]) * content["distance"]["step"],
        label=label,
        latents=np.array(z["low"]) + np.array(z["step"]) * levels,
        edges=edges(varint_numbers(content["edges"]), n),
    )


def uint16(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2").astype(float)


def bit_numbers(text: str, bits: int, count: int) -> list[int]:
    """Numbers of so many bits: the whole stream as one integer."""
    stream = int.from_bytes(base64.b64decode(text), "little")
    return [stream >> (i * bits) & ((1 << bits) - 1) for i in range(count)]


def varint_numbers(text: str) -> list[int]:
    """LEB128."""
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(text):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    assert shift == 0
    return numbers


def rows(steps: list[int], code: list[int]) -> list[int]:
    found: list[int] = []
    for i, step in enumerate(steps):
        is_first = i == 0 or code[i] != code[i - 1]
        found.append(step if is_first else found[-1] + step)
    return found


def edges(numbers: list[int], n_nodes: int) -> list[tuple[int, int]]:
    left = iter(numbers)
    found = []
    for low in range(n_nodes):
        high = low
        for _ in range(next(left)):
            high += next(left)
            found.append((low, high))
    assert next(left, None) is None
    return found
