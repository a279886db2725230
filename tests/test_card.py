"""Model cards: what they say, that it is true, and that no text of users acts as markup."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant.card import MARKER, Card, card_files, codebook_card, is_own_card
from tests.reference import distances_between

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = '```\n</code><script>alert("1")</script>\n---\nlicense: mit\n| a | b |\n‮'


def a_codebook(metadata: dict[str, object] | None = None) -> gq.Codebook:
    """Six codes, of which one is of no anchor."""
    rng = np.random.default_rng(0)
    anchors = rng.normal(size=(40, 3)).astype(np.float32)
    return gq.Codebook(
        vectors=rng.normal(size=(6, 3)).astype(np.float32),
        anchors=anchors,
        anchor_distance=rng.random(40),
        anchor_code=rng.integers(0, 5, 40).astype(np.int32),
        n_neighbors=4,
        metadata=metadata or {},
    )


def fact(text: str, name: str) -> str:
    """The value beside a name in the table of a card."""
    found = re.search(rf"^\| {re.escape(name)} \| (.*) \|$", text, re.MULTILINE)
    assert found, name
    return found[1]


def test_numbers_are_those_of_the_anchors() -> None:
    """Use, perplexity, distances and disagreement, each computed anew."""
    book = a_codebook()
    text = codebook_card(book).text()
    share = np.bincount(book.anchor_code) / 40
    perplexity = np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())
    distortion = np.square(book.anchors - book.vectors[book.anchor_code]).sum(axis=1).mean()
    other = (
        distances_between(book.anchors, book.vectors).argmin(axis=1) != book.anchor_code
    ).mean()
    assert fact(text, "codes that anchors have") == "5 of 6"
    assert float(fact(text, "perplexity of the anchors' codes")) == pytest.approx(perplexity, 0.01)
    name = "mean distance of an anchor to its centre along the data, in units of the latents"
    assert float(fact(text, name)) == pytest.approx(book.anchor_distance.mean(), 1e-4)
    name = "mean squared straight distance of an anchor to its codeword"
    assert float(fact(text, name)) == pytest.approx(distortion, 1e-4)
    name = "anchors whose nearest codeword in a straight line is another"
    assert fact(text, name) == f"{other:.1%}"
    assert 0 < other < 1


def test_distances_of_outputs_are_said_to_be_so() -> None:
    """A codebook with edges measured in outputs gives its distances in their unit."""
    assert (
        "in units of the outputs" in codebook_card(a_codebook({"edge_lengths": "outputs"})).text()
    )


def test_front_matter_is_that_of_the_hub() -> None:
    """The library and tags, no licence, and the title right below."""
    lines = codebook_card(a_codebook({"n_latents": 1234})).text().splitlines()
    assert lines[:2] == ["---", "library_name: geoquant"]
    end = lines.index("---", 1)
    assert lines[2:end] == ["tags:", "- geoquant", "- vector-quantization", "- geodesic"]
    assert lines[end + 2] == "# A codebook of 6 codes for latents of 3 numbers"
    assert lines[end + 4].endswith("It was fitted to 1,234 latents.")


def test_use_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python in the card, with the folder put in, loads the codebook and uses it."""
    book = a_codebook()
    (tmp_path / "here").mkdir()
    book.save(tmp_path / "here" / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)\n```", codebook_card(book).text(), re.DOTALL)
    assert code
    names = {"latents": book.anchors}
    exec(code[1].replace("path/to/this/folder", "here"), names)
    assert np.array_equal(names["codes"], book.assign(book.anchors))
    assert np.array_equal(names["latents_again"], book.vectors[names["codes"]])


def test_text_of_users_is_only_json_in_a_fence() -> None:
    """Metadata of any kind can neither end the fence nor be read as markup."""
    text = codebook_card(a_codebook({HOSTILE: HOSTILE})).text()
    plain = codebook_card(a_codebook({"name": "x"})).text()
    before, _, rest = text.partition("```json\n")
    made, _, after = rest.partition("\n```\n")
    assert json.loads(made) == {HOSTILE: HOSTILE}
    assert before == plain.partition("```json\n")[0]
    assert after == plain.partition("```json\n")[2].partition("\n```\n")[2]
    assert made.isascii()


@pytest.mark.parametrize(("kind", "words"), [("residual", "added"), ("product", "side by side")])
def test_card_of_stages(kind: str, words: str) -> None:
    """It says how many codes a latent has, and how they make it up."""
    book = gq.MultistageCodebook((a_codebook(), a_codebook()), kind, beam=3)
    text = codebook_card(book).text()
    assert f"# A codebook of 6 × 6 codes for latents of {3 if kind == 'residual' else 6} " in text
    assert words in fact(text, "how they make up a latent")
    assert ("(beam) | 3 |" in text) == (kind == "residual")


def test_same_content_same_text() -> None:
    """A card has no date and no order that depends on chance."""
    first = codebook_card(a_codebook({"a": 1, "b": 2})).text()
    assert first == codebook_card(a_codebook({"b": 2, "a": 1})).text()


def test_a_card_of_ones_own_stays(tmp_path: Path) -> None:
    """What has our line may be replaced, and nothing else; bytes that are no text are not ours."""
    card, path = Card("T", "S", "pass"), tmp_path / "README.md"
    assert card_files(tmp_path, card) == {"README.md": card.text().encode()}
    path.write_text(card.text())
    assert not is_own_card(path)
    path.write_text(card.text().replace(MARKER, ""))
    assert is_own_card(path)
    assert card_files(tmp_path, card) == {}
    path.write_bytes(b"\xff\xfe\x00")
    assert is_own_card(path)
