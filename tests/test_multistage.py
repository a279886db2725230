"""Several codes for each latent: encoding, fitting, files."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geoquant as gq
from geoquant.errors import FileFormatError, InputError
from geoquant.files import HASH_KEY, content_hash, read_safetensors, write_safetensors
from geoquant.multistage import (
    check_stage_codes,
    least_squares_codewords,
    residual_codes,
    sum_of_codewords,
)
from tests import reference

if TYPE_CHECKING:
    from pathlib import Path


def cloud(n: int = 300, d: int = 4, seed: int = 0) -> np.ndarray:
    """Latents of no particular shape."""
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def book_of(*vectors: Any, kind: Any = "residual", **options: Any) -> gq.MultistageCodebook:
    """A codebook of Euclidean stages."""
    stages = []
    for values in vectors:
        v = np.asarray(values, np.float32)
        codes = np.arange(len(v), dtype=np.int32)
        stages.append(gq.Codebook(v, v, np.zeros(len(v)), codes, 1, {"codewords": "mean"}))
    return gq.MultistageCodebook(tuple(stages), kind, **options)


def tens_and_units(**options: Any) -> gq.MultistageCodebook:
    """Sums of a ten and a unit."""
    return book_of([[0], [10], [20]], [[-1], [0], [1]], **options)


def side_by_side() -> gq.MultistageCodebook:
    """Two columns by one stage, one column by another."""
    return book_of([[0, 0], [10, 10]], [[-1], [0], [1]], kind="product")


# ------------------------------------------------------------------------------------ the codebook


def test_sizes() -> None:
    """Stages of a residual codebook share the columns, those of a product codebook divide them."""
    one, other = tens_and_units(), side_by_side()
    assert (one.n_stages, one.n_codes, one.dim, one.beam) == (2, (3, 3), 1, 8)
    assert (other.n_stages, other.n_codes, other.dim) == (2, (2, 3), 3)


def test_is_immutable() -> None:
    """Neither fields nor a list of stages can be changed afterwards; metadata becomes plain."""
    stages = list(tens_and_units().stages)
    book = gq.MultistageCodebook(stages, "residual", 2, {"a": np.float32(0.5)})  # type: ignore[arg-type]
    stages.clear()
    assert book.n_stages == 2
    assert book.metadata == {"a": 0.5}
    with pytest.raises(FrozenInstanceError):
        book.beam = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((), "residual"), "stages must hold at least one Codebook.* found none"),
        ((("a",), "residual"), "found str"),
        ((tens_and_units().stages, "sum"), "kind must be 'residual' or 'product', found 'sum'"),
        ((side_by_side().stages, "residual"), r"one dimension, found \[2, 1\]"),
        ((tens_and_units().stages, "residual", 0), "beam must be an integer of at least 1"),
        ((tens_and_units().stages, "residual", 1, [1]), "metadata must be a dict"),
    ],
)
def test_refuses(arguments: Any, message: str) -> None:
    """Every field is checked when the codebook is made."""
    with pytest.raises(InputError, match=message):
        gq.MultistageCodebook(*arguments)


def test_lookup_by_hand() -> None:
    """Codewords add up, or stand side by side; codes may have any shape before the last axis."""
    assert tens_and_units().lookup([[1, 0], [2, 2]]).tolist() == [[9], [21]]
    assert side_by_side().lookup([[1, 0]]).tolist() == [[10, 10, -1]]
    codes = np.zeros((2, 3, 4, 2), np.int32)
    assert tens_and_units().lookup(codes).shape == (2, 3, 4, 1)
    assert side_by_side().lookup(codes).shape == (2, 3, 4, 3)


def test_sites_go_through_rows() -> None:
    """Latents of shape (n, C, H, W) come back from codes of shape (n, H, W, M)."""
    sites = np.float32([[[[9, 10], [21, 0]]]])
    book = tens_and_units()
    rows = sites.transpose(0, 2, 3, 1).reshape(-1, 1)
    codes = book.assign(rows).reshape(1, 2, 2, 2)
    np.testing.assert_array_equal(book.lookup(codes).transpose(0, 3, 1, 2), sites)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 3]], r"codes\[\.\.\., 1\] must lie in \[0, 3\), found 3"),
        ([[-1, 0]], r"codes\[\.\.\., 0\] must lie in \[0, 3\), found -1"),
        ([0, 1, 2], r"shape \(\.\.\., 2\).* found \(3,\)"),
        (0, r"shape \(\.\.\., 2\)"),
        ([[0.0, 1.0]], "integers"),
    ],
)
def test_lookup_refuses(codes: Any, message: str) -> None:
    """Codes of another number of stages or out of range are refused by name."""
    with pytest.raises(InputError, match=message):
        tens_and_units().lookup(codes)


def test_check_stage_codes_takes_none() -> None:
    """No latents have no codes."""
    columns = check_stage_codes(np.empty((0, 2), np.int32), (2, 3))
    assert [column.shape for column in columns] == [(0,), (0,)]


def test_replace_vectors() -> None:
    """Other codewords, the same stages; encoding follows those of a residual codebook only."""
    book = tens_and_units(beam=3, metadata={"a": 1})
    other = book.replace_vectors([v.vectors * np.float32(2) for v in book.stages])
    assert (other.beam, other.metadata, other.stages[0].metadata) == (
        3,
        {"a": 1},
        {"codewords": "mean"},
    )
    assert other.lookup([[1, 2]]).tolist() == [[22]]
    assert other.assign([[22.0]]).tolist() == [[1, 2]]
    np.testing.assert_array_equal(other.stages[0].anchors, other.stages[0].vectors)
    kept = side_by_side().replace_vectors(
        [np.ones((2, 2), np.float32), np.ones((3, 1), np.float32)]
    )
    assert kept.assign([[9.0, 9.0, 0.9]]).tolist() == [[1, 2]]
    assert kept.lookup([[1, 2]]).tolist() == [[1, 1, 1]]


def test_replace_vectors_refuses() -> None:
    """Shapes and dtypes are those that there were."""
    with pytest.raises(InputError, match=r"shapes \[\(3, 1\), \(3, 1\)\], found \[\(3, 1\)\]"):
        tens_and_units().replace_vectors([np.zeros((3, 1), np.float32)])
    with pytest.raises(InputError, match="float32"):
        tens_and_units().replace_vectors([np.zeros((3, 1))] * 2)  # type: ignore[list-item]


# ----------------------------------------------------------------------------------------- encoding


def test_assign_by_hand() -> None:
    """The nearest sum; each chunk's nearest codeword."""
    assert tens_and_units().assign([[9.2], [20.7], [4.9]]).tolist() == [[1, 0], [2, 2], [0, 2]]
    assert side_by_side().assign([[1, 2, 0.9], [9, 9, -9]]).tolist() == [[0, 2], [1, 0]]


def test_a_beam_finds_what_greed_misses() -> None:
    """The nearer first codeword may have no good second one."""
    latent = [[6.0]]
    stages = [[0], [7]], [[5.5], [4.0]]
    assert book_of(*stages, beam=1).assign(latent).tolist() == [[1, 1]]
    assert book_of(*stages, beam=2).assign(latent).tolist() == [[0, 0]]


def test_ties_go_to_the_smaller_codes() -> None:
    """Among equal sums the lexicographically smaller codes are given."""
    equal = [[1], [1], [0]], [[0], [1], [0]]
    assert book_of(*equal, beam=9).assign([[1.0]]).tolist() == [[0, 0]]
    assert book_of([[2], [1]], [[0], [1]], beam=9).assign([[2.0]]).tolist() == [[0, 0]]
    assert book_of([[1], [2]], [[0], [1]], beam=9).assign([[2.0]]).tolist() == [[0, 1]]


@given(
    st.lists(st.integers(1, 10), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_codes_against_the_oracle(
    sizes: list[int], beam: int, d: int, is_coarse: bool, seed: int
) -> None:
    """Any beam and sizes give what sorting all longer prefixes gives, ties included."""
    rng = np.random.default_rng(seed)
    draw = (
        (lambda *shape: rng.integers(-2, 3, shape))
        if is_coarse
        else (lambda *shape: rng.normal(size=shape))
    )
    vectors = [draw(size, d).astype(np.float32) for size in sizes]
    x = draw(5, d).astype(np.float32)
    expected = [reference.beam_search(latent, vectors, beam) for latent in x]
    assert residual_codes(x, vectors, beam=beam, n_jobs=1).tolist() == list(map(list, expected))


@given(st.integers(0, 10**6))
def test_a_beam_of_everything_is_exhaustive(seed: int) -> None:
    """With room for every prefix, the codes are the best of all."""
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(size, 2)).astype(np.float32) for size in (3, 4, 2)]
    x = rng.normal(size=(4, 2)).astype(np.float32)
    expected = [reference.best_codes(latent, vectors) for latent in x]
    assert residual_codes(x, vectors, beam=24).tolist() == list(map(list, expected))


def test_neither_threads_nor_batches_show() -> None:
    """Latents get the same codes alone, in parts, and with any number of threads."""
    x, book = cloud(500, 6), book_of(*(cloud(33, 6, seed) for seed in (1, 2, 3)), beam=5)
    codes = book.assign(x, n_jobs=1)
    np.testing.assert_array_equal(book.assign(x, n_jobs=3), codes)
    parts = [book.assign(part) for part in np.array_split(x, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), codes)
    np.testing.assert_array_equal(book.assign(x[::-1]), codes[::-1])


def test_product_stages_assign_along_their_anchors() -> None:
    """A stage with anchors of its own gives the code of the way through them."""
    anchors = np.float32([[0], [1], [2], [3]])
    codes, distance = np.int32([0, 0, 0, 1]), np.array([0.0, 1.0, 2.0, 0.0])
    long_cell = gq.Codebook(np.float32([[0], [3]]), anchors, distance, codes, 1, {})
    book = gq.MultistageCodebook((long_cell, *side_by_side().stages[1:]), "product")
    assert book.assign([[2.2, 0.0]]).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        (np.zeros((2, 3)), r"shape \(n, 1\) for this codebook, found \(2, 3\)"),
        (np.zeros((2, 1, 4, 4)), "latents must have shape"),
        ([[np.nan]], "finite"),
    ],
)
def test_assign_refuses(latents: Any, message: str) -> None:
    """Latents of another dimension, shape or without numbers are refused."""
    with pytest.raises(InputError, match=message):
        tens_and_units().assign(latents)


def test_progress_may_stop_the_encoding() -> None:
    """What the callback raises comes out."""

    def stop(stage: str, done: int, total: int) -> None:
        raise KeyError(stage)

    with pytest.raises(KeyError, match="encoding"):
        residual_codes(cloud(), [cloud(8)], n_jobs=1, progress=stop)


# ------------------------------------------------------------------------------------------ fitting


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


# -------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("book", [tens_and_units(beam=3, metadata={"b": 1}), side_by_side()])
def test_round_trip(tmp_path: Path, book: gq.MultistageCodebook) -> None:
    """What is loaded equals what was saved, and saves to the same bytes."""
    path, again = tmp_path / "book", tmp_path / "again"
    book.save(path)
    loaded = gq.load_codebook(path)
    assert isinstance(loaded, gq.MultistageCodebook)
    assert (loaded.kind, loaded.beam, loaded.metadata) == (book.kind, book.beam, book.metadata)
    assert [stage.metadata for stage in loaded.stages] == [stage.metadata for stage in book.stages]
    loaded.save(again)
    assert path.read_bytes() == again.read_bytes()


def test_load_codebook_tells_the_kinds_apart(tmp_path: Path) -> None:
    """A codebook of one stage is loaded as such."""
    path = tmp_path / "book"
    tens_and_units().stages[0].save(path)
    assert isinstance(gq.load_codebook(path), gq.Codebook)
    with pytest.raises(FileFormatError, match="is not a multistage codebook"):
        gq.MultistageCodebook.load(path)
    tens_and_units().save(path)
    with pytest.raises(FileFormatError, match=r"is not a codebook, .*geoquant-multistage-codebook"):
        gq.Codebook.load(path)


def test_many_stages_keep_their_order(tmp_path: Path) -> None:
    """The tenth stage comes after the ninth, whatever the order of names."""
    book = book_of(*([[float(m)]] for m in range(12)))
    book.save(tmp_path / "book")
    loaded = gq.MultistageCodebook.load(tmp_path / "book")
    assert [stage.vectors.item() for stage in loaded.stages] == list(range(12))


def test_every_truncation_and_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    """No damage of a file goes unnoticed."""
    path = tmp_path / "book"
    tens_and_units().save(path)
    content = path.read_bytes()
    damaged = [content[:n] for n in range(0, len(content), 7)]
    for place in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for wrong in damaged:
        path.write_bytes(wrong)
        with pytest.raises(FileFormatError):
            gq.load_codebook(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, t: t.update(format_version="2"), "format version 2, this geoquant reads 1"),
        (lambda a, t: t.update(format_version="0"), "never existed"),
        (lambda a, t: t.pop("beam"), "a multistage codebook has the tensors"),
        (lambda a, t: a.pop("1.anchors"), "a multistage codebook has the tensors"),
        (lambda a, t: a.update({"2.vectors": np.zeros(1)}), "has the tensors"),
        (lambda a, t: t.update(kind="sum"), "inconsistent: kind must be"),
        (lambda a, t: t.update(beam="x"), "inconsistent: invalid literal"),
        (lambda a, t: t.update(stages="[]"), "inconsistent: zip"),
        (lambda a, t: t.update(stages="[1, 2]"), "inconsistent"),
        (lambda a, t: t.update(metadata="[1]"), "inconsistent: metadata must be a dict"),
        (lambda a, t: (a.clear(), t.update(stages="[]")), "inconsistent: stages must hold"),
    ],
)
def test_load_refuses(tmp_path: Path, change: Any, message: str) -> None:
    """Files that are intact but no such codebook are refused, with what to do."""
    path = tmp_path / "book"
    tens_and_units().save(path)
    arrays, texts = read_safetensors(path)
    change(arrays, texts)
    texts.pop(HASH_KEY)
    write_safetensors(path, arrays, {**texts, HASH_KEY: content_hash(arrays, texts)})
    with pytest.raises(FileFormatError, match=message) as caught:
        gq.load_codebook(path)
    assert str(path) in str(caught.value)


# ---------------------------------------------------------------------------------------- real data


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
