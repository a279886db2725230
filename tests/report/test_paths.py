"""Tests of geoquant/report/paths.py, and of the cure where matplotlib is absent."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure

import geoquant as gq
from geoquant.errors import InputError
from geoquant.report import plot_classes, plot_codes, plot_path_and_chord
from geoquant.report.paths import CLASS_COLOURS, PALETTE, _coloured, _colours_of_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = np.array([[0.0, 0.0], [1.0, 0.0], [8.0, 0.0], [9.0, 0.0]], np.float32)


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def test_points_stand_where_they_are_in_the_colour_of_their_code(ax: Axes) -> None:
    """Equal codes have equal colours, different ones of few codes differ."""
    points = plot_codes(LINE, [5, 5, 2, 2], ax=ax).collections[0]
    np.testing.assert_array_equal(points.get_offsets(), LINE)
    colours = points.get_facecolors()
    np.testing.assert_array_equal(colours[[0, 2]], colours[[1, 3]])
    assert (colours[0] != colours[2]).any()


def test_medoids_are_marked(ax: Axes) -> None:
    """Medoids are drawn at their rows, above the points."""
    points, medoids = plot_codes(LINE, [0, 0, 1, 1], medoids=[3, 0], ax=ax).collections
    np.testing.assert_array_equal(medoids.get_offsets(), LINE[[3, 0]])
    assert medoids.get_zorder() > points.get_zorder()


def test_without_medoids_nothing_is_marked(ax: Axes) -> None:
    """Only the points are drawn."""
    assert len(plot_codes(LINE, [0, 0, 1, 1], ax=ax).collections) == 1


def test_every_code_has_a_colour_of_its_own_while_colours_last() -> None:
    """Up to seven codes are told apart wherever they lie."""
    xy = np.arange(14, dtype=np.float32).reshape(7, 2)
    assert len(set(_colours_of_points(xy, np.arange(7)))) == 7


def test_cells_that_touch_differ_in_colour() -> None:
    """On 64 cells of a map, no two neighbouring points of different codes share a colour."""
    xy = np.random.default_rng(0).uniform(size=(3000, 2)).astype(np.float32)
    side = np.floor(xy * 8).astype(int)
    codes = side[:, 0] * 8 + side[:, 1]
    colours = _colours_of_points(xy, codes)
    first, second = gq.nearest_neighbors(xy, 5).index[:, 0], np.arange(len(xy))
    different = codes[first] != codes[second]
    assert different.sum() > 100
    assert (colours[first] != colours[second])[different].all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_cells_with_few_neighbours_differ_from_all_of_them(n_cells: int, seed: int) -> None:
    """With at most six neighbours each, every cell differs from all of its neighbours."""
    pairs = np.random.default_rng(seed).integers(0, n_cells, (n_cells, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    crowded = np.flatnonzero(np.bincount(pairs[:, 0], minlength=n_cells) >= len(PALETTE))
    pairs = pairs[~np.isin(pairs, crowded).any(axis=1)]
    colours = _coloured(n_cells, pairs)
    assert (colours[pairs[:, 0]] != colours[pairs[:, 1]]).all()


def test_more_neighbours_than_colours_still_get_colours() -> None:
    """Where all cells touch, colours repeat as seldom as can be."""
    pairs = np.array([(i, j) for i in range(14) for j in range(14) if i != j])
    assert np.bincount(_coloured(14, pairs)).tolist() == [2] * 7


def test_one_point_can_be_drawn(ax: Axes) -> None:
    """A single latent has no neighbours and is drawn all the same."""
    assert len(plot_codes([[1.0, 2.0]], [0], ax=ax).collections[0].get_offsets()) == 1


def test_path_follows_its_nodes_and_the_chord_its_ends(ax: Axes) -> None:
    """The two lines are those of the graph's path and of the straight way."""
    corner = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]], np.float32)
    graph = gq.Graph.from_edges(3, [0, 1], [1, 2], [3.0, 4.0])
    path, chord = plot_path_and_chord(corner, gq.path_between(graph, 0, 2), ax=ax).lines
    np.testing.assert_array_equal(path.get_xydata(), corner)
    np.testing.assert_array_equal(chord.get_xydata(), corner[[0, 2]])


def test_legend_gives_both_lengths(ax: Axes) -> None:
    """The path of a 3-4-5 triangle is 7 long, its chord 5."""
    plot_path_and_chord([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]], [0, 1, 2], ax=ax)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["along the data: 7.00", "straight: 5.00"]


def test_axes_are_made_where_none_are_given() -> None:
    """Without axes, both functions draw in a new figure."""
    plt.switch_backend("agg")
    axes = [plot_codes(LINE, [0, 0, 1, 1]), plot_path_and_chord(LINE, [0, 1])]
    assert axes[0].figure is not axes[1].figure
    plt.close("all")


def test_latents_of_more_dimensions_are_refused(ax: Axes) -> None:
    """The error says how to come to the plane."""
    with pytest.raises(gq.InputError, match=r"latents_2d must have shape \(n, 2\).*PCA"):
        plot_codes(np.zeros((3, 20), np.float32), [0, 0, 0], ax=ax)


def test_codes_of_other_latents_are_refused(ax: Axes) -> None:
    """There must be one code per point."""
    with pytest.raises(gq.InputError, match=r"codes must have shape \(4,\).*found \(3,\)"):
        plot_codes(LINE, [0, 0, 1], ax=ax)


def test_medoids_that_are_no_rows_are_refused(ax: Axes) -> None:
    """A medoid beyond the last row is named, and nothing is drawn."""
    with pytest.raises(gq.InputError, match=r"medoids must be .*found 4"):
        plot_codes(LINE, [0, 0, 1, 1], medoids=[4], ax=ax)
    assert not ax.collections


@pytest.mark.parametrize("path", [[], [1]])
def test_path_without_two_ends_is_refused(path: list[int], ax: Axes) -> None:
    """The empty path of unconnected nodes and a single node have no chord."""
    with pytest.raises(gq.InputError, match="path must hold at least"):
        plot_path_and_chord(LINE, path, ax=ax)


def test_without_matplotlib_the_import_names_the_cure() -> None:
    """Importing the folder without the extra says what to install."""
    code = "import sys; sys.modules['matplotlib'] = None; import geoquant.report"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: geoquant.report draws with matplotlib" in done.stderr
    assert "pip install 'geoquant[plot]'" in done.stderr


def test_classes_have_a_legend_and_a_colour_each() -> None:
    """Points of a class have its colour; names are shown as they are, whatever they hold."""
    xy = np.arange(12, dtype=np.float32).reshape(6, 2)
    labels = ["b", "$\\frac{", "b", "c" * 99, "c" * 99, "$\\frac{"]
    ax = plot_classes(xy, labels, Figure().add_subplot())
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert shown == ["$\\frac{", "b", "c" * 15 + "…"]
    colours = ax.collections[0].get_facecolors()
    expected = to_rgba_array([CLASS_COLOURS["$bc".index(label[0])] for label in labels])
    np.testing.assert_array_equal(colours, expected)
    ax.figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize(
    ("labels", "found"), [(range(11), "11 classes"), ([0, 1], "2 classes"), (["a"] * 12, "1 class")]
)
def test_classes_that_cannot_be_drawn(labels: Any, found: str) -> None:
    """More than there are colours, or not one for each latent."""
    with pytest.raises(InputError, match=f"found {found}"):
        plot_classes(np.zeros((11, 2)), list(labels), Figure().add_subplot())
