"""The reported numbers: by hand, and against slow or foreign definitions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from geoquant import quality
from geoquant.errors import InputError
from geoquant.quality import (
    agreement,
    code_counts,
    dead_codes,
    entropy,
    euclidean_distortion,
    geodesic_distortion,
    imbalance,
    majority_vote_accuracy,
    perplexity,
    usage,
)

CODES = st.lists(st.integers(0, 9), min_size=1, max_size=40)
OF_COUNTS = [usage, dead_codes, entropy, perplexity, imbalance, code_counts]


def test_counts_by_hand() -> None:
    """Numbers that can be checked in one's head, with and without weights."""
    codes = [0, 2, 2, 3]
    np.testing.assert_array_equal(code_counts(codes, 5), [1, 0, 2, 1, 0])
    np.testing.assert_array_equal(code_counts(codes, 5, [1, 0, 0.5, 4]), [1, 0, 0.5, 4, 0])
    assert usage(codes, 5) == 0.6
    np.testing.assert_array_equal(dead_codes(codes, 5), [1, 4])
    np.testing.assert_array_equal(dead_codes(codes, 5, [0, 1, 1, 0]), [0, 1, 3, 4])
    assert entropy(codes, 5) == pytest.approx(1.5 * np.log(2))
    assert perplexity(codes, 5) == pytest.approx(2**1.5)
    assert imbalance(codes, 5) == pytest.approx(5 * (1 + 4 + 1) / 16)


def test_extremes() -> None:
    """One code for everything, and all codes alike."""
    assert (usage([3], 4), entropy([3], 4), perplexity([3], 4)) == (0.25, 0.0, 1.0)
    assert imbalance([3, 3], 4) == 4.0
    even = np.arange(12) % 4
    assert perplexity(even, 4) == pytest.approx(4.0)
    assert imbalance(even, 4) == 1.0
    assert dead_codes(even, 4).size == 0


@given(CODES, st.data())
def test_counts_against_scipy(codes: list[int], data: st.DataObject) -> None:
    """Entropy and counts are those of SciPy and of a Counter, for weights as for repetitions."""
    times = data.draw(st.lists(st.integers(1, 4), min_size=len(codes), max_size=len(codes)))
    counts = [Counter(np.repeat(codes, times).tolist())[code] for code in range(10)]
    np.testing.assert_array_equal(code_counts(codes, 10, times), counts)
    assert entropy(codes, 10, times) == pytest.approx(scipy.stats.entropy(counts), abs=1e-12)
    squares = sum((count / sum(counts)) ** 2 for count in counts)
    assert imbalance(codes, 10, times) == pytest.approx(10 * squares)
    assert entropy(codes, 10) >= 0


@pytest.mark.parametrize("number", OF_COUNTS)
def test_tokens_of_any_shape(number: Any) -> None:
    """Spatial tokens count one by one."""
    tokens = np.random.default_rng(0).integers(0, 5, size=(3, 4, 4))
    np.testing.assert_array_equal(number(tokens, 6), number(tokens.ravel(), 6))
    weight = np.ones(tokens.shape)
    np.testing.assert_array_equal(number(tokens, 6, weight), number(tokens, 6))


@pytest.mark.parametrize("number", OF_COUNTS)
@pytest.mark.parametrize(
    ("codes", "n_codes", "weight", "message"),
    [
        ([0, 4], 4, None, r"codes must lie in \[0, 4\), found 4"),
        ([0, -1], 4, None, "found -1"),
        (np.array([2**63], np.uint64), 4, None, "found 9223372036854775808"),
        ([0.0, 1.0], 4, None, "integers, found dtype float64"),
        ([True], 4, None, "integers, found dtype bool"),
        ([], 4, None, "must not be empty"),
        ([0], 0, None, "n_codes must be an integer of at least 1, found 0"),
        ([0], True, None, "n_codes.*found True"),
        ([0], 1.0, None, "n_codes.*found 1.0"),
        ([0, 1], 4, [1.0], r"shape of codes, \(2,\), found \(1,\)"),
        ([0, 1], 4, [1.0, -1.0], "not negative"),
        ([0, 1], 4, [0.0, 0.0], "positive, finite sum"),
    ],
)
def test_counts_refuse(number: Any, codes: Any, n_codes: Any, weight: Any, message: str) -> None:
    """Codes and weights that cannot be counted are named."""
    with pytest.raises(InputError, match=message):
        number(codes, n_codes, weight)


def test_geodesic_distortion_by_hand() -> None:
    """Means of powers, weighted."""
    assert geodesic_distortion([1.0, 2.0, 3.0]) == pytest.approx(14 / 3)
    assert geodesic_distortion([1.0, 2.0, 3.0], power=1) == 2.0
    assert geodesic_distortion([1.0, 2.0, 3.0], sample_weight=[3, 1, 0]) == 7 / 4


@pytest.mark.parametrize(
    ("distance", "power", "message"),
    [
        ([], 2, r"\(0,\)"),
        ([[1.0]], 2, r"\(1, 1\)"),
        ([-1.0], 2, "not negative"),
        ([np.inf], 2, "connected graph"),
        ([np.nan], 2, "finite"),
        ([1.0], 0, "power must be positive, found 0"),
        ([1.0], np.nan, "power must be positive"),
    ],
)
def test_geodesic_distortion_refuses(distance: Any, power: float, message: str) -> None:
    """Distances that are none are named."""
    with pytest.raises(InputError, match=message):
        geodesic_distortion(distance, power)


def test_euclidean_distortion_against_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunked sum is that of the plain formula, whatever the size of a chunk."""
    random = np.random.default_rng(0)
    latents, vectors = random.standard_normal((50, 3)), random.standard_normal((4, 3))
    latents, vectors = latents.astype(np.float32), vectors.astype(np.float32)
    codes, weight = random.integers(0, 4, 50), random.random(50)
    difference = latents.astype(np.float64) - vectors[codes].astype(np.float64)
    squared = (difference**2).sum(axis=1)
    for n_elements in (1, 10, 1 << 20):
        monkeypatch.setattr(quality, "_BLOCK_ELEMENTS", n_elements)
        assert euclidean_distortion(latents, vectors, codes) == pytest.approx(squared.mean())
        assert euclidean_distortion(latents, vectors, codes, weight) == pytest.approx(
            np.average(squared, weights=weight)
        )


def test_euclidean_distortion_is_summed_in_float64() -> None:
    """Far from the origin nothing is lost but what float32 latents have lost already."""
    latents = np.array([[1e6], [1e6 + 1]], np.float32)
    assert euclidean_distortion(latents, latents[:1], [0, 0]) == 0.5


@pytest.mark.parametrize(
    ("latents", "vectors", "codes", "message"),
    [
        ([[0.0]], [[0.0, 1.0]], [0], r"fit together.*\(1, 1\), \(1, 2\) and \(1,\)"),
        ([[0.0]], [[0.0]], [0, 0], r"fit together.*\(2,\)"),
        ([[0.0]], [[0.0]], [1], "codes must lie"),
        ([[np.nan]], [[0.0]], [0], "latents must be finite"),
        ([[0.0]], [[np.nan]], [0], "vectors must be finite"),
    ],
)
def test_euclidean_distortion_refuses(latents: Any, vectors: Any, codes: Any, message: str) -> None:
    """Arrays that do not fit are named."""
    with pytest.raises(InputError, match=message):
        euclidean_distortion(latents, vectors, codes)


def test_agreement_by_hand() -> None:
    """The share of equal codes, weighted."""
    assert agreement([0, 1, 2, 3], [0, 1, 3, 2]) == 0.5
    assert agreement([0, 1, 2, 3], [0, 1, 3, 2], [3, 0, 1, 0]) == 0.75
    for other in ([0, 1], [[0, 1, 2]], []):
        with pytest.raises(InputError, match="same shape"):
            agreement([0, 1, 2], other)


def test_majority_vote_by_hand() -> None:
    """The most frequent label wins, the smaller one in a tie, the overall one where unseen."""
    train = ([4, 4, 4, 7, 7, 7, 7], [1, 1, 0, 2, 2, 0, 0])
    assert majority_vote_accuracy(*train, [4, 7, 5, 9, 0], [1, 0, 0, 0, 0]) == 1.0
    assert majority_vote_accuracy(*train, [4, 7, 5, 9], [0, 2, 1, 2]) == 0.0
    assert majority_vote_accuracy([0, 0, 1], ["b", "a", "c"], [0, 1, 2], ["a", "c", "a"]) == 1.0


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(-2, 2)), min_size=1, max_size=30)


@given(PAIRS, PAIRS)
def test_majority_vote_against_counters(
    train: list[tuple[int, int]], test: list[tuple[int, int]]
) -> None:
    """A dictionary of counters makes the same predictions."""

    def winner(labels: list[int]) -> int:
        counter = Counter(labels)
        return min(label for label in labels if counter[label] == max(counter.values()))

    overall = winner([label for _, label in train])
    hits = 0
    for code, label in test:
        votes = [vote for seen, vote in train if seen == code]
        hits += label == (winner(votes) if votes else overall)
    (train_codes, train_labels), (test_codes, test_labels) = (
        zip(*train, strict=True),
        zip(*test, strict=True),
    )
    accuracy = majority_vote_accuracy(train_codes, train_labels, test_codes, test_labels)
    assert accuracy == pytest.approx(hits / len(test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [0, 1], [0], [0]), "train_codes and train_labels"),
        (([0], [0], [], []), "test_codes and test_labels"),
        (([[0]], [[0]], [0], [0]), "train_codes and train_labels"),
        (([-1], [0], [0], [0]), "train_codes must lie"),
        (([0], [0], [0.5], [0]), "test_codes must hold integers"),
    ],
)
def test_majority_vote_refuses(arguments: Any, message: str) -> None:
    """Sets that do not fit together are named."""
    with pytest.raises(InputError, match=message):
        majority_vote_accuracy(*arguments)
