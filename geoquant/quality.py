"""The numbers by which codes are judged: one pure function per number."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.codebook import check_codes
from geoquant.errors import InputError
from geoquant.latents import check_latents, check_sample_weight

Float64Array: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]

#: From this agreement on, Euclidean and geodesic codes are as good as the same.
KMEANS_WOULD_DO = 0.99

# Elements of a block of latents that is worked on in float64 at a time (8 MiB).
_BLOCK_ELEMENTS = 1 << 20


def code_counts(
    codes: npt.ArrayLike, n_codes: int, sample_weight: npt.ArrayLike | None = None
) -> Float64Array:
    """How often each code is used.

    Parameters
    ----------
    codes : array_like of int, any shape, not empty
        Codes in ``[0, n_codes)``; several tokens per row count one by one.
    n_codes : int
        Number of codes there are.
    sample_weight : array_like, shape of `codes`, optional
        Weight of each code's occurrence. Default: 1.

    Returns
    -------
    ndarray of float64, shape (n_codes,)
        Number, or total weight, of the occurrences of each code.

    Raises
    ------
    InputError
        If a code is out of range or no integer, there are none, or the weights do not fit.

    Examples
    --------
    >>> from geoquant.quality import code_counts
    >>> code_counts([0, 2, 2], 4)
    array([1., 0., 2., 0.])
    """
    checked = check_codes(codes, n_codes)
    if checked.size == 0:
        raise InputError("codes must not be empty; pass the codes of at least one latent")
    if sample_weight is None:
        return np.bincount(checked.reshape(-1), minlength=n_codes).astype(np.float64)
    if np.shape(sample_weight) != checked.shape:
        raise InputError(
            f"sample_weight must have the shape of codes, {checked.shape}, found "
            f"{np.shape(sample_weight)}"
        )
    weight = check_sample_weight(np.reshape(sample_weight, -1), checked.size)
    counts = np.bincount(checked.reshape(-1), weights=weight, minlength=n_codes)
    return counts.astype(np.float64, copy=False)


def usage(codes: npt.ArrayLike, n_codes: int, sample_weight: npt.ArrayLike | None = None) -> float:
    """Fraction of the codes that are used at all.

    Parameters
    ----------
    codes, n_codes, sample_weight
        As for :func:`code_counts`.

    Returns
    -------
    float
        In (0, 1]; 1 when no code is dead.

    Raises
    ------
    InputError
        As :func:`code_counts`.

    Examples
    --------
    >>> from geoquant.quality import usage
    >>> usage([0, 2, 2], 4)
    0.5
    """
    return float(np.mean(code_counts(codes, n_codes, sample_weight) > 0))


def dead_codes(
    codes: npt.ArrayLike, n_codes: int, sample_weight: npt.ArrayLike | None = None
) -> IntArray:
    """The codes that are never used.

    Parameters
    ----------
    codes, n_codes, sample_weight
        As for :func:`code_counts`.

    Returns
    -------
    ndarray of int64
        Unused codes, ascending.

    Raises
    ------
    InputError
        As :func:`code_counts`.

    Examples
    --------
    >>> from geoquant.quality import dead_codes
    >>> dead_codes([0, 2, 2], 4)
    array([1, 3])
    """
    return np.flatnonzero(code_counts(codes, n_codes, sample_weight) == 0).astype(np.int64)


def entropy(
    codes: npt.ArrayLike, n_codes: int, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Entropy of the distribution of the codes, in nats.

    Parameters
    ----------
    codes, n_codes, sample_weight
        As for :func:`code_counts`.

    Returns
    -------
    float
        From 0 (one code for everything) to ``log(n_codes)`` (all used alike).

    Raises
    ------
    InputError
        As :func:`code_counts`.

    Examples
    --------
    >>> from geoquant.quality import entropy
    >>> round(entropy([0, 1, 0, 1], 4), 6)
    0.693147
    """
    counts = code_counts(codes, n_codes, sample_weight)
    share = counts[counts > 0] / counts.sum()
    # A share can round to slightly over 1 in total; entropy is never negative.
    return max(0.0, float(-np.sum(share * np.log(share))))


def perplexity(
    codes: npt.ArrayLike, n_codes: int, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Effective number of codes: the exponential of the entropy.

    Parameters
    ----------
    codes, n_codes, sample_weight
        As for :func:`code_counts`.

    Returns
    -------
    float
        From 1 to `n_codes`.

    Raises
    ------
    InputError
        As :func:`code_counts`.

    Examples
    --------
    >>> from geoquant.quality import perplexity
    >>> round(perplexity([0, 1, 0, 1], 4), 6)
    2.0
    """
    return float(np.exp(entropy(codes, n_codes, sample_weight)))


def imbalance(
    codes: npt.ArrayLike, n_codes: int, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Imbalance factor as faiss defines it: ``n_codes * sum(count ** 2) / sum(count) ** 2``.

    Parameters
    ----------
    codes, n_codes, sample_weight
        As for :func:`code_counts`.

    Returns
    -------
    float
        From 1 (all codes used alike) to `n_codes` (one code for everything).

    Raises
    ------
    InputError
        As :func:`code_counts`.

    Examples
    --------
    >>> from geoquant.quality import imbalance
    >>> imbalance([0, 1, 0, 1], 2), imbalance([0, 0, 0, 0], 2)
    (1.0, 2.0)
    """
    counts = code_counts(codes, n_codes, sample_weight)
    share = counts / counts.sum()
    return float(n_codes * np.sum(share * share))


def geodesic_distortion(
    distance: npt.ArrayLike, power: float = 2, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Weighted mean of the geodesic distances to the centres, raised to a power.

    Parameters
    ----------
    distance : array_like of float, shape (n,)
        Distance of each latent to the centre of its code, in units of the latents.
    power : float, default 2
        2: the energy of k-means per latent; 1: that of k-medoids.
    sample_weight : array_like, shape (n,), optional
        Default: 1.

    Returns
    -------
    float
        In units of the latents to the `power`.

    Raises
    ------
    InputError
        If a distance is negative or not finite, `power` is not positive, or shapes disagree.

    Examples
    --------
    >>> from geoquant.quality import geodesic_distortion
    >>> geodesic_distortion([0.0, 1.0, 3.0, 0.0])
    2.5
    """
    lengths = np.asarray(distance, dtype=np.float64)
    if lengths.ndim != 1 or lengths.size == 0:
        raise InputError(f"distance must have shape (n,), n > 0, found {lengths.shape}")
    # Written so that NaN is refused as well.
    if not np.all((lengths >= 0) & (lengths < np.inf)):
        raise InputError(
            "distance must be finite and not negative; compute it on a connected graph "
            "(bridge its components first)"
        )
    if not 0 < power < np.inf:
        raise InputError(f"power must be positive, found {power!r}")
    return _weighted_mean(lengths**power, sample_weight)


def euclidean_distortion(
    latents: npt.ArrayLike,
    vectors: npt.ArrayLike,
    codes: npt.ArrayLike,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Weighted mean of the squared Euclidean distances of latents to their own codewords.

    Parameters
    ----------
    latents : array_like, shape (n, d)
        The latents.
    vectors : array_like, shape (n_codes, d)
        The codewords.
    codes : array_like of int, shape (n,)
        Code of each latent.
    sample_weight : array_like, shape (n,), optional
        Default: 1.

    Returns
    -------
    float
        In squared units of the latents, summed in float64.

    Raises
    ------
    InputError
        If the arrays cannot be used or do not fit together.

    Examples
    --------
    >>> from geoquant.quality import euclidean_distortion
    >>> euclidean_distortion([[0.0], [3.0]], [[1.0]], [0, 0])
    2.5
    """
    points = check_latents(latents)
    words = check_latents(vectors, name="vectors")
    own = check_codes(codes, len(words))
    if points.shape[1] != words.shape[1] or own.shape != (len(points),):
        raise InputError(
            "latents (n, d), vectors (n_codes, d) and codes (n,) must fit together, found shapes "
            f"{points.shape}, {words.shape} and {own.shape}"
        )
    squared = np.empty(len(points), dtype=np.float64)
    step = max(1, _BLOCK_ELEMENTS // points.shape[1])
    for start in range(0, len(points), step):
        block = slice(start, start + step)
        difference = points[block].astype(np.float64) - words[own[block]]
        squared[block] = np.einsum("ij,ij->i", difference, difference)
    return _weighted_mean(squared, sample_weight)


def agreement(
    codes_a: npt.ArrayLike, codes_b: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
) -> float:
    """Fraction of latents that two codings give the same code.

    Parameters
    ----------
    codes_a, codes_b : array_like of int, shape (n,)
        Codes of the same latents in the same order.
    sample_weight : array_like, shape (n,), optional
        Default: 1.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    InputError
        If the shapes differ, are not (n,) or n is 0.

    Examples
    --------
    >>> from geoquant.quality import agreement
    >>> agreement([0, 1, 2, 2], [0, 1, 2, 0])
    0.75
    """
    first, second = np.asarray(codes_a), np.asarray(codes_b)
    if first.ndim != 1 or first.shape != second.shape or first.size == 0:
        raise InputError(
            "codes_a and codes_b must have the same shape (n,), n > 0, found "
            f"{first.shape} and {second.shape}"
        )
    return _weighted_mean((first == second).astype(np.float64), sample_weight)


def majority_vote_accuracy(
    train_codes: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    test_codes: npt.ArrayLike,
    test_labels: npt.ArrayLike,
) -> float:
    """Accuracy of predicting labels from codes by majority vote.

    Each code stands for its most frequent label in training, the smallest one in a tie; a code
    that training never saw stands for the most frequent label of all.

    Parameters
    ----------
    train_codes, test_codes : array_like of int, shapes (n,) and (m,)
        Codes of the two sets.
    train_labels, test_labels : array_like, shapes (n,) and (m,)
        Labels of the two sets, numbers or strings.

    Returns
    -------
    float
        Fraction of the test set that is predicted correctly, in [0, 1].

    Raises
    ------
    InputError
        If shapes disagree or a set is empty.

    Examples
    --------
    >>> from geoquant.quality import majority_vote_accuracy
    >>> majority_vote_accuracy([0, 0, 0, 1], [7, 7, 5, 5], [0, 1, 1, 9], [7, 5, 7, 5])
    0.75
    """
    codes, labels = _codes_and_labels(train_codes, train_labels, "train")
    asked, truth = _codes_and_labels(test_codes, test_labels, "test")
    names, label = np.unique(labels, return_inverse=True)
    seen, vote = _majority_by_code(codes, label, len(names))
    overall = int(np.argmax(np.bincount(label)))
    place = np.minimum(np.searchsorted(seen, asked), len(seen) - 1)
    predicted = np.where(seen[place] == asked, vote[place], overall)
    return float(np.mean(names[predicted] == truth))


def _codes_and_labels(
    codes: npt.ArrayLike, labels: npt.ArrayLike, which: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[Any]]:
    checked = check_codes(codes, np.iinfo(np.int32).max, name=f"{which}_codes")
    texts = np.asarray(labels)
    if checked.ndim != 1 or checked.shape != texts.shape or checked.size == 0:
        raise InputError(
            f"{which}_codes and {which}_labels must have the same shape (n,), n > 0, found "
            f"{checked.shape} and {texts.shape}"
        )
    return checked, texts


def _majority_by_code(
    codes: npt.NDArray[np.intp], label: npt.NDArray[np.intp], n_labels: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The codes that occur, ascending, and the index of the most frequent label of each."""
    pairs, counts = np.unique(codes * n_labels + label, return_counts=True)
    code, voted = np.divmod(pairs, n_labels)
    best_first = np.lexsort((voted, -counts, code))
    seen, first = np.unique(code[best_first], return_index=True)
    return seen, voted[best_first[first]]


def _weighted_mean(values: Float64Array, sample_weight: npt.ArrayLike | None) -> float:
    weight = check_sample_weight(sample_weight, len(values))
    return float(np.sum(weight * values) / np.sum(weight))
