"""A codebook as a folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import geoquant as gq
from geoquant.card import codebook_card
from geoquant.export import write_codebook_folder
from tests.export.conftest import K, some_latents

if TYPE_CHECKING:
    from pathlib import Path


def test_a_codebook_comes_back(book: gq.Codebook, tmp_path: Path) -> None:
    """The folder holds the file as it is saved alone, its configuration and its card."""
    folder = tmp_path / "shared"
    write_codebook_folder(folder, book)
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["README.md", "config.json", "model.safetensors"]
    book.save(tmp_path / "alone.safetensors")
    alone = (tmp_path / "alone.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == alone
    assert (folder / "README.md").read_text() == codebook_card(book).text()
    again = gq.load_codebook(folder)
    assert np.array_equal(again.assign(some_latents()), book.assign(some_latents()))


def test_configuration(book: gq.Codebook, stages: gq.MultistageCodebook, tmp_path: Path) -> None:
    """It has schema, release, parameters and metadata, and says which kind it is."""
    write_codebook_folder(tmp_path / "one", book)
    assert json.loads((tmp_path / "one" / "config.json").read_text()) == {
        "schema_version": 1,
        "geoquant_version": gq.__version__,
        "model_type": "geoquant-codebook",
        "dim": 3,
        "n_codes": K,
        "n_anchors": book.n_anchors,
        "n_neighbors": book.n_neighbors,
        "metadata": book.metadata,
    }
    write_codebook_folder(tmp_path / "stages", stages)
    config = json.loads((tmp_path / "stages" / "config.json").read_text())
    assert (config["model_type"], config["n_codes"]) == ("geoquant-multistage-codebook", [4, 3])
    assert (config["kind"], config["beam"], config["dims"]) == ("residual", 8, [3, 3])
    again = gq.load_codebook(tmp_path / "stages")
    assert np.array_equal(again.assign(some_latents()), stages.assign(some_latents()))


def test_a_card_of_ones_own_stays(book: gq.Codebook, tmp_path: Path) -> None:
    """The rest of the folder is written anew."""
    (tmp_path / "README.md").write_text("# Mine\n")
    write_codebook_folder(tmp_path, book)
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    assert gq.load_codebook(tmp_path).n_codes == K


def test_metadata_too_long_for_a_file_leaves_no_folder(book: gq.Codebook, tmp_path: Path) -> None:
    """As the codebook cannot be written, nothing is."""
    from dataclasses import replace

    with pytest.raises(gq.InputError, match="store less metadata"):
        write_codebook_folder(tmp_path / "new", replace(book, metadata={"x": "y" * 2_000_000}))
    assert list(tmp_path.iterdir()) == []
