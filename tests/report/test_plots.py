"""Tests of geoquant/report/plots.py and images.py: what is drawn where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import geoquant as gq
from geoquant.quality import perplexity
from geoquant.report import (
    plot_codebook,
    plot_degrees,
    plot_distances,
    plot_edge_lengths,
    plot_elbow,
    plot_energy,
    plot_frames,
    plot_map,
    plot_reconstructions,
    plot_stability,
    plot_usage,
)
from geoquant.report import plots as module
from tests.report.conftest import arc

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

TILES = np.random.default_rng(0).random((5, 1, 4, 6))
DRAWN: list[Any] = [
    lambda ax: plot_usage([3, 1], ax),
    lambda ax: plot_distances([1.0, 2.0], [1.0, 3.0], [False, True], ax),
    lambda ax: plot_map(arc(), np.arange(200) // 50, [0, 50], [0, 1, 2], ax),
    lambda ax: plot_energy([3.0, 1.0], ax),
    lambda ax: plot_elbow([1, 2], {"a": [2.0, 1.0]}, ax),
    lambda ax: plot_degrees([1, 2, 2], ax),
    lambda ax: plot_edge_lengths([1.0, 2.0], [False, True], ax),
    lambda ax: plot_stability([5, 10], [0.5, 1.0], 0.7, ax),
    lambda ax: plot_codebook(TILES, ax=ax),
    lambda ax: plot_reconstructions({"a": TILES}, ax),
    lambda ax: plot_frames(TILES, TILES, ax),
]


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


@pytest.mark.parametrize("draw", DRAWN)
def test_axes_given_are_drawn_on_and_returned(draw: Callable[..., Any], ax: Axes) -> None:
    """No figure is made beside them, and what is drawn can be saved."""
    assert draw(ax) is ax
    ax.figure.savefig("/dev/null", format="svg")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draw", DRAWN)
def test_axes_are_made_where_none_are_given(draw: Callable[..., Any]) -> None:
    """Without axes there is a new figure."""
    plt.switch_backend("agg")
    assert draw(None).figure.number == plt.get_fignums()[0]
    plt.close("all")


def labels_of(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_usage_is_sorted_and_has_its_perplexity(ax: Axes) -> None:
    """The perplexity in the legend is that of quality.perplexity."""
    codes = np.repeat([0, 1, 2], [10, 40, 30])
    plot_usage(np.bincount(codes, minlength=4), ax)
    assert ax.patches[0].get_data().values.tolist() == [40, 30, 10, 0]
    assert labels_of(ax)[1] == f"perplexity {perplexity(codes, 4):.1f} of 4"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("codes, the most used first", "latents")


def test_few_distances_are_points(ax: Axes) -> None:
    """Those with another code are told apart; the line is where both are as long."""
    plot_distances([1.0, 2.0, 4.0], [1.0, 3.0, 5.0], [False, True, False], ax)
    same, other = ax.collections
    np.testing.assert_array_equal(same.get_offsets(), [[1, 1], [4, 5]])
    np.testing.assert_array_equal(other.get_offsets(), [[2, 3]])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[0, 0], [4, 4]])
    assert labels_of(ax)[1] == "another code in a straight line"


def test_many_distances_are_hexagons(ax: Axes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has the share of its latents that get another code, and is paler for fewer."""
    monkeypatch.setattr(module, "MOST_POINTS", 50)
    x = np.repeat([1.0, 9.0], [90, 10])
    plot_distances(x, x, np.arange(100) % 2 == 0, ax)
    (hexagons,) = ax.collections
    np.testing.assert_array_equal(hexagons.get_array(), [0.5, 0.5])
    assert hexagons.get_alpha()[0] == 1 > hexagons.get_alpha()[1]


def test_map_has_cells_centres_and_both_ways(ax: Axes) -> None:
    """With the lengths that are given, not those of the plane."""
    codes = np.arange(200) // 50
    plot_map(arc(), codes, [10, 60], [0, 5, 9], ax, lengths=(7.0, 3.0))
    points, centres, ends = ax.collections
    np.testing.assert_array_equal(points.get_offsets(), arc())
    np.testing.assert_array_equal(centres.get_offsets(), arc()[[10, 60]])
    np.testing.assert_array_equal(ends.get_offsets(), arc()[[0, 9]])
    assert labels_of(ax) == ["along the data: 7.00", "straight: 3.00"]


def test_map_of_many_is_a_sample_with_what_is_marked(
    ax: Axes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Centres and path are among the points that are drawn."""
    monkeypatch.setattr(module, "MOST_POINTS", 20)
    plot_map(arc(), np.zeros(200, int), [10, 60], [0, 5, 9], ax)
    drawn = {tuple(place) for place in ax.collections[0].get_offsets().tolist()}
    assert 20 <= len(drawn) <= 25
    assert all(tuple(place) in drawn for place in arc()[[10, 60, 0, 5, 9]].tolist())


def test_energy_says_of_what_it_is(ax: Axes) -> None:
    """Squared or not, by the power."""
    plot_energy([9.0, 5.0, 4.0], ax, power=1)
    assert ax.get_ylabel() == "sum of geodesic distances"
    assert plot_energy([9.0], ax).get_ylabel() == "sum of squared geodesic distances"


def test_elbow_has_one_measure_for_all_methods(ax: Axes) -> None:
    """Each method is a line in the legend; a number of codes can be marked."""
    plot_elbow([1, 2, 3, 4], {"a": [8, 4, 3, 2], "b": [9, 5, 4, 3]}, ax, ylabel="e", marked=2)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [9, 5, 4, 3])
    assert labels_of(ax) == ["a", "b", "K = 2"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "4"]
    assert ax.lines[0].get_marker() != ax.lines[1].get_marker()


def test_numbers_at_logarithmic_axes_are_plain(ax: Axes) -> None:
    """No powers, no exponents, and some numbers on a short axis, too."""
    for values in ([9.0, 8.5, 8.0], [90000.0, 300.0, 1.0], [1e-4, 2e-5, 1e-5]):
        axes = plot_elbow([1, 2, 4], {"a": values}, Figure().add_subplot())
        axes.figure.draw_without_rendering()
        low, high = axes.get_ylim()
        ticks = axes.yaxis.get_ticklabels()
        shown = [t.get_text() for t in ticks if low <= t.get_position()[1] <= high]
        assert len(shown) >= 2
        assert not any("$" in text for text in shown)
        assert "100,000" not in shown or "1e+05" not in shown
    assert module._plain(123456.0) == "123,456"


def test_degrees_begin_where_there_are_some(ax: Axes) -> None:
    """The axis does not begin at zero."""
    plot_degrees([10, 10, 12], ax)
    assert ax.get_xlim()[0] == 9
    assert ax.patches[0].get_data().values.tolist()[10:] == [2, 0, 1]


def test_edge_lengths_are_all_and_the_lone_ones(ax: Axes) -> None:
    """The second bars are a part of the first."""
    rng = np.random.default_rng(0)
    lengths, lone = rng.random(500), rng.random(500) < 0.1
    plot_edge_lengths(lengths, lone, ax)
    everything, some = (bars.get_data().values for bars in ax.patches)
    assert (everything.sum(), some.sum()) == (500, lone.sum())
    assert (some <= everything).all()


def test_stability_leaves_out_the_own_number(ax: Axes) -> None:
    """It agrees with itself; the seed comes last."""
    plot_stability([5, 10, 15], [0.8, 1.0, 0.9], 0.85, ax, own=10)
    assert [bar.get_height() for bar in ax.patches] == [0.8, 0.9, 0.85]
    assert [text.get_text() for text in ax.texts] == ["0.80", "0.90", "0.85"]


def test_codebook_has_its_tiles_in_their_order(ax: Axes) -> None:
    """Row by row, pixel for pixel; what is left over is transparent."""
    plot_codebook(TILES, list("abcde"), ax, n_columns=3)
    canvas = ax.images[0].get_array()
    room, gap = canvas.shape[0] // 2 - 4, canvas.shape[1] // 3 - 6
    for i, tile in enumerate(TILES):
        top, left = i // 3 * (4 + room), i % 3 * (6 + gap)
        seen = canvas[top : top + 4, left : left + 6]
        np.testing.assert_array_equal(seen[..., 0], np.rint(tile[0] * 255))
        assert (seen[..., 3] == 255).all()
    assert (canvas[4 + room :, 2 * (6 + gap) :, 3] == 0).all()


def test_colours_are_kept(ax: Axes) -> None:
    """Images of three channels are drawn in theirs."""
    red = np.zeros((1, 3, 4, 4))
    red[:, 0] = 1
    plot_codebook(red, ax=ax)
    assert ax.images[0].get_array()[0, 0].tolist() == [255, 0, 0, 255]


def test_captions_are_never_formulas(ax: Axes) -> None:
    """A dollar sign in a label is a dollar sign."""
    plot_codebook(TILES, [r"$\frac{$", "$x$", "<b>", "", "e"], ax)
    ax.figure.savefig("/dev/null", format="svg")
    assert [text.get_text() for text in ax.texts] == [r"$\frac{$", "$x$", "<b>", "e"]


def test_rows_are_named_above(ax: Axes) -> None:
    """Each name stands at the left of its row, above it."""
    plot_frames(TILES, 1 - TILES, ax)
    first, second = ax.texts
    assert first.get_position()[0] == second.get_position()[0] == -0.5
    assert -0.5 < first.get_position()[1] < second.get_position()[1]
    canvas = ax.images[0].get_array()
    assert second.get_position()[1] < np.flatnonzero(canvas[:, 0, 3])[4] - 0.5


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda ax: plot_usage([], ax), "counts must be a row of numbers"),
        (lambda ax: plot_usage([0, 0], ax), "counts must not be negative nor all zero"),
        (lambda ax: plot_usage([1, -1], ax), "counts must not be negative nor all zero"),
        (lambda ax: plot_distances([1.0], [1.0, 2.0], [True], ax), "must have one shape"),
        (lambda ax: plot_distances([np.nan], [1.0], [True], ax), "straight must be finite"),
        (lambda ax: plot_energy([], ax), "history must be a row of numbers"),
        (lambda ax: plot_elbow([1, 2], {}, ax), "at least one method"),
        (lambda ax: plot_elbow([1, 2], {"a": [1.0]}, ax), "values must be 2 for each method"),
        (lambda ax: plot_edge_lengths([1.0], [True, False], ax), "must have one shape"),
        (lambda ax: plot_stability([5], [1.0, 2.0], 0.5, ax), "agreement must be 1 numbers"),
        (lambda ax: plot_map(arc(), np.zeros(200, int), [0], [1], ax), "at least two nodes"),
        (lambda ax: plot_codebook(np.zeros((2, 2, 4, 4)), ax=ax), "1 or 3 channels"),
        (lambda ax: plot_codebook(TILES, ["a"], ax), "captions must be 5"),
        (lambda ax: plot_codebook(np.full((1, 1, 2, 2), np.inf), ax=ax), "must be finite"),
        (lambda ax: plot_reconstructions({}, ax), "at least one row"),
        (lambda ax: plot_frames(TILES, TILES[:2], ax), "all of one shape"),
    ],
)
def test_what_cannot_be_drawn(draw: Callable[..., Any], message: str, ax: Axes) -> None:
    """The error names the argument and what is wrong with it."""
    with pytest.raises(gq.InputError, match=message):
        draw(ax)
