"""The folder for the Embedding Projector, read back by the rules of its parser."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import geoquant as gq
from geoquant.errors import InputError
from geoquant.export import latent_table, projector, write_projector
from tests.export.conftest import N, some_images, some_latents

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = [
    "tab\tin it",
    "line\nbreak",
    "carriage\r\nreturn",
    "vertical\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029breaks",
    "  spaces around  ",
    "",
    "\t\n",
    '"quoted"',
    "ünï😀",
    "a\ud800b",
    "<script>alert(1)</script>",
    "nul\x00l",
]


def parsed(path: Path) -> list[list[str]]:
    """A TSV as the projector parses it: lines at \\n, fields at tabs, blank lines skipped."""
    lines = path.read_bytes().decode().split("\n")
    assert lines[-1] == ""
    return [line.split("\t") for line in lines[:-1] if line.strip()]


def test_vectors_come_back_bit_by_bit(book: gq.Codebook, tmp_path: Path) -> None:
    """The shortest decimals of a float32 are that float32."""
    z = some_latents()
    shown = write_projector(tmp_path, latent_table(book, z))
    assert shown == (N, N, None)
    assert np.array_equal(np.array(parsed(tmp_path / "vectors.tsv"), np.float32), z)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "metadata.tsv",
        "projector_config.json",
        "projector_config.pbtxt",
        "vectors.tsv",
    ]


def test_metadata_has_a_row_for_each(book: gq.Codebook, tmp_path: Path) -> None:
    """Label first, as the projector shows the first column; then code, distance and row."""
    table = latent_table(book, some_latents(), labels=np.arange(N) % 10)
    write_projector(tmp_path, table)
    header, *rows = parsed(tmp_path / "metadata.tsv")
    assert header == ["label", "code", "distance", "row"]
    found = np.array(rows, float)
    assert np.array_equal(found[:, 0], np.arange(N) % 10)
    assert np.array_equal(found[:, 1], table.codes)
    assert np.array_equal(found[:, 2], table.distance)
    assert np.array_equal(found[:, 3], np.arange(N))


def test_stages_have_a_column_each(stages: gq.MultistageCodebook, tmp_path: Path) -> None:
    """As in the table."""
    write_projector(tmp_path, latent_table(stages, some_latents()))
    header = parsed(tmp_path / "metadata.tsv")[0]
    assert header == ["code_1", "code_2", "distance", "row"]


def test_hostile_labels_stay_in_their_field(book: gq.Codebook, tmp_path: Path) -> None:
    """Nothing in a label starts a field or a line, for any program that reads lines."""
    z = some_latents(len(HOSTILE))
    write_projector(tmp_path, latent_table(book, z, labels=HOSTILE))
    rows = parsed(tmp_path / "metadata.tsv")
    assert [len(row) for row in rows] == [4] * (len(HOSTILE) + 1)
    assert (tmp_path / "metadata.tsv").read_text().splitlines() == ["\t".join(row) for row in rows]
    assert [row[3] for row in rows[1:]] == [str(row) for row in range(len(HOSTILE))]
    assert [row[0] for row in rows[1:]] == [
        "tab in it",
        "line break",
        "carriage return",
        "vertical breaks",
        "spaces around",
        "",
        "",
        '"quoted"',
        "ünï😀",
        "a?b",
        "<script>alert(1)</script>",
        "nul l",
    ]


@pytest.mark.parametrize("n", [1, 2, 4, 5, 16, 17, N])
def test_sprite_is_a_square_of_images(book: gq.Codebook, tmp_path: Path, n: int) -> None:
    """As many rows as columns, since the projector divides by either; black beyond the last."""
    from PIL import Image

    images = some_images(n)
    shown = write_projector(tmp_path, latent_table(book, some_latents(n), images=images))
    assert shown == (n, n, (5, 4))
    side = math.ceil(math.sqrt(n))
    picture = np.asarray(Image.open(tmp_path / "sprite.png"))
    assert picture.shape == (side * 4, side * 5)
    for index in range(side**2):
        row, column = divmod(index, side)
        found = picture[4 * row : 4 * row + 4, 5 * column : 5 * column + 5]
        assert np.array_equal(found, images[index] if index < n else np.zeros((4, 5)))
    config = json.loads((tmp_path / "projector_config.json").read_text())
    assert config["embeddings"] == [
        {
            "tensorName": "latents",
            "tensorShape": [n, 3],
            "tensorPath": "vectors.tsv",
            "metadataPath": "metadata.tsv",
            "sprite": {"imagePath": "sprite.png", "singleImageDim": [5, 4]},
        }
    ]
    text = (tmp_path / "projector_config.pbtxt").read_text()
    assert "single_image_dim: 5 single_image_dim: 4" in text


@pytest.mark.parametrize("channels_last", [False, True])
def test_colours(book: gq.Codebook, tmp_path: Path, channels_last: bool) -> None:
    """Three channels first or last, uint8 or floats, are the same picture."""
    from PIL import Image

    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    given: Any = images if channels_last else np.moveaxis(images, -1, 1) / 255
    write_projector(tmp_path, latent_table(book, some_latents(5), images=given))
    picture = np.asarray(Image.open(tmp_path / "sprite.png"))
    assert picture.shape == (12, 18, 3)
    assert np.array_equal(picture[4:8, 6:12], images[4])


def test_what_has_no_room_is_sampled(
    book: gq.Codebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sprite, vectors and metadata are of the same latents, as many as fill the sprite."""
    from PIL import Image

    monkeypatch.setattr(projector, "MAX_SPRITE", 39)
    monkeypatch.setattr(projector, "_ROWS", 10)
    z, images = some_latents(), some_images()
    shown = write_projector(tmp_path, latent_table(book, z, images=images), random_state=1)
    assert shown == (49, N, (5, 4))  # seven images of width 5 in 39 pixels
    picture = np.asarray(Image.open(tmp_path / "sprite.png"))
    assert picture.shape == (28, 35)
    rows = np.array([row[-1] for row in parsed(tmp_path / "metadata.tsv")[1:]], int)
    assert len(set(rows.tolist())) == 49
    assert np.array_equal(np.array(parsed(tmp_path / "vectors.tsv"), np.float32), z[rows])
    for index, image in enumerate(images[rows]):
        row, column = divmod(index, 7)
        assert np.array_equal(picture[4 * row :, 5 * column :][:4, :5], image)


def test_a_sprite_holds_as_many_as_the_projector_takes() -> None:
    """Of the digits of MNIST 292 x 292, which is 8176 pixels wide."""
    assert projector.MAX_SPRITE == 8192
    assert (projector.MAX_SPRITE // 28) ** 2 == 85264


def test_latents_of_one_number_get_a_second(tmp_path: Path) -> None:
    """The projector refuses vectors of one number."""
    book = gq.fit_codebook([[0.0], [1.0], [9.0]], 2, random_state=0).codebook
    write_projector(tmp_path, latent_table(book))
    assert parsed(tmp_path / "vectors.tsv") == [["0.0", "0.0"], ["1.0", "0.0"], ["9.0", "0.0"]]
    config = json.loads((tmp_path / "projector_config.json").read_text())
    assert config["embeddings"][0]["tensorShape"] == [3, 2]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((N, 4), np.uint8), r"images must have shape .* found \(1, 4\)"),
        (np.zeros((N, 2, 4, 4), np.uint8), "with 1 or 3 channels"),
        (np.zeros((N, 4, 5), np.int64), "found int64"),
        (np.full((N, 4, 5), 200.0), "from 200.0 to 200.0"),
        (np.full((N, 4, 5), np.nan), "from nan"),
        (np.broadcast_to(np.uint8(0), (N, 4, 8193)), "found 8193 x 4; make them smaller"),
    ],
)
def test_bad_images_leave_no_folder(
    book: gq.Codebook, tmp_path: Path, images: np.ndarray, message: str
) -> None:
    """The error says what images must be, and nothing is written."""
    table = latent_table(book, some_latents(), images=images)
    with pytest.raises(InputError, match=message):
        write_projector(tmp_path / "folder", table)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_nothing(
    book: gq.Codebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interruption while metadata are written: no file of the folder is there."""

    def interrupted(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(projector, "_field", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_projector(tmp_path / "folder", latent_table(book, images=some_images()))
    assert list(tmp_path.iterdir()) == []
