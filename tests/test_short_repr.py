"""What records of arrays show in a notebook: a line, whatever they hold."""

from __future__ import annotations

import numpy as np

import geoquant as gq


def test_records_show_shapes() -> None:
    """One line for whole results, with every field by its name."""
    latents = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    fitted = gq.fit_codebook(latents, 8, random_state=0)
    assert repr(fitted.codebook).startswith(
        "Codebook(vectors=float32(8, 3), anchors=float32(500, 3), anchor_distance=float64(500,), "
        "anchor_code=int32(500,), n_neighbors=10, metadata={"
    )
    assert repr(fitted.graph).startswith("Graph(indptr=int64(501,), indices=int32(")
    assert "codes=int32(500,)" in repr(fitted)
    assert "\n" not in repr(fitted)
    several = gq.fit_multistage(latents, 4, 2, metric="euclidean", random_state=0)
    assert "stages=(Codebook(vectors=float32(4, 3)" in repr(several.codebook)


def test_long_lists_are_counted() -> None:
    """Numbers of rounds may be many."""
    line = gq.Graph.from_edges(40, np.arange(39), np.arange(1, 40), np.ones(39))
    found = gq.geodesic_kmedoids(line, 3, random_state=0)
    long = type(found)(**{**vars(found), "inertia_history": [0.0] * 40})
    assert "inertia_history=list of 40" in repr(long)
