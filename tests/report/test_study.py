"""Tests of geoquant/report/study.py, decoded.py and words.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.report import study_codebook, verdict
from geoquant.report.decoded import checked_images, decoded, image_errors
from geoquant.report.words import comparisons
from tests.report.conftest import arc, pixels

if TYPE_CHECKING:
    from geoquant.fit import FittedCodebook
    from geoquant.report import Study


@pytest.fixture(scope="module")
def whole(fitted: FittedCodebook) -> Study:
    """A study of all there is."""
    labels = np.where(np.arange(200) < 80, "near", "far")
    return study_codebook(
        fitted.codebook, arc(), labels=labels, decode=pixels, images=pixels(arc())
    )


def test_numbers_are_those_of_quality(whole: Study, fitted: FittedCodebook) -> None:
    """Nothing is computed otherwise than elsewhere in the package."""
    found = whole.numbers
    quality, codes, book = gq.quality, fitted.codes, fitted.codebook
    assert found["counts"] == quality.code_counts(codes, 8).tolist()
    assert found["geodesic"]["perplexity"] == quality.perplexity(codes, 8)
    assert found["imbalance"] == quality.imbalance(codes, 8)
    assert found["geodesic"]["geodesic_energy"] == pytest.approx(fitted.clustering.inertia / 200)
    assert found["geodesic"]["euclidean_distortion"] == quality.euclidean_distortion(
        arc(), book.vectors, codes
    )
    assert found["agreement_with_euclidean"] == quality.agreement(
        codes, book.assign(arc(), method="euclidean")
    )
    assert found["energy_history"] == list(fitted.clustering.inertia_history)
    assert (found["n"], found["d"], found["n_codes"], found["n_neighbors"]) == (200, 2, 8, 5)


def test_numbers_are_json(whole: Study) -> None:
    """They come through JSON as they are, without NaN."""
    text = json.dumps(whole.numbers, allow_nan=False)
    assert json.loads(text)["graph"] == whole.numbers["graph"]


def test_majorities_are_named(whole: Study, fitted: FittedCodebook) -> None:
    """The class of most of each code's latents."""
    labels = np.where(np.arange(200) < 80, "near", "far")
    for code, name in enumerate(whole.numbers["majority"]):
        names, counts = np.unique(labels[fitted.codes == code], return_counts=True)
        assert name == names[counts.argmax()]


def test_labels_told_by_just_one_of_both_are_counted(whole: Study, fitted: FittedCodebook) -> None:
    """As class by class and code by code."""
    labels = (np.arange(200) < 80).astype(int)
    told = []
    for codes in (fitted.codes, whole.peer.codes):
        majority = {c: np.bincount(labels[codes == c]).argmax() for c in set(codes.tolist())}
        told.append(np.array([majority[c] for c in codes.tolist()]) == labels)
    assert whole.numbers["majority_discordant"] == np.mean(told[0] != told[1])


def test_two_dimensions_are_their_own_map(whole: Study) -> None:
    """Other coordinates are taken if given, for every node in its place."""
    np.testing.assert_array_equal(whole.coordinates, arc())
    other = arc()[:, ::-1]
    found = study_codebook(whole.subject.codebook, arc(), coordinates=other)
    np.testing.assert_array_equal(found.coordinates, other)


def test_codes_are_shown_along_the_arc(whole: Study) -> None:
    """The centres in the order shown go round it, one way or the other."""
    centres = whole.subject.centres[whole.shown]
    assert sorted(centres) in (centres.tolist(), centres[::-1].tolist())


def test_images_are_those_of_the_decoder(whole: Study, fitted: FittedCodebook) -> None:
    """Codewords in the order shown, the ends of both ways, and errors by hand."""
    vectors = fitted.codebook.vectors
    np.testing.assert_array_equal(whole.images["codebook"], pixels(vectors[whole.shown]))
    for end in (0, -1):
        np.testing.assert_array_equal(whole.images["path"][end], whole.images["chord"][end])
    assert list(whole.rows) == ["images", "decoded latents", "KMeans codes", "geodesic codes"]
    found = whole.numbers["reconstruction"]
    seen = pixels(vectors[fitted.codes])
    assert found["mean_squared_error"]["geodesic codes"] == pytest.approx(
        np.square(seen - pixels(arc())).mean(), rel=1e-5
    )
    assert found["mean_squared_error"]["latents"] == 0
    assert (found["beside"], found["n_rows"]) == ("images", 200)


def test_without_images_the_decoded_latents_are_the_measure(fitted: FittedCodebook) -> None:
    """Then the latents have no error of their own."""
    found = study_codebook(fitted.codebook, arc(), decode=pixels).numbers["reconstruction"]
    assert found["beside"] == "decoded latents"
    assert set(found["mean_squared_error"]) == {"KMeans codes", "geodesic codes"}


def test_history_can_be_given_and_can_be_missing(fitted: FittedCodebook) -> None:
    """Given energies go before those of the file; a file without any has none."""
    from dataclasses import replace

    found = study_codebook(fitted.codebook, arc(), inertia_history=[3, 2])
    assert found.numbers["energy_history"] == [3.0, 2.0]
    bare = replace(fitted.codebook, metadata={})
    assert study_codebook(bare, arc()).numbers["energy_history"] is None


@pytest.mark.parametrize("kind", ["residual", "product"])
def test_several_stages(kind: Any) -> None:
    """The first is shown, the error of all is told, and rows are decoded from all."""
    x = arc()
    book = gq.fit_multistage(x, 4, n_stages=2, kind=kind, random_state=0).codebook
    found = study_codebook(book, x, decode=pixels)
    stages = found.numbers["stages"]
    words = book.lookup(book.assign(x))
    expected = np.square(words.astype(float) - x).sum(axis=1).mean()
    assert stages["euclidean_distortion"] == pytest.approx(expected, rel=1e-5)
    assert stages["tuples_used"] == len(np.unique(book.assign(x), axis=0))
    assert found.numbers["n_codes"] == 4
    assert list(found.rows)[-1] == "codes of all stages"
    assert ("codebook" in found.images) == (kind == "residual")
    assert any(point.startswith("Decoded: ") for point in verdict(found.numbers).points) == (
        kind == "residual"
    )
    assert any(point.startswith("Stages: ") for point in verdict(found.numbers).points)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": [0, 1]}, r"labels must have shape \(200,\)"),
        ({"labels": np.zeros(200)}, "labels must be integers or strings"),
        ({"images": np.zeros((200, 1, 7, 7))}, "give decode or a model"),
        ({"images": np.zeros((9, 1, 7, 7)), "decode": pixels}, "images must be 200"),
        ({"images": np.zeros((200, 1, 5, 5)), "decode": pixels}, r"images must have the shape"),
        ({"decode": lambda z: z}, "what decode gives must be images"),
        ({"decode": lambda z: np.full((len(z), 1, 2, 2), np.nan)}, "must be finite"),
        ({"coordinates": np.zeros((200, 3))}, r"coordinates must have shape \(200, 2\)"),
        ({"coordinates": np.full((200, 2), np.nan)}, "coordinates must be finite"),
        ({"inertia_history": [1.0, np.nan]}, "inertia_history must be finite"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(
    fitted: FittedCodebook, options: dict[str, Any], message: str
) -> None:
    """Before anything long is begun."""
    told: list[str] = []
    with pytest.raises(gq.InputError, match=message):
        study_codebook(
            fitted.codebook, arc(), progress=lambda stage, *_: told.append(stage), **options
        )
    assert set(told) <= {"codes", "KMeans"}


def test_map_is_of_the_anchors_only(fitted: FittedCodebook) -> None:
    """For other latents there is nothing that coordinates could belong to."""
    with pytest.raises(gq.InputError, match="coordinates are for the latents that the codebook"):
        study_codebook(fitted.codebook, arc()[:50], coordinates=np.zeros((50, 2)))


# ----------------------------------------------------------------------------------- decoded


def test_blocks_are_put_together() -> None:
    """Many latents are decoded in blocks, each image at its place."""
    z = np.random.default_rng(0).random((1201, 4)).astype(np.float32)
    sizes = []

    def decode(rows: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        return rows.reshape(-1, 2, 2)

    np.testing.assert_array_equal(decoded(decode, z), z.reshape(-1, 1, 2, 2))
    assert sizes == [500, 500, 201]


def test_images_out_of_range_are_cut_off() -> None:
    """Bytes are scaled, floats are not."""
    found = checked_images(np.array([[[[-0.5, 0.5, 1.5]]]]), 1)
    assert found.ravel().tolist() == [0, 0.5, 1]
    assert checked_images(np.array([[[51, 0]]], np.uint8), 1).max() == np.float32(0.2)
    with pytest.raises(gq.InputError, match="must be real numbers"):
        checked_images(np.zeros((1, 2, 2), bool), 1)


def test_errors_of_a_sample_are_of_the_same_rows() -> None:
    """Stand-ins and images are taken at the same latents."""
    z = np.random.default_rng(0).random((100, 4)).astype(np.float32)
    found = image_errors(
        lambda rows: rows.reshape(-1, 1, 2, 2), z, {"same": z}, z.reshape(-1, 1, 2, 2), max_rows=10
    )
    assert found["mean_squared_error"] == {"latents": 0.0, "same": 0.0}
    assert found["n_rows"] == 10


# ------------------------------------------------------------------------------------- words

SIDE = {
    "euclidean_distortion": 10.0,
    "geodesic_energy": 20.0,
    "perplexity": 7.0,
    "dead_codes": 0,
}
NUMBERS: dict[str, Any] = {
    "n": 1000,
    "n_codes": 8,
    "power": 2,
    "agreement_with_kmeans": 0.6,
    "adjusted_rand_with_kmeans": 0.5,
    "agreement_with_euclidean": 0.9,
    "majority_discordant": 0.001,
    "geodesic": {**SIDE, "geodesic_energy": 18.0},
    "kmeans": {**SIDE, "euclidean_distortion": 9.0},
    "elbow": {"ks": [1, 2, 4], "geodesic_energy": [40.0, 20.0, 10.0], "knee": None, "n_rows": 99},
    "graph": {"n_neighbors": 10, "n_components": 1},
    "stability": {
        "ks": [5, 10, 15],
        "agreement": [0.8, 1.0, 0.9],
        "n_components": [1, 1, 1],
        "other_seed": 0.85,
        "n_rows": 500,
        "majority_accuracy": None,
    },
}


def judged(own: float, other: float, **more: Any) -> dict[str, Any]:
    """Numbers with an error of pixels."""
    errors = {"geodesic codes": own, "KMeans codes": other}
    found = {"mean_squared_error": errors, "beside": "images", "n_rows": 9}
    return {**NUMBERS, "reconstruction": found, **more}


def told(own: float, other: float) -> dict[str, Any]:
    """Both sides with a share of labels told."""
    return {
        side: {**NUMBERS[side], "majority_accuracy": share, "nmi": 0.5}
        for side, share in (("geodesic", own), ("kmeans", other))
    }


@pytest.mark.parametrize(
    ("numbers", "headline"),
    [
        ({**NUMBERS, "agreement_with_kmeans": 0.995}, "Plain KMeans would do here."),
        (NUMBERS, "Geodesic codes are 10.0% nearer along the data; whether that helps"),
        ({**NUMBERS, "kmeans": NUMBERS["geodesic"]}, "Plain KMeans would do here: even along"),
        (judged(0.04, 0.05), "Geodesic codes are the better ones here: they decode to better"),
        (judged(0.05, 0.04), "Plain KMeans is the better choice here: its codes decode to better"),
        (judged(0.0500, 0.0499), "Plain KMeans would do here: other codes, but no better"),
        (judged(0.05, 0.04, **told(0.9, 0.8)), "Geodesic codes tell the labels better (90.0%"),
        ({**NUMBERS, **told(0.7, 0.8)}, "Plain KMeans is the better choice here: its codes tell"),
        ({**NUMBERS, **told(0.805, 0.8)}, "Plain KMeans would do here: other codes, but no"),
    ],
)
def test_headlines(numbers: dict[str, Any], headline: str) -> None:
    """Who wins is said by what neither is made for; where geodesic loses, too."""
    assert verdict(numbers).headline.startswith(headline)


def test_chance_decides_nothing() -> None:
    """Of few latents a difference of labels told has to be larger."""
    few = {**NUMBERS, **told(0.85, 0.8), "n": 50, "majority_discordant": 0.2}
    many = {**few, "n": 5000}
    assert verdict(few).headline.startswith("Plain KMeans would do here: other codes")
    assert verdict(many).headline.startswith("Geodesic codes are the better ones")


def test_table_says_who_is_better() -> None:
    """Less is better for errors, more for what is told."""
    rows = comparisons(judged(0.05, 0.04, **told(0.9, 0.8)))
    assert [better for *_, better in rows] == [1, -1, -1, 1, 0]


def test_losing_by_its_own_measure_is_said() -> None:
    """A poor fit is called one."""
    worse = {**NUMBERS, "geodesic": {**SIDE, "geodesic_energy": 30.0}}
    assert "Geodesic loses even by its own measure" in verdict(worse).points[1]
    assert "geodesic 50.0% more" in verdict(worse).points[1]


def point(numbers: dict[str, Any], name: str) -> str:
    return next(p for p in verdict(numbers).points if name in p)


def test_number_of_codes_in_words() -> None:
    """An elbow where there is one; otherwise what a doubling gains; and what is unused."""
    text = point(NUMBERS, "Number of codes")
    assert "no K stands out between 1 and 4" in text
    assert "about 50% off the energy" in text
    bent = {**NUMBERS, "elbow": {**NUMBERS["elbow"], "knee": 2}}
    assert "the data suggest K = 2" in point(bent, "Number of codes")
    few = {**NUMBERS, "elbow": {**NUMBERS["elbow"], "ks": [1], "geodesic_energy": [1.0]}}
    assert "too few latents" in point(few, "Number of codes")
    idle = {**NUMBERS, "geodesic": {**SIDE, "perplexity": 2.0, "dead_codes": 5}}
    assert "5 of 8 codes are unused and the perplexity is 2.0" in point(idle, "Number of codes")


def test_number_of_neighbours_in_words() -> None:
    """What chance does, what the graph does, and what labels say of it."""
    name = "Number of neighbours"
    assert point(NUMBERS, name).endswith("no more than another seed (0.85): k = 10 can stay.")
    stable = NUMBERS["stability"]
    loose = {**stable, "agreement": [0.3, 1.0, 0.9]}
    text = point({**NUMBERS, "stability": loose}, name)
    assert "k = 5 changes the codes (adjusted Rand index 0.30) more than another seed" in text
    assert "Nothing speaks against 10" in text
    best = {**loose, "majority_accuracy": [0.9, 0.8, 0.7, 0.81]}
    told = "with k = 5 they tell the labels better (90.0% against 80.0%): the data suggest it."
    assert told in point({**NUMBERS, "stability": best}, name)
    same = {**loose, "majority_accuracy": [0.81, 0.8, 0.7, 0.81]}
    assert point({**NUMBERS, "stability": same}, name).endswith("no better: k = 10 can stay.")
    pieces = {**NUMBERS, "graph": {"n_neighbors": 10, "n_components": 3}}
    apart = {**pieces, "stability": {**stable, "n_components": [9, 3, 1]}}
    assert "k = 15 gives one piece" in point(apart, name)
    apart = {**pieces, "stability": {**stable, "n_components": [9, 3, 3]}}
    assert "the gaps are real" in point(apart, name)
    assert "too few latents" in point({**NUMBERS, "stability": None}, name)
