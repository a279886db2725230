"""Power laws through measured times: growth exponents and extrapolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


def power_law(seconds_at: Mapping[int, float]) -> tuple[float, float]:
    """Exponent and factor of ``seconds = factor * n ** exponent``, by least squares of logarithms.

    Parameters
    ----------
    seconds_at : mapping of int to float
        Time at each size, two sizes or more.
    """
    if len(seconds_at) < 2:
        raise ValueError(f"a slope needs two sizes, found {sorted(seconds_at)}")
    log_n = np.log(np.array(list(seconds_at), float))
    log_s = np.log(np.array(list(seconds_at.values())))
    exponent, log_factor = np.polyfit(log_n, log_s, 1)
    return float(exponent), float(np.exp(log_factor))


def extrapolated(seconds_at: Mapping[int, float], n: int) -> float:
    """Time at another size by the power law through those measured."""
    exponent, factor = power_law(seconds_at)
    return factor * n**exponent
