"""Pictures that are made of decoded images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.report.decoded import Images, checked_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

# Of an image's height: the room for the line of text at it.
_TEXT_ROOM = 0.5
_GAP = 0.06


def plot_codebook(
    images: npt.ArrayLike,
    captions: Sequence[str] | None = None,
    ax: Axes | None = None,
    *,
    n_columns: int | None = None,
) -> Axes:
    """Draw decoded codewords in rows, in the order in which they are given.

    Parameters
    ----------
    images : array-like of shape (n, C, H, W)
        In [0, 1], of one or three channels.
    captions : sequence of str, optional
        What stands below each; shown as it is.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    n_columns : int, optional
        Images in a row; by default as `columns_for` says.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If the images have another shape, or there is not one caption for each.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_codebook
    >>> ax = plot_codebook(np.zeros((3, 1, 8, 8)), ["a", "b", "c"], Figure().add_subplot())
    >>> [text.get_text() for text in ax.texts]
    ['a', 'b', 'c']
    """
    tiles = checked_images(images, len(np.asarray(images)), "images")
    if captions is not None and len(captions) != len(tiles):
        raise InputError(f"captions must be {len(tiles)}, one of each, found {len(captions)}")
    columns = min(n_columns or columns_for(len(tiles)), len(tiles))
    return _draw_grid(tiles, columns, captions, _axes(ax))


def columns_for(n: int) -> int:
    """Columns of a grid that is about as wide as high, or wider, and has few places left over.

    Parameters
    ----------
    n : int
        What is to be placed.

    Returns
    -------
    int

    Examples
    --------
    >>> from geoquant.report.images import columns_for
    >>> [columns_for(n) for n in (1, 12, 32, 64)]
    [1, 4, 8, 8]
    """
    least = int(np.ceil(np.sqrt(n)))
    return min(range(least, int(1.5 * least) + 1), key=lambda columns: (-n % columns, columns))


def plot_reconstructions(rows: Mapping[str, npt.ArrayLike], ax: Axes | None = None) -> Axes:
    """Draw rows of images below each other: the same things, shown in several ways.

    Parameters
    ----------
    rows : mapping of str to array-like of shape (n, C, H, W)
        Images in [0, 1] by what the row is called; as many and as large in every row.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If there are no rows, or they differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_reconstructions
    >>> rows = {"images": np.zeros((3, 1, 8, 8)), "geodesic codes": np.ones((3, 1, 8, 8))}
    >>> ax = plot_reconstructions(rows, Figure().add_subplot())
    >>> [text.get_text() for text in ax.texts]
    ['images', 'geodesic codes']
    """
    given = [checked_images(row, len(np.asarray(row)), name) for name, row in rows.items()]
    if not given or len({row.shape for row in given}) > 1:
        raise InputError(
            "rows must hold at least one row of images, all of one shape, found "
            f"{[row.shape for row in given]}"
        )
    n = len(given[0])
    captions = [name if i == 0 else "" for name in rows for i in range(n)]
    return _draw_grid(np.concatenate(given), n, captions, _axes(ax), is_above=True)


def plot_frames(along: npt.ArrayLike, chord: npt.ArrayLike, ax: Axes | None = None) -> Axes:
    """Draw what is decoded at equal steps along a geodesic path, above the same of its chord.

    Parameters
    ----------
    along, chord : array-like of shape (n_frames, C, H, W)
        Images in [0, 1], from the same beginning to the same end.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If they differ in shape.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from geoquant.report import plot_frames
    >>> frames = np.zeros((4, 1, 8, 8))
    >>> plot_frames(frames, frames, Figure().add_subplot()).texts[1].get_text()
    'straight through space'
    """
    return plot_reconstructions({"along the data": along, "straight through space": chord}, ax)


def aspect_of_grid(n_rows: int, n_columns: int, shape: tuple[int, ...]) -> float:
    """Height over width of a drawn grid with a line of text at each row.

    Parameters
    ----------
    n_rows, n_columns : int
        Images.
    shape : tuple of int
        Of the images; height and width come last.

    Returns
    -------
    float

    Examples
    --------
    >>> from geoquant.report.images import aspect_of_grid
    >>> aspect_of_grid(1, 1, (1, 10, 9))
    1.5
    """
    room, gap = _room(shape[-2])
    return n_rows * (shape[-2] + room) / (n_columns * (shape[-1] + gap))


def _room(height: int) -> tuple[int, int]:
    """Pixels between rows, where the text stands, and between columns."""
    return max(2, round(_TEXT_ROOM * height)), max(1, round(_GAP * height))


def _draw_grid(
    tiles: Images,
    n_columns: int,
    captions: Sequence[str] | None,
    ax: Axes,
    *,
    is_above: bool = False,
) -> Axes:
    """Draw tiles row by row, captions below each or, at the left of a row, above it."""
    height, width = tiles.shape[2:]
    room, gap = _room(height)
    n_rows = -(-len(tiles) // n_columns)
    canvas = np.zeros((n_rows * (height + room), n_columns * (width + gap), 4), np.uint8)
    shift = room if is_above else 0
    for i, tile in enumerate(tiles):
        top, left = i // n_columns * (height + room) + shift, i % n_columns * (width + gap)
        canvas[top : top + height, left : left + width] = _opaque(tile)
        if captions is not None and captions[i]:
            middle = top - room * 0.45 if is_above else top + height + room * 0.5
            place, side = (left, "left") if is_above else (left + width / 2, "center")
            # From pixels to their edges, which is where images are drawn from.
            ax.text(place - 0.5, middle - 0.5, captions[i], ha=side, va="center", parse_math=False)
    ax.imshow(canvas, interpolation="none", aspect="equal")
    ax.set_axis_off()
    return ax


def _opaque(tile: Images) -> npt.NDArray[np.uint8]:
    """Bytes of red, green, blue and opacity, shape (H, W, 4), of one image."""
    colours = np.broadcast_to(np.rint(tile * 255), (3, *tile.shape[1:])).astype(np.uint8)
    return np.concatenate([colours, np.full_like(colours[:1], 255)]).transpose(1, 2, 0)


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax
