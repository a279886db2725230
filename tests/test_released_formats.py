"""Files of every format version that was released are read for ever, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import geoquant as gq

#: One file of each kind and version; none is ever written anew.
GOLDEN = Path(__file__).parent / "golden"


def test_codebook_of_version_1(tmp_path: Path) -> None:
    """Its arrays and metadata are those that were saved; its codes and bytes stay the same."""
    book = gq.load_codebook(GOLDEN / "codebook_1.safetensors")
    assert isinstance(book, gq.Codebook)
    assert book.vectors.tolist() == [[0.5, -1.0], [2.0, 3.5]]
    assert book.anchors.tolist() == [[0.0, -1.0], [1.0, -1.0], [2.0, 3.5]]
    assert book.anchor_distance.tolist() == [0.25, 0.75, 0.0]
    assert book.anchor_code.tolist() == [0, 0, 1]
    assert (book.n_neighbors, book.metadata) == (2, {"codewords": "mean", "random_state": 0})
    assert book.assign(np.array([[0.25, -1.0], [3.0, 3.0]], np.float32)).tolist() == [0, 1]
    book.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (GOLDEN / "codebook_1.safetensors").read_bytes()


def test_multistage_codebook_of_version_1(tmp_path: Path) -> None:
    """Two residual stages."""
    book = gq.load_codebook(GOLDEN / "multistage_1.safetensors")
    assert isinstance(book, gq.MultistageCodebook)
    assert (book.kind, book.beam, book.metadata) == ("residual", 2, {"metric": "geodesic"})
    assert [stage.vectors.tolist() for stage in book.stages] == [
        [[0.5, -1.0], [2.0, 3.5]],
        [[0.0, 0.0], [0.25, -0.25]],
    ]
    assert book.assign(np.array([[0.75, -1.25], [2.0, 3.5]], np.float32)).tolist() == [
        [0, 1],
        [1, 0],
    ]
    book.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (GOLDEN / "multistage_1.safetensors").read_bytes()
