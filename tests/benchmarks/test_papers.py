"""Tests of what the measurements of papers share: numbers, judge, and going on with steps."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from benchmarks.papers import judge
from benchmarks.papers.cache import Cache
from benchmarks.papers.pictures import draw_rows, strip, typical_rows
from benchmarks.papers.spread import Measured, by_row, spread
from benchmarks.papers.steps import Step, in_order
from benchmarks.verify import WrongResult
from geoquant.torch import ImageSet

if TYPE_CHECKING:
    from pathlib import Path


def test_spread_is_mean_and_deviation_of_a_sample() -> None:
    """Two seeds have the half-difference times root two; one seed has no deviation."""
    assert spread([80.0, 82.0]).mean == 81.0
    assert spread([80.0, 82.0]).sd == pytest.approx(2**0.5)
    assert spread([3.0]).sd is None


def test_rows_are_put_together_by_key_and_column() -> None:
    """A seed without a column does not count for it."""
    found = by_row([[Measured("a", {"bce": 1.0, "nmi": 0.5})], [Measured("a", {"bce": 3.0})]])
    assert found["a"]["bce"].mean == 2.0
    assert found["a"]["nmi"].n == 1


def test_verdict_of_toy_logits() -> None:
    """Two of four images are sure; shares of digits count the unsure ones too."""
    logits = torch.zeros(4, 10)
    logits[0, 3] = logits[1, 7] = 20
    logits[2, 3] = logits[3, 0] = 1
    found = judge.verdict(logits)
    assert (found.n, found.confident) == (4, 0.5)
    assert found.digits == (0.25, 0, 0, 0.5, 0, 0, 0, 0.25, 0, 0)
    assert judge.accuracy(logits, np.array([3, 7, 3, 1])) == 0.75


def test_judge_learns_and_is_refused_when_it_cannot() -> None:
    """Black and white images are told apart after some epochs, and not if labels are wrong."""
    pixels = np.repeat(np.array([0, 255], np.uint8), 32)[:, None, None, None]
    data = ImageSet(np.tile(pixels, (1, 1, 28, 28)), np.repeat([0, 1], 32), "toy")
    model = judge.trained(data, epochs=4)
    assert judge.require_able(model, data) == 1
    wrong = ImageSet(data.pixels, 1 - np.asarray(data.labels), "toy")
    with pytest.raises(WrongResult, match="right in"):
        judge.require_able(model, wrong)


def test_step_is_done_once(tmp_path: Path) -> None:
    """A second run takes what the first one left; other settings make it anew."""
    calls: list[int] = []

    def make() -> list[int]:
        calls.append(1)
        return [len(calls)]

    cache = Cache(tmp_path / "seed0", {"epochs": (1, 2)})
    assert cache.found("vae") is None
    assert [cache.once("vae", make), cache.once("vae", make)] == [[1], [1]]
    assert Cache(tmp_path / "seed0", {"epochs": (1, 3)}).once("vae", make) == [2]


def test_failed_step_leaves_nothing(tmp_path: Path) -> None:
    """What raised is done again by the next run."""
    cache = Cache(tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        cache.once("vae", lambda: 1 // 0)
    assert cache.once("vae", lambda: [1]) == [1]


def test_failing_step_ends_the_run_and_missing_needs_are_named() -> None:
    """Its error comes out; a step whose need does not exist is an error of its own."""

    def submit(step: Step) -> Future[float]:
        future: Future[float] = Future()
        future.set_exception(WrongResult("no"))
        return future

    with pytest.raises(WrongResult, match="no"):
        in_order([Step("judge", "judge")], submit, lambda *_: None, n_at_once=2)
    lost = Step("seed0", "samples", ("seed0/nothing",))
    with pytest.raises(ValueError, match="seed0/samples"):
        in_order([lost], submit, lambda *_: None, n_at_once=2)


def test_rows_of_images_are_drawn(tmp_path: Path) -> None:
    """Side by side with a gap, grey ones and coloured ones, also in rows of unequal length."""
    assert strip(np.zeros((3, 1, 4, 5), np.float32)).shape == (4, 3 * 7 - 2)
    assert strip(np.zeros((2, 3, 4, 5), np.float32)).shape == (4, 2 * 7 - 2, 3)
    grey, coloured = (np.zeros((n, c, 8, 8), np.float32) for n, c in ((3, 1), (2, 3)))
    draw_rows({"one": grey, "two": coloured}, tmp_path / "rows.png", ["a", "b"])
    assert (tmp_path / "rows.png").stat().st_size > 1_000


def test_typical_row_of_a_class() -> None:
    """The one nearest to the mean of its class."""
    latents = np.array([[0], [1], [9], [2], [6]], np.float32)
    assert typical_rows(latents, np.array([5, 0, 5, 0, 0]), (0, 5)) == [3, 0]
