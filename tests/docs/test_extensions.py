"""Tests of docs/extensions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.test_project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


@pytest.fixture
def pages_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "extensions"))
    import pages_of_the_tree

    yield pages_of_the_tree
    sys.modules.pop("pages_of_the_tree")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](#there)", "[a](#there)"),
        ("[a](https://example.org/b)", "[a](https://example.org/b)"),
        ("[a](papers/geodesic_vq/README.md#c)", "[a](geodesic_vq.md#c)"),
        ("[a](../docs/reliability.md)", "[a](../reliability.md)"),
        ("[a](results/fit.json)", "a"),
        ("![a](../docs/images/b.png)", "![a](../images/b.png)"),
        ("![a](results/b.png)", "![a](../../benchmarks/results/b.png)"),
    ],
)
def test_links_of_files_lead_to_pages(
    pages_of_the_tree: ModuleType, text: str, expected: str
) -> None:
    """Links between files become links between pages, and others plain text."""
    assert pages_of_the_tree.linked_from("findings/benchmarks", text) == expected


def test_files_of_pages_exist(pages_of_the_tree: ModuleType) -> None:
    """Each file that is a page is there, and so is the page."""
    for page, file in pages_of_the_tree.FILES.items():
        assert (ROOT / file).is_file()
        assert (ROOT / "docs" / f"{page}.md").is_file()
