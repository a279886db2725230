"""The checks that arguments pass, but for latents."""

from __future__ import annotations

import numbers
import operator
from typing import TYPE_CHECKING

import numpy as np

from geoquant.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_count(value: object, name: str, least: int, most: int | None = None) -> int:
    """Give a whole-number argument as an int.

    Parameters
    ----------
    value : object
        Any integer, NumPy's too; not a bool.
    name : str
        What the error calls it.
    least : int
        Smallest value allowed.
    most : int, optional
        Largest value allowed.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If `value` is no integer or out of range.

    Examples
    --------
    >>> from geoquant.arguments import check_count
    >>> check_count(3, "n_clusters", 1)
    3
    """
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        count = least - 1
    is_in_range = count >= least and (most is None or count <= most)
    # NumPy 2.0 gives the truth values of its own an index too.
    if isinstance(value, bool | np.bool_) or not is_in_range:
        allowed = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise InputError(f"{name} must be an integer {allowed}, found {value!r}")
    return count


def check_share(value: object, name: str) -> float:
    """Give an argument that is a share of something as a float.

    Parameters
    ----------
    value : object
        Any real number in (0, 1], NumPy's too; not a bool.
    name : str
        What the error calls it.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If `value` is no such number.

    Examples
    --------
    >>> from geoquant.arguments import check_share
    >>> check_share(1, "recall_target")
    1.0
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value <= 1:  # type: ignore[operator]
        raise InputError(f"{name} must be a number in (0, 1], found {value!r}")
    return float(value)  # type: ignore[arg-type]


def check_choice(value: object, name: str, choices: Sequence[str]) -> None:
    """Refuse an argument that is none of the words there are.

    Parameters
    ----------
    value : object
        What was given.
    name : str
        What the error calls it.
    choices : sequence of str
        At least two words.

    Raises
    ------
    InputError
        If `value` is none of them.

    Examples
    --------
    >>> from geoquant.arguments import check_choice
    >>> check_choice("mse", "distance", ("mse", "dot", "cosine"))
    """
    # Arrays compare with every word at once, so the type comes first.
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        raise InputError(f"{name} must be {', '.join(others)} or {last}, found {value!r}")


def refuse_masked(values: object, name: str) -> None:
    """Refuse masked entries, which a conversion would take for numbers.

    Parameters
    ----------
    values : object
        Anything.
    name : str
        What error messages call the argument.

    Raises
    ------
    InputError
        If it is a masked array with masked entries.

    Examples
    --------
    >>> from geoquant.arguments import refuse_masked
    >>> refuse_masked([1.0], "lengths")
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise InputError(
            f"{name} must have no masked entries, found {int(np.ma.getmaskarray(values).sum())}; "
            f"drop those rows or fill them with {name}.filled(value)"
        )
