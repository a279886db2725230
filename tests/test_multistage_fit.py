"""Codebooks of several stages, fitted: each stage, all together, and errors."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.errors import InputError
from geoquant.multistage import residual_codes, sum_of_codewords
from geoquant.multistage_fit import least_squares_codewords

if TYPE_CHECKING:
    from pathlib import Path


def cloud(n: int = 300, d: int = 4, seed: int = 0) -> np.ndarray:
    """Latents of no particular shape."""
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("metric", ["geodesic", "euclidean"])
@pytest.mark.parametrize("kind", ["residual", "product"])
def test_fit_gives_the_codes_of_its_codebook(kind: Any, metric: Any) -> None:
    """Codes, distortion and times fit the codebook, which says how it was made."""
    x = cloud()
    fitted = gq.fit_multistage(x, (8, 4, 6), 3, kind=kind, metric=metric, beam=4, random_state=7)
    book = fitted.codebook
    assert (book.kind, book.n_codes, book.beam) == (kind, (8, 4, 6), 4)
    assert (book.metadata["metric"], book.metadata["random_state"]) == (metric, 7)
    np.testing.assert_array_equal(fitted.codes, book.assign(x))
    assert (fitted.codes.shape, fitted.codes.dtype) == ((300, 3), np.int32)
    error = np.square(x - book.lookup(fitted.codes), dtype=np.float64).sum(axis=1).mean()
    final = fitted.refit_distortion[-1] if kind == "residual" else sum(fitted.distortion)
    assert final == pytest.approx(error, rel=1e-5)
    assert len(fitted.distortion) == len(fitted.seconds) == 3


@pytest.mark.parametrize("metric", ["geodesic", "euclidean"])
def test_more_stages_leave_less(metric: Any) -> None:
    """Each stage lowers the distortion, and refits lower it further."""
    fitted = gq.fit_multistage(cloud(), 16, 4, metric=metric, random_state=0)
    steps = [*fitted.distortion, fitted.refit_distortion[-1]]
    assert all(later < earlier for earlier, later in pairwise(steps))


def test_first_stage_is_that_of_fit_codebook() -> None:
    """Without refits, the codewords of a geodesic first stage are the means of its cells."""
    x = cloud()
    fitted = gq.fit_multistage(x, 8, 2, n_refits=0, random_state=0)
    first = fitted.codebook.stages[0]
    alone = gq.fit_codebook(x, 8, random_state=first.metadata["random_state"])
    np.testing.assert_array_equal(first.vectors, alone.codebook.vectors)
    np.testing.assert_array_equal(first.anchors, first.vectors)
    assert fitted.refit_distortion == ()


def test_second_stage_is_fitted_to_what_encoding_leaves() -> None:
    """Without refits, later stages see the residuals of the beam search so far."""
    x = cloud()
    fitted = gq.fit_multistage(x, 8, 2, n_refits=0, random_state=0)
    first, second = fitted.codebook.stages
    left = x - first.vectors[residual_codes(x, [first.vectors])[:, 0]]
    alone = gq.fit_codebook(left, 8, random_state=second.metadata["random_state"])
    np.testing.assert_array_equal(second.vectors, alone.codebook.vectors)


def test_product_stages_are_those_of_their_columns() -> None:
    """By default chunks are even, the larger first; their sizes may be given."""
    x = cloud(d=5)
    fit = {"kind": "product", "metric": "geodesic", "random_state": 0}
    book = gq.fit_multistage(x, 4, 2, **fit).codebook
    assert [stage.dim for stage in book.stages] == [3, 2]
    seed = book.stages[1].metadata["random_state"]
    alone = gq.fit_codebook(x[:, 3:], 4, random_state=seed).codebook
    np.testing.assert_array_equal(book.stages[1].vectors, alone.vectors)
    np.testing.assert_array_equal(book.stages[1].anchor_code, alone.anchor_code)
    given_sizes = gq.fit_multistage(x, 4, 2, chunk_sizes=[1, 4], **fit).codebook
    assert [stage.dim for stage in given_sizes.stages] == [1, 4]


@pytest.mark.parametrize("metric", ["geodesic", "euclidean"])
def test_same_seed_same_bits_with_any_number_of_threads(metric: Any) -> None:
    """Neither threads nor a second run show in the codebook or its codes."""
    x = cloud(700)
    one, other = (
        gq.fit_multistage(x, 8, 2, metric=metric, random_state=3, n_jobs=n_jobs)
        for n_jobs in (1, 3)
    )
    assert b"".join(map(bytes, one.codebook.file_blocks())) == b"".join(
        map(bytes, other.codebook.file_blocks())
    )
    np.testing.assert_array_equal(one.codes, other.codes)
    another = gq.fit_multistage(x, 8, 2, metric=metric, random_state=4)
    assert (one.codebook.stages[0].vectors != another.codebook.stages[0].vectors).any()


def test_least_squares_against_the_design_matrix() -> None:
    """The sums are those of lstsq on one-hot codes; a codeword that nobody has stays."""
    x = cloud(60, 3)
    rng = np.random.default_rng(1)
    codes = np.stack([rng.integers(0, 4, 60), rng.integers(0, 5, 60)], axis=1).astype(np.int32)
    start = [cloud(4, 3, 2), cloud(6, 3, 3)]
    fitted = least_squares_codewords(x, codes, start)
    design = np.hstack([np.eye(4)[codes[:, 0]], np.eye(5)[codes[:, 1]]])
    expected = design @ np.linalg.lstsq(design, x.astype(np.float64))[0]
    np.testing.assert_allclose(sum_of_codewords(fitted, list(codes.T)), expected, atol=1e-5)
    np.testing.assert_array_equal(fitted[1][5], start[1][5])


def test_progress_names_stages() -> None:
    """Reports say which stage they are of."""
    heard: set[str] = set()
    gq.fit_multistage(cloud(), 8, 2, random_state=0, progress=lambda stage, *_: heard.add(stage))
    assert {"stage 1: encoding", "stage 2: swaps", "refit: encoding"} <= heard


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_stages": 0}, "n_stages must be an integer of at least 1"),
        ({"n_clusters": 0}, "n_clusters must be an integer of at least 1"),
        ({"n_clusters": [4, 4, 4]}, "n_clusters must be one integer or one of each of the 2"),
        ({"kind": "sum"}, "kind must be 'residual' or 'product', found 'sum'"),
        ({"metric": "cosine"}, "metric must be 'geodesic' or 'euclidean', found 'cosine'"),
        ({"beam": 0}, "beam must be"),
        ({"n_refits": -1}, "n_refits must be"),
        ({"chunk_sizes": [2, 2]}, "chunk_sizes are of kind='product'"),
        ({"kind": "product", "chunk_sizes": [2, 3]}, "2 numbers of sum 4"),
        ({"kind": "product", "n_stages": 5}, "n_stages must be at most 4"),
        ({"metric": "euclidean", "algorithm": "swap"}, "takes no algorithm"),
        ({"codewords": "medoid"}, "takes neither codewords"),
        ({"n_clusters": [4, 31]}, "n_clusters of stage 2 must be at most"),
        ({"n_clusters": 31}, "n_clusters of stage 1 must be at most 30"),
    ],
)
def test_fit_refuses(options: dict[str, Any], message: str) -> None:
    """Arguments that cannot be used are refused by name."""
    with pytest.raises(InputError, match=message):
        gq.fit_multistage(cloud(30), **{"n_clusters": 4, "n_stages": 2, **options})


def test_stages_without_anything_left_are_refused() -> None:
    """Where the first stage is exact, a second has nothing to tell apart."""
    with pytest.raises(InputError, match=r"stage 2 must be at most 1, .* fewer codes or stages"):
        gq.fit_multistage(np.float32([[0], [4], [8]]), 3, 2)


@pytest.mark.slow
def test_no_worse_than_faiss_on_real_latents(data_folder: Path) -> None:
    """Four tokens of MNIST's latents are nearer than those of faiss's residual quantizer."""
    faiss = pytest.importorskip("faiss")
    train, test = (
        np.load(data_folder / "latents" / f"mnist_vae20_{split}_mean.npy")
        for split in ("train", "test")
    )
    peer = faiss.ResidualQuantizer(train.shape[1], 4, 6)
    peer.max_beam_size = 8
    peer.train(train)
    theirs = np.square(test - peer.decode(peer.compute_codes(test))).sum(axis=1).mean()
    for metric in ("geodesic", "euclidean"):
        book = gq.fit_multistage(train, 64, 4, metric=metric, random_state=0).codebook
        ours = np.square(test - book.lookup(book.assign(test))).sum(axis=1).mean()
        assert ours < theirs
