"""How records of arrays show themselves: their shapes rather than their numbers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

_MOST_LISTED = 6


class ShortRepr:
    """Base of dataclasses whose arrays are shown by dtype and shape.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from geoquant.short_repr import ShortRepr
    >>> @dataclass(repr=False)
    ... class Codes(ShortRepr):
    ...     codes: np.ndarray
    ...     n_codes: int
    >>> Codes(np.zeros((3, 2), np.int32), 8)
    Codes(codes=int32(3, 2), n_codes=8)
    """

    def __repr__(self) -> str:
        shown = (f"{f.name}={_short(getattr(self, f.name))}" for f in fields(self) if f.repr)  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    if isinstance(value, list | tuple) and len(value) > _MOST_LISTED:
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)
