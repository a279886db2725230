"""Tests of how the paper on geodesic quantization is measured: what needs no training."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest

from benchmarks.papers.claims import claims_markdown
from benchmarks.papers.geodesic_vq import (
    claims,
    curves,
    figures,
    metrics,
    steps,
    table,
)
from benchmarks.papers.geodesic_vq.rows import COLUMNS, Line, best_total, lines, paper_text, totals
from benchmarks.papers.geodesic_vq.settings import FULL, QUICK
from benchmarks.papers.spread import Column, Measured, spread, text_of
from benchmarks.papers.steps import Step, cache_of, in_order
from benchmarks.peers import NotAvailable

if TYPE_CHECKING:
    from pathlib import Path

VERDICT = {"n": 10, "confident": 0.9, "digits": [0.1] * 10}
SETTINGS = replace(FULL, tokens=(2,), euclidean_tokens=(), rectified_tokens=(2,))
ABOUT = {
    "date": "2026-01-02T03:04+00:00",
    "commit": "0123456789abcdef",
    "cpu": "A Processor",
    "cores": 2,
    "python": "3.11",
    "versions": {"torch": "2.0", "numpy": "2.1", "faiss-cpu": "1.9"},
    "size": "full",
}


def results() -> dict[str, Any]:
    """Of two seeds, with numbers that are easy to add."""
    seeds = {
        str(seed): {
            "rows": [
                {"key": "vae-sampled", "values": {"bce": 80.0 + seed, "regularizer": 25.0}},
                {"key": "geodesic-2-rated", "values": {"bce": 130.0, "total": 138.0 + seed}},
                {"key": "geodesic-2-rectified-rated", "values": {"total": 128.0 + seed}},
            ],
            "samples": {
                "name": "geodesic-2-rectified",
                "geo_vq": VERDICT,
                "vae": VERDICT,
                "by_temperature": [{"name": "geodesic-2-rectified", "temperature": 0.8, **VERDICT}],
            },
        }
        for seed in (0, 2)
    }
    point = {"tokens": 1, "nll_image": 4.0, "bce": 165.0, "total": 169.0}
    return {
        "about": ABOUT,
        "settings": asdict(SETTINGS),
        "judge": {"accuracy": 0.99, "test": VERDICT},
        "seeds": seeds,
        "curves": {"faiss RQ": [point]},
    }


# ---------------------------------------------------------------------------------- numbers


def test_texts_of_numbers() -> None:
    """Mean ± deviation with the column's digits, one seed alone, nothing where nothing is."""
    assert text_of(spread([80.0, 82.0]), 2) == "81.00 ± 1.41"
    assert text_of(spread([80.0]), 1) == "80.0"
    assert text_of(None, 2) == ""
    line = Line("x", "X", {"nll_token": 3.1321})
    assert paper_text(line, Column("nll_token", "NLL", 3)) == "3.1321"
    assert paper_text(line, Column("bce", "BCE", 2)) == ""


def test_total_is_added_where_both_parts_are() -> None:
    """NLL + BCE needs both."""
    assert totals({"bce": 100.0, "nll_image": 8.5})["total"] == 108.5
    assert "total" not in totals({"bce": 100.0})


def test_best_total_is_of_the_rows_with_an_ending() -> None:
    """A better row of another kind is not taken."""
    rows = [
        Measured("geodesic-4", {"total": 1.0}),
        Measured("geodesic-4-rectified", {"total": 3.0}),
        Measured("geodesic-6-rectified", {"total": 2.0}),
    ]
    assert best_total(rows, "-rectified").key == "geodesic-6-rectified"


def test_keys_of_lines_are_unique() -> None:
    """Each row of the table has a name of its own."""
    keys = [line.key for line in lines(FULL.tokens, FULL.euclidean_tokens, FULL.rectified_tokens)]
    assert len(keys) == len(set(keys))


def test_numbers_of_codes() -> None:
    """Counts, perplexity, majority vote and NMI of a case by hand; of pairs, the first token."""
    train = np.array([0, 0, 1, 1])
    test = np.array([0, 1, 0, 1])
    digits = np.array([7, 7, 5, 5])
    found = metrics.of_codes(train, digits, test, np.array([7, 5, 7, 5]), 4)
    assert found == pytest.approx({"used": 2, "perplexity": 2, "accuracy": 1, "nmi": 1})
    pairs = metrics.of_codes(
        np.stack([train, train * 0], 1),
        digits,
        np.stack([test, test * 0], 1),
        np.array([7, 5, 7, 5]),
        4,
    )
    assert pairs == pytest.approx({"used": 1.5, "perplexity": 1.5, "accuracy": 1, "nmi": 1})


def test_nats_of_frequencies() -> None:
    """Half a count is added to every code, so that one never seen has a price."""
    found = metrics.unigram_nats(np.array([0, 0, 0]), np.array([0, 1]), 2)
    assert found == pytest.approx(-(np.log(3.5 / 4) + np.log(0.5 / 4)) / 2)
    assert metrics.of_nats(np.array([1.0, 2.0])) == {"nll_token": 1.5, "nll_image": 3.0}


@pytest.mark.parametrize("m", [1, 3, 8])
def test_codes_that_faiss_packed(m: int) -> None:
    """Six bits each, as its product quantizer packs them, decode to the same vectors."""
    x = np.random.default_rng(0).normal(size=(2_000, 2 * m)).astype(np.float32)
    quantizer = faiss.ProductQuantizer(2 * m, m, 6)
    quantizer.cp.niter = 1
    quantizer.train(x)
    packed = quantizer.compute_codes(x[:50])
    centroids = faiss.vector_to_array(quantizer.centroids).reshape(m, 64, 2)
    codes = curves.unpacked(packed, m)
    decoded = np.concatenate([centroids[i, codes[:, i]] for i in range(m)], axis=1)
    np.testing.assert_array_equal(decoded, quantizer.decode(packed))


# ------------------------------------------------------------------------------------ steps


@pytest.mark.parametrize("settings", [FULL, QUICK])
def test_steps_need_steps_that_are_there(settings: Any) -> None:
    """Each step has its own path, and waits for known ones."""
    todo = steps.steps_of(settings, [0, 1, 2])
    paths = {step.path for step in todo}
    assert len(paths) == len(todo)
    assert {need for step in todo for need in step.needs} <= paths


def test_steps_run_in_an_order_that_meets_their_needs() -> None:
    """At most two at once, none before what it needs."""
    order: list[str] = []

    def submit(step: Step) -> Future[float]:
        future: Future[float] = Future()
        assert set(step.needs) <= {f"{path}" for path in order}
        future.set_result(0.0)
        return future

    todo = steps.steps_of(QUICK, [0])
    shuffled = [todo[i] for i in np.random.default_rng(0).permutation(len(todo))]
    in_order(shuffled, submit, lambda step, _: order.append(step.path), n_at_once=2)
    assert sorted(order) == sorted(step.path for step in todo)


def test_results_are_gathered_from_what_steps_left(tmp_path: Path) -> None:
    """Rows of each seed in order, the judge's result and the curves of the first seed."""
    todo = steps.steps_of(QUICK, [0, 1])
    for step in todo:
        is_dict = step.name in ("samples", "judge")
        rows = [{"key": step.name, "values": {}}]
        made = {"n": 1} if is_dict else [{"bce": 1.0}] if "curve" in step.name else rows
        cache_of(tmp_path, QUICK, step.folder).once(step.name, lambda made=made: made)
    found = steps.results_of(tmp_path, QUICK, todo, [0, 1])
    assert found["judge"] == found["seeds"]["1"]["samples"] == {"n": 1}
    assert found["seeds"]["1"]["rows"][0]["key"] == "vae"
    assert not any(row["key"].startswith("curve") for row in found["seeds"]["0"]["rows"])
    assert found["curves"]["faiss PQ"] == [{"bce": 1.0}]


# --------------------------------------------------------------------------- tables, pictures


def test_table_shows_ours_and_the_papers() -> None:
    """Mean ± deviation, what the paper printed in parentheses, empty cells where nothing is."""
    text = table.table_markdown(results())
    assert "| VAE, sampled z | 81.00 ± 1.41 (80.19) | 25.00 ± 0.00 (25.34) |" in text
    assert "| VAE, mean z |  |" in text
    assert "81.00" in table.as_text(results())


def test_claims_and_targets_show_numbers() -> None:
    """A claim without its rows keeps its remark; a target says whether it was reached."""
    found = table.measured(results())
    text = claims_markdown(claims.CLAIMS, COLUMNS, found)
    assert "Measured: sampled z: BCE 81.00 ± 1.41;" in text
    assert text.count("\n") == len(claims.CLAIMS) - 1
    samples = [seed["samples"] for seed in results()["seeds"].values()]
    rows = claims.targets_markdown(found, samples)
    assert "| VAE, sampled z | BCE ≤ 80.99 | 81.00 ± 1.41 | short |" in rows
    assert "best M (2 tokens), frozen decoder | NLL + BCE ≤ 108.50 | 139.00" in rows
    assert "best M (2 tokens), rectified decoder | NLL + BCE ≤ 105.50 | 129.00" in rows
    assert "| samples, judged | sure of ≥ 85% | 90.0% to 90.0% | reached |" in rows


def test_evidence_names_rows_and_columns_that_exist() -> None:
    """No claim or target waits for a number that no step gives."""
    keys = {line.key for line in lines(FULL.tokens, FULL.euclidean_tokens, FULL.rectified_tokens)}
    named = {row for claim in claims.CLAIMS for _, row, _ in claim.evidence}
    assert named | {target.row for target in claims.TARGETS} <= keys


def test_readme_is_filled_from_the_results(tmp_path: Path) -> None:
    """All blocks are replaced; without results there is an error that says what to run."""
    readme = tmp_path / "README.md"
    readme.write_text(table.README.read_text("utf-8"), encoding="utf-8")
    with pytest.raises(NotAvailable, match="make paper-geodesic-vq"):
        table.write(tmp_path, readme)
    (tmp_path / "results.json").write_text(json.dumps(results()), encoding="utf-8")
    table.write(tmp_path, readme)
    text = readme.read_text("utf-8")
    for part in (
        "81.00 ± 1.41 (80.19)",
        "| faiss RQ | 1 | 4.00 | 165.00 | 169.00 |",
        "| 2 tokens, temperature 0.8 | 90.0 ± 0.0 % | 10.0 % | 10.0 % |",
        "0123456789",
    ):
        assert part in text


def test_points_of_a_curve_are_those_of_its_kind() -> None:
    """Rows with the ending, by number of tokens, not by name."""
    rows = {
        f"geodesic-{m}{ending}": {"bce": float(m)}
        for m in (10, 2)
        for ending in ("", "-rated", "-rectified", "-rectified-rated")
    }
    assert figures.points_of(rows, "-rectified") == [{"bce": 2.0}, {"bce": 10.0}]
    assert [p["bce"] for p in figures.points_of(rows, "")] == [2.0, 10.0]


def test_rate_distortion_is_drawn(tmp_path: Path) -> None:
    """The picture is written and small."""
    found = results()
    rows = found["seeds"]["0"]["rows"]
    rows.append({"key": "vqvae-ema", "values": {"nll_image": 4.1, "bce": 145.0}})
    rows.append({"key": "geodesic-2", "values": {"nll_image": 8.2, "bce": 130.0}})
    figures.draw_rate_distortion(found, 0, tmp_path / "curve.png")
    assert 1_000 < (tmp_path / "curve.png").stat().st_size < 200_000


def test_images_chosen_for_pictures() -> None:
    """The first of each digit."""
    labels = np.array([5, 0, 5, 0, 0])
    assert figures.first_of_each_digit(labels).tolist() == [1, 0]
