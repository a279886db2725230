"""Fits of shards: the bits of one machine where the graph is gathered, and near it beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geoquant import InputError, NotConnectedError, fit_codebook
from geoquant.distributed import fit as module
from geoquant.distributed.fit import PartedFit, fit_shards, write_codes
from geoquant.distributed.scratch import Scratch
from geoquant.distributed.shards import shards_of_array
from tests.distributed.parts import ENGINE

if TYPE_CHECKING:
    from pathlib import Path


def fitted(x: np.ndarray, folder: Path, n_clusters: int = 12, **options: Any) -> PartedFit:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    shards = shards_of_array(x, min(3, len(x)))
    return fit_shards(
        shards, n_clusters, ENGINE, Scratch(str(scratch)), **{"random_state": 0} | options
    )


def latents(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)


def codes_of(found: PartedFit) -> tuple[np.ndarray, np.ndarray]:
    paths = write_codes(found, ENGINE)
    codes, distances = ([np.load(path) for path in column] for column in zip(*paths, strict=True))
    return np.concatenate(codes), np.concatenate(distances)


@pytest.mark.parametrize("n_partitions", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("codewords", "has_duplicates"), [("mean", False), ("mean", True), ("medoid", False)]
)
def test_gathered_fits_have_the_bits_of_one_machine(
    tmp_path: Path, codewords: str, n_partitions: int, has_duplicates: bool
) -> None:
    """Codes, distances, energies and the saved codebook, byte for byte."""
    x = latents(700).round(1) if has_duplicates else latents(700)
    expected = fit_codebook(x, 12, codewords=codewords, random_state=0)
    found = fitted(x, tmp_path, codewords=codewords, n_partitions=n_partitions)
    assert found.is_gathered
    assert found.energy == expected.clustering.inertia
    code, distance = codes_of(found)
    assert code.tolist() == expected.codes.tolist()
    assert distance.tobytes() == expected.distance.tobytes()
    expected.codebook.save(tmp_path / "one.safetensors")
    found.codebook.save(tmp_path / "parts.safetensors")
    one, parts = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("one", "parts"))
    assert one == parts


def test_options_reach_the_clustering(tmp_path: Path) -> None:
    """What a fit on one machine takes, a gathered one does."""
    x = latents(300)
    options = {"algorithm": "alternate", "max_iter": 3, "n_init": 2, "init": "random"}
    expected = fit_codebook(x, 5, random_state=1, **options)
    found = fitted(x, tmp_path, 5, random_state=1, **options)
    assert found.clustering.centres.tolist() == expected.clustering.medoid_indices.tolist()
    assert found.codebook.metadata == expected.codebook.metadata


@pytest.mark.parametrize("codewords", ["mean", "medoid"])
def test_fits_in_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codewords: str
) -> None:
    """Codes are those of the codebook, and the energy is near that of one machine."""
    monkeypatch.setattr(module, "GATHERED_NODES", 0)
    x = latents(2500).round(2)
    found = fitted(x, tmp_path, codewords=codewords, algorithm="swap", n_partitions=4)
    assert not found.is_gathered
    one = fit_codebook(
        x, 12, codewords=codewords, algorithm="swap", n_perturbations=0, random_state=0
    )
    assert found.energy <= 1.03 * one.clustering.inertia
    code, distance = codes_of(found)
    assert found.codebook.assign(x).tolist() == code.tolist()
    power = 2 if codewords == "mean" else 1
    assert (distance**power).sum() == pytest.approx(found.energy)
    for cell in range(12):
        mean = x[code == cell].astype(float).mean(axis=0)
        if codewords == "mean":
            np.testing.assert_allclose(found.codebook.vectors[cell], mean, rtol=1e-5, atol=1e-6)
        else:
            assert (x[code == cell] == found.codebook.vectors[cell]).all(axis=1).any()


def test_a_sample_of_the_nodes_as_anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codebook of very many latents keeps some, the centres among them."""
    monkeypatch.setattr(module, "GATHERED_NODES", 0)
    monkeypatch.setattr(module, "MOST_ANCHORS", 200)
    x = latents(1000)
    found = fitted(x, tmp_path, n_partitions=3)
    n_anchors = len(found.codebook.anchors)
    assert 200 <= n_anchors <= 212
    centres = x[found.clustering.centres]
    assert found.codebook.assign(centres).tolist() == list(range(12))
    code, _ = codes_of(found)
    assert (found.codebook.assign(x) == code).mean() > 0.8


def test_partitions_do_not_show_in_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In partitions too the coarse start, its energy and all that is counted of nodes agree."""
    monkeypatch.setattr(module, "GATHERED_NODES", 0)
    found = [
        fitted(latents(1500), tmp_path / str(n), n_partitions=n, algorithm="swap") for n in (1, 4)
    ]
    first, second = (fit.clustering.energy_history[0] for fit in found)
    assert first == second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 41}, r"n_clusters must be an integer in \[1, 40\], found 41"),
        ({"n_clusters": 0}, "n_clusters must be"),
        ({"codewords": "mode"}, "codewords must be"),
        ({"on_disconnected": "hope"}, "on_disconnected must be"),
        ({"recall_target": 0.0}, "recall_target must"),
        ({"n_partitions": 0}, "n_partitions must"),
        ({"n_neighbors": 0}, "n_neighbors must"),
        ({"gathered": 0, "init": "random"}, "init must be left out for more than 0 distinct rows"),
        ({"gathered": 0, "algorithm": "alternate"}, "algorithm must be"),
        ({"gathered": 0, "max_iter": 0}, "max_iter must be"),
    ],
)
def test_arguments_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, message: str
) -> None:
    """Each is refused by name, before or after the graph is made."""
    options = dict(options)
    monkeypatch.setattr(module, "GATHERED_NODES", options.pop("gathered", 10**6))
    with pytest.raises(InputError, match=message):
        fitted(latents(40), tmp_path, options.pop("n_clusters", 3), **options)


def test_one_distinct_row(tmp_path: Path) -> None:
    """There is nothing to join; fit_codebook does it."""
    with pytest.raises(InputError, match="at least 2 distinct rows"):
        fitted(np.ones((5, 2)), tmp_path, 1)


def test_components_may_be_refused(tmp_path: Path) -> None:
    """With on_disconnected='raise' a graph in pieces is an error that says their sizes."""
    x = np.concatenate([latents(50), latents(30) + 100])
    with pytest.raises(NotConnectedError, match=r"2 components \(sizes 50, 30\)"):
        fitted(x, tmp_path, 3, on_disconnected="raise", n_neighbors=9)
    assert fitted(x, tmp_path / "again", 3, n_neighbors=9).n_components == 2
