"""The examples of the gallery run, and draw."""

from __future__ import annotations

import re
import runpy
from typing import TYPE_CHECKING

import pytest

from tests.test_project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "docs" / "gallery").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_draws(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs to the end, shows one figure at least, and the figure has something drawn."""
    for library in set(re.findall(r"^(?:from|import) (\w+)", example.read_text(), re.MULTILINE)):
        pytest.importorskip(library)
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    shown: list[bool] = []

    def show() -> None:
        figures = [plt.figure(number) for number in plt.get_fignums()]
        shown.extend(
            bool(figure.axes) and all(ax.has_data() for ax in figure.axes) for figure in figures
        )
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    try:
        runpy.run_path(str(example), run_name="__main__")
    finally:
        plt.close("all")
    assert shown
    assert all(shown)


def test_there_are_examples_of_what_the_pages_promise() -> None:
    """Every picture and example that a page links to is one of the gallery."""
    linked = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(
            r"examples/(?:images/sphx_glr_)?(plot_\w+?)(?:_\d{3}\.png|\.rst)", page.read_text()
        )
    }
    assert linked
    assert linked <= {example.stem for example in EXAMPLES}
