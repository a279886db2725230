"""Pictures of images."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from geoquant.errors import InputError
from geoquant.pictures import jpeg_of_grid, png_of_grid


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


def test_photographs_take_fewer_bytes_as_jpeg() -> None:
    """The same grid, not to the last bit."""
    noise = np.random.default_rng(0).normal(0.5, 0.02, (6, 3, 64, 64))
    images = np.clip(noise + np.linspace(-0.4, 0.4, 64), 0, 1)
    png, jpeg = png_of_grid(images, 3), jpeg_of_grid(images, 3)
    assert len(jpeg) < len(png)
    shown = [np.asarray(Image.open(io.BytesIO(file)), float) for file in (png, jpeg)]
    assert shown[0].shape == shown[1].shape == (128, 192, 3)
    assert np.abs(shown[0] - shown[1]).mean() < 5
