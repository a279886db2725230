"""Arithmetic of NumPy as the standard has it, whatever a library has made of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from geoquant import _core

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def default_floats() -> Iterator[None]:
    """Round to nearest and keep subnormal numbers in the block; the kernels do so by themselves.

    Libraries compiled with ``-ffast-math`` make the thread that loads them take subnormal numbers
    for zero, and latents that differ by less for equal.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.default_floats import default_floats
    >>> with default_floats():
    ...     bool(np.float32(1e-45) * np.float32(1.0) > 0)
    True
    """
    before = _core.exchange_floats(None)
    try:
        yield
    finally:
        _core.exchange_floats(before)
