"""Tests of geoquant/report/page.py, sections.py and svg.py: the page as one file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib import rcParams

import geoquant as gq
from geoquant.report import report_html, study_codebook, verdict, write_report
from geoquant.report import svg as svg_module
from geoquant.report.page import NUMBERS_ID
from geoquant.report.sections import sections
from geoquant.report.svg import inline_svg, new_figure, page_style
from tests.report.conftest import arc, pixels

if TYPE_CHECKING:
    from pathlib import Path

    from geoquant.fit import FittedCodebook
    from geoquant.report import Study

VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror='a'>&\"$\\frac{"


class Page(HTMLParser):
    """What is in a page: a tree that closes, texts by tag, attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[Any]) -> None:
        assert len(dict(attrs)) == len(attrs), tag
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[Any]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def whole(fitted: FittedCodebook) -> Study:
    labels = np.where(np.arange(200) < 80, HOSTILE, "plain")
    return study_codebook(
        fitted.codebook, arc(), labels=labels, decode=pixels, images=pixels(arc())
    )


@pytest.fixture(scope="module")
def html(whole: Study) -> str:
    return report_html(whole, title=HOSTILE)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_page_needs_nothing_else(html: str, page: Page) -> None:
    """No address of any kind, nothing loaded but data within."""
    assert "http" not in html
    assert "//" not in re.sub(r"base64,[^\"]*", "", html).replace("<!--", "")
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "img"} == set()
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert attributes.get(name, "#")[:1] == "#" or attributes[name].startswith(
                "data:image/png;base64,"
            )


def test_numbers_are_in_the_page(page: Page, whole: Study) -> None:
    """As JSON, the same as were computed, with the version of their form."""
    (element,) = [a for a in page.all("script") if a.get("id") == NUMBERS_ID]
    assert element["type"] == "application/json"
    found = json.loads(page.text("script")[0])
    assert found == json.loads(json.dumps(whole.numbers))
    assert found["schema_version"] == 1


def test_hostile_names_are_text(html: str, page: Page) -> None:
    """In title, heading, pictures and JSON they are shown as they are, and run nothing."""
    assert page.text("title") == [f"geoquant: {HOSTILE}"]
    assert page.text("h1") == [HOSTILE]
    assert any(HOSTILE in text for text in page.text("text"))
    assert len(page.all("script")) == 2
    assert "alert(1)</script>" not in html


def test_every_picture_has_words(page: Page) -> None:
    """An alternative text of its own, and a caption."""
    labels = [a["aria-label"] for a in page.all("svg")]
    assert len(labels) == len(set(labels)) == len(page.all("figcaption")) == 13
    assert all(len(label) > 20 and "nan" not in label for label in labels)
    assert all(a["role"] == "img" and "viewbox" in a for a in page.all("svg"))


def test_names_in_the_page_are_unique_and_found(page: Page) -> None:
    """Whatever is referred to is there once; the links lead somewhere."""
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")} | set(
        re.findall(r"url\(#([^)]+)\)", " ".join(str(a) for _, a in page.tags))
    )
    assert wanted <= set(ids)


def test_pictures_take_the_colours_of_the_page(html: str) -> None:
    """None of the stand-ins is left, and each colour is one that the style defines."""
    for colour in svg_module._OF_PAGE:
        assert colour not in html.partition("</style>")[2]
    used = set(re.findall(r"var\((--[a-z]+)\)", html))
    assert used <= set(re.findall(r"(--[a-z]+):", html))


def test_verdict_and_sections_are_in_the_page(page: Page, whole: Study) -> None:
    """The headline, every question with a picture, and no empty ones."""
    headings = page.text("h2")
    assert headings[0] == verdict(whole.numbers).headline
    assert headings[1:-1] == [s.question for s in sections(whole)]
    assert len(page.all("section")) == 10


def test_page_is_for_phone_night_and_paper(html: str, page: Page) -> None:
    """The viewport is the device's, and there are styles for the dark and for print."""
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert "@media (prefers-color-scheme:dark)" in html
    assert "@media print" in html


def test_page_is_the_same_each_time(whole: Study, html: str) -> None:
    """To the byte, so that it can be compared."""
    assert report_html(whole, title=HOSTILE) == html


def test_bare_codebook_says_what_is_missing(fitted: FittedCodebook) -> None:
    """Without decoder, labels and history, and on other latents."""
    bare = replace(fitted.codebook, metadata={})
    html = report_html(study_codebook(bare, arc()[::2]))
    page = Page(html)
    notes = " ".join(page.text("li"))
    assert "Without a decoder nothing is decoded" in notes
    assert "does not hold the energies of its fit" in notes
    assert "not the ones that the codebook was fitted on" in notes
    assert len(page.all("section")) == 6


def test_codebook_of_output_lengths_draws_no_two_units(fitted: FittedCodebook) -> None:
    """Its distances are of another unit than the straight ones."""
    book = gq.fit_codebook(arc(), 4, edge_outputs=arc() * 9, random_state=0).codebook
    drawn = {s.name: s for s in sections(study_codebook(book, arc()))}
    assert drawn["distances"].pictures == ()
    assert "in the unit of outputs" in drawn["distances"].text


def test_one_code_and_three_latents() -> None:
    """The smallest codebooks have pages, too."""
    for n_codes in (1, 3):
        x = np.array([[0.0], [1.0], [5.0]], np.float32)
        book = gq.fit_codebook(x, n_codes, random_state=0).codebook
        Page(report_html(study_codebook(book, x)))


def test_pieces_and_bridges_are_told() -> None:
    """Of two heaps far apart."""
    x = np.concatenate([arc(60), arc(60) + 1000])
    book = gq.fit_codebook(x, 4, random_state=0).codebook
    drawn = {s.name: s for s in sections(study_codebook(book, x))}
    assert "2 pieces before bridging, of 60, 60 latents" in drawn["graph"].text


def test_file_is_small_and_its_numbers_are_returned(fitted: FittedCodebook, tmp_path: Path) -> None:
    """The file holds the page in UTF-8."""
    path = tmp_path / "report.html"
    numbers = write_report(path, fitted.codebook, arc(), title="größer")
    text = path.read_text(encoding="utf-8")
    assert "<title>geoquant: größer</title>" in text
    assert path.stat().st_size < 500_000
    assert json.loads(Page(text).text("script")[0]) == json.loads(json.dumps(numbers))


def test_no_figure_and_no_style_is_left(fitted: FittedCodebook) -> None:
    """Drawing a page changes nothing that the user draws with."""
    before = dict(rcParams)
    sections(study_codebook(fitted.codebook, arc()))
    assert plt.get_fignums() == []
    assert dict(rcParams) == before


def test_user_styles_do_not_show() -> None:
    """Whatever the user has set, the page is drawn in its own style."""
    drawn = []
    before = rcParams["xtick.major.size"]
    for size in (before, 30.0):
        rcParams["xtick.major.size"] = size
        with page_style():
            drawn.append(inline_svg(new_figure().figure, "x", "Empty axes."))
    rcParams["xtick.major.size"] = before
    assert drawn[0] == drawn[1]


def test_alternative_text_is_escaped() -> None:
    """It may hold anything."""
    with page_style():
        drawn = inline_svg(new_figure().figure, "x", HOSTILE)
    assert Page(drawn).all("svg")[0]["aria-label"] == HOSTILE


def test_real_latents(data_folder: Path) -> None:
    """A page of 5 000 latents of MNIST is small; the codes beside KMeans are told by labels."""
    x = np.load(data_folder / "latents/mnist_vae20_train_mean.npy")[:5000]
    labels = np.load(data_folder / "latents/mnist_train_labels.npy")[:5000]
    book = gq.fit_codebook(x, 64, random_state=0, n_perturbations=0).codebook
    found = study_codebook(book, x, labels=labels)
    assert found.numbers["geodesic"]["majority_accuracy"] > 0.8
    assert len(report_html(found)) < 1_500_000
