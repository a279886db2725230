"""Pictures of images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from geoquant.errors import InputError
from geoquant.pictures import png_of_grid


@pytest.mark.parametrize("channels", [1, 3])
def test_grid(channels: int) -> None:
    """Images are laid out row by row, and what is missing is black."""
    images = np.stack([np.full((channels, 2, 3), value) for value in (0.2, 0.4, 1.7)])
    picture = np.asarray(Image.open(io.BytesIO(png_of_grid(images, 2)))).reshape(4, 6, channels)
    assert picture[::2, ::3, 0].tolist() == [[51, 102], [255, 0]]


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (4, 4), (0, 1, 4, 4)])
def test_bad_grid(shape: tuple[int, ...]) -> None:
    """What makes no picture is named."""
    with pytest.raises(InputError, match="1 or 3 channels, found"):
        png_of_grid(np.zeros(shape), 1)
