"""Quality on real latents: the first rows of those of a VAE of MNIST, found by GEOQUANT_DATA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant.quality import majority_vote_accuracy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

#: Least energy of three runs of FasterPAM on the dense matrix of the first 10 000 rows.
BEST_FASTERPAM = {1: 47_056.0, 2: 248_977.0}


@pytest.fixture(scope="module")
def graph(data_folder: Path) -> gq.Graph:
    """Ten neighbours of each of the first 10 000 latents."""
    return gq.knn_graph(np.load(data_folder / "latents/mnist_vae20_train_mean.npy")[:10_000], 10)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_energy_is_that_of_fasterpam(graph: gq.Graph, power: int, seed: int) -> None:
    """A default run is within 0.6 % of the best of three runs on the full matrix."""
    result = gq.geodesic_kmedoids(graph, 64, power=power, random_state=seed)
    assert result.is_converged
    assert result.inertia <= 1.006 * BEST_FASTERPAM[power]


def test_codes_tell_the_digit(data_folder: Path) -> None:
    """Codes of unseen images tell the digit: 0.925, where Euclidean k-means reaches 0.896."""
    folder = data_folder / "latents"
    train, test = (np.load(folder / f"mnist_vae20_{part}_mean.npy") for part in ("train", "test"))
    train_digit, test_digit = (
        np.load(folder / f"mnist_{part}_labels.npy") for part in ("train", "test")
    )
    est = gq.GeodesicKMeans(64, random_state=0).fit(train)
    assert (est.predict(train) == est.labels_).all()
    codes = est.predict(test)
    assert majority_vote_accuracy(est.labels_, train_digit, codes, test_digit) >= 0.925
