"""Pictures of images."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from geoquant.errors import InputError
from geoquant.pictures import jpeg_of_grid, pixels_of, png_of, png_of_grid


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


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (np.full((2, 4, 5), 51, np.uint8), (2, 4, 5, 1)),
        (np.full((2, 3, 4, 5), 0.2), (2, 4, 5, 3)),
        (np.full((2, 4, 5, 3), 0.2, np.float16), (2, 4, 5, 3)),
        (np.full((2, 1, 4, 5), 51, np.uint8), (2, 4, 5, 1)),
    ],
)
def test_pixels(images: np.ndarray, shape: tuple[int, ...]) -> None:
    """Bytes with the channels last, of every layout and type that is taken."""
    pixels = pixels_of(images)
    assert (pixels.shape, pixels.dtype) == (shape, np.uint8)
    assert (pixels == 51).all()
    assert pixels_of([[[-0.1, 1.1]]]).ravel().tolist() == [0, 255]


def test_png_comes_back() -> None:
    """Grey and colour, pixel by pixel."""
    for channels in (1, 3):
        picture = np.random.default_rng(0).integers(0, 256, (3, 4, channels), np.uint8)
        found = np.asarray(Image.open(io.BytesIO(png_of(picture)))).reshape(3, 4, channels)
        assert np.array_equal(found, picture)


def test_without_pillow_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who has images needs it."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"geoquant\.pictures .* pip install 'geoquant\[plot\]'"):
        png_of(np.zeros((2, 2, 1), np.uint8))
