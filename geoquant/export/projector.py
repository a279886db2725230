"""Latents and codes as a folder that the Embedding Projector of TensorFlow shows."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from geoquant.errors import InputError
from geoquant.export.folder import json_bytes
from geoquant.files import PathLike, write_folder
from geoquant.pictures import pixels_of, png_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoquant.export.table import Images, LatentTable

#: Width and height of the largest sprite that the projector takes, in pixels.
MAX_SPRITE = 8192
_ROWS = 1024
# What ends a line or a field for one program or another.
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


class Projected(NamedTuple):
    """What was written for the projector.

    Attributes
    ----------
    n_shown : int
        Latents in the folder.
    n : int
        Latents there were; more, if their images do not fit in a sprite.
    image_size : tuple of int or None
        Width and height of an image in the sprite.
    """

    n_shown: int
    n: int
    image_size: tuple[int, int] | None


def write_projector(folder: PathLike, table: LatentTable, *, random_state: int = 0) -> Projected:
    """Write what the Embedding Projector loads, all files or none.

    ``vectors.tsv`` has the latents, ``metadata.tsv`` label, code, distance and row of each,
    ``sprite.png`` their images, ``projector_config.json`` what belongs together (for the
    projector alone; paths are relative to its page) and ``projector_config.pbtxt`` the same for
    ``tensorboard --logdir FOLDER``. A sprite has at most 8192 x 8192 pixels: of more latents than
    have room, a random sample is written.

    Parameters
    ----------
    folder : str or PathLike
        Made if it is not there.
    table : LatentTable
        What `latent_table` gathered.
    random_state : int, default=0
        Seed of the sample.

    Returns
    -------
    Projected

    Raises
    ------
    InputError
        If the images cannot be used, or one is larger than a sprite.
    ResourceError, OSError
        As `geoquant.files.write_folder`.

    Notes
    -----
    The projector takes a sprite to have as many rows as columns, and no vectors of one number:
    the sprite is filled up with black, and latents of one number get a second, which is zero.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import geoquant as gq
    >>> from geoquant.export import latent_table, write_projector
    >>> book = gq.fit_codebook([[0.0, 0.5], [1.0, 0.5], [9.0, 1.5]], 2, random_state=0).codebook
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shown = write_projector(folder, latent_table(book))
    ...     shown.n_shown, pathlib.Path(folder, "vectors.tsv").read_text().split()
    (3, ['0.0', '0.5', '1.0', '0.5', '9.0', '1.5'])
    """
    n, size = len(table), None
    files: dict[str, Any] = {}
    if table.images is not None:
        shape = _shape_of_image(table.images)
        size = (shape[1], shape[0])
        table = table.sample((MAX_SPRITE // max(size)) ** 2, random_state)
        files["sprite.png"] = _sprite(cast("Images", table.images), shape)
    files["vectors.tsv"] = _vectors(table)
    files["metadata.tsv"] = _metadata(table)
    files["projector_config.json"] = json_bytes(_config(table, size))
    files["projector_config.pbtxt"] = _config_text(size)
    write_folder(folder, files)
    return Projected(len(table), n, size)


def _shape_of_image(images: Images) -> tuple[int, int, int]:
    """Height, width and channels of one."""
    _, height, width, channels = pixels_of(images[:1]).shape
    if max(height, width) > MAX_SPRITE:
        raise InputError(
            f"images must be at most {MAX_SPRITE} pixels wide and high for the projector, found "
            f"{width} x {height}; make them smaller"
        )
    return height, width, channels


def _sprite(images: Images, shape: tuple[int, int, int]) -> bytes:
    """All images in a square of rows and columns, row by row."""
    n, (height, width, channels) = len(images), shape
    side = math.isqrt(n - 1) + 1
    picture = np.zeros((side, height, side, width, channels), np.uint8)
    for start in range(0, n, _ROWS):
        stop = min(n, start + _ROWS)
        row, column = np.divmod(np.arange(start, stop), side)
        picture[row, :, column] = pixels_of(images[start:stop])
    return png_of(picture.reshape(side * height, side * width, channels))


def _vectors(table: LatentTable) -> Iterator[bytes]:
    for start in range(0, len(table), _ROWS):
        block = table.latents[start : start + _ROWS]
        if block.shape[1] == 1:
            block = np.pad(block, ((0, 0), (0, 1)))
        yield _lines(block.astype(str).tolist())


def _metadata(table: LatentTable) -> Iterator[bytes]:
    columns: dict[str, Any] = {}
    if table.labels is not None:
        columns["label"] = table.labels
    columns |= {**table.code_columns(), "distance": table.distance, "row": table.row}
    yield _lines([list(columns)])
    for start in range(0, len(table), _ROWS):
        parts = [column[start : start + _ROWS].tolist() for column in columns.values()]
        yield _lines([[_field(value) for value in row] for row in zip(*parts, strict=True)])


def _field(value: object) -> str:
    """A value as a field, of which nothing can be quoted or escaped."""
    return _BREAKS.sub(" ", str(value)).strip()


def _lines(rows: list[list[str]]) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode("utf-8", "replace")


def _config(table: LatentTable, size: tuple[int, int] | None) -> dict[str, Any]:
    embedding: dict[str, Any] = {
        "tensorName": "latents",
        "tensorShape": [len(table), max(2, table.latents.shape[1])],
        "tensorPath": "vectors.tsv",
        "metadataPath": "metadata.tsv",
    }
    if size is not None:
        embedding["sprite"] = {"imagePath": "sprite.png", "singleImageDim": list(size)}
    return {"embeddings": [embedding], "modelCheckpointPath": "geoquant"}


def _config_text(size: tuple[int, int] | None) -> bytes:
    """The configuration as TensorBoard reads it."""
    lines = [
        'tensor_name: "latents"',
        'tensor_path: "vectors.tsv"',
        'metadata_path: "metadata.tsv"',
    ]
    if size is not None:
        width, height = size
        dimensions = f"single_image_dim: {width} single_image_dim: {height}"
        lines.append(f'sprite {{ image_path: "sprite.png" {dimensions} }}')
    return ("embeddings {\n" + "".join(f"  {line}\n" for line in lines) + "}\n").encode()
