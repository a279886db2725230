"""The codebook: what it accepts, how it assigns, and that no change of its file goes unnoticed."""

from __future__ import annotations

import json
import struct
from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load as load_elsewhere

from geoquant.codebook import Codebook, check_codes
from geoquant.errors import FileFormatError, InputError
from geoquant.tensor_files import content_hash, read_safetensors, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

ARRAYS = ("vectors", "anchors", "anchor_distance", "anchor_code")


def tiny(**changes: Any) -> Codebook:
    """Five anchors on a line, two of three codes in use."""
    fields: dict[str, Any] = {
        "vectors": np.array([[0.5], [9.0], [50.0]], np.float32),
        "anchors": np.array([[0.0], [1.0], [2.0], [9.0], [10.0]], np.float32),
        "anchor_distance": np.array([1.0, 0.0, 1.0, 0.0, 1.0]),
        "anchor_code": np.array([0, 0, 0, 1, 1], np.int32),
        "n_neighbors": 2,
        "metadata": {"geoquant_version": "0.1.0", "é": [1, 2.5, None, True]},
    }
    return Codebook(**{**fields, **changes})


def large(n: int = 400, n_codes: int = 7) -> Codebook:
    """Random anchors with distances that are rounded, so that there are ties."""
    random = np.random.default_rng(0)
    return tiny(
        vectors=random.standard_normal((n_codes, 3)).astype(np.float32),
        anchors=random.standard_normal((n, 3)).astype(np.float32),
        anchor_distance=np.round(random.random(n), 1),
        anchor_code=random.integers(0, n_codes, n).astype(np.int32),
    )


def assert_same(one: Codebook, other: Codebook) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
    assert one.n_neighbors == other.n_neighbors
    assert one.metadata == other.metadata


# -------------------------------------------------------------------------------------- birth


def test_sizes() -> None:
    """The sizes are those of the arrays."""
    book = tiny()
    assert (book.n_codes, book.dim, book.n_anchors) == (3, 1, 5)


def test_is_immutable() -> None:
    """Neither fields nor arrays can be changed, nor do changes of the arguments reach it."""
    vectors = np.array([[0.5], [9.0], [50.0]], np.float32)
    book = tiny(vectors=vectors)
    vectors[:] = -1
    assert book.vectors[0, 0] == 0.5
    with pytest.raises(FrozenInstanceError):
        book.n_neighbors = 3  # type: ignore[misc]
    for name in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(book, name)[0] = 0


def test_view_of_read_only_kind_is_copied() -> None:
    """A read-only view of an array that its owner can change is not trusted."""
    owner = np.array([[0.5], [9.0], [50.0]], np.float32)
    view = owner.view()
    view.flags.writeable = False
    book = tiny(vectors=view)
    owner[:] = -1
    assert book.vectors[0, 0] == 0.5


def test_frozen_arrays_are_shared() -> None:
    """A codebook made from the arrays of another does not copy them."""
    book = tiny()
    assert all(
        getattr(replace(book, n_neighbors=1), name) is getattr(book, name) for name in ARRAYS
    )


def test_metadata_becomes_plain() -> None:
    """Numbers of NumPy and tuples become what JSON makes of them, in a copy."""
    given = {"a": np.float32(0.5), "b": np.int64(3), "c": (1, 2), "d": np.bool_(True)}
    book = tiny(metadata=given, n_neighbors=np.int64(2))
    assert book.metadata == {"a": 0.5, "b": 3, "c": [1, 2], "d": True}
    assert type(book.metadata["b"]) is type(book.n_neighbors) is int
    assert isinstance(given["a"], np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vectors": np.zeros((3, 1))}, r"vectors must be an ndarray of float32, found float64"),
        ({"anchors": [[0.0]]}, "anchors must be an ndarray of float32, found list"),
        ({"anchor_distance": np.zeros(5, np.float32)}, "anchor_distance .* of float64"),
        ({"anchor_code": np.zeros(5, np.int64)}, "anchor_code .* of int32, found int64"),
        ({"vectors": np.zeros(3, np.float32)}, "vectors must have shape"),
        ({"vectors": np.zeros((0, 1), np.float32)}, "vectors must have shape"),
        ({"vectors": np.full((3, 1), np.nan, np.float32)}, "vectors must be finite"),
        ({"anchors": np.full((5, 1), np.inf, np.float32)}, "anchors must be finite"),
        ({"anchors": np.zeros((5, 2), np.float32)}, r"same number of columns.*\(5, 2\).*\(3, 1\)"),
        ({"anchor_distance": np.zeros(4)}, r"shape \(5,\)"),
        ({"anchor_code": np.zeros((5, 1), np.int32)}, r"shape \(5,\)"),
        ({"anchor_distance": np.array([0, 0, 0, 0, -1.0])}, "not negative"),
        ({"anchor_distance": np.array([0, 0, 0, 0, np.inf])}, "connected graph"),
        ({"anchor_distance": np.array([0, 0, 0, 0, np.nan])}, "finite"),
        ({"anchor_code": np.array([0, 0, 0, 0, 3], np.int32)}, r"anchor_code .* \[0, 3\), found 3"),
        ({"anchor_code": np.array([0, 0, 0, 0, -1], np.int32)}, "found -1"),
        ({"n_neighbors": 0}, "n_neighbors must be an integer of at least 1, found 0"),
        ({"n_neighbors": 1.0}, "n_neighbors"),
        ({"n_neighbors": True}, "n_neighbors"),
        ({"metadata": None}, "metadata must be a dict"),
        ({"metadata": {1: 2}}, "string keys"),
        ({"metadata": {"a": {1, 2}}}, "JSON"),
        ({"metadata": {"a": np.zeros(2)}}, "JSON"),
        ({"metadata": {"a": float("nan")}}, "JSON"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    """Every field is checked when the codebook is made."""
    with pytest.raises(InputError, match=message):
        tiny(**changes)


# --------------------------------------------------------------------------- assign and lookup


def slow_assign(book: Codebook, latent: Any) -> int:
    """The definition, one latent at a time; ties by the smaller code."""
    away = np.sqrt(((book.anchors.astype(float) - latent) ** 2).sum(axis=1))
    near = np.argsort(away, kind="stable")[: book.n_neighbors]
    return min((away[j] + book.anchor_distance[j], int(book.anchor_code[j])) for j in near)[1]


def test_assign_by_hand() -> None:
    """The anchor nearest to 5.4 is 2, of code 0, but the path over 9, of code 1, is shorter."""
    book = tiny()
    assert book.assign([[0.2], [4.9], [5.4], [100.0]]).tolist() == [0, 0, 1, 1]
    assert book.assign([[0.2], [4.9], [40.0]], method="euclidean").tolist() == [0, 1, 2]


def test_assign_against_the_definition() -> None:
    """Random latents get the code that the formula gives, one at a time or together."""
    book = replace(large(), n_neighbors=4)
    latents = np.random.default_rng(1).standard_normal((60, 3)).astype(np.float32)
    codes = book.assign(latents)
    assert codes.dtype == np.int32
    np.testing.assert_array_equal(codes, [slow_assign(book, latent) for latent in latents])
    np.testing.assert_array_equal(codes[7:8], book.assign(latents[7:8], n_jobs=1))


def test_assign_with_more_neighbours_than_anchors() -> None:
    """All anchors are considered where fewer are left than were asked for."""
    assert tiny(n_neighbors=50).assign([[5.6]]).tolist() == [1]


@pytest.mark.parametrize(
    ("latents", "method", "message"),
    [
        ([[0.0, 1.0]], "geodesic", r"shape \(n, 1\) for this codebook, found \(1, 2\)"),
        ([[0.0, 1.0]], "euclidean", r"shape \(n, 1\)"),
        ([[np.nan]], "geodesic", "finite"),
        ([[0.0]], "cosine", "'geodesic' or 'euclidean', found 'cosine'"),
    ],
)
def test_assign_refuses(latents: Any, method: Any, message: str) -> None:
    """Latents of another size and unknown methods are named."""
    with pytest.raises(InputError, match=message):
        tiny().assign(latents, method=method)


def test_lookup() -> None:
    """Codewords take the shape of the codes."""
    book = tiny()
    assert book.lookup([[1, 0], [2, 2]]).tolist() == [[[9.0], [0.5]], [[50.0], [50.0]]]
    assert book.lookup([]).shape == (0, 1)
    with pytest.raises(InputError, match=r"\[0, 3\), found 3"):
        book.lookup([0, 3])
    with pytest.raises(InputError, match="found -1"):
        book.lookup(-1)


def test_check_codes_keeps_shape() -> None:
    """Codes of any integer type and shape become intp; the name is that of the caller."""
    assert check_codes(np.zeros((2, 3), np.uint8), 1).dtype == np.intp
    assert check_codes(np.zeros((2, 0)), 1).shape == (2, 0)
    with pytest.raises(InputError, match="tokens must hold integers"):
        check_codes([0.5], 1, name="tokens")


# ------------------------------------------------------------------------------------ thinned


def test_thinned_by_hand() -> None:
    """With one anchor per used code, the nearest to each centre stay, in their order."""
    thin = tiny().thinned(2, random_state=5)
    assert thin.anchors.tolist() == [[1.0], [9.0]]
    assert thin.anchor_code.tolist() == [0, 1]
    assert thin.anchor_distance.tolist() == [0.0, 0.0]
    assert thin.metadata["thinned"] == {"n_anchors": 2, "of": 5, "random_state": 5}
    np.testing.assert_array_equal(thin.vectors, tiny().vectors)


@pytest.mark.parametrize("n_anchors", [7, 8, 100, 399])
def test_thinned_keeps_what_it_must(n_anchors: int) -> None:
    """The first nearest anchor of every code is kept, the rest is a subset in the old order."""
    book = large()
    thin = book.thinned(n_anchors, random_state=3)
    place = [int(np.flatnonzero((book.anchors == row).all(axis=1))[0]) for row in thin.anchors]
    assert thin.n_anchors == n_anchors
    assert place == sorted(set(place))
    np.testing.assert_array_equal(thin.anchor_code, book.anchor_code[place])
    np.testing.assert_array_equal(thin.anchor_distance, book.anchor_distance[place])
    for code in range(book.n_codes):
        own = np.flatnonzero(book.anchor_code == code)
        assert own[np.argmin(book.anchor_distance[own])] in place


def test_thinned_depends_on_the_seed_alone() -> None:
    """The same seed keeps the same anchors, another one others."""
    book = large()
    np.testing.assert_array_equal(book.thinned(50).anchors, book.thinned(50).anchors)
    assert (book.thinned(50).anchors != book.thinned(50, random_state=1).anchors).any()


def test_thinned_samples_evenly() -> None:
    """Over many seeds, every anchor that need not stay is kept equally often."""
    book = large(n=40, n_codes=2)
    times = np.zeros(40)
    for seed in range(400):
        times += np.isin(book.anchors[:, 0], book.thinned(21, random_state=seed).anchors[:, 0])
    assert np.sum(times == 400) == 2
    # Each of the others is kept 200 times on average, with a deviation of 10.
    assert np.abs(times[times < 400] - 200).max() < 50


def test_thinned_to_no_less() -> None:
    """A codebook that is small enough already comes back as it is."""
    book = tiny()
    assert book.thinned(5) is book.thinned(50) is book


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "at least 2, one for each code in use, found 1"),
        ((0,), "n_anchors"),
        ((2.0,), "n_anchors"),
        ((2, -1), "random_state"),
        ((2, None), "random_state"),
    ],
)
def test_thinned_refuses(arguments: Any, message: str) -> None:
    """Too few anchors, and seeds that are none, are named."""
    with pytest.raises(InputError, match=message):
        tiny().thinned(*arguments)


# ------------------------------------------------------------------------------ save and load


@pytest.mark.parametrize("book", [tiny(), large(), tiny(metadata={})])
def test_round_trip(tmp_path: Path, book: Codebook) -> None:
    """What is saved is loaded, bit for bit, immutable, and saves to the same bytes again."""
    book.save(tmp_path / "one")
    loaded = Codebook.load(tmp_path / "one")
    assert_same(loaded, book)
    assert not any(getattr(loaded, name).flags.writeable for name in ARRAYS)
    loaded.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_order_of_metadata_does_not_matter(tmp_path: Path) -> None:
    """The same metadata in another order makes the same file."""
    tiny(metadata={"a": 1, "b": {"c": 2, "d": 3}}).save(tmp_path / "one")
    tiny(metadata={"b": {"d": 3, "c": 2}, "a": 1}).save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_file_is_plain_safetensors(tmp_path: Path) -> None:
    """Other programs can read the arrays."""
    book = tiny()
    book.save(tmp_path / "book")
    arrays = load_elsewhere((tmp_path / "book").read_bytes())
    assert set(arrays) == set(ARRAYS)
    for name in ARRAYS:
        np.testing.assert_array_equal(arrays[name], getattr(book, name), strict=True)


def test_every_truncation_and_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    """Of all files that differ from a saved one by one bit or by missing bytes, none is loaded."""
    path = tmp_path / "book"
    # Control characters are the one thing that JSON can spell in two ways.
    tiny(metadata={"control": "\x1f", "é": "é"}).save(path)
    content = path.read_bytes()
    assert len(content) < 1200
    accepted = []

    def attempt(damaged: bytes, what: tuple[int, ...]) -> None:
        path.write_bytes(damaged)
        try:
            Codebook.load(path)
        except FileFormatError:
            return
        accepted.append(what)

    for length in range(len(content)):
        attempt(content[:length], (length,))
    for place in range(len(content)):
        for bit in range(8):
            flipped = content[place] ^ (1 << bit)
            attempt(content[:place] + bytes([flipped]) + content[place + 1 :], (place, bit))
    attempt(content + b"\0", (len(content),))
    assert accepted == []
    attempt(content, ())
    assert accepted == [()]


def resave(path: Path, arrays: dict[str, Any], texts: dict[str, str]) -> None:
    """Write a changed codebook with a hash that fits, as a forger would."""
    texts = {**texts, "content_sha256": content_hash(arrays, texts)}
    write_safetensors(path, arrays, texts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, t: t.update(format="other"), "is not a codebook, its format is 'other'"),
        (lambda a, t: t.pop("format"), "is not a codebook, its format is None"),
        (
            lambda a, t: t.update(format_version="2"),
            r"version 2, this geoquant reads 1; install the geoquant that saved it \(0.1.0\)",
        ),
        (
            lambda a, t: t.update(format_version="9" * 6000, metadata="x"),
            "that saved it.*a later release",
        ),
        (lambda a, t: t.update(format_version="0"), "'0' never existed"),
        (lambda a, t: t.update(format_version="²"), "never existed"),
        (lambda a, t: t.pop("format_version"), "'' never existed"),
        (lambda a, t: t.update(more="x"), "found .*'more'"),
        (lambda a, t: t.pop("n_neighbors"), "a codebook has the tensors"),
        (lambda a, t: a.pop("anchors"), "a codebook has the tensors"),
        (lambda a, t: a.update(more=np.zeros(1)), "found .*'more'"),
        (lambda a, t: a.update(vectors=a["vectors"].astype(np.float64)), "inconsistent: vectors"),
        (lambda a, t: a.update(anchor_code=a["anchor_code"] + 2), r"inconsistent.*\[0, 3\)"),
        (lambda a, t: a.update(anchors=a["anchors"][:4]), "inconsistent: anchor_distance"),
        (lambda a, t: a.update(vectors=a["vectors"] * np.nan), "inconsistent: vectors must be fin"),
        (lambda a, t: a.update(anchor_code=a["anchor_code"] - 1), r"inconsistent.*found -1"),
        (lambda a, t: a.update(anchors=np.repeat(a["anchors"], 2, 1)), "same number of columns"),
        (lambda a, t: a.update(anchors=a["anchors"] * np.nan), "inconsistent: anchors must be fin"),
        (lambda a, t: a.update(anchor_distance=-a["anchor_distance"]), "inconsistent.*negative"),
        (lambda a, t: t.update(n_neighbors="0"), "inconsistent: n_neighbors"),
        (lambda a, t: t.update(metadata='{"a":1e999}'), "inconsistent: metadata .* finite"),
        (lambda a, t: t.update(metadata='{"a":NaN}'), "inconsistent: metadata .* finite"),
        (lambda a, t: t.update(n_neighbors="two"), "inconsistent: invalid literal"),
        (lambda a, t: t.update(metadata="[]"), "inconsistent: metadata must be a dict"),
        (lambda a, t: t.update(metadata="{"), "inconsistent: Expecting"),
        (lambda a, t: t.update(metadata='{"a":' * 100_000), "inconsistent: maximum recursion"),
    ],
)
def test_load_refuses(tmp_path: Path, change: Any, message: str) -> None:
    """Files that are intact but no codebook of this release are refused, with what to do."""
    path = tmp_path / "book"
    tiny().save(path)
    arrays, texts = read_safetensors(path)
    change(arrays, texts)
    resave(path, arrays, texts)
    with pytest.raises(FileFormatError, match=message) as caught:
        Codebook.load(path)
    assert str(path) in str(caught.value)


def test_load_refuses_changed_content(tmp_path: Path) -> None:
    """A value that was changed without its hash is noticed."""
    path = tmp_path / "book"
    tiny().save(path)
    arrays, texts = read_safetensors(path)
    arrays["vectors"][0] += 1
    write_safetensors(path, arrays, texts)
    with pytest.raises(FileFormatError, match="does not match its SHA-256"):
        Codebook.load(path)


def test_load_refuses_other_spelling(tmp_path: Path) -> None:
    """A header of the same meaning but other bytes is not what was saved."""
    path = tmp_path / "book"
    tiny().save(path)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length])).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])
    assert read_safetensors(path)[1]["format"] == "geoquant-codebook"
    with pytest.raises(FileFormatError, match="the way geoquant writes"):
        Codebook.load(path)


def test_load_refuses_other_files(tmp_path: Path) -> None:
    """Missing files, folders and any other safetensors file are refused by name."""
    with pytest.raises(FileFormatError, match="no such file"):
        Codebook.load(tmp_path / "nowhere")
    with pytest.raises(
        FileFormatError, match=r"is a folder without model\.safetensors; name the file"
    ):
        Codebook.load(tmp_path)
    write_safetensors(tmp_path / "other", {"weight": np.zeros(3)}, {})
    with pytest.raises(FileFormatError, match="is not a codebook"):
        Codebook.load(tmp_path / "other")


def test_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    """Metadata too long to store leaves what was there."""
    tiny().save(tmp_path / "book")
    with pytest.raises(InputError, match="store less metadata"):
        tiny(metadata={"a": "x" * (1 << 20)}).save(tmp_path / "book")
    assert_same(Codebook.load(tmp_path / "book"), tiny())
