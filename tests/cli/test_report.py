"""``geoquant report``: a page of a codebook."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from tests.cli.conftest import assert_one_line_error, assert_usage_error, contents, spiral

pytest.importorskip("matplotlib")

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Any]
BOOK = "spiral.codebook.safetensors"
COMMAND = ("report", BOOK, "--latents", "spiral.npy")


@pytest.fixture
def book(run: Run, spiral_latents: Path) -> Any:
    run("fit", spiral_latents, "-k", 6, "-q", "-o", BOOK)
    return gq.load_codebook(BOOK)


def numbers_in(page: Path) -> Any:
    found = re.search(r'id="geoquant-report">\n(.*)\n</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])


def test_page_and_verdict(run: Run, book: Any, folder: Path) -> None:
    """The words of the page are printed, and where it is; one file is written."""
    before = set(contents(folder))
    outcome = run(*COMMAND)
    assert (outcome.exit_code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0].startswith(("Geodesic codes", "Plain KMeans"))
    assert lines[-1] == "report    report.html"
    assert set(contents(folder)) - before == {"report.html"}
    assert lines[0] in (folder / "report.html").read_text(encoding="utf-8")


def test_json_is_that_of_the_page(run: Run, book: Any, folder: Path) -> None:
    """With the words and the files beside the numbers."""
    np.save("classes.npy", np.arange(300) // 100)
    outcome = run(*COMMAND, "--labels", "classes.npy", "-o", "page.html", "--json")
    found = json.loads(outcome.out)
    assert (found["codebook"], found["report"]) == (BOOK, "page.html")
    assert found["classes"] == 3
    assert found["headline"]
    assert len(found["verdict"]) >= 5
    page = numbers_in(folder / "page.html")
    assert {name: found[name] for name in page} == page
    assert page["energy_history"] == book.metadata["inertia_history"]


def test_quiet_prints_nothing(run: Run, book: Any, folder: Path) -> None:
    """The page is written all the same."""
    assert run(*COMMAND, "-q") == (0, "", "")
    assert (folder / "report.html").exists()


def test_map_and_stages(run: Run, book: Any, folder: Path) -> None:
    """Coordinates of another method, and a codebook of several stages."""
    np.save("map.npy", spiral()[:, ::-1])
    assert run(*COMMAND, "--map", "map.npy").exit_code == 0
    run("fit", "spiral.npy", "-k", 4, "--stages", 2, "-q", "-o", "two.codebook.safetensors")
    outcome = run("report", "two.codebook.safetensors", "--latents", "spiral.npy")
    assert outcome.exit_code == 0
    assert "Stages: this is about the first of 2 residual stages" in outcome.out


def test_model_decodes(run: Run, folder: Path) -> None:
    """With a model the page has decoded pictures, beside images where they are given."""
    torch = pytest.importorskip("geoquant.torch")
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (90, 4, 5), np.uint8))
    with torch.seeded(0):
        torch.VAE((1, 4, 5), latent_dim=2, hidden_dim=8).save_pretrained(folder / "model")
    adapter = torch.VAEAdapter.wrap(folder / "model")
    z = adapter.encode_array(torch.load_images("images.npy"))
    np.save("spiral.npy", z)
    run("fit", "spiral.npy", "-k", 3, "-q", "-o", BOOK)
    outcome = run(*COMMAND, "--model", "model", "--data", "images.npy", "--json")
    found = json.loads(outcome.out)["reconstruction"]
    assert found["beside"] == "images"
    images = torch.load_images("images.npy").images().numpy()
    expected = np.square(adapter.decode_array(z) - images).mean()
    assert found["mean_squared_error"]["latents"] == pytest.approx(expected, rel=1e-5)
    assert "What does each code look like?" in (folder / "report.html").read_text(encoding="utf-8")
    np.save("spiral.npy", np.random.default_rng(0).normal(size=(50, 3)))
    run("fit", "spiral.npy", "-k", 3, "-q", "-o", BOOK)
    assert_usage_error(run(*COMMAND, "--model", "model"), "--model")


def test_what_does_not_fit(run: Run, book: Any, folder: Path) -> None:
    """Each error names the option or the file, and nothing is written."""
    np.save("wide.npy", np.zeros((300, 3)))
    np.save("few.npy", np.zeros(299, np.int64))
    before = contents(folder)
    assert_usage_error(run("report", BOOK), "--latents")
    assert_one_line_error(run("report", BOOK, "--latents", "wide.npy"), 2, "(n, 2)", "(300, 3)")
    assert_one_line_error(run("report", "spiral.npy", "--latents", "spiral.npy"), 3, "spiral.npy")
    assert_one_line_error(run(*COMMAND, "--labels", "few.npy"), 3, "labels must be 300 integers")
    assert_one_line_error(run(*COMMAND, "--map", "wide.npy"), 3, "wide.npy: a map must be of shape")
    assert_usage_error(run(*COMMAND, "--data", "mnist"), "--data", "--model")
    assert_usage_error(run(*COMMAND, "--split", "test"), "--split", "--model")
    assert_usage_error(run(*COMMAND, "-o", BOOK), "is an input and would be overwritten")
    assert_usage_error(run(*COMMAND, "-o", "nowhere/page.html"), "nowhere does not exist")
    assert contents(folder) == before


def test_without_matplotlib_it_says_what_to_install(
    run: Run, book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named in one line."""
    import sys

    for name in [name for name in sys.modules if name.startswith("geoquant.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delattr(gq, "report", raising=False)
    assert_one_line_error(run(*COMMAND), 2, "geoquant.report draws", "geoquant[plot]")
