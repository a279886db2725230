"""Images as files that can be looked at."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_count
from geoquant.errors import InputError


def png_of_grid(images: npt.ArrayLike, n_columns: int) -> bytes:
    """Images side by side as the bytes of a PNG file, filled row by row.

    Parameters
    ----------
    images : array_like of shape (n, C, H, W)
        In [0, 1], with 1 or 3 channels; what lies outside is cut off.
    n_columns : int
        Images in a row; what is missing in the last one is black.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        If the images have another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.pictures import png_of_grid
    >>> png_of_grid(np.zeros((4, 1, 8, 8)), 2)[1:4]
    b'PNG'
    """
    return _picture_of_grid(images, n_columns, "PNG")


def jpeg_of_grid(images: npt.ArrayLike, n_columns: int) -> bytes:
    """As `png_of_grid`, but the bytes of a JPEG file: of photographs a fraction of the size.

    Parameters
    ----------
    images, n_columns
        As for `png_of_grid`.

    Returns
    -------
    bytes

    Raises
    ------
    InputError
        If the images have another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.pictures import jpeg_of_grid
    >>> jpeg_of_grid(np.zeros((4, 3, 8, 8)), 2)[:2].hex()
    'ffd8'
    """
    return _picture_of_grid(images, n_columns, "JPEG", quality=85)


def _picture_of_grid(images: npt.ArrayLike, n_columns: int, kind: str, **options: int) -> bytes:
    from PIL import Image

    given = np.asarray(images)
    n_columns = check_count(n_columns, "n_columns", 1)
    if given.ndim != 4 or given.shape[1] not in (1, 3) or len(given) == 0:
        raise InputError(
            f"images must have shape (n, C, H, W) with 1 or 3 channels, found {given.shape}"
        )
    pixels = np.rint(np.clip(given, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    n, height, width, channels = pixels.shape
    n_rows = -(-n // n_columns)
    grid = np.zeros((n_rows * n_columns, height, width, channels), np.uint8)
    grid[:n] = pixels
    grid = grid.reshape(n_rows, n_columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    picture = grid.reshape(n_rows * height, n_columns * width, channels)
    buffer = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if channels == 1 else picture).save(buffer, kind, **options)
    return buffer.getvalue()
