"""Images as files that can be looked at."""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from geoquant.arguments import check_count
from geoquant.errors import InputError

Pixels: TypeAlias = npt.NDArray[np.uint8]


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
    return _file_of(picture, kind, **options)


def pixels_of(images: npt.ArrayLike) -> Pixels:
    """Images as bytes, with the channels last.

    Parameters
    ----------
    images : array_like of shape (n, H, W), (n, C, H, W) or (n, H, W, C), C = 1 or 3
        uint8, or floats in [0, 1]; what lies a little outside is cut off.

    Returns
    -------
    ndarray of uint8, shape (n, H, W, C)

    Raises
    ------
    InputError
        If they have another shape or dtype, are not finite, or lie elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.pictures import pixels_of
    >>> pixels_of(np.full((2, 1, 4, 4), 0.2)).shape, pixels_of([[[0.2, 1.0]]]).ravel().tolist()
    ((2, 4, 4, 1), [51, 255])
    """
    given = np.asarray(images)
    if given.ndim == 3:
        given = given[..., None]
    elif given.ndim == 4 and given.shape[1] in (1, 3):
        given = np.moveaxis(given, 1, -1)
    if given.ndim != 4 or given.shape[-1] not in (1, 3) or given.size == 0:
        raise InputError(
            "images must have shape (n, H, W), (n, C, H, W) or (n, H, W, C) with 1 or 3 channels, "
            f"found {np.shape(images)}; reshape them"
        )
    if given.dtype == np.uint8:
        return np.ascontiguousarray(given)
    # Written so that NaN is refused as well.
    if given.dtype.kind != "f" or not (given.min() > -0.5 and given.max() < 1.5):
        raise InputError(
            f"images must be uint8, or floats in [0, 1], found {given.dtype} from {given.min()} to "
            f"{given.max()}; convert or rescale them"
        )
    pixels: Pixels = np.rint(np.clip(given, 0, 1) * 255).astype(np.uint8, order="C")
    return pixels


def png_of(picture: Pixels) -> bytes:
    """A picture as the bytes of a PNG file.

    Parameters
    ----------
    picture : ndarray of uint8, shape (H, W, C)
        With 1 or 3 channels.

    Returns
    -------
    bytes

    Raises
    ------
    ImportError
        If Pillow is missing.

    Examples
    --------
    >>> import numpy as np
    >>> from geoquant.pictures import png_of
    >>> png_of(np.zeros((8, 8, 1), np.uint8))[1:4]
    b'PNG'
    """
    return _file_of(picture, "PNG")


def _file_of(picture: Pixels, kind: str, **options: int) -> bytes:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise ImportError(
            "geoquant.pictures makes PNG files with Pillow, which is not installed; "
            "install it with: pip install 'geoquant[plot]'"
        ) from error
    buffer = io.BytesIO()
    Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture).save(
        buffer, kind, **options
    )
    return buffer.getvalue()
