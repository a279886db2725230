"""Several codes for each latent: codebooks, encoding, files."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import geoquant as gq
from geoquant.errors import FileFormatError, InputError
from geoquant.multistage import (
    check_stage_codes,
    residual_codes,
)
from geoquant.tensor_files import HASH_KEY, content_hash, read_safetensors, write_safetensors
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


def test_fitted_otherwise_the_codes_stay() -> None:
    """With keep_codes only what the codes stand for changes, also if done twice."""
    book = tens_and_units()
    x = np.arange(-3, 30, 0.7, dtype=np.float32)[:, None]
    once = book.replace_vectors([v.vectors + np.float32(7) for v in book.stages], keep_codes=True)
    twice = once.replace_vectors([v.vectors * np.float32(3) for v in once.stages], keep_codes=True)
    for other in (once, twice):
        np.testing.assert_array_equal(other.assign(x), book.assign(x))
    np.testing.assert_allclose(once.lookup([[1, 2]]), book.lookup([[1, 2]]) + 14)


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


@pytest.mark.parametrize("kind", ["single", "residual"])
def test_a_folder_is_read_as_the_file_in_it(tmp_path: Path, kind: str) -> None:
    """``model.safetensors`` in a folder is the codebook; a folder without it is an error."""
    v = np.array([[0.0], [10.0]], np.float32)
    stage = gq.Codebook(v, v, np.zeros(2), np.array([0, 1], np.int32), 1, {})
    book = stage if kind == "single" else gq.MultistageCodebook((stage, stage), "residual")
    book.save(tmp_path / "model.safetensors")
    for load in (gq.load_codebook, type(book).load):
        assert np.array_equal(load(tmp_path).assign([[8.0]]), book.assign([[8.0]]))
    (tmp_path / "model.safetensors").unlink()
    for load in (gq.load_codebook, type(book).load):
        with pytest.raises(gq.FileFormatError, match=r"is a folder without model\.safetensors"):
            load(tmp_path)
