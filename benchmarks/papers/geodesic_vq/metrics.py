"""The numbers of a row, from codes, labels, losses and nats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from geoquant.quality import code_counts, majority_vote_accuracy, perplexity, usage

if TYPE_CHECKING:
    import numpy.typing as npt

    Codes = npt.NDArray[np.integer]


def of_codes(
    train_codes: Codes,
    train_labels: Codes,
    test_codes: Codes,
    test_labels: Codes,
    n_codes: int,
) -> dict[str, float]:
    """Use of the codes and what they say of the digit, on test images.

    Of several tokens: codes used and perplexity as the mean over tokens, accuracy and NMI of the
    first token.
    """
    train, test = (codes.reshape(len(codes), -1) for codes in (train_codes, test_codes))
    first_train, first = train[:, 0], test[:, 0]
    return {
        "used": float(np.mean([usage(c, n_codes) * n_codes for c in test.T])),
        "perplexity": float(np.mean([perplexity(c, n_codes) for c in test.T])),
        "accuracy": majority_vote_accuracy(first_train, train_labels, first, test_labels),
        "nmi": float(normalized_mutual_info_score(test_labels, first)),
    }


def unigram_nats(train_codes: Codes, test_codes: Codes, n_codes: int) -> float:
    """Nats of a test code by how often each occurs in training, half a count added to all.

    Of one token for each image this is all that a prior can know.
    """
    counts = code_counts(train_codes, n_codes) + 0.5
    return float(-np.log(counts / counts.sum())[test_codes].mean())


def of_nats(nats: npt.NDArray[np.float64]) -> dict[str, float]:
    """NLL per token and per image, from the mean nats of each token, (M,)."""
    return {"nll_token": float(nats.mean()), "nll_image": float(nats.sum())}
