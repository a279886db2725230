"""What the explorer shows: which points, their codes, graph and places."""

from __future__ import annotations

import numpy as np
import pytest

import geoquant as gq
from geoquant.explorer import scene as scene_module
from geoquant.explorer.scene import scene_of
from geoquant.fit import connected_graph


def test_points_of_the_codebook_have_its_codes(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """In the order of codes, then rows; the graph is that of the fit, renumbered."""
    scene = scene_of(codebook, latents)
    assert scene.code.tolist() == sorted(codebook.anchor_code.tolist())
    for name, expected in (
        ("code", codebook.anchor_code),
        ("distance", codebook.anchor_distance),
        ("latents", latents),
    ):
        np.testing.assert_array_equal(getattr(scene, name), expected[scene.row])
    assert all(
        (np.diff(scene.row[scene.code == code]) > 0).all() for code in range(codebook.n_codes)
    )
    graph, _ = connected_graph(latents, 4)
    a, b = (np.flatnonzero(scene.row == row)[0] for row in (3, 200))
    expected_path = gq.path_between(graph, 3, 200).tolist()
    assert scene.row[gq.path_between(scene.graph, a, b)].tolist() == expected_path
    assert "others than" not in " ".join(scene.notes)


def test_other_latents_are_assigned(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Their codes are those of `assign`, and the page says so."""
    new = latents[:50] + np.float32(0.01)
    scene = scene_of(codebook, new)
    np.testing.assert_array_equal(scene.code, codebook.assign(new)[scene.row])
    assert any("others than the codebook keeps" in note for note in scene.notes)


def test_a_sample_keeps_the_middle_of_every_code(
    latents: np.ndarray, codebook: gq.Codebook
) -> None:
    """It is as large as asked for, the same for a seed, joined by a graph of its own, and said."""
    scene = scene_of(codebook, latents, max_points=40, random_state=1)
    assert scene.n_points == scene.graph.n_nodes == 40
    for code in range(codebook.n_codes):
        assert scene.distance[scene.code == code].min() == 0
    assert any("A sample of 40 of the 300" in note for note in scene.notes)
    again = scene_of(codebook, latents, max_points=40, random_state=1)
    assert again.row.tolist() == scene.row.tolist()
    other = scene_of(codebook, latents, max_points=40, random_state=2)
    assert other.row.tolist() != scene.row.tolist()


def test_latents_of_many_numbers_are_sampled(
    codebook: gq.Codebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page must not grow with the dimension without end; 1000 points are always shown."""
    monkeypatch.setattr(scene_module, "_MOST_NUMBERS", 100)
    assert scene_module._most_points(200_000, codebook) == 1000
    monkeypatch.setattr(scene_module, "_MOST_NUMBERS", 4000)
    assert scene_module._most_points(200_000, codebook) == 2000
    assert scene_module._most_points(5, codebook) == 5


def test_spread_takes_as_many_of_each_code(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """The nearest to each centre first, no point twice, not more than there are."""
    scene = scene_of(codebook, latents)
    first = scene.spread(12)
    assert scene.code[first].tolist() == list(range(12))
    assert (scene.distance[first] == 0).all()
    counts = np.bincount(scene.code[scene.spread(30)])
    assert (counts.min(), counts.max(), counts.sum()) == (2, 3, 30)
    assert scene.spread(1000).tolist() == list(range(300))


@pytest.mark.parametrize("labels", [[3, 1] * 150, ["b", "a"] * 150])
def test_labels_are_classes(latents: np.ndarray, codebook: gq.Codebook, labels: list) -> None:
    """Integers or texts, by their own names."""
    scene = scene_of(codebook, latents, labels=labels)
    names = [scene.label_names[i] for i in scene.label]
    assert names == [str(labels[row]) for row in scene.row]


def test_a_given_map_is_used(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Places of rows, whatever the order of points."""
    scene = scene_of(codebook, latents, plane=latents[:, ::-1])
    np.testing.assert_array_equal(scene.plane, latents[scene.row, ::-1])


def test_neighbours_can_be_chosen(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Without a number they are the codebook's; a note names it, and parts that were joined."""
    assert any("graph of 4 nearest" in note for note in scene_of(codebook, latents).notes)
    scene = scene_of(codebook, latents, n_neighbors=1, max_points=60)
    assert any("graph of 1 nearest" in note for note in scene.notes)
    assert any("parts, joined" in note for note in scene.notes)


def test_codebooks_measured_in_outputs(latents: np.ndarray) -> None:
    """Distances have another unit than paths, and the graph ten neighbours: both are said."""
    book = gq.fit_codebook(latents, 5, edge_outputs=latents * 9, random_state=0).codebook
    notes = " ".join(scene_of(book, latents).notes)
    assert "in their unit" in notes
    assert "graph of 10 nearest" in notes


def test_what_cannot_be_shown(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Each error names the argument and the cure."""
    for arguments, message in (
        ({"latents": latents[:, :1]}, "must have 2 columns for this codebook"),
        ({"labels": [1, 2]}, "labels must be 300 integers or texts"),
        ({"labels": [0.5] * 300}, "labels must be 300 integers or texts"),
        ({"plane": latents[:9]}, r"plane must have shape \(300, 2\)"),
        ({"max_points": 1}, "max_points must be an integer of at least 2"),
    ):
        with pytest.raises(gq.InputError, match=message):
            scene_of(codebook, **{"latents": latents, **arguments})
    stages = gq.MultistageCodebook((codebook, codebook), "residual")
    with pytest.raises(gq.InputError, match=r"2 stages.*codebook\.stages\[0\]"):
        scene_of(stages, latents)
    with pytest.raises(gq.InputError, match="found ndarray; give one that fit_codebook"):
        scene_of(latents, latents)


def test_duplicates_are_points_too(latents: np.ndarray, codebook: gq.Codebook) -> None:
    """Equal latents are joined by edges of no length, so that every point has a path."""
    twice = np.concatenate([latents, latents[:5]])
    scene = scene_of(codebook, twice)
    assert scene.n_points == 305
    assert gq.connected_components(scene.graph).max() == 0
