"""Files cut short and changed at many places, which readers refuse or read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoquant.errors import FileFormatError, ResourceError
from geoquant.latents import latents_shape, read_latents

if TYPE_CHECKING:
    from pathlib import Path


def outcomes_of_damage(path: Path, key: str | None, n_files: int, seed: int = 0) -> set[str]:
    """What comes of changing a file at random: "read" and "refused"; other errors come through."""
    content, random = path.read_bytes(), np.random.default_rng(seed)
    found = set()
    for number in range(n_files):
        changed = bytearray(content)
        if number % 4 == 0:
            changed = changed[: random.integers(len(changed))]
        else:
            for place in random.integers(len(changed), size=random.integers(1, 4)):
                changed[place] = (random.integers(256), 0, 255, changed[place] ^ 1)[number % 4]
        path.write_bytes(changed)
        for reader in (latents_shape, read_latents):
            try:
                reader(path, key)
                found.add("read")
            except (FileFormatError, ResourceError) as error:
                found.add("refused")
                assert path.name in str(error)
                assert "\n" not in str(error)
    path.write_bytes(content)
    return found


def truncations_refused(path: Path, key: str | None, step: int = 1) -> bool:
    """Whether the file is refused at every length, or at every so many."""
    content = path.read_bytes()
    for length in range(0, len(content), step):
        path.write_bytes(content[:length])
        try:
            read_latents(path, key)
        except FileFormatError:
            continue
        return False
    path.write_bytes(content)
    return True
