"""Numbers and words among the arguments: what passes, and what is said of the rest."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from geoquant.arguments import check_choice, check_count, check_share
from geoquant.errors import InputError

WORDS = ("mse", "dot", "cosine")


@pytest.mark.parametrize(
    ("value", "least", "most", "expected"),
    [
        (1, 1, None, 1),
        (0, 0, None, 0),
        (-2, -3, -1, -2),
        (5, 1, 5, 5),
        (10**30, 1, None, 10**30),
        (np.uint8(3), 1, 5, 3),
        (np.array(3), 1, 5, 3),
    ],
)
def test_a_count_becomes_an_int(value: Any, least: int, most: int | None, expected: int) -> None:
    """Any integer within both bounds, these included."""
    count = check_count(value, "n", least, most)
    assert count == expected
    assert type(count) is int


@pytest.mark.parametrize("value", [0, True, np.True_, 1.0, "1", None, np.nan, [1], np.ones(2)])
def test_what_is_no_count_is_refused(value: Any) -> None:
    """Numbers below the least, and what only looks like an integer."""
    with pytest.raises(InputError) as caught:
        check_count(value, "n_codes", 1)
    assert str(caught.value) == f"n_codes must be an integer of at least 1, found {value!r}"


@pytest.mark.parametrize("value", [1, 6, False, 3.0, None])
def test_a_count_beyond_its_bounds_names_both(value: Any) -> None:
    """The error says what is allowed."""
    with pytest.raises(InputError) as caught:
        check_count(value, "n", 2, 5)
    assert str(caught.value) == f"n must be an integer in [2, 5], found {value!r}"


@pytest.mark.parametrize("value", [1, 1.0, 1e-300, np.float32(0.5), np.int8(1), Fraction(1, 3)])
def test_a_share_becomes_a_float(value: Any) -> None:
    """Any real number above zero and up to one."""
    share = check_share(value, "recall_target")
    assert share == float(value)
    assert type(share) is float


@pytest.mark.parametrize(
    "value", [0, 0.0, -0.1, 1.0000001, 2, np.nan, np.inf, True, 0.5j, "0.5", None, np.array(0.5)]
)
def test_what_is_no_share_is_refused(value: Any) -> None:
    """Zero, what exceeds one, and what is no real number."""
    with pytest.raises(InputError) as caught:
        check_share(value, "recall_target")
    assert str(caught.value) == f"recall_target must be a number in (0, 1], found {value!r}"


@pytest.mark.parametrize("value", [*WORDS, np.str_("dot")])
def test_a_choice_is_one_of_the_words(value: str) -> None:
    """Each of them passes."""
    check_choice(value, "distance", WORDS)


@pytest.mark.parametrize("value", ["MSE", "", None, 0, ["mse"], np.array(["mse", "dot"])])
def test_what_is_no_choice_is_refused(value: Any) -> None:
    """Other words, and what is no word, arrays too, which compare with every word at once."""
    with pytest.raises(InputError) as caught:
        check_choice(value, "distance", WORDS)
    assert str(caught.value) == f"distance must be 'mse', 'dot' or 'cosine', found {value!r}"
