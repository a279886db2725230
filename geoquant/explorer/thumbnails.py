"""Many small images as one picture."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoquant.errors import InputError
from geoquant.explorer.decoders import check_image_shape
from geoquant.pictures import jpeg_of_grid, png_of_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Larger images are shown smaller, as a page shows them side by side.
_MOST_SIDE = 96
#: Pixels of one picture; colours are stored as JPEG, which takes less for each.
_MOST_PIXELS = {1: 800_000, 3: 1_500_000}
_MOST_IMAGES = 1024


@dataclass(frozen=True)
class Thumbnails:
    """Images of some of the page's latents.

    Parameters
    ----------
    node : ndarray of shape (n,), int64
        Which: a point, or the number of points plus a code.
    images : ndarray of shape (n, C, H, W), float32
        In [0, 1].
    """

    node: npt.NDArray[np.int64]
    images: npt.NDArray[np.float32]

    def as_json(self) -> dict[str, Any]:
        """What the page takes: nodes, shape, columns of the picture, and the picture itself."""
        n, channels, height, width = self.images.shape
        n_columns = math.isqrt(n - 1) + 1
        kind, picture = ("png", png_of_grid) if channels == 1 else ("jpeg", jpeg_of_grid)
        encoded = base64.b64encode(picture(self.images, n_columns)).decode("ascii")
        return {
            "node": self.node.tolist(),
            "shape": [channels, height, width],
            "columns": n_columns,
            "picture": f"data:image/{kind};base64,{encoded}",
        }


def most_thumbnails(shape: tuple[int, ...]) -> int:
    """How many images of a shape (C, H, W) a page takes.

    Examples
    --------
    >>> from geoquant.explorer.thumbnails import most_thumbnails
    >>> most_thumbnails((1, 28, 28)), most_thumbnails((3, 512, 512))
    (1020, 207)
    """
    channels, *sides = shape
    shrink = _shrink(sides)
    return min(_MOST_IMAGES, _MOST_PIXELS[channels] // math.prod(s // shrink for s in sides))


def shrunk(images: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
    """Images small enough to be shown beside one another, by averaging squares of pixels.

    Parameters
    ----------
    images : array_like of shape (n, C, H, W)
        Bytes, or floats in [0, 1]; what lies outside is cut off.
    name : str
        What error messages call them.

    Returns
    -------
    ndarray of shape (n, C, h, w), float32

    Raises
    ------
    InputError
        If they have another shape or are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.explorer.thumbnails import shrunk
    >>> shrunk(np.zeros((2, 1, 200, 100)), "images").shape
    (2, 1, 66, 33)
    """
    given = np.asarray(images)
    if given.ndim != 4 or given.dtype.kind not in "fu" or 0 in given.shape:
        raise InputError(
            f"{name} must be floats in [0, 1] or bytes of shape (n, C, H, W), found {given.dtype} "
            f"of shape {given.shape}"
        )
    check_image_shape(given.shape[1:])
    pixels = given.astype(np.float32) / (255 if given.dtype.kind == "u" else 1)
    if not np.isfinite(pixels).all():
        raise InputError(f"{name} must be finite, found NaN or infinity")
    shrink = _shrink(pixels.shape[2:])
    height, width = (side // shrink for side in pixels.shape[2:])
    cut = pixels[:, :, : height * shrink, : width * shrink]
    squares = cut.reshape(*cut.shape[:2], height, shrink, width, shrink)
    small: npt.NDArray[np.float32] = np.clip(squares.mean(axis=(3, 5)), 0, 1)
    return small


def _shrink(sides: Sequence[int]) -> int:
    """How many pixels become one, along each axis."""
    longest, shortest = max(sides), min(sides)
    return max(1, min(-(-longest // _MOST_SIDE), shortest))
